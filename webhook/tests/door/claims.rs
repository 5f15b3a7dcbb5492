//! Claims: the right ones, the repeated ones, and the attacks.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::http::StatusCode;
use muster_core::ids::{InstanceId, JobId, JobKey};
use muster_core::machine::{Drain, Report};
use muster_core::ports::Store;
use muster_core::protocol::{AgentState, ClaimAnswer, ClaimRequest, ReportRequest, SessionProof};
use muster_webhook::ClaimError;
use muster_webhook::claims::{Early, Over};
use muster_webhook::seal::{KeyPair, SealPurpose};
use serde_json::json;

use crate::world::{DETAIL, INSTANCE, NONCE, OTHER_NONCE, World, claim, later_claim, session, start};

async fn ask(world: &World, request: &ClaimRequest) -> Result<ClaimAnswer, ClaimError> {
    world.door.claims().claim(request).await
}

/// A world with one launched and claimed machine.
async fn claimed() -> (World, KeyPair, SessionProof) {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let answer = ask(&world, &claim(INSTANCE, NONCE, &keys)).await.expect("a good claim");
    let proof = session(&answer, &keys);
    world.merge(INSTANCE);
    (world, keys, proof)
}

/// The machine's listener has ended by itself.
async fn done(world: &World, proof: &SessionProof, ran_job: bool) {
    let request = ReportRequest { from: proof.clone(), state: AgentState::Done { ran_job }, wait_s: 0, seen_order: 0 };
    world.door.reports().report(&request).await.expect("a good report");
}

fn over(result: Result<ClaimAnswer, ClaimError>) -> Over {
    match result {
        Err(ClaimError::Over(over)) => over,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_opens_a_session_and_keeps_no_secret() {
    let (world, _, proof) = claimed().await;
    assert_eq!(world.reports(), [Report::Claimed]);
    assert_eq!((world.bell.rings(), world.registrar.rings()), (1, 1));
    assert_eq!((proof.session, proof.token.len()), (1, 64));
    let row = world.store.claim(&InstanceId::new(INSTANCE)).await.unwrap().unwrap();
    assert_eq!(row.claimed_at, start());
    let kept = serde_json::to_string(&row).unwrap();
    assert!(!kept.contains(&proof.token), "the ledger holds only the hash");
}

/// Whoever has overheard a proof cannot open a session with it, not even once the machine's claim is forgotten.
#[tokio::test]
async fn a_proof_opens_one_session() {
    let (world, keys, other) = (World::new(), KeyPair::generate(), KeyPair::generate());
    let request = claim(INSTANCE, NONCE, &keys);
    // Too early, it keeps its proof.
    assert!(matches!(ask(&world, &request).await, Err(ClaimError::TooEarly(Early::Launch))));
    world.launch(INSTANCE);
    ask(&world, &request).await.expect("a good claim");
    ask(&world, &request).await.expect("the same one, repeated");
    world.store.claims.lock().unwrap().clear();
    let overheard = ClaimRequest { proof: request.proof.clone(), ..claim(INSTANCE, OTHER_NONCE, &other) };
    assert!(matches!(ask(&world, &overheard).await, Err(ClaimError::NotProven(_))));
}

#[tokio::test]
async fn the_same_claim_gets_the_same_answer() {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let request = claim(INSTANCE, NONCE, &keys);
    let first = ask(&world, &request).await.unwrap();
    let again = ask(&world, &request).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(world.reports(), [Report::Claimed]);
    world.mint(INSTANCE, b"jit").await;
    let configured = ask(&world, &request).await.unwrap();
    assert_eq!((&configured.sealed_session, configured.session), (&first.sealed_session, 1));
    let sealed = configured.sealed_config.unwrap();
    let opened = keys.open(SealPurpose::RunnerConfig, &InstanceId::new(INSTANCE), 1, &sealed).unwrap();
    assert_eq!(opened, b"jit");
}

#[tokio::test]
async fn a_claim_that_died_before_its_fact_is_told_again() {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let request = claim(INSTANCE, NONCE, &keys);
    ask(&world, &request).await.unwrap();
    world.store.facts.lock().unwrap().clear();
    ask(&world, &request).await.unwrap();
    assert_eq!(world.reports(), [Report::Claimed]);
}

#[tokio::test]
async fn another_nonce_or_another_key_is_refused_while_the_session_stands() {
    let (world, keys, _) = claimed().await;
    let thief = KeyPair::generate();
    for request in
        [claim(INSTANCE, OTHER_NONCE, &keys), claim(INSTANCE, OTHER_NONCE, &thief), claim(INSTANCE, NONCE, &thief)]
    {
        assert!(matches!(ask(&world, &request).await, Err(ClaimError::Taken)));
    }
    let body = serde_json::to_value(claim(INSTANCE, NONCE, &thief)).unwrap();
    assert_eq!(world.post("/runners/claim", &body).await.0, StatusCode::CONFLICT);
    assert_eq!(world.reports(), [Report::Claimed]);
}

/// A field more that no check looks at does not make another proof of a used one: its mark is what counts.
#[tokio::test]
async fn a_used_proof_is_known_by_its_mark() {
    let (world, keys, thief) = (World::new(), KeyPair::generate(), KeyPair::generate());
    world.launch(INSTANCE);
    let mut request = claim(INSTANCE, NONCE, &keys);
    request.proof.insert("fresh".to_owned(), "one".to_owned());
    ask(&world, &request).await.expect("a good claim");
    world.store.claims.lock().unwrap().clear();
    for (field, value) in [("more", "1"), ("moreover", "")] {
        let mut stolen = ClaimRequest { proof: request.proof.clone(), ..claim(INSTANCE, OTHER_NONCE, &thief) };
        stolen.proof.insert(field.to_owned(), value.to_owned());
        let refused = ask(&world, &stolen).await;
        assert!(matches!(refused, Err(ClaimError::NotProven(_))), "{refused:?}");
    }
    request.proof.insert("fresh".to_owned(), "two".to_owned());
    ask(&world, &request).await.expect("a fresh proof");
}

#[tokio::test]
async fn a_machine_of_another_account_is_not_believed() {
    let (world, keys) = (World::new(), KeyPair::generate());
    let from = |account: &str| {
        let mut request = claim(INSTANCE, NONCE, &keys);
        request.proof.insert("account".to_owned(), account.to_owned());
        request
    };
    // It was launched in the controller's own account.
    world.launch(INSTANCE);
    let refused = ask(&world, &from("builds")).await;
    assert!(matches!(refused, Err(ClaimError::NotProven(_))), "{refused:?}");
    world.change(INSTANCE, |machine| machine.purpose.account = Some("builds".into()));
    let refused = ask(&world, &from("tests")).await;
    assert!(matches!(refused, Err(ClaimError::NotProven(_))), "{refused:?}");
    ask(&world, &from("builds")).await.expect("the right account");
}

#[tokio::test]
async fn a_bad_proof_is_401_and_learns_nothing() {
    let world = World::new();
    world.launch(INSTANCE);
    let mut request = claim(INSTANCE, NONCE, &KeyPair::generate());
    request.proof.insert("word".to_owned(), "now".to_owned());
    let (status, body) = world.post("/runners/claim", &serde_json::to_value(&request).unwrap()).await;
    assert_eq!((status, &body["error"]), (StatusCode::UNAUTHORIZED, &"not proven".into()));
    request.proof.insert("word".to_owned(), "later".to_owned());
    let (status, body) = world.post("/runners/claim", &serde_json::to_value(&request).unwrap()).await;
    assert_eq!((status, &body["retry_after_s"]), (StatusCode::SERVICE_UNAVAILABLE, &5.into()));
    assert!(!body.to_string().contains(DETAIL));
    assert!(world.facts().is_empty());
}

#[tokio::test]
async fn an_instance_whose_launch_is_not_recorded_is_told_to_come_back() {
    let (world, keys) = (World::new(), KeyPair::generate());
    let request = claim(INSTANCE, NONCE, &keys);
    let (status, body) = world.post("/runners/claim", &serde_json::to_value(&request).unwrap()).await;
    assert_eq!((status, &body["retry_after_s"]), (StatusCode::TOO_EARLY, &5.into()));
    assert!(matches!(ask(&world, &request).await, Err(ClaimError::TooEarly(Early::Launch))));
    assert!(world.facts().is_empty() && world.store.claims.lock().unwrap().is_empty());
    world.launch(INSTANCE);
    assert_eq!(ask(&world, &request).await.unwrap().session, 1);
}

#[tokio::test]
async fn a_machine_that_is_over_gets_no_session() {
    let keys = KeyPair::generate();
    let at = start();
    let drain = Drain { order: 1, ordered_at: at, removal: None, answered: false, closed_at: None };
    type Change = Box<dyn FnOnce(&mut muster_core::machine::Machine)>;
    let cases: [(Change, Over); 6] = [
        (Box::new(move |m| m.terminate_at = Some(at)), Over::Ending),
        (Box::new(move |m| m.gone_at = Some(at)), Over::Ending),
        (Box::new(move |m| m.failed = Some((at, "x".into()))), Over::Failed),
        (Box::new(move |m| m.interrupted_at = Some(at)), Over::Interrupted),
        (Box::new(move |m| m.drain = Some(drain)), Over::NotNeeded),
        (Box::new(move |m| m.session = 3), Over::Forgotten),
    ];
    for (change, expected) in cases {
        let world = World::new();
        world.change(INSTANCE, change);
        assert_eq!(over(ask(&world, &claim(INSTANCE, NONCE, &keys)).await), expected);
        assert!(world.facts().is_empty());
    }
    let world = World::new();
    world.change(INSTANCE, |m| m.terminate_at = Some(at));
    let body = serde_json::to_value(claim(INSTANCE, NONCE, &keys)).unwrap();
    let (status, body) = world.post("/runners/claim", &body).await;
    assert_eq!((status, &body["over"]), (StatusCode::GONE, &"ending".into()));
}

#[tokio::test]
async fn a_listener_that_ended_without_a_job_may_claim_again_with_its_token() {
    let (world, _, first) = claimed().await;
    world.mint(INSTANCE, b"jit").await;
    let keys = KeyPair::generate();
    let request = later_claim(&first, OTHER_NONCE, &keys);
    // Not before the end of the first session is in the ledger, told and merged.
    assert!(matches!(ask(&world, &request).await, Err(ClaimError::TooEarly(Early::FormerEnd))));
    done(&world, &first, false).await;
    assert!(matches!(ask(&world, &request).await, Err(ClaimError::TooEarly(Early::FormerEnd))));
    world.merge(INSTANCE);

    let answer = ask(&world, &request).await.unwrap();
    assert_eq!((answer.session, &answer.sealed_config), (2, &None));
    let second = session(&answer, &keys);
    assert_ne!(first.token, second.token);
    let row = world.store.claim(&InstanceId::new(INSTANCE)).await.unwrap().unwrap();
    assert_eq!(row.former.unwrap().id.0, 9, "the registrar knows what must be gone first");
    // Repeated because the answer was lost: the same answer, although the former token's hash is gone.
    assert_eq!(ask(&world, &request).await.unwrap(), answer);
    // The former token is worth nothing now.
    let old = ReportRequest { from: first.clone(), state: AgentState::Ready, wait_s: 0, seen_order: 0 };
    assert!(world.door.reports().report(&old).await.is_err());
    for stale in [
        later_claim(&first, "00000000000000000000000000000000", &keys),
        later_claim(&first, OTHER_NONCE, &KeyPair::generate()),
    ] {
        assert!(matches!(ask(&world, &stale).await, Err(ClaimError::NotProven(_))));
    }
}

#[tokio::test]
async fn a_machine_that_ran_a_job_never_claims_again() {
    for by_github in [false, true] {
        let (world, _, first) = claimed().await;
        done(&world, &first, !by_github).await;
        world.merge(INSTANCE);
        if by_github {
            world.change(INSTANCE, |m| m.job = Some(JobKey { job: JobId(1), attempt: 1 }));
        }
        let request = later_claim(&first, OTHER_NONCE, &KeyPair::generate());
        assert_eq!(over(ask(&world, &request).await), Over::RanJob);
    }
}

#[tokio::test]
async fn the_free_drain_answers_no_to_a_listener_that_ended_by_itself() {
    let (world, _, first) = claimed().await;
    done(&world, &first, false).await;
    world.merge(INSTANCE);
    let request = later_claim(&first, OTHER_NONCE, &KeyPair::generate());
    world.change(INSTANCE, |m| {
        m.drain = Some(Drain { order: 1, ordered_at: start(), removal: None, answered: false, closed_at: None });
    });
    assert_eq!(over(ask(&world, &request).await), Over::NotNeeded);
    world.change(INSTANCE, |m| (m.drain, m.told.drained_at) = (None, Some(start())));
    assert_eq!(over(ask(&world, &request).await), Over::NotNeeded);
    world.change(INSTANCE, |m| m.told.drained_at = None);
    assert_eq!(ask(&world, &request).await.unwrap().session, 2);
}

#[tokio::test]
async fn a_later_claim_with_a_wrong_token_is_refused() {
    let (world, keys, first) = claimed().await;
    done(&world, &first, false).await;
    world.merge(INSTANCE);
    let mut wrong = first.clone();
    wrong.token = "00".repeat(32);
    let mut ahead = first.clone();
    ahead.session = 2;
    let mut other = first.clone();
    other.instance = InstanceId::new("i-00000000");
    for former in [wrong, ahead, other] {
        let answer = ask(&world, &later_claim(&former, OTHER_NONCE, &keys)).await;
        assert!(matches!(answer, Err(ClaimError::NotProven(_))), "{answer:?}");
    }
    // A proof does not open a second session either, ended or not.
    assert!(matches!(ask(&world, &claim(INSTANCE, OTHER_NONCE, &keys)).await, Err(ClaimError::Taken)));
}

#[tokio::test]
async fn of_two_claims_at_once_one_wins() {
    let (world, keys, thief) = (World::new(), KeyPair::generate(), KeyPair::generate());
    world.launch(INSTANCE);
    let (one, two) = (claim(INSTANCE, NONCE, &keys), claim(INSTANCE, OTHER_NONCE, &thief));
    let (one, two) = tokio::join!(ask(&world, &one), ask(&world, &two));
    assert!(one.is_ok() != two.is_ok());
}

#[tokio::test]
async fn formats_are_checked_before_anything_else() {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let good = serde_json::to_value(claim(INSTANCE, NONCE, &keys)).unwrap();
    let former = json!({ "instance": INSTANCE, "session": 1, "token": "00".repeat(32) });
    let with = |path: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[path] = value;
        body
    };
    let cases = [
        (with("nonce", "short".into()), "nonce"),
        (with("nonce", "0".repeat(31).into()), "nonce"),
        (with("nonce", "0".repeat(65).into()), "nonce"),
        (with("nonce", NONCE.to_uppercase().into()), "nonce"),
        (with("public_key", "0".repeat(63).into()), "public_key"),
        (with("public_key", "g".repeat(64).into()), "public_key"),
        // The neutral point: every secret shared with it is known.
        (with("public_key", "0".repeat(64).into()), "public_key"),
        (with("proof", json!({})), "proof"),
        (with("proof", json!({ "x": "y".repeat(5_000) })), "proof"),
        (with("former", former.clone()), "proof"),
        (with("nonce", json!(7)), "`nonce` is not of the type"),
        (with("wait_s", json!("1")), "`wait_s` is not of the type"),
        (json!({}), "the field `nonce` is missing"),
        (json!([]), "not an object"),
    ];
    for (body, names) in cases {
        let (status, answer) = world.post("/runners/claim", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer["error"].as_str().is_some_and(|e| e.contains(names)), "{answer}");
    }
    let mut body = good.clone();
    body.as_object_mut().unwrap().remove("proof");
    for (field, value) in [("instance", json!("i 1")), ("session", json!(0)), ("token", json!("zz".repeat(32)))] {
        body["former"] = former.clone();
        body["former"][field] = value;
        let (status, answer) = world.post("/runners/claim", &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["error"].as_str().is_some_and(|e| e.contains(field)), "{answer}");
    }
    assert!(world.store.claims.lock().unwrap().is_empty());
    // Unknown fields are for newer agents.
    assert_eq!(world.post("/runners/claim", &with("new_field", json!([1]))).await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_the_ledger_a_claim_is_503() {
    let world = World::new();
    world.store.down.store(true, Ordering::Relaxed);
    let body = serde_json::to_value(claim(INSTANCE, NONCE, &KeyPair::generate())).unwrap();
    assert_eq!(world.post("/runners/claim", &body).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_claim_is_answered_as_soon_as_the_configuration_is_there() {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let mut request = claim(INSTANCE, NONCE, &keys);
    request.wait_s = 25;
    let begun = tokio::time::Instant::now();
    let mint = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.mint(INSTANCE, b"jit").await;
    };
    let (answer, ()) = tokio::join!(ask(&world, &request), mint);
    assert!(answer.unwrap().sealed_config.is_some());
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert_eq!(world.wakers.waited_for(), 0, "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_no_longer_than_25_s() {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let mut request = claim(INSTANCE, NONCE, &keys);
    request.wait_s = 3_600;
    let begun = tokio::time::Instant::now();
    assert_eq!(ask(&world, &request).await.unwrap().sealed_config, None);
    assert_eq!(begun.elapsed(), Duration::from_secs(25));
}

#[tokio::test]
async fn without_a_wait_the_future_is_ready_at_once() {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    let request = claim(INSTANCE, NONCE, &keys);
    let claim = std::pin::pin!(world.door.claims().claim(&request));
    assert!(matches!(claim.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
}

/// The function that carries it has 29 s.
#[tokio::test(start_paused = true)]
async fn a_claim_is_answered_in_time_however_long_its_proof_took() {
    let (world, keys) = (World::new(), KeyPair::generate());
    world.launch(INSTANCE);
    for (slow, wait_s, takes) in [(false, 25, 25), (true, 25, 25), (true, 3, 8), (true, 0, 5)] {
        let mut request = claim(INSTANCE, NONCE, &keys);
        request.wait_s = wait_s;
        if slow {
            request.proof.insert("slow".to_owned(), "yes".to_owned());
        }
        let began = tokio::time::Instant::now();
        let answer = ask(&world, &request).await.expect("a good claim");
        assert!(answer.sealed_config.is_none());
        assert_eq!(began.elapsed().as_secs(), takes, "slow: {slow}, wait: {wait_s}");
    }
}
