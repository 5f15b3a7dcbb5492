//! Forgetting, a bounded piece at a time, and counting.

use muster_core::launch::HOLD_KEPT;
use muster_core::time::Timestamp;
use rusqlite::{Connection, Params, params};

use super::rows::{row, run};
use super::trouble::Outcome;
use crate::retention::cutoff;
use crate::upkeep::{Counts, Pruned};

/// How many rows of a table one transaction removes, so that nobody waits long behind it.
pub(super) const PIECE: u64 = 5_000;

/// Removes up to [`PIECE`] rows and says how many.
pub(super) type Piece = fn(&Connection, Timestamp) -> Outcome<u64>;

fn delete(conn: &Connection, sql: &str, params: impl Params) -> Outcome<u64> {
    Ok(u64::try_from(run(conn, sql, params)?).unwrap_or(u64::MAX))
}

/// Removes a piece of finished jobs.
pub(super) fn jobs(conn: &Connection, now: Timestamp) -> Outcome<u64> {
    delete(
        conn,
        "DELETE FROM jobs WHERE (job, attempt) IN (SELECT job, attempt FROM jobs WHERE over_since < ?1 LIMIT ?2)",
        params![cutoff(now).unix_ms(), PIECE.cast_signed()],
    )
}

/// Removes a piece of old facts. After the jobs: a fact goes when its job is gone.
pub(super) fn facts(conn: &Connection, now: Timestamp) -> Outcome<u64> {
    delete(
        conn,
        "DELETE FROM facts WHERE seq IN (
             SELECT seq FROM facts f
              WHERE seq < coalesce((SELECT seq FROM facts WHERE received_at >= ?1 ORDER BY seq LIMIT 1),
                                   9223372036854775807)
                AND (merged IS NOT NULL OR set_aside IS NOT NULL)
                AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job = f.job AND j.attempt = f.attempt)
              ORDER BY seq LIMIT ?2)",
        params![cutoff(now).unix_ms(), PIECE.cast_signed()],
    )
}

/// Removes what there is little of.
pub(super) fn rest(conn: &Connection, now: Timestamp) -> Outcome<Pruned> {
    let cutoff = cutoff(now).unix_ms();
    let unknown_claims = "DELETE FROM claims WHERE claimed_at < ?1 AND instance NOT IN (SELECT instance FROM machines)";
    let unknown_leases = "DELETE FROM leases WHERE heard_at < ?1 AND instance NOT IN (SELECT instance FROM machines)";
    let unknown_orders = "DELETE FROM orders WHERE instance NOT IN (SELECT instance FROM machines)";
    let claims = delete(conn, unknown_claims, [cutoff])?;
    let leases = delete(conn, unknown_leases, [cutoff])?;
    let orders = delete(conn, unknown_orders, [])?;
    Ok(Pruned {
        jobs: 0,
        facts: 0,
        once: delete(conn, "DELETE FROM once WHERE until < ?1", [now.unix_ms()])?,
        holds: delete(conn, "DELETE FROM holds WHERE until < ?1", [(now - HOLD_KEPT).unix_ms()])?,
        orphans: claims + leases + orders,
    })
}

/// Counts rows.
pub(super) fn counts(conn: &Connection) -> Outcome<Counts> {
    let of = |table: &str| -> Outcome<u64> {
        let found: Option<i64> = row(conn, &format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(found.and_then(|found| u64::try_from(found).ok()).unwrap_or_default())
    };
    Ok(Counts {
        facts_new: of("facts WHERE merged IS NULL AND set_aside IS NULL")?,
        facts_merged: of("facts WHERE merged IS NOT NULL")?,
        facts_set_aside: of("facts WHERE set_aside IS NOT NULL")?,
        jobs_open: of("jobs WHERE over_since IS NULL")?,
        jobs_over: of("jobs WHERE over_since IS NOT NULL")?,
        machines: of("machines")?,
        launches: of("launches")?,
        holds: of("holds")?,
        claims: of("claims")?,
        orders: of("orders")?,
        leases: of("leases")?,
        once: of("once")?,
    })
}
