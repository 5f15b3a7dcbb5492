//! GitHub removes idle registrations: what it costs to keep runners hot stays within a share of its requests, and the rest of
//! the idle machines waits a mint away.

use std::sync::Arc;

use muster::drivers::simulate::{Scenario, Simulation, Watcher};
use muster_core::hot::HOT_SHARE;
use muster_core::plan::Policy;
use muster_sim::{IDLE_REMOVAL_SEEN, Profile, Summary, Universe};
use muster_store::{MemoryOptions, MemoryStore};

use super::scenario::{assert_sound, hours, scenario, shipped};

/// The primary limit of one App, which the seconds' budget of the registrar does not know.
const REQUESTS_PER_HOUR: u32 = 5_000;

struct Refusals(u64);

impl Watcher for Refusals {
    fn day(&mut self, _day: u64, universe: &Universe) {
        self.0 = self.0.max(universe.github_refused());
    }
}

/// Hours of a working day.
const HOURS: std::ops::Range<u64> = 8..12;

/// Those hours with so many idle machines in each of the six classes.
fn a_morning(idle: u32, removal: bool) -> (Summary, u64) {
    let idle_removal = removal.then_some(IDLE_REMOVAL_SEEN);
    let profile = Profile { idle_removal, github_requests_per_hour: Some(REQUESTS_PER_HOUR), ..Profile::default() };
    let scenario = Scenario { profile, ..scenario(shipped(), hours(HOURS.start, HOURS.end), Policy::Fixed(idle)) };
    let mut simulation = Simulation::new(scenario, Arc::new(MemoryStore::new(MemoryOptions::default()))).unwrap();
    let mut refusals = Refusals(0);
    let summary = simulation.run(&mut (), &mut refusals).unwrap();
    let refused = refusals.0.max(simulation.universe().lock().github_refused());
    assert_sound(&summary);
    (summary, refused)
}

#[test]
fn keeping_runners_hot_takes_a_share_of_githubs_requests_however_many_there_are() {
    let idle = 83;
    let (still, _) = a_morning(idle, false);
    let (summary, refused) = a_morning(idle, true);
    let more = summary.github_requests - still.github_requests;
    assert_eq!(refused, 0, "GitHub refuses nothing");
    // The last job ends after its hours.
    let share = (HOURS.end - HOURS.start + 1) as f64 * HOT_SHARE * f64::from(REQUESTS_PER_HOUR);
    assert!((more as f64) < share, "{more} requests more, of {share}");
    // All of them, each four minutes anew: what it would take.
    assert!((more as f64) < 0.2 * f64::from(6 * idle) * 2.0 * 15.0 * 4.0, "{more} requests more");
    let (p95, bound) = (summary.queue_time_s.p95.unwrap(), still.queue_time_s.p95.unwrap() + 15.0);
    assert!(p95 < bound, "those that wait ready are a mint away: {p95} s");
}
