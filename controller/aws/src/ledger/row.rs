//! Rows as DynamoDB has them: maps of attributes, written and read.

use std::collections::HashMap;
use std::fmt::Display;

use aws_sdk_dynamodb::types::AttributeValue;
use muster_core::ports::StoreError;
use muster_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::{PARTITION, RowKey, SORT};

pub(super) type Row = HashMap<String, AttributeValue>;

/// A record, whole, as JSON: the same text as in every other ledger.
pub(super) const RECORD: &str = "record";

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The instant from which on DynamoDB may forget a row.
pub(super) fn expiry(at: Timestamp) -> AttributeValue {
    // Rounded up: never too soon.
    number(at.unix_ms().div_euclid(1_000) + 1)
}

pub(super) fn key(of: &RowKey) -> Row {
    HashMap::from([(PARTITION.to_owned(), text(&of.partition)), (SORT.to_owned(), text(&of.sort))])
}

/// Where a row is.
pub(super) fn place(row: &Row) -> Result<RowKey, StoreError> {
    Ok(RowKey { partition: get_text(row, PARTITION)?.to_owned(), sort: get_text(row, SORT)?.to_owned() })
}

/// A row with its key.
pub(super) fn row(of: &RowKey, attributes: impl IntoIterator<Item = (&'static str, AttributeValue)>) -> Row {
    let mut row = key(of);
    row.extend(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)));
    row
}

/// The names in expressions: `#seq` is the attribute `seq`, whether DynamoDB has reserved the word or not.
pub(super) fn names(expressions: &[&str]) -> Option<HashMap<String, String>> {
    let is_word = |byte: &char| byte.is_ascii_alphanumeric() || *byte == '_';
    let after = expressions.iter().flat_map(|expression| expression.split('#').skip(1));
    let words = after.map(|rest| rest.chars().take_while(is_word).collect::<String>());
    let names: HashMap<String, String> = words.map(|word| (format!("#{word}"), word)).collect();
    (!names.is_empty()).then_some(names)
}

/// The values in expressions.
pub(super) fn values(of: impl IntoIterator<Item = (&'static str, AttributeValue)>) -> Option<Row> {
    let values: Row = of.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    (!values.is_empty()).then_some(values)
}

/// The size of a row's names and values, as DynamoDB counts it or a little more. Ours have texts and numbers.
pub(super) fn bytes(row: &Row) -> usize {
    let value = |value: &AttributeValue| value.as_s().or_else(|_| value.as_n()).map_or(0, String::len);
    row.iter().map(|(name, of)| name.len() + value(of)).sum()
}

pub(super) fn to_json(record: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record)
        .map_err(|error| StoreError::Unavailable(format!("a record cannot be written as JSON: {error}")))
}

fn name(row: &Row) -> String {
    let of = |attribute: &str| row.get(attribute).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
    format!("{} {}", of(PARTITION), of(SORT))
}

fn unreadable(row: &Row, attribute: &str, why: impl Display) -> StoreError {
    StoreError::Unreadable(format!("{}: {attribute}: {why}", name(row)))
}

pub(super) fn get_text<'r>(row: &'r Row, attribute: &str) -> Result<&'r str, StoreError> {
    let value = row.get(attribute).and_then(|value| value.as_s().ok());
    value.map(String::as_str).ok_or_else(|| unreadable(row, attribute, "there is no such text"))
}

pub(super) fn get_number<T: std::str::FromStr<Err: Display>>(row: &Row, attribute: &str) -> Result<T, StoreError> {
    let value = row.get(attribute).and_then(|value| value.as_n().ok());
    let digits = value.ok_or_else(|| unreadable(row, attribute, "there is no such number"))?;
    digits.parse().map_err(|error| unreadable(row, attribute, error))
}

pub(super) fn get_at(row: &Row, attribute: &str) -> Result<Timestamp, StoreError> {
    get_number(row, attribute).map(Timestamp::from_unix_ms)
}

pub(super) fn get_record<T: DeserializeOwned>(row: &Row) -> Result<T, StoreError> {
    serde_json::from_str(get_text(row, RECORD)?).map_err(|error| unreadable(row, RECORD, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_expressions() {
        let found = names(&["SET #record = :r, #seq = :s REMOVE #live", "attribute_exists(#live)"]).unwrap();
        let expected = [("#record", "record"), ("#seq", "seq"), ("#live", "live")];
        assert_eq!(found, expected.map(|(name, word)| (name.to_owned(), word.to_owned())).into());
        assert_eq!(names(&["x = :y"]), None);
        assert_eq!(values([]), None);
    }

    #[test]
    fn nothing_expires_too_soon() {
        for (ms, seconds) in [(1_000, "2"), (1_001, "2"), (1_999, "2"), (-1, "0")] {
            assert_eq!(expiry(Timestamp::from_unix_ms(ms)), AttributeValue::N(seconds.to_owned()));
        }
    }
}
