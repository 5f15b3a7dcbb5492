//! The planner's specification: a folder of situations in words, and the plan for each.
//!
//! `tests/scenarios/NAME.txt` is the situation (see `fixture/scenario.rs` for the words), `NAME.snap` beside it the plan, as
//! reviewed. Every plan must also pass the checker, and be the same when it is made again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fixture::scenario::Scenario;
use muster_core::check::check;
use muster_core::plan::plan;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn names(ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|file| Some(file.strip_suffix(ending)?.to_owned())).collect()
}

#[test]
fn every_plan_is_as_reviewed() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut different = Vec::new();
    for name in names(".txt") {
        let text = fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
        let shared = |name: &str| fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        let Scenario { title, config, policy, now, world } = Scenario::read(&text, shared);
        let planned = plan(&world, &config, policy, now);
        assert_eq!(planned, plan(&world, &config, policy, now), "{name}");
        let violations = check(&planned, &world, &config, now);
        assert!(violations.is_empty(), "{name}: {violations:?}\n{planned}");
        settings.set_description(title);
        let shown = planned.to_string();
        let seen =
            settings.bind(|| std::panic::catch_unwind(|| insta::assert_snapshot!(name.as_str(), shown.trim_end())));
        different.extend(seen.err().map(|_| name));
    }
    assert!(different.is_empty(), "plans that differ: {different:?}");
}

#[test]
fn every_scenario_is_reviewed_and_every_review_has_its_scenario() {
    let (scenarios, plans) = (names(".txt"), names(".snap"));
    assert_eq!(scenarios, plans);
    assert!(scenarios.len() >= 25);
}
