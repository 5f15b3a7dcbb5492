//! The `[fleet]` and `[metrics]` sections: what holds for all pools.
//!
//! What lives here: caps, target, time zone, metric dimensions. What may not: anything of one pool.
//!
//! Invariant: an absent cap is no cap.

use std::fmt;
use std::time::Duration;

use super::market::Dimension;

/// The `[fleet]` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Its name: tags, metric properties, runner names.
    pub name: String,
    /// Instances launched and not terminated, booting included, standby excluded. `None`: no cap.
    pub max_runners: Option<u32>,
    /// Cap on the sum of hourly prices of the same set, in US dollars. `None`: no cap.
    pub budget_usd_per_hour: Option<f64>,
    /// What share of jobs is to start within what time. `None`: only the bounds hold.
    pub queue_time_target: Option<QueueTimeTarget>,
    /// The IANA name of the time zone of all schedules.
    pub time_zone: String,
}

/// A target such as `p95 < 15s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueTimeTarget {
    /// Percent of jobs, 1 to 99.
    pub percentile: u8,
    /// They start within this time.
    pub within: Duration,
}

impl fmt::Display for QueueTimeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{} < {}s", self.percentile, self.within.as_secs_f64())
    }
}

/// The `[metrics]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Dimensions opted in to, beyond the free ones.
    pub dimensions: Vec<Dimension>,
}
