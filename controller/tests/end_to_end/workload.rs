//! A small workload: a few dozen jobs within half an hour of a Monday morning, with needs, a matrix and cancellations.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

const SMALL: [&str; 5] = ["self-hosted", "linux", "x64", "cpu-2", "spot"];
const LARGE: [&str; 5] = ["self-hosted", "linux", "x64", "cpu-8", "on-demand"];

/// What must become of the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fates {
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) skipped: u64,
}

impl Fates {
    pub(crate) fn queued(self) -> u64 {
        self.completed + self.cancelled
    }
}

/// 09:00 in Berlin, where the example's schedule has begun: more machines idle, some on standby.
const MORNING: u32 = 8 * 3_600;

fn job(name: &str, key: &str, needs: &[&str], labels: [&str; 5], seconds: u32) -> Value {
    json!({ "name": name, "job": key, "needs": needs, "labels": labels, "duration_s": seconds })
}

fn run(id: i64, at: u32, repository: &str, cancel: Option<u32>, jobs: &[Value]) -> Value {
    json!({
        "run_id": id, "t": MORNING + at, "repo": repository, "workflow": "ci", "event": "push", "cancel_after_s": cancel,
        "jobs": jobs,
    })
}

/// Writes the workload to `path`, and says what must become of it.
pub(crate) fn write(path: &Path) -> Fates {
    let mut runs = Vec::new();
    for number in 0..8_u32 {
        // A build, a matrix of three on two sets of labels behind it, and a deployment behind all of them.
        let seconds = 40 + 5 * number;
        let jobs = [
            job("build", "build", &[], SMALL, seconds),
            job("test (1)", "test", &["build"], SMALL, seconds),
            job("test (2)", "test", &["build"], SMALL, seconds / 2),
            job("test (3)", "test", &["build"], LARGE, seconds * 2),
            job("deploy", "deploy", &["test"], LARGE, 20),
        ];
        runs.push(run(1_000 + i64::from(number), 100 + 60 * number, "acme/api", None, &jobs));
    }
    // Cancelled while it runs: what runs stops, what needs it is never queued.
    let slow = [job("slow", "slow", &[], SMALL, 3_000), job("after", "after", &["slow"], SMALL, 10)];
    runs.push(run(2_000, 600, "acme/web", Some(400), &slow));
    // Cancelled before any machine can be there: there is none of this class yet that is free.
    let burst: Vec<Value> = (1..=4).map(|entry| job(&format!("burst ({entry})"), "burst", &[], LARGE, 2_000)).collect();
    runs.push(run(3_000, 700, "acme/web", Some(8), &burst));
    let lines: Vec<String> = runs.iter().map(Value::to_string).collect();
    fs::write(path, lines.join("\n")).unwrap();
    Fates { completed: 40, cancelled: 5, skipped: 1 }
}
