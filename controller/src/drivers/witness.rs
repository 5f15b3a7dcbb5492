//! The witness: tells the simulated universe what was committed, so that its watch can hold every act against it.

use muster_core::ports::Batch;
use muster_sim::SharedUniverse;

use crate::reconcile::{Probe, Step, TickError};

/// Tells the universe of every committed launch, and lets another probe watch the steps.
pub struct Witness<P> {
    universe: SharedUniverse,
    inner: P,
}

impl<P: Probe> Witness<P> {
    /// A witness in front of another probe.
    pub fn new(universe: SharedUniverse, inner: P) -> Witness<P> {
        Witness { universe, inner }
    }
}

impl<P: Probe> Probe for Witness<P> {
    fn reached(&mut self, step: Step) -> Result<(), TickError> {
        self.inner.reached(step)
    }

    fn committed(&mut self, batch: &Batch) {
        let mut universe = self.universe.lock();
        for launch in &batch.launches {
            universe.committed(launch);
        }
        drop(universe);
        self.inner.committed(batch);
    }
}
