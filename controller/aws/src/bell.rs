//! Bells over SQS: a FIFO queue wakes the scaler, and a standard queue wakes the door at a later time.
//!
//! A bell is deduplicated within a slot of time, and says when its slot ends. Whoever hears it waits until then before it
//! looks: a ring that was swallowed by the slot's first message was made before the slot's end, and so was the fact that it
//! was made for. See `docs/decisions/0013-bell-slots.md`.
//!
//! Invariant: a bell carries no fact. A lost one costs time, at most a period of the schedule.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::Client;
use metrics::counter;
use muster_core::metric;
use muster_core::ports::Bell;
use muster_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calls;

/// How long rings are heard as one. Four messages a second at most, and a quarter of a second of delay.
pub const SLOT: Duration = Duration::from_millis(250);
/// By how much the clock of whoever rings may be behind that of whoever hears.
const CLOCKS_APART: Duration = Duration::from_millis(50);
/// Longest wait for the end of a slot. A bell that says more was rung by a clock that is wrong.
pub const HOLD_BACK_MAX: Duration = Duration::from_secs(1);
/// A request waits no longer for its bell. The schedule rings anyway.
const SEND_WITHIN: Duration = Duration::from_secs(2);
/// Longest delay of a message (SQS API, `SendMessage`, `DelaySeconds`).
pub const WAKE_DELAY_MAX: Duration = Duration::from_secs(900);

const _: () = assert!(SLOT.as_millis() + CLOCKS_APART.as_millis() < HOLD_BACK_MAX.as_millis());

/// What a bell's message says.
#[derive(Serialize, Deserialize)]
struct Rung {
    /// When its slot ends.
    until_ms: i64,
}

/// What a wake-up says.
#[derive(Serialize, Deserialize)]
struct WakeUp {
    wake_at_ms: i64,
}

/// The bell that wakes the scaler.
///
/// In a function nothing may run after the answer, so ringing only marks: the handler calls [`SqsBell::flush`] before it
/// answers.
#[derive(Debug)]
pub struct SqsBell {
    client: Client,
    queue: String,
    fleet: String,
    rung: AtomicBool,
}

impl Bell for SqsBell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }
}

impl SqsBell {
    /// A bell of a fleet over a FIFO queue, by its URL.
    pub fn new(client: Client, queue: String, fleet: String) -> SqsBell {
        SqsBell { client, queue, fleet, rung: AtomicBool::new(false) }
    }

    /// Sends a message if somebody has rung since the last one; whether it did. It never fails: what could not be sent is
    /// told, counted, and tried again by the next flush.
    pub async fn flush(&self, now: Timestamp) -> bool {
        if !self.rung.swap(false, Ordering::AcqRel) {
            return false;
        }
        let (slot, until) = slot_of(now);
        let send = self
            .client
            .send_message()
            .queue_url(&self.queue)
            .message_group_id(&self.fleet)
            .message_deduplication_id(format!("{}-{slot}", self.fleet))
            .message_body(body(&Rung { until_ms: until.unix_ms() }))
            .send();
        let why = match tokio::time::timeout(SEND_WITHIN, send).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => calls::why(&error),
            Err(_) => format!("no answer within {} s", SEND_WITHIN.as_secs()),
        };
        self.rung.store(true, Ordering::Release);
        counter!(metric::BELLS_LOST).increment(1);
        tracing::error!(
            target: "muster::bell", queue = %self.queue, %why,
            "the scaler was not woken; the next request tries again, and the schedule wakes it anyway"
        );
        false
    }
}

/// How long to wait before looking, for bells with these bodies. One that does not read is old or foreign: no wait.
pub fn hold_back<'b>(bodies: impl IntoIterator<Item = &'b str>, now: Timestamp) -> Duration {
    let ends = bodies.into_iter().filter_map(|body| serde_json::from_str::<Rung>(body).ok());
    let last = ends.map(|rung| rung.until_ms).max();
    let wait = last.map_or(Duration::ZERO, |ms| (Timestamp::from_unix_ms(ms) + CLOCKS_APART).since(now));
    wait.min(HOLD_BACK_MAX)
}

/// The number of the slot that an instant is in, and the slot's end.
fn slot_of(now: Timestamp) -> (i64, Timestamp) {
    const SLOT_MS: i64 = 250;
    const _: () = assert!(SLOT.as_millis() == SLOT_MS as u128);
    let slot = now.unix_ms().div_euclid(SLOT_MS);
    (slot, Timestamp::from_unix_ms((slot + 1) * SLOT_MS))
}

fn body(of: &impl Serialize) -> String {
    // Numbers under fixed names always write.
    serde_json::to_string(of).unwrap_or_default()
}

/// The alarm clock: a message that comes back to the door when the scaler wants to look again.
#[derive(Debug)]
pub struct SqsWake {
    client: Client,
    queue: String,
    /// The earliest wake-up that is on its way.
    pending: Mutex<Option<Timestamp>>,
}

impl SqsWake {
    /// Over a standard queue, by its URL: a FIFO queue has no delay of a message's own.
    pub fn new(client: Client, queue: String) -> SqsWake {
        SqsWake { client, queue, pending: Mutex::new(None) }
    }

    /// Sees to it that the door is woken at `at`, or after [`WAKE_DELAY_MAX`] if that is earlier; whether a message was
    /// sent. None is if an earlier one is on its way: the tick that it brings about asks again. Like a bell it never fails.
    pub async fn wake_at(&self, at: Timestamp, now: Timestamp) -> bool {
        let at = at.min(now + WAKE_DELAY_MAX);
        let pending = *self.pending();
        if pending.is_some_and(|pending| pending > now && pending <= at) {
            return false;
        }
        // Whole seconds, and never too early: that tick would only ask again.
        let seconds = at.since(now).as_millis().div_ceil(1_000);
        let delay = i32::try_from(seconds).unwrap_or(i32::MAX);
        let message = body(&WakeUp { wake_at_ms: at.unix_ms() });
        let send = self.client.send_message().queue_url(&self.queue).delay_seconds(delay).message_body(message).send();
        let why = match tokio::time::timeout(SEND_WITHIN, send).await {
            Ok(Ok(_)) => {
                *self.pending() = Some(at);
                return true;
            }
            Ok(Err(error)) => calls::why(&error),
            Err(_) => format!("no answer within {} s", SEND_WITHIN.as_secs()),
        };
        counter!(metric::BELLS_LOST).increment(1);
        tracing::error!(target: "muster::bell", queue = %self.queue, %why, %at, "no wake-up; the schedule comes in its stead");
        false
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    #[test]
    fn a_slot_ends_after_every_instant_in_it() {
        for (now, slot, until) in [(0, 0, 250), (249, 0, 250), (250, 1, 500), (1_000, 4, 1_250)] {
            assert_eq!(slot_of(at(now)), (slot, at(until)));
        }
    }

    #[test]
    fn who_hears_waits_for_the_end_of_the_last_slot() {
        let rung = |until_ms| body(&Rung { until_ms });
        let wait = |bodies: &[&str], now| hold_back(bodies.iter().copied(), at(now));
        let (first, second) = (rung(1_000), rung(1_250));
        assert_eq!(wait(&[&first], 800), Duration::from_millis(250));
        assert_eq!(wait(&[&second, &first], 1_050), Duration::from_millis(250));
        assert_eq!(wait(&[&first, &second], 1_300), Duration::ZERO);
        // What is no bell, and a clock that is an hour ahead.
        assert_eq!(wait(&["{}", "", "bell"], 0), Duration::ZERO);
        assert_eq!(wait(&[&rung(3_600_000), &rung(i64::MAX)], 0), HOLD_BACK_MAX);
    }
}
