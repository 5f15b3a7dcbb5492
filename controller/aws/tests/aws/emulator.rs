//! Where the emulators are, and fresh tables in them.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, Credentials, Region};
use aws_sdk_dynamodb::types::TimeToLiveSpecification;
use muster_aws::{DynamoLedger, EXPIRES, aws_config, make_table};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::runtime::Runtime;

/// What stands in for DynamoDB.
///
/// Moto copies all of its tables for each transaction, without a lock, and puts the copy back when the transaction fails:
/// what is written in the meantime is lost, or the copying breaks. So one test at a time uses it, with one table, and
/// what several processes do at once is tried on ministack alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Emulator {
    Ministack,
    Moto,
}

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BOTH: [Emulator; 2] = [Emulator::Ministack, Emulator::Moto];

impl Emulator {
    pub(crate) fn endpoint(self) -> String {
        let name = match self {
            Emulator::Ministack => "MUSTER_TEST_MINISTACK",
            Emulator::Moto => "MUSTER_TEST_MOTO",
        };
        std::env::var(name).unwrap_or_else(|_| {
            panic!(
                "{name} does not say where the emulator is: `bash .ci/run emulators` starts both and runs these tests"
            )
        })
    }

    pub(crate) fn client(self) -> Client {
        static CLIENTS: [OnceLock<Client>; 2] = [OnceLock::new(), OnceLock::new()];
        // An emulator on a busy machine takes longer than the real one may.
        let patient = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).operation_timeout(PATIENCE).build();
        let make = || Client::from_conf(config(&self.endpoint()).timeout_config(patient).build());
        CLIENTS[self as usize].get_or_init(make).clone()
    }
}

/// What clients of all services are made from.
pub(crate) fn shared_config(emulator: Emulator) -> aws_config::SdkConfig {
    let patient = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).operation_timeout(PATIENCE).build();
    let credentials = Credentials::new("test", "test", None, None, "tests");
    block_on(aws_config(Some(&emulator.endpoint())))
        .into_builder()
        .region(Region::new("us-east-1"))
        .credentials_provider(aws_sdk_dynamodb::config::SharedCredentialsProvider::new(credentials))
        .timeout_config(patient)
        .build()
}

/// A client's configuration with the adapter's own limits.
pub(crate) fn config(endpoint: &str) -> Builder {
    let config = block_on(aws_config(Some(endpoint)));
    let credentials = Credentials::new("test", "test", None, None, "tests");
    Builder::from(&config).region(Region::new("us-east-1")).credentials_provider(credentials)
}

/// One for all: connections belong to the runtime that made them.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).block_on(future)
}

pub(crate) fn random() -> String {
    format!("{:08x}", SysRng.try_next_u32().unwrap())
}

/// An empty ledger in a table of its own.
pub(crate) struct Fresh {
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) store: DynamoLedger,
    _alone: Option<MutexGuard<'static, ()>>,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // A test may have deleted it itself.
        let _ = block_on(self.client.delete_table().table_name(&self.table).send());
    }
}

impl Fresh {
    /// Another process on the same table.
    pub(crate) fn other(&self) -> DynamoLedger {
        block_on(DynamoLedger::open(self.client.clone(), &self.table, &random())).unwrap()
    }
}

pub(crate) fn fresh(emulator: Emulator) -> Fresh {
    static MOTO: Mutex<()> = Mutex::new(());
    let alone = match emulator {
        Emulator::Ministack => None,
        Emulator::Moto => Some(MOTO.lock().unwrap_or_else(PoisonError::into_inner)),
    };
    let (client, table) = (emulator.client(), format!("muster-{}", random()));
    let store = block_on(async {
        make_table(&client, &table).await.unwrap();
        // The times in the tests are past ones, and an emulator that expires rows would take them away in the middle.
        let never = TimeToLiveSpecification::builder().attribute_name(EXPIRES).enabled(false).build().unwrap();
        client.update_time_to_live().table_name(&table).time_to_live_specification(never).send().await.unwrap();
        DynamoLedger::open(client.clone(), &table, &random()).await.unwrap()
    });
    Fresh { client, table, store, _alone: alone }
}
