//! Where a job's queue time went: the stages between demand and start.
//!
//! Invariant: stages do not overlap, and none reaches beyond the wait. On a machine of ours their sum is the queue time; on
//! another it is at most that.

use std::time::Duration;

use serde::Serialize;

use crate::job::JobRecord;
use crate::machine::Machine;
use crate::time::Timestamp;

/// The stages of one started job, each as far as the job waited through it. A stage is `None` if it is not known, or if it
/// was over before the job was there. A job that met an idle runner has pick-up alone, and one whose machine was launched
/// before, for another job or to stand idle, has the rest of what that machine still had to go through. If the agent's
/// report of an instant has not come by the time the job's start is heard of, the stage that it ends lasts to the next
/// instant that is known, the start at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stages {
    /// Demand to start.
    pub queue_time: Option<Duration>,
    /// Demand to first delivery, or to the launch intent if the machine was intended before the delivery came.
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
        let mut wait = Wait { demanded, started: job.started_at().unwrap_or(Timestamp::MAX), told: demanded };
        let Some(machine) = machine else {
            stages.webhook = wait.until(queued.received_at);
            return stages;
        };
        stages.webhook = wait.until(queued.received_at.min(machine.intended_at));
        stages.decision = Some(wait.until(machine.intended_at).unwrap_or_default());
        stages.launch = wait.until(machine.launched_at);
        let Some(started) = job.started_at() else { return stages };
        // GitHub may be heard before the agent. What the agent has not told of was over when the job started.
        let listening = machine.told.listening_at.or(machine.told.busy_at).unwrap_or(started);
        stages.boot = wait.until(machine.told.claimed_at.unwrap_or(listening));
        stages.register = wait.until(listening);
        stages.pickup = wait.until(started);
        stages
    }
}

/// A job's wait, told stage by stage.
struct Wait {
    demanded: Timestamp,
    started: Timestamp,
    /// Up to here it is told.
    told: Timestamp,
}

impl Wait {
    /// The part of the wait from where it is told to the end of the next stage; `None` if that was before the wait began.
    fn until(&mut self, end: Timestamp) -> Option<Duration> {
        let from = self.told;
        self.told = end.min(self.started).max(from);
        (end >= self.demanded).then(|| self.told.since(from))
    }
}
