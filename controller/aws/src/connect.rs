//! How this process talks to AWS: region and credentials from its surroundings, limits from here.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::RequestChecksumCalculation;

use crate::count::Counter;

/// One repetition, for the connection that was closed under our hands. The tick is the retry.
const ATTEMPTS_MAX: u32 = 2;
/// The services answer within milliseconds, or something is wrong.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ATTEMPT_WITHIN: Duration = Duration::from_secs(4);
const ANSWER_WITHIN: Duration = Duration::from_secs(9);

const _: () = assert!(ATTEMPT_WITHIN.as_secs() * ATTEMPTS_MAX as u64 <= ANSWER_WITHIN.as_secs());

/// The configuration of all clients. `endpoint` is for emulators: without it, AWS's own for the region.
pub async fn aws_config(endpoint: Option<&str>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_WITHIN)
        .operation_attempt_timeout(ATTEMPT_WITHIN)
        .operation_timeout(ANSWER_WITHIN)
        .build();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(timeouts);
    match endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint).load().await,
        None => loader.load().await,
    }
}

/// DynamoDB, with this configuration.
pub fn dynamo(sdk: &SdkConfig) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(aws_sdk_dynamodb::config::Builder::from(sdk).interceptor(Counter).build())
}

/// SQS, with this configuration.
pub fn sqs(sdk: &SdkConfig) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::from_conf(aws_sdk_sqs::config::Builder::from(sdk).interceptor(Counter).build())
}

/// STS, with this configuration.
pub(crate) fn sts(sdk: &SdkConfig) -> aws_sdk_sts::Client {
    aws_sdk_sts::Client::from_conf(aws_sdk_sts::config::Builder::from(sdk).interceptor(Counter).build())
}

/// S3, with this configuration.
pub(crate) fn s3(sdk: &SdkConfig) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(sdk).interceptor(Counter).build())
}

/// S3, for addresses that others put to: whoever signs has no body to make a checksum of.
pub(crate) fn s3_for_others(sdk: &SdkConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(sdk);
    let config = config.request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// Systems Manager's parameters, with this configuration.
pub(crate) fn ssm(sdk: &SdkConfig) -> aws_sdk_ssm::Client {
    aws_sdk_ssm::Client::from_conf(aws_sdk_ssm::config::Builder::from(sdk).interceptor(Counter).build())
}

/// Secrets Manager, with this configuration.
pub(crate) fn secrets_manager(sdk: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    let config = aws_sdk_secretsmanager::config::Builder::from(sdk).interceptor(Counter).build();
    aws_sdk_secretsmanager::Client::from_conf(config)
}
