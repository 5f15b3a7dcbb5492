//! A ledger in a DynamoDB table, for commands beside the functions that own it.
//!
//! Invariant: nothing here makes a ledger: an empty table is told as such.

use muster_aws::DynamoLedger;
use muster_core::ports::{Store, StoreError};

/// The ledger in this table. Region and credentials are those of the surroundings, as for AWS's own command line.
///
/// # Errors
/// The table is not there, or holds no ledger.
pub(super) async fn open(table: &str) -> Result<DynamoLedger, StoreError> {
    let ledger = DynamoLedger::at(muster_aws::dynamo(&muster_aws::aws_config(None).await), table);
    ledger.generation().await?;
    Ok(ledger)
}
