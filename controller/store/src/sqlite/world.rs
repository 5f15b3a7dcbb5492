//! Reading what a scaler starts from, and job by job what people look at.

use muster_core::fact::FactBody;
use muster_core::ids::{InstanceId, JobId, JobKey};
use muster_core::job::JobRecord;
use muster_core::launch::Hold;
use muster_core::machine::Machine;
use muster_core::ports::{Snapshot, StoreError};
use rusqlite::{Connection, params};

use super::facts::new_of_job;
use super::meta::{generation, ledger, switch};
use super::rows::{from_json, limit, records, row, rows};
use super::trouble::{Failure, Outcome};

/// Everything that lives.
pub(super) fn load(conn: &Connection) -> Outcome<Snapshot> {
    let jobs = "SELECT job || '#' || attempt, record FROM jobs WHERE over_since IS NULL ORDER BY job, attempt";
    let machines = "SELECT instance, record FROM machines ORDER BY instance";
    let launches = "SELECT id, record FROM launches ORDER BY id";
    let holds = "SELECT shape || ' ' || zone || ' ' || market, record FROM holds";
    let mut unreadable = Vec::new();
    let mut holds: Vec<Hold> = records(conn, "holds", holds, &mut unreadable)?;
    holds.sort_by(|a, b| a.offering.cmp(&b.offering));
    Ok(Snapshot {
        ledger: ledger(conn)?,
        generation: generation(conn)?,
        switch: switch(conn)?,
        jobs: records(conn, "jobs", jobs, &mut unreadable)?,
        machines: records(conn, "machines", machines, &mut unreadable)?,
        launches: records(conn, "launches", launches, &mut unreadable)?,
        holds,
        unreadable,
    })
}

pub(super) fn job(conn: &Connection, key: JobKey) -> Outcome<Option<JobRecord>> {
    let sql = "SELECT record FROM jobs WHERE job = ?1 AND attempt = ?2";
    let found: Option<String> = row(conn, sql, params![key.job.0, key.attempt], |row| row.get(0))?;
    found.map(|record| from_json(format_args!("jobs {key}"), &record)).transpose()
}

/// A record that does not read is as good as none.
fn readable<T>(found: Outcome<Option<T>>) -> Outcome<Option<T>> {
    match found {
        Err(Failure::Answer(StoreError::Unreadable(_))) => Ok(None),
        found => found,
    }
}

pub(super) fn jobs(conn: &Connection, keys: &[JobKey]) -> Outcome<Vec<JobRecord>> {
    keys.iter().filter_map(|key| readable(job(conn, *key)).transpose()).collect()
}

pub(super) fn machine(conn: &Connection, instance: &InstanceId) -> Outcome<Option<Machine>> {
    let sql = "SELECT record FROM machines WHERE instance = ?1";
    let found: Option<String> = row(conn, sql, [instance.as_str()], |row| row.get(0))?;
    found.map(|record| from_json(format_args!("machines {instance}"), &record)).transpose()
}

/// Jobs behind `after`, with what is not merged yet.
pub(super) fn ledger_page(conn: &Connection, after: Option<JobKey>, max: usize) -> Outcome<Vec<JobRecord>> {
    // No job is before the least number there is.
    let after = after.unwrap_or(JobKey { job: JobId(i64::MIN), attempt: 0 });
    let keys = rows(
        conn,
        "SELECT job, attempt FROM jobs WHERE (job, attempt) > (?1, ?2)
         UNION
         SELECT job, attempt FROM facts
          WHERE job IS NOT NULL AND merged IS NULL AND set_aside IS NULL AND (job, attempt) > (?1, ?2)
         ORDER BY job, attempt LIMIT ?3",
        params![after.job.0, after.attempt, limit(max)],
        |row| Ok(JobKey { job: JobId(row.get(0)?), attempt: row.get(1)? }),
    )?;
    let mut page = Vec::with_capacity(keys.len());
    let last = keys.last().copied();
    for key in keys {
        let mut record = readable(job(conn, key))?;
        for fact in new_of_job(conn, key)? {
            let FactBody::Job(event) = &fact.body else { continue };
            let told = JobRecord::from_event(event, fact.received_at);
            match &mut record {
                Some(record) => record.merge(&told),
                None => record = Some(told),
            }
        }
        page.extend(record);
    }
    // An empty page is the end: one of which nothing reads is not.
    match last {
        Some(last) if page.is_empty() => ledger_page(conn, Some(last), max),
        Some(_) | None => Ok(page),
    }
}
