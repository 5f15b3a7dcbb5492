//! The real door over a ledger in memory, on loopback, behind something that can lose requests and answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use muster_core::config::FleetConfig;
use muster_store::MemoryStore;
use muster_webhook::{Bell, Door, DoorParts, HpkeSealer, LiveConfig, Secrets, Wakers};

use super::identity::Sts;
use super::shelf::Shelf;
use super::time::Skewed;

/// The door's tests have the same. What is added goes on with the pool of the machines here.
const CONFIG: &str = include_str!("../../../../../tests/configs/door.toml");
const LOGS: &str = "[logs]\nbucket = \"acme-logs\"\nprefix = \"logs\"\nmax_mib = 16\n";

/// What stands in front of the door.
#[derive(Default)]
pub(crate) struct Faults {
    /// Nothing comes through.
    pub(crate) down: AtomicBool,
    /// So many answers are lost after the door has done what was asked.
    pub(crate) lose_replies: AtomicU32,
    /// Whether the door is one that is too old to know of a pool's options.
    pub(crate) old: AtomicBool,
    /// Paths that were asked for.
    pub(crate) asked: Mutex<Vec<String>>,
    time: Skewed,
}

struct Silent;

impl Bell for Silent {
    fn ring(&self) {}
}

/// A door that is served.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) wakers: Arc<Wakers>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) shelf: Arc<Shelf>,
    config: Arc<LiveConfig>,
}

impl Served {
    /// Another configuration comes into force, with this of the machines' pool.
    pub(crate) fn configure(&self, pool: &str) {
        self.config.replace(Arc::new(config(pool)));
    }
}

fn config(pool: &str) -> FleetConfig {
    let parsed = FleetConfig::parse("test.toml", &format!("{CONFIG}{pool}{LOGS}"));
    parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors))
}

pub(crate) async fn serve(time: Skewed, audience: &str) -> Served {
    let store = Arc::new(MemoryStore::default());
    let wakers = Arc::new(Wakers::in_process());
    let config = Arc::new(LiveConfig::new(config("")));
    let door = Door::new(DoorParts {
        store: store.clone(),
        identity: Arc::new(Sts { audience: audience.to_owned() }),
        clock: Arc::new(time),
        secrets: Arc::new(Secrets::new(&[b"It's a Secret to Everybody"]).expect("one secret")),
        config: config.clone(),
        sealer: Arc::new(HpkeSealer),
        bell: Arc::new(Silent),
        registrar: Arc::new(Silent),
        wakers: wakers.clone(),
        pulse: None,
    });
    let faults = Arc::new(Faults { time, ..Faults::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shelf = Shelf::at(address);
    let router = door.with_logs(shelf.clone()).router().layer(from_fn_with_state(faults.clone(), between));
    let router = router.merge(shelf.clone().routes());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Served { address, store, wakers, faults, shelf, config }
}

async fn between(State(faults): State<Arc<Faults>>, request: Request, next: Next) -> Response {
    faults.asked.lock().expect("not poisoned").push(request.uri().path().to_owned());
    if faults.down.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let mut response = next.run(request).await;
    let lost = faults.lose_replies.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if lost.is_ok() {
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    if faults.old.load(Ordering::SeqCst) {
        response = without_options(response).await;
    }
    response.headers_mut().insert("date", faults.time.date().parse().expect("a date"));
    response
}

async fn without_options(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let mut answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    answer.as_object_mut().expect("an object").remove("options");
    parts.headers.remove("content-length");
    Response::from_parts(parts, answer.to_string().into())
}
