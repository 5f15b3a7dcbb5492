//! How `muster serve` begins and ends.

use std::fs;
use std::time::{Duration, Instant};

use muster_core::protocol::AgentState;
use muster_store::{SqliteStore, Upkeep};
use serde_json::Value;

use crate::agent::{Agent, unclaimed};
use crate::fleet::{Fleet, SERVES_RECORDED, SOON};
use crate::http::job;

#[test]
fn a_second_one_on_the_same_ledger_is_refused() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    let second = fleet.serve_in_vain();
    assert_eq!((second.code, second.out.as_str()), (Some(2), ""));
    assert!(second.err.contains("in use by another Muster") && second.err.contains("stop that one"), "{}", second.err);
    server.end();
    fleet.serve().end();
}

#[test]
fn what_it_cannot_begin_with_is_told_by_its_exit_code() {
    let no_app = SERVES_RECORDED.replace("\"octo-org\"", "");
    let no_variable = SERVES_RECORDED.replace("file:webhook.secret", "env:MUSTER_TEST_NOT_SET");
    let no_file = SERVES_RECORDED.replace("webhook.secret", "webhook.gone");
    let cases = [
        ("invalid", no_app, "muster.toml", 1),
        ("secret", no_variable, "export", 2),
        ("file", no_file, "webhook.gone", 2),
    ];
    for (case, config, says, code) in cases {
        let answer = Fleet::new(&config).serve_in_vain();
        assert_eq!((answer.code, answer.out.as_str()), (Some(code), ""), "{case}: {}", answer.err);
        assert!(answer.err.contains(says), "{case}: {}", answer.err);
    }
    let fleet = Fleet::new(SERVES_RECORDED);
    fs::remove_file(fleet.file("muster.toml")).unwrap();
    let answer = fleet.serve_in_vain();
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("cannot read") && answer.err.contains("muster.toml"), "{}", answer.err);
    assert!(!fleet.file("muster.sqlite").exists(), "no ledger is made for nothing");
    let fleet = Fleet::new(SERVES_RECORDED);
    fs::write(fleet.file("muster.sqlite"), "somebody's notes").unwrap();
    let answer = fleet.serve_in_vain();
    assert_eq!(answer.code, Some(2));
    assert!(answer.err.contains("not a ledger"), "{}", answer.err);
    assert_eq!(fs::read_to_string(fleet.file("muster.sqlite")).unwrap(), "somebody's notes");
}

/// Whoever waits for the first line may ask for the end right after it.
#[test]
fn sigterm_right_after_the_first_line_is_a_clean_end() {
    let fleet = Fleet::new(SERVES_RECORDED);
    for _ in 0..10 {
        fleet.serve().end();
    }
}

/// The simulated cloud begins anew with every process, and the ledger does not: it must not be given known machines again.
#[tokio::test]
async fn a_new_process_launches_machines_that_the_ledger_does_not_know() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    for number in 1..=2 {
        assert_eq!(server.door.tell(&job(number, &["gpu"])).await.0, 202);
    }
    let before = unclaimed(&fleet, 2).await;
    for instance in &before {
        Agent::claim(&server.door, instance).await;
    }
    server.end();
    let server = fleet.serve();
    for number in 3..=4 {
        assert_eq!(server.door.tell(&job(number, &["gpu"])).await.0, 202);
    }
    for instance in unclaimed(&fleet, 2).await {
        assert!(!before.contains(&instance));
        Agent::claim(&server.door, &instance).await;
    }
    server.end();
}

#[tokio::test]
async fn sigterm_ends_it_while_agents_hold_long_polls() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    for number in 1..=3 {
        assert_eq!(server.door.tell(&job(number, &["gpu"])).await.0, 202);
    }
    let mut polls = Vec::new();
    for instance in unclaimed(&fleet, 3).await {
        let agent = Agent::claim(&server.door, &instance).await;
        let poll = agent.report(&server.door, AgentState::Listening);
        polls.push((instance, tokio::spawn(poll.send())));
    }
    // A report renews the machine's lease before it waits: then the polls are open.
    let store = SqliteStore::open_read_only(&fleet.file("muster.sqlite")).unwrap();
    let began = Instant::now();
    for (instance, _) in &polls {
        while store.lease(instance).await.unwrap().is_none() {
            assert!(began.elapsed() < SOON, "{instance} was not heard");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(polls.len(), 3);
    assert!(polls.iter().all(|(_, poll)| !poll.is_finished()), "the polls wait");
    let asked = Instant::now();
    let answer = tokio::task::spawn_blocking(move || server.end()).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(answer.err.contains("asked to end"), "{}", answer.err);
    for (_, poll) in polls {
        // Answered or cut off, but not left hanging.
        let _ = tokio::time::timeout(SOON, poll).await.expect("the poll is over");
    }
}

/// The scaler finds it out by itself: nothing comes in that would have to be written.
#[cfg(unix)]
#[tokio::test]
async fn a_ledger_that_is_gone_is_told_by_a_scaler_that_has_nothing_to_write() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    assert_eq!(server.door.tell(&job(1, &["gpu"])).await.0, 202);
    assert_eq!(unclaimed(&fleet, 1).await.len(), 1);
    let (ledger, away) = (fleet.file("muster.sqlite"), fleet.file("away"));
    fs::rename(&ledger, &away).unwrap();
    let failed_tick = |line: &Value| {
        let error = line["fields"]["error"].as_str().unwrap_or_default();
        line["target"] == "muster::scaler"
            && line["level"] == "ERROR"
            && error.contains("muster.sqlite was moved, removed or replaced")
    };
    // A tick comes once a minute, whatever happens.
    let (began, within) = (Instant::now(), Duration::from_secs(60) + SOON);
    while !server.log().iter().any(failed_tick) {
        assert!(began.elapsed() < within, "no tick has failed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.door.health().await.0, 503);
    assert_eq!(server.door.tell(&job(2, &["gpu"])).await.0, 503, "GitHub shows it as failed, and it is found there");
    // Put back, it goes on.
    fs::rename(&away, &ledger).unwrap();
    assert_eq!(server.door.tell(&job(2, &["gpu"])).await.0, 202);
    assert_eq!(unclaimed(&fleet, 2).await.len(), 2);
    assert_eq!(server.door.health().await.0, 200);
    server.end();
}
