//! Where a row is: partition and sort key of every kind of row.
//!
//! Facts and jobs are spread over [`SHARDS`] partitions each, by the job or the instance that they are about, because one
//! partition takes 1,000 write units a second. The rest is small, and each kind has one partition.
//!
//! Invariant: a row's key follows from its content alone and never changes: an older Muster's rows are found.

use muster_core::ids::{InstanceId, JobId, JobKey};
use muster_core::launch::Offering;
use sha2::{Digest, Sha256};

/// The partition key's attribute.
pub const PARTITION: &str = "pk";
/// The sort key's attribute.
pub const SORT: &str = "sk";
/// The local secondary index, and the number that it is sorted by. Sparse: only what is still to be dealt with has it
/// (facts that no tick has merged, jobs that are not over, claims without a registration).
pub const LIVE: &str = "live";
/// When DynamoDB may forget a row: seconds since the Unix epoch.
pub const EXPIRES: &str = "expires";

/// Partitions of facts, and of jobs.
pub(super) const SHARDS: u32 = 8;
/// A sort key has at most 1,024 bytes (DynamoDB's limits); this leaves room for a hash.
const SORT_BYTES_MAX: usize = 900;

/// Whose fact a key is, in its first two words: `job:ID`, `machine:INSTANCE`, `cloud:INSTANCE`.
const WORDS_OF_SUBJECT: usize = 2;

/// A row's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowKey {
    pub(super) partition: String,
    pub(super) sort: String,
}

impl RowKey {
    fn new(partition: &str, sort: impl Into<String>) -> RowKey {
        RowKey { partition: partition.to_owned(), sort: sort.into() }
    }
}

fn shard(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes()) % SHARDS
}

/// The key itself, or its beginning and a hash of all of it.
fn bounded(key: &str) -> String {
    if key.len() <= SORT_BYTES_MAX {
        return key.to_owned();
    }
    let cut = (0..=SORT_BYTES_MAX).rev().find(|at| key.is_char_boundary(*at)).unwrap_or(0);
    format!("{}#{}", &key[..cut], hex::encode(Sha256::digest(key)))
}

fn subject(fact_key: &str) -> &str {
    let end = fact_key.match_indices(':').nth(WORDS_OF_SUBJECT - 1).map_or(fact_key.len(), |(at, _)| at);
    &fact_key[..end]
}

pub(super) fn fact(key: &str) -> RowKey {
    RowKey { partition: format!("fact#{}", shard(subject(key))), sort: bounded(key) }
}

pub(super) fn fact_partitions() -> impl Iterator<Item = String> {
    (0..SHARDS).map(|shard| format!("fact#{shard}"))
}

/// The partition of a job's facts, and what their sort keys begin with.
pub(super) fn facts_of_job(job: JobId) -> RowKey {
    let subject = format!("job:{job}");
    RowKey { partition: format!("fact#{}", shard(&subject)), sort: format!("{subject}:") }
}

/// Jobs sort by their number, also as text.
pub(super) fn job_sort(key: JobKey) -> String {
    const SIGN: u64 = 1 << 63;
    format!("{:016x}#{:010}", key.job.0.cast_unsigned() ^ SIGN, key.attempt)
}

pub(super) fn job(key: JobKey) -> RowKey {
    RowKey { partition: format!("job#{}", shard(&key.job.to_string())), sort: job_sort(key) }
}

pub(super) fn job_partitions() -> impl Iterator<Item = String> {
    (0..SHARDS).map(|shard| format!("job#{shard}"))
}

pub(super) const MACHINES: &str = "machines";
pub(super) const LAUNCHES: &str = "launches";
pub(super) const HOLDS: &str = "holds";
pub(super) const CLAIMS: &str = "claims";
pub(super) const ORDERS: &str = "orders";
pub(super) const LEASES: &str = "leases";
pub(super) const ONCE: &str = "once";
const NOTES: &str = "notes";
const META: &str = "meta";

pub(super) fn of_instance(kind: &str, instance: &InstanceId) -> RowKey {
    RowKey::new(kind, instance.as_str())
}

pub(super) fn launch(id: &str) -> RowKey {
    RowKey::new(LAUNCHES, id)
}

pub(super) fn hold(offering: &Offering) -> RowKey {
    RowKey::new(HOLDS, format!("{} {} {}", offering.shape, offering.zone, offering.market.as_str()))
}

pub(super) fn once(key: &str) -> RowKey {
    RowKey::new(ONCE, bounded(key))
}

/// Notes have a partition of their own, apart from what the scaler lives by: whoever may write them may write nothing
/// else.
pub(super) fn note(name: &str) -> RowKey {
    RowKey::new(NOTES, bounded(name))
}

/// The ledger's word and its generation.
pub(super) fn generation() -> RowKey {
    RowKey::new(META, "generation")
}

/// The switch and the last good configuration are rows of their own: to write one must not meet a commit.
pub(super) fn switch() -> RowKey {
    RowKey::new(META, "switch")
}

pub(super) fn config() -> RowKey {
    RowKey::new(META, "config")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_facts_of_a_job_are_in_one_place() {
        let place = facts_of_job(JobId(41));
        let one = fact("job:41:1:queued:1:-");
        assert_eq!(one.partition, place.partition);
        assert!(one.sort.starts_with(&place.sort));
        assert!(!fact("job:411:1:waiting").sort.starts_with(&place.sort));
    }

    #[test]
    fn jobs_sort_as_their_numbers_do() {
        let numbers = [i64::MIN, -7, 0, 9, 10, i64::MAX];
        let keys = numbers.map(|job| job_sort(JobKey { job: JobId(job), attempt: 1 }));
        assert!(keys.is_sorted(), "{keys:?}");
        let attempts = [1, 2, 10, u32::MAX].map(|attempt| job_sort(JobKey { job: JobId(1), attempt }));
        assert!(attempts.is_sorted(), "{attempts:?}");
    }

    #[test]
    fn a_long_key_fits_and_stays_itself() {
        let long = format!("job:1:1:completed:1:{}", "ü".repeat(3_000));
        let other = format!("{long}x");
        let (one, two) = (fact(&long), fact(&other));
        assert!(one.sort.len() <= 1_024 && one.sort.starts_with("job:1:1:completed"), "{}", one.sort.len());
        assert_ne!(one, two);
        assert_eq!(fact(&long), one);
        assert_eq!(fact("weather").sort, "weather");
    }
}
