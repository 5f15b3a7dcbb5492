//! Ledgers to try things on, in directories that vanish.

use std::future::Future;
use std::path::PathBuf;

use futures_util::FutureExt;
use muster_store::{Durability, MemoryOptions, MemoryStore, SqliteOptions, SqliteStore};
use tempfile::TempDir;

/// A ledger and the directory that it is in.
pub(crate) struct Scratch<S> {
    pub(crate) store: S,
    _directory: Option<TempDir>,
}

/// A directory, and a ledger's path in it.
pub(crate) fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("muster.db");
    (directory, path)
}

/// Survives the process, not the power: what a test can see.
pub(crate) fn quick() -> SqliteOptions {
    SqliteOptions { durability: Durability::ProcessEnd, ledger: None }
}

pub(crate) fn memory(keep_history: bool) -> Scratch<MemoryStore> {
    let options = MemoryOptions { keep_history, ..MemoryOptions::default() };
    Scratch { store: MemoryStore::new(options), _directory: None }
}

pub(crate) fn direct() -> Scratch<SqliteStore> {
    let (directory, path) = place();
    Scratch { store: SqliteStore::open_direct(&path, &quick()).unwrap(), _directory: Some(directory) }
}

pub(crate) fn threads() -> Scratch<SqliteStore> {
    let (directory, path) = place();
    Scratch { store: SqliteStore::open(&path, &quick()).unwrap(), _directory: Some(directory) }
}

/// For futures that are ready at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a future that is ready at once")
}

/// For all others.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
