//! The points between the steps of a tick, where a process may die.

use muster_core::ports::Batch;

use super::TickError;

/// A point in a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The ledger is loaded.
    Loaded,
    /// A batch of facts is merged and acknowledged.
    Merged,
    /// The cloud was looked at.
    Observed,
    /// There is a plan, and nothing of it is written.
    Planned,
    /// A chunk of intents is committed, none of its effects is started.
    Committed,
    /// An effect is about to be started.
    BeforeEffect,
    /// An effect has happened, and its outcome is not recorded.
    AfterEffect,
    /// Outcomes are recorded.
    Recorded,
}

/// Watches the steps of a tick, and may stop it at any of them as a crash would.
pub trait Probe: Send {
    /// The tick has come to `step`.
    ///
    /// # Errors
    /// [`TickError::Stopped`] to stop there.
    fn reached(&mut self, step: Step) -> Result<(), TickError>;

    /// A batch was committed: what follows from it may be done from now on.
    fn committed(&mut self, _batch: &Batch) {}
}

/// Lets every step pass.
impl Probe for () {
    fn reached(&mut self, _step: Step) -> Result<(), TickError> {
        Ok(())
    }
}

/// A probe that is lent.
impl<P: Probe> Probe for &mut P {
    fn reached(&mut self, step: Step) -> Result<(), TickError> {
        (**self).reached(step)
    }

    fn committed(&mut self, batch: &Batch) {
        (**self).committed(batch);
    }
}

/// Stops at the n-th point.
#[derive(Clone, Copy, Debug)]
pub struct StopAt {
    /// Points still to pass.
    pub left: u64,
}

impl Probe for StopAt {
    fn reached(&mut self, step: Step) -> Result<(), TickError> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(TickError::Stopped(step)),
        }
    }
}
