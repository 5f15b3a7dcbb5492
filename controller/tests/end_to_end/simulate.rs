//! `muster simulate` as a command: what it prints and how it ends. What it computes has tests of its own.

use std::fs;

use muster_tests::Answer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fleet::muster;
use crate::shape::is_summary;
use crate::workload;

struct Workload {
    folder: TempDir,
}

impl Workload {
    fn new() -> Workload {
        Workload { folder: tempfile::tempdir().unwrap() }
    }

    fn simulate(&self, more: &[&str]) -> Answer {
        let trace = self.folder.path().join("trace.jsonl").display().to_string();
        muster().run(&[&["simulate", "--json", "--trace", &trace], more].concat())
    }
}

#[test]
fn one_seed_is_one_object() {
    let here = Workload::new();
    let fates = workload::write(&here.folder.path().join("trace.jsonl"));
    let answer = here.simulate(&["--seed", "7"]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    let summary = answer.json();
    is_summary(&summary);
    assert_eq!((&summary["seed"], &summary["policy"]), (&json!(7), &json!("cold")));
    let jobs = &summary["jobs"];
    assert_eq!((&jobs["queued"], &jobs["completed"]), (&json!(fates.queued()), &json!(fates.completed)));
    assert_eq!(jobs["skipped"], fates.skipped);
    assert_eq!(summary["classes"].as_array().unwrap().len(), 2, "one for each set of labels");
    assert_eq!(here.simulate(&["--seed", "7"]).out, answer.out, "the same bytes");
    assert_ne!(here.simulate(&["--seed", "8"]).out, answer.out);
}

#[test]
fn seeds_come_in_order_and_a_last_line_sums_up() {
    let here = Workload::new();
    workload::write(&here.folder.path().join("trace.jsonl"));
    let answer = here.simulate(&["--seeds", "3..6", "--policy", "fixed:1"]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    let mut lines = answer.json_lines();
    let last = lines.pop().unwrap();
    assert_eq!((&last["seeds"], &last["failed"]), (&json!(4), &json!([])));
    assert!(last["worst"].is_object(), "{last}");
    lines.iter().for_each(is_summary);
    let seeds: Vec<&Value> = lines.iter().map(|line| &line["seed"]).collect();
    assert_eq!(seeds, [&json!(3), &json!(4), &json!(5), &json!(6)]);
    assert!(lines.iter().all(|line| line["policy"] == "fixed:1"));
    let alone = here.simulate(&["--seed", "5", "--policy", "fixed:1"]);
    assert_eq!(alone.json(), lines[2], "a seed is the same alone and among others");
}

#[test]
fn a_configuration_brings_its_pools_and_a_killed_job_is_exit_code_1() {
    let here = Workload::new();
    // Longer than the pool's `max_job_hours`: the machine is ended while the job runs.
    let run = json!({
        "run_id": 1, "t": 0, "repo": "acme/api", "workflow": "ci", "event": "push",
        "jobs": [{ "name": "long", "job": "long", "labels": ["self-hosted", "linux", "x64"], "duration_s": 25_200 }],
    });
    fs::write(here.folder.path().join("trace.jsonl"), run.to_string()).unwrap();
    let example = muster_tests::example_config().display().to_string();
    let answer = here.simulate(&["--config", &example]);
    assert_eq!(answer.code, Some(1), "{} {}", answer.out, answer.err);
    let summary = answer.json();
    is_summary(&summary);
    assert_eq!((&summary["jobs"]["killed"], &summary["policy"]), (&json!(1), &json!("target")));
    let seeds = here.simulate(&["--config", &example, "--seeds", "1..2"]);
    assert_eq!(seeds.code, Some(1));
    assert_eq!(seeds.json_lines().pop().unwrap()["failed"], json!([1, 2]));
}

#[test]
fn a_trace_that_does_not_read_is_exit_code_2() {
    let here = Workload::new();
    fs::write(here.folder.path().join("trace.jsonl"), "{\"run_id\": 1}\n").unwrap();
    let answer = here.simulate(&[]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
    assert!(answer.err.contains("trace.jsonl"), "{}", answer.err);
}
