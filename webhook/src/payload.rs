//! From the signed bytes of a `workflow_job` delivery to an event of the ledger.
//!
//! What lives here: which fields are read, which must be there, and which evidence an action is. What may not: HTTP, the
//! configuration, and any use of a delivery's GUID, which nobody has signed.
//!
//! The bytes are read once; what is not asked for is skipped without being kept, and texts are borrowed from the body
//! until the event is made. Only a body that does not read is read a second time, to name the field.
//!
//! Invariant: the same payload gives the same event, whenever it comes; see [`parse`] for the one exception.

mod blame;
mod fields;

use std::sync::Arc;

use muster_core::ids::{JobId, JobKey, RunId, RunnerId, RunnerName};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, RunnerRef, Started};
use muster_core::time::Timestamp;
use thiserror::Error;

use crate::foreign::Sender;
use crate::signature::Signed;
use fields::{Job, Payload, Text};

/// One delivery, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whose.
    pub sender: Sender,
    /// What it says.
    pub says: Says,
}

/// What a delivery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Something about a job.
    Job(JobEvent),
    /// An action that GitHub has added since.
    UnknownAction(String),
}

/// Why a signed body is not a `workflow_job` delivery. The texts hold no part of the body but names of fields.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// It is not JSON.
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A required field is absent or null.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field has another type than GitHub documents.
    #[error("the field `{field}` must be {must}")]
    WrongType {
        /// Its path.
        field: &'static str,
        /// What it should be.
        must: &'static str,
    },
}

impl PayloadError {
    /// The word for the metric.
    pub fn kind(&self) -> &'static str {
        match self {
            PayloadError::NotJson { .. } => "not_json",
            PayloadError::Missing(_) => "field_missing",
            PayloadError::WrongType { .. } => "field_wrong_type",
        }
    }
}

/// Reads a `workflow_job` delivery.
///
/// Instants that are absent or do not read are no reason to lose a job: a start or an end without its instant gets the
/// latest instant that the payload does carry, and `received_at` only if it carries none (then a second delivery is a
/// second fact, which the merge takes in its stride).
///
/// # Errors
/// [`PayloadError`], naming the field.
pub fn parse(signed: Signed<'_>, received_at: Timestamp) -> Result<Delivery, PayloadError> {
    let body = signed.body();
    let text = std::str::from_utf8(body).map_err(|e| blame::not_utf8(body, e.valid_up_to()))?;
    let payload: Payload<'_> = serde_json::from_str(text).map_err(|e| blame::blame(text, &e))?;
    event(payload, received_at)
}

fn event(payload: Payload<'_>, received_at: Timestamp) -> Result<Delivery, PayloadError> {
    use PayloadError::Missing;

    let action = payload.action.ok_or(Missing("action"))?;
    let job = payload.workflow_job.ok_or(Missing("workflow_job"))?;
    let id = job.id.ok_or(Missing("workflow_job.id"))?;
    let run = job.run_id.ok_or(Missing("workflow_job.run_id"))?;
    let status = job.status.as_deref().ok_or(Missing("workflow_job.status"))?;
    let labels = job.labels.as_ref().ok_or(Missing("workflow_job.labels"))?;
    let repository = payload.repository.ok_or(Missing("repository"))?;
    let full_name = repository.full_name.ok_or(Missing("repository.full_name"))?;
    let private = repository.private.ok_or(Missing("repository.private"))?;

    let approved_at = instant(payload.deployment.and_then(|d| d.updated_at).as_ref());
    let evidence = evidence(&action, status, &job, approved_at, received_at);
    let says = match evidence {
        None => Says::UnknownAction(action.to_owned()),
        Some(evidence) => Says::Job(JobEvent {
            key: JobKey { job: JobId(id), attempt: job.run_attempt.filter(|n| *n > 0).unwrap_or(1) },
            about: JobAbout {
                run: RunId(run),
                repository: Arc::from(&*full_name),
                public: !private,
                labels: labels.iter().map(|label| Arc::from(&**label)).collect(),
                workflow: job.workflow_name.as_deref().map(Arc::from),
                name: job.name.as_deref().map(Arc::from),
            },
            evidence,
        }),
    };
    let sender = Sender {
        organization: payload.organization.and_then(|o| o.id),
        installation: payload.installation.and_then(|i| i.id),
    };
    Ok(Delivery { sender, says })
}

/// Which evidence an action is; `None` for a word that we do not know.
///
/// A `queued` whose status is a word that we do not know is taken as runnable: a machine too many is cheaper than a job
/// that never runs.
fn evidence(
    action: &str,
    status: &str,
    job: &Job<'_>,
    approved_at: Option<Timestamp>,
    received_at: Timestamp,
) -> Option<JobEvidence> {
    let created_at = instant(job.created_at.as_ref());
    let started_at = instant(job.started_at.as_ref());
    match (action, status) {
        ("waiting", _) | ("queued", "waiting" | "pending" | "requested") => Some(JobEvidence::Waiting),
        ("queued", _) => Some(JobEvidence::Queued { created_at, approved_at }),
        ("in_progress", _) => Some(JobEvidence::InProgress(Started {
            started_at: started_at.or(created_at).unwrap_or(received_at),
            runner: runner(job),
        })),
        ("completed", _) => Some(JobEvidence::Completed(Completed {
            completed_at: instant(job.completed_at.as_ref()).or(created_at.max(started_at)).unwrap_or(received_at),
            conclusion: Conclusion::from_word(job.conclusion.as_deref().unwrap_or("unknown")),
            started_at,
            runner: runner(job),
        })),
        _ => None,
    }
}

/// The runner, if one is named: a job that was cancelled or skipped in the queue has id 0 or null and no name.
fn runner(job: &Job<'_>) -> Option<RunnerRef> {
    let id = job.runner_id.filter(|id| *id != 0).map(RunnerId);
    let name = job.runner_name.as_deref().unwrap_or_default();
    (id.is_some() || !name.is_empty()).then(|| RunnerRef { id, name: RunnerName::new(name) })
}

fn instant(text: Option<&Text<'_>>) -> Option<Timestamp> {
    text.and_then(|text| Timestamp::parse(text))
}
