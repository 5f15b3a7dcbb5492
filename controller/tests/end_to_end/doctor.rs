//! `muster doctor` as somebody runs it: exit codes, JSON, and what a build without adapters says.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{SECRET, SERVES_RECORDED, folder, muster};
use crate::shape::{Kind, has};

fn doctor(folder: &TempDir, more: &[&str]) -> muster_tests::Answer {
    let config = folder.path().join("muster.toml").display().to_string();
    let mut arguments = vec!["doctor", "--config", &config];
    arguments.extend(more);
    let answer = muster().run(&arguments);
    assert!(!answer.out.contains(SECRET) && !answer.err.contains(SECRET), "{answer:?}");
    answer
}

/// The findings; each has all fields.
fn findings(answer: &muster_tests::Answer) -> Vec<Value> {
    let found = answer.json().as_array().unwrap().clone();
    for finding in &found {
        has(finding, &[("check", Kind::Text), ("about", Kind::Text), ("state", Kind::Text), ("what", Kind::Text)]);
        let bad = finding["state"] == "not_ok";
        assert_eq!(
            (finding["why"].is_string(), finding["remedy"].is_null()),
            (bad, finding["state"] == "ok"),
            "{finding}"
        );
    }
    found
}

#[test]
fn an_error_in_the_configuration_is_found_bad_and_a_file_that_is_not_there_cannot_be_read() {
    let folder = folder(&SERVES_RECORDED.replace("max_runners", "max_runnerz"), b"key");
    let answer = doctor(&folder, &["--json"]);
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    let found = findings(&answer);
    assert_eq!((found.len(), &found[0]["check"], &found[0]["state"]), (1, &"config".into(), &"not_ok".into()));
    assert!(found[0]["remedy"].as_str().unwrap().contains("max_runners"), "{}", found[0]);
    let plain = doctor(&folder, &[]);
    assert_eq!(plain.code, Some(1));
    for word in ["NOT OK", "why: ", "do: ", "0 ok, 1 not ok, 0 not checked"] {
        assert!(plain.out.contains(word), "{word} is not in {}", plain.out);
    }
    fs::remove_file(folder.path().join("muster.toml")).unwrap();
    let gone = doctor(&folder, &["--json"]);
    assert_eq!((gone.code, gone.out.as_str()), (Some(2), ""));
    assert!(gone.err.contains("muster.toml"), "{}", gone.err);
    assert_eq!(doctor(&folder, &["--door", "nowhere"]).code, Some(2), "that is no address");
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_adapters_says_so() {
    let answer = doctor(&folder(SERVES_RECORDED, b"key"), &["--json"]);
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    let found = findings(&answer);
    let build = found.last().unwrap();
    assert_eq!((found.len(), &build["check"]), (3, &"build".into()));
    assert!(build["remedy"].as_str().unwrap().contains("--features aws"), "{build}");
}

/// A GitHub, and the folder of a fleet for it, of which nothing is wrong. `api_url` tells where the fleet finds it.
#[cfg(feature = "aws")]
pub(crate) fn healthy(
    base_path: &str,
    api_url: impl Fn(&muster_tests::github::FakeGithub) -> String,
) -> (muster_tests::github::FakeGithub, TempDir) {
    use muster_tests::github::{FakeGithub, FakeLog, FakeOwner, FakeSetup};

    let mut setup = FakeSetup::new(FakeOwner::Organization("octo-org".to_owned()));
    (setup.apps, setup.base_path) = (vec![1], base_path.to_owned());
    let fake = FakeGithub::start(setup);
    fake.world().group("Default").unwrap().public = true;
    fake.world().deliver(FakeLog::App(1), "workflow_job", serde_json::json!({ "action": "queued" }), 202);
    let url = format!("api_url = \"{}\"\nwebhook_secrets", api_url(&fake));
    // Of the pools in it, one is closed to public repositories, and its group is not.
    let text = SERVES_RECORDED
        .replace("webhook_secrets", &url)
        .replace("repositories = [\"*\"]\npublic_repositories = true", "repositories = [\"*\"]")
        .replace("repositories = [\"*\"]", "repositories = [\"*\"]\npublic_repositories = true");
    let folder = folder(&text, &fake.key(1));
    (fake, folder)
}

#[cfg(feature = "aws")]
#[test]
fn a_healthy_set_up_is_fine_and_a_sick_one_is_found_bad() {
    let (fake, folder) = healthy("", |fake| fake.url().to_owned());
    let well = doctor(&folder, &["--json", "--door", "https://muster.example"]);
    assert_eq!(well.code, Some(0), "{} {}", well.out, well.err);
    let found = findings(&well);
    let unknown: Vec<_> = found.iter().filter(|finding| finding["state"] != "ok").collect();
    assert!(unknown.len() == 1 && unknown[0]["check"] == "aws_identity", "{unknown:?}");
    fake.world().app_hook(1).content_type = "form".to_owned();
    let sick = doctor(&folder, &["--json", "--door", "https://muster.example", "--redeliver"]);
    assert_eq!(sick.code, Some(1), "{} {}", sick.out, sick.err);
    let bad: Vec<_> = findings(&sick).into_iter().filter(|finding| finding["state"] == "not_ok").collect();
    assert!(bad.len() == 1 && bad[0]["check"] == "webhook_content_type", "{bad:?}");
    for secret in fake.world().secrets() {
        assert!(!sick.out.contains(secret) && !sick.err.contains(secret));
    }
}
