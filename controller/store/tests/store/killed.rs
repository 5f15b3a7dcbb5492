//! A writer that is killed in the middle of its work has lost nothing that it answered.

use super::scratch;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use muster_core::ports::Store;
use muster_store::contract::samples::{job, queued};
use muster_store::{SqliteOptions, SqliteStore, Upkeep};

/// Names the ledger to the process that is going to be killed.
const LEDGER: &str = "MUSTER_TEST_LEDGER";
/// The first number of that process's facts.
const FIRST: &str = "MUSTER_TEST_FIRST";
const TASKS: i64 = 16;
const ROUNDS: i64 = 8;

/// Not a test by itself: the process that is killed. It puts facts for ever and prints each one that was answered.
#[test]
fn writer() {
    let (Ok(ledger), Ok(first)) = (std::env::var(LEDGER), std::env::var(FIRST)) else {
        return;
    };
    let first: i64 = first.parse().unwrap();
    let store = Arc::new(SqliteStore::open(ledger.as_ref(), &SqliteOptions::default()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks = (0..TASKS).map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in (first + task..).step_by(TASKS.unsigned_abs().try_into().unwrap()) {
                    store.put_fact(&queued(job(number), 0)).await.unwrap();
                    writeln!(std::io::stderr().lock(), "put {number}").unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_killed_writer_has_lost_nothing_that_it_answered() {
    let (_directory, path) = scratch::place();
    let mut answered: Vec<i64> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::writer", "--nocapture"])
            .env(LEDGER, &path)
            .env(FIRST, (round * 1_000_000).to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let number = |line: String| line.strip_prefix("put ").and_then(|number| number.parse::<i64>().ok());
        let mut put = lines.by_ref().map_while(Result::ok).filter_map(number);
        answered.extend(put.by_ref().take(usize::try_from(40 + 37 * round).unwrap()));
        child.kill().unwrap();
        // What it still said before the end counts as well.
        answered.extend(put);
        child.wait().unwrap();

        // First someone looks, then the next writer opens it.
        let reader = SqliteStore::open_read_only(&path).unwrap();
        let writer = SqliteStore::open_direct(&path, &scratch::quick()).unwrap();
        for (store, who) in [(&reader, "reader"), (&writer, "writer")] {
            for number in &answered {
                let key = queued(job(*number), 0).key();
                let found = scratch::ready(store.fact_by_key(&key)).unwrap();
                assert!(found.is_some(), "round {round}: the {who} does not find {key}");
            }
        }
    }
    assert!(answered.len() > 40 * usize::try_from(ROUNDS).unwrap());
}
