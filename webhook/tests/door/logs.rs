//! Where machines may put their logs: who gets an address, for what, and that nobody else does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use muster_core::log_shelf::FILES_MAX;
use muster_core::protocol::SessionProof;
use muster_webhook::seal::KeyPair;
use serde_json::{Value, json};

use crate::world::{CONFIG, DETAIL, INSTANCE, NONCE, World, claim, config, session, start};

const LOGS: &str = "\n[logs]\nbucket = \"acme-logs\"\nprefix = \"ci\"\nmax_mib = 2\n";
const MIB: u64 = 1 << 20;

async fn claimed(logs: &str) -> (World, SessionProof) {
    let (world, keys) = (World::with_config(&format!("{CONFIG}{logs}")), KeyPair::generate());
    world.launch(INSTANCE);
    let answer = world.door.claims().claim(&claim(INSTANCE, NONCE, &keys)).await.expect("a good claim");
    (world, session(&answer, &keys))
}

fn body(from: &SessionProof, kind: &str, number: u32, bytes: u64) -> Value {
    let mut body = serde_json::to_value(from).expect("JSON");
    (body["kind"], body["number"], body["bytes"]) = (json!(kind), json!(number), json!(bytes));
    body
}

async fn ask(world: &World, body: &Value) -> (StatusCode, Value) {
    world.post("/runners/logs", body).await
}

#[tokio::test]
async fn a_session_gets_an_address_for_each_of_its_few_logs() {
    let (world, from) = claimed(LOGS).await;
    let facts = world.facts();
    for (kind, number) in [("runner", 1), ("runner", FILES_MAX), ("worker", 1)] {
        let (status, answer) = ask(&world, &body(&from, kind, number, 1_000)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let url = format!("https://acme-logs.example/ci/{INSTANCE}/1-{kind}-{number}.log?signature=1");
        let headers = json!({ "content-length": "1000" });
        assert_eq!(answer, json!({ "url": url, "headers": headers, "bytes": 1_000, "expires_s": 60 }));
    }
    assert_eq!(world.facts(), facts, "it is no report");
}

/// The size is granted, and what is granted is what is signed.
#[tokio::test]
async fn of_a_large_log_only_so_much_may_be_put() {
    let (world, from) = claimed(LOGS).await;
    for (has, may) in [(2 * MIB - 1, 2 * MIB - 1), (2 * MIB, 2 * MIB), (2 * MIB + 1, 2 * MIB), (u64::MAX, 2 * MIB)] {
        let (_, answer) = ask(&world, &body(&from, "worker", 1, has)).await;
        assert_eq!((&answer["bytes"], &answer["headers"]["content-length"]), (&json!(may), &json!(may.to_string())));
    }
}

#[tokio::test]
async fn no_other_name_number_or_size() {
    let (world, from) = claimed(LOGS).await;
    let good = body(&from, "worker", 1, 10);
    let changed = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (field, value) in [
        ("kind", json!("../../muster.toml")),
        ("kind", json!("Worker")),
        ("number", json!(0)),
        ("number", json!(FILES_MAX + 1)),
        ("number", json!("1/../2")),
        ("bytes", json!(0)),
        ("bytes", json!(-1)),
        ("instance", json!("i-0/../x")),
        ("session", json!(0)),
        ("token", json!("no")),
    ] {
        let (status, answer) = ask(&world, &changed(field, value)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{field}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(field), "{field}: {answer}");
    }
    assert_eq!(ask(&world, &good).await.0, StatusCode::OK);
}

#[tokio::test]
async fn only_the_machines_own_session_is_heard() {
    let (world, from) = claimed(LOGS).await;
    world.launch("i-0another");
    let keys = KeyPair::generate();
    let answer = world.door.claims().claim(&claim("i-0another", NONCE, &keys)).await.expect("a good claim");
    let other = session(&answer, &keys);
    for wrong in [
        SessionProof { token: other.token.clone(), ..from.clone() },
        SessionProof { instance: other.instance.clone(), ..from.clone() },
        SessionProof { session: 2, ..from.clone() },
        SessionProof { token: "0".repeat(64), ..from.clone() },
    ] {
        let (status, answer) = ask(&world, &body(&wrong, "worker", 1, 10)).await;
        assert_eq!((status, answer["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("not proven")));
        assert!(answer.get("url").is_none());
    }
}

/// After `done` is when logs are put; once the cloud says that the machine is gone, it is not the machine who asks.
#[tokio::test]
async fn the_end_of_a_session_is_no_hindrance_and_the_end_of_its_machine_is() {
    let (world, from) = claimed(LOGS).await;
    let mut done = serde_json::to_value(&from).unwrap();
    (done["state"], done["ran_job"]) = (json!("done"), json!(true));
    assert_eq!(world.post("/runners/report", &done).await.0, StatusCode::OK);
    world.merge(INSTANCE);
    world.change(INSTANCE, |machine| machine.terminate_at = Some(start()));
    let asked = body(&from, "worker", 1, 10);
    assert_eq!(ask(&world, &asked).await.0, StatusCode::OK);

    world.change(INSTANCE, |machine| machine.gone_at = Some(start()));
    assert_eq!(ask(&world, &asked).await.0, StatusCode::UNAUTHORIZED);
    world.store.machines.lock().unwrap().clear();
    assert_eq!(ask(&world, &asked).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_fleet_keeps_logs_only_if_it_says_so() {
    let (world, from) = claimed("").await;
    let asked = body(&from, "worker", 1, 10);
    let (status, answer) = ask(&world, &asked).await;
    assert_eq!((status, answer["error"].as_str()), (StatusCode::NOT_FOUND, Some("this fleet keeps no logs")));
    // The configuration in force is what counts.
    world.config.replace(Arc::new(config(&format!("{CONFIG}{LOGS}"))));
    assert_eq!(ask(&world, &asked).await.0, StatusCode::OK);
}

#[tokio::test]
async fn our_own_failures_are_503_and_say_nothing() {
    let (world, from) = claimed("\n[logs]\nbucket = \"no-credentials\"\n").await;
    let asked = body(&from, "worker", 1, 10);
    let (status, answer) = ask(&world, &asked).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer["retry_after_s"].is_u64() && !answer.to_string().contains(DETAIL), "{answer}");
    world.store.down.store(true, Ordering::Relaxed);
    assert_eq!(ask(&world, &asked).await.0, StatusCode::SERVICE_UNAVAILABLE);
}
