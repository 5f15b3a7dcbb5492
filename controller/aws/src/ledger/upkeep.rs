//! Forgetting and counting, by looking at every row.
//!
//! In production DynamoDB's own expiry forgets what has an `expires`: facts, jobs, one-time keys, holds. This does it
//! exactly, to the millisecond, and finds what no row says of itself: that its machine is gone.
//!
//! Invariant: a row goes only on the condition that it is still what was read.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use muster_core::ids::InstanceId;
use muster_core::launch::HOLD_KEPT;
use muster_core::ports::StoreError;
use muster_core::time::Timestamp;
use muster_store::{Counts, Pruned, cutoff};

use super::DynamoLedger;
use super::batch::OVER_SINCE;
use super::claims::{CLAIMED_AT, HEARD_AT, UNTIL};
use super::facts::{self, MERGED, REASON, RECEIVED_AT, SEQ};
use super::keys::{self, CLAIMS, HOLDS, LAUNCHES, LEASES, MACHINES, ONCE, ORDERS, PARTITION, RowKey, SORT};
use super::row::{self, RECORD, Row, get_at, get_number, get_text, names, number, text, values};
use super::trouble::told;

/// So many rows are removed at the same time.
const AT_ONCE: usize = 16;

/// A row that may go, and what must still be true of it then.
#[derive(Clone)]
struct Old {
    at: RowKey,
    condition: &'static str,
    with: Vec<(&'static str, AttributeValue)>,
}

impl Old {
    fn new(row: &Row, condition: &'static str, with: Vec<(&'static str, AttributeValue)>) -> Result<Old, StoreError> {
        Ok(Old { at: key_of(row)?, condition, with })
    }
}

/// A judged fact, old enough to go.
struct OldFact {
    seq: i64,
    old: Old,
    job: Option<RowKey>,
}

/// What a look at everything has found.
#[derive(Default)]
struct Found {
    jobs: Vec<Old>,
    jobs_kept: BTreeSet<RowKey>,
    facts: Vec<OldFact>,
    /// The place of the first fact that is young.
    first_young: Option<i64>,
    once: Vec<Old>,
    holds: Vec<Old>,
    machines: BTreeSet<String>,
    /// Claims, leases and orders, if nobody knows their machines.
    left: Vec<Old>,
}

fn key_of(row: &Row) -> Result<RowKey, StoreError> {
    Ok(RowKey { partition: get_text(row, PARTITION)?.to_owned(), sort: get_text(row, SORT)?.to_owned() })
}

impl Found {
    fn look(&mut self, row: &Row, now: Timestamp) -> Result<(), StoreError> {
        let key = key_of(row)?;
        let is_before = |attribute: &str, limit: Timestamp| get_at(row, attribute).map(|at| at < limit);
        let limit = |at: Timestamp| vec![(":limit", number(at.unix_ms()))];
        let long_ago = cutoff(now);
        match kind(&key.partition) {
            Kind::Fact => {
                let seq = get_number(row, SEQ)?;
                if !is_before(RECEIVED_AT, long_ago)? {
                    self.first_young = Some(self.first_young.map_or(seq, |first| first.min(seq)));
                } else if row.contains_key(MERGED) || row.contains_key(REASON) {
                    let job = facts::subject(row)?.map(keys::job);
                    let old = Old::new(row, "attribute_exists(#seq)", Vec::new())?;
                    self.facts.push(OldFact { seq, old, job });
                }
            }
            Kind::Job if row.contains_key(OVER_SINCE) && is_before(OVER_SINCE, long_ago)? => {
                self.jobs.push(Old::new(row, "#over_since < :limit", limit(long_ago))?);
            }
            Kind::Job => drop(self.jobs_kept.insert(key)),
            Kind::Of(ONCE) if is_before(UNTIL, now)? => self.once.push(Old::new(row, "#until < :limit", limit(now))?),
            Kind::Of(HOLDS) if is_before(UNTIL, now - HOLD_KEPT)? => {
                self.holds.push(Old::new(row, "#until < :limit", limit(now - HOLD_KEPT))?);
            }
            Kind::Of(MACHINES) => drop(self.machines.insert(key.sort)),
            Kind::Of(CLAIMS) if is_before(CLAIMED_AT, long_ago)? => {
                self.left.push(Old::new(row, "#claimed_at < :limit", limit(long_ago))?);
            }
            Kind::Of(LEASES) if is_before(HEARD_AT, long_ago)? => {
                self.left.push(Old::new(row, "#heard_at < :limit", limit(long_ago))?);
            }
            Kind::Of(ORDERS) => {
                let same =
                    vec![(":record", text(get_text(row, RECORD)?)), (":seq", number(get_number::<i64>(row, SEQ)?))];
                self.left.push(Old::new(row, "#record = :record AND #seq = :seq", same)?);
            }
            Kind::Of(_) => {}
        }
        Ok(())
    }

    /// Facts that may go: in the order in which they came, up to the first young one, when their job is gone.
    fn facts(&mut self) -> Vec<Old> {
        let facts = std::mem::take(&mut self.facts).into_iter();
        let before = |seq| self.first_young.is_none_or(|young| seq < young);
        let gone = |job: &Option<RowKey>| job.as_ref().is_none_or(|job| !self.jobs_kept.contains(job));
        facts.filter(|fact| before(fact.seq) && gone(&fact.job)).map(|fact| fact.old).collect()
    }
}

/// What a row is, by its partition.
enum Kind<'p> {
    Fact,
    Job,
    Of(&'p str),
}

fn kind(partition: &str) -> Kind<'_> {
    match partition.split_once('#') {
        Some(("fact", _)) => Kind::Fact,
        Some(("job", _)) => Kind::Job,
        _ => Kind::Of(partition),
    }
}

impl DynamoLedger {
    /// Looks at every row, page by page.
    async fn look_at_all(
        &self,
        what: &str,
        mut look: impl FnMut(&Row) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut from = None;
        loop {
            let scan = self.client.scan().table_name(&self.table).consistent_read(true).set_exclusive_start_key(from);
            let answer = scan.send().await.map_err(|error| told(&self.table, what, &error))?;
            answer.items().iter().try_for_each(&mut look)?;
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(());
            }
        }
    }

    pub(super) async fn forget_old(&self, now: Timestamp) -> Result<Pruned, StoreError> {
        let mut found = Found::default();
        self.look_at_all("looking for what is over", |row| found.look(row, now)).await?;
        let facts = found.facts();
        let mut orphans = Vec::new();
        for old in found.left {
            // The rows were not read at one moment: a machine may have come since. Its own row comes first.
            let instance = InstanceId::new(old.at.sort.as_str());
            let machine = keys::of_instance(MACHINES, &instance);
            if !found.machines.contains(&old.at.sort) && self.get("reading a machine", &machine).await?.is_none() {
                orphans.push(old);
            }
        }
        Ok(Pruned {
            jobs: self.remove(found.jobs).await?,
            facts: self.remove(facts).await?,
            once: self.remove(found.once).await?,
            holds: self.remove(found.holds).await?,
            orphans: self.remove(orphans).await?,
        })
    }

    /// Removes rows that are still what they were; says how many.
    async fn remove(&self, all: Vec<Old>) -> Result<u64, StoreError> {
        let mut removed = 0;
        for some in all.chunks(AT_ONCE) {
            removed += try_join_all(some.iter().map(|old| self.remove_one(old))).await?.into_iter().sum::<u64>();
        }
        Ok(removed)
    }

    async fn remove_one(&self, old: &Old) -> Result<u64, StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(row::key(&old.at)));
        let delete = delete.condition_expression(old.condition);
        let delete = delete.set_expression_attribute_names(names(&[old.condition]));
        let delete = delete.set_expression_attribute_values(values(old.with.clone()));
        match delete.send().await {
            Ok(_) => Ok(1),
            // Somebody has written it, or is writing it: it is not over.
            Err(SdkError::ServiceError(answer))
                if matches!(
                    answer.err().code(),
                    Some("ConditionalCheckFailedException" | "TransactionConflictException")
                ) =>
            {
                Ok(0)
            }
            Err(error) => Err(told(&self.table, "removing what is over", &error)),
        }
    }

    pub(super) async fn count_rows(&self) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        self.look_at_all("counting", |row| {
            let key = key_of(row)?;
            let count = match kind(&key.partition) {
                Kind::Fact if row.contains_key(MERGED) => &mut counts.facts_merged,
                Kind::Fact if row.contains_key(REASON) => &mut counts.facts_set_aside,
                Kind::Fact => &mut counts.facts_new,
                Kind::Job if row.contains_key(OVER_SINCE) => &mut counts.jobs_over,
                Kind::Job => &mut counts.jobs_open,
                Kind::Of(MACHINES) => &mut counts.machines,
                Kind::Of(LAUNCHES) => &mut counts.launches,
                Kind::Of(HOLDS) => &mut counts.holds,
                Kind::Of(CLAIMS) => &mut counts.claims,
                Kind::Of(ORDERS) => &mut counts.orders,
                Kind::Of(LEASES) => &mut counts.leases,
                Kind::Of(ONCE) => &mut counts.once,
                Kind::Of(_) => return Ok(()),
            };
            *count += 1;
            Ok(())
        })
        .await?;
        Ok(counts)
    }
}
