//! Bells between functions, over SQS: they carry nothing but the instant until which others may have rung under the same
//! name. See decision 0013.
//!
//! What lives here: how rings become messages. What may not: facts. Those are in the ledger before anybody rings.
//!
//! Invariant: whoever looks at the ledger once a message's slot has ended sees every fact whose ring was taken for that
//! message. A message that is lost costs time only: the schedule brings the next look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use muster_core::ports::Bell;
use muster_core::time::Timestamp;
use tracing::error;

/// Rings of one slot are one message: SQS drops a second one with the same deduplication id for 5 minutes (SQS developer
/// guide, "Exactly-once processing"). Short, since the receiver waits for the end of the slot.
pub const SLOT: Duration = Duration::from_millis(250);
/// The longest delay of a message (SQS API, `SendMessage`, `DelaySeconds`).
pub const DELAY_MAX: Duration = Duration::from_secs(900);

const _: () = assert!(1_000 % SLOT.as_millis() == 0);

/// Tells the time.
pub type BellClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A bell behind a FIFO queue.
pub struct SqsBell {
    client: Client,
    queue: String,
    fleet: String,
    now: BellClock,
    rung: AtomicBool,
}

impl Bell for SqsBell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }
}

impl SqsBell {
    /// The bell of a fleet behind the queue with this address.
    pub fn new(client: Client, queue: &str, fleet: &str, now: BellClock) -> SqsBell {
        SqsBell { client, queue: queue.to_owned(), fleet: fleet.to_owned(), now, rung: AtomicBool::new(false) }
    }

    /// Sends one message if it was rung since the last call. A failure is logged: the facts are safe, and the schedule
    /// brings the next look.
    pub async fn send(&self) {
        if !self.rung.swap(false, Ordering::AcqRel) {
            return;
        }
        let slot = slot((self.now)());
        let message = self
            .client
            .send_message()
            .queue_url(&self.queue)
            .message_group_id(&self.fleet)
            .message_deduplication_id(format!("{}-{slot}", self.fleet))
            .message_body(format!(r#"{{"slot_ends_ms":{}}}"#, slot_end(slot)));
        if let Err(error) = message.send().await {
            let (queue, error) = (&self.queue, DisplayErrorContext(&error).to_string());
            error!(target: "muster::bell", queue, error, "a bell was not sent: the next schedule brings the look");
        }
    }
}

/// The number of the slot that an instant is in.
fn slot(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(SLOT.as_millis() as i64)
}

fn slot_end(slot: i64) -> i64 {
    (slot + 1) * SLOT.as_millis() as i64
}

/// A standard queue that leads back to the door after a while.
pub struct SqsWake {
    client: Client,
    queue: String,
}

impl SqsWake {
    /// The queue with this address.
    pub fn new(client: Client, queue: &str) -> SqsWake {
        SqsWake { client, queue: queue.to_owned() }
    }

    /// A message that arrives after `delay`, rounded up to seconds, at most [`DELAY_MAX`]. A failure is logged.
    pub async fn after(&self, delay: Duration) {
        let seconds = delay.min(DELAY_MAX).as_millis().div_ceil(1_000);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let message = self.client.send_message().queue_url(&self.queue).delay_seconds(seconds).message_body("wake");
        if let Err(error) = message.send().await {
            let (queue, error) = (&self.queue, DisplayErrorContext(&error).to_string());
            error!(target: "muster::bell", queue, error, "a wake message was not sent: the next schedule brings the tick");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_before_the_end_of_its_slot() {
        for ms in [0, 1, 249, 250, 251, 999, 1_795_428_000_000, 1_795_428_000_123] {
            let end = slot_end(slot(Timestamp::from_unix_ms(ms)));
            assert!(end > ms && end - ms <= 250, "{ms}: {end}");
        }
    }
}
