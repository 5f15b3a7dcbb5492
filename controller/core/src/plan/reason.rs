//! Why: a reason for every action, and for every wait.
//!
//! Invariant: `Display` is the sentence for people (log line, snapshot, answer of `muster explain`), `kind()` the word for
//! metrics. The sentence carries the numbers that decided.

use std::fmt;
use std::sync::Arc;

use crate::ids::ClassId;
use crate::launch::LaunchErrorKind;
use crate::time::Timestamp;

/// Why an action is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Jobs wait.
    Demand {
        /// Jobs queued.
        queued: u32,
        /// Of these already taken, by the agents' word.
        taken: u32,
        /// Machines here or on their way.
        supply: u32,
    },
    /// Fewer idle than wanted.
    IdleTarget {
        /// How many to keep.
        target: u32,
        /// Machines here or on their way beyond what jobs need.
        spare: u32,
    },
    /// The runner ran its job.
    Done,
    /// The runner ended without a job.
    EndedIdle,
    /// Drained.
    Drained,
    /// The agent gave up.
    Failed(Arc<str>),
    /// Never claimed.
    NeverClaimed,
    /// Minted and never listened.
    NeverListened,
    /// Over the pool's `max_job_hours`.
    JobTooLong {
        /// The limit.
        hours: u32,
    },
    /// GitHub has said for long that its job is over, and its agent has not.
    Overstays {
        /// The limit, minutes.
        minutes: u64,
    },
    /// More idle than wanted.
    Surplus {
        /// Idle now.
        idle: u32,
        /// Of these wanted, for jobs and for the target.
        wanted: u32,
    },
    /// A job has been queued for long beside idle runners of its class.
    Stalled {
        /// How long, seconds.
        for_s: u64,
    },
    /// An unservable job gets one more round.
    TriedAgain,
    /// It waits *ready*, and neither jobs nor the idle target want it.
    Unneeded,
    /// At a cap, and jobs of another class wait.
    MakesRoom {
        /// Whose jobs.
        waiting: ClassId,
    },
    /// The fleet or its pool is above a cap: the configuration has lowered it.
    OverCap,
    /// The cloud will take the machine.
    Interrupted,
    /// The cloud recommends to leave it: it may soon be taken.
    Rebalance,
    /// GitHub has no listener of its registration, so no job comes to it.
    Unseen,
    /// Frozen, as asked.
    Frozen,
    /// GitHub has removed the registration.
    RegistrationGone,
    /// GitHub says that the runner has a job.
    GithubSaysBusy,
    /// The agent did not answer in time.
    NoAnswer,
    /// Asked before, and not gone yet.
    StillThere,
    /// Gone, and nothing is owed.
    Over,
    /// The configuration no longer has its class.
    ClassRemoved,
    /// The configuration's standby bounds.
    StandbyBounds,
}

impl Reason {
    /// The word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::Demand { .. } => "demand",
            Reason::IdleTarget { .. } => "idle_target",
            Reason::Done => "done",
            Reason::EndedIdle => "ended_idle",
            Reason::Drained => "drained",
            Reason::Failed(_) => "failed",
            Reason::NeverClaimed => "never_claimed",
            Reason::NeverListened => "never_listened",
            Reason::JobTooLong { .. } => "job_too_long",
            Reason::Overstays { .. } => "overstays",
            Reason::Surplus { .. } => "surplus",
            Reason::Stalled { .. } => "stalled",
            Reason::TriedAgain => "tried_again",
            Reason::Unneeded => "unneeded",
            Reason::MakesRoom { .. } => "makes_room",
            Reason::OverCap => "over_cap",
            Reason::Interrupted => "interrupted",
            Reason::Rebalance => "rebalance",
            Reason::Unseen => "unseen",
            Reason::Frozen => "frozen",
            Reason::RegistrationGone => "registration_gone",
            Reason::GithubSaysBusy => "github_says_busy",
            Reason::NoAnswer => "no_answer",
            Reason::StillThere => "still_there",
            Reason::Over => "over",
            Reason::ClassRemoved => "class_removed",
            Reason::StandbyBounds => "standby_bounds",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Demand { queued, taken, supply } => {
                write!(f, "{queued} queued, {taken} of them taken already, {supply} machines here or on their way")
            }
            Reason::IdleTarget { target, spare } => write!(f, "{target} idle wanted, {spare} spare"),
            Reason::Done => f.write_str("its job is over"),
            Reason::EndedIdle => f.write_str("its runner ended without a job"),
            Reason::Drained => f.write_str("drained"),
            Reason::Failed(why) => write!(f, "its agent gave up: {why}"),
            Reason::NeverClaimed => f.write_str("it never claimed"),
            Reason::NeverListened => f.write_str("its runner never listened"),
            Reason::JobTooLong { hours } => write!(f, "its job has run for more than {hours} h"),
            Reason::Overstays { minutes } => {
                write!(f, "GitHub says that its job ended more than {minutes} min ago, and its agent says nothing")
            }
            Reason::Surplus { idle, wanted } => write!(f, "{idle} idle, {wanted} wanted"),
            Reason::Stalled { for_s } => {
                write!(f, "a job is queued for {for_s} s beside idle runners of its class, and GitHub gives it to none")
            }
            Reason::TriedAgain => f.write_str("it was unservable for long, and gets one more round"),
            Reason::Unneeded => f.write_str("ready, and nobody needs it"),
            Reason::MakesRoom { waiting } => write!(f, "makes room: jobs of {waiting} wait at a cap"),
            Reason::OverCap => f.write_str("the fleet or its pool is above a cap"),
            Reason::Interrupted => f.write_str("the cloud will take it"),
            Reason::Rebalance => f.write_str("the cloud may soon take it"),
            Reason::Unseen => f.write_str("GitHub does not see its listener"),
            Reason::Frozen => f.write_str("frozen as asked, no sign of a job"),
            Reason::RegistrationGone => f.write_str("its registration is gone, no job can reach it"),
            Reason::GithubSaysBusy => f.write_str("GitHub says that it has a job"),
            Reason::NoAnswer => f.write_str("its agent did not answer"),
            Reason::StillThere => f.write_str("asked before, and still there"),
            Reason::Over => f.write_str("gone, and nothing is owed"),
            Reason::ClassRemoved => f.write_str("the configuration no longer has its class"),
            Reason::StandbyBounds => f.write_str("the standby bounds say so"),
        }
    }
}

/// Why a class that is short of machines gets none now. A cap delays, it never discards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `fleet.max_runners` is reached.
    FleetCap {
        /// The cap.
        max: u32,
    },
    /// `fleet.budget_usd_per_hour` is reached.
    Budget,
    /// The pool's `max_runners` is reached.
    PoolCap {
        /// The cap.
        max: u32,
    },
    /// Every offering is on hold after a refusal.
    Held {
        /// Until the first of them is tried again.
        until: Timestamp,
        /// Why that one is held.
        kind: LaunchErrorKind,
    },
    /// The admin's switch says `no-launch`.
    NoLaunch,
    /// The admin's switch says `freeze`.
    Frozen,
    /// The cloud has not told its zones yet.
    NoZones,
}

impl Wait {
    /// The word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Wait::FleetCap { .. } => "fleet_cap",
            Wait::Budget => "budget",
            Wait::PoolCap { .. } => "pool_cap",
            Wait::Held { .. } => "held",
            Wait::NoLaunch => "no_launch",
            Wait::Frozen => "frozen",
            Wait::NoZones => "no_zones",
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::FleetCap { max } => write!(f, "the fleet is at its max_runners of {max}"),
            Wait::Budget => f.write_str("the fleet is at its budget_usd_per_hour"),
            Wait::PoolCap { max } => write!(f, "the pool is at its max_runners of {max}"),
            Wait::Held { until, kind } => {
                let why = match kind {
                    LaunchErrorKind::Capacity => "the cloud had no capacity",
                    LaunchErrorKind::Quota => "a quota of the account is reached",
                    LaunchErrorKind::Throttled => "the cloud asked for fewer requests",
                    LaunchErrorKind::Configuration => "the cloud refused the launch as wrong (see the log)",
                    LaunchErrorKind::Outdated => {
                        "GitHub no longer takes the runner release on the image: build a new image (one machine is \
                         launched every half an hour, to see whether there is one)"
                    }
                    LaunchErrorKind::Unknown => "the cloud refused the launch",
                };
                write!(f, "{why}; next try at {until}")
            }
            Wait::NoLaunch => f.write_str("the switch says no-launch"),
            Wait::Frozen => f.write_str("the switch says freeze"),
            Wait::NoZones => f.write_str("the cloud has not told its zones yet"),
        }
    }
}
