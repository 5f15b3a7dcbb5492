//! What only the file can do: survive, be migrated, be refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use muster_core::claim::Order;
use muster_core::ids::Generation;
use muster_core::machine::Market;
use muster_core::ports::{Batch, Put, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_store::contract::samples::{
    at, claim, finished_job, hold, in_progress, instance, job, launch, machine, merged, minted, queued, waiting_job,
};
use muster_store::{JOB_RETENTION, OpenError, SCHEMA_VERSION, SqliteOptions, SqliteStore, Upkeep};
use rusqlite::Connection;

use super::scratch::{block_on, place, quick, ready};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn refused(answer: Result<SqliteStore, OpenError>) -> OpenError {
    answer.map(|_| ()).expect_err("it is refused")
}

/// Every way to open a file is refused with a text that has these words, and the file stays as it is.
fn all_refuse(path: &Path, words: &[&str]) {
    let before = std::fs::read(path).unwrap();
    for answer in
        [SqliteStore::open(path, &quick()), SqliteStore::open_direct(path, &quick()), SqliteStore::open_read_only(path)]
    {
        let text = refused(answer).to_string();
        assert!(text.contains(path.canonicalize().unwrap().to_str().unwrap()), "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in: {text}");
        }
    }
    assert_eq!(std::fs::read(path).unwrap(), before);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing was left beside it");
}

#[test]
fn a_file_of_schema_1_is_migrated_whole() {
    let (_directory, path) = place();
    std::fs::copy(fixture("ledger-1.db"), &path).unwrap();
    let text = refused(SqliteStore::open_read_only(&path)).to_string();
    assert!(text.contains("schema 1") && text.contains("muster serve"), "{text}");
    for _ in 0..2 {
        let store = SqliteStore::open_direct(&path, &quick()).unwrap();
        let snapshot = ready(store.load()).unwrap();
        assert_eq!((snapshot.ledger.as_str(), snapshot.generation), ("0123abcd", Generation(7)));
        assert_eq!(snapshot.switch, Switch::NoLaunch);
        assert_eq!(snapshot.jobs, [waiting_job(2)]);
        assert_eq!(snapshot.machines.len(), 1);
        assert_eq!(snapshot.machines[0].told.listening_at, Some(at(3_000)));
        // Its writer knew of no accounts.
        let mut before = launch(1);
        before.purpose.account = None;
        assert_eq!(snapshot.launches, [before]);
        assert_eq!(snapshot.holds, [hold("a", Market::Spot, 180_000)]);
        assert_eq!(ready(store.jobs(&[job(1)])).unwrap(), [finished_job(1, 9_000)]);
        assert_eq!(ready(store.claim(&instance(1))).unwrap(), Some(minted(&claim(1, 2, 0), 9)));
        let order = Numbered { seq: 4, order: Order::Drain { number: 1 } };
        assert_eq!(ready(store.order(&instance(1))).unwrap(), Some(order));
        assert_eq!(ready(store.config()).unwrap().as_deref(), Some("# the last good one"));
        assert!(!ready(store.use_once("proof:1", at(0))).unwrap());
        let told = ready(store.new_facts(10)).unwrap();
        assert_eq!(told.iter().map(|new| &new.fact).collect::<Vec<_>>(), [&Ok(in_progress(job(2), 12_000))]);
        assert_eq!(ready(store.put_fact(&queued(job(1), 0))).unwrap(), Put::Duplicate);
    }
    // What schema 2 brought works on rows of schema 1.
    let store = SqliteStore::open_direct(&path, &quick()).unwrap();
    let pruned = ready(store.prune(at(9_001) + JOB_RETENTION)).unwrap();
    assert_eq!((pruned.jobs, pruned.facts), (1, 2));
    has_notes_now(store, &path);
}

/// What schema 3 brought, in a file that was migrated.
fn has_notes_now(store: SqliteStore, path: &Path) {
    assert_eq!(ready(store.note("a")).unwrap(), None);
    ready(store.put_note("a", "noted")).unwrap();
    drop(store);
    let version: i64 = Connection::open(path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, SCHEMA_VERSION);
    let reader = SqliteStore::open_read_only(path).unwrap();
    assert_eq!(ready(reader.note("a")).unwrap().as_deref(), Some("noted"));
}

#[test]
fn a_file_of_schema_2_is_migrated_whole() {
    let (_directory, path) = place();
    std::fs::copy(fixture("ledger-2.db"), &path).unwrap();
    let text = refused(SqliteStore::open_read_only(&path)).to_string();
    assert!(text.contains("schema 2") && text.contains("muster serve"), "{text}");
    assert!(matches!(SqliteStore::flip_switch(&path, Switch::Run), Err(OpenError::Older { found: 2, .. })));
    for _ in 0..2 {
        let store = SqliteStore::open_direct(&path, &quick()).unwrap();
        let snapshot = ready(store.load()).unwrap();
        assert_eq!((snapshot.ledger.as_str(), snapshot.generation), ("4567cdef", Generation(1)));
        assert_eq!((snapshot.switch, snapshot.unreadable), (Switch::NoLaunch, Vec::new()));
        assert_eq!((snapshot.jobs, snapshot.machines), (vec![waiting_job(2)], vec![machine(1)]));
        assert_eq!((snapshot.launches, snapshot.holds), (vec![launch(1)], vec![hold("a", Market::Spot, 180_000)]));
        assert_eq!(ready(store.jobs(&[job(1)])).unwrap(), [finished_job(1, 9_000)]);
        assert_eq!(ready(store.claim(&instance(1))).unwrap(), Some(minted(&claim(1, 2, 0), 9)));
        let order = Numbered { seq: 1, order: Order::Drain { number: 1 } };
        assert_eq!(ready(store.order(&instance(1))).unwrap(), Some(order));
        assert_eq!(ready(store.lease(&instance(1))).unwrap(), Some(at(4_000)));
        assert_eq!(ready(store.config()).unwrap().as_deref(), Some("# the last good one"));
        assert!(!ready(store.use_once("proof:1", at(0))).unwrap());
        let told = ready(store.new_facts(10)).unwrap();
        assert_eq!(told.iter().map(|new| &new.fact).collect::<Vec<_>>(), [&Ok(in_progress(job(2), 12_000))]);
        let aside = ready(store.set_aside(10)).unwrap();
        let aside: Vec<_> = aside.iter().map(|aside| (aside.key.as_str(), aside.reason.as_str())).collect();
        assert_eq!(aside, [("weather:1", "no such fact")]);
        assert_eq!(ready(store.put_fact(&queued(job(1), 0))).unwrap(), Put::Duplicate);
    }
    has_notes_now(SqliteStore::open_direct(&path, &quick()).unwrap(), &path);
}

#[test]
fn a_newer_file_is_refused() {
    let (_directory, path) = place();
    std::fs::copy(fixture("ledger-1.db"), &path).unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    all_refuse(&path, &["schema 9", &format!("up to {SCHEMA_VERSION}"), "newer Muster"]);
}

#[test]
fn other_files_are_refused() {
    let (_directory, path) = place();
    std::fs::write(&path, "name,email\n".repeat(200)).unwrap();
    all_refuse(&path, &["not even an SQLite file", "name another file"]);

    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a); PRAGMA application_id = 7").unwrap();
    all_refuse(&path, &["another application", "name another file"]);

    std::fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    all_refuse(&path, &["another application"]);
}

#[test]
fn what_is_not_there_is_refused() {
    let (directory, path) = place();
    let text = refused(SqliteStore::open_read_only(&path)).to_string();
    assert!(text.contains("there is no ledger"), "{text}");
    assert!(matches!(refused(SqliteStore::open(directory.path(), &quick())), OpenError::NotADatabase(_)));
    let deep = directory.path().join("no/muster.db");
    assert!(matches!(refused(SqliteStore::open(&deep, &quick())), OpenError::NoDirectory(_)));
    // An empty file is not a ledger to read, and becomes one to write.
    std::fs::write(&path, "").unwrap();
    assert!(matches!(refused(SqliteStore::open_read_only(&path)), OpenError::Missing(_)));
    assert!(SqliteStore::open(&path, &quick()).is_ok());
}

#[test]
fn a_second_writer_is_refused() {
    let (directory, path) = place();
    let first = SqliteStore::open(&path, &quick()).unwrap();
    // By another way to the same file, too.
    let link = directory.path().join("link.db");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let text = refused(SqliteStore::open_direct(path, &quick())).to_string();
        assert!(text.contains("muster.db") && text.contains("in use by another Muster"), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
    }
    drop(first);
    let second = SqliteStore::open_direct(&path, &quick()).unwrap();
    assert!(matches!(refused(SqliteStore::open(&path, &quick())), OpenError::InUse { .. }));
    drop(second);
    SqliteStore::open(&path, &quick()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_second_name_of_the_file_is_refused() {
    let (directory, path) = place();
    drop(SqliteStore::open(&path, &quick()).unwrap());
    let link = directory.path().join("link.db");
    std::fs::hard_link(&path, &link).unwrap();
    for path in [&path, &link] {
        let text = refused(SqliteStore::open(path, &quick())).to_string();
        assert!(text.contains("hard links") && text.contains("remove the other names"), "{text}");
        assert!(matches!(SqliteStore::flip_switch(path, Switch::Freeze), Err(OpenError::ManyNames(_))));
    }
    std::fs::remove_file(&link).unwrap();
    assert!(SqliteStore::open(&path, &quick()).is_ok());
}

/// A lock file that was removed is taken anew by whoever writes next, and only one of two can.
#[cfg(unix)]
#[test]
fn a_removed_lock_lets_no_second_writer_in() {
    let (directory, path) = place();
    let lock = directory.path().join("muster.db-writer");
    let first = SqliteStore::open(&path, &quick()).unwrap();
    std::fs::remove_file(&lock).unwrap();
    assert_eq!(block_on(first.put_fact(&queued(job(1), 0))).unwrap(), Put::New);
    assert!(matches!(refused(SqliteStore::open(&path, &quick())), OpenError::InUse { .. }));
    std::fs::remove_file(&lock).unwrap();
    let second = SqliteStore::open(&path, &quick()).unwrap();
    match block_on(first.put_fact(&queued(job(2), 0))) {
        Err(StoreError::Unavailable(why)) => assert!(why.contains("in use by another Muster"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(block_on(second.put_fact(&queued(job(2), 0))).unwrap(), Put::New);
}

/// A writer whose file nobody finds any more takes nothing in and tells nothing; put back, it goes on.
#[cfg(unix)]
#[test]
fn a_file_that_was_moved_or_removed_takes_nothing_in_and_tells_nothing() {
    let open: [fn(&Path) -> SqliteStore; 2] =
        [|path| SqliteStore::open(path, &quick()).unwrap(), |path| SqliteStore::open_direct(path, &quick()).unwrap()];
    for open in open {
        let (directory, path) = place();
        let store = open(&path);
        assert_eq!(block_on(store.put_fact(&queued(job(1), 0))).unwrap(), Put::New);
        for name in ["muster.db", "muster.db-wal"] {
            let (file, away) = (directory.path().join(name), directory.path().join("away"));
            std::fs::rename(&file, &away).unwrap();
            // Another file in its place is not it.
            for other in [false, true] {
                if other {
                    std::fs::copy(&away, &file).unwrap();
                }
                let put = block_on(store.put_fact(&queued(job(2), 0))).map(|_| ());
                let read = block_on(store.new_facts(100)).map(|_| ());
                for answer in [put, read, block_on(store.generation()).map(|_| ())] {
                    match answer {
                        Err(StoreError::Unavailable(why)) => {
                            assert!(why.contains("put it back, or restart") && why.contains(name), "{why}");
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            std::fs::rename(&away, &file).unwrap();
        }
        assert_eq!(block_on(store.put_fact(&queued(job(2), 0))).unwrap(), Put::New);
    }
}

#[test]
fn a_reader_sees_what_the_writer_has_answered() {
    let (_directory, path) = place();
    let writer = SqliteStore::open(&path, &quick()).unwrap();
    let reader = SqliteStore::open_read_only(&path).unwrap();
    for number in 0..50 {
        assert_eq!(block_on(writer.put_fact(&queued(job(number), 0))).unwrap(), Put::New);
        assert_eq!(ready(reader.new_facts(100)).unwrap().len(), usize::try_from(number).unwrap() + 1);
    }
    assert_eq!(ready(reader.ledger()).unwrap().len(), 50);
    match ready(reader.put_fact(&queued(job(99), 0))) {
        Err(StoreError::Unavailable(why)) => assert!(why.contains("cannot be written"), "{why}"),
        other => panic!("{other:?}"),
    }
    // The reader does not stand in the writer's way, and may outlive it.
    block_on(writer.commit(&Batch::default(), Generation(0))).unwrap();
    drop(writer);
    assert_eq!(ready(reader.generation()).unwrap(), Generation(1));
}

#[test]
fn everything_is_there_after_reopening() {
    let (_directory, path) = place();
    let word = {
        let store = SqliteStore::open(&path, &SqliteOptions::default()).unwrap();
        block_on(store.put_fact(&queued(job(1), 0))).unwrap();
        block_on(store.put_fact(&queued(job(2), 0))).unwrap();
        let seq = block_on(store.new_facts(1)).unwrap()[0].seq;
        let batch = Batch {
            merged: vec![seq],
            jobs: vec![waiting_job(1), finished_job(3, 0)],
            machines: vec![machine(1)],
            launches: vec![launch(1)],
            orders: vec![(instance(1), Order::Interruption)],
            holds: vec![hold("a", Market::Spot, 1)],
            ..Batch::default()
        };
        block_on(store.commit(&batch, Generation(0))).unwrap();
        block_on(store.put_claim(&claim(1, 1, 0))).unwrap();
        block_on(store.touch_lease(&instance(1), at(4))).unwrap();
        block_on(store.use_once("a", at(4))).unwrap();
        block_on(store.set_switch(Switch::Freeze)).unwrap();
        block_on(store.put_config("text")).unwrap();
        block_on(store.put_note("a", "noted")).unwrap();
        block_on(store.load()).unwrap().ledger
    };
    let options = SqliteOptions { ledger: Some("ffffffff".to_owned()), ..quick() };
    let store = SqliteStore::open_direct(&path, &options).unwrap();
    let snapshot = ready(store.load()).unwrap();
    assert_eq!((snapshot.ledger, snapshot.generation, snapshot.switch), (word, Generation(1), Switch::Freeze));
    assert_eq!((snapshot.jobs, snapshot.machines), (vec![waiting_job(1)], vec![machine(1)]));
    assert_eq!((snapshot.launches, snapshot.holds), (vec![launch(1)], vec![hold("a", Market::Spot, 1)]));
    assert_eq!(ready(store.new_facts(9)).unwrap().len(), 1);
    assert_eq!(ready(store.put_fact(&queued(job(1), 0))).unwrap(), Put::Duplicate);
    assert_eq!(ready(store.jobs(&[job(3)])).unwrap(), [finished_job(3, 0)]);
    assert_eq!(ready(store.order(&instance(1))).unwrap().map(|order| order.seq), Some(1));
    assert_eq!(ready(store.unminted()).unwrap(), [claim(1, 1, 0)]);
    assert_eq!(ready(store.lease(&instance(1))).unwrap(), Some(at(4)));
    assert!(!ready(store.use_once("a", at(4))).unwrap());
    assert_eq!(ready(store.config()).unwrap().as_deref(), Some("text"));
    assert_eq!(ready(store.note("a")).unwrap().as_deref(), Some("noted"));
}

#[test]
fn ledgers_have_different_words_unless_one_is_given() {
    let word = |options: &SqliteOptions| {
        let (_directory, path) = place();
        ready(SqliteStore::open_direct(&path, options).unwrap().load()).unwrap().ledger
    };
    assert_ne!(word(&quick()), word(&quick()));
    assert_eq!(word(&SqliteOptions { ledger: Some("0badcafe".to_owned()), ..quick() }), "0badcafe");
}

#[test]
fn facts_of_many_tasks_are_all_there_after_reopening() {
    const TASKS: i64 = 64;
    const EACH: i64 = 25;
    let (_directory, path) = place();
    let store = Arc::new(SqliteStore::open(&path, &SqliteOptions::default()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..EACH {
                        let fact = queued(job(task * EACH + number), 0);
                        assert_eq!(store.put_fact(&fact).await.unwrap(), Put::New);
                        // Every task puts the same one, too.
                        store.put_fact(&queued(job(1_000_000 + number), 0)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    drop(store);
    let store = SqliteStore::open_direct(&path, &quick()).unwrap();
    let told = ready(store.new_facts(usize::MAX)).unwrap();
    let mut jobs: Vec<i64> = told.iter().map(|new| merged(&[new.fact.clone().unwrap()]).unwrap().key.job.0).collect();
    jobs.sort_unstable();
    assert_eq!(jobs, (0..TASKS * EACH).chain(1_000_000..1_000_000 + EACH).collect::<Vec<_>>());
}

#[test]
fn a_row_that_does_not_read_is_named_and_hides_no_other() {
    let (_directory, path) = place();
    let store = SqliteStore::open_direct(&path, &quick()).unwrap();
    let jobs = vec![waiting_job(1), waiting_job(2)];
    let batch = Batch { machines: vec![machine(1), machine(2)], jobs, ..Batch::default() };
    ready(store.commit(&batch, Generation(0))).unwrap();
    for number in 1..=2 {
        assert!(ready(store.put_claim(&claim(number, 1, 0))).unwrap());
    }
    let other = Connection::open(&path).unwrap();
    other.execute("UPDATE machines SET record = '{}' WHERE instance = 'i-00000000000000001'", []).unwrap();
    other.execute("UPDATE claims SET record = '{}' WHERE instance = 'i-00000000000000001'", []).unwrap();
    other.execute("UPDATE jobs SET record = 'x' WHERE job = 1", []).unwrap();
    let snapshot = ready(store.load()).unwrap();
    assert_eq!((snapshot.machines, snapshot.jobs), (vec![machine(2)], vec![waiting_job(2)]));
    assert_eq!(snapshot.unreadable.len(), 2, "{:?}", snapshot.unreadable);
    assert!(snapshot.unreadable[0].contains("jobs 1#1: "), "{:?}", snapshot.unreadable);
    assert!(snapshot.unreadable[1].contains("machines i-00000000000000001: missing"), "{:?}", snapshot.unreadable);
    assert_eq!(ready(store.jobs(&[job(1), job(2)])).unwrap(), [waiting_job(2)]);
    assert_eq!(ready(store.unminted()).unwrap(), [claim(2, 1, 0)]);
    // What is told of the job from now on shows again, and pages go on behind what does not read.
    assert_eq!(ready(store.ledger_page(None, 1)).unwrap(), [waiting_job(2)]);
    assert_eq!(ready(store.put_fact(&queued(job(1), 0))).unwrap(), Put::New);
    assert_eq!(ready(store.ledger()).unwrap(), [waiting_job(1), waiting_job(2)]);
}
