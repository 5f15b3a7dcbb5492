//! Jobs that failed because the cloud took their machine: put down for the healer, which has the App key.
//!
//! Invariant: they are put down before their machine is forgotten; a scaler that dies in between does it again.

use muster_core::ids::JobKey;
use muster_core::machine::Machine;
use muster_core::plan::{Action, Step};
use muster_core::ports::{Cloud, Github, Store, StoreError};
use muster_core::rerun::{self, InterruptedJob};
use muster_core::world::World;
use muster_webhook::clock::Clock;

use super::{Reconciler, TickReport};

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// Puts down the interrupted jobs of the machines that these steps forget.
    pub(super) async fn note_interrupted(
        &self,
        world: &World,
        steps: &[Step],
        report: &mut TickReport,
    ) -> Result<(), StoreError> {
        if self.config.pools().iter().all(|pool| pool.rerun_interrupted == 0) {
            return Ok(());
        }
        let taken = |step: &Step| {
            let Action::Forget { instance } = &step.action else { return None };
            world.machine(instance).filter(|machine| machine.was_taken()).cloned()
        };
        let machines: Vec<Machine> = steps.iter().filter_map(taken).collect();
        let keys: Vec<JobKey> = machines.iter().filter_map(|machine| machine.job).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let jobs = self.store.jobs(&keys).await?;
        let now = report.now;
        let pairs = machines.iter().flat_map(|machine| jobs.iter().map(move |job| (machine, job)));
        let of = |(machine, job)| InterruptedJob::of(machine, job, &self.config, now);
        let found: Vec<InterruptedJob> = pairs.filter_map(of).collect();
        if found.is_empty() {
            return Ok(());
        }
        // What does not read was written by another version: the jobs in it are not run again.
        let text = self.store.note(rerun::NOTE).await?;
        let mut known: Vec<InterruptedJob> = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        // A scaler that was superseded would write over what its successor has put down.
        let (expected, found_at) = (world.generation(), self.store.generation().await?);
        if found_at != expected {
            return Err(StoreError::Conflict { expected, found: found_at });
        }
        report.not_remembered += rerun::remember(&mut known, found, now);
        self.store.put_note(rerun::NOTE, &serde_json::to_string(&known).unwrap_or_default()).await
    }
}
