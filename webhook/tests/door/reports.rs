//! Reports: which are facts, which are refused, and the long poll.

use std::time::Duration;

use axum::http::StatusCode;
use muster_core::claim::Order;
use muster_core::ids::InstanceId;
use muster_core::machine::Report;
use muster_core::ports::Store;
use muster_core::protocol::{AgentState, Numbered, ReportAnswer, ReportRequest, SessionProof};
use muster_webhook::ReportError;
use muster_webhook::seal::KeyPair;
use serde_json::json;

use crate::world::{INSTANCE, NONCE, World, claim, session, start};

async fn claimed() -> (World, SessionProof) {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let answer = world.door.claims().claim(&claim(INSTANCE, NONCE, &keys)).await.expect("a good claim");
    let proof = session(&answer, &keys);
    (world, proof)
}

fn says(from: &SessionProof, state: AgentState) -> ReportRequest {
    ReportRequest { from: from.clone(), state, wait_s: 0, seen_order: 0 }
}

fn waits(from: &SessionProof, state: AgentState) -> ReportRequest {
    ReportRequest { wait_s: 25, ..says(from, state) }
}

async fn tell(world: &World, request: &ReportRequest) -> Result<ReportAnswer, ReportError> {
    world.door.reports().report(request).await
}

fn order(world: &World, seq: u32, order: Order) {
    let instance = InstanceId::new(INSTANCE);
    world.store.orders.lock().expect("not poisoned").insert(instance.clone(), Numbered { seq, order });
    world.wakers.ring(&instance);
}

#[tokio::test(start_paused = true)]
async fn every_state_but_ready_is_a_fact_once() {
    let (world, proof) = claimed().await;
    let why = format!("no\nnetwork{}", "x".repeat(2_000));
    let kept = format!("no network{}", "x".repeat(990));
    let states = [
        (AgentState::Listening, Report::Listening),
        (AgentState::Frozen { number: 2 }, Report::Frozen { order: 2 }),
        (AgentState::Thawed { number: 2 }, Report::Thawed { order: 2 }),
        (AgentState::Busy, Report::Busy),
        (AgentState::Interrupted, Report::Interrupted),
        (AgentState::Done { ran_job: true }, Report::Done { ran_job: true }),
        (AgentState::Drained, Report::Drained),
        (AgentState::Failed { why }, Report::Failed { why: kept.into() }),
    ];
    for (state, report) in states {
        let before = world.bell.rings();
        tell(&world, &says(&proof, state.clone())).await.unwrap();
        assert!(world.reports().contains(&report), "{report:?}");
        assert_eq!(world.bell.rings(), before + 1);
        let facts = world.facts().len();
        tell(&world, &says(&proof, state)).await.unwrap();
        assert_eq!((world.facts().len(), world.bell.rings()), (facts, before + 1), "a repeat is a heartbeat");
    }
    let facts = world.facts().len();
    tell(&world, &says(&proof, AgentState::Ready)).await.unwrap();
    assert_eq!(world.facts().len(), facts);
    assert!(world.machine_facts().iter().all(|event| event.session == 1 && event.at == start()));
    assert_eq!(world.store.leases.lock().unwrap().get(&proof.instance), Some(&start()));
}

#[tokio::test]
async fn a_wrong_token_session_or_instance_is_401() {
    let (world, proof) = claimed().await;
    let facts = world.facts();
    let change = |field: &str, value: serde_json::Value| {
        let mut body = serde_json::to_value(says(&proof, AgentState::Busy)).unwrap();
        body[field] = value;
        body
    };
    let cases = [
        change("token", "00".repeat(32).into()),
        change("session", 2.into()),
        change("instance", "i-00000000000000000".into()),
    ];
    for body in cases {
        let (status, answer) = world.post("/runners/report", &body).await;
        assert_eq!((status, &answer["error"]), (StatusCode::UNAUTHORIZED, &"not proven".into()), "{body}");
    }
    let malformed = [
        change("token", "00".into()),
        change("token", "ZZ".repeat(32).into()),
        change("session", 0.into()),
        change("instance", "".into()),
        change("instance", "i/../x".into()),
        change("state", "dancing".into()),
        change("session", json!("1")),
        json!({ "state": "busy" }),
    ];
    for body in malformed {
        assert_eq!(world.post("/runners/report", &body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(world.facts(), facts);
    assert!(world.store.leases.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_machine_that_is_ending_is_still_heard() {
    let (world, proof) = claimed().await;
    world.change(INSTANCE, |m| (m.terminate_at, m.gone_at) = (Some(start()), Some(start())));
    let answer = tell(&world, &says(&proof, AgentState::Done { ran_job: true })).await.unwrap();
    assert_eq!(answer, ReportAnswer::default());
    assert!(world.reports().contains(&Report::Done { ran_job: true }));
}

#[tokio::test]
async fn the_configuration_is_told_to_a_ready_machine_and_dropped_once_it_listens() {
    let (world, proof) = claimed().await;
    assert_eq!(tell(&world, &says(&proof, AgentState::Ready)).await.unwrap(), ReportAnswer::default());
    world.mint(INSTANCE, b"jit").await;
    assert_eq!(tell(&world, &says(&proof, AgentState::Interrupted)).await.unwrap().sealed_config, None);
    assert!(tell(&world, &says(&proof, AgentState::Ready)).await.unwrap().sealed_config.is_some());
    tell(&world, &says(&proof, AgentState::Listening)).await.unwrap();
    let row = world.store.claim(&proof.instance).await.unwrap().unwrap();
    assert!(row.sealed_config.is_none() && row.registration.is_some());
    assert_eq!(tell(&world, &says(&proof, AgentState::Ready)).await.unwrap().sealed_config, None);
}

#[tokio::test]
async fn an_order_is_told_until_it_was_seen() {
    let (world, proof) = claimed().await;
    order(&world, 3, Order::Drain { number: 1 });
    let mut request = says(&proof, AgentState::Busy);
    for (seen, told) in [(0, Some(3)), (2, Some(3)), (3, None), (9, None)] {
        request.seen_order = seen;
        assert_eq!(tell(&world, &request).await.unwrap().order.map(|o| o.seq), told, "seen {seen}");
    }
    request.seen_order = 0;
    let (status, body) = world.post("/runners/report", &serde_json::to_value(&request).unwrap()).await;
    assert_eq!((status, body), (StatusCode::OK, json!({ "order": { "seq": 3, "order": "drain", "number": 1 } })));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_report_is_answered_as_soon_as_there_is_something() {
    for state in [AgentState::Listening, AgentState::Ready, AgentState::Frozen { number: 1 }] {
        let (world, proof) = claimed().await;
        let request = waits(&proof, state);
        let begun = tokio::time::Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_millis(1_700)).await;
            order(&world, 1, Order::Interruption);
        };
        let (answer, ()) = tokio::join!(tell(&world, &request), later);
        assert_eq!(answer.unwrap().order, Some(Numbered { seq: 1, order: Order::Interruption }));
        assert_eq!(begun.elapsed(), Duration::from_millis(1_700));
    }
    let (world, proof) = claimed().await;
    let request = waits(&proof, AgentState::Ready);
    let begun = tokio::time::Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.mint(INSTANCE, b"jit").await;
    };
    let (answer, ()) = tokio::join!(tell(&world, &request), later);
    assert!(answer.unwrap().sealed_config.is_some());
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_there_already_is_answered_without_a_wait() {
    let (world, proof) = claimed().await;
    order(&world, 1, Order::Drain { number: 1 });
    let begun = tokio::time::Instant::now();
    assert!(tell(&world, &waits(&proof, AgentState::Listening)).await.unwrap().order.is_some());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_ring_from_another_process_is_missed_but_not_for_long() {
    let (world, proof) = claimed().await;
    let request = waits(&proof, AgentState::Listening);
    let begun = tokio::time::Instant::now();
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let order = Numbered { seq: 1, order: Order::Interruption };
        world.store.orders.lock().unwrap().insert(proof.instance.clone(), order);
    };
    let (answer, ()) = tokio::join!(tell(&world, &request), later);
    assert!(answer.unwrap().order.is_some());
    assert!(begun.elapsed() < Duration::from_secs(25));
}

#[tokio::test(start_paused = true)]
async fn only_idle_machines_wait_and_none_longer_than_25_s() {
    let (world, proof) = claimed().await;
    let begun = tokio::time::Instant::now();
    for state in [AgentState::Busy, AgentState::Done { ran_job: true }, AgentState::Drained, AgentState::Interrupted] {
        tell(&world, &waits(&proof, state)).await.unwrap();
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let mut request = waits(&proof, AgentState::Listening);
    request.wait_s = u32::MAX;
    assert_eq!(tell(&world, &request).await.unwrap(), ReportAnswer::default());
    assert_eq!(begun.elapsed(), Duration::from_secs(25));
    assert_eq!(world.wakers.waited_for(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiters_leave_no_trace_when_their_connection_breaks() {
    let (world, proof) = claimed().await;
    let request = waits(&proof, AgentState::Listening);
    {
        let one = tell(&world, &request);
        let two = tell(&world, &request);
        let both = async { tokio::join!(one, two) };
        let broken = tokio::time::timeout(Duration::from_secs(1), both).await;
        assert!(broken.is_err());
    }
    assert_eq!(world.wakers.waited_for(), 0);
    // One of two leaves: the other is still woken.
    let begun = tokio::time::Instant::now();
    let leaves = tokio::time::timeout(Duration::from_secs(1), tell(&world, &request));
    let later = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        order(&world, 1, Order::Interruption);
    };
    let (left, answer, ()) = tokio::join!(leaves, tell(&world, &request), later);
    assert!(left.is_err() && answer.unwrap().order.is_some());
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

#[tokio::test]
async fn a_machine_that_is_being_ended_gets_no_configuration() {
    let (world, proof) = claimed().await;
    world.mint(INSTANCE, b"config").await;
    world.change(INSTANCE, |machine| machine.terminate_at = Some(start()));
    assert_eq!(tell(&world, &says(&proof, AgentState::Ready)).await.expect("taken"), ReportAnswer::default());
    world.change(INSTANCE, |machine| machine.terminate_at = None);
    let answer = tell(&world, &says(&proof, AgentState::Ready)).await.expect("taken");
    assert!(answer.sealed_config.is_some());
}
