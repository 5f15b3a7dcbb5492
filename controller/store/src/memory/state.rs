//! The whole ledger in memory, as one value behind a lock: what a call does, without the port around it.

use std::collections::BTreeMap;

use muster_core::ids::{Generation, JobKey, LaunchId};
use muster_core::job::{Completed, Conclusion, JobRecord};
use muster_core::launch::{HOLD_KEPT, Hold, Launch, Offering};
use muster_core::ports::{Batch, Snapshot, StoreError, Switch};
use muster_core::time::Timestamp;

use super::facts::Facts;
use super::machines::Machines;
use super::tombstones::Tombstones;
use crate::retention::{cutoff, over_since};
use crate::upkeep::{Counts, Pruned};

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    keep_history: bool,
    ledger: String,
    pub(super) generation: Generation,
    pub(super) switch: Switch,
    pub(super) config: Option<String>,
    pub(super) notes: BTreeMap<String, String>,
    pub(super) facts: Facts,
    /// Jobs that are not over.
    open: BTreeMap<JobKey, JobRecord>,
    /// Whole records of jobs that are over: of all if history is kept, else of those that [`may_run_again`].
    over: BTreeMap<JobKey, JobRecord>,
    /// The others, small.
    tombstones: Tombstones,
    pub(super) machines: Machines,
    launches: BTreeMap<LaunchId, Launch>,
    holds: BTreeMap<Offering, Hold>,
    pub(super) once: BTreeMap<String, Timestamp>,
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

/// Whether a job ended badly on a runner. If that was its machine's end its run is asked for, which a tombstone does not have.
fn may_run_again(record: &JobRecord) -> bool {
    let badly = |completed: &Completed| matches!(completed.conclusion, Conclusion::Failure | Conclusion::Cancelled);
    record.runner().is_some() && record.completed.as_ref().is_some_and(badly)
}

impl State {
    pub(super) fn new(ledger: String, keep_history: bool) -> State {
        State {
            keep_history,
            ledger,
            generation: Generation::default(),
            switch: Switch::default(),
            config: None,
            notes: BTreeMap::new(),
            facts: Facts::new(keep_history),
            open: BTreeMap::new(),
            over: BTreeMap::new(),
            tombstones: Tombstones::default(),
            machines: Machines::default(),
            launches: BTreeMap::new(),
            holds: BTreeMap::new(),
            once: BTreeMap::new(),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            ledger: self.ledger.clone(),
            generation: self.generation,
            switch: self.switch,
            jobs: self.open.values().cloned().collect(),
            machines: self.machines.rows.values().cloned().collect(),
            launches: self.launches.values().cloned().collect(),
            holds: self.holds.values().cloned().collect(),
            unreadable: Vec::new(),
        }
    }

    pub(super) fn job(&self, key: JobKey) -> Option<JobRecord> {
        let whole = self.open.get(&key).or_else(|| self.over.get(&key));
        whole.cloned().or_else(|| self.tombstones.get(key))
    }

    fn put_job(&mut self, record: &JobRecord) {
        let key = record.key;
        if over_since(record).is_none() {
            self.over.remove(&key);
            self.tombstones.remove(key);
            self.open.insert(key, record.clone());
            return;
        }
        self.open.remove(&key);
        if self.keep_history || may_run_again(record) {
            self.tombstones.remove(key);
            self.over.insert(key, record.clone());
        } else {
            self.over.remove(&key);
            self.tombstones.put(record);
        }
    }

    pub(super) fn commit(&mut self, batch: &Batch, expected: Generation) -> Result<Generation, StoreError> {
        if self.generation != expected {
            return Err(StoreError::Conflict { expected, found: self.generation });
        }
        for seq in &batch.merged {
            self.facts.merge(*seq);
        }
        for (seq, reason) in &batch.set_aside {
            self.facts.set_aside(*seq, reason);
        }
        for record in &batch.jobs {
            self.put_job(record);
        }
        for machine in &batch.machines {
            self.machines.rows.insert(machine.instance.clone(), machine.clone());
        }
        for launch in &batch.launches {
            self.launches.insert(launch.id.clone(), launch.clone());
        }
        for id in &batch.settled {
            self.launches.remove(id);
        }
        for (instance, order) in &batch.orders {
            self.machines.order(instance, *order);
        }
        for hold in &batch.holds {
            self.holds.insert(hold.offering.clone(), hold.clone());
        }
        for instance in &batch.forgotten {
            self.machines.forget(instance);
        }
        self.generation = Generation(self.generation.0 + 1);
        Ok(self.generation)
    }

    pub(super) fn prune(&mut self, now: Timestamp) -> Pruned {
        let cutoff = cutoff(now);
        let over = self.over.len();
        self.over.retain(|_, record| over_since(record).is_some_and(|since| since >= cutoff));
        let jobs = over - self.over.len() + self.tombstones.prune(cutoff);
        let State { facts, open, over, tombstones, .. } = self;
        let known = |key| open.contains_key(&key) || over.contains_key(&key) || tombstones.contains(key);
        let facts = facts.prune(cutoff, known);
        let (once, holds) = (self.once.len(), self.holds.len());
        self.once.retain(|_, until| *until >= now);
        self.holds.retain(|_, hold| hold.until >= now - HOLD_KEPT);
        Pruned {
            jobs: count(jobs),
            facts: count(facts),
            once: count(once - self.once.len()),
            holds: count(holds - self.holds.len()),
            orphans: count(self.machines.prune(cutoff)),
        }
    }

    pub(super) fn ledger_page(&self, after: Option<JobKey>, max: usize) -> Vec<JobRecord> {
        let behind = |key: &JobKey| after.is_none_or(|after| *key > after);
        let mut new: BTreeMap<JobKey, JobRecord> = BTreeMap::new();
        for (event, received_at) in self.facts.new_job_events().filter(|(event, _)| behind(&event.key)) {
            let told = JobRecord::from_event(event, received_at);
            new.entry(event.key).and_modify(|record| record.merge(&told)).or_insert(told);
        }
        let mut keys = self.tombstones.keys_after(after, max);
        for records in [&self.open, &self.over, &new] {
            keys.extend(records.keys().filter(|key| behind(key)).take(max));
        }
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(max);
        let record = |key| match (self.job(key), new.remove(&key)) {
            (Some(mut known), Some(told)) => {
                known.merge(&told);
                Some(known)
            }
            (known, told) => known.or(told),
        };
        keys.into_iter().filter_map(record).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            jobs_open: count(self.open.len()),
            jobs_over: count(self.over.len() + self.tombstones.len()),
            machines: count(self.machines.rows.len()),
            launches: count(self.launches.len()),
            holds: count(self.holds.len()),
            claims: count(self.machines.claims.len()),
            orders: count(self.machines.orders.len()),
            leases: count(self.machines.leases.len()),
            once: count(self.once.len()),
            ..Counts::default()
        };
        self.facts.count(&mut counts);
        counts
    }
}
