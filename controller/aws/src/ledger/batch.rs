//! A batch as changes of rows: each row at most once, in the order in which they may be written apart.
//!
//! Invariant: whatever prefix of the changes is written, the ledger is one that a fresh scaler can go on from. What a
//! fact says is in the record before the fact is judged; machines are there before their launch is settled; what is
//! forgotten goes last.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use muster_core::claim::Order;
use muster_core::ids::InstanceId;
use muster_core::job::JobRecord;
use muster_core::launch::{HOLD_KEPT, Hold};
use muster_core::ports::{Batch, StoreError};
use muster_core::time::Timestamp;
use muster_store::{JOB_RETENTION, over_since};

use super::claims::UNTIL;
use super::facts::{Places, Told};
use super::keys::{self, CLAIMS, EXPIRES, LEASES, LIVE, MACHINES, ORDERS, RowKey};
use super::row::{RECORD, Row, bytes, expiry, number, row, text, to_json};

/// Since when a job is over; jobs that are not have no such attribute.
pub(super) const OVER_SINCE: &str = "over_since";

/// One transaction takes 100 items (DynamoDB's limits); one of them is the generation's row.
const ITEMS_MAX: usize = 100;
const CHANGES_MAX: usize = ITEMS_MAX - 1;
/// One transaction takes 4 MB. Sizes are computed from texts, so there is room for what is around them.
const TRANSACTION_BYTES_MAX: usize = 4_000_000;
const BYTES_MAX: usize = 3_000_000;
const _: () = assert!(BYTES_MAX * 5 < TRANSACTION_BYTES_MAX * 4);
/// What a row has besides its texts, generously.
const ROW_BYTES: usize = 400;

/// What becomes of a fact.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Merged,
    SetAside(String),
}

/// One row's change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// The row is this.
    Put(Row),
    /// The row goes.
    Delete(RowKey),
    /// So many orders to one machine, of which the last one stays.
    Order { at: RowKey, count: usize, record: String },
    /// A fact is dealt with.
    Judge { fact: Told, verdict: Verdict },
}

impl Change {
    fn bytes(&self) -> usize {
        let of = |key: &RowKey| key.partition.len() + key.sort.len();
        ROW_BYTES
            + match self {
                Change::Put(row) => bytes(row),
                // What goes is small: a machine's rows, a launch.
                Change::Delete(key) => of(key),
                Change::Order { at, record, .. } => of(at) + record.len(),
                // The whole row counts, and what the change adds.
                Change::Judge { fact, verdict: Verdict::Merged } => fact.bytes,
                Change::Judge { fact, verdict: Verdict::SetAside(reason) } => fact.bytes + reason.len(),
            }
    }
}

/// Changes in parts that fit one transaction each; at least one part.
pub(super) fn parts(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let (mut parts, mut part, mut filled) = (Vec::new(), Vec::new(), 0);
    for change in changes {
        let bytes = change.bytes();
        if part.len() == CHANGES_MAX || (filled + bytes > BYTES_MAX && !part.is_empty()) {
            parts.push(std::mem::take(&mut part));
            filled = 0;
        }
        filled += bytes;
        part.push(change);
    }
    if parts.is_empty() || !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// All changes of a batch.
pub(super) fn changes(batch: &Batch, places: &Places) -> Result<Vec<Change>, StoreError> {
    let forgotten: BTreeSet<&InstanceId> = batch.forgotten.iter().collect();
    let mut changes: Vec<Change> = last(&batch.jobs, |job| job.key).into_iter().map(job).collect::<Result<_, _>>()?;
    for machine in last(&batch.machines, |machine| &machine.instance) {
        if !forgotten.contains(&machine.instance) {
            let record = [(RECORD, text(to_json(machine)?))];
            changes.push(Change::Put(row(&keys::of_instance(MACHINES, &machine.instance), record)));
        }
    }
    let settled: BTreeSet<_> = batch.settled.iter().collect();
    for launch in last(&batch.launches, |launch| &launch.id) {
        if !settled.contains(&launch.id) {
            let record = [(RECORD, text(to_json(launch)?))];
            changes.push(Change::Put(row(&keys::launch(launch.id.as_str()), record)));
        }
    }
    let mut orders: BTreeMap<&InstanceId, (usize, &Order)> = BTreeMap::new();
    for (instance, order) in batch.orders.iter().filter(|(instance, _)| !forgotten.contains(instance)) {
        let (count, last) = orders.entry(instance).or_insert((0, order));
        (*count, *last) = (*count + 1, order);
    }
    for (instance, (count, order)) in orders {
        changes.push(Change::Order { at: keys::of_instance(ORDERS, instance), count, record: to_json(order)? });
    }
    for hold in last(&batch.holds, |hold| &hold.offering) {
        changes.push(self::hold(hold)?);
    }
    changes.extend(verdicts(batch, places));
    changes.extend(settled.into_iter().map(|id| Change::Delete(keys::launch(id.as_str()))));
    for instance in forgotten {
        let kinds = [MACHINES, CLAIMS, ORDERS, LEASES];
        changes.extend(kinds.map(|kind| Change::Delete(keys::of_instance(kind, instance))));
    }
    Ok(changes)
}

/// Of equal ones the last, by key.
fn last<'b, T, K: Ord>(all: &'b [T], key: impl Fn(&'b T) -> K) -> impl IntoIterator<Item = &'b T> {
    all.iter().map(|one| (key(one), one)).collect::<BTreeMap<_, _>>().into_values()
}

fn job(record: &JobRecord) -> Result<Change, StoreError> {
    let mut row = row(&keys::job(record.key), [(RECORD, text(to_json(record)?))]);
    let more = match over_since(record) {
        None => vec![(LIVE, number(0))],
        Some(over) => vec![(OVER_SINCE, number(over.unix_ms())), (EXPIRES, expiry(over + JOB_RETENTION))],
    };
    row.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Ok(Change::Put(row))
}

fn hold(hold: &Hold) -> Result<Change, StoreError> {
    let attributes = [
        (UNTIL, number(hold.until.unix_ms())),
        (EXPIRES, expiry(hold.until + HOLD_KEPT)),
        (RECORD, text(to_json(hold)?)),
    ];
    Ok(Change::Put(row(&keys::hold(&hold.offering), attributes)))
}

/// A place that was not told, or is judged already, has no row here: if its fact is new it is told again.
fn verdicts(batch: &Batch, places: &Places) -> Vec<Change> {
    let mut seen = BTreeSet::new();
    let merged = batch.merged.iter().map(|seq| (*seq, Verdict::Merged));
    let aside = batch.set_aside.iter().map(|(seq, reason)| (*seq, Verdict::SetAside(reason.clone())));
    let mut verdicts = Vec::new();
    for (seq, verdict) in merged.chain(aside) {
        if seen.insert(seq)
            && let Some(fact) = places.get(seq)
        {
            verdicts.push(Change::Judge { fact, verdict });
        }
    }
    verdicts
}

/// When a judged fact may go: long after its job, which waited for a while and is then remembered.
pub(super) fn fact_expiry(received_at: Timestamp) -> AttributeValue {
    expiry(received_at + JOB_RETENTION * 2)
}

#[cfg(test)]
mod tests {
    use muster_core::ids::LaunchId;
    use muster_store::contract::samples::{at, instance, launch, machine};

    use super::*;

    fn told(number: i64, bytes: usize) -> Told {
        Told { at: keys::fact(&format!("job:{number}:1:waiting")), received_at: at(0), bytes }
    }

    fn merged(bytes: usize) -> Change {
        Change::Judge { fact: told(1, bytes), verdict: Verdict::Merged }
    }

    #[test]
    fn parts_are_no_larger_than_a_transaction() {
        let sizes = |changes| parts(changes).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), [0]);
        assert_eq!(sizes(vec![merged(1); 99]), [99]);
        assert_eq!(sizes(vec![merged(1); 100]), [99, 1]);
        assert_eq!(sizes(vec![merged(390_000); 10]), [7, 3]);
        assert_eq!(sizes(vec![merged(BYTES_MAX); 2]), [1, 1]);
    }

    #[test]
    fn a_row_is_changed_once() {
        let (drain, kill) = (Order::Drain { number: 1 }, Order::Kill { number: 1 });
        let places = Places::default();
        assert!((1..=2).all(|seq| places.tell(seq, told(seq, 1))));
        let mut ended = machine(2);
        ended.gone_at = Some(at(9));
        let batch = Batch {
            merged: vec![1, 1, 9],
            set_aside: vec![(1, "late".to_owned()), (2, "no".to_owned())],
            machines: vec![machine(1), machine(2), ended.clone()],
            forgotten: vec![instance(1), instance(1)],
            launches: vec![launch(1), launch(2)],
            settled: vec![launch(1).id, LaunchId::new("other"), launch(1).id],
            orders: vec![(instance(1), drain), (instance(2), drain), (instance(2), kill)],
            ..Batch::default()
        };
        let record = |row: RowKey, text_of: String| Change::Put(super::row(&row, [(RECORD, text(text_of))]));
        let of = |kind, number| keys::of_instance(kind, &instance(number));
        let expected = [
            record(of(MACHINES, 2), to_json(&ended).unwrap()),
            record(keys::launch(launch(2).id.as_str()), to_json(&launch(2)).unwrap()),
            Change::Order { at: of(ORDERS, 2), count: 2, record: to_json(&kill).unwrap() },
            Change::Judge { fact: told(1, 1), verdict: Verdict::Merged },
            Change::Judge { fact: told(2, 1), verdict: Verdict::SetAside("no".to_owned()) },
            Change::Delete(keys::launch(launch(1).id.as_str())),
            Change::Delete(keys::launch("other")),
            Change::Delete(of(MACHINES, 1)),
            Change::Delete(of(CLAIMS, 1)),
            Change::Delete(of(ORDERS, 1)),
            Change::Delete(of(LEASES, 1)),
        ];
        assert_eq!(changes(&batch, &places).unwrap(), expected);
    }
}
