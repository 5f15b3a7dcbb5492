//! The functions over a ledger in memory, a simulated cloud, and bells that remember.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use lambda_http::Context;
use muster_core::config::FleetConfig;
use muster_core::fact::{CloudEventKind, Fact, FactBody, GroupEventKind};
use muster_core::ids::InstanceId;
use muster_core::plan::Policy;
use muster_core::ports::{Batch, Store};
use muster_core::time::Timestamp;
use muster_sim::{Settings, SharedUniverse, SimCloud, SimGithub, SimIdentity, Universe};
use muster_store::MemoryStore;
use muster_tests::{Happening, JobDelivery, recorded, sign};
use muster_webhook::bell::Bell;
use muster_webhook::clock::Clock;
use muster_webhook::live::LiveConfig;
use muster_webhook::pulse::Pulse;
use muster_webhook::seal::HpkeSealer;
use muster_webhook::signature::Secrets;
use muster_webhook::wakers::Wakers;
use muster_webhook::{Door, DoorParts};
use serde_json::{Value, json};

use super::door::{DoorError, DoorFunction};
use super::registrar::RegistrarFunction;
use super::scaler::{LINGER_MAX, ScalerFunction};
use super::{LaterBell, PromptBell, RemoteBell, ringing};
use crate::drivers::catalog::ConfigCatalog;
use crate::drivers::ticker::Ticker;
use crate::reconcile::tests::{claim, machine};
use crate::registrar::Registrar;

const START: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);
const SECRET: &[u8] = b"It's a Secret to Everybody";
const CONFIG: &str = include_str!("../../../../muster.example.toml");

/// Waiting takes no time on the wall, and its time here.
#[derive(Clone)]
struct LeapingClock(Arc<AtomicI64>);

impl Clock for LeapingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.0.load(Ordering::Relaxed))
    }

    async fn sleep(&self, span: Duration) {
        // What is polled beside it and ready at once wins.
        tokio::task::yield_now().await;
        self.0.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

/// Counts rings that were gathered, and those that were sent.
#[derive(Default)]
struct Heard {
    rung: AtomicUsize,
    sent: AtomicUsize,
    later: Mutex<Vec<Duration>>,
}

#[derive(Clone, Default)]
struct TestBell(Arc<Heard>);

impl Bell for TestBell {
    fn ring(&self) {
        self.0.rung.fetch_add(1, Ordering::Relaxed);
    }
}

impl RemoteBell for TestBell {
    async fn send(&self) {
        if self.0.rung.swap(0, Ordering::Relaxed) > 0 {
            self.0.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LaterBell for TestBell {
    async fn after(&self, delay: Duration) {
        self.0.later.lock().unwrap().push(delay);
    }
}

impl TestBell {
    fn sent(&self) -> usize {
        assert_eq!(self.0.rung.load(Ordering::Relaxed), 0, "rung and not sent");
        self.0.sent.load(Ordering::Relaxed)
    }
}

struct World {
    clock: LeapingClock,
    store: Arc<MemoryStore>,
    live: Arc<LiveConfig>,
    universe: SharedUniverse,
    bell: TestBell,
    claims: TestBell,
    wake: TestBell,
}

impl World {
    fn new() -> World {
        let config = Arc::new(FleetConfig::parse("muster.example.toml", CONFIG).config.unwrap());
        let clock = LeapingClock(Arc::new(AtomicI64::new(START.unix_ms())));
        let settings = Settings { start: START, ..Settings::default() };
        let universe = Universe::new(settings, std::iter::empty(), ConfigCatalog(config.clone()));
        let now = clock.clone();
        World {
            universe: SharedUniverse::with_clock(universe, Arc::new(move || now.now())),
            clock,
            store: Arc::new(MemoryStore::default()),
            live: Arc::new(LiveConfig::from_arc(config)),
            bell: TestBell::default(),
            claims: TestBell::default(),
            wake: TestBell::default(),
        }
    }

    fn door(&self) -> DoorFunction<MemoryStore, LeapingClock, TestBell> {
        let prompt = |bell: &TestBell| Arc::new(PromptBell::new(bell.clone()));
        let (bell, claims) = (prompt(&self.bell), prompt(&self.claims));
        let parts = DoorParts {
            store: self.store.clone(),
            identity: Arc::new(SimIdentity::new([7; 32])),
            clock: Arc::new(self.clock.clone()),
            secrets: Arc::new(Secrets::new(&[SECRET]).unwrap()),
            config: self.live.clone(),
            sealer: Arc::new(HpkeSealer),
            bell: bell.clone(),
            registrar: claims.clone(),
            wakers: Arc::new(Wakers::across_processes()),
            pulse: None,
        };
        DoorFunction::new(Door::new(parts).router(), self.store.clone(), self.clock.clone(), bell, claims, None)
    }

    fn scaler(&self) -> ScalerFunction<MemoryStore, SimCloud, SimGithub, LeapingClock, TestBell, TestBell> {
        let ticker = Ticker::new(
            self.store.clone(),
            Arc::new(self.universe.cloud()),
            Arc::new(self.universe.github()),
            self.clock.clone(),
            self.live.clone(),
            Policy::Target,
            None,
            Arc::new(Pulse::starting(START)),
        );
        ScalerFunction::new(ticker, self.clock.clone(), self.claims.clone(), self.wake.clone())
    }

    fn facts(&self) -> Vec<Fact> {
        let facts = self.store.new_facts(100).now_or_never().unwrap().unwrap();
        facts.into_iter().map(|fact| fact.fact.unwrap()).collect()
    }

    fn put(&self, machine: muster_core::machine::Machine) {
        let generation = self.store.generation().now_or_never().unwrap().unwrap();
        let batch = Batch { machines: vec![machine], ..Batch::default() };
        self.store.commit(&batch, generation).now_or_never().unwrap().unwrap();
    }

    fn deadline(&self) -> Timestamp {
        self.clock.now() + Duration::from_secs(30)
    }
}

/// A request as an HTTP API hands it to a function, payload format 2.0.
fn request(method: &str, path: &str, headers: Value, body: &str) -> String {
    json!({
        "version": "2.0", "routeKey": format!("{method} {path}"), "rawPath": path, "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdef1234", "domainName": "abcdef1234.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abcdef1234",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "GitHub-Hookshot/1234567" },
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": format!("{method} {path}"), "stage": "$default",
            "time": "24/Nov/2026:09:00:00 +0000", "timeEpoch": 1_795_510_800_000_i64
        },
        "body": body, "isBase64Encoded": false
    })
    .to_string()
}

fn webhook(event: &str, body: &str) -> String {
    let headers = json!({
        "content-type": "application/json", "x-github-event": event,
        "x-github-delivery": "0b989ba4-242f-11e5-81e1-c7b6966d2516", "x-hub-signature-256": sign(SECRET, body.as_bytes()),
    });
    request("POST", "/webhook", headers, body)
}

fn queued() -> String {
    let labels = ["self-hosted", "linux", "x64", "cpu-2", "spot"].map(str::to_owned).to_vec();
    let delivery = JobDelivery {
        job: 40,
        repository: "acme/api".to_owned(),
        public: false,
        labels,
        created_at: "2026-11-23T10:00:00Z".to_owned(),
        happening: Happening::Queued,
    };
    webhook("workflow_job", &delivery.body())
}

fn cloud_event(source: &str, kind: &str, detail: Value) -> String {
    json!({
        "version": "0", "id": "1", "detail-type": kind, "source": source, "account": "123456789012",
        "time": "2026-11-23T10:00:00Z", "region": "eu-central-1", "resources": [], "detail": detail
    })
    .to_string()
}

#[tokio::test]
async fn a_signed_delivery_is_stored_and_told_before_it_is_answered() {
    let world = World::new();
    let door = world.door();
    let answer = door.call(&queued(), Context::default()).await.unwrap();
    assert_eq!(answer["statusCode"], 202, "{answer}");
    assert_eq!((world.facts().len(), world.bell.sent()), (1, 1));
    // Twice is once, and rings again: the first bell may be lost.
    assert_eq!(door.call(&queued(), Context::default()).await.unwrap()["statusCode"], 202);
    assert_eq!((world.facts().len(), world.bell.sent()), (1, 2));
}

#[tokio::test]
async fn every_recorded_delivery_gets_the_answer_it_gets_over_http() {
    for recorded in recorded() {
        let world = World::new();
        let answer = world.door().call(&webhook(recorded.event, &recorded.body), Context::default()).await.unwrap();
        let wanted = if recorded.event == "ping" { 200 } else { 202 };
        // Recordings are of other organizations: they are ignored with 200, or refused and kept with 202.
        assert!(answer["statusCode"] == wanted || answer["statusCode"] == 200, "{}: {answer}", recorded.name);
    }
}

#[tokio::test]
async fn a_body_in_base64_is_checked_as_what_it_stands_for() {
    let world = World::new();
    let mut event: Value = serde_json::from_str(&queued()).unwrap();
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(event["body"].as_str().unwrap());
    (event["body"], event["isBase64Encoded"]) = (json!(body), json!(true));
    let answer = world.door().call(&event.to_string(), Context::default()).await.unwrap();
    assert_eq!((answer["statusCode"].clone(), world.facts().len()), (json!(202), 1));
}

#[tokio::test]
async fn what_is_not_signed_is_refused_and_rings_nothing() {
    let world = World::new();
    let forged = queued().replace("sha256=", "sha256=0");
    let answer = world.door().call(&forged, Context::default()).await.unwrap();
    assert_eq!(answer["statusCode"], 401, "{answer}");
    assert_eq!((world.facts().len(), world.bell.sent()), (0, 0));
    for (method, path, code) in [("GET", "/healthz", 200), ("GET", "/webhook", 405), ("POST", "/nowhere", 404)] {
        let answer = world.door().call(&request(method, path, json!({}), ""), Context::default()).await.unwrap();
        assert_eq!(answer["statusCode"], code, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn the_schedule_and_the_wake_queue_ring() {
    let world = World::new();
    let door = world.door();
    for (n, event) in [r#"{"muster":"tick"}"#, r#"{"Records":[{"body":"wake"}]}"#].into_iter().enumerate() {
        assert_eq!(door.call(event, Context::default()).await.unwrap(), Value::Null);
        assert_eq!(world.bell.sent(), n + 1);
    }
    assert!(matches!(door.call("{}", Context::default()).await, Err(DoorError::Event(_))));
}

#[tokio::test]
async fn the_cloud_is_believed_about_our_instances_only() {
    let world = World::new();
    let door = world.door();
    let ours = machine(&world.live.snapshot(), 0, 1, START);
    world.put(ours.clone());
    let warning = |id: &str| {
        cloud_event(
            "aws.ec2",
            "EC2 Spot Instance Interruption Warning",
            json!({ "instance-id": id, "instance-action": "terminate" }),
        )
    };
    door.call(&warning("i-0000000f"), Context::default()).await.unwrap();
    assert_eq!((world.facts().len(), world.bell.sent()), (0, 0), "a stranger");
    door.call(&warning(ours.instance.as_str()), Context::default()).await.unwrap();
    door.call(&warning(ours.instance.as_str()), Context::default()).await.unwrap();
    let facts = world.facts();
    assert_eq!((facts.len(), world.bell.sent()), (1, 2));
    let FactBody::Cloud(event) = &facts[0].body else { panic!("{facts:?}") };
    assert_eq!((&event.instance, event.kind), (&ours.instance, CloudEventKind::InterruptionNotice));
    let broken = cloud_event("aws.ec2", "EC2 Spot Instance Interruption Warning", json!({}));
    door.call(&broken, Context::default()).await.unwrap();
    assert_eq!((world.facts().len(), world.bell.sent()), (1, 2), "what says nothing is no fact");
}

#[tokio::test]
async fn what_a_group_could_not_launch_is_a_fact_once() {
    let world = World::new();
    let detail = json!({ "AutoScalingGroupName": "muster-acme-a", "ActivityId": "b59c", "StatusMessage": "no room" });
    let failed = cloud_event("aws.autoscaling", "EC2 Instance Launch Unsuccessful", detail);
    for _ in 0..2 {
        world.door().call(&failed, Context::default()).await.unwrap();
    }
    let facts = world.facts();
    assert_eq!((facts.len(), world.bell.sent()), (1, 2));
    let FactBody::Group(event) = &facts[0].body else { panic!("{facts:?}") };
    let kind = GroupEventKind::LaunchFailed { activity: "b59c".into(), why: "no room".into() };
    assert_eq!((&*event.group, &event.kind), ("muster-acme-a", &kind));
}

#[tokio::test]
async fn a_bell_ends_in_a_launch_and_in_a_look_for_claims() {
    let world = World::new();
    world.door().call(&queued(), Context::default()).await.unwrap();
    let (began, hold) = (world.clock.now(), Duration::from_millis(200));
    world.scaler().call(hold, world.deadline()).await;
    assert!(world.clock.now().since(began) >= hold, "the slot was waited for");
    assert!(world.facts().is_empty(), "merged");
    let snapshot = world.store.load().now_or_never().unwrap().unwrap();
    assert!(!snapshot.machines.is_empty(), "launched");
    assert!(world.claims.sent() > 0);
}

#[tokio::test]
async fn what_is_due_later_comes_back_by_the_wake_queue() {
    let world = World::new();
    world.door().call(&queued(), Context::default()).await.unwrap();
    let began = world.clock.now();
    world.scaler().call(Duration::ZERO, world.deadline()).await;
    let later = world.wake.0.later.lock().unwrap().clone();
    assert!(later.iter().all(|delay| *delay < Duration::from_secs(60)), "{later:?}");
    assert!(world.clock.now().since(began) <= LINGER_MAX, "bells wait meanwhile");
}

#[tokio::test]
async fn little_time_is_not_used_for_another_tick() {
    let world = World::new();
    world.door().call(&queued(), Context::default()).await.unwrap();
    let began = world.clock.now();
    world.scaler().call(Duration::ZERO, began + Duration::from_secs(5)).await;
    assert_eq!(world.clock.now(), began, "one tick, and no nap");
}

#[tokio::test]
async fn a_scaler_that_was_overtaken_starts_from_the_ledger() {
    let world = World::new();
    let mut scaler = world.scaler();
    world.door().call(&queued(), Context::default()).await.unwrap();
    scaler.call(Duration::ZERO, world.deadline()).await;
    let ours = machine(&world.live.snapshot(), 0, 99, world.clock.now());
    world.put(ours.clone());
    let body = queued().replace(r#"\"id\":40"#, r#"\"id\":50"#);
    let event: Value = serde_json::from_str(&body).unwrap();
    let again = webhook("workflow_job", event["body"].as_str().unwrap());
    world.door().call(&again, Context::default()).await.unwrap();
    scaler.call(Duration::ZERO, world.deadline()).await;
    assert!(world.facts().is_empty(), "the first tick of the call has merged: it lost no time on a conflict");
    assert_eq!(world.store.machine(&ours.instance).now_or_never().unwrap().unwrap().unwrap().instance, ours.instance);
}

#[tokio::test]
async fn a_claim_is_minted_and_told() {
    let world = World::new();
    let mut ours = machine(&world.live.snapshot(), 0, 1, START);
    ours.registers = 1;
    let mut launch = crate::reconcile::tests::launch(&world.live.snapshot(), 0, "l", START);
    launch.purpose.zone = muster_core::ids::Zone::new(muster_sim::ZONES[0]);
    let launched = world.universe.lock().launch(&launch);
    ours.instance = launched.unwrap().instances[0].clone();
    world.put(ours.clone());
    let key = hex::encode([9; 32]);
    let row = muster_core::claim::ClaimRow { public_key: key, ..claim(&ours, START) };
    assert!(world.store.put_claim(&row).now_or_never().unwrap().unwrap());
    let registrar =
        Registrar::new(world.store.clone(), Arc::new(world.universe.github()), world.clock.clone(), HpkeSealer);
    let function = RegistrarFunction::new(registrar, world.clock.clone(), world.bell.clone(), None);
    assert_eq!(function.call(&world.live, world.deadline()).await, 1);
    assert_eq!(world.bell.sent(), 1);
    let row = world.store.claim(&InstanceId::new(ours.instance.as_str())).now_or_never().unwrap().unwrap().unwrap();
    assert!(row.sealed_config.is_some());
    assert_eq!(function.call(&world.live, world.deadline()).await, 0);
    assert_eq!(function.call(&world.live, world.clock.now() + Duration::from_secs(5)).await, 0, "no time to mint");
}

#[tokio::test]
async fn a_bell_is_sent_while_the_answer_is_held_back() {
    let (bell, claims) = (TestBell::default(), TestBell::default());
    let (near, far) = (PromptBell::new(bell.clone()), PromptBell::new(claims.clone()));
    let answer = async {
        far.ring();
        // What the bell brings about.
        while claims.0.sent.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        near.ring();
        "configured"
    };
    assert_eq!(ringing([&near, &far], answer).await, "configured");
    assert_eq!((bell.sent(), claims.sent()), (1, 1), "and what rang last was not forgotten");
}
