//! How long what is over is remembered.
//!
//! Invariant: retention counts from what the record itself says, so that every ledger forgets the same things at the same
//! instant.

use std::time::Duration;

use muster_core::job::JobRecord;
use muster_core::time::Timestamp;

/// How long a finished job and its facts stay: longer than GitHub lets a delivery be repeated (3 days) and a job wait
/// for approval (30 days), so that a replay finds the finished record and revives nothing.
pub const JOB_RETENTION: Duration = Duration::from_secs(35 * 24 * 3600);

/// Since when a job is over, for retention: its end, or when we first heard of it if that is later (an old delivery that
/// was sent again). `None` while it is not over.
pub fn over_since(record: &JobRecord) -> Option<Timestamp> {
    record.completed.as_ref().map(|completed| completed.completed_at.max(record.first_heard))
}

/// What is older than this may go, [`JOB_RETENTION`] before `now`.
pub fn cutoff(now: Timestamp) -> Timestamp {
    now - JOB_RETENTION
}
