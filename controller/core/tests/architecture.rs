//! Dependencies point one way, as the manifests say it: the core knows nobody, adapters do not know each other, and what is
//! slow to build or tied to a vendor is named in one place.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Crates of the workspace that stand behind ports: each knows the core at most.
const ADAPTERS: &[&str] =
    &["muster-emf", "muster-sim", "muster-store", "muster-webhook", "muster-aws", "muster-github"];
/// The store's crate holds not only ledgers but what every ledger implements and passes: its port for people and its
/// contract. Crates that bring a ledger know it.
const LEDGERS: &[&str] = &["muster-aws"];
/// What would make the core impure: runtimes, servers, clients, stores, logs, chance.
const IMPURE: &[&str] = &[
    "axum",
    "chrono",
    "futures-util",
    "getrandom",
    "hyper",
    "metrics",
    "octocrab",
    "rand",
    "reqwest",
    "rusqlite",
    "tokio",
    "tracing",
    "uuid",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every manifest of the project below `folder`, by its folder.
fn manifests(folder: &Path, found: &mut BTreeMap<PathBuf, Table>) {
    for entry in fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.to_string_lossy().starts_with('.') {
            manifests(&path, found);
        } else if name == "Cargo.toml" {
            let manifest: Table = fs::read_to_string(&path).unwrap().parse().unwrap();
            if manifest.contains_key("package") {
                found.insert(folder.strip_prefix(root()).unwrap().to_owned(), manifest);
            }
        }
    }
}

fn all() -> BTreeMap<PathBuf, Table> {
    let mut found = BTreeMap::new();
    manifests(&root(), &mut found);
    assert!(found.len() >= 7, "{:?}", found.keys());
    found
}

fn name(manifest: &Table) -> &str {
    manifest["package"]["name"].as_str().unwrap()
}

/// The names in one kind of dependencies, those of targets and the real names of renamed ones too.
fn named(manifest: &Table, kinds: &[&str]) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flatten();
    let tables = targets.filter_map(|(_, target)| target.as_table()).chain([manifest]);
    let sections = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    let real = |(name, what): (&String, &Value)| what.get("package").and_then(Value::as_str).unwrap_or(name).to_owned();
    sections.flat_map(|section| section.iter().map(real)).collect()
}

const SHIPPED: &[&str] = &["dependencies", "build-dependencies"];
const EVERY: &[&str] = &["dependencies", "build-dependencies", "dev-dependencies"];

#[test]
fn the_core_is_pure_and_knows_nobody() {
    let all = all();
    let core = &all[Path::new("controller/core")];
    let ours: BTreeSet<String> = all.values().map(|manifest| name(manifest).to_owned()).collect();
    let dependencies = named(core, EVERY);
    assert_eq!(dependencies.intersection(&ours).collect::<Vec<_>>(), Vec::<&String>::new());
    let shipped = named(core, SHIPPED);
    let impure: Vec<_> = shipped.iter().filter(|name| IMPURE.contains(&name.as_str())).collect();
    assert!(impure.is_empty(), "the core depends on {impure:?}");
    assert!(shipped.contains("jiff"), "the manifest was read: {shipped:?}");
}

#[test]
fn adapters_do_not_know_each_other() {
    let all = all();
    let ours: BTreeSet<&str> = all.values().map(name).collect();
    let mut seen = 0;
    for manifest in all.values().filter(|manifest| ADAPTERS.contains(&name(manifest))) {
        seen += 1;
        for other in named(manifest, SHIPPED) {
            // What is sealed at one end is opened at the other: both sides share that, and it knows nobody.
            let port = ["muster-core", "muster-seal"].contains(&other.as_str())
                || (other == "muster-store" && LEDGERS.contains(&name(manifest)));
            assert!(port || !ours.contains(other.as_str()), "{} knows {other}", name(manifest));
        }
    }
    assert!(seen >= 4);
}

#[test]
fn vendors_are_named_in_one_place() {
    for (folder, manifest) in all() {
        for dependency in named(&manifest, EVERY) {
            let aws = dependency.starts_with("aws-sdk-") || dependency == "aws-config";
            assert!(!aws || folder == Path::new("controller/aws"), "{} names {dependency}", folder.display());
            let github = dependency == "octocrab";
            assert!(!github || folder == Path::new("controller/github"), "{} names {dependency}", folder.display());
        }
    }
}

#[test]
fn what_builds_by_default_needs_no_aws() {
    let workspace: Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let defaults = workspace["workspace"]["default-members"].as_array().unwrap();
    assert!(!defaults.iter().any(|member| member.as_str() == Some("controller/aws")));
    let features = &all()[Path::new("controller")];
    let default = features.get("features").and_then(|features| features.get("default")?.as_array());
    assert!(default.is_none_or(|on| !on.iter().any(|feature| feature.as_str() == Some("aws"))));
}
