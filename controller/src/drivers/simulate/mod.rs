//! Virtual time: the production reconciler, registrar and claim protocol against a simulated cloud and GitHub, as fast as
//! the host can.
//!
//! What lives here: the loop that moves time from event to event and carries what comes out of the universe to the door,
//! and back. What may not: a rule of the fleet.
//!
//! Invariant: one thread, no wall clock, no order that depends on addresses: a seed run twice gives the same bytes.

mod agents;
mod plain;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use muster_core::config::FleetConfig;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::InstanceId;
use muster_core::plan::Policy;
use muster_core::ports::{Put, Store, StoreError};
use muster_core::time::Timestamp;
use muster_sim::trace::{Cut, Trace, TraceError};
use muster_sim::{
    Claimed, Output, Profile, Settings, SharedUniverse, SimCloud, SimGithub, SimIdentity, Summary, Universe,
};
use muster_webhook::bell::Bell;
use muster_webhook::claims::Claims;
use muster_webhook::reports::Reports;
use muster_webhook::wakers::Wakers;
use thiserror::Error;

use crate::clock::VirtualClock;
use crate::drivers::catalog::{ConfigCatalog, limits};
use crate::drivers::witness::Witness;
use crate::reconcile::{Probe, Reconciler, TickError, TickReport};
use crate::registrar::{MintError, Minting, Registrar};
use agents::Agents;
use plain::PlainSealer;

/// After a tick that failed the scaler looks again this much later.
const RETRY: Duration = Duration::from_secs(2);
/// A simulation in which so many events pass without time moving is stuck.
const SAME_INSTANT_MAX: u32 = 2_000_000;

/// What to simulate.
#[derive(Clone)]
pub struct Scenario {
    /// The load.
    pub trace: Trace,
    /// Which part of it, and how often.
    pub cut: Cut,
    /// The configuration.
    pub config: Arc<FleetConfig>,
    /// How many idle runners to keep.
    pub policy: Policy,
    /// The policy in the command's words.
    pub policy_word: String,
    /// The root of all chance.
    pub seed: u64,
    /// How long things take.
    pub profile: Profile,
    /// A planted bug: the cloud forgets client tokens, and every launch is asked for twice.
    pub double_launch: bool,
}

/// A simulation could not go on.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// The trace does not read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A port that has to be ready at once was not: a bug.
    #[error("{0} was not ready at once in virtual time; this is a bug in Muster")]
    NotReady(&'static str),
    /// Nothing will ever happen, and jobs are left: a bug.
    #[error("nothing happens after {0}, and jobs are left; this is a bug in Muster")]
    Stuck(Timestamp),
}

/// What a simulation tells while it runs.
pub trait Watcher {
    /// A simulated day is over: which one, from 1, and what the fleet looks like.
    fn day(&mut self, day: u64, universe: &Universe);
}

/// Nobody watches.
impl Watcher for () {
    fn day(&mut self, _day: u64, _universe: &Universe) {}
}

/// A bell that is looked at instead of waited for.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Flag {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Bell for Flag {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The bells that the door rings.
#[derive(Default)]
struct Bells {
    scaler: Arc<Flag>,
    registrar: Arc<Flag>,
}

/// What one process consists of.
struct Parts<S> {
    scaler: Reconciler<S, SimCloud, SimGithub, VirtualClock>,
    registrar: Registrar<S, SimGithub, VirtualClock, PlainSealer>,
    claims: Claims<S, SimIdentity, VirtualClock>,
    reports: Reports<S, VirtualClock>,
}

impl<S: Store> Parts<S> {
    fn new(
        scenario: &Scenario,
        store: &Arc<S>,
        clock: &VirtualClock,
        universe: &SharedUniverse,
        bells: &Bells,
    ) -> Parts<S> {
        let cloud = Arc::new(universe.cloud());
        let github = Arc::new(universe.github());
        let wakers = Arc::new(Wakers::in_process());
        let door_clock = Arc::new(clock.clone());
        let sealer = PlainSealer::default;
        let registrar = Registrar::unlimited(store.clone(), github.clone(), clock.clone(), sealer());
        Parts {
            scaler: Reconciler::new(
                store.clone(),
                cloud,
                github,
                clock.clone(),
                scenario.config.clone(),
                scenario.policy,
            ),
            registrar: match scenario.profile.mint_bucket {
                Some((size, per_second)) => registrar.with_budget(size, per_second),
                None => registrar,
            },
            claims: Claims::new(
                store.clone(),
                Arc::new(identity()),
                door_clock.clone(),
                Arc::new(sealer()),
                bells.scaler.clone(),
                bells.registrar.clone(),
                wakers.clone(),
            ),
            reports: Reports::new(store.clone(), door_clock, bells.scaler.clone(), wakers),
        }
    }
}

/// In virtual time nobody attacks: the key is a constant.
fn identity() -> SimIdentity {
    SimIdentity::new([7; 32])
}

/// One simulation, from event to event.
pub struct Simulation<S> {
    scenario: Scenario,
    store: Arc<S>,
    clock: VirtualClock,
    universe: SharedUniverse,
    scaler: Reconciler<S, SimCloud, SimGithub, VirtualClock>,
    registrar: Registrar<S, SimGithub, VirtualClock, PlainSealer>,
    agents: Agents<S>,
    bells: Bells,
    tick_at: Option<Timestamp>,
    ticked_at: Option<Timestamp>,
    mint_at: Option<Timestamp>,
    /// Answers on their way to agents.
    answers: BTreeMap<(Timestamp, u64), (InstanceId, Claimed)>,
    answered: u64,
    /// Ticks that were stopped by the probe.
    stopped: u64,
}

fn at_once<T>(what: &'static str, future: impl Future<Output = T>) -> Result<T, SimulateError> {
    future.now_or_never().ok_or(SimulateError::NotReady(what))
}

impl<S: Store + 'static> Simulation<S> {
    /// Prepares a simulation on an empty ledger.
    ///
    /// # Errors
    /// The trace cannot be opened.
    pub fn new(scenario: Scenario, store: Arc<S>) -> Result<Simulation<S>, SimulateError> {
        let settings = Settings {
            seed: scenario.seed,
            profile: scenario.profile.clone(),
            limits: limits(&scenario.config),
            forget_tokens: scenario.double_launch,
            ..Settings::default()
        };
        let clock = VirtualClock::at(settings.start);
        let load = scenario.trace.load(scenario.cut)?;
        let universe = SharedUniverse::new(Universe::new(settings, load, ConfigCatalog(scenario.config.clone())));
        let bells = Bells::default();
        let parts = Parts::new(&scenario, &store, &clock, &universe, &bells);
        Ok(Simulation {
            agents: Agents::new(parts.claims, parts.reports, identity()),
            scaler: parts.scaler,
            registrar: parts.registrar,
            scenario,
            store,
            clock,
            universe,
            bells,
            tick_at: None,
            ticked_at: None,
            mint_at: None,
            answers: BTreeMap::new(),
            answered: 0,
            stopped: 0,
        })
    }

    /// Goes on with another handle of the ledger, and a scaler, registrar and door that know nothing: the process was
    /// restarted. The world outside is as it was.
    pub fn restart(&mut self, store: Arc<S>) {
        let parts = Parts::new(&self.scenario, &store, &self.clock, &self.universe, &self.bells);
        self.store = store;
        self.scaler = parts.scaler;
        self.registrar = parts.registrar;
        self.agents.reconnect(parts.claims, parts.reports);
        let now = self.universe.lock().now();
        self.tick_no_later_than(now + RETRY);
        self.mint_at = Some(now);
    }

    /// Runs to the end of the last job.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn run(&mut self, probe: &mut impl Probe, watcher: &mut impl Watcher) -> Result<Summary, SimulateError> {
        let start = self.universe.lock().now();
        let day = Duration::from_secs(86_400);
        let mut midnight = start + day;
        let mut days = 0;
        let mut last = start;
        let mut here = 0;
        loop {
            if self.universe.lock().finished() {
                break;
            }
            let Some(next) = self.next_at() else { return Err(SimulateError::Stuck(last)) };
            here = if next > last { 0 } else { here + 1 };
            if here > SAME_INSTANT_MAX {
                return Err(SimulateError::Stuck(last));
            }
            last = last.max(next);
            while last >= midnight {
                days += 1;
                watcher.day(days, &self.universe.lock());
                midnight = midnight + day;
            }
            self.clock.set(last);
            self.happen(last)?;
            self.answer(last);
            self.mint(last)?;
            self.tick(last, probe)?;
        }
        Ok(self.universe.lock().summary(&self.scenario.policy_word))
    }

    /// Ticks that the probe has stopped.
    pub fn stopped(&self) -> u64 {
        self.stopped
    }

    fn next_at(&self) -> Option<Timestamp> {
        let answer = self.answers.first_key_value().map(|((at, _), _)| *at);
        [self.universe.lock().next_at(), answer, self.tick_at, self.mint_at].into_iter().flatten().min()
    }

    /// Carries what comes out of the universe to the door.
    fn happen(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        loop {
            let Some((at, output)) = self.universe.lock().step(now)? else { return Ok(()) };
            match output {
                Output::Webhook(webhook) => {
                    let fact = Fact { received_at: at, body: FactBody::Job(webhook.event) };
                    if at_once("the ledger", self.store.put_fact(&fact))?? == Put::New {
                        self.bells.scaler.ring();
                    }
                }
                Output::Claim { instance, session } => {
                    let answer = self.agents.claim(&instance, session, at)?;
                    self.universe.lock().claimed(&instance, answer);
                }
                Output::Report { instance, session, state } => {
                    if let Some(order) = self.agents.report(&instance, session, state)? {
                        self.universe.lock().ordered(&instance, order);
                    }
                }
            }
            self.heed_bells(at);
        }
    }

    fn heed_bells(&mut self, now: Timestamp) {
        if self.bells.scaler.take() {
            let earliest = self.ticked_at.map_or(now, |at| at + self.scenario.profile.tick_gap);
            self.tick_no_later_than(earliest.max(now));
        }
        if self.bells.registrar.take() {
            self.mint_at = Some(self.mint_at.map_or(now, |at| at.min(now)));
        }
    }

    fn tick_no_later_than(&mut self, at: Timestamp) {
        self.tick_at = Some(self.tick_at.map_or(at, |known| known.min(at)));
    }

    fn answer(&mut self, now: Timestamp) {
        while let Some(entry) = self.answers.first_entry().filter(|entry| entry.key().0 <= now) {
            let (instance, answer) = entry.remove();
            self.universe.lock().claimed(&instance, answer);
        }
    }

    /// Lets the registrar serve whom it may, and fetches what it made for them.
    fn mint(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        if self.mint_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.mint_at = None;
        loop {
            match at_once("the registrar", self.registrar.step(&self.scenario.config))? {
                Ok(Minting::Minted(instances)) => {
                    for instance in instances {
                        let Some(config) = self.agents.config(&instance)? else { continue };
                        let due = now + self.scenario.profile.mint_latency;
                        self.answered += 1;
                        self.answers.insert((due, self.answered), (instance, Claimed::Config(config)));
                    }
                    self.bells.scaler.ring();
                }
                Ok(Minting::Nothing) => break,
                Ok(Minting::Wait(until)) => {
                    self.mint_at = Some(until.max(now + Duration::from_millis(1)));
                    break;
                }
                Err(MintError::Store(error)) => return Err(error.into()),
                Err(MintError::Github(_) | MintError::Seal(..) | MintError::FormerBusy(_)) => {
                    self.mint_at = Some(now + RETRY);
                    break;
                }
            }
        }
        self.heed_bells(now);
        self.answer(now);
        Ok(())
    }

    fn tick(&mut self, now: Timestamp, probe: &mut impl Probe) -> Result<(), SimulateError> {
        if self.tick_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.tick_at = None;
        self.ticked_at = Some(now);
        self.bells.scaler.take();
        let mut witness = Witness::new(self.universe.clone(), probe);
        match at_once("the tick", self.scaler.tick(&mut witness))? {
            Ok(report) => self.follow_up(now, &report),
            Err(TickError::Stopped(_)) => {
                self.stopped += 1;
                self.tick_no_later_than(now + RETRY);
                Ok(())
            }
            Err(TickError::Store(StoreError::Conflict { .. })) => {
                self.tick_no_later_than(now + RETRY);
                Ok(())
            }
            Err(TickError::Store(error)) => Err(error.into()),
        }
    }

    fn follow_up(&mut self, now: Timestamp, report: &TickReport) -> Result<(), SimulateError> {
        for instance in &report.orders {
            if let Some(order) = self.agents.ask(instance)? {
                self.universe.lock().ordered(instance, order);
            }
        }
        if let Some(wake_at) = report.wake_at {
            let gap = self.scenario.profile.tick_gap.max(Duration::from_millis(1));
            self.tick_no_later_than(wake_at.max(now + gap));
        }
        // What a launch has just made known may have claimed already.
        self.bells.registrar.ring();
        self.heed_bells(now);
        Ok(())
    }
}
