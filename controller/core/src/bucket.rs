//! A token bucket that is told the time.
//!
//! Invariant: over any span it gives out at most its size plus the rate times the span.

use std::time::Duration;

use crate::time::Timestamp;

/// A budget of so many requests a second, with a reserve.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    size: f64,
    per_second: f64,
    tokens: f64,
    at: Timestamp,
}

impl TokenBucket {
    /// A full bucket of `size` tokens that refills at `per_second`.
    pub fn full(size: f64, per_second: f64, now: Timestamp) -> TokenBucket {
        TokenBucket { size, per_second, tokens: size, at: now }
    }

    /// Takes one token, or says when there will be one.
    ///
    /// # Errors
    /// The instant at which a token will be there; nothing was taken.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let refilled = self.tokens + now.since(self.at).as_secs_f64() * self.per_second;
        self.tokens = refilled.min(self.size);
        self.at = self.at.max(now);
        // A hair below one is one: refills are computed from whole milliseconds.
        if self.tokens >= 1.0 - 1e-9 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.per_second);
        Err(now + wait.max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_its_rate_and_no_more() {
        let mut now = Timestamp::EPOCH;
        let mut bucket = TokenBucket::full(3.0, 3.0, now);
        let mut taken = 0;
        let end = now + Duration::from_secs(10);
        while now < end {
            match bucket.take(now) {
                Ok(()) => taken += 1,
                Err(next) => {
                    assert!(next > now);
                    now = next;
                }
            }
        }
        assert!((30..=33).contains(&taken), "{taken}");
    }
}
