//! `muster explain`: labels, and the story of a job.

use muster_core::ports::Switch;
use muster_store::SqliteStore;
use muster_tests::{Answer, Happening, JobDelivery};
use serde_json::{Value, json};

use crate::fleet::{Fleet, SERVES_RECORDED, SOON, is_launch_for, muster};
use crate::http::job;
use crate::shape::{Kind, has};

fn explain(labels: &str, repository: &str, public: bool) -> Answer {
    let example = muster_tests::example_config().display().to_string();
    let mut arguments = vec!["explain", "--json", "--config", &example, "--labels", labels, "--repo", repository];
    if public {
        arguments.push("--public");
    }
    muster().run(&arguments)
}

const ANSWER: [(&str, Kind); 4] =
    [("outcome", Kind::Text), ("shapes", Kind::Texts), ("also", Kind::Texts), ("why", Kind::Text)];

#[test]
fn labels_that_a_class_serves() {
    let answer = explain("Self-Hosted,linux,x64,cpu-8", "acme/api", false);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    let said = answer.json();
    has(&said, &ANSWER);
    has(&said, &[("class", Kind::Texts), ("pool", Kind::Text), ("market", Kind::Text)]);
    assert_eq!(said["outcome"], "class");
    assert_eq!(said["pool"], "linux");
    assert_eq!(said["market"], "spot", "the pool's default");
    assert_eq!(said["class"], json!(["self-hosted", "linux", "x64", "cpu-8", "spot"]));
    assert!(!said["shapes"].as_array().unwrap().is_empty() && !said["why"].as_str().unwrap().is_empty());
    let also = said["also"].as_array().unwrap();
    assert_eq!(also.len(), 2, "the other two markets: {also:?}");
}

#[test]
fn every_refusal() {
    let cases = [
        ("self-hosted,linux,x64", "other/api", false, "repository_not_allowed"),
        ("self-hosted,linux,x64", "acme/api", true, "public_repository"),
        ("", "acme/api", false, "no_labels"),
        ("ubuntu-24.04", "acme/api", false, "github_hosted"),
        ("self-hosted,solaris", "acme/api", false, "no_pool"),
        ("self-hosted,linux,arm64,cpu-8", "acme/api", false, "size_not_allowed"),
        ("self-hosted,linux,x64,c7i.large", "acme/api", false, "instance_type_not_allowed"),
        ("self-hosted,windows,x64,spot", "acme/api", false, "market_not_allowed"),
    ];
    for (labels, repository, public, outcome) in cases {
        let answer = explain(labels, repository, public);
        assert_eq!(answer.code, Some(1), "{labels}: {} {}", answer.out, answer.err);
        let said = answer.json();
        has(&said, &ANSWER);
        assert_eq!(said["outcome"], outcome, "{labels}: {said}");
        assert_eq!((&said["pool"], &said["class"]), (&Value::Null, &Value::Null));
        assert!(!said["why"].as_str().unwrap().is_empty(), "{said}");
    }
}

#[test]
fn a_configuration_that_is_bad_is_exit_code_1_and_a_missing_one_2() {
    let fleet = Fleet::new(&SERVES_RECORDED.replace("\"octo-org\"", "7"));
    for (config, code) in [(fleet.shown("muster.toml"), 1), (fleet.shown("gone.toml"), 2)] {
        let answer = muster().run(&["explain", "--json", "--config", &config, "--labels", "gpu"]);
        assert_eq!((answer.code, answer.out.as_str()), (Some(code), ""), "{config}");
        assert!(answer.err.contains(&config), "{}", answer.err);
    }
}

#[tokio::test]
async fn the_story_of_a_job() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    let at = |second: u32| format!("2026-11-22T10:00:{second:02}Z");
    let life = [
        Happening::Queued,
        Happening::Started { at: at(30), runner: "elsewhere".to_owned() },
        Happening::Completed { at: at(50), conclusion: "success" },
    ];
    for happening in life {
        let delivery = JobDelivery { happening, ..job(1, &["gpu"]) };
        assert_eq!(server.door.tell(&delivery).await.0, 202);
    }
    assert_eq!(server.door.tell(&job(2, &["nobody-has-this"])).await.0, 202);
    assert_eq!(server.door.tell(&job(3, &["gpu"])).await.0, 202);
    server.logged("the launch for job 3", |line| is_launch_for(line, "gpu"));
    let story = |job: &str| fleet.on_ledger("explain", &["--json", "--job", job]);

    let ran = story("1");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let ran = ran.json();
    crate::ledger::is_entry(&ran);
    has(&ran, &[("events", Kind::List), ("why", Kind::Text), ("queue_time_s", Kind::Number)]);
    assert_eq!((&ran["phase"], &ran["conclusion"]), (&json!("completed"), &json!("success")));
    let events = ran["events"].as_array().unwrap();
    let chain: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(chain, ["queued", "in_progress", "completed"]);
    for event in events {
        has(event, &[("at", Kind::Text), ("received_at", Kind::Text), ("detail", Kind::Object)]);
    }
    assert!(ran["why"].as_str().unwrap().contains("elsewhere"), "{ran}");

    let refused = story("2");
    assert_eq!(refused.code, Some(1));
    let refused = refused.json();
    assert_eq!((&refused["phase"], &refused["reason"]), (&json!("refused"), &json!("no_pool")));
    assert!(refused["why"].as_str().unwrap().contains("nobody-has-this"), "{refused}");

    let waits = muster_tests::until("the story tells of the machine", SOON, || {
        let waits = story("3").json();
        waits["why"].as_str().unwrap().contains("1 machines").then_some(waits)
    });
    assert_eq!((&waits["phase"], &waits["queue_time_s"]), (&json!("queued"), &Value::Null));

    let unknown = story("4");
    assert_eq!((unknown.code, unknown.out.as_str()), (Some(2), ""));
    assert!(unknown.err.contains("no job 4"), "{}", unknown.err);
    server.end();
}

/// A story that names another reason than the scaler's log is worse than none.
#[tokio::test]
async fn why_a_job_waits_is_what_the_scaler_says() {
    let cases = [
        ("budget_usd_per_hour = 0.01", Switch::Run, "the fleet is at its budget_usd_per_hour"),
        ("max_runners = 0", Switch::Run, "the fleet is at its max_runners of 0"),
        ("max_runners = 8", Switch::Freeze, "the switch says freeze"),
        ("max_runners = 8", Switch::NoLaunch, "the switch says no-launch"),
    ];
    for (line, switch, reason) in cases {
        let priced = "usd_per_hour = { on-demand = 1.0 }\ninstance_types = ";
        let config = SERVES_RECORDED.replace("instance_types = ", priced).replace("max_runners = 8", line);
        let fleet = Fleet::new(&config);
        let server = fleet.serve();
        SqliteStore::flip_switch(&fleet.file("muster.sqlite"), switch).unwrap();
        assert_eq!(server.door.tell(&job(1, &["gpu"])).await.0, 202);
        server.logged(reason, |log| log["fields"]["message"].as_str().is_some_and(|told| told.ends_with(reason)));
        let story = fleet.on_ledger("explain", &["--json", "--job", "1"]).json();
        assert!(story["why"].as_str().unwrap().ends_with(reason), "{line} {switch:?}: {story}");
        server.end();
        let story = fleet.on_ledger("explain", &["--json", "--job", "1"]).json();
        assert!(story["why"].as_str().unwrap().ends_with(reason), "{line} {switch:?}: {story}");
    }
}
