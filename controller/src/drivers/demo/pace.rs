//! The speed of the show.
//!
//! Invariant: the clock never runs faster than the host can follow for long. Deliveries that take too long on the wall are
//! the sign: GitHub's webhooks take a second or so, and a door that takes many simulated ones distorts what is shown.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::HttpCounts;
use crate::clock::ScaledClock;

/// How fast it goes at most once all jobs have arrived.
pub const CATCH_UP_SPEED: f64 = 240.0;
/// A delivery that takes longer than this in simulated time is a sign that the host cannot follow.
const SLOW: Duration = Duration::from_secs(20);
/// After a change of speed the next one waits for this long on the wall.
const SETTLE: Duration = Duration::from_secs(1);
/// It never goes slower than this.
const SLOWEST: f64 = 1.0;

/// Sets the clock's speed.
pub struct Pace {
    clock: ScaledClock,
    wanted: f64,
    changed_at: Instant,
    slowed: bool,
}

impl Pace {
    /// At the speed that was asked for.
    pub fn new(clock: ScaledClock, wanted: f64) -> Pace {
        Pace { clock, wanted, changed_at: Instant::now(), slowed: false }
    }

    /// The speed now.
    pub fn speed(&self) -> f64 {
        self.clock.speed()
    }

    /// Whether the host could not follow at some time.
    pub fn slowed(&self) -> bool {
        self.slowed
    }

    /// Looks how the door keeps up, and changes the speed if it has to; says so if it slows down.
    pub fn adapt(&mut self, arriving: bool, counts: &HttpCounts) -> Option<String> {
        if self.changed_at.elapsed() < SETTLE {
            return None;
        }
        let speed = self.clock.speed();
        let slowest = Duration::from_micros(counts.slowest_us.swap(0, Ordering::Relaxed)).mul_f64(speed);
        let most = if arriving { self.wanted } else { self.wanted.max(CATCH_UP_SPEED) };
        self.changed_at = Instant::now();
        if slowest > SLOW && speed > SLOWEST {
            let slower = (speed / 1.5).max(SLOWEST);
            self.clock.set_speed(slower);
            self.slowed |= arriving;
            return Some(format!(
                "this host cannot keep up at x{speed:.0} (a webhook took {:.0} simulated seconds): slowing down to \
                 x{slower:.0}",
                slowest.as_secs_f64()
            ));
        }
        if speed < most && slowest < SLOW / 2 {
            self.clock.set_speed((speed * 1.5).min(most));
        }
        None
    }
}
