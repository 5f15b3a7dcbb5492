//! `muster demo` where something is amiss: a trace that the example does not serve, nothing to show, no place for a part.

use std::fs;
use std::net::TcpListener;

use muster_tests::Answer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::demo::demo_ledger;
use crate::fleet::muster;

/// A folder of its own, which is the program's folder for temporary files too.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn with(jobs: &[Value]) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let run = json!({ "run_id": 1, "t": 0, "repo": "other/api", "workflow": "ci", "event": "push", "jobs": jobs });
        fs::write(folder.path().join("trace.jsonl"), run.to_string()).unwrap();
        Stage { folder }
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        muster().with("TMPDIR", self.folder.path().display().to_string()).run(arguments)
    }

    fn demo(&self, more: &[&str]) -> Answer {
        let trace = self.folder.path().join("trace.jsonl").display().to_string();
        self.run(&[&["demo", "--speed", "240", "--trace", &trace], more].concat())
    }

    /// Folders that the demo has left behind.
    fn left(&self) -> usize {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("muster-demo-")).count()
    }
}

fn job(labels: &[&str]) -> Value {
    json!({ "name": "job", "labels": labels, "duration_s": 20 })
}

#[test]
fn a_trace_that_the_example_does_not_serve_is_announced_and_its_ledger_tells_the_truth() {
    let stage = Stage::with(&[job(&["gpu-box", "linux"]), job(&[])]);
    let answer = stage.demo(&[]);
    assert_eq!(answer.code, Some(0), "{} {}", answer.out, answer.err);
    let told = answer.err.lines().next().unwrap();
    assert!(told.contains("example configuration does not serve") && told.contains("gpu-box, linux"), "{told}");
    assert!(
        answer.out.contains("2 of the machines have ended; 0 stand by, as the configuration wants"),
        "{}",
        answer.out
    );
    let ledger = demo_ledger(stage.folder.path()).display().to_string();
    let entries = stage.run(&["ledger", "--json", "--db", &ledger]).json_lines();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let class = entry["class"].as_str().unwrap_or_else(|| panic!("no class in {entry}"));
        let story = stage.run(&["explain", "--json", "--db", &ledger, "--job", &entry["job_id"].to_string()]).json();
        assert_eq!(story["class"], class);
        assert!(!story["why"].as_str().unwrap().contains("no tick has run"), "{story}");
        let runner = entry["runner"].as_str().unwrap();
        let pool = class.split('/').next().unwrap();
        assert!(runner.contains(pool), "{runner} is of pool {pool}");
    }
}

#[test]
fn a_trace_without_jobs_is_exit_code_2() {
    let stage = Stage::with(&[]);
    let nothing = stage.demo(&[]);
    fs::write(stage.folder.path().join("trace.jsonl"), "").unwrap();
    for answer in [nothing, stage.demo(&[])] {
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
        assert!(answer.err.contains("has no jobs"), "{}", answer.err);
    }
    assert_eq!(stage.left(), 0);
}

#[test]
fn a_port_that_is_taken_leaves_nothing_behind() {
    let stage = Stage::with(&[job(&["self-hosted"])]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let answer = stage.demo(&["--port", &taken.local_addr().unwrap().port().to_string()]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
    assert!(answer.err.contains("cannot listen on 127.0.0.1:"), "{}", answer.err);
    assert_eq!(stage.left(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn metric_lines_that_cannot_be_written_are_told_and_are_exit_code_1() {
    let stage = Stage::with(&[job(&["self-hosted", "linux", "x64"])]);
    let answer = stage.demo(&["--json", "--emf", "/dev/full"]);
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    assert_eq!(answer.json()["jobs"]["completed"], 1);
    assert!(answer.err.contains("metric lines are missing from /dev/full: "), "{}", answer.err);
}
