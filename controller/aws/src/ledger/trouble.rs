//! What can go wrong between us and DynamoDB, in words that name the table and say what to do.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use muster_core::ports::StoreError;

/// What to do about an error code; `None` if time is all that helps.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => "there is no such table here: name the stack's table, and its region",
        "AccessDeniedException" => "the role of this process may not do that: compare it with the stack's policies",
        "UnrecognizedClientException" | "InvalidSignatureException" | "ExpiredTokenException" => {
            "the credentials are refused: renew them, and check the clock of this machine"
        }
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
    let why = match error {
        SdkError::ServiceError(answer) => match answer.err().code() {
            Some(code) => {
                let message = answer.err().message().unwrap_or("no message");
                let remedy = remedy(code).map(|remedy| format!("; {remedy}")).unwrap_or_default();
                format!("{code}: {message}{remedy}")
            }
            None => format!("an answer with status {} and no error code; try again", answer.raw().status()),
        },
        SdkError::ConstructionFailure(_)
        | SdkError::TimeoutError(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | _ => format!("{}; check the network path to DynamoDB and the credentials", DisplayErrorContext(error)),
    };
    StoreError::Unavailable(format!("DynamoDB table {table}: {what}: {why}"))
}
