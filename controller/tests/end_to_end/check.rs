//! `muster check`, `muster version`, and arguments that make no sense.

use std::fs;

use serde_json::json;

use crate::fleet::{SERVES_RECORDED, muster};
use crate::shape::{Kind, has};

const DIAGNOSTIC: [(&str, Kind); 5] =
    [("file", Kind::Text), ("line", Kind::Whole), ("key", Kind::Text), ("message", Kind::Text), ("remedy", Kind::Text)];

fn check(text: &str) -> muster_tests::Answer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("muster.toml");
    fs::write(&path, text).unwrap();
    muster().run(&["check", "--json", "--config", &path.display().to_string()])
}

#[test]
fn a_good_configuration_is_good() {
    let example = muster_tests::example_config().display().to_string();
    let answer = muster().run(&["check", "--json", "--config", &example]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    let said = answer.json();
    assert_eq!((&said["ok"], &said["errors"]), (&json!(true), &json!([])));
    has(&said, &[("warnings", Kind::List)]);
    let plain = muster().run(&["check", "--config", &example]);
    assert_eq!(plain.code, Some(0));
    assert!(plain.out.contains("is valid"), "{}", plain.out);
}

#[test]
fn a_bad_one_names_file_line_key_and_remedy() {
    let bad = SERVES_RECORDED.replace("max_runners = 8", "max_runners = -8\nmax_runnerz = 8");
    let answer = check(&bad);
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    let said = answer.json();
    assert_eq!(said["ok"], false);
    let errors = said["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{said}");
    for error in errors {
        has(error, &DIAGNOSTIC);
        let file = error["file"].as_str().unwrap();
        assert!(file.ends_with("muster.toml"), "{file}");
    }
    let line = |of: &str| 1 + bad.lines().position(|line| line.starts_with(of)).unwrap();
    let told: Vec<_> = errors.iter().map(|error| (error["line"].clone(), error["key"].clone())).collect();
    assert!(told.contains(&(json!(line("max_runners = -8")), json!("fleet.max_runners"))), "{told:?}");
    assert!(told.contains(&(json!(line("max_runnerz")), json!("fleet.max_runnerz"))), "{told:?}");
}

#[test]
fn what_is_odd_is_a_warning_and_no_error() {
    let (head, k8s) = SERVES_RECORDED.split_once("[[pool]]\nname = \"k8s\"").unwrap();
    // The same labels again, behind the first: nothing reaches it.
    let twice = format!("{head}[[pool]]\nname = \"k8s\"{k8s}[[pool]]\nname = \"again\"{k8s}");
    let answer = check(&twice);
    assert_eq!(answer.code, Some(0), "{} {}", answer.out, answer.err);
    let said = answer.json();
    assert_eq!(said["ok"], true);
    let warnings = said["warnings"].as_array().unwrap();
    assert!(!warnings.is_empty(), "{said}");
    warnings.iter().for_each(|warning| has(warning, &DIAGNOSTIC));
}

#[test]
fn what_cannot_be_read_is_exit_code_2() {
    let answer = muster().run(&["check", "--json", "--config", "no/such/muster.toml"]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
    assert!(answer.err.contains("no/such/muster.toml"), "{}", answer.err);
}

#[test]
fn version() {
    let answer = muster().run(&["version", "--json"]);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
    assert_eq!(answer.json()["version"], env!("CARGO_PKG_VERSION"));
    let plain = muster().run(&["version"]);
    assert_eq!(plain.out, format!("muster {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn arguments_that_make_no_sense_are_exit_code_2_and_leave_standard_output_empty() {
    let cases: [&[&str]; 14] = [
        &[],
        &["dance"],
        &["check", "--nonsense"],
        &["explain"],
        &["explain", "--db", "x.sqlite"],
        &["explain", "--labels", "a", "--db", "x.sqlite", "--job", "1"],
        &["ledger"],
        &["ledger", "--db", "no/such/ledger.sqlite", "--json"],
        &["serve", "--listen", "nowhere"],
        &["demo", "--speed", "0"],
        &["simulate", "--trace", "x.jsonl", "--seeds", "3..1"],
        &["simulate", "--trace", "x.jsonl", "--seed", "1", "--seeds", "1..2"],
        &["simulate", "--trace", "x.jsonl", "--policy", "warm"],
        &["simulate", "--trace", "no/such/trace.jsonl", "--json"],
    ];
    for arguments in cases {
        let answer = muster().run(arguments);
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{arguments:?}: {}", answer.err);
        assert!(!answer.err.is_empty(), "{arguments:?} is refused without a word");
    }
}

#[test]
fn help_is_there_for_every_command() {
    let help = muster().run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for command in ["demo", "serve", "check", "explain", "ledger", "simulate", "version"] {
        assert!(help.out.contains(command), "{command} is not in the help");
        assert_eq!(muster().run(&[command, "--help"]).code, Some(0), "{command}");
    }
}
