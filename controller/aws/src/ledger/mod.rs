//! The ledger in one DynamoDB table.
//!
//! What lives here: one small function for each verb of the port. What may not: decisions about what is stored, and
//! retries (the SDK's one is all).
//!
//! A fact is one conditional put, under the key that says what it says. What is still to be dealt with has a number in
//! the sparse local index `live`, which can be read consistently: a tick sees every fact that was acknowledged before it
//! looked. Everything that the scaler writes goes with a check of the generation.
//!
//! Invariant: all reads are consistent ones. A global index or an eventual read would hide a fact from the tick that its
//! bell woke.

mod attempt;
mod batch;
mod claims;
mod commit;
mod facts;
mod keys;
mod read;
mod row;
mod table;
mod trouble;
mod upkeep;

use aws_sdk_dynamodb::Client;
use muster_core::claim::ClaimRow;
use muster_core::fact::Fact;
use muster_core::ids::{Generation, InstanceId, JobId, JobKey};
use muster_core::job::JobRecord;
use muster_core::machine::Machine;
use muster_core::ports::{Batch, NewFact, Put, Snapshot, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;
use muster_store::{Counts, Pruned, SetAside, Upkeep};

pub use self::keys::{EXPIRES, LIVE, PARTITION, SORT};
pub use self::table::{make_table, table_faults};

use self::facts::{FactRow, Places, Sequence};
use self::keys::RowKey;
use self::row::{Row, get_number, get_record, get_text, number, row, text};
use self::trouble::told;

const GENERATION: &str = "generation";
const WORD: &str = "word";
const SWITCH: &str = "switch";
const CONFIG: &str = "config";
const TEXT: &str = "text";

/// The ledger in one table.
#[derive(Debug)]
pub struct DynamoLedger {
    client: Client,
    table: String,
    sequence: Sequence,
    places: Places,
}

impl DynamoLedger {
    /// The ledger in a table, whether the scaler has made it one already or not: for whoever may not make a ledger. Facts
    /// and claims are kept all the same; only the generation is an error until then.
    pub fn at(client: Client, table: &str) -> DynamoLedger {
        let table = table.to_owned();
        DynamoLedger { client, table, sequence: Sequence::default(), places: Places::default() }
    }

    /// Opens the ledger in a table that exists; a table that is empty becomes a new ledger. `word` is eight random
    /// hexadecimal digits, for a new ledger to be told from every other one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], with what to do.
    pub async fn open(client: Client, table: &str, word: &str) -> Result<DynamoLedger, StoreError> {
        let ledger = DynamoLedger::at(client, table);
        let fresh = row(&keys::generation(), [(WORD, text(word)), (GENERATION, number(0))]);
        ledger.put_new("making a new ledger", fresh).await?;
        Ok(ledger)
    }

    /// One row.
    async fn get(&self, what: &str, of: &RowKey) -> Result<Option<Row>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(row::key(of))).consistent_read(true);
        get.send().await.map(|found| found.item).map_err(|error| told(&self.table, what, &error))
    }

    /// The ledger's word and generation.
    async fn meta(&self) -> Result<(String, Generation), StoreError> {
        let found = self.get("reading the generation", &keys::generation()).await?;
        let row = found.ok_or_else(|| {
            StoreError::Unreadable(format!(
                "DynamoDB table {}: the row `meta generation` is gone: the table was emptied while it was in use; restore \
                 it, or start anew, which forgets all jobs and machines",
                self.table
            ))
        })?;
        Ok((get_text(&row, WORD)?.to_owned(), Generation(get_number(&row, GENERATION)?)))
    }

    async fn set_text(&self, what: &str, of: &RowKey, attribute: &'static str, value: &str) -> Result<(), StoreError> {
        let row = row(of, [(attribute, text(value))]);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(row));
        put.send().await.map(|_| ()).map_err(|error| told(&self.table, what, &error))
    }
}

impl Store for DynamoLedger {
    async fn put_fact(&self, fact: &Fact) -> Result<Put, StoreError> {
        self.put_fact_row(FactRow::of(fact)?).await
    }

    async fn new_facts(&self, max: usize) -> Result<Vec<NewFact>, StoreError> {
        self.read_new_facts(max).await
    }

    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.read_all().await
    }

    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<JobRecord>, StoreError> {
        self.read_jobs(keys).await
    }

    async fn commit(&self, batch: &Batch, expected: Generation) -> Result<Generation, StoreError> {
        self.write(batch, expected).await
    }

    async fn generation(&self) -> Result<Generation, StoreError> {
        Ok(self.meta().await?.1)
    }

    async fn switch(&self) -> Result<Switch, StoreError> {
        let Some(row) = self.get("reading the switch", &keys::switch()).await? else { return Ok(Switch::Run) };
        let word = get_text(&row, SWITCH)?;
        serde_json::from_value(word.into()).map_err(|error| StoreError::Unreadable(format!("meta switch: {error}")))
    }

    async fn set_switch(&self, switch: Switch) -> Result<(), StoreError> {
        let word = match switch {
            Switch::Run => "run",
            Switch::NoLaunch => "no-launch",
            Switch::Freeze => "freeze",
        };
        self.set_text("setting the switch", &keys::switch(), SWITCH, word).await
    }

    async fn machine(&self, instance: &InstanceId) -> Result<Option<Machine>, StoreError> {
        let found = self.get("reading a machine", &keys::of_instance(keys::MACHINES, instance)).await?;
        found.map(|row| get_record(&row)).transpose()
    }

    async fn claim(&self, instance: &InstanceId) -> Result<Option<ClaimRow>, StoreError> {
        self.read_claim(instance).await
    }

    async fn put_claim(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        self.write_claim(row).await
    }

    async fn attach_config(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        self.attach(row).await
    }

    async fn drop_config(&self, instance: &InstanceId, session: u32) -> Result<(), StoreError> {
        self.drop_sealed(instance, session).await
    }

    async fn unminted(&self) -> Result<Vec<ClaimRow>, StoreError> {
        self.read_unminted().await
    }

    async fn order(&self, instance: &InstanceId) -> Result<Option<Numbered>, StoreError> {
        let found = self.get("reading an order", &keys::of_instance(keys::ORDERS, instance)).await?;
        found.map(|row| Ok(Numbered { seq: get_number(&row, "seq")?, order: get_record(&row)? })).transpose()
    }

    async fn touch_lease(&self, instance: &InstanceId, at: Timestamp) -> Result<(), StoreError> {
        self.write_lease(instance, at).await
    }

    async fn use_once(&self, key: &str, until: Timestamp) -> Result<bool, StoreError> {
        self.write_once(key, until).await
    }

    async fn config(&self) -> Result<Option<String>, StoreError> {
        let found = self.get("reading the configuration", &keys::config()).await?;
        found.map(|row| get_text(&row, CONFIG).map(str::to_owned)).transpose()
    }

    async fn put_config(&self, config: &str) -> Result<(), StoreError> {
        self.set_text("keeping the configuration", &keys::config(), CONFIG, config).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found = self.get("reading a note", &keys::note(name)).await?;
        found.map(|row| get_text(&row, TEXT).map(str::to_owned)).transpose()
    }

    async fn put_note(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.set_text("putting a note down", &keys::note(name), TEXT, value).await
    }

    async fn history(&self, job: JobId) -> Result<Vec<Fact>, StoreError> {
        self.read_history(job).await
    }
}

impl Upkeep for DynamoLedger {
    async fn prune(&self, now: Timestamp) -> Result<Pruned, StoreError> {
        self.forget_old(now).await
    }

    async fn ledger_page(&self, after: Option<JobKey>, max: usize) -> Result<Vec<JobRecord>, StoreError> {
        self.read_page(after, max).await
    }

    async fn set_aside(&self, max: usize) -> Result<Vec<SetAside>, StoreError> {
        self.read_set_aside(max).await
    }

    async fn fact_by_key(&self, key: &str) -> Result<Option<Fact>, StoreError> {
        let found = self.get("reading a fact", &keys::fact(key)).await?;
        Ok(found.map(|row| facts::read(&row)).transpose()?.and_then(Result::ok))
    }

    async fn put_raw(&self, key: &str, received_at: Timestamp, body: &str) -> Result<Put, StoreError> {
        self.put_fact_row(FactRow::raw(key, received_at, body)).await
    }

    async fn lease(&self, instance: &InstanceId) -> Result<Option<Timestamp>, StoreError> {
        let found = self.get("reading a lease", &keys::of_instance(keys::LEASES, instance)).await?;
        found.map(|row| row::get_at(&row, claims::HEARD_AT)).transpose()
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.count_rows().await
    }
}
