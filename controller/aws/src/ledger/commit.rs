//! The scaler's write: one transaction if the batch fits, several if not.
//!
//! Invariant: every transaction checks the generation and raises it. Whoever else writes makes the next one fail.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, Delete, Put, TransactWriteItem, Update};
use muster_core::ids::Generation;
use muster_core::ports::{Batch, StoreError};

use super::batch::{Change, Verdict, changes, fact_expiry, parts};
use super::row::{self, names, number, text, values};
use super::table::incomplete;
use super::trouble::told;
use super::{DynamoLedger, keys};

/// What keeps a transaction from happening when somebody else has written, or is writing.
const CONDITION: &str = "ConditionalCheckFailed";
const MEANWHILE: &str = "TransactionConflict";

impl DynamoLedger {
    /// Writes a batch, in parts if it must be.
    pub(super) async fn write(&self, batch: &Batch, expected: Generation) -> Result<Generation, StoreError> {
        let mut generation = expected;
        for part in parts(changes(batch, &self.places)?) {
            generation = self.write_part(part, generation).await?;
        }
        let aside = batch.set_aside.iter().map(|(seq, _)| *seq);
        self.places.judged(batch.merged.iter().copied().chain(aside));
        Ok(generation)
    }

    async fn write_part(&self, part: Vec<Change>, expected: Generation) -> Result<Generation, StoreError> {
        let next = Generation(expected.0 + 1);
        let mut items = vec![self.raise(expected, next)?];
        for change in part {
            items.push(self.item(change, next)?);
        }
        // The SDK adds a token, so that its one repetition after a lost answer is the same transaction.
        match self.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(next),
            Err(error) => Err(self.refused(expected, &error).await),
        }
    }

    /// Why a transaction did not happen.
    async fn refused(&self, expected: Generation, error: &SdkError<TransactWriteItemsError>) -> StoreError {
        let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
            return told(&self.table, "committing", error);
        };
        let reasons: Vec<&str> = canceled.cancellation_reasons().iter().filter_map(CancellationReason::code).collect();
        let first = reasons.first().copied().unwrap_or_default();
        if first == CONDITION || first == MEANWHILE {
            match self.meta().await {
                Ok((_, found)) if found != expected => return StoreError::Conflict { expected, found },
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        let why = if reasons.contains(&MEANWHILE) {
            "another process was writing one of the rows at that moment; nothing of this transaction was written"
        } else if reasons.contains(&CONDITION) {
            "a fact was judged by another writer in the meantime; nothing of this transaction was written"
        } else {
            return told(&self.table, "committing", error);
        };
        StoreError::Unavailable(format!("DynamoDB table {}: committing: {why}; load again", self.table))
    }

    fn raise(&self, expected: Generation, next: Generation) -> Result<TransactWriteItem, StoreError> {
        let (update, condition) = ("SET #generation = :next", "#generation = :expected");
        let raise = Update::builder()
            .table_name(&self.table)
            .set_key(Some(row::key(&keys::generation())))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(names(&[update, condition]))
            .set_expression_attribute_values(values([(":next", number(next.0)), (":expected", number(expected.0))]));
        Ok(TransactWriteItem::builder().update(raise.build().map_err(incomplete)?).build())
    }

    fn item(&self, change: Change, next: Generation) -> Result<TransactWriteItem, StoreError> {
        let item = TransactWriteItem::builder();
        let update = Update::builder().table_name(&self.table);
        let item = match change {
            Change::Put(row) => {
                item.put(Put::builder().table_name(&self.table).set_item(Some(row)).build().map_err(incomplete)?)
            }
            Change::Delete(of) => {
                let delete = Delete::builder().table_name(&self.table).set_key(Some(row::key(&of)));
                item.delete(delete.build().map_err(incomplete)?)
            }
            Change::Order { at, count, record } => {
                let set = "SET #seq = if_not_exists(#seq, :none) + :count, #record = :record";
                let with = [(":none", number(0)), (":count", number(count)), (":record", text(record))];
                let update = update.set_key(Some(row::key(&at))).update_expression(set);
                let update = update.set_expression_attribute_names(names(&[set]));
                item.update(update.set_expression_attribute_values(values(with)).build().map_err(incomplete)?)
            }
            Change::Judge { fact, verdict } => {
                let (set, verdict) = match verdict {
                    Verdict::Merged => ("SET #merged = :verdict, #expires = :expires REMOVE #live", number(next.0)),
                    Verdict::SetAside(why) => ("SET #reason = :verdict, #expires = :expires REMOVE #live", text(why)),
                };
                // The generation says who may judge. This keeps a verdict that comes too late from being a second one,
                // and from making a row out of nothing.
                let condition = "attribute_exists(#live)";
                let with = [(":verdict", verdict), (":expires", fact_expiry(fact.received_at))];
                let update = update.set_key(Some(row::key(&fact.at))).update_expression(set);
                let update = update.condition_expression(condition);
                let update = update.set_expression_attribute_names(names(&[set, condition]));
                item.update(update.set_expression_attribute_values(values(with)).build().map_err(incomplete)?)
            }
        };
        Ok(item.build())
    }
}
