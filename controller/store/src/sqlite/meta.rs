//! The one row of what there is one of: generation, switch, configuration; notes; and one-time keys.

use muster_core::ids::Generation;
use muster_core::ports::Switch;
use muster_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{row, run};
use super::trouble::{Failure, Outcome};

fn missing() -> Failure {
    Failure::unreadable("meta", "the row is missing")
}

/// A generation as SQLite stores it.
pub(super) fn number(generation: Generation) -> Outcome<i64> {
    i64::try_from(generation.0).map_err(|error| Failure::unreadable("meta, generation", error))
}

pub(super) fn generation(conn: &Connection) -> Outcome<Generation> {
    let found = row(conn, "SELECT generation FROM meta", [], |row| row.get::<_, i64>(0))?.ok_or_else(missing)?;
    let found = u64::try_from(found).map_err(|error| Failure::unreadable("meta, generation", error))?;
    Ok(Generation(found))
}

pub(super) fn ledger(conn: &Connection) -> Outcome<String> {
    row(conn, "SELECT ledger FROM meta", [], |row| row.get(0))?.ok_or_else(missing)
}

fn word(switch: Switch) -> &'static str {
    match switch {
        Switch::Run => "run",
        Switch::NoLaunch => "no-launch",
        Switch::Freeze => "freeze",
    }
}

pub(super) fn switch(conn: &Connection) -> Outcome<Switch> {
    let found: String = row(conn, "SELECT switch FROM meta", [], |row| row.get(0))?.ok_or_else(missing)?;
    let known = [Switch::Run, Switch::NoLaunch, Switch::Freeze].into_iter().find(|switch| word(*switch) == found);
    known.ok_or_else(|| Failure::unreadable("meta, switch", format_args!("no such word: {found:?}")))
}

pub(super) fn set_switch(conn: &Connection, switch: Switch) -> Outcome<()> {
    run(conn, "UPDATE meta SET switch = ?1", [word(switch)]).map(|_| ())
}

pub(super) fn config(conn: &Connection) -> Outcome<Option<String>> {
    row(conn, "SELECT config FROM meta", [], |row| row.get(0))?.ok_or_else(missing)
}

pub(super) fn put_config(conn: &Connection, text: &str) -> Outcome<()> {
    run(conn, "UPDATE meta SET config = ?1", [text]).map(|_| ())
}

pub(super) fn note(conn: &Connection, name: &str) -> Outcome<Option<String>> {
    row(conn, "SELECT text FROM notes WHERE name = ?1", [name], |row| row.get(0))
}

pub(super) fn put_note(conn: &Connection, name: &str, text: &str) -> Outcome<()> {
    let sql = "INSERT INTO notes (name, text) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET text = excluded.text";
    run(conn, sql, [name, text]).map(|_| ())
}

pub(super) fn use_once(conn: &Connection, key: &str, until: Timestamp) -> Outcome<bool> {
    let sql = "INSERT INTO once (key, until) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
    Ok(run(conn, sql, params![key, until.unix_ms()])? > 0)
}
