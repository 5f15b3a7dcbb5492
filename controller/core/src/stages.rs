//! Where a job's queue time went: the stages between demand and start.

use std::time::Duration;

use serde::Serialize;

use crate::job::JobRecord;
use crate::machine::Machine;

/// The stages of one started job. A stage is `None` if it is not known, or if it was over before the job was there: a job
/// that met an idle runner has no launch delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stages {
    /// Demand to start.
    pub queue_time: Option<Duration>,
    /// Demand to first delivery.
    pub webhook: Option<Duration>,
    /// Delivery to launch intent; zero if the machine was intended before.
    pub decision: Option<Duration>,
    /// Launch intent to the cloud's answer.
    pub launch: Option<Duration>,
    /// The cloud's answer to the claim.
    pub boot: Option<Duration>,
    /// Claim to listening.
    pub register: Option<Duration>,
    /// The later of demand and listening to start.
    pub pickup: Option<Duration>,
}

impl Stages {
    /// The stages of a job and the machine that it started on, if that is one of ours.
    pub fn of(job: &JobRecord, machine: Option<&Machine>) -> Stages {
        let mut stages = Stages { queue_time: job.queue_time(), ..Stages::default() };
        let (Some(demanded), Some(queued)) = (job.demanded_at(), &job.queued) else {
            return stages;
        };
        stages.webhook = Some(queued.received_at.since(demanded));
        let Some(machine) = machine else { return stages };
        stages.decision = Some(machine.intended_at.since(queued.received_at));
        if machine.intended_at >= queued.received_at {
            stages.launch = Some(machine.launched_at.since(machine.intended_at));
            stages.boot = machine.told.claimed_at.map(|claimed| claimed.since(machine.launched_at));
            let claimed = machine.told.claimed_at;
            stages.register = claimed.and_then(|claimed| Some(machine.told.listening_at?.since(claimed)));
        }
        if let (Some(started), Some(listening)) = (job.started_at(), machine.told.listening_at) {
            stages.pickup = Some(started.since(listening.max(demanded)));
        }
        stages
    }
}
