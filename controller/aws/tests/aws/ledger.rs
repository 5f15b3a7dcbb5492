//! What is particular about the ledger in DynamoDB: large batches, several processes, long keys.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use muster_core::claim::Order;
use muster_core::ids::Generation;
use muster_core::machine::Report;
use muster_core::ports::{Batch, Put, Store, StoreError};
use muster_store::Upkeep;
use muster_store::contract::good;
use muster_store::contract::samples::{
    at, claim, finished_job, instance, job, launch, machine, minted, queued, report, waiting_job,
};

use super::emulator::{BOTH, Emulator, block_on, fresh};

const MACHINES: u32 = 300;
const FACTS: i64 = 250;

#[test]
fn a_large_batch_is_several_transactions_and_comes_back_whole() {
    for emulator in BOTH {
        let fresh = fresh(emulator);
        let store = &fresh.store;
        block_on(async {
            let facts: Vec<_> = (1..=FACTS).map(|number| queued(job(number), 0)).collect();
            for some in facts.chunks(50) {
                let puts = join_all(some.iter().map(|fact| store.put_fact(fact))).await;
                assert!(puts.into_iter().all(|put| good(put) == Put::New));
            }
            let told = good(store.new_facts(1_000).await);
            assert_eq!(told.len(), facts.len());
            let batch = Batch {
                merged: told.iter().map(|new| new.seq).collect(),
                jobs: (1..=FACTS).map(waiting_job).collect(),
                machines: (1..=MACHINES).map(machine).collect(),
                launches: vec![launch(1)],
                orders: (1..=MACHINES).map(|number| (instance(number), Order::Interruption)).collect(),
                ..Batch::default()
            };
            let rows = 250 + 300 + 1 + 300 + 250_u64;
            let generation = good(store.commit(&batch, Generation(0)).await);
            assert_eq!(generation, Generation(rows.div_ceil(99)));
            let snapshot = good(store.load().await);
            assert_eq!(snapshot.generation, generation);
            assert_eq!(snapshot.jobs, batch.jobs);
            assert_eq!(snapshot.machines, batch.machines);
            assert_eq!(snapshot.launches, batch.launches);
            assert_eq!(good(store.new_facts(1_000).await), []);
            let keys: Vec<_> = (1..=FACTS).rev().map(job).collect();
            assert_eq!(good(store.jobs(&keys).await).len(), keys.len());
            let counts = good(store.counts().await);
            assert_eq!((counts.facts_merged, counts.machines, counts.orders), (250, 300, 300));

            let batch = Batch {
                forgotten: (1..=MACHINES).map(instance).collect(),
                settled: vec![launch(1).id],
                jobs: (1..=FACTS).map(|number| finished_job(number, 10_000)).collect(),
                ..Batch::default()
            };
            good(store.commit(&batch, generation).await);
            let counts = good(store.counts().await);
            assert_eq!((counts.machines, counts.orders, counts.launches), (0, 0, 0));
            assert_eq!((counts.jobs_open, counts.jobs_over), (0, 250));
            assert_eq!(good(store.ledger().await), batch.jobs);
        });
    }
}

/// Of two scalers that start from one generation, one writes; the other learns it, and nothing of its batch is there.
#[test]
fn the_slower_of_two_scalers_writes_nothing() {
    let fresh = fresh(Emulator::Ministack);
    let stores = [&fresh.store, &fresh.other()];
    block_on(async {
        for round in 0..5_u32 {
            let generation = good(stores[0].generation().await);
            let batches = [1, 2].map(|who| Batch {
                machines: (0..20).map(|number| machine(round * 100 + who * 30 + number)).collect(),
                ..Batch::default()
            });
            let commits = join_all(stores.iter().zip(&batches).map(|(s, batch)| s.commit(batch, generation))).await;
            let won: Vec<bool> = commits.iter().map(Result::is_ok).collect();
            assert!(won == [true, false] || won == [false, true], "{commits:?}");
            let next = Generation(generation.0 + 1);
            let lost = commits.into_iter().find_map(Result::err).unwrap();
            let StoreError::Conflict { expected, found } = lost else { panic!("{lost}") };
            assert_eq!((expected, found), (generation, next));
            let there: BTreeSet<_> =
                good(stores[0].load().await).machines.into_iter().map(|machine| machine.instance).collect();
            for (batch, won) in batches.iter().zip(won) {
                assert!(batch.machines.iter().all(|machine| there.contains(&machine.instance) == won));
            }
        }
    });
}

/// Between two transactions of one batch another scaler may write: then the rest is not written, and what is not judged
/// is told again.
#[test]
fn a_scaler_that_is_overtaken_leaves_a_ledger_to_go_on_from() {
    let fresh = fresh(Emulator::Ministack);
    let (slow, quick) = (&fresh.store, &fresh.other());
    block_on(async {
        good(slow.put_fact(&queued(job(1), 0)).await);
        let told = good(slow.new_facts(10).await);
        let batch = Batch { merged: vec![told[0].seq], jobs: (1..=400).map(waiting_job).collect(), ..Batch::default() };
        // Writes whenever it may, until the slow one has met it or is through.
        let rival = async {
            let mut generation = Generation(0);
            while generation < Generation(3) {
                generation = good(quick.generation().await);
                if let Err(error) = quick.commit(&Batch::default(), generation).await {
                    assert!(matches!(error, StoreError::Conflict { .. } | StoreError::Unavailable(_)), "{error}");
                }
            }
        };
        let (slow_one, ()) = futures_util::future::join(slow.commit(&batch, Generation(0)), rival).await;
        let jobs = good(slow.load().await).jobs;
        assert_eq!(jobs, batch.jobs[..jobs.len()]);
        let again = good(quick.new_facts(10).await);
        match slow_one {
            // Five transactions: 99 jobs in each but the last, which has the rest and the fact.
            Ok(_) => assert_eq!((jobs.len(), again.len()), (400, 0)),
            Err(error) => {
                assert!(matches!(error, StoreError::Conflict { .. } | StoreError::Unavailable(_)), "{error}");
                assert!(jobs.len() % 99 == 0 && jobs.len() < 400, "{}", jobs.len());
                assert_eq!(again, told);
            }
        }
    });
}

/// A verdict on a fact that somebody else has judged is refused, and makes no row.
#[test]
fn a_fact_is_judged_once() {
    for emulator in BOTH {
        let fresh = fresh(emulator);
        let (one, two) = (&fresh.store, &fresh.other());
        block_on(async {
            good(one.put_fact(&queued(job(1), 0)).await);
            let told = good(one.new_facts(10).await);
            assert_eq!(good(two.new_facts(10).await), told);
            let aside = Batch { set_aside: vec![(told[0].seq, "first".to_owned())], ..Batch::default() };
            let generation = good(two.commit(&aside, Generation(0)).await);
            // It knows the generation, and not that the fact is judged.
            let merged = Batch { merged: vec![told[0].seq], machines: vec![machine(1)], ..Batch::default() };
            let refused = one.commit(&merged, generation).await.unwrap_err().to_string();
            assert!(refused.contains("load again"), "{refused}");
            assert_eq!(good(one.set_aside(10).await)[0].reason, "first");
            let counts = good(one.counts().await);
            assert_eq!((counts.facts_merged, counts.facts_set_aside, counts.machines), (0, 1, 0));
            assert_eq!(good(one.new_facts(10).await), []);
            good(one.commit(&merged, generation).await);
        });
    }
}

#[test]
fn facts_of_several_doors_are_all_told() {
    let fresh = fresh(Emulator::Ministack);
    let doors = [&fresh.store, &fresh.other(), &fresh.other()];
    block_on(async {
        let facts: Vec<_> = (1..=60).map(|number| queued(job(number), 0)).collect();
        // Each fact comes to every door at the same time.
        let puts = facts.iter().flat_map(|fact| doors.iter().map(|door| door.put_fact(fact)));
        let puts = join_all(puts).await.into_iter().map(good);
        assert_eq!(puts.filter(|put| *put == Put::New).count(), facts.len());
        let (mut seen, mut generation) = (BTreeSet::new(), Generation(0));
        loop {
            let told = good(fresh.store.new_facts(25).await);
            if told.is_empty() {
                break;
            }
            let merged = told.iter().map(|new| new.seq).collect();
            seen.extend(told.into_iter().map(|new| new.fact.unwrap().key()));
            generation = good(fresh.store.commit(&Batch { merged, ..Batch::default() }, generation).await);
        }
        assert_eq!(seen, facts.iter().map(|fact| fact.key()).collect());
    });
}

#[test]
fn a_key_may_be_longer_than_a_sort_key() {
    for emulator in BOTH {
        let fresh = fresh(emulator);
        let store = &fresh.store;
        block_on(async {
            let long = |end: &str| format!("weather:storm:{}{end}", "ü".repeat(10_000));
            let (one, two) = (long("1"), long("2"));
            assert_eq!(good(store.put_raw(&one, at(0), "{}").await), Put::New);
            assert_eq!(good(store.put_raw(&one, at(0), "{}").await), Put::Duplicate);
            assert_eq!(good(store.put_raw(&two, at(0), "{}").await), Put::New);
            for name in [&one, &two] {
                good(store.put_note(name, &name[name.len() - 1..]).await);
            }
            assert_eq!(good(store.note(&one).await).as_deref(), Some("1"));
            assert_eq!(good(store.note(&two).await).as_deref(), Some("2"));
            assert_eq!(good(store.note(&long("")).await), None);
            let fact = report(1, Report::Failed { why: "x".repeat(20_000).into() }, 5);
            assert_eq!(good(store.put_fact(&fact).await), Put::New);
            assert_eq!(good(store.put_fact(&fact).await), Put::Duplicate);
            assert_eq!(good(store.fact_by_key(&fact.key()).await), Some(fact.clone()));
            let told = good(store.new_facts(10).await);
            assert_eq!(told.iter().filter(|new| new.fact.as_ref() == Ok(&fact)).count(), 1);
            let aside = told.iter().map(|new| (new.seq, "no".to_owned())).collect();
            good(store.commit(&Batch { set_aside: aside, ..Batch::default() }, Generation(0)).await);
            let keys: Vec<_> = good(store.set_aside(10).await).into_iter().map(|aside| aside.key).collect();
            assert_eq!(keys, [one, two, fact.key()]);
            let once = "k".repeat(20_000);
            assert!(good(store.use_once(&once, at(0)).await));
            assert!(!good(store.use_once(&once, at(0)).await));
        });
    }
}

/// Of many that do the same thing at once, one has done it.
#[test]
fn what_is_done_once_is_done_once() {
    let fresh = fresh(Emulator::Ministack);
    let stores = [&fresh.store, &fresh.other(), &fresh.other()];
    block_on(async {
        let used = join_all(stores.iter().map(|store| store.use_once("proof", at(0)))).await;
        assert_eq!(used.into_iter().map(good).filter(|used| *used).count(), 1);
        let claims: Vec<_> =
            (0..3).map(|nonce| muster_core::claim::ClaimRow { nonce: nonce.to_string(), ..claim(1, 1, 0) }).collect();
        let put = join_all(stores.iter().zip(&claims).map(|(store, claim)| store.put_claim(claim))).await;
        let put: Vec<bool> = put.into_iter().map(good).collect();
        assert_eq!(put.iter().filter(|put| **put).count(), 1);
        let winner = &claims[put.iter().position(|put| *put).unwrap()];
        assert_eq!(good(stores[0].claim(&instance(1)).await).as_ref(), Some(winner));
        let mints: Vec<_> = (0..3).map(|id| minted(winner, id)).collect();
        let attached = join_all(stores.iter().zip(&mints).map(|(store, row)| store.attach_config(row))).await;
        let attached: Vec<bool> = attached.into_iter().map(good).collect();
        assert_eq!(attached.iter().filter(|attached| **attached).count(), 1);
        let winner = &mints[attached.iter().position(|attached| *attached).unwrap()];
        assert_eq!(good(stores[0].claim(&instance(1)).await).as_ref(), Some(winner));
    });
}

/// Another version wrote it, or somebody by hand.
#[test]
fn a_row_that_does_not_read_is_named_and_hides_no_other() {
    for emulator in BOTH {
        let fresh = fresh(emulator);
        let store = &fresh.store;
        block_on(async {
            let batch = Batch { machines: vec![machine(1), machine(2)], ..Batch::default() };
            let generation = good(store.commit(&batch, Generation(0)).await);
            let scan = fresh.client.scan().table_name(&fresh.table).consistent_read(true).send().await.unwrap();
            let about = |row: &std::collections::HashMap<String, AttributeValue>| {
                let is = |value: &AttributeValue| value.as_s().is_ok_and(|text| text.contains(instance(1).as_str()));
                row.values().any(is)
            };
            let mut row = scan.items().iter().find(|row| about(row)).unwrap().clone();
            row.insert("record".to_owned(), AttributeValue::S("{\"of\":\"tomorrow\"}".to_owned()));
            fresh.client.put_item().table_name(&fresh.table).set_item(Some(row)).send().await.unwrap();
            let snapshot = good(store.load().await);
            let left: Vec<_> = snapshot.machines.iter().map(|machine| machine.instance.clone()).collect();
            assert_eq!((left, snapshot.generation), (vec![instance(2)], generation));
            assert_eq!(snapshot.unreadable.len(), 1);
            assert!(snapshot.unreadable[0].contains(instance(1).as_str()), "{:?}", snapshot.unreadable);
        });
    }
}
