//! Jobs as GitHub tells of them, and the merge of everything told into one record.
//!
//! What lives here: job events, the merged record, its phase and `demanded_at`. What may not: which class serves a job
//! (that depends on the configuration) and which machine runs it (GitHub decides that).
//!
//! Invariant: the merge is a join of a semilattice: commutative, associative and idempotent. Events may come late, twice,
//! in any order or from two sources; the record is the same. A property test says so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{JobKey, RunId, RunnerId, RunnerName};
use crate::time::Timestamp;

/// The longest webhook delay that `demanded_at` believes in. A job whose first `queued` delivery comes later than this
/// after its creation was waiting for something else (an approval whose `waiting` delivery was lost, a concurrency
/// group), and its clock starts when we heard of it, less this delay.
pub const WEBHOOK_DELAY_MAX: Duration = Duration::from_secs(600);

/// What stays the same over a job's life. Ordered so that a disagreement between two events has one winner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobAbout {
    /// The workflow run.
    pub run: RunId,
    /// `owner/name`.
    pub repository: Arc<str>,
    /// Whether the repository is public.
    pub public: bool,
    /// The labels of `runs-on`, as sent.
    pub labels: Arc<[Arc<str>]>,
    /// The workflow's name, if told.
    pub workflow: Option<Arc<str>>,
    /// The job's name, if told.
    pub name: Option<Arc<str>>,
}

/// The runner that a job runs or ran on, as GitHub names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunnerRef {
    /// GitHub's id of the registration, if told.
    pub id: Option<RunnerId>,
    /// The runner's name.
    pub name: RunnerName,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// All steps passed.
    Success,
    /// Skipped by a condition.
    Skipped,
    /// Neither good nor bad.
    Neutral,
    /// Someone must act.
    ActionRequired,
    /// Cancelled, queued or running.
    Cancelled,
    /// GitHub's time limit.
    TimedOut,
    /// A step failed, or the runner was lost.
    Failure,
    /// A word that GitHub has added since.
    Other(Arc<str>),
}

impl Conclusion {
    /// Reads GitHub's word. Unknown words are kept.
    pub fn from_word(word: &str) -> Conclusion {
        match word {
            "success" => Conclusion::Success,
            "skipped" => Conclusion::Skipped,
            "neutral" => Conclusion::Neutral,
            "action_required" => Conclusion::ActionRequired,
            "cancelled" => Conclusion::Cancelled,
            "timed_out" => Conclusion::TimedOut,
            "failure" => Conclusion::Failure,
            other => Conclusion::Other(other.into()),
        }
    }

    /// GitHub's word.
    pub fn as_word(&self) -> &str {
        match self {
            Conclusion::Success => "success",
            Conclusion::Skipped => "skipped",
            Conclusion::Neutral => "neutral",
            Conclusion::ActionRequired => "action_required",
            Conclusion::Cancelled => "cancelled",
            Conclusion::TimedOut => "timed_out",
            Conclusion::Failure => "failure",
            Conclusion::Other(word) => word,
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_word())
    }
}

/// Evidence that a job is runnable and waits for a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// `workflow_job.created_at`, the earliest told.
    pub created_at: Option<Timestamp>,
    /// When a deployment gate was last passed (`deployment.updated_at`), the latest told.
    pub approved_at: Option<Timestamp>,
    /// When we first heard.
    pub received_at: Timestamp,
}

/// Evidence that a runner has the job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Started {
    /// `workflow_job.started_at`.
    pub started_at: Timestamp,
    /// The runner, if named.
    pub runner: Option<RunnerRef>,
}

/// Evidence that the job is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Completed {
    /// `workflow_job.completed_at`.
    pub completed_at: Timestamp,
    /// How it ended. Of two at the same instant the graver wins: see the order of [`Conclusion`].
    pub conclusion: Conclusion,
    /// `workflow_job.started_at`, if told.
    pub started_at: Option<Timestamp>,
    /// The runner; none if it was cancelled or skipped before one took it.
    pub runner: Option<RunnerRef>,
}

/// What one event says of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum JobEvidence {
    /// Runnable: action `queued` with status `queued`.
    Queued {
        /// `workflow_job.created_at`.
        created_at: Option<Timestamp>,
        /// `deployment.updated_at`.
        approved_at: Option<Timestamp>,
    },
    /// Not runnable yet: action `waiting`, or `queued` with status `waiting`, `pending` or `requested`.
    Waiting,
    /// Action `in_progress`.
    InProgress(Started),
    /// Action `completed`.
    Completed(Completed),
}

/// One event about one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Whose.
    pub key: JobKey,
    /// What does not change.
    pub about: JobAbout,
    /// What it says.
    pub evidence: JobEvidence,
}

/// The state of a job, derived from the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobPhase {
    /// Not runnable yet.
    Waiting,
    /// Runnable, no runner has it.
    Queued,
    /// A runner has it.
    Running,
    /// Over.
    Completed,
}

impl JobPhase {
    /// The word used in machine output.
    pub fn as_word(self) -> &'static str {
        match self {
            JobPhase::Waiting => "waiting",
            JobPhase::Queued => "queued",
            JobPhase::Running => "running",
            JobPhase::Completed => "completed",
        }
    }
}

/// How often a job was found stalled: queued for long beside idle runners of its class that GitHub does not give it to.
/// The one thing in a record that is ours and not GitHub's. Ordered, so that two of them have one winner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stall {
    /// The last time; of two records the later one wins.
    pub at: Timestamp,
    /// So many times.
    pub rounds: u32,
}

/// After so many rounds a stalled job is unservable for a while: new runners did not help.
pub const STALL_ROUNDS_MAX: u32 = 3;

/// All that was ever told of one job, merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Whose.
    pub key: JobKey,
    /// What does not change.
    pub about: JobAbout,
    /// When we first heard of the job at all.
    pub first_heard: Timestamp,
    /// Evidence of `queued`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queued: Option<Queued>,
    /// Evidence of `waiting`: when we first heard.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waiting: Option<Timestamp>,
    /// Evidence of `in_progress`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started: Option<Started>,
    /// Evidence of `completed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub completed: Option<Completed>,
    /// Whether it was found stalled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stall: Option<Stall>,
}

fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

impl JobRecord {
    /// The record of a single event.
    pub fn from_event(event: &JobEvent, received_at: Timestamp) -> JobRecord {
        let mut record = JobRecord {
            key: event.key,
            about: event.about.clone(),
            first_heard: received_at,
            queued: None,
            waiting: None,
            started: None,
            completed: None,
            stall: None,
        };
        match &event.evidence {
            JobEvidence::Queued { created_at, approved_at } => {
                record.queued = Some(Queued { created_at: *created_at, approved_at: *approved_at, received_at });
            }
            JobEvidence::Waiting => record.waiting = Some(received_at),
            JobEvidence::InProgress(started) => record.started = Some(started.clone()),
            JobEvidence::Completed(completed) => record.completed = Some(completed.clone()),
        }
        record
    }

    /// Joins what another record of the same job knows. Of two `in_progress` or two `completed` the later one wins, of two
    /// conclusions at one instant the graver. A runner and a start that only the other one names are kept.
    pub fn merge(&mut self, other: &JobRecord) {
        if other.about > self.about {
            self.about = other.about.clone();
        }
        self.first_heard = self.first_heard.min(other.first_heard);
        self.queued = match (self.queued.take(), other.queued.clone()) {
            (Some(a), Some(b)) => Some(Queued {
                created_at: earliest(a.created_at, b.created_at),
                approved_at: a.approved_at.max(b.approved_at),
                received_at: a.received_at.min(b.received_at),
            }),
            (one, other) => one.or(other),
        };
        self.waiting = earliest(self.waiting, other.waiting);
        self.stall = self.stall.max(other.stall);
        self.started = match (self.started.take(), other.started.clone()) {
            (Some(a), Some(b)) => {
                Some(Started { started_at: a.started_at.max(b.started_at), runner: a.runner.max(b.runner) })
            }
            (one, other) => one.or(other),
        };
        self.completed = match (self.completed.take(), other.completed.clone()) {
            (Some(a), Some(b)) => {
                let (completed_at, conclusion) = (a.completed_at, a.conclusion).max((b.completed_at, b.conclusion));
                let (started_at, runner) = (a.started_at.max(b.started_at), a.runner.max(b.runner));
                Some(Completed { completed_at, conclusion, started_at, runner })
            }
            (one, other) => one.or(other),
        };
    }

    /// The state, derived: the strongest evidence counts. `waiting` never overrides anything else.
    pub fn phase(&self) -> JobPhase {
        if self.completed.is_some() {
            JobPhase::Completed
        } else if self.started.is_some() {
            JobPhase::Running
        } else if self.queued.is_some() {
            JobPhase::Queued
        } else {
            JobPhase::Waiting
        }
    }

    /// Whether it is queued and no longer demand: runners stood by for it, again and again, and GitHub gave it to none.
    pub fn is_unservable(&self) -> bool {
        self.phase() == JobPhase::Queued && self.stall.is_some_and(|stall| stall.rounds >= STALL_ROUNDS_MAX)
    }

    /// When the job became runnable for us; `None` while it has not. Age and queue time count from here.
    ///
    /// It is the creation, unless a gate stood in between: then the approval, and where no event carries the instant of
    /// the approval, the moment we heard.
    pub fn demanded_at(&self) -> Option<Timestamp> {
        let queued = self.queued.as_ref()?;
        if let Some(approved) = queued.approved_at {
            return Some(queued.created_at.map_or(approved, |created| created.max(approved)));
        }
        if self.waiting.is_some() {
            return Some(queued.received_at);
        }
        let believable = queued.received_at - WEBHOOK_DELAY_MAX;
        let demanded = queued.created_at.map_or(queued.received_at, |created| created.max(believable));
        // What has started was runnable by then: a delivery of the past is not demand of today.
        Some(self.started_at().map_or(demanded, |started| demanded.min(started)))
    }

    /// When a runner took it, as far as is known.
    pub fn started_at(&self) -> Option<Timestamp> {
        let completed = self.completed.as_ref().filter(|c| c.runner.is_some());
        self.started.as_ref().map(|s| s.started_at).or_else(|| completed.and_then(|c| c.started_at))
    }

    /// The runner that has or had it.
    pub fn runner(&self) -> Option<&RunnerRef> {
        let completed = self.completed.as_ref().and_then(|c| c.runner.as_ref());
        completed.or_else(|| self.started.as_ref().and_then(|s| s.runner.as_ref()))
    }

    /// Every runner that an event has named: one, unless GitHub contradicts itself.
    pub fn runners(&self) -> impl Iterator<Item = &RunnerRef> {
        let started = self.started.as_ref().and_then(|started| started.runner.as_ref());
        let completed = self.completed.as_ref().and_then(|completed| completed.runner.as_ref());
        started.into_iter().chain(completed.filter(|runner| started != Some(*runner)))
    }

    /// From demand to start; `None` unless both are known. GitHub's clock ticks in seconds, so never below zero.
    pub fn queue_time(&self) -> Option<Duration> {
        Some(self.started_at()?.since(self.demanded_at()?))
    }
}
