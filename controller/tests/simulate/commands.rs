//! `muster simulate` as a command: its bytes, its options and its exit codes.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn simulate(options: &[&str]) -> Output {
    let trace: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../tests/traces/acme-four-weeks.jsonl.gz"].iter().collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.arg("simulate").arg("--trace").arg(trace).args(options).output().unwrap()
}

#[track_caller]
fn good(options: &[&str]) -> String {
    let output = simulate(options);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn fixed_zero_is_cold_byte_for_byte() {
    let cold = good(&["--hours", "36", "--policy", "cold", "--json"]);
    assert_eq!(good(&["--hours", "36", "--policy", "fixed:0", "--json"]), cold);
    assert_eq!(good(&["--hours", "36", "--json"]), cold, "cold is the default");
    assert_ne!(good(&["--hours", "36", "--policy", "fixed:1", "--json"]), cold);
}

#[test]
fn seeds_print_the_same_whatever_the_threads() {
    let of = |threads| good(&["--hours", "24", "--seeds", "1..5", "--threads", threads, "--json"]);
    let alone = of("1");
    assert_eq!(of("2"), alone);
    assert_eq!(of("5"), alone);
    let lines: Vec<&str> = alone.lines().collect();
    assert_eq!(lines.len(), 6);
    for (seed, line) in (1..=5).zip(&lines) {
        assert_eq!(good(&["--hours", "24", "--seed", &seed.to_string(), "--json"]).trim_end(), *line);
    }
    let total: Value = serde_json::from_str(lines[5]).unwrap();
    assert_eq!((&total["seeds"], &total["failed"]), (&Value::from(5), &Value::Array(Vec::new())));
    assert!(total["worst"]["seed"].as_u64().is_some_and(|seed| (1..=5).contains(&seed)));
}

#[test]
fn the_json_has_every_key_and_no_time_of_the_wall() {
    let printed = good(&["--hours", "12", "--json"]);
    let summary: Value = serde_json::from_str(&printed).unwrap();
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let sorted = |mut keys: Vec<&str>| {
        keys.sort_unstable();
        keys.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let found = keys(&summary);
    for key in ["seed", "policy", "jobs", "queue_time_s", "cost_usd", "launches", "github_requests", "aws_requests"] {
        assert!(found.contains(&key.to_owned()), "{key}");
    }
    assert_eq!(summary["violations"], Value::Array(Vec::new()));
    let class = &summary["classes"][0];
    for of in [&summary, class] {
        let mut jobs = keys(&of["jobs"]);
        jobs.sort_unstable();
        let expected = vec!["queued", "completed", "cancelled", "killed", "interrupted", "lost", "expired", "skipped"];
        assert_eq!(jobs, sorted(expected));
        assert!(of["queue_time_s"]["p95"].is_number() && of["cost_usd"]["standby"].is_number());
    }
    assert!(class["class"].is_array() && class["price_usd_per_hour"].is_number());
    let progress = String::from_utf8(simulate(&["--hours", "60", "--json"]).stderr).unwrap();
    assert!(progress.contains("day   1:") && progress.contains("day   2:"), "{progress}");
}

#[test]
fn what_cannot_be_read_is_a_matter_of_usage() {
    for options in [
        &["--policy", "warm"][..],
        &["--seeds", "5..1"],
        &["--hours", "0"],
        &["--scale", "0"],
        &["--config", "/no/such/file.toml"],
    ] {
        let output = simulate(options);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty(), "{options:?}");
    }
}

/// The most memory that the command had, in kB, as it says itself.
#[cfg(target_os = "linux")]
fn memory(options: &[&str]) -> u64 {
    let output = simulate(options);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let (_, said) = said.rsplit_once("a minute; ").unwrap();
    said.split_once(" kB").unwrap().0.parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn four_weeks_take_little_more_memory_than_one() {
    let (one, four) = std::thread::scope(|scope| {
        let one = scope.spawn(|| memory(&["--hours", "168", "--json"]));
        let four = memory(&["--json"]);
        (one.join().unwrap(), four)
    });
    println!("one week: {one} kB, four weeks: {four} kB");
    assert!(four * 10 <= one * 12, "one week: {one} kB, four weeks: {four} kB");
}
