//! Whether the scaler lives, for `GET /healthz`: facts that nobody merges are safe and of no use.
//!
//! Invariant: one tick that fails is no trouble (the next one mends it), several in a row are, and so is silence.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_core::time::Timestamp;

/// So many failed ticks in a row are told.
pub const FAILURES_TOLD: u32 = 3;
/// Silence of the scaler that is told: it ticks at least once a minute.
pub const SILENCE_TOLD: Duration = Duration::from_secs(180);

#[derive(Debug)]
struct Beat {
    at: Timestamp,
    failures: u32,
    why: String,
}

/// What the scaler's latest ticks came to.
#[derive(Debug)]
pub struct Pulse(Mutex<Beat>);

impl Pulse {
    /// The scaler starts at `now`.
    pub fn starting(now: Timestamp) -> Pulse {
        Pulse(Mutex::new(Beat { at: now, failures: 0, why: String::new() }))
    }

    /// A tick went to its end.
    pub fn good(&self, now: Timestamp) {
        let mut beat = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *beat = Beat { at: now, failures: 0, why: String::new() };
    }

    /// A tick failed.
    pub fn failed(&self, why: String) {
        let mut beat = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beat.failures = beat.failures.saturating_add(1);
        beat.why = why;
    }

    /// What is wrong with it, if something is.
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        let beat = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = now.since(beat.at);
        if beat.failures >= FAILURES_TOLD {
            return Some(format!("the scaler's last {} ticks failed: {}", beat.failures, beat.why));
        }
        (silent > SILENCE_TOLD).then(|| format!("the scaler has finished no tick for {} s", silent.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_several_failures_and_of_silence() {
        let start = Timestamp::from_unix_ms(0);
        let pulse = Pulse::starting(start);
        assert_eq!(pulse.trouble(start + SILENCE_TOLD), None);
        for _ in 1..FAILURES_TOLD {
            pulse.failed("a row does not read".to_owned());
        }
        assert_eq!(pulse.trouble(start), None, "the next tick may mend it");
        pulse.failed("a row does not read".to_owned());
        assert!(pulse.trouble(start).is_some_and(|told| told.contains("a row does not read")));
        pulse.good(start);
        assert_eq!(pulse.trouble(start), None);
        let late = start + SILENCE_TOLD + Duration::from_secs(1);
        assert!(pulse.trouble(late).is_some_and(|told| told.contains("181 s")));
    }
}
