//! A token bucket that is told the time.
//!
//! Invariant: over any span it gives out at most its size plus the rate times the span.

use std::time::Duration;

use crate::time::Timestamp;

/// Less is lost in computing.
const HAIR: f64 = 1e-9;

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
        self.take_many(1, now)
    }

    /// Takes so many at once, or none. More than the bucket's size are never there.
    ///
    /// # Errors
    /// The instant at which they will be there; nothing was taken.
    pub fn take_many(&mut self, count: u32, now: Timestamp) -> Result<(), Timestamp> {
        self.refill(now);
        // A hair below one is one: refills are computed from whole milliseconds.
        if self.tokens >= f64::from(count) - HAIR {
            self.tokens -= f64::from(count);
            return Ok(());
        }
        Err(self.at_which(count, now))
    }

    /// How many whole tokens there are, and when there will be one more once these are taken.
    pub fn whole(&mut self, now: Timestamp) -> (u32, Timestamp) {
        self.refill(now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the size, and saturating")]
        let whole = (self.tokens + HAIR).floor() as u32;
        (whole, self.at_which(whole.saturating_add(1), now))
    }

    /// Takes so many whether they are there or not: what is owed has to come in first.
    pub fn spend(&mut self, count: u32, now: Timestamp) {
        self.refill(now);
        self.tokens -= f64::from(count);
    }

    /// Takes back so many that were taken and not used.
    pub fn give_back(&mut self, count: u32) {
        self.tokens = (self.tokens + f64::from(count)).min(self.size);
    }

    fn refill(&mut self, now: Timestamp) {
        let refilled = self.tokens + now.since(self.at).as_secs_f64() * self.per_second;
        self.tokens = refilled.min(self.size);
        self.at = self.at.max(now);
    }

    fn at_which(&self, count: u32, now: Timestamp) -> Timestamp {
        let wait = Duration::from_secs_f64((f64::from(count) - self.tokens) / self.per_second);
        now + wait.max(Duration::from_millis(1))
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

    #[test]
    fn many_are_taken_at_once_or_not_at_all() {
        let now = Timestamp::EPOCH;
        let mut bucket = TokenBucket::full(10.0, 2.0, now);
        assert_eq!(bucket.take_many(8, now), Ok(()));
        assert_eq!(bucket.take_many(8, now), Err(now + Duration::from_secs(3)));
        assert_eq!(bucket.take_many(2, now), Ok(()), "nothing was taken by what was refused");
        bucket.give_back(5);
        assert_eq!(bucket.take_many(5, now), Ok(()));
        bucket.give_back(100);
        assert!(bucket.take_many(11, now).is_err(), "it holds no more than its size");
        assert_eq!(bucket.take_many(10, now), Ok(()));
    }

    #[test]
    fn the_token_after_those_that_are_there_comes_when_it_was_told() {
        let mut now = Timestamp::EPOCH;
        let mut bucket = TokenBucket::full(10.5, 0.5, now);
        let (whole, more_at) = bucket.whole(now);
        assert_eq!((whole, more_at), (10, now + Duration::from_secs(1)), "half of it is there");
        bucket.spend(whole, now);
        now = more_at;
        assert_eq!(bucket.take(now), Ok(()));
    }

    #[test]
    fn what_is_owed_is_paid_before_anything_is_given_out() {
        let now = Timestamp::EPOCH;
        let mut bucket = TokenBucket::full(3.0, 1.0, now);
        bucket.spend(5, now);
        assert_eq!(bucket.take(now), Err(now + Duration::from_secs(3)));
        assert_eq!(bucket.take(now + Duration::from_secs(3)), Ok(()));
    }
}
