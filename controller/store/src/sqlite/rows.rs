//! Small things that every table needs: reading rows, and records kept as JSON.

use std::fmt::Display;

use muster_core::ports::StoreError;
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::trouble::{Failure, Outcome};

/// A number of rows as SQLite wants it.
pub(super) fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

/// All rows of a query.
pub(super) fn rows<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Outcome<Vec<T>> {
    let mut select = conn.prepare_cached(sql)?;
    let rows = select.query_map(params, read)?;
    Ok(rows.collect::<rusqlite::Result<Vec<T>>>()?)
}

/// The one row of a query, if there is one.
pub(super) fn row<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Outcome<Option<T>> {
    Ok(conn.prepare_cached(sql)?.query_row(params, read).optional()?)
}

/// Runs a statement and says how many rows it changed.
pub(super) fn run(conn: &Connection, sql: &str, params: impl Params) -> Outcome<usize> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

/// The records of a query that gives `name, record`. One that does not read must not hide the others: it is named in
/// `unreadable`.
pub(super) fn records<T: DeserializeRecord>(
    conn: &Connection,
    table: &str,
    sql: &str,
    unreadable: &mut Vec<String>,
) -> Outcome<Vec<T>> {
    let texts = rows(conn, sql, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let read = texts.into_iter().filter_map(|(name, text)| match serde_json::from_str(&text) {
        Ok(record) => Some(record),
        Err(error) => {
            unreadable.push(format!("{table} {name}: {error}"));
            None
        }
    });
    Ok(read.collect())
}

/// What can be read from a record.
pub(super) trait DeserializeRecord: for<'de> serde::Deserialize<'de> {}
impl<T: for<'de> serde::Deserialize<'de>> DeserializeRecord for T {}

/// Reads a record; the error names its row.
pub(super) fn from_json<T: DeserializeRecord>(row: impl Display, text: &str) -> Outcome<T> {
    serde_json::from_str(text).map_err(|error| Failure::unreadable(row, error))
}

/// Writes a record.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    let failed = |error| StoreError::Unavailable(format!("a record cannot be written as JSON: {error}"));
    serde_json::to_string(value).map_err(failed)
}
