//! Everybody's time but the machine's own: it can be an hour away from it.

use std::time::{Duration, SystemTime};

use muster_core::time::Timestamp;
use muster_webhook::Clock;

/// A clock that is ahead of the machine's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Skewed {
    pub(crate) ahead: Duration,
}

impl Skewed {
    /// For a `Date` header.
    pub(crate) fn date(self) -> String {
        // The format of HTTP dates, from the core's own: no other clock library is needed for a test.
        httpdate::fmt_http_date(SystemTime::now() + self.ahead)
    }
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        muster_webhook::SystemClock.now() + self.ahead
    }

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(span)
    }
}
