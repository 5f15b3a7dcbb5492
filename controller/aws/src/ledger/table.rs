//! The table: one for each fleet. Its form is written here once; the stack's template says the same, and tests make it
//! from here.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, LocalSecondaryIndex, Projection, ProjectionType,
    ScalarAttributeType, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use muster_core::ports::StoreError;

use super::keys::{EXPIRES, LIVE, PARTITION, SORT};
use super::trouble::told;

fn attribute(name: &str, kind: ScalarAttributeType) -> Result<AttributeDefinition, StoreError> {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().map_err(incomplete)
}

fn key(name: &str, kind: KeyType) -> Result<KeySchemaElement, StoreError> {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().map_err(incomplete)
}

/// A request of ours lacks a part: a bug.
pub(super) fn incomplete(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("a request to DynamoDB could not be made: {error}"))
}

/// Makes the table if it is not there, and switches its expiry on. For tests and for a service outside the stack, which
/// makes the table itself.
///
/// # Errors
/// [`StoreError::Unavailable`], with what to do.
pub async fn make_table(client: &Client, table: &str) -> Result<(), StoreError> {
    let index = LocalSecondaryIndex::builder()
        .index_name(LIVE)
        .key_schema(key(PARTITION, KeyType::Hash)?)
        .key_schema(key(LIVE, KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::All).build())
        .build()
        .map_err(incomplete)?;
    let made = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute(PARTITION, ScalarAttributeType::S)?)
        .attribute_definitions(attribute(SORT, ScalarAttributeType::S)?)
        .attribute_definitions(attribute(LIVE, ScalarAttributeType::N)?)
        .key_schema(key(PARTITION, KeyType::Hash)?)
        .key_schema(key(SORT, KeyType::Range)?)
        .local_secondary_indexes(index)
        .send()
        .await;
    match made {
        Ok(_) => {}
        Err(SdkError::ServiceError(answer)) if matches!(answer.err(), CreateTableError::ResourceInUseException(_)) => {
            return Ok(());
        }
        Err(error) => return Err(told(table, "making it", &error)),
    }
    wait_until_active(client, table).await?;
    let expiry =
        TimeToLiveSpecification::builder().attribute_name(EXPIRES).enabled(true).build().map_err(incomplete)?;
    let set = client.update_time_to_live().table_name(table).time_to_live_specification(expiry).send().await;
    set.map(|_| ()).map_err(|error| told(table, "switching its expiry on", &error))
}

/// What a table is like that is to be a ledger, and is not as it must be. Empty: it is. It only reads.
///
/// # Errors
/// [`StoreError::Unavailable`], with what to do: above all that there is no such table.
pub async fn table_faults(client: &Client, table: &str) -> Result<Vec<String>, StoreError> {
    let described = client.describe_table().table_name(table).send().await;
    let described = described.map_err(|error| told(table, "describing it", &error))?;
    let Some(form) = described.table() else { return Ok(vec!["DynamoDB tells nothing of it".to_owned()]) };
    let mut faults = Vec::new();
    if !matches!(form.table_status(), Some(TableStatus::Active | TableStatus::Updating)) {
        let status = form.table_status().map_or("unknown", TableStatus::as_str);
        faults.push(format!("its status is {status}"));
    }
    let keys = |schema: &[KeySchemaElement]| -> Vec<String> {
        schema.iter().map(|element| format!("{} ({})", element.attribute_name(), element.key_type().as_str())).collect()
    };
    let wanted = |sort: &str| vec![format!("{PARTITION} (HASH)"), format!("{sort} (RANGE)")];
    let key = keys(form.key_schema());
    if key != wanted(SORT) {
        faults.push(format!("its key is {}, and not {}", key.join(", "), wanted(SORT).join(", ")));
    }
    let index = form.local_secondary_indexes().iter().find(|index| index.index_name() == Some(LIVE));
    if index.is_none_or(|index| keys(index.key_schema()) != wanted(LIVE)) {
        faults.push(format!("it has no local index {LIVE} by {}", wanted(LIVE).join(", ")));
    }
    let expiry = client.describe_time_to_live().table_name(table).send().await;
    let expiry = expiry.map_err(|error| told(table, "describing its expiry", &error))?;
    let expiry = expiry.time_to_live_description().filter(|expiry| {
        matches!(expiry.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
    });
    if expiry.and_then(|expiry| expiry.attribute_name()) != Some(EXPIRES) {
        faults.push(format!("rows do not expire by {EXPIRES}"));
    }
    Ok(faults)
}

async fn wait_until_active(client: &Client, table: &str) -> Result<(), StoreError> {
    use aws_sdk_dynamodb::client::Waiters;
    const TABLE_WITHIN: std::time::Duration = std::time::Duration::from_secs(120);
    let waited = client.wait_until_table_exists().table_name(table).wait(TABLE_WITHIN).await;
    waited.map(|_| ()).map_err(|error| StoreError::Unavailable(format!("DynamoDB table {table}: {error}")))
}
