//! What people and housekeeping ask of a ledger, beyond what a tick needs.

use std::future::Future;

use muster_core::fact::Fact;
use muster_core::ids::{InstanceId, JobKey};
use muster_core::job::JobRecord;
use muster_core::ports::{Put, Store, StoreError};
use muster_core::time::Timestamp;

/// How many records [`Upkeep::ledger`] asks for at once.
const LEDGER_PAGE: usize = 1_000;

/// A fact that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its place in the ledger.
    pub seq: i64,
    /// Its key.
    pub key: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// What was stored.
    pub body: String,
    /// Why it was set aside.
    pub reason: String,
}

/// What [`Upkeep::prune`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Finished jobs.
    pub jobs: u64,
    /// Facts.
    pub facts: u64,
    /// One-time keys.
    pub once: u64,
    /// Holds that had ended.
    pub holds: u64,
    /// Claims, orders and leases of machines that the ledger does not know.
    pub orphans: u64,
}

/// How many rows there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Facts that no tick has merged or set aside.
    pub facts_new: u64,
    /// Facts that are merged and still kept.
    pub facts_merged: u64,
    /// Facts that were set aside.
    pub facts_set_aside: u64,
    /// Jobs that are not over.
    pub jobs_open: u64,
    /// Jobs that are over and still remembered.
    pub jobs_over: u64,
    /// Machines.
    pub machines: u64,
    /// Launches without an outcome.
    pub launches: u64,
    /// Holds.
    pub holds: u64,
    /// Claims.
    pub claims: u64,
    /// Machines with an order.
    pub orders: u64,
    /// Machines that were heard of.
    pub leases: u64,
    /// One-time keys.
    pub once: u64,
}

/// A ledger that people can look into and that can be kept small.
pub trait Upkeep: Store {
    /// Forgets what no longer matters at `now`: jobs that were over for [`JOB_RETENTION`](crate::JOB_RETENTION); facts
    /// that were merged or set aside, are as old as that, and whose job is forgotten too (in the order in which they came,
    /// up to the first younger one); one-time keys past their `until`; holds that have ended; and claims, orders and
    /// leases that old of machines that the ledger does not know. Does not raise the generation.
    fn prune(&self, now: Timestamp) -> impl Future<Output = Result<Pruned, StoreError>> + Send;

    /// Jobs in the order of their keys, finished ones too, at most `max`, beginning behind `after`. Facts that no tick
    /// has merged yet are merged into the answer: every fact that was put shows.
    fn ledger_page(
        &self,
        after: Option<JobKey>,
        max: usize,
    ) -> impl Future<Output = Result<Vec<JobRecord>, StoreError>> + Send;

    /// All jobs, as [`Upkeep::ledger_page`] gives them.
    fn ledger(&self) -> impl Future<Output = Result<Vec<JobRecord>, StoreError>> + Send {
        async {
            let mut all = Vec::new();
            loop {
                let after = all.last().map(|record: &JobRecord| record.key);
                let page = self.ledger_page(after, LEDGER_PAGE).await?;
                if page.is_empty() {
                    return Ok(all);
                }
                all.extend(page);
            }
        }
    }

    /// Facts that were set aside, oldest first, at most `max`.
    fn set_aside(&self, max: usize) -> impl Future<Output = Result<Vec<SetAside>, StoreError>> + Send;

    /// The fact stored under this key; `None` if there is none, or it does not read.
    fn fact_by_key(&self, key: &str) -> impl Future<Output = Result<Option<Fact>, StoreError>> + Send;

    /// Stores the body of a fact as text, without asking whether it reads: what another version of Muster wrote.
    fn put_raw(
        &self,
        key: &str,
        received_at: Timestamp,
        body: &str,
    ) -> impl Future<Output = Result<Put, StoreError>> + Send;

    /// When this machine was last heard of.
    fn lease(&self, instance: &InstanceId) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send;

    /// How many rows there are of each kind. Counts: not for every tick.
    fn counts(&self) -> impl Future<Output = Result<Counts, StoreError>> + Send;
}
