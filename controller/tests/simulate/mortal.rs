//! A ledger whose process dies at a chosen call: the call does not happen, and neither does any later one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use muster_core::claim::ClaimRow;
use muster_core::fact::Fact;
use muster_core::ids::{Generation, InstanceId, JobId, JobKey};
use muster_core::job::JobRecord;
use muster_core::machine::Machine;
use muster_core::ports::{Batch, NewFact, Put, Snapshot, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;

/// Calls left until death, and the calls so far.
#[derive(Debug, Default)]
pub(crate) struct Life {
    pub(crate) left: AtomicU64,
    pub(crate) lived: AtomicU64,
}

impl Life {
    pub(crate) fn of(calls: u64) -> Arc<Life> {
        Arc::new(Life { left: AtomicU64::new(calls), lived: AtomicU64::new(0) })
    }

    fn breathe(&self) -> Result<(), StoreError> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(StoreError::Unavailable("the process is dead".to_owned()));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        self.lived.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A ledger that is there as long as its process lives.
pub(crate) struct Mortal<S> {
    pub(crate) inner: S,
    pub(crate) life: Arc<Life>,
}

macro_rules! while_alive {
    ($($name:ident($($arg:ident: $of:ty),*) -> $out:ty;)*) => {$(
        async fn $name(&self, $($arg: $of),*) -> Result<$out, StoreError> {
            self.life.breathe()?;
            self.inner.$name($($arg),*).await
        }
    )*};
}

impl<S: Store> Store for Mortal<S> {
    while_alive! {
        put_fact(fact: &Fact) -> Put;
        new_facts(max: usize) -> Vec<NewFact>;
        load() -> Snapshot;
        jobs(keys: &[JobKey]) -> Vec<JobRecord>;
        commit(batch: &Batch, expected: Generation) -> Generation;
        generation() -> Generation;
        switch() -> Switch;
        set_switch(switch: Switch) -> ();
        machine(instance: &InstanceId) -> Option<Machine>;
        claim(instance: &InstanceId) -> Option<ClaimRow>;
        put_claim(row: &ClaimRow) -> bool;
        attach_config(row: &ClaimRow) -> bool;
        drop_config(instance: &InstanceId, session: u32) -> ();
        unminted() -> Vec<ClaimRow>;
        order(instance: &InstanceId) -> Option<Numbered>;
        touch_lease(instance: &InstanceId, at: Timestamp) -> ();
        use_once(key: &str, until: Timestamp) -> bool;
        config() -> Option<String>;
        put_config(text: &str) -> ();
        note(name: &str) -> Option<String>;
        put_note(name: &str, text: &str) -> ();
        history(job: JobId) -> Vec<Fact>;
    }
}
