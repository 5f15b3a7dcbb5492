//! What the process does while the ledger fails and while the door is down.
//!
//! What lives here: what is put off, and what is said again. What may not: whether something fails.
//!
//! Invariant: what an agent could not say is said later, and what GitHub could not deliver is GitHub's to remember.

use muster_core::ids::InstanceId;
use muster_core::ports::Store;
use muster_core::time::Timestamp;
use muster_sim::Fault;

use super::{RETRY, Scenario, SimulateError, Simulation};
use crate::drivers::service::TICK_AT_LEAST;

impl<S: Store + 'static> Simulation<S> {
    /// Whether a ledger that fails does not end the process: it goes on, as production does.
    pub(super) fn ledger_may_fail(&self) -> bool {
        self.scenario.faults.on.contains(&Fault::LedgerFails)
    }

    /// Passes over a failure of the ledger that is one of the faults.
    pub(super) fn pass_over<T>(&self, result: Result<T, SimulateError>) -> Result<Option<T>, SimulateError> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(SimulateError::Store(_)) if self.ledger_may_fail() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The schedule that production ticks by when nothing else wakes it. Where nothing fails nothing waits for it, and it would
    /// only make simulations slower.
    pub(super) fn next_by_schedule(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.scenario.faults.on.is_empty()).then_some(now + TICK_AT_LEAST)
    }

    pub(super) fn poll_later(&mut self, now: Timestamp) {
        self.poll_at = Some(self.poll_at.map_or(now + RETRY, |at| at.min(now + RETRY)));
    }

    /// Lets an agent ask for news; it asks again if the ledger fails.
    pub(super) fn ask(&mut self, instance: &InstanceId, now: Timestamp) -> Result<(), SimulateError> {
        let heard = self.agents.ask(instance);
        match self.pass_over(heard)? {
            Some(heard) => self.tell(instance, heard, now),
            None => self.poll_later(now),
        }
        Ok(())
    }

    /// Until when the process is down: door, scaler and all.
    pub(super) fn down_until(&self, now: Timestamp) -> Option<Timestamp> {
        let Scenario { webhooks, faults, .. } = &self.scenario;
        if webhooks.door_down.is_none() && !faults.on.contains(&Fault::DoorDown) {
            return None;
        }
        self.universe.lock().door_down_until(now)
    }

    /// Nothing of ours happens before the door is back.
    pub(super) fn wait_for_door(&mut self, back: Timestamp) {
        for at in [&mut self.tick_at, &mut self.mint_at, &mut self.heal_at] {
            *at = at.map(|at| at.max(back));
        }
        // Whatever is held wakes us then.
        self.tick_no_later_than(back);
    }

    /// Agents repeat what they could not say.
    pub(super) fn say_what_was_held(&mut self, now: Timestamp) -> Result<(), SimulateError> {
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
}
