//! Who we are to AWS, and what a queue is like: for `muster doctor`. What it is to a ledger and to accounts is read there
//! (`ledger/table.rs`, `cloud/checkup.rs`).
//!
//! What lives here: reading. What may not: what is good or bad about it.

use aws_config::SdkConfig;
use aws_sdk_sqs::types::QueueAttributeName;

use crate::{calls, connect};

/// Whom the credentials are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account's number.
    pub account: String,
    /// The role or user.
    pub arn: String,
}

/// Whom the credentials of this configuration are of. Nobody can be denied this question.
///
/// # Errors
/// Why not, and what to do.
pub async fn caller(sdk: &SdkConfig) -> Result<Caller, String> {
    let told = connect::sts(sdk).get_caller_identity().send().await;
    let told = told.map_err(|error| calls::why(&error))?;
    let text = |text: Option<String>| text.unwrap_or_else(|| "(not told)".to_owned());
    Ok(Caller { account: text(told.account), arn: text(told.arn) })
}

/// Whether a queue, which is there, is a FIFO queue.
///
/// # Errors
/// Why that is not known, and what to do: above all that there is no such queue.
pub async fn queue_is_fifo(sdk: &SdkConfig, url: &str) -> Result<bool, String> {
    // Of a queue that is none, FifoQueue is an attribute that SQS does not know.
    let asked = crate::sqs(sdk).get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::QueueArn);
    let told = asked.send().await.map_err(|error| calls::why(&error))?;
    let arn = told.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
    Ok(arn.is_some_and(|arn| arn.ends_with(".fifo")))
}
