//! The names of Muster's metrics: the one place. Emitter, dashboard and alarms are made from these constants, so that a
//! name cannot drift. Every metric is in the namespace [`NAMESPACE`].

/// The CloudWatch namespace.
pub const NAMESPACE: &str = "Muster";

/// Dimensions. Repository, job, run and instance are plain properties of a line, never dimensions: each distinct value
/// of a dimension is a metric of its own on the bill.
pub mod dimension {
    /// The pool's name.
    pub const POOL: &str = "Pool";
    /// `spot` or `on-demand`.
    pub const MARKET: &str = "Market";
    /// Why something was refused or failed.
    pub const REASON: &str = "Reason";
    /// How something ended.
    pub const OUTCOME: &str = "Outcome";
    /// All that are allowed by default.
    pub const ALL: [&str; 4] = [POOL, MARKET, REASON, OUTCOME];
}

/// CloudWatch's units, as far as Muster uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A number of things.
    Count,
    /// No unit; US dollars an hour for `EstimatedCost`.
    None,
}

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// What it says, for the dashboard and the docs.
    pub about: &'static str,
    /// Whether it needs real AWS or GitHub to have data.
    pub needs_cloud: bool,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $unit:ident, $needs_cloud:literal, $about:literal;)+) => {
        $($(#[$doc])* #[doc = $about] pub const $constant: &str = $name;)+

        /// Every metric.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, unit: Unit::$unit, about: $about, needs_cloud: $needs_cloud }),+
        ];
    };
}

metrics! {
    WEBHOOK_DELAY = "WebhookDelay", Seconds, false, "From a job's demand at GitHub to its first delivery at the door, or to the intent of the machine that ran it if that came first.";
    DECISION_DELAY = "DecisionDelay", Seconds, false, "From the delivery to the launch intent of the machine that ran the job; 0 if the machine was there already.";
    LAUNCH_DELAY = "LaunchDelay", Seconds, false, "From a launch intent to the cloud's answer, as far as the job waited for it.";
    BOOT_DELAY = "BootDelay", Seconds, false, "From the cloud's answer to the machine's claim, as far as the job waited for it.";
    REGISTER_DELAY = "RegisterDelay", Seconds, false, "From the claim to a listening runner, as far as the job waited for it.";
    PICKUP_DELAY = "PickupDelay", Seconds, false, "From the later of demand and listening runner to the job's start.";
    QUEUE_TIME = "QueueTime", Seconds, false, "From demand to start, of jobs that started.";
    POOL_DEPTH = "PoolDepth", Count, false, "Machines of a pool that a job could start on soon: hot, ready and standby.";
    POOL_EXHAUSTED = "PoolExhausted", Count, false, "1 while jobs of a pool wait and nothing is idle or booting for them, else 0.";
    JOBS_QUEUED = "JobsQueued", Count, false, "Jobs that became queued.";
    JOBS_STARTED = "JobsStarted", Count, false, "Jobs that started.";
    JOBS_COMPLETED = "JobsCompleted", Count, false, "Jobs that are over, by outcome.";
    RUNNERS_IDLE = "RunnersIdle", Count, false, "Registered runners that wait for a job.";
    RUNNERS_BUSY = "RunnersBusy", Count, false, "Runners that have a job.";
    RUNNERS_BOOTING = "RunnersBooting", Count, false, "Machines launched and not yet listening.";
    RUNNERS_READY = "RunnersReady", Count, false, "Machines claimed and unregistered, a mint away.";
    RUNNERS_STANDBY = "RunnersStandby", Count, false, "Stopped or hibernated machines of warm pools.";
    IDLE_REGISTRATION_LIFE = "IdleRegistrationLife", Seconds, true, "How long a runner waited for a job until GitHub removed its registration, or its listener failed.";
    OLDEST_QUEUED_JOB = "OldestQueuedJob", Seconds, false, "Age of the oldest job that waits; 0 if none does.";
    LAUNCH_FAILURES = "LaunchFailures", Count, true, "Launch requests that the cloud refused, wholly or in part, by reason.";
    SPOT_INTERRUPTIONS = "SpotInterruptions", Count, true, "Spot machines that the cloud took back.";
    GITHUB_RATE_REMAINING = "GitHubRateRemaining", Count, true, "Requests left in GitHub's primary limit.";
    RUNNER_VERSION_AGE = "RunnerVersionAge", Seconds, true, "For how long GitHub has offered a newer runner release than the one on the image: the oldest image of a pool.";
    ESTIMATED_COST = "EstimatedCost", None, false, "Sum of the hourly prices of what is launched, US dollars an hour.";
    TICK_DURATION = "TickDuration", Seconds, false, "How long a tick took.";
    PLAN_VIOLATIONS = "PlanViolations", Count, false, "Actions that the checker of plans struck out. Anything above 0 is a bug.";
    WEBHOOKS_REJECTED = "WebhooksRejected", Count, false, "Deliveries that the door refused: all together, 0 included, and by reason.";
    WEBHOOKS_HEALED = "WebhooksHealed", Count, true, "Jobs whose webhook was lost and that were found in GitHub's own record, by reason: `delivery`, `sweep`, `silent`.";
    HEAL_DELAY = "HealDelay", Seconds, true, "How late a job whose webhook was lost was found: from the delivery that failed, or from the job's creation.";
    JOBS_RERUN = "JobsRerun", Count, true, "Jobs whose machine the cloud took, by what came of their run: `rerun`, or why it was not run again (`forgotten`: more than are remembered).";
    JOBS_STRANDED = "JobsStranded", Count, true, "Jobs that GitHub keeps open though their machine has been gone for half an hour, 0 included.";
    AWS_REQUESTS = "AwsRequests", Count, true, "Requests to AWS, repetitions too; the property `api` says which.";
    CONFIG_REFUSED = "ConfigRefused", Count, true, "Looks at the configuration that found a bad one, or none; the last good one is in force meanwhile.";
    FACTS_SET_ASIDE = "FactsSetAside", Count, false, "Stored facts that do not read, 0 included.";
    MACHINES_UNKNOWN = "MachinesUnknown", Count, true, "Machines of the fleet that a look has found and the ledger does not know: it was emptied, or somebody has started them.";
    BELLS_LOST = "BellsLost", Count, true, "Messages that could not be sent to wake the scaler: it looks a minute later at worst.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
