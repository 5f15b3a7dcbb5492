//! `kill -9` while deliveries stream in: what was answered with 2xx is in the ledger.
//!
//! The limits of this test: it ends the process, not the machine. That a commit waits for the disk is the store's to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use muster_core::time::Timestamp;
use muster_tests::{Happening, JobDelivery};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::fleet::{Door, Fleet, SECRET, SERVES_RECORDED};
use crate::http::job;
use crate::orders::Shuffle;

const KILLS: usize = 50;
const CONNECTIONS: usize = 4;
/// A round ends after at least and at most so many answers.
const ANSWERS: (usize, usize) = (1, 200);

/// What the ledger must know of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    queued: bool,
    started: Option<(String, String)>,
    completed: Option<String>,
}

/// Sends the life of one job after the other until the door is gone; gives what was answered with 2xx.
async fn stream(door: Door, next: Arc<AtomicI64>, answers: Arc<AtomicUsize>) -> Vec<(i64, Happening)> {
    let mut acknowledged = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let at = |second: i64| Timestamp::from_unix_ms(1_795_341_600_000 + (number * 10 + second) * 1_000).to_string();
        let life = [
            Happening::Queued,
            Happening::Started { at: at(1), runner: format!("elsewhere-{number}") },
            Happening::Completed { at: at(2), conclusion: "success" },
        ];
        // Some stay queued, some running; and not all come in order.
        let mut life: Vec<Happening> = life.into_iter().take(1 + usize::try_from(number % 3).unwrap()).collect();
        if number % 5 == 0 {
            life.reverse();
        }
        for happening in life {
            let delivery = JobDelivery { created_at: at(0), happening: happening.clone(), ..job(number, &["gpu"]) };
            let sent = door.delivery("workflow_job", &delivery.body(), SECRET).send().await;
            let Ok(answer) = sent else { return acknowledged };
            if answer.status().is_success() {
                acknowledged.push((number, happening));
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test]
async fn fifty_times() {
    // `gpu` has a cap: what is acknowledged counts here, not how many machines it would need.
    let fleet = Fleet::new(SERVES_RECORDED);
    let next = Arc::new(AtomicI64::new(1));
    let mut told: BTreeMap<i64, Told> = BTreeMap::new();
    let mut shuffle = Shuffle::new(9);
    let mut acknowledged = 0;
    for round in 1..=KILLS {
        let server = fleet.serve();
        check(&fleet.ledger(), &told, round);
        let answers = Arc::new(AtomicUsize::new(0));
        let mut streams = JoinSet::new();
        for _ in 0..CONNECTIONS {
            streams.spawn(stream(server.door.clone(), next.clone(), answers.clone()));
        }
        let enough = ANSWERS.0 + shuffle.below(ANSWERS.1 - ANSWERS.0);
        while answers.load(Ordering::Relaxed) < enough && !streams.is_empty() {
            tokio::task::yield_now().await;
        }
        let died = server.running.kill();
        assert_eq!(died.code, None, "it was to be killed, and had ended by itself: {}", died.err);
        while let Some(heard) = streams.join_next().await {
            for (job, happening) in heard.unwrap() {
                acknowledged += 1;
                let told = told.entry(job).or_default();
                match happening {
                    Happening::Queued => told.queued = true,
                    Happening::Started { at, runner } => told.started = Some((at, runner)),
                    Happening::Completed { conclusion, .. } => told.completed = Some(conclusion.to_owned()),
                }
            }
        }
    }
    let server = fleet.serve();
    check(&fleet.ledger(), &told, KILLS + 1);
    server.end();
    check(&fleet.ledger(), &told, KILLS + 2);
    let set_aside = fleet.on_ledger("ledger", &["--set-aside", "--json"]);
    assert_eq!((set_aside.code, set_aside.out.as_str()), (Some(0), ""));
    eprintln!("{acknowledged} deliveries about {} jobs were acknowledged before {KILLS} kills", told.len());
    assert!(acknowledged > KILLS, "the rounds were too short to show anything");
}

fn check(ledger: &[Value], told: &BTreeMap<i64, Told>, round: usize) {
    let ledger: BTreeMap<i64, &Value> =
        ledger.iter().filter_map(|entry| Some((entry["job_id"].as_i64()?, entry))).collect();
    for (job, told) in told {
        let Some(entry) = ledger.get(job) else { panic!("round {round}: job {job} is lost: {told:?}") };
        if told.queued {
            assert!(entry["demanded_at"].is_string(), "round {round}: {told:?}, but {entry}");
        }
        if let Some((at, runner)) = &told.started {
            assert_eq!(
                (&entry["started_at"], &entry["runner"]),
                (&json!(at), &json!(runner)),
                "round {round}: {entry}"
            );
        }
        if let Some(conclusion) = &told.completed {
            assert_eq!((&entry["phase"], &entry["conclusion"]), (&json!("completed"), &json!(conclusion)), "{entry}");
        }
    }
}
