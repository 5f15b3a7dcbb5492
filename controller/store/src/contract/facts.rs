//! Cases about facts: stored once, told in order, merged or set aside, and never lost to those who look.

use muster_core::ids::{Generation, JobId, JobKey};
use muster_core::machine::Report;
use muster_core::ports::{Batch, Put};

use super::samples::{at, completed, in_progress, job, launch_failed, merged, queued, report, terminated, waiting_job};
use super::{Keeps, good};
use crate::Upkeep;

/// The same fact is stored once, whenever it was received.
pub async fn a_fact_is_stored_once<S: Upkeep>(store: &S, _: Keeps) {
    let fact = queued(job(1), 0);
    assert_eq!(good(store.put_fact(&fact).await), Put::New);
    let mut again = fact.clone();
    again.received_at = at(60_000);
    assert_eq!(good(store.put_fact(&again).await), Put::Duplicate);
    assert_eq!(good(store.put_fact(&queued(job(2), 0)).await), Put::New);
    assert_eq!(good(store.new_facts(10).await).len(), 2);
    assert_eq!(good(store.fact_by_key(&fact.key()).await), Some(fact));
    assert_eq!(good(store.fact_by_key("job:3:1:waiting").await), None);
}

/// Facts of every kind come back whole, oldest first, at most as many as asked for.
pub async fn facts_come_in_the_order_of_arrival<S: Upkeep>(store: &S, _: Keeps) {
    let facts = [
        queued(job(2), 0),
        report(1, Report::Frozen { order: 3 }, 1),
        report(1, Report::Failed { why: "a \"word\"\n".into() }, 2),
        terminated(1, 3),
        launch_failed("b59c", 3),
        completed(job(1), 4),
        in_progress(job(1), 2),
    ];
    for fact in &facts {
        good(store.put_fact(fact).await);
    }
    let told = good(store.new_facts(100).await);
    assert!(told.windows(2).all(|two| two[0].seq < two[1].seq));
    assert_eq!(told.into_iter().map(|new| new.fact).collect::<Vec<_>>(), facts.clone().map(Ok));
    let first = good(store.new_facts(2).await);
    assert_eq!(
        first.into_iter().map(|new| new.fact).collect::<Vec<_>>(),
        facts[..2].iter().cloned().map(Ok).collect::<Vec<_>>()
    );
    assert_eq!(good(store.new_facts(0).await), []);
}

/// What a commit merged is not told again, and the rest is.
pub async fn a_merged_fact_does_not_come_again<S: Upkeep>(store: &S, keeps: Keeps) {
    for number in 1..=3 {
        good(store.put_fact(&queued(job(number), 0)).await);
    }
    let told = good(store.new_facts(10).await);
    let batch = Batch { merged: vec![told[1].seq, told[0].seq], ..Batch::default() };
    good(store.commit(&batch, Generation(0)).await);
    assert_eq!(good(store.new_facts(10).await), told[2..]);
    if keeps == Keeps::Everything {
        assert_eq!(good(store.put_fact(&queued(job(1), 0)).await), Put::Duplicate);
        assert_eq!(good(store.new_facts(10).await), told[2..]);
    }
}

/// A fact that does not read is told with the reason, in its place; set aside, it stays visible and is not told again.
pub async fn an_unreadable_fact_is_told_and_set_aside<S: Upkeep>(store: &S, _: Keeps) {
    let strange = r#"{"fact":"weather","sun":true}"#;
    good(store.put_fact(&queued(job(1), 0)).await);
    assert_eq!(good(store.put_raw("weather:1", at(5), strange).await), Put::New);
    assert_eq!(good(store.put_raw("weather:1", at(6), strange).await), Put::Duplicate);
    good(store.put_fact(&queued(job(2), 0)).await);
    assert_eq!(good(store.fact_by_key("weather:1").await), None);

    let told = good(store.new_facts(10).await);
    assert_eq!(told.len(), 3);
    let Err(reason) = &told[1].fact else { panic!("it reads: {:?}", told[1]) };
    assert!(reason.contains("weather"), "{reason}");
    assert_eq!(good(store.set_aside(10).await), []);

    let batch = Batch { merged: vec![told[0].seq], set_aside: vec![(told[1].seq, reason.clone())], ..Batch::default() };
    good(store.commit(&batch, Generation(0)).await);
    assert_eq!(good(store.new_facts(10).await), told[2..]);
    let aside = good(store.set_aside(10).await);
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].seq, aside[0].key.as_str(), aside[0].received_at), (told[1].seq, "weather:1", at(5)));
    assert_eq!((aside[0].body.as_str(), &aside[0].reason), (strange, reason));
    assert_eq!(good(store.put_raw("weather:1", at(7), strange).await), Put::Duplicate);
}

/// What was set aside is not merged later, and what was merged is not set aside; an unknown place is no error.
pub async fn the_first_verdict_stands<S: Upkeep>(store: &S, keeps: Keeps) {
    for number in 1..=2 {
        good(store.put_fact(&queued(job(number), 0)).await);
    }
    let told = good(store.new_facts(10).await);
    let aside = |seq: i64, reason: &str| vec![(seq, reason.to_owned())];
    let first = Batch { merged: vec![told[0].seq], set_aside: aside(told[1].seq, "first"), ..Batch::default() };
    let second = Batch {
        merged: vec![told[1].seq, 1_000_000],
        set_aside: vec![(told[0].seq, "late".to_owned()), (told[1].seq, "late".to_owned())],
        ..Batch::default()
    };
    let generation = good(store.commit(&first, Generation(0)).await);
    good(store.commit(&second, generation).await);
    let listed = good(store.set_aside(10).await);
    assert_eq!(
        listed.iter().map(|aside| (aside.seq, aside.reason.as_str())).collect::<Vec<_>>(),
        [(told[1].seq, "first")]
    );
    let counts = good(store.counts().await);
    let merged = u64::from(keeps == Keeps::Everything);
    assert_eq!((counts.facts_new, counts.facts_merged, counts.facts_set_aside), (0, merged, 1));
}

/// The history of a job has the facts of all its attempts, in order of arrival, and of no other job.
pub async fn history_is_the_chain_of_a_job<S: Upkeep>(store: &S, keeps: Keeps) {
    let second = JobKey { attempt: 2, ..job(1) };
    let chain = [completed(job(1), 9_000), queued(second, 20_000), queued(job(1), 0)];
    for fact in [&chain[0], &queued(job(2), 1), &chain[1], &report(1, Report::Busy, 2), &chain[2]] {
        good(store.put_fact(fact).await);
    }
    assert_eq!(good(store.history(JobId(1)).await), chain);
    assert_eq!(good(store.history(JobId(3)).await), []);
    let merged = good(store.new_facts(10).await).iter().map(|new| new.seq).collect();
    good(store.commit(&Batch { merged, ..Batch::default() }, Generation(0)).await);
    match keeps {
        Keeps::Everything => assert_eq!(good(store.history(JobId(1)).await), chain),
        Keeps::Tombstones => assert_eq!(good(store.history(JobId(1)).await), []),
    }
}

/// Whoever looks sees every fact that was put, merged by a tick or not.
pub async fn every_fact_that_was_put_shows_in_the_ledger<S: Upkeep>(store: &S, _: Keeps) {
    good(store.commit(&Batch { jobs: vec![waiting_job(2)], ..Batch::default() }, Generation(0)).await);
    let late = [in_progress(job(2), 3_000), completed(job(2), 9_000)];
    let early = [completed(job(1), 9_000), queued(job(1), 0)];
    for fact in early.iter().chain(&late) {
        good(store.put_fact(fact).await);
    }
    let mut second = waiting_job(2);
    for told in [&late[..1], &late[1..]].map(merged).into_iter().flatten() {
        second.merge(&told);
    }
    let expected: Vec<_> = merged(&early).into_iter().chain([second]).collect();
    assert_eq!(good(store.ledger().await), expected);
    // To look changes nothing.
    assert_eq!(good(store.jobs(&[job(1), job(2)]).await), [waiting_job(2)]);
    assert_eq!(good(store.new_facts(10).await).len(), 4);
}

/// Pages join without a gap or a repetition, merged and unmerged jobs mixed.
pub async fn the_ledger_comes_in_pages<S: Upkeep>(store: &S, _: Keeps) {
    let jobs = (0..20).step_by(2).map(waiting_job).collect();
    good(store.commit(&Batch { jobs, ..Batch::default() }, Generation(0)).await);
    for number in (0..20).step_by(3) {
        good(store.put_fact(&queued(job(number), 0)).await);
        good(store.put_fact(&queued(JobKey { attempt: 2, ..job(number) }, 0)).await);
    }
    let mut all = Vec::new();
    loop {
        let page = good(store.ledger_page(all.last().copied(), 3).await);
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        all.extend(page.iter().map(|record| record.key));
    }
    let firsts = (0..20).filter(|number| number % 2 == 0 || number % 3 == 0).map(job);
    let seconds = (0..20).step_by(3).map(|number| JobKey { attempt: 2, ..job(number) });
    let mut expected: Vec<_> = firsts.chain(seconds).collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
}
