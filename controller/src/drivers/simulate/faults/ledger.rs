//! A ledger whose writes fail: before they have happened, or after.
//!
//! What lives here: the failures, and a note of what was acknowledged. What may not: a rule.
//!
//! Invariant: what was acknowledged was written; of what failed, half was.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use muster_core::claim::ClaimRow;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{Generation, InstanceId, JobId, JobKey};
use muster_core::job::{JobEvidence, JobRecord};
use muster_core::machine::Machine;
use muster_core::ports::{Batch, NewFact, Put, Snapshot, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;
use muster_sim::{Fault, SharedUniverse, Stroke};
use muster_store::MemoryStore;

use super::chronicle::Chronicle;

/// A bug in a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Every so manieth fact is acknowledged and not written.
    SwallowsFacts(u64),
}

/// A ledger in memory that fails now and then.
pub struct FaultyLedger {
    inner: MemoryStore,
    universe: OnceLock<SharedUniverse>,
    chronicle: Chronicle,
    /// Job facts that were acknowledged and not yet looked for, by job.
    acknowledged: Mutex<BTreeMap<JobKey, Vec<JobEvidence>>>,
    planted: Option<Planted>,
    puts: Mutex<u64>,
}

impl FaultyLedger {
    pub(super) fn new(inner: MemoryStore, chronicle: Chronicle) -> FaultyLedger {
        FaultyLedger {
            inner,
            universe: OnceLock::new(),
            chronicle,
            acknowledged: Mutex::default(),
            planted: None,
            puts: Mutex::default(),
        }
    }

    pub(super) fn with(self, planted: Option<Planted>) -> FaultyLedger {
        FaultyLedger { planted, ..self }
    }

    /// Whose faults strike it.
    pub(super) fn belongs_to(&self, universe: SharedUniverse) {
        let _ = self.universe.set(universe);
    }

    /// The ledger as it is, without a failure.
    pub(super) fn inner(&self) -> &MemoryStore {
        &self.inner
    }

    /// What was acknowledged since the last such question.
    pub(super) fn take_acknowledged(&self) -> BTreeMap<JobKey, Vec<JobEvidence>> {
        std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn strikes(&self) -> Option<Stroke> {
        let mut universe = self.universe.get()?.lock();
        let now = universe.now();
        let stroke = universe.faults().strikes_next(Fault::LedgerFails, now);
        if stroke.is_some() {
            self.chronicle.write(now, || "the ledger fails".to_owned());
        }
        stroke
    }

    fn acknowledge(&self, fact: &Fact) {
        if let FactBody::Job(event) = &fact.body {
            let mut all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(event.key).or_default().push(event.evidence.clone());
        }
    }

    fn swallows_now(&self) -> bool {
        let mut puts = self.puts.lock().unwrap_or_else(PoisonError::into_inner);
        *puts += 1;
        matches!(self.planted, Some(Planted::SwallowsFacts(every)) if *puts % every == 0)
    }
}

/// Before the write, or after it.
fn failure(stroke: Stroke) -> (bool, StoreError) {
    let happens = stroke.share(0) < 0.5;
    let word = if happens { "it has happened" } else { "nothing has happened" };
    (happens, StoreError::Unavailable(format!("a fault: {word}")))
}

/// Writes that may fail.
macro_rules! fail_now_and_then {
    ($($name:ident($($arg:ident: $of:ty),*) -> $out:ty;)*) => {$(
        async fn $name(&self, $($arg: $of),*) -> Result<$out, StoreError> {
            match self.strikes().map(failure) {
                None => self.inner.$name($($arg),*).await,
                Some((happens, error)) => {
                    if happens {
                        self.inner.$name($($arg),*).await?;
                    }
                    Err(error)
                }
            }
        }
    )*};
}

/// Reads that do not.
macro_rules! hand_through {
    ($($name:ident($($arg:ident: $of:ty),*) -> $out:ty;)*) => {$(
        async fn $name(&self, $($arg: $of),*) -> Result<$out, StoreError> {
            self.inner.$name($($arg),*).await
        }
    )*};
}

impl Store for FaultyLedger {
    async fn put_fact(&self, fact: &Fact) -> Result<Put, StoreError> {
        let struck = self.strikes().map(failure);
        if let Some((false, error)) = struck {
            return Err(error);
        }
        let put = if self.swallows_now() { Put::New } else { self.inner.put_fact(fact).await? };
        self.chronicle.fact(fact);
        if let Some((_, error)) = struck {
            return Err(error);
        }
        self.acknowledge(fact);
        Ok(put)
    }

    async fn commit(&self, batch: &Batch, expected: Generation) -> Result<Generation, StoreError> {
        let struck = self.strikes().map(failure);
        if let Some((false, error)) = struck {
            return Err(error);
        }
        let generation = self.inner.commit(batch, expected).await?;
        if let Some(universe) = self.universe.get() {
            // What was written is committed, whoever hears of it.
            let mut universe = universe.lock();
            for launch in &batch.launches {
                universe.committed(launch);
            }
            self.chronicle.batch(universe.now(), batch);
        }
        match struck {
            Some((_, error)) => Err(error),
            None => Ok(generation),
        }
    }

    fail_now_and_then! {
        put_claim(row: &ClaimRow) -> bool;
        attach_config(row: &ClaimRow) -> bool;
        drop_config(instance: &InstanceId, session: u32) -> ();
        touch_lease(instance: &InstanceId, at: Timestamp) -> ();
        use_once(key: &str, until: Timestamp) -> bool;
        put_note(name: &str, text: &str) -> ();
    }

    hand_through! {
        new_facts(max: usize) -> Vec<NewFact>;
        load() -> Snapshot;
        jobs(keys: &[JobKey]) -> Vec<JobRecord>;
        generation() -> Generation;
        switch() -> Switch;
        set_switch(switch: Switch) -> ();
        machine(instance: &InstanceId) -> Option<Machine>;
        claim(instance: &InstanceId) -> Option<ClaimRow>;
        unminted() -> Vec<ClaimRow>;
        order(instance: &InstanceId) -> Option<Numbered>;
        config() -> Option<String>;
        put_config(text: &str) -> ();
        note(name: &str) -> Option<String>;
        history(job: JobId) -> Vec<Fact>;
    }
}
