//! Clocks for the drivers: one that runs at a multiple of the wall's speed, and one that is moved by hand.
//!
//! Invariant: everything in one process reads the same clock, so that a simulated second is the same second to the door,
//! the scaler, the registrar and the agents.

use std::future::{Future, ready};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use tokio::sync::watch;

/// The longest that a sleeper goes without looking whether the speed has changed.
const RECHECK: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
struct Pace {
    wall: Instant,
    simulated: Timestamp,
    speed: f64,
}

impl Pace {
    fn now(&self) -> Timestamp {
        self.simulated + self.wall.elapsed().mul_f64(self.speed)
    }
}

/// Simulated time: `speed` times as fast as the wall. The speed can be changed at any moment; time never jumps.
#[derive(Clone, Debug)]
pub struct ScaledClock {
    pace: Arc<Mutex<Pace>>,
    changed: watch::Sender<()>,
}

impl ScaledClock {
    /// A clock that stands at `start` now and runs at `speed`.
    pub fn starting_at(start: Timestamp, speed: f64) -> ScaledClock {
        let pace = Pace { wall: Instant::now(), simulated: start, speed };
        ScaledClock { pace: Arc::new(Mutex::new(pace)), changed: watch::Sender::new(()) }
    }

    /// The speed now.
    pub fn speed(&self) -> f64 {
        self.pace().speed
    }

    /// Goes on at another speed from here.
    pub fn set_speed(&self, speed: f64) {
        let mut pace = self.pace();
        *pace = Pace { wall: Instant::now(), simulated: pace.now(), speed };
        drop(pace);
        self.changed.send_replace(());
    }

    /// How long `span` of simulated time takes on the wall at the speed of now.
    pub fn on_the_wall(&self, span: Duration) -> Duration {
        span.div_f64(self.speed().max(f64::MIN_POSITIVE)).min(Duration::from_secs(86_400))
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> Timestamp {
        self.pace().now()
    }

    async fn sleep(&self, span: Duration) {
        let until = self.now() + span;
        let mut changed = self.changed.subscribe();
        loop {
            let now = self.now();
            if now >= until {
                return;
            }
            let wall = self.on_the_wall(until.since(now)).max(Duration::from_millis(1));
            // A change of speed ends the nap early; the loop works out the rest.
            let _ = tokio::time::timeout(wall.min(RECHECK), changed.changed()).await;
        }
    }
}

/// Virtual time: moved by its driver, and nobody waits on it.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    now: Arc<AtomicI64>,
}

impl VirtualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> VirtualClock {
        VirtualClock { now: Arc::new(AtomicI64::new(start.unix_ms())) }
    }

    /// Moves it.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.unix_ms(), Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.now.load(Ordering::Relaxed))
    }

    /// Ready at once: in virtual time a wait is an event of its own.
    fn sleep(&self, _span: Duration) -> impl Future<Output = ()> + Send {
        ready(())
    }
}
