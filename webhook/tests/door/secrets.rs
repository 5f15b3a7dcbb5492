//! What the door writes: one line for each accepted event, counts of what was refused, and no secret anywhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};

use axum::http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use muster_core::metric;
use muster_core::protocol::{AgentState, ReportRequest};
use muster_webhook::seal::KeyPair;
use serde_json::Value;
use tracing::level_filters::LevelFilter;

use crate::world::{
    DETAIL, INSTANCE, NONCE, OTHER_NONCE, RECORDED, SECRET, World, claim, delivery, later_claim, recorded, session,
    sign,
};

thread_local! {
    /// What this thread has logged since it began to listen; `None` before.
    static HEARD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes to the thread that logs: each test has one of its own.
struct ToThread;

impl Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                heard.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Every log line of the thread that made it.
struct Log;

impl Log {
    /// Listens from now on. The subscriber is the whole process's and stays: with one for each thread, a call site that
    /// another thread reaches first is taken to interest nobody, and its lines never come.
    fn listen() -> Log {
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            let lines = tracing_subscriber::fmt().json().with_max_level(LevelFilter::TRACE).with_writer(|| ToThread);
            tracing::subscriber::set_global_default(lines.finish()).expect("nobody else subscribes");
        });
        HEARD.set(Some(Vec::new()));
        Log
    }

    fn text(&self) -> String {
        let heard = HEARD.with_borrow(|heard| heard.clone().expect("this thread listens"));
        String::from_utf8(heard).expect("UTF-8")
    }

    fn events(&self) -> Vec<Value> {
        let lines: Vec<Value> = self.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        lines
            .into_iter()
            .filter(|line| line["target"] == "muster::event")
            .map(|mut line| line["fields"].take())
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_accepted_event_is_one_line() {
    let (world, log) = (World::new(), Log::listen());
    for name in RECORDED {
        world.deliver(recorded(name)).await;
    }
    world.deliver(recorded("queued.6")).await;
    let events = log.events();
    assert_eq!(events.len(), RECORDED.len() + 1);
    let completed = &events[0];
    for (field, value) in [
        ("event", Value::from("workflow_job")),
        ("action", "completed".into()),
        ("job", 289_782_451.into()),
        ("attempt", 1.into()),
        ("run", 2_202_229_078_i64.into()),
        ("repository", "Codertocat/Hello-World".into()),
        ("labels", "ubuntu-latest".into()),
        ("started_at", "2021-08-05T10:34:58.000Z".into()),
        ("completed_at", "2021-08-05T10:38:16.000Z".into()),
        ("conclusion", "failure".into()),
        ("delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958".into()),
        ("outcome", "class".into()),
        ("class", "hosted-like/cpu-2/on-demand".into()),
        ("duplicate", false.into()),
        ("received_at", "2026-11-22T10:00:00.000Z".into()),
    ] {
        assert_eq!(completed[field], value, "{field}");
    }
    let refused = events.iter().find(|event| event["job"] == 2_832_853_555_i64).unwrap();
    assert_eq!((&refused["outcome"], refused["reason"].is_string()), (&"no_pool".into(), true));
    assert_eq!(events[RECORDED.len()]["duplicate"], true);
}

#[tokio::test]
async fn no_secret_is_ever_written_or_answered() {
    let (world, log) = (World::new(), Log::listen());
    let body = recorded("queued.6");
    let forged = sign(b"x", &body);
    let mut answers = String::new();
    let mut hear = |(status, body): (StatusCode, Value)| answers.push_str(&format!("{status} {body}\n"));

    hear(world.deliver(&body).await);
    hear(world.send(delivery("a-body-that-nobody-signed").header("x-hub-signature-256", &forged).body_of()).await);
    hear(world.deliver("{\"action\": a-body-that-does-not-read").await);
    hear(world.deliver("{\"action\": [\"a-body-of-another-type\"]}").await);

    let keys = KeyPair::generate();
    let mut request = claim(INSTANCE, NONCE, &keys);
    request.proof.insert("secret".to_owned(), "the-proof-itself".to_owned());
    hear(world.post("/runners/claim", &serde_json::to_value(&request).unwrap()).await);
    world.launch(INSTANCE);
    hear(world.post("/runners/claim", &serde_json::to_value(&request).unwrap()).await);
    let proof = session(&world.door.claims().claim(&request).await.unwrap(), &keys);
    world.mint(INSTANCE, b"the-runner-configuration").await;
    for state in [AgentState::Ready, AgentState::Listening] {
        let report = ReportRequest { from: proof.clone(), state, wait_s: 0, seen_order: 0 };
        hear(world.post("/runners/report", &serde_json::to_value(&report).unwrap()).await);
    }
    let mut wrong = proof.clone();
    wrong.session = 2;
    let report = ReportRequest { from: wrong.clone(), state: AgentState::Busy, wait_s: 0, seen_order: 0 };
    hear(world.post("/runners/report", &serde_json::to_value(&report).unwrap()).await);
    let later = later_claim(&wrong, OTHER_NONCE, &keys);
    hear(world.post("/runners/claim", &serde_json::to_value(&later).unwrap()).await);
    let mut odd = serde_json::to_value(&later).unwrap();
    odd["former"] = proof.token.clone().into();
    hear(world.post("/runners/claim", &odd).await);
    request.proof.insert("word".to_owned(), "now".to_owned());
    hear(world.post("/runners/claim", &serde_json::to_value(&request).unwrap()).await);

    let (log, secret) = (log.text(), String::from_utf8(SECRET.to_vec()).unwrap());
    assert!(log.contains(DETAIL), "the log does say why a proof was refused");
    assert!(!answers.contains(DETAIL), "the answer does not");
    let never = [
        secret.as_str(),
        &forged,
        &proof.token,
        "the-proof-itself",
        "the-runner-configuration",
        "a-body-that-nobody-signed",
        "a-body-that-does-not-read",
        "a-body-of-another-type",
    ];
    for secret in never {
        assert!(!log.contains(secret), "in the log: {secret}");
        assert!(!answers.contains(secret), "in an answer: {secret}");
    }
}

/// Counts counters by name and labels.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(","));
        Counter::from_arc(self.0.lock().expect("not poisoned").entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn what_is_refused_is_counted_by_reason() {
    let (world, counts) = (World::new(), Counts::default());
    let _guard = metrics::set_default_local_recorder(&counts);
    let good = recorded("queued.6");
    let signature = "x-hub-signature-256";
    world.deliver(&good).await;
    world.send(delivery(&good).header("x-github-event", "ping").body_of()).await;
    world.send(delivery(&good).header(signature, "").body_of()).await;
    world.send(delivery(&good).header(signature, &sign(b"x", &good)).body_of()).await;
    world.send(delivery(&good).header(signature, &sign(b"y", &good)).body_of()).await;
    world.send(delivery(&good).header("content-type", "application/x-www-form-urlencoded").body_of()).await;
    world.send(delivery(&good).header("x-github-event", "").body_of()).await;
    world.deliver("]").await;
    world.deliver("{}").await;
    world.deliver(vec![b' '; 10_000_001]).await;
    world.store.down.store(true, Ordering::Relaxed);
    world.deliver(&good).await;

    let counts = counts.0.lock().unwrap();
    let found: BTreeMap<&str, u64> = counts.iter().map(|(k, v)| (k.as_str(), v.load(Ordering::Relaxed))).collect();
    let name = metric::WEBHOOKS_REJECTED;
    let expected = [
        ("signature_absent", 1),
        ("signature_wrong", 2),
        ("form_encoded", 1),
        ("no_event_header", 1),
        ("not_json", 1),
        ("field_missing", 1),
        ("too_large", 1),
        ("not_stored", 1),
    ];
    let expected: BTreeMap<String, u64> =
        expected.iter().map(|(reason, count)| (format!("{name} Reason={reason}"), *count)).collect();
    assert_eq!(found, expected.iter().map(|(k, v)| (k.as_str(), *v)).collect());
}
