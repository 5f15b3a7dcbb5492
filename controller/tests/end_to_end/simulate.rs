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
fn the_days_of_every_seed_are_told_and_seeds_are_counted_as_they_end() {
    let here = Workload::new();
    workload::write(&here.folder.path().join("trace.jsonl"));
    let late = json!({
        "run_id": 9, "t": 100_000, "repo": "acme/api",
        "jobs": [{ "name": "late", "labels": ["self-hosted", "linux"], "duration_s": 5 }],
    });
    let trace = here.folder.path().join("trace.jsonl");
    fs::write(&trace, format!("{}\n{late}", fs::read_to_string(&trace).unwrap())).unwrap();
    let answer = here.simulate(&["--seeds", "3..8", "--threads", "3"]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    for seed in 3..=8 {
        assert!(answer.err.contains(&format!("seed {seed} day   1: ")), "{}", answer.err);
    }
    let counted: Vec<&str> = answer.err.lines().filter_map(|line| line.split_once(" done (")).map(|c| c.1).collect();
    let mut sorted = counted.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["1 of 6)", "2 of 6)", "3 of 6)", "4 of 6)", "5 of 6)", "6 of 6)"], "{counted:?}");
}

#[test]
fn a_configuration_that_names_repositories_serves_the_copies_of_an_overlaid_trace() {
    let here = Workload::new();
    let fates = workload::write(&here.folder.path().join("trace.jsonl"));
    let example = fs::read_to_string(muster_tests::example_config()).unwrap();
    let named = example.replace("repositories = [\"acme/*\"]", "repositories = [\"acme/api\", \"acme/web\"]");
    assert_ne!(named, example);
    let config = here.folder.path().join("muster.toml").display().to_string();
    fs::write(&config, named).unwrap();
    let answer = here.simulate(&["--config", &config, "--scale", "3"]);
    assert_eq!(answer.code, Some(0), "{} {}", answer.out, answer.err);
    let summary = answer.json();
    assert_eq!(summary["jobs"]["queued"], 3 * fates.queued());
}

#[test]
fn standby_without_a_price_is_there_and_costs_nothing() {
    let here = Workload::new();
    workload::write(&here.folder.path().join("trace.jsonl"));
    let example = fs::read_to_string(muster_tests::example_config()).unwrap();
    let config = here.folder.path().join("muster.toml").display().to_string();
    // On standby there are on-demand machines of the default size; the workload's large jobs are of that class now.
    let free = example
        .replace(", standby = 0.012 }", " }")
        .replacen("default_size = \"cpu-2\"", "default_size = \"cpu-8\"", 1)
        .replacen("idle = { min = 2, max = 40 }", "idle = { min = 0, max = 40 }", 1);
    fs::write(&config, free).unwrap();
    let answer = here.simulate(&["--config", &config]);
    assert_eq!(answer.code, Some(0), "{} {}", answer.out, answer.err);
    assert!(answer.err.contains("cpu-8 of pool linux has no price on standby"), "{}", answer.err);
    let summary = answer.json();
    assert!(summary["launches"]["standby"].as_u64().unwrap() > 0, "{}", summary["launches"]);
    assert_eq!(summary["cost_usd"]["standby"], 0.0);
}

#[test]
fn jobs_without_labels_have_a_class_of_their_own() {
    let here = Workload::new();
    let run = json!({
        "run_id": 1, "t": 0, "repo": "acme/api",
        "jobs": [
            { "name": "group", "labels": [], "duration_s": 5 },
            { "name": "plain", "labels": ["self-hosted"], "duration_s": 5 },
        ],
    });
    fs::write(here.folder.path().join("trace.jsonl"), run.to_string()).unwrap();
    let answer = here.simulate(&[]);
    assert_eq!(answer.code, Some(0), "{} {}", answer.out, answer.err);
    let summary = answer.json();
    assert_eq!((&summary["jobs"]["completed"], &summary["jobs"]["lost"]), (&json!(2), &json!(0)));
    assert_eq!(summary["classes"].as_array().unwrap().len(), 2);
}

#[test]
fn raw_instance_types_are_launched() {
    let here = Workload::new();
    let run = json!({
        "run_id": 1, "t": 0, "repo": "acme/api",
        "jobs": [
            { "name": "raw", "labels": ["self-hosted", "linux", "c7i.xlarge"], "duration_s": 3600 },
            { "name": "spot", "labels": ["self-hosted", "linux", "c7i.2xlarge", "on-demand"], "duration_s": 5 },
        ],
    });
    fs::write(here.folder.path().join("trace.jsonl"), run.to_string()).unwrap();
    let example = fs::read_to_string(muster_tests::example_config()).unwrap();
    let raw = example.replacen("instance_type_labels = [] ", "instance_type_labels = [\"c7i.*\"] ", 1);
    assert_ne!(raw, example);
    let config = here.folder.path().join("muster.toml").display().to_string();
    fs::write(&config, raw).unwrap();
    let answer = here.simulate(&["--config", &config]);
    assert_eq!(answer.code, Some(0), "{} {}", answer.out, answer.err);
    let summary = answer.json();
    assert_eq!((&summary["jobs"]["completed"], &summary["violations"]), (&json!(2), &json!([])));
    let mut classes = summary["classes"].as_array().unwrap().iter();
    let class = classes.find(|class| class["class"].as_array().unwrap().contains(&json!("c7i.xlarge"))).unwrap();
    assert_eq!(class["launches"]["cold"], 1);
    assert!(class["price_usd_per_hour"].as_f64().unwrap() > 0.0 && class["cost_usd"]["busy"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_trace_that_does_not_read_is_exit_code_2() {
    let here = Workload::new();
    fs::write(here.folder.path().join("trace.jsonl"), "{\"run_id\": 1}\n").unwrap();
    let answer = here.simulate(&[]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
    assert!(answer.err.contains("trace.jsonl"), "{}", answer.err);
    let huge = json!({
        "run_id": i64::MAX, "t": 0, "repo": "acme/api",
        "jobs": [{ "name": "a", "labels": ["self-hosted"], "duration_s": 5 }],
    });
    fs::write(here.folder.path().join("trace.jsonl"), huge.to_string()).unwrap();
    let answer = here.simulate(&["--scale", "2"]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
    assert!(answer.err.contains("trace.jsonl:1: run_id is"), "{}", answer.err);
}
