//! Muster's adapters for AWS. The only crate that names an AWS SDK.
//!
//! What lives here: ports of [`muster_core`] and [`muster_store`] in terms of AWS calls. What may not: decisions, a retry
//! beyond the SDK's one, and an SDK type in an answer.
//!
//! Invariant: every failure is told with what was tried, where, and what to do about it.

mod bell;
mod calls;
mod checkup;
mod cloud;
mod config_object;
mod connect;
mod count;
mod identity;
mod ledger;
mod log_shelf;
mod secrets;

pub use aws_config::SdkConfig;
pub use bell::{HOLD_BACK_MAX, SLOT, SqsBell, SqsWake, WAKE_DELAY_MAX, hold_back};
pub use checkup::{Caller, caller, queue_is_fifo};
pub use cloud::{AccountCheckup, AwsCloud, Config, FLEET_TAG, Now, SHAPE_TAG, Stack, There, VcpuQuota, WayOut};
pub use config_object::{ConfigObject, ConfigObjectError, ConfigVersion, ObjectAddress};
pub use connect::{aws_config, dynamo, sqs};
pub use identity::{AUDIENCE_HEADER, EXPIRES_S, RoleError, StsIdentity, StsSettings, StsSettingsError, TrustedRole};
pub use ledger::{DynamoLedger, EXPIRES, LIVE, PARTITION, SORT, make_table, table_faults};
pub use log_shelf::S3LogShelf;
pub use secrets::{AwsSecretError, AwsSecrets, PREVIOUS_FOR, SECRET_AGE_MAX, SECRET_RETRY_AFTER, SecretValues};
