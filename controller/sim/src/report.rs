//! The summary of a simulation: the JSON that `muster simulate` and `muster demo` print.
//!
//! Invariant: it holds no wall-clock value, and its numbers are rounded once, here: seconds to three decimals, dollars
//! to six.

use std::sync::Arc;

use serde::Serialize;

use crate::books::{Book, Costs, JobCounts, LaunchCounts};

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// The policy, in the command's words.
    pub policy: String,
    /// All jobs.
    pub jobs: Jobs,
    /// Queue times of all jobs that started.
    pub queue_time_s: QueueTime,
    /// All machines.
    pub cost_usd: Cost,
    /// All launches.
    pub launches: Launches,
    /// Calls to GitHub's interface.
    pub github_requests: u64,
    /// Calls to the cloud's interface.
    pub aws_requests: u64,
    /// Rules that were broken, each with its time; the first so many of them.
    pub violations: Vec<String>,
    /// The same, class by class, by labels.
    pub classes: Vec<ClassSummary>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassSummary {
    /// The labels its runners register with.
    pub class: Vec<Arc<str>>,
    /// What one of its machines costs an hour.
    pub price_usd_per_hour: f64,
    /// The jobs that it serves by resolution.
    pub jobs: Jobs,
    /// Their queue times.
    pub queue_time_s: QueueTime,
    /// Its machines.
    pub cost_usd: Cost,
    /// Its launches.
    pub launches: Launches,
}

/// What became of jobs. `queued` is the sum of the others but `skipped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Jobs {
    /// Became queued.
    pub queued: u64,
    /// Ran to their end.
    pub completed: u64,
    /// Ended by their run's cancellation.
    pub cancelled: u64,
    /// Their machine was ended by an act of ours.
    pub killed: u64,
    /// Their machine was taken by the cloud.
    pub interrupted: u64,
    /// Neither started nor cancelled in 24 h, or at the end, though capacity was possible.
    pub lost: u64,
    /// The same without any capacity.
    pub expired: u64,
    /// Never became queued.
    pub skipped: u64,
}

impl Jobs {
    /// Whether the sum is right.
    pub fn adds_up(&self) -> bool {
        let over = self.completed + self.cancelled + self.killed + self.interrupted + self.lost + self.expired;
        self.queued == over
    }
}

/// Queue times in seconds; `None` if no job started. Percentiles are by nearest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct QueueTime {
    /// The mean.
    pub mean: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// The 95th percentile.
    pub p95: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Running jobs.
    pub busy: f64,
    /// From launch to ready.
    pub boot: f64,
    /// Ready without a job, before and after.
    pub idle: f64,
    /// Stopped, standing by.
    pub standby: f64,
    /// The sum.
    pub total: f64,
}

/// Machines started or refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Launches {
    /// New instances.
    pub cold: u64,
    /// Standby instances started.
    pub standby: u64,
    /// Instances asked for and refused.
    pub failed: u64,
}

impl From<JobCounts> for Jobs {
    fn from(counts: JobCounts) -> Jobs {
        let JobCounts { queued, completed, cancelled, killed, interrupted, lost, expired, skipped } = counts;
        Jobs { queued, completed, cancelled, killed, interrupted, lost, expired, skipped }
    }
}

impl From<LaunchCounts> for Launches {
    fn from(counts: LaunchCounts) -> Launches {
        let LaunchCounts { cold, standby, failed } = counts;
        Launches { cold, standby, failed }
    }
}

impl From<Costs> for Cost {
    fn from(costs: Costs) -> Cost {
        let dollars = |usd: f64| (usd * 1e6).round() / 1e6;
        let (busy, boot) = (dollars(costs.busy.usd()), dollars(costs.boot.usd()));
        let (idle, standby) = (dollars(costs.idle.usd()), dollars(costs.standby.usd()));
        Cost { busy, boot, idle, standby, total: dollars(busy + boot + idle + standby) }
    }
}

impl QueueTime {
    /// Of queue times in milliseconds, in any order.
    pub fn of(mut waits_ms: Vec<u32>) -> QueueTime {
        waits_ms.sort_unstable();
        let Some(max) = waits_ms.last().copied() else {
            return QueueTime::default();
        };
        let seconds = |ms: f64| Some(ms.round() / 1_000.0);
        let sum: u64 = waits_ms.iter().map(|ms| u64::from(*ms)).sum();
        let rank = |percent: usize| seconds(f64::from(waits_ms[nearest_rank(waits_ms.len(), percent)]));
        QueueTime {
            mean: seconds(sum as f64 / waits_ms.len() as f64),
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
            max: seconds(f64::from(max)),
        }
    }
}

/// The place, from 0, of the nearest-rank percentile among `count` sorted values, `count` at least 1.
fn nearest_rank(count: usize, percent: usize) -> usize {
    (count * percent).div_ceil(100).clamp(1, count) - 1
}

impl ClassSummary {
    pub(crate) fn of(labels: &[Arc<str>], price_usd_per_hour: f64, book: &Book, waits_ms: Vec<u32>) -> ClassSummary {
        ClassSummary {
            class: labels.to_vec(),
            price_usd_per_hour,
            jobs: book.jobs.into(),
            queue_time_s: QueueTime::of(waits_ms),
            cost_usd: book.costs.into(),
            launches: book.launches.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let waits: Vec<u32> = (1..=200).rev().map(|n| n * 1_000).collect();
        let time = QueueTime::of(waits);
        assert_eq!((time.p50, time.p95, time.p99, time.max), (Some(100.0), Some(190.0), Some(198.0), Some(200.0)));
        assert_eq!(time.mean, Some(100.5));
        let one = QueueTime::of(vec![1_234]);
        assert_eq!((one.p50, one.p99, one.mean), (Some(1.234), Some(1.234), Some(1.234)));
        assert_eq!(
            serde_json::to_string(&QueueTime::of(vec![])).unwrap(),
            r#"{"mean":null,"p50":null,"p95":null,"p99":null,"max":null}"#
        );
    }
}
