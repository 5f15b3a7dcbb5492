//! Muster as Lambda functions: the same door, scaler and registrar as in one process, behind events.
//!
//! Five functions share one ledger. The *door* is called by the HTTP API, by EventBridge and by the wake queue; it stores
//! and rings. It is there twice, for GitHub and for agents, whose requests are held. The *scaler* is called by the bell queue
//! alone, one call at a time; the *registrar* by the claims queue alone; the *healer* by the schedule.
//!
//! What lives here: from an event to a call of our own parts, and what must be done before the answer, since nothing runs
//! after it. What may not: a decision, or an AWS SDK (the ports bring it).
//!
//! Invariant: a function that is ended at any instant loses nothing. What was answered is in the ledger; a bell that was not
//! acknowledged comes again when its queue's visibility time-out has passed.

pub mod door;
pub mod event;
pub mod healer;
pub mod looks;
pub mod registrar;
pub mod scaler;
pub mod surroundings;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_core::time::Timestamp;
use muster_webhook::bell::{Bell, NotifyBell};
use tracing::warn;

use crate::telemetry::Telemetry;

/// A bell in another process. Rings are gathered and sent by [`RemoteBell::send`], which a function awaits before it
/// answers.
pub trait RemoteBell: Bell {
    /// Sends what was rung since the last call. A failure is logged by the bell itself: a lost bell costs time only.
    fn send(&self) -> impl Future<Output = ()> + Send;
}

/// A bell in another process that notices its own rings: a function sends them while it still works on its answer.
pub struct PromptBell<B> {
    far: B,
    near: NotifyBell,
}

impl<B: RemoteBell> Bell for PromptBell<B> {
    fn ring(&self) {
        self.far.ring();
        self.near.ring();
    }
}

impl<B: RemoteBell> PromptBell<B> {
    /// In front of that bell.
    pub fn new(far: B) -> PromptBell<B> {
        PromptBell { far, near: NotifyBell::default() }
    }
}

/// Works on an answer, and sends what rings meanwhile at once: a request may be held back for 25 s, waiting for what its
/// own bell brings about. Whatever was rung is sent before this returns. A message is sent to its end, also if the answer
/// is there before.
pub async fn ringing<T, B: RemoteBell>(bells: [&PromptBell<B>; 2], answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    let mut given = None;
    while given.is_none() {
        tokio::select! {
            answer = &mut answer => given = Some(answer),
            () = bells[0].near.rung() => {}
            () = bells[1].near.rung() => {}
        }
        let mut sends = pin!(async { tokio::join!(bells[0].far.send(), bells[1].far.send()) });
        loop {
            tokio::select! {
                answer = &mut answer, if given.is_none() => given = Some(answer),
                _ = &mut sends => break,
            }
        }
    }
    // A ring between the last send and the answer.
    tokio::join!(bells[0].far.send(), bells[1].far.send());
    match given {
        Some(given) => given,
        // The loop ends with an answer.
        None => answer.await,
    }
}

/// A function's metric lines. They are written before each answer: the process may be frozen for long after it.
pub struct Lines(Option<Mutex<Telemetry>>);

impl Lines {
    /// Where they go; `None`: nowhere.
    pub fn new(to: Option<Telemetry>) -> Lines {
        Lines(to.map(Mutex::new))
    }

    /// Writes what was gathered. What cannot be written is logged.
    pub fn flush(&self, now: Timestamp) {
        if let Some(telemetry) = &self.0 {
            let mut telemetry = telemetry.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = telemetry.flush(now) {
                warn!(target: "muster::lambda", %error, "metrics");
            }
        }
    }
}

/// A ring that comes later.
pub trait LaterBell: Send + Sync {
    /// The bell rings after `delay`. A failure is logged by the bell itself.
    fn after(&self, delay: Duration) -> impl Future<Output = ()> + Send;
}

/// When a function must have ended, by Lambda's word.
pub fn deadline(context: &lambda_runtime::Context) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(context.deadline).unwrap_or(i64::MAX))
}
