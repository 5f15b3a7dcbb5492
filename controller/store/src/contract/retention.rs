//! Cases about the past: how long it is known, and that it never comes back to life.

use muster_core::claim::Order;
use muster_core::ids::Generation;
use muster_core::job::JobPhase;
use muster_core::launch::HOLD_KEPT;
use muster_core::machine::Market;
use muster_core::ports::{Batch, NewFact};
use muster_core::time::Timestamp;

use super::samples::{
    at, claim, completed, finished_job, hold, in_progress, instance, job, launch, machine, merged, queued, waiting_job,
};
use super::{Keeps, good};
use crate::{Counts, JOB_RETENTION, Pruned, Upkeep};

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn seqs(facts: &[NewFact]) -> Vec<i64> {
    facts.iter().map(|new| new.seq).collect()
}

/// Merges what is new as a tick does: into the record that is known.
async fn tick<S: Upkeep>(store: &S) {
    let told = good(store.new_facts(100).await);
    let generation = good(store.generation().await);
    let mut batch = Batch { merged: seqs(&told), ..Batch::default() };
    for fact in told.into_iter().filter_map(|new| new.fact.ok()) {
        let Some(event) = merged(std::slice::from_ref(&fact)) else {
            continue;
        };
        let known = batch.jobs.iter().position(|record| record.key == event.key);
        if let Some(known) = known {
            batch.jobs[known].merge(&event);
            continue;
        }
        let mut record = good(store.jobs(&[event.key]).await).pop().unwrap_or_else(|| event.clone());
        record.merge(&event);
        batch.jobs.push(record);
    }
    good(store.commit(&batch, generation).await);
}

/// Late, repeated and contradicting events of a finished job merge into a finished job.
pub async fn a_replay_revives_nothing<S: Upkeep>(store: &S, keeps: Keeps) {
    let life = [queued(job(1), 0), in_progress(job(1), 4_000), completed(job(1), 9_000)];
    for fact in &life {
        good(store.put_fact(fact).await);
    }
    tick(store).await;
    for fact in
        [queued(job(1), 500_000), in_progress(job(1), 3_000), completed(job(1), 8_000), completed(job(1), 9_000)]
    {
        good(store.put_fact(&fact).await);
        tick(store).await;
        assert_eq!(good(store.load().await).jobs, []);
        let known = good(store.jobs(&[job(1)]).await);
        assert_eq!(
            known.iter().map(|record| (record.key, record.phase())).collect::<Vec<_>>(),
            [(job(1), JobPhase::Completed)]
        );
        let end = known[0].completed.as_ref().map(|completed| completed.completed_at);
        assert_eq!(end, Some(at(9_000)));
        let start = merged(&life).and_then(|record| record.started_at());
        assert_eq!((known[0].started_at(), known[0].demanded_at()), (start, Some(at(-1_000))));
    }
    if keeps == Keeps::Everything {
        assert_eq!(good(store.counts().await).jobs_over, 1);
        assert_eq!(good(store.history(job(1).job).await).len(), 6);
    }
}

/// A finished job and its facts stay for the retention, from its end or from when we heard of it, and then go together.
/// A job that is not over stays.
pub async fn a_finished_job_is_forgotten_in_time<S: Upkeep>(store: &S, keeps: Keeps) {
    let month = 31 * 24 * 3_600_000;
    // Completed long before it was heard of, as a redelivery of an old event.
    let mut old = completed(job(2), -12 * month);
    old.received_at = at(20_000);
    for fact in [&queued(job(1), 0), &completed(job(1), 10_000), &old, &queued(job(3), 30_000)] {
        good(store.put_fact(fact).await);
    }
    tick(store).await;
    let known = async |number| !good(store.jobs(&[job(number)]).await).is_empty();

    assert_eq!(good(store.prune(at(10_000) + JOB_RETENTION).await), Pruned::default());
    let first = good(store.prune(at(10_000) + JOB_RETENTION + SECOND).await);
    assert_eq!(first.jobs, 1);
    assert!(!known(1).await && known(2).await && known(3).await);
    let second = good(store.prune(at(20_000) + JOB_RETENTION + SECOND).await);
    assert_eq!(second.jobs, 1);
    assert!(!known(2).await && known(3).await);
    good(store.prune(Timestamp::MAX).await);
    assert_eq!(good(store.ledger().await), [waiting(30_000)]);
    match keeps {
        Keeps::Everything => {
            assert_eq!((first.facts, second.facts), (2, 1));
            assert_eq!(good(store.history(job(3).job).await).len(), 1);
        }
        Keeps::Tombstones => assert_eq!((first.facts, second.facts), (0, 0)),
    }
}

fn waiting(received: i64) -> muster_core::job::JobRecord {
    let mut record = waiting_job(3);
    if let Some(told) = merged(&[queued(job(3), received)]) {
        record = told;
    }
    record
}

/// Keys, holds, and what is left of machines that nobody knows go in time; what lives stays.
pub async fn what_has_ended_is_pruned<S: Upkeep>(store: &S, _: Keeps) {
    let orders = vec![(instance(1), Order::Interruption), (instance(2), Order::Interruption)];
    let holds = vec![hold("a", Market::Spot, 10_000), hold("b", Market::Spot, 20_000)];
    let batch = Batch { machines: vec![machine(1)], launches: vec![launch(1)], orders, holds, ..Batch::default() };
    good(store.commit(&batch, Generation(0)).await);
    for number in 1..=2 {
        good(store.put_claim(&claim(number, 1, 0)).await);
        good(store.touch_lease(&instance(number), at(0)).await);
    }
    good(store.put_fact(&queued(job(1), 0)).await);
    let pruned = good(store.prune(at(10_000) + HOLD_KEPT).await);
    assert_eq!(pruned, Pruned { orphans: 1, ..Pruned::default() }, "what follows a hold depends on it");
    let pruned = good(store.prune(at(15_000) + HOLD_KEPT).await);
    assert_eq!(pruned, Pruned { holds: 1, ..Pruned::default() });
    assert_eq!(good(store.load().await).holds, [hold("b", Market::Spot, 20_000)]);
    let pruned = good(store.prune(at(15_000) + JOB_RETENTION).await);
    assert_eq!(pruned, Pruned { holds: 1, orphans: 2, ..Pruned::default() });
    assert_eq!(good(store.unminted().await), [claim(1, 1, 0)]);
    let snapshot = good(store.load().await);
    assert_eq!((snapshot.generation, snapshot.machines.len(), snapshot.launches.len()), (Generation(1), 1, 1));
    // A fact that no tick has seen is never forgotten.
    assert_eq!(good(store.new_facts(10).await).len(), 1);
}

/// Each kind of row is counted.
pub async fn rows_are_counted<S: Upkeep>(store: &S, keeps: Keeps) {
    assert_eq!(good(store.counts().await), Counts::default());
    for number in 1..=4 {
        good(store.put_fact(&queued(job(number), 0)).await);
    }
    let told = seqs(&good(store.new_facts(10).await));
    let batch = Batch {
        merged: told[..2].to_vec(),
        set_aside: vec![(told[2], "no".to_owned())],
        jobs: vec![waiting_job(1), waiting_job(2), finished_job(3, 10_000)],
        machines: vec![machine(1)],
        launches: vec![launch(1)],
        orders: vec![(instance(1), Order::Interruption)],
        holds: vec![hold("a", Market::Spot, 10_000)],
        ..Batch::default()
    };
    good(store.commit(&batch, Generation(0)).await);
    good(store.put_claim(&claim(1, 1, 0)).await);
    good(store.touch_lease(&instance(1), at(0)).await);
    good(store.use_once("a", at(0)).await);
    let expected = Counts {
        facts_new: 1,
        facts_merged: if keeps == Keeps::Everything { 2 } else { 0 },
        facts_set_aside: 1,
        jobs_open: 2,
        jobs_over: 1,
        machines: 1,
        launches: 1,
        holds: 1,
        claims: 1,
        orders: 1,
        leases: 1,
        once: 1,
    };
    assert_eq!(good(store.counts().await), expected);
}
