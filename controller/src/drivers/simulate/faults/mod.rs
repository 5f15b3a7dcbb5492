//! One seed under faults, in two phases: while faults strike, every rule of safety holds; afterwards everything heals, within a
//! bound.
//!
//! What lives here: the two phases, and what came of them. What may not: a fault (`muster_sim::Faults`), a rule (the universe's
//! watch, and `audit`).
//!
//! Invariant: reconciler, planner, registrar, healer and the door's logic are production's. What enters are parsed facts, and the
//! store is in memory.

mod audit;
mod chronicle;
mod ledger;
mod rest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_core::plan::Policy;
use muster_core::time::Timestamp;
use muster_sim::{Fault, SharedUniverse, Summary, Universe};
use muster_store::{MemoryOptions, MemoryStore};
use serde::Serialize;

pub use audit::{Broken, REST_MAX, SERVED_MAX, Violation};
pub use chronicle::Chronicle;
pub use ledger::{FaultyLedger, Planted};

use self::audit::Audit;
use self::rest::Rest;
use super::{Scenario, SimulateError, Simulation, Watcher};
use crate::reconcile::{Probe, Step, TickError};

/// A job that waits for longer than this beside room is starved, faults or not.
const STARVED_AFTER: Duration = Duration::from_secs(2 * 3_600);
/// The primary limit of one App.
const REQUESTS_PER_HOUR: u32 = 5_000;

/// What came of a seed.
#[derive(Debug)]
pub struct Trial {
    /// As of any simulation; its violations include those of the audit.
    pub summary: Summary,
    /// What was injected, and how it healed.
    pub faults: Faults,
    /// The last minutes before the first violation, if they were written down.
    pub chronicle: Vec<String>,
}

/// What was injected, and how it healed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Faults {
    /// How often each fault struck.
    pub injected: BTreeMap<&'static str, u64>,
    /// How often the process died.
    pub deaths: u64,
    /// From the end of faults to the look at which no job waited any more that had waited then; `None`: there was none.
    pub served_after_s: Option<f64>,
    /// From the end of faults, or of the last job, to the instant at which no job, machine, registration or intent was left;
    /// `None`: it did not come within the bound.
    pub healed_after_s: Option<f64>,
}

/// Runs a seed. `write_down` keeps a chronicle, which makes it slower.
///
/// # Errors
/// [`SimulateError`], but for those that faults are made of.
pub fn run(scenario: &Scenario, write_down: bool) -> Result<Trial, SimulateError> {
    run_planted(scenario, write_down, None)
}

/// The same, on a ledger with a bug.
///
/// # Errors
/// As of [`run`].
pub fn run_planted(scenario: &Scenario, write_down: bool, planted: Option<Planted>) -> Result<Trial, SimulateError> {
    let mut scenario = scenario.clone();
    scenario.profile.github_requests_per_hour = Some(REQUESTS_PER_HOUR);
    let keeps_idle = !matches!(scenario.policy, Policy::Cold | Policy::Fixed(0));
    let chronicle = Chronicle::new(write_down);
    let store = MemoryStore::new(MemoryOptions::default());
    let ledger = Arc::new(FaultyLedger::new(store, chronicle.clone()).with(planted));
    let mut simulation = Simulation::heard_by(scenario, ledger.clone(), Some(Arc::new(chronicle.clone())))?;
    let universe = simulation.universe().clone();
    ledger.belongs_to(universe.clone());
    let until = relax(&mut universe.lock());
    let rest = Rest::new(ledger.clone(), keeps_idle);
    let mut audit = Audit::new(ledger.clone(), rest.clone(), chronicle.clone(), until);
    let mut deaths = 0;
    loop {
        let mut probe = Killer(universe.clone());
        let done = |universe: &Universe| is_over(universe, &rest, until);
        match simulation.run_until(&mut probe, &mut audit, done) {
            Ok(()) => break,
            Err(SimulateError::Stopped(step)) => {
                deaths += 1;
                chronicle.write(universe.lock().now(), || format!("the process dies: {step:?}"));
                simulation = simulation.crash().start(ledger.clone());
            }
            Err(error) => return Err(error),
        }
    }
    let mut summary = simulation.summary();
    let (healed_at, served_at) = audit.finish(&universe);
    summary.violations.extend(audit.violations().iter().map(Violation::to_string));
    let mut universe = universe.lock();
    let counts_from = until.max(universe.last_job_ended_at());
    let seconds = |at: Timestamp, from: Timestamp| at.since(from).as_secs_f64();
    let faults = Faults {
        injected: universe.faults().struck().iter().map(|(fault, count)| (fault.as_word(), *count)).collect(),
        deaths,
        served_after_s: served_at.map(|at| seconds(at, until)),
        healed_after_s: healed_at.map(|at| seconds(at, counts_from)),
    };
    Ok(Trial { summary, faults, chronicle: chronicle.lines() })
}

/// Tells the watch what it cannot hold anybody to while faults strike, and returns when they end.
fn relax(universe: &mut Universe) -> Timestamp {
    let mut limits = universe.watch().limits().clone();
    // Machines are launched for jobs whose start or end nobody has heard of.
    limits.surplus = None;
    limits.orphans = true;
    limits.starved_after = Some(STARVED_AFTER);
    universe.set_limits(limits);
    let started_at = universe.started_at();
    universe.faults().until().unwrap_or(started_at)
}

/// Whether a seed is over: all of it healed, or the time for that is.
fn is_over(universe: &Universe, rest: &Rest, until: Timestamp) -> bool {
    let now = universe.now();
    if !universe.finished() || now < until {
        return false;
    }
    now.since(until.max(universe.last_job_ended_at())) > REST_MAX || rest.has_come(universe)
}

/// Ends the process between two steps of a tick.
struct Killer(SharedUniverse);

impl Probe for Killer {
    fn reached(&mut self, step: Step) -> Result<(), TickError> {
        let mut universe = self.0.lock();
        let now = universe.now();
        match universe.faults().strikes_next(Fault::ScalerKilled, now) {
            Some(_) => Err(TickError::Stopped(step)),
            None => Ok(()),
        }
    }
}

impl Watcher for Audit {
    fn day(&mut self, _day: u64, _universe: &Universe) {}

    fn moment(&mut self, now: Timestamp, universe: &SharedUniverse) {
        self.look(now, universe);
    }
}
