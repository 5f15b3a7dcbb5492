//! Writes under a condition, whose answer may be lost on the way.
//!
//! The SDK then asks once more, and the condition fails on what the first request has written. So each carries a random
//! word of its own: a row that has it is ours, and the answer is that it was written.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use muster_core::ports::StoreError;
use rand::TryRng;
use rand::rngs::SysRng;

use super::DynamoLedger;
use super::row::{Row, names, text, values};
use super::trouble::told;

/// The word of the request that put the row.
pub(super) const ATTEMPT: &str = "attempt";

/// There is no row with this key.
pub(super) const ABSENT: &str = "attribute_not_exists(#pk)";

/// What a refused request asks back: the row that was in the way.
pub(super) const TELL_ROW: ReturnValuesOnConditionCheckFailure = ReturnValuesOnConditionCheckFailure::AllOld;

/// A word that no other request has.
pub(super) fn attempt() -> Result<String, StoreError> {
    let random = SysRng.try_next_u64();
    random.map(|word| format!("{word:016x}")).map_err(|error| {
        StoreError::Unavailable(format!("the system gives no random numbers, which writes need: {error}"))
    })
}

/// Whether the row in the way was written by the request with this word.
pub(super) fn is_ours(in_the_way: Option<&Row>, attribute: &str, attempt: &str) -> bool {
    let found = in_the_way.and_then(|row| row.get(attribute)).and_then(|value| value.as_s().ok());
    found.is_some_and(|word| word == attempt)
}

impl DynamoLedger {
    /// Puts a row on a condition; whether it was met. The inner error is for callers who can do something about it.
    pub(super) async fn put_if(
        &self,
        mut row: Row,
        condition: &str,
        with: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<Result<bool, Box<SdkError<PutItemError>>>, StoreError> {
        let attempt = attempt()?;
        row.insert(ATTEMPT.to_owned(), text(&attempt));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(row));
        let put = put.set_expression_attribute_names(names(&[condition])).set_expression_attribute_values(values(with));
        let put = put.condition_expression(condition).return_values_on_condition_check_failure(TELL_ROW);
        let error = match put.send().await {
            Ok(_) => return Ok(Ok(true)),
            Err(error) => error,
        };
        let Some(PutItemError::ConditionalCheckFailedException(refused)) = error.as_service_error() else {
            return Ok(Err(Box::new(error)));
        };
        Ok(Ok(is_ours(refused.item(), ATTEMPT, &attempt)))
    }

    /// Puts a row unless there is one; whether it did.
    pub(super) async fn put_new(&self, what: &str, row: Row) -> Result<bool, StoreError> {
        self.put_if(row, ABSENT, []).await?.map_err(|error| told(&self.table, what, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_row_is_ours() {
        let (one, two) = (attempt().unwrap(), attempt().unwrap());
        assert!(one != two && one.len() == 16);
        let row = Row::from([(ATTEMPT.to_owned(), text(&one))]);
        assert!(is_ours(Some(&row), ATTEMPT, &one));
        assert!(!is_ours(Some(&row), ATTEMPT, &two));
        assert!(!is_ours(Some(&row), "attached", &one));
        assert!(!is_ours(None, ATTEMPT, &one));
    }
}
