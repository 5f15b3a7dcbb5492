//! What goes wrong is told: where, and what to do.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use muster_aws::DynamoLedger;
use muster_core::ports::{Batch, Store, StoreError};
use muster_store::contract::samples::{job, queued};

use super::emulator::{BOTH, block_on, config, fresh, random};

fn unavailable<T>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(why)) => why,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it went well"),
    }
}

#[test]
fn an_unknown_table_is_named_with_a_remedy() {
    for emulator in BOTH {
        let table = format!("muster-{}", random());
        let why = unavailable(block_on(DynamoLedger::open(emulator.client(), &table, "01234567")));
        assert!(why.contains(&table) && why.contains("name the stack's table"), "{why}");
    }
}

#[test]
fn a_table_that_is_deleted_under_us_is_an_error() {
    for emulator in BOTH {
        let fresh = fresh(emulator);
        let store = &fresh.store;
        block_on(async {
            fresh.client.delete_table().table_name(&fresh.table).send().await.unwrap();
            let generation = Default::default();
            for why in [
                unavailable(store.put_fact(&queued(job(1), 0)).await),
                unavailable(store.new_facts(10).await),
                unavailable(store.load().await),
                unavailable(store.jobs(&[job(1)]).await),
                unavailable(store.commit(&Batch::default(), generation).await),
            ] {
                assert!(why.contains(&fresh.table) && why.contains("name the stack's table"), "{why}");
            }
        });
    }
}

/// A table that was emptied is not taken for a new ledger by a process that knows it otherwise.
#[test]
fn an_emptied_table_is_not_a_new_ledger() {
    for emulator in BOTH {
        let fresh = fresh(emulator);
        block_on(async {
            let key = [(muster_aws::PARTITION, "meta"), (muster_aws::SORT, "generation")];
            let mut delete = fresh.client.delete_item().table_name(&fresh.table);
            for (name, value) in key {
                delete = delete.key(name, aws_sdk_dynamodb::types::AttributeValue::S(value.to_owned()));
            }
            delete.send().await.unwrap();
            let Err(StoreError::Unreadable(why)) = fresh.store.load().await else { panic!("it was loaded") };
            assert!(why.contains(&fresh.table) && why.contains("emptied"), "{why}");
            let refused = fresh.store.commit(&Batch::default(), Default::default()).await.unwrap_err().to_string();
            assert!(refused.contains("emptied"), "{refused}");
        });
    }
}

#[test]
fn an_unreachable_endpoint_is_an_error_in_time() {
    // A port that was free a moment ago: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = Client::from_conf(config(&format!("http://127.0.0.1:{port}")).build());
    let began = Instant::now();
    let why = unavailable(block_on(DynamoLedger::open(client, "muster", "01234567")));
    assert!(why.contains("DynamoDB table muster") && why.contains("network path"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
