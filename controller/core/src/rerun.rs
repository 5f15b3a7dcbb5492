//! Re-runs: jobs that ended because the cloud took their machine, and whether their run may be run again.
//!
//! What lives here: the record of such a job, and the judgement of its run as GitHub has it. What may not: asking GitHub.
//!
//! Invariant: a run is run again only if everything that failed in it failed by the loss of a machine: GitHub's
//! `rerun-failed-jobs` runs all of it (decision record 0020).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::FleetConfig;
use crate::ids::{JobId, JobKey, PoolName, RunId, RunnerName};
use crate::job::{Conclusion, JobRecord};
use crate::machine::Machine;
use crate::time::Timestamp;

/// Where the scaler puts down interrupted jobs, among the ledger's notes: a JSON list of [`InterruptedJob`], the oldest
/// first. The scaler alone writes it.
pub const NOTE: &str = "interrupted-jobs";
/// An interrupted job is remembered for so long.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Interrupted jobs that are remembered: with the longest names of repositories 300 KB of JSON, and a row of the ledger has
/// 400 KB (DynamoDB, "Constraints").
pub const REMEMBERED_MAX: usize = 1_000;
/// The word, beside those of [`Outcome`], for jobs that there was no room to remember.
pub const FORGOTTEN: &str = "forgotten";
/// Our clock and GitHub's may differ by this: a job that ended so long before the cloud's notice ended by itself.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// A machine that goes without a notice is known to be gone at most so long after it was: it is absent in three reads over two
/// minutes. A job that ended longer before that ended by itself: an agent that cannot tell its job's end powers its machine off,
/// five minutes later.
const GONE_KNOWN_WITHIN: Duration = Duration::from_secs(240);

/// A job that failed when the cloud took its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptedJob {
    /// Which.
    pub key: JobKey,
    /// Its run.
    pub run: RunId,
    /// Where.
    pub repository: std::sync::Arc<str>,
    /// The pool whose machine it had.
    pub pool: PoolName,
    /// When it was found.
    pub at: Timestamp,
}

impl InterruptedJob {
    /// The job of a machine, if the cloud's taking it is why it failed and the machine's pool wants such jobs run again.
    pub fn of(machine: &Machine, job: &JobRecord, config: &FleetConfig, now: Timestamp) -> Option<InterruptedJob> {
        let completed = job.completed.as_ref()?;
        let failed = matches!(completed.conclusion, Conclusion::Failure | Conclusion::Cancelled);
        let (taken_at, within) = match machine.interrupted_at {
            Some(notice) => (notice, CLOCKS_DIFFER),
            None => (machine.gone_at?, GONE_KNOWN_WITHIN),
        };
        let by_itself = completed.completed_at + within < taken_at;
        // A runner that is told to stop ends its job as cancelled while its machine still runs. GitHub fails the job of one that
        // is silent: what is cancelled later was cancelled by somebody.
        let by_somebody = completed.conclusion == Conclusion::Cancelled
            && machine.gone_at.is_some_and(|gone_at| completed.completed_at > gone_at + CLOCKS_DIFFER);
        if !machine.was_taken() || machine.job != Some(job.key) || !failed || by_itself || by_somebody {
            return None;
        }
        // The machine's: a store may keep little of a job that is over.
        let pool = machine.purpose.pool.clone();
        let (run, repository) = (job.about.run, job.about.repository.clone());
        let wanted = config.pool(&pool).is_some_and(|pool| pool.rerun_interrupted > 0);
        wanted.then_some(InterruptedJob { key: job.key, run, repository, pool, at: now })
    }
}

/// Adds jobs to those that are remembered, each once, and forgets old ones. What there is no room for is forgotten too, the
/// oldest first and by whole runs, because a run is judged by all of its jobs: how many jobs that is.
pub fn remember(known: &mut Vec<InterruptedJob>, found: Vec<InterruptedJob>, now: Timestamp) -> usize {
    for job in found {
        if known.iter().all(|other| other.key != job.key) {
            known.push(job);
        }
    }
    known.retain(|job| now.since(job.at) < REMEMBERED_FOR);
    let all = known.len();
    while known.len() > REMEMBERED_MAX {
        let oldest = known[0].run;
        known.retain(|job| job.run != oldest);
    }
    all - known.len()
}

/// A run as GitHub has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunNow {
    /// Its latest attempt.
    pub attempt: u32,
    /// How it ended; `None` if it has not.
    pub conclusion: Option<Conclusion>,
}

/// A job of a run as GitHub has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobNow {
    /// Which.
    pub job: JobId,
    /// How it ended; `None` if it has not.
    pub conclusion: Option<Conclusion>,
    /// Whether it waits for a runner.
    pub waits: bool,
    /// The runner that it was given to.
    pub runner: Option<RunnerName>,
}

/// What came of an interrupted run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It runs again, as was asked.
    Rerun,
    /// It runs or ran again: somebody else has asked for that, or the answer to us got lost.
    Already,
    /// It was run again as often as its pool allows.
    Limit,
    /// Somebody has cancelled it.
    Cancelled,
    /// A later run of the same workflow on the same branch has begun: the two may share a concurrency group, in which the
    /// older one would end the newer one, or deploy over it.
    Superseded,
    /// It succeeded all the same: its workflow goes on without the job.
    Succeeded,
    /// Something else in it failed by itself.
    FailedItself,
    /// GitHub does not do it, or does not show the run.
    Refused,
}

impl Outcome {
    /// The metric dimension value.
    pub fn as_word(self) -> &'static str {
        match self {
            Outcome::Rerun => "rerun",
            Outcome::Already => "already",
            Outcome::Limit => "limit",
            Outcome::Cancelled => "cancelled",
            Outcome::Superseded => "superseded",
            Outcome::Succeeded => "succeeded",
            Outcome::FailedItself => "failed_itself",
            Outcome::Refused => "refused",
        }
    }
}

/// What a run's state means for a re-run of jobs of `attempt`. `Ok(())`: its jobs decide ([`judge_jobs`]). `Err(None)`: it is
/// not over.
///
/// # Errors
/// Why it is not run again, or not yet.
pub fn judge(run: &RunNow, attempt: u32, reruns_max: u32) -> Result<(), Option<Outcome>> {
    if run.attempt != attempt {
        return Err(Some(Outcome::Already));
    }
    match run.conclusion {
        None => Err(None),
        Some(Conclusion::Success) => Err(Some(Outcome::Succeeded)),
        // Whoever asked for the earlier ones: GitHub counts them together.
        Some(_) if attempt > reruns_max => Err(Some(Outcome::Limit)),
        Some(_) => Ok(()),
    }
}

/// What the ends of a run's jobs mean for its re-run: all that failed must have failed by the loss of a machine. A runner that
/// is told to stop before the machine goes ends its job as cancelled, and the run with it, so that a run counts as cancelled by
/// somebody (`was_cancelled`) only if a job is cancelled whose machine nobody took. In a run that failed such jobs are so in
/// consequence. Jobs that go on are left out of it.
///
/// # Errors
/// Why it is not run again.
pub fn judge_jobs(jobs: &[JobNow], was_cancelled: bool, interrupted: &BTreeSet<JobId>) -> Result<(), Outcome> {
    let others = jobs.iter().filter(|job| !interrupted.contains(&job.job));
    for conclusion in others.filter_map(|job| job.conclusion.as_ref()) {
        match conclusion {
            Conclusion::Success | Conclusion::Skipped | Conclusion::Neutral => {}
            Conclusion::Cancelled if was_cancelled => return Err(Outcome::Cancelled),
            Conclusion::Cancelled => {}
            Conclusion::Failure | Conclusion::TimedOut | Conclusion::ActionRequired | Conclusion::Other(_) => {
                return Err(Outcome::FailedItself);
            }
        }
    }
    Ok(())
}

/// Whether a run that goes on is held up by nothing but stranded jobs, each with the dead runner that it is held to be on, and
/// could be run again if it were over: what went on in it besides would be cancelled with it. A stranded job must still wait, or
/// be on that runner: it may have begun elsewhere since.
pub fn only_stranded(jobs: &[JobNow], stranded: &BTreeMap<JobId, RunnerName>) -> bool {
    let mut open = jobs.iter().filter(|job| job.conclusion.is_none()).peekable();
    let goes_on = open.peek().is_some();
    let is_stranded =
        |job: &JobNow| stranded.get(&job.job).is_some_and(|dead| job.waits || job.runner.as_ref() == Some(dead));
    let ids = stranded.keys().copied().collect();
    goes_on && open.all(is_stranded) && judge_jobs(jobs, false, &ids).is_ok()
}
