//! What happens inside when the disk is full, another program holds the file, or a call goes wrong.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_util::FutureExt;
use muster_core::ports::{Put, Store, StoreError, Switch};
use muster_core::time::Timestamp;
use rusqlite::{Connection, ErrorCode, ffi};
use tempfile::TempDir;

use super::engine::{Engine, Held};
use super::trouble::{Failure, OpenError};
use super::{Durability, SqliteOptions, SqliteStore};
use crate::upkeep::Upkeep;

type Opened = fn(&Path, &SqliteOptions) -> Result<SqliteStore, OpenError>;

const BOTH: [Opened; 2] = [SqliteStore::open, SqliteStore::open_direct];

fn fresh(open: Opened) -> (TempDir, PathBuf, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("muster.db");
    let options = SqliteOptions { durability: Durability::ProcessEnd, ledger: None };
    let store = open(&path, &options).unwrap();
    (directory, path, store)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn put(store: &SqliteStore, key: &str) -> Result<Put, StoreError> {
    store.put_raw(key, Timestamp::EPOCH, &"x".repeat(20_000)).await
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_loses_nothing_and_passes() {
    for open in BOTH {
        let (_directory, path, store) = fresh(open);
        wait(async {
            put(&store, "before").await.unwrap();
            let pages = async |max: i64| {
                let set =
                    move |conn: &Connection| Ok(conn.pragma_update_and_check(None, "max_page_count", max, |_| Ok(()))?);
                store.engine.write(set).await.unwrap();
            };
            pages(1).await; // No fewer than there are.
            let text = unavailable(put(&store, "full").await);
            assert!(
                text.contains(path.file_name().unwrap().to_str().unwrap()) && text.contains("free some space"),
                "{text}"
            );
            assert_eq!(store.new_facts(9).await.unwrap().len(), 1);
            pages(100_000).await;
            assert_eq!(put(&store, "full").await.unwrap(), Put::New);
            assert_eq!(put(&store, "before").await.unwrap(), Put::Duplicate);
        });
    }
}

#[test]
fn another_program_that_holds_the_file_is_named_as_the_cause() {
    for open in BOTH {
        let (_directory, path, store) = fresh(open);
        wait(async {
            store.engine.write(|conn| Ok(conn.busy_timeout(Duration::ZERO)?)).await.unwrap();
            let other = Connection::open(&path).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            let text = unavailable(put(&store, "a").await);
            assert!(text.contains("locked by another program"), "{text}");
            assert_eq!(store.new_facts(9).await.unwrap(), []);
            other.execute_batch("ROLLBACK").unwrap();
            assert_eq!(put(&store, "a").await.unwrap(), Put::New);
        });
    }
}

static ASKED: AtomicUsize = AtomicUsize::new(0);
static GATE: Mutex<Option<Receiver<()>>> = Mutex::new(None);

/// SQLite asks whether to wait for the other program: it is counted, held until the gate opens, and answered with no.
fn asked(_: i32) -> bool {
    ASKED.fetch_add(1, Ordering::SeqCst);
    if let Some(gate) = GATE.lock().unwrap().take() {
        let _ = gate.recv();
    }
    false
}

#[test]
fn all_who_wait_for_a_locked_file_are_told_together() {
    let (_directory, path, store) = fresh(SqliteStore::open);
    drop(store);
    let held = || Held { conn: Connection::open(&path).unwrap(), place: None };
    let mut writer = held();
    writer.conn.busy_handler(Some(asked)).unwrap();
    let engine = Engine::threads(&path, held(), writer).unwrap();
    let put = |key: &'static str| {
        engine.write(move |conn| Ok(conn.execute("INSERT INTO once (key, until) VALUES (?1, 0)", [key])?))
    };
    let (open, gate) = channel();
    *GATE.lock().unwrap() = Some(gate);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut calls: Vec<_> = ["a", "b", "c"].into_iter().map(|key| Box::pin(put(key))).collect();
    assert!(calls.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    drop(open);
    for call in calls {
        let text = unavailable(wait(call));
        assert!(text.contains("locked by another program"), "{text}");
    }
    assert_eq!(ASKED.load(Ordering::SeqCst), 1, "the file was waited for once");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(wait(put("a")).unwrap(), 1);
}

/// Holds the writer's thread until the sender is used or dropped, so that calls gather behind it.
fn hold(store: &SqliteStore) -> (std::sync::mpsc::Sender<()>, impl Future<Output = Result<(), StoreError>>) {
    let (release, held) = channel::<()>();
    let mut call = Box::pin(store.engine.write(move |_| {
        let _ = held.recv();
        Ok(())
    }));
    assert!(call.as_mut().now_or_never().is_none());
    (release, call)
}

#[test]
fn a_call_that_fails_takes_no_other_along() {
    let (_directory, _path, store) = fresh(SqliteStore::open);
    let (release, held) = hold(&store);
    let insert = "INSERT INTO once (key, until) VALUES (?1, 0)";
    let bad = store.engine.write(move |conn| {
        conn.execute(insert, ["half"])?;
        conn.execute(insert, ["half"])?;
        Ok(())
    });
    let refused = store.engine.write(move |conn| {
        conn.execute(insert, ["refused"])?;
        Err::<(), _>(Failure::unreadable("row", "why"))
    });
    let (mut a, mut bad, mut refused, mut b) =
        (Box::pin(put(&store, "a")), Box::pin(bad), Box::pin(refused), Box::pin(put(&store, "b")));
    // In this order behind the held call: one transaction.
    assert!(a.as_mut().now_or_never().is_none() && bad.as_mut().now_or_never().is_none());
    assert!(refused.as_mut().now_or_never().is_none() && b.as_mut().now_or_never().is_none());
    drop(release);
    wait(async {
        held.await.unwrap();
        assert_eq!((a.await.unwrap(), b.await.unwrap()), (Put::New, Put::New));
        assert!(unavailable(bad.await).contains("UNIQUE"));
        assert!(matches!(refused.await, Err(StoreError::Unreadable(_))));
        let counts = store.counts().await.unwrap();
        assert_eq!((counts.facts_new, counts.once), (2, 0));
    });
}

#[test]
fn when_the_transaction_is_lost_everyone_in_it_is_told() {
    let (_directory, _path, store) = fresh(SqliteStore::open);
    let (release, held) = hold(&store);
    let lost = store.engine.write(|conn| {
        conn.execute_batch("ROLLBACK")?;
        Err::<(), _>(Failure::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None)))
    });
    let (mut a, mut lost) = (Box::pin(put(&store, "a")), Box::pin(lost));
    assert!(a.as_mut().now_or_never().is_none() && lost.as_mut().now_or_never().is_none());
    drop(release);
    wait(async {
        for text in [unavailable(held.await), unavailable(a.await), unavailable(lost.await)] {
            assert!(text.contains("is full"), "{text}");
        }
        assert_eq!(store.counts().await.unwrap().facts_new, 0);
        assert_eq!(put(&store, "a").await.unwrap(), Put::New);
    });
}

#[test]
fn calls_are_carried_out_though_nobody_waits() {
    const CALLS: u64 = 500;
    let (_directory, path, store) = fresh(SqliteStore::open);
    let (release, held) = hold(&store);
    for number in 0..CALLS {
        assert!(Box::pin(put(&store, &number.to_string())).now_or_never().is_none());
    }
    drop(held);
    drop(release);
    // To drop the ledger waits for what was called.
    drop(store);
    let store = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(store.counts().now_or_never().unwrap().unwrap().facts_new, CALLS);
}

/// No test can cut the power: the settings that withstand it, as SQLite reports them.
#[test]
fn a_commit_waits_for_the_disk_unless_told_otherwise() {
    for (durability, synchronous) in [(Durability::PowerLoss, 2), (Durability::ProcessEnd, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("muster.db");
        let store = SqliteStore::open(&path, &SqliteOptions { durability, ledger: None }).unwrap();
        let found = wait(store.engine.write(|conn| {
            let synchronous = conn.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?;
            let mode = conn.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))?;
            Ok((synchronous, mode))
        }));
        assert_eq!(found.unwrap(), (synchronous, "wal".to_owned()));
    }
    assert_eq!(SqliteOptions::default().durability, Durability::PowerLoss);
}

#[test]
fn too_many_calls_are_refused_and_not_gathered() {
    let (_directory, _path, store) = fresh(SqliteStore::open);
    let (release, held) = hold(&store);
    let mut waiting = Vec::new();
    let text = loop {
        let mut call = Box::pin(store.use_once("key", Timestamp::EPOCH));
        match call.as_mut().now_or_never() {
            None => waiting.push(call),
            Some(answer) => break unavailable(answer),
        }
    };
    assert!(text.contains("overloaded") && text.contains("10000"), "{text}");
    drop(release);
    wait(async {
        held.await.unwrap();
        let mut used = 0;
        for call in waiting {
            used += u32::from(call.await.unwrap());
        }
        assert_eq!(used, 1);
    });
}

#[test]
fn every_error_names_the_file_and_a_remedy() {
    let path = Path::new("/ledgers/muster.db");
    for (code, remedy) in [
        (ffi::SQLITE_NOTADB, "name another file"),
        (ffi::SQLITE_BUSY, "close it"),
        (ffi::SQLITE_LOCKED, "close it"),
        (ffi::SQLITE_READONLY, "make the file and its directory writable"),
        (ffi::SQLITE_PERM, "make the file and its directory writable"),
        (ffi::SQLITE_FULL, "free some space"),
        (ffi::SQLITE_CORRUPT, "backup"),
        (ffi::SQLITE_CANTOPEN, "permissions"),
        (ffi::SQLITE_IOERR, "check the disk"),
    ] {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert_ne!(error.sqlite_error_code(), Some(ErrorCode::Unknown));
        let text = OpenError::of(&error, path).to_string();
        assert!(text.contains("/ledgers/muster.db") && text.contains(remedy), "{text}");
    }
    // SQLite does not say why a file beside the ledger could not be made: the disk is asked.
    let error = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_SHMSIZE), None);
    assert!(matches!(OpenError::meant(&error, path, |_| true), OpenError::DiskFull(_)));
    assert!(matches!(OpenError::meant(&error, path, |_| false), OpenError::Failed { .. }));
    for (kind, remedy) in [
        (std::io::ErrorKind::PermissionDenied, "writable"),
        (std::io::ErrorKind::ReadOnlyFilesystem, "writable"),
        (std::io::ErrorKind::StorageFull, "free some space"),
        (std::io::ErrorKind::Other, "check"),
    ] {
        let text = OpenError::of_io(&kind.into(), path).to_string();
        assert!(text.contains("/ledgers/muster.db") && text.contains(remedy), "{text}");
    }
}

#[test]
fn the_switch_is_flipped_beside_the_writer() {
    for open in BOTH {
        let (directory, path, store) = fresh(open);
        assert_eq!(SqliteStore::flip_switch(&path, Switch::NoLaunch).unwrap(), Switch::Run);
        assert_eq!(wait(store.switch()).unwrap(), Switch::NoLaunch);
        assert_eq!(wait(store.generation()).unwrap(), wait(store.load()).unwrap().generation);
        let missing = SqliteStore::flip_switch(&directory.path().join("other.db"), Switch::Run);
        assert!(matches!(missing, Err(OpenError::Missing(_))), "{missing:?}");
        assert!(!directory.path().join("other.db").exists());
    }
}
