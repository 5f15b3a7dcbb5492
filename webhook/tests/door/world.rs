//! A door over fakes, and what the tests say to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use muster_core::config::FleetConfig;
use muster_core::fact::{Fact, FactBody};
use muster_core::identity::{Identity, IdentityError, VerifiedInstance};
use muster_core::ids::{InstanceId, RunnerId, RunnerName};
use muster_core::log_shelf::{LogPut, LogShelf, NotSigned, PresignedPut, Signing};
use muster_core::machine::{Machine, MachineEvent, Registration, Report};
use muster_core::ports::Store;
use muster_core::protocol::{ClaimAnswer, ClaimRequest, SessionProof};
use muster_core::time::Timestamp;
use muster_webhook::seal::{KeyPair, Seal, SealPurpose};
use muster_webhook::{Bell, Clock, Door, DoorParts, HpkeSealer, LiveConfig, Sealer, Secrets, Wakers};
use serde_json::{Value, json};
use sha2::Sha256;
use tower::ServiceExt;

use crate::fake_store::FakeStore;

pub(crate) const SECRET: &[u8] = b"It's a Secret to Everybody";
pub(crate) const INSTANCE: &str = "i-0123456789abcdef0";
pub(crate) const NONCE: &str = "00112233445566778899aabbccddeeff";
pub(crate) const OTHER_NONCE: &str = "ffeeddccbbaa99887766554433221100";
/// What the identity check of these tests says to a bad proof. It must not leave the log.
pub(crate) const DETAIL: &str = "the-detail-for-the-log";

pub(crate) const CONFIG: &str = include_str!("../../../tests/configs/door.toml");

/// tokio's clock, which tests pause.
pub(crate) struct TestClock {
    start: tokio::time::Instant,
}

/// When every test begins.
pub(crate) fn start() -> Timestamp {
    Timestamp::parse("2026-11-22T10:00:00Z").expect("an instant")
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        start() + self.start.elapsed()
    }

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(span)
    }
}

/// Counts its rings.
#[derive(Default)]
pub(crate) struct CountingBell(pub(crate) AtomicU32);

impl Bell for CountingBell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl CountingBell {
    pub(crate) fn rings(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long it takes over a proof that says so: as long as the check by STS may.
pub(crate) const SLOW: Duration = Duration::from_secs(5);

/// Believes whoever says `word = please`.
pub(crate) struct Polite;

impl Identity for Polite {
    async fn verify(
        &self,
        proof: &BTreeMap<String, String>,
        _now: Timestamp,
    ) -> Result<VerifiedInstance, IdentityError> {
        let field = |name: &str| proof.get(name).map(String::as_str);
        if field("slow").is_some() {
            tokio::time::sleep(SLOW).await;
        }
        match (field("word"), field("instance")) {
            (Some("please"), Some(instance)) => {
                let mut verified = VerifiedInstance::attested(InstanceId::new(instance));
                if let Some(account) = field("account") {
                    verified = verified.seen_in(vec![Some(account.into())]);
                }
                Ok(match field("fresh") {
                    Some(fresh) => verified.marked(format!("{instance} {fresh}")),
                    None => verified,
                })
            }
            (Some("later"), _) => Err(IdentityError::Unavailable(DETAIL.to_owned())),
            _ => Err(IdentityError::Refused(DETAIL.to_owned())),
        }
    }
}

/// Signs with a pencil.
pub(crate) struct PaperShelf;

impl LogShelf for PaperShelf {
    fn sign(&self, put: LogPut) -> Signing<'_> {
        let LogPut { bucket, key, bytes } = put;
        let signed = match &*bucket {
            "no-credentials" => Err(NotSigned { bucket, why: DETAIL.to_owned() }),
            _ => Ok(PresignedPut {
                url: format!("https://{bucket}.example/{key}?signature=1"),
                headers: BTreeMap::from([("content-length".to_owned(), bytes.to_string())]),
            }),
        };
        Box::pin(std::future::ready(signed))
    }
}

/// The door and all that is behind it.
pub(crate) struct World {
    pub(crate) store: Arc<FakeStore>,
    pub(crate) door: Arc<Door<FakeStore, Polite, TestClock>>,
    pub(crate) router: Router,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) bell: Arc<CountingBell>,
    pub(crate) registrar: Arc<CountingBell>,
    pub(crate) wakers: Arc<Wakers>,
}

pub(crate) fn config(text: &str) -> FleetConfig {
    let parsed = FleetConfig::parse("test.toml", text);
    parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors))
}

impl World {
    pub(crate) fn new() -> World {
        World::with_config(CONFIG)
    }

    pub(crate) fn with_config(text: &str) -> World {
        let store = Arc::new(FakeStore::default());
        let secrets = Arc::new(Secrets::new(&[SECRET]).expect("one secret"));
        let config = Arc::new(LiveConfig::new(config(text)));
        let bell = Arc::new(CountingBell::default());
        let registrar = Arc::new(CountingBell::default());
        let wakers = Arc::new(Wakers::in_process());
        let clock = Arc::new(TestClock { start: tokio::time::Instant::now() });
        let door = || {
            Door::new(DoorParts {
                store: store.clone(),
                identity: Arc::new(Polite),
                clock: clock.clone(),
                secrets: secrets.clone(),
                config: config.clone(),
                sealer: Arc::new(HpkeSealer),
                bell: bell.clone(),
                registrar: registrar.clone(),
                wakers: wakers.clone(),
                pulse: None,
            })
            .with_logs(Arc::new(PaperShelf))
        };
        let (router, door) = (door().router(), Arc::new(door()));
        World { store, door, router, secrets, config, bell, registrar, wakers }
    }

    /// A machine as a launch leaves it.
    pub(crate) fn launch(&self, instance: &str) {
        self.change(instance, |_| {});
    }

    /// Changes a machine's row, as a tick would.
    pub(crate) fn change(&self, instance: &str, change: impl FnOnce(&mut Machine)) {
        let mut machines = self.store.machines.lock().expect("not poisoned");
        change(machines.entry(InstanceId::new(instance)).or_insert_with(|| machine(instance)));
    }

    /// Merges into the machine what was reported, as a tick would.
    pub(crate) fn merge(&self, instance: &str) {
        let events = self.machine_facts();
        self.change(instance, |machine| {
            for event in &events {
                machine.hear(event);
            }
        });
    }

    pub(crate) fn facts(&self) -> Vec<Fact> {
        self.store.facts.lock().expect("not poisoned").values().cloned().collect()
    }

    pub(crate) fn machine_facts(&self) -> Vec<MachineEvent> {
        let facts = self.facts().into_iter().map(|fact| fact.body);
        facts
            .filter_map(|body| match body {
                FactBody::Machine(event) => Some(event),
                FactBody::Job(_)
                | FactBody::Cloud(_)
                | FactBody::Group(_)
                | FactBody::Prewarmed(_)
                | FactBody::Release(_) => None,
            })
            .collect()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.machine_facts().into_iter().map(|event| event.report).collect()
    }

    /// Gives the latest session a configuration, as the registrar would.
    pub(crate) async fn mint(&self, instance: &str, config: &[u8]) {
        let instance = InstanceId::new(instance);
        let mut row = self.store.claim(&instance).await.expect("up").expect("a claim");
        let seal = Seal {
            public_key: &row.public_key,
            instance: &instance,
            session: row.session,
            purpose: SealPurpose::RunnerConfig,
        };
        row.sealed_config = Some(HpkeSealer.seal(&seal, config).expect("a good key"));
        row.registration = Some(Registration { id: RunnerId(9), name: RunnerName::new("linux-i-0-abc") });
        assert!(self.store.attach_config(&row).await.expect("up"));
        self.wakers.ring(&instance);
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.answer(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).expect("every answer is JSON"))
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("the router does not fail")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(Request::post(path).body(Body::from(body.to_string())).expect("a request")).await
    }

    /// A signed delivery of a `workflow_job`.
    pub(crate) async fn deliver(&self, body: impl AsRef<[u8]>) -> (StatusCode, Value) {
        self.send(delivery(body).body_of()).await
    }
}

fn machine(instance: &str) -> Machine {
    let row = json!({
        "instance": instance,
        "launch": "launch-1",
        "purpose": {
            "pool": "linux", "class": "linux/cpu-2/spot", "shape": "a-shape", "zone": "eu-central-1a",
            "market": "spot", "origin": "cold", "price": 35_000,
        },
        "intended_at": start(),
        "launched_at": start(),
        "registers": 1,
    });
    serde_json::from_value(row).expect("a machine")
}

/// A delivery being made.
pub(crate) struct Delivery {
    builder: axum::http::request::Builder,
    body: Vec<u8>,
}

impl Delivery {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Delivery {
        let headers = self.builder.headers_mut().expect("good so far");
        match value {
            "" => drop(headers.remove(name)),
            value => {
                let name: axum::http::HeaderName = name.parse().expect("a name");
                headers.insert(name, value.parse().expect("a value"));
            }
        }
        self
    }

    pub(crate) fn body_of(self) -> Request<Body> {
        self.builder.body(Body::from(self.body)).expect("a request")
    }
}

/// A delivery with all headers right.
pub(crate) fn delivery(body: impl AsRef<[u8]>) -> Delivery {
    let body = body.as_ref().to_vec();
    let builder = Request::post("/webhook")
        .header("content-type", "application/json")
        .header("x-github-event", "workflow_job")
        .header("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
        .header("x-hub-signature-256", sign(SECRET, &body));
    Delivery { builder, body }
}

pub(crate) fn sign(secret: &[u8], body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length is good");
    format!("sha256={}", hex::encode(mac.chain_update(body).finalize().into_bytes()))
}

/// The recorded deliveries of `workflow_job`.
pub(crate) const RECORDED: [&str; 8] = [
    "completed.2",
    "completed.3",
    "in_progress.1",
    "in_progress.4",
    "in_progress.5",
    "queued.6",
    "queued.7",
    "waiting.8",
];

pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/payloads/workflow_job.{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub(crate) fn recorded_json(name: &str) -> Value {
    serde_json::from_slice(&recorded(name)).expect("JSON")
}

/// A claim with a good proof.
pub(crate) fn claim(instance: &str, nonce: &str, keys: &KeyPair) -> ClaimRequest {
    let proof = [("word", "please"), ("instance", instance)];
    ClaimRequest {
        proof: proof.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        former: None,
        nonce: nonce.to_owned(),
        public_key: keys.public_hex(),
        wait_s: 0,
        agent: None,
    }
}

/// A claim after a former session.
pub(crate) fn later_claim(former: &SessionProof, nonce: &str, keys: &KeyPair) -> ClaimRequest {
    ClaimRequest {
        proof: BTreeMap::new(),
        former: Some(former.clone()),
        nonce: nonce.to_owned(),
        public_key: keys.public_hex(),
        wait_s: 0,
        agent: None,
    }
}

/// What an agent makes of a claim's answer.
pub(crate) fn session(answer: &ClaimAnswer, keys: &KeyPair) -> SessionProof {
    let sealed = &answer.sealed_session;
    let token = keys.open(SealPurpose::Session, &answer.instance, answer.session, sealed).expect("it is for us");
    let token = String::from_utf8(token).expect("hex");
    SessionProof { instance: answer.instance.clone(), session: answer.session, token }
}
