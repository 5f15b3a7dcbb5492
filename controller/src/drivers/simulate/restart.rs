//! The death of the process and the start of the next one: what is lost, and what goes on.
//!
//! Invariant: nothing of a dead process survives but its ledger. What it was asked and did not answer is asked again: a
//! webhook is delivered again, a claim and a report are repeated, and every agent polls anew.

use std::sync::Arc;

use muster_core::ports::Store;
use muster_core::time::Timestamp;
use muster_sim::{Output, SharedUniverse};

use super::agents::{Agents, Memories};
use super::process::Process;
use super::wire::Wire;
use super::{Healing, RETRY, Scenario, SimulateError, Simulation};
use crate::clock::VirtualClock;
use crate::healer::{HEAL_EVERY, Healed};

/// The world without a process of ours: cloud, GitHub, agents and what is under way between them.
pub struct Outside {
    pub(super) scenario: Scenario,
    pub(super) clock: VirtualClock,
    pub(super) universe: SharedUniverse,
    pub(super) wire: Wire,
    pub(super) memories: Memories,
    pub(super) unanswered: Option<(Timestamp, Output)>,
    /// What the checker of plans struck out so far.
    pub(super) struck_out: Vec<String>,
}

impl<S: Store + 'static> Simulation<S> {
    /// The process dies. Its handle of the ledger is let go, so that the next one can open it.
    pub fn crash(self) -> Outside {
        Outside {
            scenario: self.scenario,
            clock: self.clock,
            universe: self.universe,
            wire: self.wire,
            memories: self.agents.into_memories(),
            unanswered: self.unanswered,
            struck_out: self.struck_out,
        }
    }
}

impl Outside {
    /// The next process starts, with nothing but the ledger.
    pub fn start<S: Store + 'static>(self, store: Arc<S>) -> Simulation<S> {
        let Process { store, scaler, registrar, door, bells, healer } =
            Process::new(&self.scenario, store, &self.clock, &self.universe, &self.wire);
        let now = self.universe.lock().now();
        let started_at = self.universe.lock().started_at();
        let fails = !(self.scenario.webhooks.is_none() && self.scenario.listeners.is_none());
        let heals = match self.scenario.healing {
            Healing::WhereSomethingFails => fails,
            Healing::Always => true,
            Healing::Never => false,
        };
        let heal_at = heals.then_some(now + HEAL_EVERY);
        Simulation {
            started_at,
            healer,
            healed: Healed::default(),
            heal_at,
            held: std::collections::VecDeque::new(),
            agents: Agents::new(door, self.memories),
            scenario: self.scenario,
            store,
            clock: self.clock,
            universe: self.universe,
            wire: self.wire,
            scaler,
            registrar,
            bells,
            tick_at: Some(now + RETRY),
            ticked_at: None,
            mint_at: Some(now),
            poll_at: Some(now),
            answers: std::collections::BTreeMap::new(),
            answered: 0,
            unanswered: self.unanswered,
            struck_out: self.struck_out,
        }
    }
}

impl<S: Store + 'static> Simulation<S> {
    /// Every agent polls anew, if the process has just started.
    pub(super) fn poll(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        if self.poll_at.is_none() {
            return Ok(());
        }
        for instance in self.agents.all() {
            let heard = self.agents.ask(&instance)?;
            self.tell(&instance, heard, now);
        }
        self.poll_at = None;
        Ok(())
    }
}
