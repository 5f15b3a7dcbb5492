//! What time it is for others: the machine's own clock may be wrong, and a proof of identity lives for a minute.
//!
//! The time is taken from the `Date` of the metadata service's answers and of the door's refusals. Deadlines do not depend
//! on it: they go by [`Instant`].

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that can be told how wrong it is.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    /// The time at `began`, since 1970.
    epoch: Cell<Duration>,
    /// Whether the door has said so, whose time is the one that counts.
    doors: Cell<bool>,
    /// When the last proof was dated, in seconds since 1970.
    dated: Cell<u64>,
}

impl Default for Clock {
    fn default() -> Clock {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { began: Instant::now(), epoch: Cell::new(since_1970), doors: Cell::new(false), dated: Cell::new(0) }
    }
}

impl Clock {
    /// How long the agent runs.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A date for a proof of identity: now, and a second after the last one if that is the same. Proofs of one second would be
    /// the same proof, and one is taken only once; the door takes what is up to 10 s ahead.
    pub fn date(&self) -> SystemTime {
        let now = (self.epoch.get() + self.elapsed()).as_secs();
        let last = self.dated.get();
        let date = if now.abs_diff(last) <= 5 { now.max(last + 1) } else { now };
        self.dated.set(date);
        UNIX_EPOCH + Duration::from_secs(date)
    }

    /// The metadata service's `Date`, which counts as long as the door has said nothing.
    pub fn told_by_metadata(&self, date: &str) {
        if !self.doors.get() {
            self.told(date);
        }
    }

    /// The door's `Date`.
    pub fn told_by_door(&self, date: &str) {
        self.doors.set(true);
        self.told(date);
    }

    /// Whole seconds: what is nearer than that is left as it is.
    fn told(&self, date: &str) {
        let Ok(theirs) = httpdate::parse_http_date(date) else { return };
        let theirs = theirs.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours = self.epoch.get() + self.elapsed();
        if theirs.abs_diff(ours) > Duration::from_secs(2) {
            self.epoch.set(theirs.saturating_sub(self.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_wrong_is_put_right() {
        let clock = Clock::default();
        let wrong = |clock: &Clock| clock.date().duration_since(SystemTime::now()).unwrap_or_default();
        clock.told_by_metadata(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3_600)));
        assert!(wrong(&clock).abs_diff(Duration::from_secs(3_600)) < Duration::from_secs(3));
        clock.told_by_door("yesterday, perhaps");
        clock.told_by_door(&httpdate::fmt_http_date(SystemTime::now()));
        assert!(wrong(&clock) < Duration::from_secs(3));
        clock.told_by_metadata(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3_600)));
        assert!(wrong(&clock) < Duration::from_secs(3));
    }

    #[test]
    fn no_two_proofs_have_one_date() {
        let clock = Clock::default();
        let dates: Vec<SystemTime> = (0..3).map(|_| clock.date()).collect();
        assert!(dates[0] < dates[1] && dates[1] < dates[2]);
    }
}
