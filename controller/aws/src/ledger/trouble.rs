//! What can go wrong between us and DynamoDB, in words that name the table and say what to do.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use muster_core::ports::StoreError;

use crate::calls;

/// What to do about error codes that mean something of their own here.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => "there is no such table here: name the stack's table, and its region",
        "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded" => {
            "the table is throttled: on-demand capacity grows within minutes; see the limits of the account"
        }
        "ItemCollectionSizeLimitExceededException" => "one partition holds 10 GB: is expiry switched on for the table?",
        _ => return None,
    })
}

/// A failed call, as the port wants it.
pub(super) fn told<E>(table: &str, what: &str, error: &SdkError<E>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let why = calls::why_with(error, remedy);
    StoreError::Unavailable(format!("DynamoDB table {table}: {what}: {why}"))
}
