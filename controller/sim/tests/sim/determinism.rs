//! The same seed gives the same bytes, and nothing reshuffles what it does not touch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use muster_core::job::JobEvidence;
use muster_core::time::Timestamp;
use muster_sim::{Cut, Limits, Output, Profile, Settings, SharedUniverse, Trace};

use crate::toy::Toy;
use crate::world::{World, exact, single};

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/traces/acme-four-weeks.jsonl.gz");
const DAY: Cut = Cut::window(Duration::from_secs(2 * 86_400), Duration::from_secs(3 * 86_400));

fn day(seed: u64, keep: i64) -> Toy {
    let limits = Limits { surplus: Some(0), ..Limits::default() };
    let settings = Settings { seed, limits, profile: Profile::default(), ..Settings::default() };
    let mut toy = Toy::new(settings, &Trace::file(TRACE), DAY, keep);
    toy.log = Some(Vec::new());
    toy
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut toy = day(seed, 2);
        let summary = toy.run();
        assert_eq!(summary.violations, Vec::<String>::new());
        (format!("{:?}", toy.log.unwrap()), serde_json::to_string(&summary).unwrap())
    };
    let (log, summary) = run(7);
    let again = run(7);
    assert!(log.len() > 1_000_000, "{}", log.len());
    assert!(log == again.0, "the second run of the same seed differs");
    assert_eq!(summary, again.1);
    assert!(log != run(8).0, "the seed decides nothing");
}

#[test]
fn another_policy_reshuffles_nothing() {
    // The delay of a job's `queued` webhook, and the boots of a class in the order of its launches.
    let draws = |keep| {
        let mut toy = day(3, keep);
        toy.run();
        let mut delays = BTreeMap::new();
        for (at, output) in toy.log.unwrap() {
            if let Output::Webhook(webhook) = output
                && let JobEvidence::Queued { created_at: Some(created), .. } = webhook.event.evidence
            {
                delays.insert(webhook.event.key, at.since(created));
            }
        }
        delays
    };
    let (cold, fixed) = (draws(0), draws(3));
    assert!(cold.len() > 1_000);
    let both = cold.iter().filter_map(|(key, delay)| fixed.get(key).map(|other| (delay, other)));
    assert!(both.clone().count() > 1_000);
    assert!(both.clone().all(|(a, b)| a == b));
}

#[test]
fn a_clock_moves_a_shared_universe_and_nothing_is_missed() {
    let world = World::new(exact(), &[single(1, 10.0, "job", 5.0)]);
    let clock = Arc::new(AtomicI64::new(muster_sim::START.unix_ms()));
    let read = clock.clone();
    let shared = SharedUniverse::with_clock(
        world.universe,
        Arc::new(move || Timestamp::from_unix_ms(read.load(Ordering::SeqCst))),
    );
    assert_eq!(shared.lock().next_at(), Some(muster_sim::START + Duration::from_secs(10)));
    clock.fetch_add(12_000, Ordering::SeqCst);
    let now = shared.lock().now();
    assert_eq!(now, muster_sim::START + Duration::from_secs(12));
    // What happened meanwhile is still to be fetched, with its own instant.
    assert_eq!(shared.lock().next_at(), Some(now));
    let (at, output) = shared.lock().step(now).unwrap().unwrap();
    assert_eq!(at, muster_sim::START + Duration::from_secs(10));
    assert!(matches!(output, Output::Webhook(_)));
    assert_eq!(shared.lock().step(now).unwrap(), None);
}

#[test]
fn memory_is_freed_as_runs_finish() {
    let mut toy = day(1, 0);
    toy.log = None;
    let mut most = 0;
    while !toy.universe.finished() {
        toy.turn();
        most = most.max(toy.universe.census().runs);
    }
    let now = toy.universe.now();
    while toy.universe.step(now + Duration::from_secs(7_200)).unwrap().is_some() {}
    assert_eq!(toy.universe.census().runs, 0);
    assert!(most < 400, "{most} runs at once on a day of few hundred");
}
