//! A failed call of a service, in words: what was tried, where, why, and what to do.

use std::error::Error;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// What to do about codes that mean the same everywhere; `None` if time is all that helps.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" | "AccessDeniedException" => {
            "the role of this process may not do that: compare it with the stack's policies"
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "ExpiredToken"
        | "ExpiredTokenException" => "the credentials are refused: renew them, and check the clock of this machine",
        "QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue" => {
            "there is no such queue here: name the stack's queue, and its region"
        }
        "NoSuchBucket" | "NoSuchKey" => "there is no such object: upload the configuration, or name another address",
        "ParameterNotFound" | "ResourceNotFoundException" => "there is none of this name in this account and region",
        _ => return None,
    })
}

/// The code of a service's refusal.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(|error| error.code())
}

/// Why a call failed, and what to do. The services' messages name what was asked for, never what it holds.
pub(crate) fn why<E>(error: &SdkError<E>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
{
    why_with(error, |_| None)
}

/// The same, with remedies of a service's own that come first.
pub(crate) fn why_with<E>(error: &SdkError<E>, own: fn(&str) -> Option<&'static str>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ServiceError(answer) => match answer.err().code() {
            Some(code) => {
                let message = answer.err().message().unwrap_or("no message");
                let remedy = own(code).or_else(|| remedy(code)).map(|remedy| format!("; {remedy}")).unwrap_or_default();
                format!("{code}: {message}{remedy}")
            }
            None => format!("an answer with status {} and no error code; try again", answer.raw().status()),
        },
        SdkError::ConstructionFailure(_)
        | SdkError::TimeoutError(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        | _ => format!("{}; check the network path and the credentials", chain(error)),
    }
}

/// An error and what caused it, from the outside in, each once. The SDK's own words for that end in pages of its insides.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut link = Some(error);
    while let Some(here) = link {
        let words = here.to_string();
        if told.last().is_none_or(|last| !last.ends_with(&words)) {
            told.push(words);
        }
        link = here.source();
    }
    told.join(": ")
}
