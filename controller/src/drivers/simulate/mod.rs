//! Virtual time: the production reconciler, registrar and claim protocol against a simulated cloud and GitHub, as fast as
//! the host can.
//!
//! What lives here: the loop that moves time from event to event and carries what comes out of the universe to the door,
//! and back. What may not: a rule of the fleet.
//!
//! Invariant: one thread, no wall clock, no order that depends on addresses: a seed run twice gives the same bytes.

mod agents;
mod plain;
mod process;
mod restart;
mod scenario;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::InstanceId;
use muster_core::plan::Policy;
use muster_core::ports::{Put, Store, StoreError};
use muster_core::time::Timestamp;
use muster_sim::{Claimed, Output, Settings, SharedUniverse, SimGithub, Summary, Universe, VIOLATIONS_MAX, Webhook};
use muster_webhook::bell::Bell;

pub use restart::Outside;
pub use scenario::{Healing, Scenario, SimulateError, Watcher};
pub use wire::{Asked, Echo};

use crate::clock::VirtualClock;
use crate::drivers::catalog::{ConfigCatalog, limits};
use crate::drivers::witness::Witness;
use crate::healer::{HEAL_EVERY, Healed, Healer};
use crate::reconcile::{Probe, Reconciler, TickError, TickReport};
use crate::registrar::{MintError, Minting, Registrar};
use agents::{Agents, Heard, Memories};
use plain::PlainSealer;
use process::Bells;
use wire::Wire;

/// After a tick that failed, and after a start, the scaler looks this much later.
const RETRY: Duration = Duration::from_secs(2);
/// A simulation in which so many events pass without time moving is stuck.
const SAME_INSTANT_MAX: u32 = 2_000_000;

/// One simulation, from event to event.
pub struct Simulation<S> {
    scenario: Scenario,
    /// When the world began.
    started_at: Timestamp,
    store: Arc<S>,
    clock: VirtualClock,
    universe: SharedUniverse,
    wire: Wire,
    scaler: Reconciler<S, Wire, SimGithub, VirtualClock>,
    registrar: Registrar<S, SimGithub, VirtualClock, PlainSealer>,
    agents: Agents<S>,
    bells: Bells,
    healer: Healer<S, SimGithub, VirtualClock>,
    heal_at: Option<Timestamp>,
    /// All that was healed.
    healed: Healed,
    /// What agents say while the door is down.
    held: VecDeque<Output>,
    tick_at: Option<Timestamp>,
    ticked_at: Option<Timestamp>,
    mint_at: Option<Timestamp>,
    /// When all agents poll, because the process is new.
    poll_at: Option<Timestamp>,
    /// Answers on their way to agents.
    answers: BTreeMap<(Timestamp, u64), (InstanceId, Claimed)>,
    answered: u64,
    /// What the process was asked when it died.
    unanswered: Option<(Timestamp, Output)>,
    /// What the checker of plans struck out.
    struck_out: Vec<String>,
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
        Simulation::heard_by(scenario, store, None)
    }

    /// The same, with somebody who hears what the cloud is asked.
    ///
    /// # Errors
    /// The trace cannot be opened.
    pub fn heard_by(
        scenario: Scenario,
        store: Arc<S>,
        echo: Option<Arc<dyn Echo>>,
    ) -> Result<Simulation<S>, SimulateError> {
        let settings = Settings {
            seed: scenario.seed,
            profile: scenario.profile.clone(),
            limits: limits(&scenario.config),
            forget_tokens: scenario.forget_tokens,
            webhooks: scenario.webhooks.clone(),
            listeners: scenario.listeners.clone(),
            ..Settings::default()
        };
        let start = settings.start;
        let load = scenario.trace.load(scenario.cut)?;
        let mut universe = Universe::new(settings, load, ConfigCatalog(scenario.config.clone()));
        match scenario.policy {
            Policy::Cold => universe.set_target_of_all(0),
            Policy::Fixed(idle) => universe.set_target_of_all(idle),
            Policy::Target => {}
        }
        let universe = SharedUniverse::new(universe);
        let wire = if scenario.lose_answers { Wire::lossy } else { Wire::sound }(universe.cloud()).heard_by(echo);
        let outside = Outside {
            scenario,
            clock: VirtualClock::at(start),
            universe,
            wire,
            memories: Memories::default(),
            unanswered: None,
            struck_out: Vec::new(),
        };
        // Nothing has happened yet: the first fact brings the first tick.
        Ok(Simulation { tick_at: None, mint_at: None, poll_at: None, ..outside.start(store) })
    }

    /// Runs to the end of the last job.
    ///
    /// # Errors
    /// [`SimulateError`]. After [`SimulateError::Stopped`] and [`SimulateError::Store`] the process is as good as dead:
    /// [`Simulation::crash`] it and start another one.
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
            self.say_what_was_held(last)?;
            self.poll(last)?;
            self.happen(last)?;
            self.answer(last);
            if let Some(back) = self.down_until(last) {
                self.wait_for_door(back);
                continue;
            }
            self.mint(last)?;
            self.heal(last)?;
            self.tick(last, probe)?;
        }
        let mut summary = self.universe.lock().summary(&self.scenario.policy_word);
        summary.violations.append(&mut self.struck_out);
        Ok(summary)
    }

    /// The clock that everything here goes by.
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// The world outside, to take capacity away or to look.
    pub fn universe(&self) -> &SharedUniverse {
        &self.universe
    }

    /// All that this process has healed so far.
    pub fn healed(&self) -> &Healed {
        &self.healed
    }

    fn next_at(&self) -> Option<Timestamp> {
        let answer = self.answers.first_key_value().map(|((at, _), _)| *at);
        let unanswered = self.unanswered.as_ref().map(|(at, _)| *at);
        let outside = self.universe.lock().next_at();
        [outside, unanswered, answer, self.tick_at, self.mint_at, self.poll_at, self.heal_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Carries what comes out of the universe to the door.
    fn happen(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        loop {
            let next = match self.unanswered.take() {
                Some(again) => Some(again),
                None => self.universe.lock().step(now)?,
            };
            let Some((at, output)) = next else { return Ok(()) };
            if self.down_until(at).is_some() {
                self.held.push_back(output);
                continue;
            }
            if let Err((output, error)) = self.carry(at, output) {
                self.unanswered = Some((at, output));
                return Err(error);
            }
            self.heed_bells(at);
        }
    }

    /// Carries one thing to the door, and the answer back. What gets no answer is given back.
    #[expect(clippy::result_large_err, reason = "the one error ends the run")]
    fn carry(&mut self, at: Timestamp, output: Output) -> Result<(), (Output, SimulateError)> {
        match output {
            Output::Webhook(Webhook { guid, event, created_at }) => {
                let fact = Fact { received_at: at, body: FactBody::Job(event) };
                match at_once("the ledger", self.store.put_fact(&fact)).and_then(|put| Ok(put?)) {
                    Ok(Put::New) => self.bells.scaler.ring(),
                    Ok(Put::Duplicate) => {}
                    Err(error) => {
                        let FactBody::Job(event) = fact.body else { return Ok(()) };
                        return Err((Output::Webhook(Webhook { guid, event, created_at }), error));
                    }
                }
            }
            Output::Claim { instance, session } => match self.agents.claim(&instance, session, at) {
                Ok(answer) => self.universe.lock().claimed(&instance, answer),
                Err(error) => return Err((Output::Claim { instance, session }, error)),
            },
            Output::Report { instance, session, state } => {
                match self.agents.report(&instance, session, state.clone()) {
                    Ok(heard) => self.tell(&instance, heard, at),
                    Err(error) => return Err((Output::Report { instance, session, state }, error)),
                }
            }
        }
        Ok(())
    }

    /// Tells an agent what it hears: an order at once, a configuration once GitHub has taken its time.
    fn tell(&mut self, instance: &InstanceId, heard: Heard, now: Timestamp) {
        if let Some(config) = heard.config {
            let due = now + self.scenario.profile.mint_latency;
            self.answered += 1;
            self.answers.insert((due, self.answered), (instance.clone(), Claimed::Config(config)));
        }
        if let Some(order) = heard.order {
            self.universe.lock().ordered(instance, order);
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
                        let heard = self.agents.ask(&instance)?;
                        self.tell(&instance, heard, now);
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

    /// Until when the process is down: door, scaler and all.
    fn down_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.scenario.webhooks.down_until(self.started_at, now)
    }

    /// Nothing of ours happens before the door is back.
    fn wait_for_door(&mut self, back: Timestamp) {
        for at in [&mut self.tick_at, &mut self.mint_at, &mut self.heal_at] {
            *at = at.map(|at| at.max(back));
        }
        // Whatever is held wakes us then.
        self.tick_no_later_than(back);
    }

    /// Agents repeat what they could not say.
    fn say_what_was_held(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        if self.down_until(now).is_some() {
            return Ok(());
        }
        while let Some(output) = self.held.pop_front() {
            if let Err((output, error)) = self.carry(now, output) {
                self.unanswered = Some((now, output));
                return Err(error);
            }
            self.heed_bells(now);
        }
        Ok(())
    }

    fn heal(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        if self.heal_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.heal_at = Some(now + HEAL_EVERY);
        let healed = at_once("the healer", self.healer.step())?;
        self.healed.deliveries.extend(healed.deliveries);
        self.healed.swept.extend(healed.swept);
        self.healed.silent.extend(healed.silent);
        self.healed.unseen.extend(healed.unseen);
        self.healed.leftovers.extend(healed.leftovers);
        self.healed.stranded.extend(healed.stranded);
        self.healed.reruns.extend(healed.reruns);
        self.healed.cancelled.extend(healed.cancelled);
        self.healed.troubles.extend(healed.troubles);
        self.heed_bells(now);
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
            Err(TickError::Stopped(step)) => Err(SimulateError::Stopped(step)),
            Err(TickError::Store(StoreError::Conflict { .. })) => {
                self.tick_no_later_than(now + RETRY);
                Ok(())
            }
            Err(TickError::Store(error)) => Err(error.into()),
        }
    }

    fn follow_up(&mut self, now: Timestamp, report: &TickReport) -> Result<(), SimulateError> {
        let room = VIOLATIONS_MAX.saturating_sub(self.struck_out.len());
        let struck_out = report.violations.iter().take(room);
        self.struck_out.extend(struck_out.map(|violation| format!("{now} struck_out: {violation}")));
        for instance in &report.orders {
            let heard = self.agents.ask(instance)?;
            self.tell(instance, heard, now);
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
