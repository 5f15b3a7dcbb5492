//! What door and registrar write: claims, leases, one-time keys.
//!
//! A claim's sealed configuration is an attribute of its own, so that it can be dropped without the record being read.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use muster_core::claim::ClaimRow;
use muster_core::ids::InstanceId;
use muster_core::ports::StoreError;
use muster_core::time::Timestamp;

use super::DynamoLedger;
use super::attempt::{TELL_ROW, attempt, is_ours};
use super::keys::{self, CLAIMS, EXPIRES, LEASES, LIVE};
use super::read::Which;
use super::row::{self, RECORD, Row, expiry, get_record, get_text, names, number, row, text, to_json, values};
use super::trouble::told;
use muster_store::JOB_RETENTION;

pub(super) const SESSION: &str = "session";
pub(super) const CLAIMED_AT: &str = "claimed_at";
pub(super) const HEARD_AT: &str = "heard_at";
pub(super) const UNTIL: &str = "until";
const SEALED: &str = "sealed";
/// The word of the request that attached the configuration.
const ATTACHED: &str = "attached";

/// The record, without what has an attribute of its own.
fn record(claim: &ClaimRow) -> Result<String, StoreError> {
    to_json(&ClaimRow { sealed_config: None, ..claim.clone() })
}

fn write(claim: &ClaimRow) -> Result<Row, StoreError> {
    let attributes = [
        (SESSION, number(claim.session)),
        (CLAIMED_AT, number(claim.claimed_at.unix_ms())),
        (RECORD, text(record(claim)?)),
    ];
    let mut row = row(&keys::of_instance(CLAIMS, &claim.instance), attributes);
    if claim.registration.is_none() {
        row.insert(LIVE.to_owned(), number(claim.claimed_at.unix_ms()));
    }
    if let Some(sealed) = &claim.sealed_config {
        row.insert(SEALED.to_owned(), text(sealed));
    }
    Ok(row)
}

fn read(row: &Row) -> Result<ClaimRow, StoreError> {
    let sealed_config = if row.contains_key(SEALED) { Some(get_text(row, SEALED)?.to_owned()) } else { None };
    Ok(ClaimRow { sealed_config, ..get_record(row)? })
}

impl DynamoLedger {
    async fn claim_row(&self, instance: &InstanceId) -> Result<Option<Row>, StoreError> {
        self.get("reading a claim", &keys::of_instance(CLAIMS, instance)).await
    }

    pub(super) async fn read_claim(&self, instance: &InstanceId) -> Result<Option<ClaimRow>, StoreError> {
        self.claim_row(instance).await?.map(|row| read(&row)).transpose()
    }

    pub(super) async fn write_claim(&self, claim: &ClaimRow) -> Result<bool, StoreError> {
        let condition = "attribute_not_exists(#pk) OR #session < :session";
        let put = self.put_if(write(claim)?, condition, [(":session", number(claim.session))]).await?;
        put.map_err(|error| told(&self.table, "storing a claim", &error))
    }

    /// Adds registration and configuration, once. The condition is the record that was read: it names the session, and
    /// changes only by this and by a later session.
    pub(super) async fn attach(&self, told_row: &ClaimRow) -> Result<bool, StoreError> {
        let Some(found) = self.claim_row(&told_row.instance).await? else { return Ok(false) };
        let known = read(&found)?;
        if known.session != told_row.session || known.registration.is_some() {
            return Ok(false);
        }
        let registered = ClaimRow { registration: told_row.registration.clone(), ..known };
        let attempt = attempt()?;
        let mut with = vec![
            (":known", text(get_text(&found, RECORD)?)),
            (":record", text(record(&registered)?)),
            (":attempt", text(&attempt)),
        ];
        let (mut set, mut remove) = ("SET #record = :record, #attached = :attempt".to_owned(), Vec::new());
        match &told_row.sealed_config {
            Some(sealed) => {
                set.push_str(", #sealed = :sealed");
                with.push((":sealed", text(sealed)));
            }
            None => remove.push("#sealed"),
        }
        if registered.registration.is_some() {
            remove.push("#live");
        }
        if !remove.is_empty() {
            set = format!("{set} REMOVE {}", remove.join(", "));
        }
        let changed = self.alter(CLAIMS, &told_row.instance, &set, "#record = :known", with).await;
        match changed {
            Ok(Altered::Yes) => Ok(true),
            Ok(Altered::No(in_the_way)) => Ok(is_ours(in_the_way.as_ref(), ATTACHED, &attempt)),
            Err(error) => Err(told(&self.table, "attaching a configuration", &error)),
        }
    }

    pub(super) async fn drop_sealed(&self, instance: &InstanceId, session: u32) -> Result<(), StoreError> {
        let with = vec![(":session", number(session))];
        match self.alter(CLAIMS, instance, "REMOVE #sealed", "#session = :session", with).await {
            Ok(_) => Ok(()),
            Err(error) => Err(told(&self.table, "dropping a configuration", &error)),
        }
    }

    /// Claims without a registration, oldest first.
    pub(super) async fn read_unminted(&self) -> Result<Vec<ClaimRow>, StoreError> {
        let rows = self.query("reading claims that wait", CLAIMS, Which::Live, None).await?;
        // One that does not read must not keep the others from their configurations.
        let mut claims: Vec<_> = rows.iter().filter_map(|row| read(row).ok()).collect();
        claims.sort_by(|a, b| (a.claimed_at, &a.instance).cmp(&(b.claimed_at, &b.instance)));
        Ok(claims)
    }

    pub(super) async fn write_lease(&self, instance: &InstanceId, at: Timestamp) -> Result<(), StoreError> {
        // One that is noted after its machine was forgotten goes by itself.
        let with = vec![(":at", number(at.unix_ms())), (":expires", expiry(at + JOB_RETENTION))];
        let condition = "attribute_not_exists(#heard_at) OR #heard_at < :at";
        match self.alter(LEASES, instance, "SET #heard_at = :at, #expires = :expires", condition, with).await {
            // If it fails, it was heard of later.
            Ok(_) => Ok(()),
            // It is being forgotten, or noted by another: neither needs this one.
            Err(error) if error.code() == Some("TransactionConflictException") => Ok(()),
            Err(error) => Err(told(&self.table, "noting that a machine was heard of", &error)),
        }
    }

    pub(super) async fn write_once(&self, key: &str, until: Timestamp) -> Result<bool, StoreError> {
        let attributes = [(UNTIL, number(until.unix_ms())), (EXPIRES, expiry(until))];
        self.put_new("using a one-time key", row(&keys::once(key), attributes)).await
    }

    /// Changes one row of a machine, on a condition.
    async fn alter(
        &self,
        kind: &str,
        instance: &InstanceId,
        update: &str,
        condition: &str,
        with: Vec<(&'static str, AttributeValue)>,
    ) -> Result<Altered, Box<SdkError<UpdateItemError>>> {
        let key = row::key(&keys::of_instance(kind, instance));
        let request = self.client.update_item().table_name(&self.table).set_key(Some(key));
        let request = request.update_expression(update).condition_expression(condition);
        let request = request.set_expression_attribute_names(names(&[update, condition]));
        let request = request.set_expression_attribute_values(values(with));
        match request.return_values_on_condition_check_failure(TELL_ROW).send().await {
            Ok(_) => Ok(Altered::Yes),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(Altered::No(refused.item().cloned()))
                }
                _ => Err(Box::new(error)),
            },
        }
    }
}

/// Whether a row was changed; if not, what is in the way.
enum Altered {
    Yes,
    No(Option<Row>),
}
