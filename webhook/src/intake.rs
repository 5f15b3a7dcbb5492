//! What is told of a job, from a believed payload into the ledger.
//!
//! What lives here: whose it is, the fact, the bell, and the one log line of an event. What may not: whether it is to be
//! believed. The door believes a signature; whoever heals believes GitHub's own log.
//!
//! Invariant: [`Stored`] means that `put_fact` has returned.

use std::sync::Arc;

use muster_core::config::{FleetConfig, Resolution};
use muster_core::fact::{Fact, FactBody};
use muster_core::job::{JobEvent, JobEvidence};
use muster_core::ports::{Put, Store, StoreError};
use muster_core::time::Timestamp;

use crate::bell::Bell;
use crate::foreign::{Foreign, foreign};
use crate::live::LiveConfig;
use crate::payload::{self, PayloadError, Says};
use crate::signature::Signed;
use crate::webhook::WORKFLOW_JOB;

/// The tracing target of the one line per accepted event.
pub const EVENT_TARGET: &str = "muster::event";

/// An event that is in the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The event.
    pub event: JobEvent,
    /// Whether the ledger knew it already.
    pub duplicate: bool,
    /// Which class serves the job under the configuration in force, or why none does. Never stored: it follows from the
    /// configuration.
    pub resolution: Resolution,
}

/// Why a delivery was acknowledged and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// An event that is not about jobs.
    Event(String),
    /// An action that GitHub has added since.
    Action(String),
    /// Not of our organization or installation.
    Foreign(Foreign),
}

/// The way into the ledger.
pub struct Intake<S> {
    store: Arc<S>,
    config: Arc<LiveConfig>,
    bell: Arc<dyn Bell>,
}

impl<S: Store> Intake<S> {
    /// The way into this ledger, under the configuration in force. `bell` wakes the scaler.
    pub fn new(store: Arc<S>, config: Arc<LiveConfig>, bell: Arc<dyn Bell>) -> Intake<S> {
        Intake { store, config, bell }
    }

    /// Reads a payload about a job; why it is none of our business, if it is not.
    ///
    /// # Errors
    /// [`PayloadError`]: it is not what it says.
    pub fn read(&self, signed: Signed<'_>, received_at: Timestamp) -> Result<Result<JobEvent, Ignored>, PayloadError> {
        let delivery = payload::parse(signed, received_at)?;
        if let Some(foreign) = foreign(&self.config.current().github, delivery.sender) {
            return Ok(Err(Ignored::Foreign(foreign)));
        }
        Ok(match delivery.says {
            Says::Job(event) => Ok(event),
            Says::UnknownAction(action) => Err(Ignored::Action(action)),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<FleetConfig> {
        self.config.snapshot()
    }

    /// Which class serves a job of ours.
    pub fn resolve(&self, event: &JobEvent) -> Resolution {
        self.config.current().resolve(&event.about.labels, &event.about.repository, event.about.public)
    }

    /// Stores what is told of a job, and rings. `guid` is the delivery's, if there was one.
    ///
    /// # Errors
    /// That of the ledger; then it is not known to be stored.
    pub async fn put(&self, event: JobEvent, received_at: Timestamp, guid: Option<&str>) -> Result<Stored, StoreError> {
        let resolution = self.resolve(&event);
        let put = self.store.put_fact(&Fact { received_at, body: FactBody::Job(event.clone()) }).await?;
        self.bell.ring();
        let stored = Stored { event, duplicate: put == Put::Duplicate, resolution };
        log(&stored, guid, received_at);
        Ok(stored)
    }
}

/// The one line of an accepted event.
fn log(stored: &Stored, delivery: Option<&str>, received_at: Timestamp) {
    let Stored { event, duplicate, resolution } = stored;
    let about = &event.about;
    let (action, created_at, approved_at, started_at, completed_at, conclusion, runner) = match &event.evidence {
        JobEvidence::Queued { created_at, approved_at } => {
            ("queued", *created_at, *approved_at, None, None, None, None)
        }
        JobEvidence::Waiting => ("waiting", None, None, None, None, None, None),
        JobEvidence::InProgress(s) => ("in_progress", None, None, Some(s.started_at), None, None, s.runner.as_ref()),
        JobEvidence::Completed(c) => {
            ("completed", None, None, c.started_at, Some(c.completed_at), Some(&c.conclusion), c.runner.as_ref())
        }
    };
    let refusal = resolution.refusal();
    tracing::info!(
        target: EVENT_TARGET,
        event = WORKFLOW_JOB,
        action,
        job = event.key.job.0,
        attempt = event.key.attempt,
        run = about.run.0,
        repository = &*about.repository,
        public = about.public,
        labels = about.labels.join(","),
        workflow = about.workflow.as_deref(),
        name = about.name.as_deref(),
        created_at = created_at.map(tracing::field::display),
        approved_at = approved_at.map(tracing::field::display),
        started_at = started_at.map(tracing::field::display),
        completed_at = completed_at.map(tracing::field::display),
        conclusion = conclusion.map(|c| c.as_word()),
        runner = runner.map(|r| r.name.as_str()),
        delivery,
        outcome = refusal.map_or("class", |r| r.kind()),
        class = resolution.class().map(|c| c.id.as_str()),
        reason = refusal.map(|r| r.why()),
        duplicate,
        received_at = %received_at,
        "event accepted"
    );
}
