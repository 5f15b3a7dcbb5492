//! What a doctor asks, on the emulators: identity, table, queues.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TimeToLiveSpecification,
};
use aws_sdk_sqs::types::QueueAttributeName;
use muster_aws::{EXPIRES, SdkConfig, caller, queue_is_fifo, table_faults};

use crate::emulator::{BOTH, block_on, fresh, random, shared_config};

#[test]
fn whose_credentials_these_are_is_told() {
    for emulator in BOTH {
        let told = block_on(caller(&shared_config(emulator))).unwrap();
        assert!(told.arn.starts_with("arn:aws:") && told.arn.contains(&told.account), "{told:?}");
    }
    let nowhere = shared_config(BOTH[0]).into_builder().endpoint_url("http://127.0.0.1:9").build();
    let why = block_on(caller(&nowhere)).unwrap_err();
    assert!(why.contains("check the network path"), "{why}");
}

#[test]
fn a_table_is_a_ledger_only_with_its_keys_index_and_expiry() {
    for emulator in BOTH {
        let fresh = fresh(emulator);
        let (client, table) = (&fresh.client, &fresh.table);
        block_on(async {
            assert_eq!(table_faults(client, table).await.unwrap(), [format!("rows do not expire by {EXPIRES}")]);
            let expiry = TimeToLiveSpecification::builder().attribute_name(EXPIRES).enabled(true).build().unwrap();
            client.update_time_to_live().table_name(table).time_to_live_specification(expiry).send().await.unwrap();
            assert_eq!(table_faults(client, table).await.unwrap(), Vec::<String>::new());
            let gone = table_faults(client, "muster-nobody").await.unwrap_err().to_string();
            assert!(gone.contains("muster-nobody") && gone.contains("there is no such table"), "{gone}");
            // Somebody else's table.
            let other = format!("other-{}", random());
            let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
            let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
            let create = client.create_table().table_name(&other).billing_mode(BillingMode::PayPerRequest);
            let create = create.attribute_definitions(id.build().unwrap()).key_schema(key.build().unwrap());
            create.send().await.unwrap();
            let faults = table_faults(client, &other).await.unwrap();
            client.delete_table().table_name(&other).send().await.unwrap();
            assert_eq!(
                faults,
                [
                    "its key is id (HASH), and not pk (HASH), sk (RANGE)".to_owned(),
                    "it has no local index live by pk (HASH), live (RANGE)".to_owned(),
                    format!("rows do not expire by {EXPIRES}"),
                ]
            );
        });
    }
}

#[test]
fn a_queue_is_there_and_of_a_kind() {
    for emulator in BOTH {
        let sdk: SdkConfig = shared_config(emulator);
        let client = aws_sdk_sqs::Client::new(&sdk);
        block_on(async {
            for (name, fifo) in [(format!("doctor-{}.fifo", random()), true), (format!("doctor-{}", random()), false)] {
                let mut create = client.create_queue().queue_name(name);
                if fifo {
                    create = create.attributes(QueueAttributeName::FifoQueue, "true");
                }
                let url = create.send().await.unwrap().queue_url.unwrap();
                assert_eq!(queue_is_fifo(&sdk, &url).await, Ok(fifo));
                client.delete_queue().queue_url(&url).send().await.unwrap();
                let why = queue_is_fifo(&sdk, &url).await.unwrap_err();
                assert!(why.contains("there is no such queue here"), "{why}");
            }
        });
    }
}
