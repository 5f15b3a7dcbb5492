//! Listeners that GitHub does not see, machines that hang or are taken, repositories that runners are hidden from: none of it
//! lasts, and each is told.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use muster::drivers::simulate::{Healing, Scenario, Simulation, Watcher};
use muster::healer::registrations::{LEFTOVER_AFTER, LIST_EVERY, UNSEEN_AFTER};
use muster::healer::{HEAL_EVERY, Healed};
use muster::story::LedgerEntry;
use muster_core::job::{JobRecord, STALL_ROUNDS_MAX};
use muster_core::plan::{DRAIN_ANSWER_MAX, Policy};
use muster_sim::{ListenerFaults, Summary, Universe};
use muster_store::{MemoryOptions, MemoryStore, Upkeep};

use super::scenario::{Runs, assert_nothing_lost, assert_sound, hours, scenario, shipped};

/// A registration that is nobody's is there no longer than this: two lists apart, and what follows from them. One that a hung
/// machine has is removed when two orders were not answered.
fn longest() -> Duration {
    LEFTOVER_AFTER.max(UNSEEN_AFTER + DRAIN_ANSWER_MAX) + 2 * LIST_EVERY + HEAL_EVERY
}

/// How long the registrations without a listener are there at the end, the longest first.
fn left(scenario: &Scenario) -> (Summary, Healed, Vec<Duration>) {
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let mut simulation = Simulation::new(scenario.clone(), store).unwrap();
    let summary = simulation.run(&mut (), &mut ()).unwrap();
    let universe = simulation.universe().lock();
    let mut left: Vec<Duration> =
        universe.registrations_without_listener().iter().map(|since| universe.now().since(*since)).collect();
    drop(universe);
    left.sort_unstable_by(|a, b| b.cmp(a));
    (summary, simulation.healed().clone(), left)
}

#[test]
fn after_a_day_of_ghosts_and_deaths_no_registration_is_without_a_listener_for_long() {
    let listeners = ListenerFaults { ghosts: 0.05, taken: 0.1, hung: 0.02, hidden: None };
    let ill = Scenario { listeners, ..scenario(shipped(), hours(0, 24), Policy::Fixed(2)) };
    let (summary, healed, ages) = left(&ill);
    assert_sound(&summary);
    assert_eq!((healed.troubles, healed.stranded.len()), (vec![], 0));
    assert!(
        healed.unseen.len() > 40 && healed.leftovers.len() > 5,
        "{} {}",
        healed.unseen.len(),
        healed.leftovers.len()
    );
    assert!(ages.iter().all(|age| *age <= longest()), "{ages:?}");
    let (summary, _, ages) = left(&Scenario { healing: Healing::Never, ..ill });
    assert_nothing_lost(&summary);
    assert!(ages.iter().any(|age| *age > longest()), "{ages:?}");
}

/// The ledger at the end of the first day.
struct Reads(Arc<MemoryStore>, Vec<JobRecord>);

impl Watcher for Reads {
    fn day(&mut self, _day: u64, _universe: &Universe) {
        if self.1.is_empty() {
            self.1 = self.0.ledger().now_or_never().unwrap().unwrap();
        }
    }
}

#[test]
fn a_job_of_a_repository_that_runners_are_hidden_from_is_unservable_and_holds_nobody_up() {
    let noon = 12 * 3_600;
    let labels = "self-hosted linux x64 cpu-2";
    let trace =
        (0..60).fold(Runs::default(), |runs, n| runs.run(noon + n * 600, labels, None, &[("job", &[], 120.0)])).trace();
    let listeners = ListenerFaults { hidden: Some("acme/r2".into()), ..ListenerFaults::default() };
    let scenario = Scenario { listeners, ..scenario(trace, hours(0, 48), Policy::Cold) };
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let mut reads = Reads(store.clone(), Vec::new());
    let summary = Simulation::new(scenario.clone(), store).unwrap().run(&mut (), &mut reads).unwrap();
    let (hidden, seen): (Vec<_>, Vec<_>) = reads.1.iter().partition(|job| &*job.about.repository == "acme/r2");
    assert_eq!((hidden.len(), seen.len()), (20, 40));
    // One that was given up is tried again every half an hour.
    assert!(hidden.iter().all(|job| job.stall.is_some_and(|stall| stall.rounds >= STALL_ROUNDS_MAX - 1)), "{hidden:?}");
    let reasons = hidden.iter().map(|job| LedgerEntry::of(job, Some(&scenario.config)).reason);
    assert!(reasons.filter(|reason| *reason == Some("unservable")).count() > 10, "{hidden:?}");
    assert_eq!((summary.jobs.completed, summary.jobs.lost), (40, 20), "GitHub gives them up");
    let longest = summary.queue_time_s.max.unwrap();
    assert!(longest < 120.0, "the others do not wait for them: {longest} s");
}
