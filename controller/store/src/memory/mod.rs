//! [`MemoryStore`]: the ledger in memory, for the simulator, demos and tests. Its futures are ready at once.
//!
//! What may not live here: anything that outlives the process.
//!
//! Invariant: what it keeps of the past is bounded per finished job by a tombstone of 40 bytes, unless history is asked
//! for, or the job ended badly on a runner.

mod facts;
mod machines;
mod state;
mod tombstones;

use std::sync::{Mutex, MutexGuard, PoisonError};

use muster_core::claim::ClaimRow;
use muster_core::fact::Fact;
use muster_core::ids::{Generation, InstanceId, JobId, JobKey};
use muster_core::job::JobRecord;
use muster_core::machine::Machine;
use muster_core::ports::{Batch, NewFact, Put, Snapshot, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;

use self::facts::Unread;
use self::state::State;
use crate::read::read_fact;
use crate::upkeep::{Counts, Pruned, SetAside, Upkeep};

/// How a [`MemoryStore`] is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// The ledger's word: see [`Snapshot::ledger`]. Given, not random, so that a simulation can be repeated.
    pub ledger: String,
    /// Whether merged facts and whole records of finished jobs are kept, as a file would. Without it merged facts are
    /// dropped (the same fact put again is new again, which changes nothing once merged) and a finished job is a
    /// tombstone: it knows that, when and how the job ended, and no labels or runner. A job that ended badly on a runner is
    /// kept whole.
    pub keep_history: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions { ledger: "00000000".to_owned(), keep_history: false }
    }
}

/// The ledger in memory.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new(MemoryOptions::default())
    }
}

impl MemoryStore {
    /// An empty ledger.
    pub fn new(options: MemoryOptions) -> MemoryStore {
        MemoryStore { state: Mutex::new(State::new(options.ledger, options.keep_history)) }
    }

    /// No call leaves the state half changed, so a panic elsewhere under the lock does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn put_fact(&self, fact: &Fact) -> Result<Put, StoreError> {
        let key = fact.key();
        Ok(self.state().facts.put(key, fact.received_at, || Ok(fact.clone())))
    }

    async fn new_facts(&self, max: usize) -> Result<Vec<NewFact>, StoreError> {
        Ok(self.state().facts.new_facts(max))
    }

    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(self.state().snapshot())
    }

    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<JobRecord>, StoreError> {
        let state = self.state();
        Ok(keys.iter().filter_map(|key| state.job(*key)).collect())
    }

    async fn commit(&self, batch: &Batch, expected: Generation) -> Result<Generation, StoreError> {
        self.state().commit(batch, expected)
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        Ok(self.state().generation)
    }

    async fn switch(&self) -> Result<Switch, StoreError> {
        Ok(self.state().switch)
    }

    async fn set_switch(&self, switch: Switch) -> Result<(), StoreError> {
        self.state().switch = switch;
        Ok(())
    }

    async fn machine(&self, instance: &InstanceId) -> Result<Option<Machine>, StoreError> {
        Ok(self.state().machines.rows.get(instance).cloned())
    }

    async fn claim(&self, instance: &InstanceId) -> Result<Option<ClaimRow>, StoreError> {
        Ok(self.state().machines.claims.get(instance).cloned())
    }

    async fn put_claim(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        Ok(self.state().machines.put_claim(row))
    }

    async fn attach_config(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        Ok(self.state().machines.attach_config(row))
    }

    async fn drop_config(&self, instance: &InstanceId, session: u32) -> Result<(), StoreError> {
        self.state().machines.drop_config(instance, session);
        Ok(())
    }

    async fn unminted(&self) -> Result<Vec<ClaimRow>, StoreError> {
        Ok(self.state().machines.unminted())
    }

    async fn order(&self, instance: &InstanceId) -> Result<Option<Numbered>, StoreError> {
        Ok(self.state().machines.orders.get(instance).copied())
    }

    async fn touch_lease(&self, instance: &InstanceId, at: Timestamp) -> Result<(), StoreError> {
        self.state().machines.touch(instance, at);
        Ok(())
    }

    async fn use_once(&self, key: &str, until: Timestamp) -> Result<bool, StoreError> {
        let mut state = self.state();
        if state.once.contains_key(key) {
            return Ok(false);
        }
        state.once.insert(key.to_owned(), until);
        Ok(true)
    }

    async fn config(&self) -> Result<Option<String>, StoreError> {
        Ok(self.state().config.clone())
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        self.state().config = Some(text.to_owned());
        Ok(())
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.state().notes.get(name).cloned())
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.state().notes.insert(name.to_owned(), text.to_owned());
        Ok(())
    }

    async fn history(&self, job: JobId) -> Result<Vec<Fact>, StoreError> {
        Ok(self.state().facts.history(job))
    }
}

impl Upkeep for MemoryStore {
    async fn prune(&self, now: Timestamp) -> Result<Pruned, StoreError> {
        Ok(self.state().prune(now))
    }

    async fn ledger_page(&self, after: Option<JobKey>, max: usize) -> Result<Vec<JobRecord>, StoreError> {
        Ok(self.state().ledger_page(after, max))
    }

    async fn set_aside(&self, max: usize) -> Result<Vec<SetAside>, StoreError> {
        Ok(self.state().facts.listed(max))
    }

    async fn fact_by_key(&self, key: &str) -> Result<Option<Fact>, StoreError> {
        Ok(self.state().facts.by_key(key).cloned())
    }

    async fn put_raw(&self, key: &str, received_at: Timestamp, body: &str) -> Result<Put, StoreError> {
        let read = || read_fact(received_at, body).map_err(|reason| Unread { body: body.to_owned(), reason });
        Ok(self.state().facts.put(key.to_owned(), received_at, read))
    }

    async fn lease(&self, instance: &InstanceId) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().machines.leases.get(instance).copied())
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        Ok(self.state().counts())
    }
}
