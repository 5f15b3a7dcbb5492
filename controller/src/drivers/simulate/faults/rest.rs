//! Rest: what is left when everything has healed.
//!
//! What lives here: the comparison of both sides at the end. What may not: how long it may take (`audit`).
//!
//! Invariant: at rest nothing is under way on either side, and each has what the other has.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use muster_core::ids::InstanceId;
use muster_core::machine::MachinePhase;
use muster_core::ports::{Snapshot, Store};
use muster_sim::Universe;

use super::ledger::FaultyLedger;

/// Knows when everything rests.
#[derive(Clone)]
pub(super) struct Rest {
    ledger: Arc<FaultyLedger>,
    /// Whether machines stay idle without a job, because the policy says so.
    keeps_idle: bool,
}

impl Rest {
    pub(super) fn new(ledger: Arc<FaultyLedger>, keeps_idle: bool) -> Rest {
        Rest { ledger, keeps_idle }
    }

    fn snapshot(&self) -> Snapshot {
        self.ledger.inner().load().now_or_never().and_then(Result::ok).unwrap_or_default()
    }

    /// Whether no job, machine, registration or intent is left; but for idle machines that are kept, which both sides have, and
    /// whose registrations have their listeners.
    pub(super) fn has_come(&self, universe: &Universe) -> bool {
        if !universe.finished() || (!self.keeps_idle && !universe.is_empty()) {
            return false;
        }
        let Snapshot { jobs, machines, launches, .. } = self.snapshot();
        if !jobs.is_empty() || !launches.is_empty() {
            return false;
        }
        let here: BTreeSet<&InstanceId> = universe.machines().collect();
        let rests = |phase| matches!(phase, MachinePhase::Idle(_) | MachinePhase::Ready(_));
        let mut live = machines.iter().filter(|machine| machine.gone_at.is_none());
        let known: BTreeSet<&InstanceId> = machines.iter().map(|machine| &machine.instance).collect();
        here.is_subset(&known)
            && live.all(|machine| self.keeps_idle && rests(machine.phase()) && here.contains(&machine.instance))
            && universe.registrations_without_listener().is_empty()
    }

    /// What the ledger has left, in words.
    pub(super) fn left(&self) -> String {
        let Snapshot { jobs, machines, launches, .. } = self.snapshot();
        let named = jobs.iter().map(|job| format!("job {} {:?}", job.key.job, job.phase()));
        let machines = machines.iter().filter(|machine| machine.gone_at.is_none());
        let named = named.chain(machines.map(|machine| format!("{} {}", machine.instance, machine.phase().word())));
        let all: Vec<String> = named.chain(launches.iter().map(|launch| format!("launch {}", launch.id))).collect();
        let more = all.len().saturating_sub(LISTED_MAX);
        let listed = all.get(..LISTED_MAX).unwrap_or(&all).join(", ");
        if more > 0 { format!("{listed} and {more} more") } else { listed }
    }
}

/// So many things are named.
const LISTED_MAX: usize = 10;
