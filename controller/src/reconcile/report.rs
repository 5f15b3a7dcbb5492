//! What a tick has done: the one thing that telemetry, the live view and the simulator's watch read.

use std::sync::Arc;
use std::time::Duration;

use muster_core::check::Violation;
use muster_core::config::Class;
use muster_core::ids::{ClassId, InstanceId, PoolName};
use muster_core::job::{Conclusion, JobRecord};
use muster_core::launch::{Launch, LaunchError};
use muster_core::machine::{Market, Purpose};
use muster_core::plan::{Step, Wait};
use muster_core::stages::Stages;
use muster_core::time::Timestamp;

/// Something that has happened to a job that we serve, for the first time.
#[derive(Clone, Debug)]
pub enum JobNews {
    /// It became queued.
    Queued {
        /// Its class.
        class: Arc<Class>,
    },
    /// It started.
    Started {
        /// Its class.
        class: Arc<Class>,
        /// How its machine is paid; `None` if it runs on a machine that is not ours.
        market: Option<Market>,
    },
    /// It has a queue time: with its start, or after it if its demand is heard of last.
    Timed {
        /// Its class.
        class: Arc<Class>,
        /// As of its start.
        market: Option<Market>,
        /// All that is known of it.
        job: Box<JobRecord>,
        /// Where its queue time went.
        stages: Stages,
    },
    /// It is over.
    Completed {
        /// Its class.
        class: Arc<Class>,
        /// How it ended.
        conclusion: Conclusion,
        /// Whether it ever started.
        started: bool,
    },
    /// The cloud takes a machine back.
    Interrupted(Purpose),
}

/// What a tick has done.
#[derive(Clone, Debug, Default)]
pub struct TickReport {
    /// When it was.
    pub now: Timestamp,
    /// Facts merged.
    pub merged: usize,
    /// Facts that do not read.
    pub set_aside: usize,
    /// Idle listeners that ended by themselves: of which pool, and how long they had waited.
    pub removed: Vec<(PoolName, Duration)>,
    /// What has happened to jobs.
    pub news: Vec<JobNews>,
    /// What was done, and why.
    pub steps: Vec<Step>,
    /// What has to wait, and why.
    pub waits: Vec<(ClassId, u32, Wait)>,
    /// What the checker struck out.
    pub violations: Vec<Violation>,
    /// Machines that have an order waiting for them.
    pub orders: Vec<InstanceId>,
    /// Launches that the cloud refused, wholly or in part.
    pub refused: Vec<(Launch, LaunchError)>,
    /// Machines of the fleet that the ledger does not know, if instances were listed.
    pub unknown: usize,
    /// Interrupted jobs that there was no room to remember: their runs are not run again.
    pub not_remembered: usize,
    /// What failed and will be tried again by a later tick, in words.
    pub troubles: Vec<String>,
    /// When to tick again even if nothing is heard until then.
    pub wake_at: Option<Timestamp>,
}

impl TickReport {
    /// An empty report.
    pub(super) fn at(now: Timestamp) -> TickReport {
        TickReport { now, ..TickReport::default() }
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }
}
