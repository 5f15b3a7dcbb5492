//! Finished jobs, small: what is enough for a late or repeated event to merge into a finished record.
//!
//! What may not live here: labels, names and runners; an event that brings them wins the merge anyway.
//!
//! Invariant: a tombstone reads back as a record that is over, with its end, its `demanded_at` and its start.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::ids::{JobId, JobKey, RunId};
use muster_core::job::{Completed, Conclusion, JobAbout, JobRecord, Queued, Started};
use muster_core::time::Timestamp;

use crate::retention::over_since;

/// How many fresh tombstones are gathered before they join the sorted ones, at least.
const FRESH_MIN: usize = 1_024;
/// One in how many tombstones may be a fresh one: bounds both the sorting and the space that trees waste.
const FRESH_SHARE: usize = 16;
/// Stands for "no such instant" among the offsets.
const NONE: i32 = i32::MIN;

/// One finished job.
#[derive(Clone, Copy, Debug)]
struct Tombstone {
    job: i64,
    first_heard: i64,
    completed_at: i64,
    attempt: u32,
    /// Milliseconds from `completed_at`; beyond 24 days the nearest that fits.
    demanded: i32,
    /// Milliseconds from `completed_at`; beyond 24 days the nearest that fits.
    started: i32,
    conclusion: u8,
}

const _: () = assert!(size_of::<Tombstone>() == 40);

fn offset(at: Option<Timestamp>, base: i64) -> i32 {
    let Some(at) = at else { return NONE };
    let span = at.unix_ms().saturating_sub(base).clamp(i64::from(NONE + 1), i64::from(i32::MAX));
    i32::try_from(span).unwrap_or(i32::MAX)
}

fn instant(offset: i32, base: i64) -> Option<Timestamp> {
    (offset != NONE).then(|| Timestamp::from_unix_ms(base.saturating_add(i64::from(offset))))
}

fn code(conclusion: &Conclusion) -> u8 {
    match conclusion {
        Conclusion::Success => 0,
        Conclusion::Skipped => 1,
        Conclusion::Neutral => 2,
        Conclusion::ActionRequired => 3,
        Conclusion::Cancelled => 4,
        Conclusion::TimedOut => 5,
        Conclusion::Failure => 6,
        Conclusion::Other(_) => 7,
    }
}

fn conclusion(code: u8) -> Conclusion {
    match code {
        0 => Conclusion::Success,
        1 => Conclusion::Skipped,
        2 => Conclusion::Neutral,
        3 => Conclusion::ActionRequired,
        4 => Conclusion::Cancelled,
        5 => Conclusion::TimedOut,
        6 => Conclusion::Failure,
        _ => Conclusion::Other("other".into()),
    }
}

impl Tombstone {
    /// `None` if the job is not over.
    fn of(record: &JobRecord) -> Option<Tombstone> {
        let completed = record.completed.as_ref()?;
        let base = completed.completed_at.unix_ms();
        Some(Tombstone {
            job: record.key.job.0,
            first_heard: record.first_heard.unix_ms(),
            completed_at: base,
            attempt: record.key.attempt,
            demanded: offset(record.demanded_at(), base),
            started: offset(record.started_at(), base),
            conclusion: code(&completed.conclusion),
        })
    }

    fn key(&self) -> JobKey {
        JobKey { job: JobId(self.job), attempt: self.attempt }
    }

    fn over_since(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.completed_at.max(self.first_heard))
    }

    fn record(&self, about: &JobAbout) -> JobRecord {
        let first_heard = Timestamp::from_unix_ms(self.first_heard);
        let demanded = instant(self.demanded, self.completed_at);
        let started = instant(self.started, self.completed_at);
        JobRecord {
            key: self.key(),
            about: about.clone(),
            first_heard,
            // As creation and as approval: so it stands, whatever creation a later event tells.
            queued: demanded.map(|at| Queued { created_at: Some(at), approved_at: Some(at), received_at: first_heard }),
            waiting: None,
            started: started.map(|started_at| Started { started_at, runner: None }),
            completed: Some(Completed {
                completed_at: Timestamp::from_unix_ms(self.completed_at),
                conclusion: conclusion(self.conclusion),
                started_at: None,
                runner: None,
            }),
            stall: None,
        }
    }
}

/// All finished jobs, by key: a sorted row, which wastes nothing, and a small tree of the latest.
#[derive(Debug)]
pub(super) struct Tombstones {
    sorted: Vec<Tombstone>,
    fresh: BTreeMap<JobKey, Tombstone>,
    /// What a tombstone says of a job: less than any event does, so that an event's word wins.
    about: JobAbout,
}

impl Default for Tombstones {
    fn default() -> Self {
        let about = JobAbout {
            run: RunId(0),
            repository: Arc::from(""),
            public: false,
            labels: Arc::from([]),
            workflow: None,
            name: None,
        };
        Tombstones { sorted: Vec::new(), fresh: BTreeMap::new(), about }
    }
}

impl Tombstones {
    /// Keeps a finished job. `false` if it is not over, and nothing was kept.
    pub(super) fn put(&mut self, record: &JobRecord) -> bool {
        let Some(tombstone) = Tombstone::of(record) else {
            return false;
        };
        debug_assert_eq!(over_since(record), Some(tombstone.over_since()));
        if let Ok(at) = self.place(record.key) {
            self.sorted[at] = tombstone;
        } else {
            self.fresh.insert(record.key, tombstone);
            if self.fresh.len() > FRESH_MIN.max(self.sorted.len() / FRESH_SHARE) {
                self.settle();
            }
        }
        true
    }

    /// The finished record of this job.
    pub(super) fn get(&self, key: JobKey) -> Option<JobRecord> {
        let found = match self.place(key) {
            Ok(at) => self.sorted.get(at),
            Err(_) => self.fresh.get(&key),
        };
        found.map(|tombstone| tombstone.record(&self.about))
    }

    /// Whether this job is remembered.
    pub(super) fn contains(&self, key: JobKey) -> bool {
        self.place(key).is_ok() || self.fresh.contains_key(&key)
    }

    /// Forgets this job.
    pub(super) fn remove(&mut self, key: JobKey) {
        if self.fresh.remove(&key).is_none()
            && let Ok(at) = self.place(key)
        {
            self.sorted.remove(at);
        }
    }

    /// The keys behind `after`, in order, at most `max`.
    pub(super) fn keys_after(&self, after: Option<JobKey>, max: usize) -> Vec<JobKey> {
        let from = after.map_or(0, |after| self.sorted.partition_point(|t| t.key() <= after));
        let sorted = self.sorted[from..].iter().take(max).map(Tombstone::key);
        let fresh = self.fresh.keys().copied().filter(|key| after.is_none_or(|after| *key > after)).take(max);
        let mut keys: Vec<JobKey> = sorted.chain(fresh).collect();
        keys.sort_unstable();
        keys.truncate(max);
        keys
    }

    /// Forgets what was over before `cutoff`, and says how many.
    pub(super) fn prune(&mut self, cutoff: Timestamp) -> usize {
        let before = self.len();
        self.sorted.retain(|tombstone| tombstone.over_since() >= cutoff);
        self.fresh.retain(|_, tombstone| tombstone.over_since() >= cutoff);
        before - self.len()
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len() + self.fresh.len()
    }

    fn place(&self, key: JobKey) -> Result<usize, usize> {
        self.sorted.binary_search_by(|tombstone| tombstone.key().cmp(&key))
    }

    fn settle(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        self.sorted.reserve_exact(fresh.len());
        self.sorted.extend(fresh.into_values());
        self.sorted.sort_unstable_by_key(Tombstone::key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(job: i64, at: i64) -> JobRecord {
        let key = JobKey { job: JobId(job), attempt: 1 };
        let completed = Completed {
            completed_at: Timestamp::from_unix_ms(at),
            conclusion: Conclusion::Failure,
            started_at: None,
            runner: None,
        };
        JobRecord {
            key,
            about: Tombstones::default().about,
            first_heard: Timestamp::from_unix_ms(at - 9_000),
            queued: Some(Queued {
                created_at: Some(Timestamp::from_unix_ms(at - 10_000)),
                approved_at: None,
                received_at: Timestamp::from_unix_ms(at - 9_000),
            }),
            waiting: None,
            started: Some(Started { started_at: Timestamp::from_unix_ms(at - 4_000), runner: None }),
            completed: Some(completed),
            stall: None,
        }
    }

    #[test]
    fn what_matters_reads_back() {
        let mut tombstones = Tombstones::default();
        for job in (0..5_000).rev() {
            assert!(tombstones.put(&finished(job, 1_000_000 + job)));
        }
        for job in 0..5_000 {
            let (was, is) = (finished(job, 1_000_000 + job), tombstones.get(finished(job, 0).key).unwrap());
            assert_eq!(is.completed, was.completed);
            assert_eq!(
                (is.demanded_at(), is.started_at(), is.first_heard),
                (was.demanded_at(), was.started_at(), was.first_heard)
            );
        }
        let keys = tombstones.keys_after(Some(finished(4_989, 0).key), 100);
        assert_eq!(keys.iter().map(|key| key.job.0).collect::<Vec<_>>(), (4_990..5_000).collect::<Vec<_>>());
    }

    #[test]
    fn the_old_ones_go() {
        let mut tombstones = Tombstones::default();
        for job in 0..3_000 {
            tombstones.put(&finished(job, job));
        }
        tombstones.remove(finished(2_999, 0).key);
        assert_eq!(tombstones.prune(Timestamp::from_unix_ms(2_990)), 2_990);
        assert_eq!(tombstones.len(), 9);
        assert!(!tombstones.contains(finished(1, 0).key) && tombstones.contains(finished(2_995, 0).key));
    }
}
