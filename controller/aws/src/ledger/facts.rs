//! Facts: put once, told in order, judged by a commit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{JobId, JobKey};
use muster_core::job::JobEvent;
use muster_core::ports::{NewFact, Put, StoreError};
use muster_core::time::Timestamp;
use muster_store::{SetAside, job_of, read_fact};

use super::DynamoLedger;
use super::attempt::ABSENT;
use super::keys::{self, LIVE, RowKey, SORT};
use super::read::Which;
use super::row::{Row, bytes, get_at, get_number, get_text, number, place, row, text, to_json};
use super::trouble::told;

/// The place in the ledger. Kept when the fact is judged and `live` is gone.
pub(super) const SEQ: &str = "seq";
pub(super) const KEY: &str = "key";
pub(super) const RECEIVED_AT: &str = "received_at";
pub(super) const BODY: &str = "body";
/// The generation that merged it.
pub(super) const MERGED: &str = "merged";
/// Why it was set aside.
pub(super) const REASON: &str = "reason";

/// A fact as it is stored.
pub(super) struct FactRow {
    key: String,
    received_at: Timestamp,
    body: String,
}

impl FactRow {
    pub(super) fn of(fact: &Fact) -> Result<FactRow, StoreError> {
        Ok(FactRow { key: fact.key(), received_at: fact.received_at, body: to_json(&fact.body)? })
    }

    pub(super) fn raw(key: &str, received_at: Timestamp, body: &str) -> FactRow {
        FactRow { key: key.to_owned(), received_at, body: body.to_owned() }
    }
}

/// Places for facts: they rise in one process, and follow the clock so that those of several processes come about in the
/// order of arrival. The merge does not depend on it. Two processes may give the same place: see [`Places`].
#[derive(Debug, Default)]
pub(super) struct Sequence(AtomicI64);

impl Sequence {
    fn next(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX - 1);
        let rise = |last: i64| Some(now.max(last.saturating_add(1)));
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rise) {
            Ok(last) | Err(last) => now.max(last.saturating_add(1)),
        }
    }
}

/// A fact that was told: where its row is, what its expiry counts from, and how large it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) at: RowKey,
    pub(super) received_at: Timestamp,
    pub(super) bytes: usize,
}

/// The facts that were told and not judged yet, by place. Of two with the same place only one is told: the other's turn
/// comes when that one is judged.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<BTreeMap<i64, Told>>);

impl Places {
    /// Whether the fact at this place is this one.
    pub(super) fn tell(&self, seq: i64, fact: Told) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *places.entry(seq).or_insert_with(|| fact.clone()) == fact
    }

    pub(super) fn get(&self, seq: i64) -> Option<Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&seq).cloned()
    }

    pub(super) fn judged(&self, seqs: impl Iterator<Item = i64>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seqs.for_each(|seq| drop(places.remove(&seq)));
    }

    /// Whatever was told before is told again.
    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The fact of a row, or why it does not read.
pub(super) fn read(row: &Row) -> Result<Result<Fact, String>, StoreError> {
    Ok(read_fact(get_at(row, RECEIVED_AT)?, get_text(row, BODY)?))
}

/// The job that the fact of a row is about.
pub(super) fn subject(row: &Row) -> Result<Option<JobKey>, StoreError> {
    Ok(read(row)?.ok().and_then(|fact| job_of(&fact.body)))
}

/// When a fact was given its place.
fn put_at(seq: i64) -> Timestamp {
    Timestamp::from_unix_ms(seq / 1_000)
}

fn by_place(rows: &mut [Row]) {
    rows.sort_by_key(|row| get_number::<i64>(row, SEQ).unwrap_or(i64::MAX));
}

impl DynamoLedger {
    pub(super) async fn put_fact_row(&self, fact: FactRow) -> Result<Put, StoreError> {
        let seq = self.sequence.next();
        let attributes = [
            (KEY, text(&fact.key)),
            (SEQ, number(seq)),
            (LIVE, number(seq)),
            (RECEIVED_AT, number(fact.received_at.unix_ms())),
            (BODY, text(fact.body)),
        ];
        let row = row(&keys::fact(&fact.key), attributes);
        match self.put_if(row, ABSENT, []).await? {
            Ok(true) => Ok(Put::New),
            Ok(false) => Ok(Put::Duplicate),
            // A transaction is judging the fact of that key this very moment: so it is there.
            Err(error) if error.code() == Some("TransactionConflictException") => Ok(Put::Duplicate),
            Err(error) => Err(told(&self.table, "storing a fact", &error)),
        }
    }

    /// Rows of facts that no tick has judged, oldest first.
    async fn unjudged(&self, max: usize) -> Result<Vec<Row>, StoreError> {
        let which = |_: &str| Which::Live;
        let mut rows = self.query_all("reading new facts", keys::fact_partitions(), which, Some(max)).await?;
        by_place(&mut rows);
        rows.truncate(max);
        Ok(rows)
    }

    pub(super) async fn read_new_facts(&self, max: usize) -> Result<Vec<NewFact>, StoreError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        self.places.forget();
        let mut told = Vec::new();
        for row in self.unjudged(max).await? {
            // By the index, which every row has that is found here. What else is wrong with one is told of that one.
            let seq = get_number(&row, LIVE)?;
            let received_at = get_at(&row, RECEIVED_AT).unwrap_or_else(|_| put_at(seq));
            let fact = Told { at: place(&row)?, received_at, bytes: bytes(&row) };
            if self.places.tell(seq, fact) {
                told.push(NewFact { seq, fact: read(&row).unwrap_or_else(|error| Err(error.to_string())) });
            }
        }
        Ok(told)
    }

    /// What no tick has judged yet about jobs, and when it was received; oldest first.
    pub(super) async fn new_about_jobs(&self) -> Result<Vec<(JobEvent, Timestamp)>, StoreError> {
        let mut told = Vec::new();
        for row in self.unjudged(usize::MAX).await? {
            if let Ok(Ok(Fact { received_at, body: FactBody::Job(event) })) = read(&row) {
                told.push((event, received_at));
            }
        }
        Ok(told)
    }

    pub(super) async fn read_history(&self, job: JobId) -> Result<Vec<Fact>, StoreError> {
        let place = keys::facts_of_job(job);
        let which = Which::Beginning(place.sort);
        let mut rows = self.query("reading the history of a job", &place.partition, which, None).await?;
        by_place(&mut rows);
        Ok(rows.iter().filter_map(|row| read(row).ok()?.ok()).collect())
    }

    pub(super) async fn read_set_aside(&self, max: usize) -> Result<Vec<SetAside>, StoreError> {
        let (what, which) = ("reading facts that were set aside", |_: &str| Which::Having(REASON));
        let mut rows = self.query_all(what, keys::fact_partitions(), which, None).await?;
        by_place(&mut rows);
        rows.truncate(max);
        // It may be for what it lacks that it was set aside.
        let words = |row: &Row, attribute: &str| get_text(row, attribute).unwrap_or_default().to_owned();
        let told = |row: &Row| {
            let seq = get_number(row, SEQ).unwrap_or_default();
            let key = get_text(row, KEY).or_else(|_| get_text(row, SORT))?.to_owned();
            let received_at = get_at(row, RECEIVED_AT).unwrap_or_else(|_| put_at(seq));
            Ok(SetAside { seq, key, received_at, body: words(row, BODY), reason: words(row, REASON) })
        };
        rows.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_rise() {
        let sequence = Sequence::default();
        let told: Vec<i64> = (0..1_000).map(|_| sequence.next()).collect();
        assert!(told.windows(2).all(|two| two[0] < two[1]));
    }

    #[test]
    fn of_two_facts_in_one_place_one_waits() {
        let places = Places::default();
        let fact = |key| Told { at: keys::fact(key), received_at: Timestamp::EPOCH, bytes: 1 };
        let (one, two) = (fact("job:1:1:waiting"), fact("job:2:1:waiting"));
        assert!(places.tell(7, one.clone()) && places.tell(7, one.clone()));
        assert!(!places.tell(7, two.clone()));
        places.judged([7].into_iter());
        assert!(places.tell(7, two.clone()));
        assert_eq!(places.get(7), Some(two));
    }
}
