//! Queries, and what a scaler starts from.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures_util::future::try_join_all;
use muster_core::ids::JobKey;
use muster_core::job::JobRecord;
use muster_core::launch::Hold;
use muster_core::ports::{Snapshot, Store, StoreError};
use serde::de::DeserializeOwned;

use super::DynamoLedger;
use super::keys::{self, HOLDS, LAUNCHES, LIVE, MACHINES};
use super::row::{self, Row, get_record, names, text, values};
use super::table::incomplete;
use super::trouble::told;

/// `BatchGetItem` takes this many keys (DynamoDB's limits).
const KEYS_MAX: usize = 100;
/// So often the rest of such a call is asked for. Each answer holds 16 MB, far more than that many rows of ours have: to
/// ask again at all means that the table is throttled.
const ROUNDS_MAX: usize = 5;

/// Which rows of a partition, in the order of their sort keys except for `Live`.
pub(super) enum Which {
    All,
    /// What is still to be dealt with, in the order of the index.
    Live,
    /// Sort keys that begin so.
    Beginning(String),
    /// Sort keys behind this one.
    After(String),
    /// With this attribute. Reads the whole partition.
    Having(&'static str),
}

impl Which {
    fn key_condition(&self) -> &'static str {
        match self {
            Which::All | Which::Live | Which::Having(_) => "#pk = :pk",
            Which::Beginning(_) => "#pk = :pk AND begins_with(#sk, :sk)",
            Which::After(_) => "#pk = :pk AND #sk > :sk",
        }
    }

    fn sort(&self) -> Option<AttributeValue> {
        match self {
            Which::All | Which::Live | Which::Having(_) => None,
            Which::Beginning(sort) | Which::After(sort) => Some(text(sort)),
        }
    }
}

/// The records of rows. One that does not read must not hide the others: it is named in `unreadable`.
fn readable<T: DeserializeOwned>(rows: &[Row], unreadable: &mut Vec<String>) -> Vec<T> {
    let read = rows.iter().filter_map(|row| match get_record(row) {
        Ok(record) => Some(record),
        Err(error) => {
            unreadable.push(error.to_string());
            None
        }
    });
    read.collect()
}

impl DynamoLedger {
    /// Rows of one partition, at most `max`.
    pub(super) async fn query(
        &self,
        what: &str,
        partition: &str,
        which: Which,
        max: Option<usize>,
    ) -> Result<Vec<Row>, StoreError> {
        let condition = which.key_condition();
        let index = matches!(which, Which::Live).then(|| LIVE.to_owned());
        let filter =
            if let Which::Having(attribute) = &which { Some(format!("attribute_exists(#{attribute})")) } else { None };
        let sort = which.sort().map(|sort| (":sk", sort));
        let with: Vec<_> = [(":pk", text(partition))].into_iter().chain(sort).collect();
        let (mut rows, mut from): (Vec<Row>, Option<Row>) = (Vec::new(), None);
        loop {
            let wanted = max.map(|max| max.saturating_sub(rows.len()));
            if wanted == Some(0) {
                return Ok(rows);
            }
            // A limit counts what is read and not what passes the filter. One that is too large for its type is none.
            let limit = wanted.filter(|_| filter.is_none()).and_then(|wanted| i32::try_from(wanted).ok());
            let query = self.client.query().table_name(&self.table).consistent_read(true).set_index_name(index.clone());
            let query = query.key_condition_expression(condition).set_filter_expression(filter.clone());
            let query =
                query.set_expression_attribute_names(names(&[condition, filter.as_deref().unwrap_or_default()]));
            let query = query.set_expression_attribute_values(values(with.clone()));
            let query = query.set_limit(limit).set_exclusive_start_key(from);
            let answer = query.send().await.map_err(|error| told(&self.table, what, &error))?;
            rows.extend(answer.items.unwrap_or_default());
            rows.truncate(max.unwrap_or(usize::MAX));
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Rows of many partitions, at most `max` of each.
    pub(super) async fn query_all(
        &self,
        what: &str,
        partitions: impl Iterator<Item = String> + Send,
        which: impl Fn(&str) -> Which + Send,
        max: Option<usize>,
    ) -> Result<Vec<Row>, StoreError> {
        let one = |partition: String| {
            let which = which(&partition);
            async move { self.query(what, &partition, which, max).await }
        };
        Ok(try_join_all(partitions.map(one)).await?.into_iter().flatten().collect())
    }

    /// Everything that lives. The generation comes first: if somebody commits while this reads, the first commit of
    /// whoever goes on from the answer is refused.
    pub(super) async fn read_all(&self) -> Result<Snapshot, StoreError> {
        let (ledger, generation) = self.meta().await?;
        let switch = self.switch().await?;
        let (live, what) = (|_: &str| Which::Live, "loading the jobs");
        let mut unreadable = Vec::new();
        let jobs = self.query_all(what, keys::job_partitions(), live, None).await?;
        let mut jobs: Vec<JobRecord> = readable(&jobs, &mut unreadable);
        jobs.sort_by_key(|job| job.key);
        let machines = self.query("loading the machines", MACHINES, Which::All, None).await?;
        let launches = self.query("loading the launches", LAUNCHES, Which::All, None).await?;
        let holds = self.query("loading the holds", HOLDS, Which::All, None).await?;
        let mut holds: Vec<Hold> = readable(&holds, &mut unreadable);
        holds.sort_by(|a, b| a.offering.cmp(&b.offering));
        let machines = readable(&machines, &mut unreadable);
        let launches = readable(&launches, &mut unreadable);
        Ok(Snapshot { ledger, generation, switch, jobs, machines, launches, holds, unreadable })
    }

    /// Records of these jobs, in the order in which they are asked for; those that do not read are left out.
    pub(super) async fn read_jobs(&self, keys: &[JobKey]) -> Result<Vec<JobRecord>, StoreError> {
        let mut unique = keys.to_vec();
        unique.sort_unstable();
        unique.dedup();
        let mut found = BTreeMap::new();
        for chunk in unique.chunks(KEYS_MAX) {
            for row in self.batch_get(chunk).await? {
                if let Ok(record) = get_record::<JobRecord>(&row) {
                    found.insert(record.key, record);
                }
            }
        }
        Ok(keys.iter().filter_map(|key| found.get(key).cloned()).collect())
    }

    async fn batch_get(&self, jobs: &[JobKey]) -> Result<Vec<Row>, StoreError> {
        let keys: Vec<Row> = jobs.iter().map(|key| row::key(&keys::job(*key))).collect();
        let (mut keys, mut rows) = (Some(keys), Vec::new());
        for _ in 0..ROUNDS_MAX {
            let Some(asked) = keys.take().filter(|keys| !keys.is_empty()) else { return Ok(rows) };
            let asked = KeysAndAttributes::builder().set_keys(Some(asked)).consistent_read(true).build();
            let call = self.client.batch_get_item().request_items(&self.table, asked.map_err(incomplete)?);
            let answer = call.send().await.map_err(|error| told(&self.table, "reading jobs", &error))?;
            rows.extend(answer.responses.unwrap_or_default().into_values().flatten());
            let rest = answer.unprocessed_keys.and_then(|mut rest| rest.remove(&self.table));
            keys = rest.map(|rest| rest.keys);
        }
        match keys.filter(|keys| !keys.is_empty()) {
            None => Ok(rows),
            Some(_) => Err(StoreError::Unavailable(format!(
                "DynamoDB table {}: reading jobs: it is throttled; on-demand capacity grows within minutes",
                self.table
            ))),
        }
    }

    /// Jobs behind `after`, with what is not merged yet.
    pub(super) async fn read_page(&self, after: Option<JobKey>, max: usize) -> Result<Vec<JobRecord>, StoreError> {
        let which = |_: &str| after.map_or(Which::All, |after| Which::After(keys::job_sort(after)));
        let rows = self.query_all("reading jobs", keys::job_partitions(), which, Some(max)).await?;
        let records = rows.iter().map(get_record).collect::<Result<Vec<JobRecord>, _>>()?;
        let mut page: BTreeMap<JobKey, JobRecord> = records.into_iter().map(|record| (record.key, record)).collect();
        // A job whose record is not in the page is behind `max` others of its partition: what is told of it here is cut.
        for (event, received_at) in self.new_about_jobs().await? {
            if after.is_some_and(|after| event.key <= after) {
                continue;
            }
            let told = JobRecord::from_event(&event, received_at);
            page.entry(event.key).and_modify(|record| record.merge(&told)).or_insert(told);
        }
        Ok(page.into_values().take(max).collect())
    }
}
