//! A ledger in memory that keeps what the door gives it. Its fields are the tests' window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use muster_core::claim::ClaimRow;
use muster_core::fact::Fact;
use muster_core::ids::{Generation, InstanceId, JobId, JobKey};
use muster_core::job::JobRecord;
use muster_core::machine::Machine;
use muster_core::ports::{Batch, NewFact, Put, Snapshot, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;

/// The ledger.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) down: AtomicBool,
    /// Reads work, writes do not.
    pub(crate) full: AtomicBool,
    /// Rows of so many bytes find no room, smaller ones do; 0: there is room for all.
    pub(crate) taken_from: AtomicUsize,
    pub(crate) reads: AtomicU32,
    pub(crate) facts: Mutex<BTreeMap<String, Fact>>,
    pub(crate) machines: Mutex<BTreeMap<InstanceId, Machine>>,
    pub(crate) claims: Mutex<BTreeMap<InstanceId, ClaimRow>>,
    pub(crate) orders: Mutex<BTreeMap<InstanceId, Numbered>>,
    pub(crate) once: Mutex<BTreeSet<String>>,
    pub(crate) leases: Mutex<BTreeMap<InstanceId, Timestamp>>,
}

impl FakeStore {
    fn up(&self) -> Result<(), StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match self.down.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("the test has pulled the plug".to_owned())),
            false => Ok(()),
        }
    }
}

impl FakeStore {
    fn room(&self, bytes: usize) -> Result<(), StoreError> {
        let taken = self.taken_from.load(Ordering::Relaxed);
        match self.full.load(Ordering::Relaxed) || (taken > 0 && bytes >= taken) {
            true => Err(StoreError::Unavailable("the disk is full".to_owned())),
            false => Ok(()),
        }
    }
}

fn of<T: Clone>(map: &Mutex<BTreeMap<InstanceId, T>>, instance: &InstanceId) -> Option<T> {
    map.lock().expect("no test panics while it holds this").get(instance).cloned()
}

fn unused<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("the door has no business here".to_owned()))
}

impl Store for FakeStore {
    async fn put_fact(&self, fact: &Fact) -> Result<Put, StoreError> {
        self.up()?;
        self.room(serde_json::to_string(&fact.body).map_or(0, |body| body.len()))?;
        let mut facts = self.facts.lock().expect("no test panics while it holds this");
        let key = fact.key();
        if facts.contains_key(&key) {
            return Ok(Put::Duplicate);
        }
        facts.insert(key, fact.clone());
        Ok(Put::New)
    }

    async fn new_facts(&self, _max: usize) -> Result<Vec<NewFact>, StoreError> {
        unused()
    }

    async fn load(&self) -> Result<Snapshot, StoreError> {
        unused()
    }

    async fn jobs(&self, _keys: &[JobKey]) -> Result<Vec<JobRecord>, StoreError> {
        unused()
    }

    async fn commit(&self, _batch: &Batch, _expected: Generation) -> Result<Generation, StoreError> {
        unused()
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        self.up()?;
        Ok(Generation(7))
    }

    async fn switch(&self) -> Result<Switch, StoreError> {
        unused()
    }

    async fn set_switch(&self, _switch: Switch) -> Result<(), StoreError> {
        unused()
    }

    async fn machine(&self, instance: &InstanceId) -> Result<Option<Machine>, StoreError> {
        self.up()?;
        Ok(of(&self.machines, instance))
    }

    async fn claim(&self, instance: &InstanceId) -> Result<Option<ClaimRow>, StoreError> {
        self.up()?;
        Ok(of(&self.claims, instance))
    }

    async fn put_claim(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        self.up()?;
        let mut claims = self.claims.lock().expect("no test panics while it holds this");
        if claims.get(&row.instance).is_some_and(|known| known.session >= row.session) {
            return Ok(false);
        }
        claims.insert(row.instance.clone(), row.clone());
        Ok(true)
    }

    async fn attach_config(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        self.up()?;
        let mut claims = self.claims.lock().expect("no test panics while it holds this");
        match claims.get_mut(&row.instance) {
            Some(known) if known.session == row.session && known.registration.is_none() => {
                known.registration.clone_from(&row.registration);
                known.sealed_config.clone_from(&row.sealed_config);
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    async fn drop_config(&self, instance: &InstanceId, session: u32) -> Result<(), StoreError> {
        self.up()?;
        let mut claims = self.claims.lock().expect("no test panics while it holds this");
        if let Some(row) = claims.get_mut(instance).filter(|row| row.session == session) {
            row.sealed_config = None;
        }
        Ok(())
    }

    async fn unminted(&self) -> Result<Vec<ClaimRow>, StoreError> {
        unused()
    }

    async fn order(&self, instance: &InstanceId) -> Result<Option<Numbered>, StoreError> {
        self.up()?;
        Ok(of(&self.orders, instance))
    }

    async fn touch_lease(&self, instance: &InstanceId, at: Timestamp) -> Result<(), StoreError> {
        self.up()?;
        self.leases.lock().expect("no test panics while it holds this").insert(instance.clone(), at);
        Ok(())
    }

    async fn use_once(&self, key: &str, _until: Timestamp) -> Result<bool, StoreError> {
        self.room(key.len())?;
        Ok(self.once.lock().expect("no test panics while it holds this").insert(key.to_owned()))
    }

    async fn config(&self) -> Result<Option<String>, StoreError> {
        unused()
    }

    async fn put_config(&self, _text: &str) -> Result<(), StoreError> {
        unused()
    }

    async fn note(&self, _name: &str) -> Result<Option<String>, StoreError> {
        unused()
    }

    async fn put_note(&self, _name: &str, _text: &str) -> Result<(), StoreError> {
        unused()
    }

    async fn history(&self, _job: JobId) -> Result<Vec<Fact>, StoreError> {
        unused()
    }
}
