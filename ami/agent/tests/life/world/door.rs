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

const CONFIG: &str = r#"
[github]
organization = "octo-org"
webhook_secrets = ["env:SECRET"]
[[github.app]]
id = 1
private_key = "file:app.pem"
[fleet]
name = "test"
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["self-hosted"]
repositories = ["*"]
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
[logs]
bucket = "acme-logs"
prefix = "logs"
max_mib = 16
"#;

/// What stands in front of the door.
#[derive(Default)]
pub(crate) struct Faults {
    /// Nothing comes through.
    pub(crate) down: AtomicBool,
    /// So many answers are lost after the door has done what was asked.
    pub(crate) lose_replies: AtomicU32,
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
}

pub(crate) async fn serve(time: Skewed, audience: &str) -> Served {
    let store = Arc::new(MemoryStore::default());
    let wakers = Arc::new(Wakers::in_process());
    let config = FleetConfig::parse("test.toml", CONFIG);
    let config = config.config.unwrap_or_else(|| panic!("{:?}", config.errors));
    let door = Door::new(DoorParts {
        store: store.clone(),
        identity: Arc::new(Sts { audience: audience.to_owned() }),
        clock: Arc::new(time),
        secrets: Arc::new(Secrets::new(&[b"It's a Secret to Everybody"]).expect("one secret")),
        config: Arc::new(LiveConfig::new(config)),
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
    Served { address, store, wakers, faults, shelf }
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
    response.headers_mut().insert("date", faults.time.date().parse().expect("a date"));
    response
}
