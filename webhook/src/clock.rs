//! The door's clock: a port, because the demo runs this same door at sixty times the speed of the wall.
//!
//! Invariant: nothing in this crate asks any other clock.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_core::time::Timestamp;

/// A clock that can be asked and waited on.
pub trait Clock: Send + Sync {
    /// What time it is.
    fn now(&self) -> Timestamp;
    /// Ready once `span` has passed on this clock.
    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send;
}

/// The wall clock, and tokio's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH + since
    }

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(span)
    }
}
