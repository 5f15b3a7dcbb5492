//! `muster ledger`: one line for each job, and the facts that were set aside.

use muster_core::time::Timestamp;
use muster_store::{SqliteOptions, SqliteStore, Upkeep};
use muster_tests::{Happening, JobDelivery, until};
use serde_json::{Value, json};

use crate::fleet::{Fleet, SERVES_RECORDED, SOON};
use crate::http::job;
use crate::shape::{Kind, has};

/// Panics unless this is an entry of the ledger.
pub(crate) fn is_entry(entry: &Value) {
    has(entry, &[("job_id", Kind::Whole), ("attempt", Kind::Whole), ("phase", Kind::Text)]);
    for key in ["class", "reason", "runner", "demanded_at", "started_at", "completed_at", "conclusion"] {
        has(entry, &[(key, Kind::TextOrNull)]);
    }
    for key in ["demanded_at", "started_at", "completed_at"] {
        let at = entry[key].as_str();
        assert!(at.is_none_or(|at| Timestamp::parse(at).is_some()), "{key} in {entry}");
    }
    let phase = entry["phase"].as_str().unwrap();
    assert!(["waiting", "queued", "running", "completed", "refused"].contains(&phase), "{entry}");
    assert_eq!(phase == "refused", entry["reason"].is_string(), "{entry}");
    assert_eq!(phase == "refused", entry["class"].is_null(), "{entry}");
}

#[tokio::test]
async fn one_line_for_each_job() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    let started = Happening::Started { at: "2026-11-22T10:00:30Z".to_owned(), runner: "elsewhere".to_owned() };
    let completed = Happening::Completed { at: "2026-11-22T10:00:50Z".to_owned(), conclusion: "cancelled" };
    let deliveries = [
        job(1, &["gpu"]),
        JobDelivery { happening: started, ..job(2, &["gpu"]) },
        JobDelivery { happening: completed, ..job(3, &["gpu"]) },
        job(4, &["nobody-has-this"]),
    ];
    for delivery in &deliveries {
        assert_eq!(server.door.tell(delivery).await.0, 202);
    }
    let entries = fleet.ledger();
    entries.iter().for_each(is_entry);
    let told: Vec<Value> = entries
        .iter()
        .map(|entry| json!([entry["job_id"], entry["phase"], entry["runner"], entry["conclusion"]]))
        .collect();
    let expected = [
        json!([1, "queued", null, null]),
        json!([2, "running", "elsewhere", null]),
        json!([3, "completed", null, "cancelled"]),
        json!([4, "refused", null, null]),
    ];
    assert_eq!(told, expected);
    let plain = fleet.on_ledger("ledger", &[]);
    assert_eq!((plain.code, plain.out.lines().count()), (Some(0), 4), "{}", plain.out);
    server.end();
    assert_eq!(fleet.ledger(), entries, "the same once nobody serves");
}

#[tokio::test]
async fn a_fact_that_does_not_read_is_set_aside_and_shown() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let store = SqliteStore::open(&fleet.file("muster.sqlite"), &SqliteOptions::default()).unwrap();
    let at = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
    store.put_raw("of another version", at, r#"{"fact":"weather"}"#).await.unwrap();
    drop(store);
    let server = fleet.serve();
    assert_eq!(server.door.tell(&job(1, &["gpu"])).await.0, 202);
    let answer = until("the fact is set aside", SOON, || {
        Some(fleet.on_ledger("ledger", &["--set-aside", "--json"])).filter(|answer| !answer.out.is_empty())
    });
    assert_eq!(answer.code, Some(1), "it is something bad: {}", answer.err);
    let fact = answer.json();
    has(&fact, &[("seq", Kind::Whole), ("reason", Kind::Text), ("received_at", Kind::Text)]);
    assert_eq!((&fact["key"], &fact["body"]), (&json!("of another version"), &json!(r#"{"fact":"weather"}"#)));
    assert_eq!(fleet.job(1).unwrap()["phase"], "queued", "what reads goes on");
    server.end();
}
