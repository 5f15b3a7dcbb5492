//! What becomes of a webhook: from headers and bytes to an outcome, without HTTP.
//!
//! What lives here: the order of the checks, and the one log line of an event. What may not: status codes (`answer.rs`).
//!
//! The order: signature, encoding, event name, payload, whose it is, and then the store. A form-encoded delivery is told
//! so only if it is signed: everybody else learns nothing.
//!
//! Invariant: [`Outcome::Stored`] means that `put_fact` has returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_core::config::Resolution;
use muster_core::fact::{Fact, FactBody};
use muster_core::job::{JobEvent, JobEvidence};
use muster_core::ports::{Put, Store, StoreError};
use muster_core::time::Timestamp;
use thiserror::Error;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::delivery::DeliveryHeaders;
use crate::foreign::{Foreign, foreign};
use crate::live::LiveConfig;
use crate::payload::{self, PayloadError, Says};
use crate::signature::{Secrets, SignatureError};

/// The event that jobs come in.
pub const WORKFLOW_JOB: &str = "workflow_job";
/// The tracing target of the one line per accepted event.
pub const EVENT_TARGET: &str = "muster::event";

/// What became of a delivery that is no error.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The job's event is in the ledger.
    Stored(Stored),
    /// It is none of our business.
    Ignored(Ignored),
}

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

/// Why a delivery was not accepted.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// It is not believed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is signed, but wrapped in a form.
    #[error("the delivery is form-encoded")]
    FormEncoded,
    /// It does not say which event it is.
    #[error("the header X-GitHub-Event is missing")]
    NoEvent,
    /// It is not what it says.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The ledger did not take it.
    #[error("not stored: {0}")]
    NotStored(#[from] StoreError),
}

impl WebhookError {
    /// The word for the metric.
    pub fn kind(&self) -> &'static str {
        match self {
            WebhookError::Signature(e) => e.kind(),
            WebhookError::FormEncoded => "form_encoded",
            WebhookError::NoEvent => "no_event_header",
            WebhookError::Payload(e) => e.kind(),
            WebhookError::NotStored(_) => "not_stored",
        }
    }
}

/// The receiving end of GitHub's webhooks.
pub struct Webhooks<S, C> {
    store: Arc<S>,
    clock: Arc<C>,
    secrets: Arc<Secrets>,
    config: Arc<LiveConfig>,
    bell: Arc<dyn Bell>,
    /// Whether the last delivery could not be stored.
    failing: AtomicBool,
}

/// What is written to find out whether the ledger has recovered: more than a fact has. A disk that is all but full takes a
/// small row, and not the next delivery.
const PROBE_BYTES: usize = 65_536;

impl<S: Store, C: Clock> Webhooks<S, C> {
    /// The receiving end over these ports. `bell` wakes the scaler.
    pub fn new(
        store: Arc<S>,
        clock: Arc<C>,
        secrets: Arc<Secrets>,
        config: Arc<LiveConfig>,
        bell: Arc<dyn Bell>,
    ) -> Webhooks<S, C> {
        Webhooks { store, clock, secrets, config, bell, failing: AtomicBool::new(false) }
    }

    /// Why nothing can be stored now. Asks the store to write only if the last delivery failed, so that a healthy door
    /// answers at no cost and a broken one notices that it has recovered.
    pub async fn trouble(&self) -> Option<StoreError> {
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        let now = self.clock.now();
        let probe = format!("health-{}-{}", now.unix_ms(), "0".repeat(PROBE_BYTES));
        match self.store.use_once(&probe, now).await {
            Ok(_) => {
                self.failing.store(false, Ordering::Relaxed);
                None
            }
            Err(error) => Some(error),
        }
    }

    /// Takes in one delivery.
    ///
    /// # Errors
    /// [`WebhookError`]; then nothing was stored, or it is not known to be.
    pub async fn receive(&self, headers: &DeliveryHeaders<'_>, body: &[u8]) -> Result<Outcome, WebhookError> {
        let received_at = self.clock.now();
        let signed = self.secrets.check(headers.signature, body)?;
        if headers.form_encoded {
            return Err(WebhookError::FormEncoded);
        }
        let name = headers.event.ok_or(WebhookError::NoEvent)?;
        if name != WORKFLOW_JOB {
            return Ok(Outcome::Ignored(Ignored::Event(name.to_owned())));
        }
        let delivery = payload::parse(signed, received_at)?;
        let (event, resolution) = {
            let config = self.config.current();
            if let Some(foreign) = foreign(&config.github, delivery.sender) {
                return Ok(Outcome::Ignored(Ignored::Foreign(foreign)));
            }
            let event = match delivery.says {
                Says::Job(event) => event,
                Says::UnknownAction(action) => return Ok(Outcome::Ignored(Ignored::Action(action))),
            };
            let resolution = config.resolve(&event.about.labels, &event.about.repository, event.about.public);
            (event, resolution)
        };
        let put = self.store.put_fact(&Fact { received_at, body: FactBody::Job(event.clone()) }).await;
        self.failing.store(put.is_err(), Ordering::Relaxed);
        let put = put?;
        self.bell.ring();
        let stored = Stored { event, duplicate: put == Put::Duplicate, resolution };
        log(&stored, headers.delivery, received_at);
        Ok(Outcome::Stored(stored))
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
