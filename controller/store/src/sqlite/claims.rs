//! The tables that door and registrar write: claims and leases; and the orders that they read.

use muster_core::claim::ClaimRow;
use muster_core::ids::InstanceId;
use muster_core::ports::StoreError;
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{from_json, records, row, run, to_json};
use super::trouble::Outcome;

/// A claim as it is stored, made before the connection is needed.
#[derive(Debug)]
pub(super) struct ClaimText {
    claim: ClaimRow,
    record: String,
}

impl ClaimText {
    pub(super) fn of(claim: &ClaimRow) -> Result<ClaimText, StoreError> {
        Ok(ClaimText { record: to_json(claim)?, claim: claim.clone() })
    }
}

pub(super) fn get(conn: &Connection, instance: &InstanceId) -> Outcome<Option<ClaimRow>> {
    let sql = "SELECT record FROM claims WHERE instance = ?1";
    let found: Option<String> = row(conn, sql, [instance.as_str()], |row| row.get(0))?;
    found.map(|record| from_json(format_args!("claims {instance}"), &record)).transpose()
}

/// Puts it unless there is one of this session or a later one.
pub(super) fn put(conn: &Connection, text: &ClaimText) -> Outcome<bool> {
    let ClaimText { claim, record } = text;
    let changed = run(
        conn,
        "INSERT INTO claims (instance, session, claimed_at, registered, record) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (instance) DO UPDATE
            SET session = excluded.session, claimed_at = excluded.claimed_at, registered = excluded.registered,
                record = excluded.record
          WHERE excluded.session > claims.session",
        params![
            claim.instance.as_str(),
            claim.session,
            claim.claimed_at.unix_ms(),
            claim.registration.is_some(),
            record
        ],
    )?;
    Ok(changed > 0)
}

/// Changes the claim of this session, if `change` says so.
fn alter(
    conn: &Connection,
    instance: &InstanceId,
    session: u32,
    change: impl FnOnce(&mut ClaimRow) -> bool,
) -> Outcome<bool> {
    let Some(mut claim) = get(conn, instance)?.filter(|claim| claim.session == session) else {
        return Ok(false);
    };
    if !change(&mut claim) {
        return Ok(false);
    }
    run(
        conn,
        "UPDATE claims SET registered = ?2, record = ?3 WHERE instance = ?1",
        params![instance.as_str(), claim.registration.is_some(), to_json(&claim)?],
    )?;
    Ok(true)
}

/// Adds registration and configuration, once.
pub(super) fn attach(conn: &Connection, row: &ClaimRow) -> Outcome<bool> {
    alter(conn, &row.instance, row.session, |claim| {
        if claim.registration.is_some() {
            return false;
        }
        claim.registration.clone_from(&row.registration);
        claim.sealed_config.clone_from(&row.sealed_config);
        true
    })
}

pub(super) fn drop_config(conn: &Connection, instance: &InstanceId, session: u32) -> Outcome<()> {
    alter(conn, instance, session, |claim| claim.sealed_config.take().is_some()).map(|_| ())
}

/// Claims without a registration, oldest first.
pub(super) fn unminted(conn: &Connection) -> Outcome<Vec<ClaimRow>> {
    let sql = "SELECT instance, record FROM claims WHERE registered = 0 ORDER BY claimed_at, instance";
    records(conn, "claims", sql, &mut Vec::new())
}

pub(super) fn order(conn: &Connection, instance: &InstanceId) -> Outcome<Option<Numbered>> {
    let sql = "SELECT seq, record FROM orders WHERE instance = ?1";
    let found = row(conn, sql, [instance.as_str()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let Some((seq, record)) = found else { return Ok(None) };
    Ok(Some(Numbered { seq, order: from_json(format_args!("orders {instance}"), &record)? }))
}

pub(super) fn touch(conn: &Connection, instance: &InstanceId, at: Timestamp) -> Outcome<()> {
    let sql = "INSERT INTO leases (instance, heard_at) VALUES (?1, ?2)
               ON CONFLICT (instance) DO UPDATE SET heard_at = max(heard_at, excluded.heard_at)";
    run(conn, sql, params![instance.as_str(), at.unix_ms()]).map(|_| ())
}

pub(super) fn lease(conn: &Connection, instance: &InstanceId) -> Outcome<Option<Timestamp>> {
    let found = row(conn, "SELECT heard_at FROM leases WHERE instance = ?1", [instance.as_str()], |row| row.get(0))?;
    Ok(found.map(Timestamp::from_unix_ms))
}
