//! [`SqliteStore`]: the ledger in one SQLite file.
//!
//! What lives here: opening, schema, and one small function per verb of the port, each on a connection inside a
//! transaction. What may not: decisions about what is stored.
//!
//! Invariant: what was answered with `Ok` is in the file, whatever happens to the process; with
//! [`Durability::PowerLoss`], whatever happens to the power.

mod claims;
mod commit;
mod engine;
mod facts;
mod lock;
mod meta;
mod open;
mod place;
mod prune;
mod rows;
mod schema;
mod trouble;
mod world;

#[cfg(test)]
mod tests;

use std::path::Path;

use muster_core::claim::ClaimRow;
use muster_core::fact::Fact;
use muster_core::ids::{Generation, InstanceId, JobId, JobKey};
use muster_core::job::JobRecord;
use muster_core::machine::Machine;
use muster_core::ports::{Batch, NewFact, Put, Snapshot, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;

pub use self::open::{Durability, SqliteOptions};
pub use self::schema::SCHEMA_VERSION;
pub use self::trouble::OpenError;

use self::claims::ClaimText;
use self::commit::BatchRows;
use self::engine::Engine;
use self::facts::FactRow;
use crate::upkeep::{Counts, Pruned, SetAside, Upkeep};

/// The ledger in one file. Any number of readers, one writer.
///
/// The futures need no particular runtime. A call that was polled once is carried out even if its future is dropped.
#[derive(Debug)]
pub struct SqliteStore {
    engine: Engine,
}

impl SqliteStore {
    /// Opens the ledger for writing, and makes or migrates it first if need be. Calls are carried out by two threads:
    /// writes that wait together are committed together.
    ///
    /// # Errors
    /// Each says which file it is about and what to do.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<SqliteStore, OpenError> {
        Ok(SqliteStore { engine: open::threads(path, options)? })
    }

    /// As [`SqliteStore::open`], but each call is carried out where it is made: the futures are ready at once.
    ///
    /// # Errors
    /// Each says which file it is about and what to do.
    pub fn open_direct(path: &Path, options: &SqliteOptions) -> Result<SqliteStore, OpenError> {
        Ok(SqliteStore { engine: open::direct(path, options)? })
    }

    /// Sets the admin's switch in an existing ledger, also while another process writes to it, and returns the former
    /// one. It is the one thing that is written beside the writer: a single row that no tick writes.
    ///
    /// # Errors
    /// Each says which file it is about and what to do.
    pub fn flip_switch(path: &Path, switch: Switch) -> Result<Switch, OpenError> {
        open::flip_switch(path, switch)
    }

    /// Opens an existing ledger for reading, also while another process writes to it. The futures are ready at once;
    /// calls that write fail.
    ///
    /// # Errors
    /// Each says which file it is about and what to do.
    pub fn open_read_only(path: &Path) -> Result<SqliteStore, OpenError> {
        Ok(SqliteStore { engine: open::read_only(path)? })
    }
}

impl Store for SqliteStore {
    async fn put_fact(&self, fact: &Fact) -> Result<Put, StoreError> {
        let row = FactRow::of(fact)?;
        self.engine.write(move |conn| facts::put(conn, &row)).await
    }

    async fn new_facts(&self, max: usize) -> Result<Vec<NewFact>, StoreError> {
        self.engine.read(move |conn| facts::new_facts(conn, max)).await
    }

    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.engine.read(world::load).await
    }

    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<JobRecord>, StoreError> {
        let keys = keys.to_vec();
        self.engine.read(move |conn| world::jobs(conn, &keys)).await
    }

    async fn commit(&self, batch: &Batch, expected: Generation) -> Result<Generation, StoreError> {
        let rows = BatchRows::of(batch)?;
        self.engine.write(move |conn| commit::commit(conn, &rows, expected)).await
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        self.engine.read(meta::generation).await
    }

    async fn switch(&self) -> Result<Switch, StoreError> {
        self.engine.read(meta::switch).await
    }

    async fn set_switch(&self, switch: Switch) -> Result<(), StoreError> {
        self.engine.write(move |conn| meta::set_switch(conn, switch)).await
    }

    async fn machine(&self, instance: &InstanceId) -> Result<Option<Machine>, StoreError> {
        let instance = instance.clone();
        self.engine.read(move |conn| world::machine(conn, &instance)).await
    }

    async fn claim(&self, instance: &InstanceId) -> Result<Option<ClaimRow>, StoreError> {
        let instance = instance.clone();
        self.engine.read(move |conn| claims::get(conn, &instance)).await
    }

    async fn put_claim(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        let text = ClaimText::of(row)?;
        self.engine.write(move |conn| claims::put(conn, &text)).await
    }

    async fn attach_config(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        let row = row.clone();
        self.engine.write(move |conn| claims::attach(conn, &row)).await
    }

    async fn drop_config(&self, instance: &InstanceId, session: u32) -> Result<(), StoreError> {
        let instance = instance.clone();
        self.engine.write(move |conn| claims::drop_config(conn, &instance, session)).await
    }

    async fn unminted(&self) -> Result<Vec<ClaimRow>, StoreError> {
        self.engine.read(claims::unminted).await
    }

    async fn order(&self, instance: &InstanceId) -> Result<Option<Numbered>, StoreError> {
        let instance = instance.clone();
        self.engine.read(move |conn| claims::order(conn, &instance)).await
    }

    async fn touch_lease(&self, instance: &InstanceId, at: Timestamp) -> Result<(), StoreError> {
        let instance = instance.clone();
        self.engine.write(move |conn| claims::touch(conn, &instance, at)).await
    }

    async fn use_once(&self, key: &str, until: Timestamp) -> Result<bool, StoreError> {
        let key = key.to_owned();
        self.engine.write(move |conn| meta::use_once(conn, &key, until)).await
    }

    async fn config(&self) -> Result<Option<String>, StoreError> {
        self.engine.read(meta::config).await
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        let text = text.to_owned();
        self.engine.write(move |conn| meta::put_config(conn, &text)).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.engine.read(move |conn| meta::note(conn, &name)).await
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.engine.write(move |conn| meta::put_note(conn, &name, &text)).await
    }

    async fn history(&self, job: JobId) -> Result<Vec<Fact>, StoreError> {
        self.engine.read(move |conn| facts::history(conn, job)).await
    }
}

impl Upkeep for SqliteStore {
    async fn prune(&self, now: Timestamp) -> Result<Pruned, StoreError> {
        let mut pruned = self.engine.write(move |conn| prune::rest(conn, now)).await?;
        for (piece, total) in
            [(prune::jobs as prune::Piece, &mut pruned.jobs), (prune::facts as prune::Piece, &mut pruned.facts)]
        {
            loop {
                let removed = self.engine.write(move |conn| piece(conn, now)).await?;
                *total += removed;
                if removed < prune::PIECE {
                    break;
                }
            }
        }
        Ok(pruned)
    }

    async fn ledger_page(&self, after: Option<JobKey>, max: usize) -> Result<Vec<JobRecord>, StoreError> {
        self.engine.read(move |conn| world::ledger_page(conn, after, max)).await
    }

    async fn set_aside(&self, max: usize) -> Result<Vec<SetAside>, StoreError> {
        self.engine.read(move |conn| facts::set_aside(conn, max)).await
    }

    async fn fact_by_key(&self, key: &str) -> Result<Option<Fact>, StoreError> {
        let key = key.to_owned();
        self.engine.read(move |conn| facts::by_key(conn, &key)).await
    }

    async fn put_raw(&self, key: &str, received_at: Timestamp, body: &str) -> Result<Put, StoreError> {
        let row = FactRow::raw(key, received_at, body);
        self.engine.write(move |conn| facts::put(conn, &row)).await
    }

    async fn lease(&self, instance: &InstanceId) -> Result<Option<Timestamp>, StoreError> {
        let instance = instance.clone();
        self.engine.read(move |conn| claims::lease(conn, &instance)).await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.engine.read(prune::counts).await
    }
}
