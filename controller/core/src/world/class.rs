//! One class's part of the world: its queue and its machines, by phase and age.
//!
//! Invariant: a machine stands in exactly one of the sets `booting`, `ready`, `registering`, `idle`, `draining`, `busy`,
//! `between`, `doomed`, or in none (ended, ending, gone); `unmatched`,
//! `granted` and `overstaying` are beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{InstanceId, JobKey};
use crate::time::Timestamp;

/// A machine and since when it is where it is. Sets of these are ordered by age.
pub type Since = (Timestamp, InstanceId);

/// One class's part of the world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassWorld {
    /// Jobs that wait for a runner, by demand, with their repository.
    pub queued: BTreeMap<(Timestamp, JobKey), Arc<str>>,
    /// Jobs that run.
    pub running: u32,
    /// Machines of launches without an outcome.
    pub launching: u32,
    /// Launched, not claimed.
    pub booting: BTreeSet<Since>,
    /// Claimed, unregistered.
    pub ready: BTreeSet<Since>,
    /// Minted, not yet listening.
    pub registering: BTreeSet<Since>,
    /// Listening.
    pub idle: BTreeSet<Since>,
    /// Told to drain, or frozen.
    pub draining: BTreeSet<Since>,
    /// With a job.
    pub busy: BTreeSet<Since>,
    /// Its listener ended without a job, and its agent may claim again.
    pub between: BTreeSet<Since>,
    /// Not busy, and the cloud will take it: no supply.
    pub doomed: BTreeSet<Since>,
    /// Of those that are ready or between: how many have the right to register, now or when they claim.
    pub granted: u32,
    /// Runners that reported a job which GitHub has not named yet.
    pub unmatched: BTreeSet<Since>,
    /// Of those that are busy: whose job ended, says GitHub, and when.
    pub overstaying: BTreeSet<Since>,
}

impl ClassWorld {
    /// Machines that a queued job can count on: here or on their way.
    pub fn supply(&self) -> u32 {
        self.launching
            + count(self.booting.len())
            + count(self.ready.len())
            + count(self.between.len())
            + count(self.registering.len())
            + count(self.idle.len())
    }

    /// The machines among these that exist.
    pub fn supplies(&self) -> impl Iterator<Item = &InstanceId> {
        let sets = [&self.booting, &self.ready, &self.between, &self.registering, &self.idle];
        sets.into_iter().flatten().map(|(_, instance)| instance)
    }

    /// Machines that are hot, or will be without another decision.
    pub fn hot(&self) -> u32 {
        count(self.idle.len()) + count(self.registering.len()) + self.granted
    }

    /// Queued jobs that no runner has taken, as far as the agents tell: their word is seconds ahead of GitHub's.
    pub fn need(&self) -> u32 {
        count(self.queued.len()).saturating_sub(count(self.unmatched.len()))
    }

    /// Whether nothing of the class exists.
    pub fn is_empty(&self) -> bool {
        *self == ClassWorld::default()
    }
}

/// A length as a count; no fleet comes near the limit.
pub(crate) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
