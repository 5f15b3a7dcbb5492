//! What becomes of a webhook: from headers and bytes to an outcome, without HTTP.
//!
//! What lives here: the order of the checks. What may not: status codes (`answer.rs`).
//!
//! The order: signature, encoding, event name, payload, whose it is, and then the store. A form-encoded delivery is told
//! so only if it is signed: everybody else learns nothing.
//!
//! Invariant: [`Outcome::Stored`] means that `put_fact` has returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_core::ports::{Store, StoreError};
use thiserror::Error;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::delivery::DeliveryHeaders;
use crate::intake::{Ignored, Intake, Stored};
use crate::live::LiveConfig;
use crate::payload::PayloadError;
use crate::signature::{Secrets, SignatureError};

/// The event that jobs come in.
pub const WORKFLOW_JOB: &str = "workflow_job";

/// What became of a delivery that is no error.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The job's event is in the ledger.
    Stored(Stored),
    /// It is none of our business.
    Ignored(Ignored),
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
    intake: Intake<S>,
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
        let intake = Intake::new(store.clone(), config, bell);
        Webhooks { store, clock, secrets, intake, failing: AtomicBool::new(false) }
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
        let event = match self.intake.read(signed, received_at)? {
            Ok(event) => event,
            Err(ignored) => return Ok(Outcome::Ignored(ignored)),
        };
        let stored = self.intake.put(event, received_at, headers.delivery).await;
        self.failing.store(stored.is_err(), Ordering::Relaxed);
        Ok(Outcome::Stored(stored?))
    }
}
