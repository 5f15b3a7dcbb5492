//! Cases about the scaler's write: all or nothing, and everything comes back.

use muster_core::claim::Order;
use muster_core::ids::Generation;
use muster_core::job::{Conclusion, JobPhase};
use muster_core::machine::Market;
use muster_core::ports::{Batch, StoreError, Switch};
use muster_core::protocol::Numbered;

use super::samples::{at, claim, finished_job, hold, instance, job, launch, machine, queued, waiting_job};
use super::{Keeps, good};
use crate::{Counts, JOB_RETENTION, Upkeep};

fn full_batch(merged: i64, aside: i64) -> Batch {
    Batch {
        merged: vec![merged],
        set_aside: vec![(aside, "no".to_owned())],
        jobs: vec![waiting_job(2), waiting_job(1), finished_job(3, 10_000)],
        machines: vec![machine(2), machine(1)],
        forgotten: vec![instance(9)],
        launches: vec![launch(2), launch(1)],
        settled: vec![launch(9).id],
        orders: vec![(instance(1), Order::Drain { number: 1 })],
        holds: vec![hold("b", Market::OnDemand, 5), hold("b", Market::Spot, 5), hold("a", Market::OnDemand, 9)],
    }
}

/// A new ledger has its word, generation 0, the switch at `run`, and nothing else.
pub async fn a_new_ledger_is_empty<S: Upkeep>(store: &S, _: Keeps) {
    let snapshot = good(store.load().await);
    assert_eq!(snapshot.ledger.len(), 8);
    assert!(snapshot.ledger.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", snapshot.ledger);
    assert_eq!((snapshot.generation, snapshot.switch), (Generation(0), Switch::Run));
    assert!(snapshot.jobs.is_empty() && snapshot.machines.is_empty());
    assert!(snapshot.launches.is_empty() && snapshot.holds.is_empty());
    assert_eq!(good(store.config().await), None);
    assert_eq!(good(store.note("any").await), None);
    assert_eq!(good(store.ledger().await), []);
    assert_eq!(good(store.unminted().await), []);
}

/// Every kind of record comes back as it was written, in the order of its key.
pub async fn everything_comes_back<S: Upkeep>(store: &S, _: Keeps) {
    let word = good(store.load().await).ledger;
    good(store.commit(&full_batch(1, 2), Generation(0)).await);
    let snapshot = good(store.load().await);
    assert_eq!((snapshot.ledger, snapshot.generation), (word, Generation(1)));
    assert_eq!(snapshot.jobs, [waiting_job(1), waiting_job(2)]);
    assert_eq!(snapshot.machines, [machine(1), machine(2)]);
    assert_eq!(snapshot.launches, [launch(1), launch(2)]);
    assert_eq!(
        snapshot.holds,
        [hold("a", Market::OnDemand, 9), hold("b", Market::Spot, 5), hold("b", Market::OnDemand, 5)]
    );
    assert_eq!(good(store.machine(&instance(1)).await), Some(machine(1)));
    assert_eq!(good(store.machine(&instance(3)).await), None);
    assert_eq!(good(store.jobs(&[job(2), job(8), job(1)]).await), [waiting_job(2), waiting_job(1)]);

    let mut ended = machine(1);
    ended.gone_at = Some(at(99));
    let longer = hold("a", Market::OnDemand, 900);
    let batch = Batch { machines: vec![ended.clone()], holds: vec![longer.clone()], ..Batch::default() };
    good(store.commit(&batch, Generation(1)).await);
    let snapshot = good(store.load().await);
    assert_eq!((&snapshot.machines[0], &snapshot.holds[0]), (&ended, &longer));
}

/// A commit that names another generation is refused, and nothing of it happens.
pub async fn a_stale_commit_changes_nothing<S: Upkeep>(store: &S, _: Keeps) {
    for number in 1..=2 {
        good(store.put_fact(&queued(job(number), 0)).await);
    }
    let told = good(store.new_facts(10).await);
    let batch = full_batch(told[0].seq, told[1].seq);
    let before = Batch { machines: vec![machine(9)], launches: vec![launch(9)], ..Batch::default() };
    good(store.commit(&before, Generation(0)).await);
    let counts = good(store.counts().await);
    for wrong in [Generation(0), Generation(2)] {
        match store.commit(&batch, wrong).await {
            Err(StoreError::Conflict { expected, found }) => assert_eq!((expected, found), (wrong, Generation(1))),
            Ok(generation) => panic!("committed as {generation}"),
            Err(StoreError::Unavailable(why) | StoreError::Unreadable(why)) => panic!("{why}"),
        }
    }
    assert_eq!(good(store.counts().await), counts);
    let snapshot = good(store.load().await);
    assert_eq!((snapshot.generation, snapshot.jobs.len(), snapshot.holds.len()), (Generation(1), 0, 0));
    assert_eq!((snapshot.machines, snapshot.launches), (vec![machine(9)], vec![launch(9)]));
    assert_eq!(good(store.new_facts(10).await), told);
    assert_eq!(good(store.set_aside(10).await), []);
    assert_eq!(good(store.order(&instance(1)).await), None);
}

/// By one, also by an empty batch.
pub async fn every_commit_raises_the_generation<S: Upkeep>(store: &S, _: Keeps) {
    for generation in 0..3 {
        assert_eq!(good(store.generation().await), Generation(generation));
        let next = good(store.commit(&Batch::default(), Generation(generation)).await);
        assert_eq!(next, Generation(generation + 1));
    }
    good(store.put_fact(&queued(job(1), 0)).await);
    good(store.set_switch(Switch::Freeze).await);
    good(store.put_claim(&claim(1, 1, 0)).await);
    assert_eq!(good(store.generation().await), Generation(3));
}

/// A job that is over is not loaded; asked for, it is known as over, with its times.
pub async fn a_finished_job_is_not_loaded_and_still_known<S: Upkeep>(store: &S, keeps: Keeps) {
    good(store.commit(&Batch { jobs: vec![waiting_job(1)], ..Batch::default() }, Generation(0)).await);
    let mut finished = finished_job(1, 10_000);
    finished.completed.iter_mut().for_each(|completed| completed.conclusion = Conclusion::Success);
    good(store.commit(&Batch { jobs: vec![finished.clone()], ..Batch::default() }, Generation(1)).await);
    assert_eq!(good(store.load().await).jobs, []);
    let known = good(store.jobs(&[job(1)]).await);
    assert_eq!(known.len(), 1);
    let known = &known[0];
    assert_eq!((known.key, known.phase(), known.first_heard), (job(1), JobPhase::Completed, finished.first_heard));
    assert_eq!((known.demanded_at(), known.started_at()), (finished.demanded_at(), finished.started_at()));
    let end = |record: &muster_core::job::JobRecord| {
        record.completed.as_ref().map(|completed| (completed.completed_at, completed.conclusion.clone()))
    };
    assert_eq!(end(known), end(&finished));
    if keeps == Keeps::Everything {
        assert_eq!(*known, finished);
    }
    assert_eq!(good(store.ledger().await), std::slice::from_ref(known));
}

/// A job that ended badly on a runner is kept whole, whatever was kept of it before: its run may have to be run again.
pub async fn a_failed_job_is_kept_whole<S: Upkeep>(store: &S, _: Keeps) {
    let failed = finished_job(1, 10_000);
    let mut well = failed.clone();
    well.completed.iter_mut().for_each(|completed| completed.conclusion = Conclusion::Success);
    for (generation, record) in (0..).zip([&failed, &well, &failed]) {
        let batch = Batch { jobs: vec![record.clone()], ..Batch::default() };
        good(store.commit(&batch, Generation(generation)).await);
        assert_eq!(good(store.jobs(&[job(1)]).await)[0].phase(), JobPhase::Completed);
        assert_eq!((good(store.ledger().await).len(), good(store.counts().await).jobs_over), (1, 1));
    }
    assert_eq!(good(store.jobs(&[job(1)]).await), [failed]);
}

/// A launch is there until its outcome is known.
pub async fn a_settled_launch_is_not_loaded<S: Upkeep>(store: &S, _: Keeps) {
    let batch = Batch { launches: vec![launch(1), launch(2)], ..Batch::default() };
    good(store.commit(&batch, Generation(0)).await);
    let batch = Batch { settled: vec![launch(1).id, launch(7).id], ..Batch::default() };
    good(store.commit(&batch, Generation(1)).await);
    assert_eq!(good(store.load().await).launches, [launch(2)]);
}

/// The first order of a machine is number 1; each one replaces the former and is one more.
pub async fn orders_are_numbered<S: Upkeep>(store: &S, _: Keeps) {
    assert_eq!(good(store.order(&instance(1)).await), None);
    let (drain, kill) = (Order::Drain { number: 4 }, Order::Kill { number: 4 });
    let orders = vec![(instance(1), drain), (instance(2), Order::Interruption)];
    good(store.commit(&Batch { orders, ..Batch::default() }, Generation(0)).await);
    assert_eq!(good(store.order(&instance(1)).await), Some(Numbered { seq: 1, order: drain }));
    let orders = vec![(instance(1), drain), (instance(1), kill)];
    good(store.commit(&Batch { orders, ..Batch::default() }, Generation(1)).await);
    assert_eq!(good(store.order(&instance(1)).await), Some(Numbered { seq: 3, order: kill }));
    assert_eq!(good(store.order(&instance(2)).await), Some(Numbered { seq: 1, order: Order::Interruption }));
}

/// Row, claim, order and lease go; a later machine of the same name begins anew.
pub async fn a_forgotten_machine_leaves_nothing<S: Upkeep>(store: &S, _: Keeps) {
    let order = (instance(1), Order::Interruption);
    let batch = Batch { machines: vec![machine(1), machine(2)], orders: vec![order.clone()], ..Batch::default() };
    good(store.commit(&batch, Generation(0)).await);
    for number in 1..=2 {
        good(store.put_claim(&claim(number, 3, 0)).await);
        good(store.touch_lease(&instance(number), at(5)).await);
    }
    // To forget wins over whatever else the batch says of the machine.
    let batch = Batch {
        machines: vec![machine(1)],
        orders: vec![order],
        forgotten: vec![instance(1), instance(7)],
        ..Batch::default()
    };
    good(store.commit(&batch, Generation(1)).await);
    assert_eq!(good(store.load().await).machines, [machine(2)]);
    assert_eq!(good(store.claim(&instance(1)).await), None);
    assert_eq!(good(store.order(&instance(1)).await), None);
    assert_eq!(good(store.lease(&instance(1)).await), None);
    assert_eq!(good(store.unminted().await), [claim(2, 3, 0)]);
    assert_eq!(good(store.lease(&instance(2)).await), Some(at(5)));
    assert!(good(store.put_claim(&claim(1, 1, 30)).await));
    assert_eq!(good(store.unminted().await), [claim(2, 3, 0), claim(1, 1, 30)]);
}

/// The admin's words stay until the next.
pub async fn switch_and_configuration_are_kept<S: Upkeep>(store: &S, _: Keeps) {
    for switch in [Switch::NoLaunch, Switch::Freeze, Switch::Run, Switch::NoLaunch] {
        good(store.set_switch(switch).await);
        assert_eq!(good(store.switch().await), switch);
        assert_eq!(good(store.load().await).switch, switch);
    }
    for text in ["[fleet]\nname = \"a\"\n", ""] {
        good(store.put_config(text).await);
        assert_eq!(good(store.config().await).as_deref(), Some(text));
    }
}

/// The last text under a name stays, whatever is put under other names, committed or pruned; to put it raises no
/// generation.
pub async fn notes_are_kept_by_name<S: Upkeep>(store: &S, _: Keeps) {
    good(store.put_note("github", "first").await);
    assert_eq!(good(store.note("github").await).as_deref(), Some("first"));
    // Names are told apart whole, and are no patterns.
    for name in ["git", "github/", "GitHub", "github%", "config"] {
        assert_eq!(good(store.note(name).await), None, "{name}");
    }
    good(store.put_note("github/2", "another").await);
    for text in ["", "{\"since\": 1}\nü"] {
        good(store.put_note("github", text).await);
        assert_eq!(good(store.note("github").await).as_deref(), Some(text));
    }
    let counts = good(store.counts().await);
    assert_eq!(good(store.generation().await), Generation(0));
    good(store.commit(&full_batch(1, 2), Generation(0)).await);
    good(store.commit(&Batch { forgotten: vec![instance(1)], ..Batch::default() }, Generation(1)).await);
    good(store.prune(at(0) + JOB_RETENTION + JOB_RETENTION).await);
    assert_eq!(good(store.note("github").await).as_deref(), Some("{\"since\": 1}\nü"));
    assert_eq!(good(store.note("github/2").await).as_deref(), Some("another"));
    assert_eq!((counts, good(store.config().await)), (Counts::default(), None));
}
