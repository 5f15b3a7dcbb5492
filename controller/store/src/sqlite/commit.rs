//! The scaler's write: everything of one batch, or nothing.

use muster_core::ids::{Generation, InstanceId};
use muster_core::job::JobRecord;
use muster_core::launch::Hold;
use muster_core::ports::{Batch, StoreError};
use rusqlite::{Connection, params};

use super::facts::judge;
use super::meta::{generation, number};
use super::rows::{run, to_json};
use super::trouble::{Failure, Outcome};
use crate::retention::over_since;

#[derive(Debug)]
struct JobRow {
    job: i64,
    attempt: u32,
    record: String,
    over_since: Option<i64>,
}

#[derive(Debug)]
struct HoldRow {
    shape: String,
    zone: String,
    market: &'static str,
    until: i64,
    record: String,
}

/// A batch as it is stored, made before the connection is needed.
#[derive(Debug)]
pub(super) struct BatchRows {
    merged: Vec<i64>,
    set_aside: Vec<(i64, String)>,
    jobs: Vec<JobRow>,
    machines: Vec<(String, String)>,
    launches: Vec<(String, String)>,
    settled: Vec<String>,
    orders: Vec<(String, String)>,
    holds: Vec<HoldRow>,
    forgotten: Vec<String>,
}

fn job(record: &JobRecord) -> Result<JobRow, StoreError> {
    Ok(JobRow {
        job: record.key.job.0,
        attempt: record.key.attempt,
        record: to_json(record)?,
        over_since: over_since(record).map(|at| at.unix_ms()),
    })
}

fn hold(hold: &Hold) -> Result<HoldRow, StoreError> {
    Ok(HoldRow {
        shape: hold.offering.shape.as_str().to_owned(),
        zone: hold.offering.zone.as_str().to_owned(),
        market: hold.offering.market.as_str(),
        until: hold.until.unix_ms(),
        record: to_json(hold)?,
    })
}

impl BatchRows {
    pub(super) fn of(batch: &Batch) -> Result<BatchRows, StoreError> {
        let text = |instance: &InstanceId| instance.as_str().to_owned();
        Ok(BatchRows {
            merged: batch.merged.clone(),
            set_aside: batch.set_aside.clone(),
            jobs: batch.jobs.iter().map(job).collect::<Result<_, _>>()?,
            machines: batch.machines.iter().map(|m| Ok((text(&m.instance), to_json(m)?))).collect::<Result<_, _>>()?,
            launches: batch
                .launches
                .iter()
                .map(|launch| Ok((launch.id.as_str().to_owned(), to_json(launch)?)))
                .collect::<Result<_, _>>()?,
            settled: batch.settled.iter().map(|id| id.as_str().to_owned()).collect(),
            orders: batch.orders.iter().map(|(i, order)| Ok((text(i), to_json(order)?))).collect::<Result<_, _>>()?,
            holds: batch.holds.iter().map(hold).collect::<Result<_, _>>()?,
            forgotten: batch.forgotten.iter().map(text).collect(),
        })
    }
}

/// Writes the batch if the ledger is at `expected`.
pub(super) fn commit(conn: &Connection, batch: &BatchRows, expected: Generation) -> Outcome<Generation> {
    let found = generation(conn)?;
    if found != expected {
        return Err(Failure::Answer(StoreError::Conflict { expected, found }));
    }
    let next = Generation(found.0 + 1);
    judge(conn, &batch.merged, &batch.set_aside, number(next)?)?;
    write_records(conn, batch)?;
    forget(conn, &batch.forgotten)?;
    run(conn, "UPDATE meta SET generation = ?1", [number(next)?])?;
    Ok(next)
}

fn write_records(conn: &Connection, batch: &BatchRows) -> Outcome<()> {
    for row in &batch.jobs {
        run(
            conn,
            "INSERT INTO jobs (job, attempt, record, over_since) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (job, attempt) DO UPDATE SET record = excluded.record, over_since = excluded.over_since",
            params![row.job, row.attempt, row.record, row.over_since],
        )?;
    }
    for (instance, record) in &batch.machines {
        run(
            conn,
            "INSERT INTO machines (instance, record) VALUES (?1, ?2)
             ON CONFLICT (instance) DO UPDATE SET record = excluded.record",
            [instance, record],
        )?;
    }
    for (id, record) in &batch.launches {
        run(
            conn,
            "INSERT INTO launches (id, record) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
            [id, record],
        )?;
    }
    for id in &batch.settled {
        run(conn, "DELETE FROM launches WHERE id = ?1", [id])?;
    }
    for (instance, record) in &batch.orders {
        run(
            conn,
            "INSERT INTO orders (instance, seq, record) VALUES (?1, 1, ?2)
             ON CONFLICT (instance) DO UPDATE SET seq = seq + 1, record = excluded.record",
            [instance, record],
        )?;
    }
    for hold in &batch.holds {
        run(
            conn,
            "INSERT INTO holds (shape, zone, market, until, record) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (shape, zone, market) DO UPDATE SET until = excluded.until, record = excluded.record",
            params![hold.shape, hold.zone, hold.market, hold.until, hold.record],
        )?;
    }
    Ok(())
}

fn forget(conn: &Connection, instances: &[String]) -> Outcome<()> {
    for instance in instances {
        for sql in [
            "DELETE FROM machines WHERE instance = ?1",
            "DELETE FROM claims WHERE instance = ?1",
            "DELETE FROM orders WHERE instance = ?1",
            "DELETE FROM leases WHERE instance = ?1",
        ] {
            run(conn, sql, [instance])?;
        }
    }
    Ok(())
}
