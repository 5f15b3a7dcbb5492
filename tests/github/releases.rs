//! Releases of the runner: the one that the owner is offered, and when GitHub stops taking others.
//!
//! Invariant: only GitHub Enterprise Cloud tells of an end, and of an end only what was set.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::routes::{Ask, Reply, error};
use super::world::World;

/// What is known of releases.
pub(super) struct Releases {
    offered: String,
    ends: BTreeMap<String, (Option<String>, Option<String>)>,
    tells_ends: bool,
}

impl Default for Releases {
    fn default() -> Releases {
        Releases { offered: "2.336.0".to_owned(), ends: BTreeMap::new(), tells_ends: false }
    }
}

impl World {
    /// Offers the owner another release.
    pub fn offer_release(&mut self, release: &str) {
        self.releases.offered = release.to_owned();
    }

    /// Makes it GitHub Enterprise Cloud, which tells when it stops taking a release: for registrations, and for jobs.
    pub fn end_release(&mut self, release: &str, registration: Option<&str>, runtime: Option<&str>) {
        self.releases.tells_ends = true;
        let ends = (registration.map(str::to_owned), runtime.map(str::to_owned));
        self.releases.ends.insert(release.to_owned(), ends);
    }
}

pub(super) fn downloads(world: &World) -> Reply {
    let release = &world.releases.offered;
    let one = |(os, architecture, ending): (&str, &str, &str)| {
        let filename = format!("actions-runner-{os}-{architecture}-{release}.{ending}");
        let url = format!("https://github.com/actions/runner/releases/download/v{release}/{filename}");
        json!({ "os": os, "architecture": architecture, "download_url": url, "filename": filename })
    };
    let all =
        [("osx", "x64", "tar.gz"), ("linux", "x64", "tar.gz"), ("linux", "arm64", "tar.gz"), ("win", "x64", "zip")];
    (200, Some(Value::from_iter(all.map(one))))
}

pub(super) fn deprecation(world: &World, ask: &Ask<'_>) -> Reply {
    if !world.releases.tells_ends {
        return error(404, "Not Found");
    }
    let release = ask.path("version");
    let (registration, runtime) = world.releases.ends.get(release).cloned().unwrap_or_default();
    let mut told = json!({ "runner_version": release, "registration_deprecates_at": registration });
    if let Some(runtime) = runtime {
        told["runtime_deprecates_at"] = json!(runtime);
    }
    (200, Some(told))
}
