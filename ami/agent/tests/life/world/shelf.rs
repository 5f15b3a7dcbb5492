//! A place for logs: it signs nothing, and takes what is put at the addresses that it has given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::put;
use muster_core::log_shelf::{LogPut, LogShelf, PresignedPut, Signing};

/// The place, at this address.
pub(crate) struct Shelf {
    address: SocketAddr,
    given: Mutex<Vec<LogPut>>,
    kept: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Shelf {
    pub(crate) fn at(address: SocketAddr) -> Arc<Shelf> {
        Arc::new(Shelf { address, given: Mutex::default(), kept: Mutex::default() })
    }

    pub(crate) fn routes(self: Arc<Shelf>) -> Router {
        Router::new().route("/kept/{*key}", put(keep)).layer(DefaultBodyLimit::disable()).with_state(self)
    }

    /// What is kept of this machine, by the last part of its key.
    pub(crate) fn of(&self, instance: &str) -> BTreeMap<String, Vec<u8>> {
        let kept = self.kept.lock().expect("not poisoned");
        let folder = format!("logs/{instance}/");
        kept.iter().filter_map(|(key, log)| Some((key.strip_prefix(&folder)?.to_owned(), log.clone()))).collect()
    }
}

async fn keep(State(shelf): State<Arc<Shelf>>, Path(key): Path<String>, log: Bytes) -> StatusCode {
    let given = shelf.given.lock().expect("not poisoned");
    if !given.iter().any(|put| put.key == key && put.bytes == log.len() as u64) {
        return StatusCode::FORBIDDEN;
    }
    shelf.kept.lock().expect("not poisoned").insert(key, log.to_vec());
    StatusCode::OK
}

impl LogShelf for Shelf {
    fn sign(&self, put: LogPut) -> Signing<'_> {
        let signed = PresignedPut {
            url: format!("http://{}/kept/{}", self.address, put.key),
            headers: BTreeMap::from([("content-length".to_owned(), put.bytes.to_string())]),
        };
        self.given.lock().expect("not poisoned").push(put);
        Box::pin(std::future::ready(Ok(signed)))
    }
}
