//! The table of facts.

use muster_core::fact::Fact;
use muster_core::ids::{InstanceId, JobId, JobKey};
use muster_core::ports::{NewFact, Put, StoreError};
use muster_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{limit, rows};
use super::trouble::{Failure, Outcome};
use crate::read::{instance_of, job_of, read_fact};
use crate::upkeep::SetAside;

/// A fact as it is stored, made before the connection is needed.
#[derive(Debug)]
pub(super) struct FactRow {
    key: String,
    job: Option<JobKey>,
    instance: Option<InstanceId>,
    received_at: Timestamp,
    body: String,
}

impl FactRow {
    pub(super) fn of(fact: &Fact) -> Result<FactRow, StoreError> {
        let body = serde_json::to_string(&fact.body)
            .map_err(|error| StoreError::Unavailable(format!("a fact cannot be written as JSON: {error}")))?;
        Ok(FactRow {
            key: fact.key(),
            job: job_of(&fact.body),
            instance: instance_of(&fact.body).cloned(),
            received_at: fact.received_at,
            body,
        })
    }

    pub(super) fn raw(key: &str, received_at: Timestamp, body: &str) -> FactRow {
        let fact = read_fact(received_at, body).ok();
        FactRow {
            key: key.to_owned(),
            job: fact.as_ref().and_then(|fact| job_of(&fact.body)),
            instance: fact.as_ref().and_then(|fact| instance_of(&fact.body)).cloned(),
            received_at,
            body: body.to_owned(),
        }
    }
}

pub(super) fn put(conn: &Connection, row: &FactRow) -> Outcome<Put> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO facts (key, job, attempt, instance, received_at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (key) DO NOTHING",
    )?;
    let inserted = insert.execute(params![
        row.key,
        row.job.map(|key| key.job.0),
        row.job.map(|key| key.attempt),
        row.instance.as_ref().map(InstanceId::as_str),
        row.received_at.unix_ms(),
        row.body,
    ])?;
    Ok(if inserted == 0 { Put::Duplicate } else { Put::New })
}

/// From columns `received_at` and `body`, in the places `at` and behind it.
fn fact(row: &Row<'_>, at: usize) -> rusqlite::Result<Result<Fact, String>> {
    let body = row.get_ref(at + 1)?.as_str()?;
    Ok(read_fact(Timestamp::from_unix_ms(row.get(at)?), body))
}

pub(super) fn new_facts(conn: &Connection, max: usize) -> Outcome<Vec<NewFact>> {
    rows(
        conn,
        "SELECT seq, received_at, body FROM facts WHERE merged IS NULL AND set_aside IS NULL ORDER BY seq LIMIT ?1",
        [limit(max)],
        |row| Ok(NewFact { seq: row.get(0)?, fact: fact(row, 1)? }),
    )
}

/// What no tick has merged yet about one job, oldest first.
pub(super) fn new_of_job(conn: &Connection, key: JobKey) -> Outcome<Vec<Fact>> {
    let read = rows(
        conn,
        "SELECT received_at, body FROM facts
          WHERE job = ?1 AND attempt = ?2 AND merged IS NULL AND set_aside IS NULL ORDER BY seq",
        params![key.job.0, key.attempt],
        |row| fact(row, 0),
    )?;
    Ok(read.into_iter().filter_map(Result::ok).collect())
}

pub(super) fn history(conn: &Connection, job: JobId) -> Outcome<Vec<Fact>> {
    let sql = "SELECT received_at, body FROM facts WHERE job = ?1 ORDER BY seq";
    let read = rows(conn, sql, [job.0], |row| fact(row, 0))?;
    Ok(read.into_iter().filter_map(Result::ok).collect())
}

pub(super) fn by_key(conn: &Connection, key: &str) -> Outcome<Option<Fact>> {
    let mut select = conn.prepare_cached("SELECT received_at, body FROM facts WHERE key = ?1")?;
    let found = select.query_row([key], |row| fact(row, 0)).optional()?;
    Ok(found.and_then(Result::ok))
}

pub(super) fn set_aside(conn: &Connection, max: usize) -> Outcome<Vec<SetAside>> {
    rows(
        conn,
        "SELECT seq, key, received_at, body, set_aside FROM facts WHERE set_aside IS NOT NULL ORDER BY seq LIMIT ?1",
        [limit(max)],
        |row| {
            Ok(SetAside {
                seq: row.get(0)?,
                key: row.get(1)?,
                received_at: Timestamp::from_unix_ms(row.get(2)?),
                body: row.get(3)?,
                reason: row.get(4)?,
            })
        },
    )
}

/// A fact has one verdict, and the first one stands.
pub(super) fn judge(
    conn: &Connection,
    merged: &[i64],
    aside: &[(i64, String)],
    generation: i64,
) -> Result<(), Failure> {
    let mut merge =
        conn.prepare_cached("UPDATE facts SET merged = ?2 WHERE seq = ?1 AND merged IS NULL AND set_aside IS NULL")?;
    for seq in merged {
        merge.execute(params![seq, generation])?;
    }
    let mut set_aside =
        conn.prepare_cached("UPDATE facts SET set_aside = ?2 WHERE seq = ?1 AND merged IS NULL AND set_aside IS NULL")?;
    for (seq, reason) in aside {
        set_aside.execute(params![seq, reason])?;
    }
    Ok(())
}
