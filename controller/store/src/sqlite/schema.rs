//! The file's identity and schema: making it, recognising it, bringing it up to date.
//!
//! Invariant: a file is changed only if it is empty or ours, and every change of schema is one transaction.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::trouble::OpenError;

/// The schema that this version writes.
pub const SCHEMA_VERSION: i64 = 3;

/// Marks the file as a Muster ledger: "MUST" in ASCII, in the place where `file` and SQLite look for it.
pub(super) const APPLICATION_ID: i64 = 0x4d55_5354;

const SCHEMA: &str = include_str!("schema.sql");

/// The steps from each schema to the next, the first from schema 1.
const STEPS: [&str; 2] = [include_str!("schema_1_to_2.sql"), include_str!("schema_2_to_3.sql")];

const _: () = assert!(STEPS.len() as i64 == SCHEMA_VERSION - 1);

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Nothing yet.
    Empty,
    /// A ledger of this schema, not a later one than ours.
    Ledger(i64),
}

/// Looks, without changing anything.
pub(super) fn identify(conn: &Connection, path: &Path) -> Result<Identity, OpenError> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|e| OpenError::of(&e, path));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    if application == APPLICATION_ID {
        if version > SCHEMA_VERSION {
            return Err(OpenError::Newer { path: path.to_owned(), found: version, known: SCHEMA_VERSION });
        }
        if version >= 1 {
            return Ok(Identity::Ledger(version));
        }
    } else if application == 0 && version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(Identity::Empty);
    }
    Err(OpenError::OtherApplication(path.to_owned()))
}

/// Makes the ledger if the file is empty, and brings an old one up to date. Under the writer's lock.
pub(super) fn prepare(conn: &mut Connection, path: &Path, word: Option<&str>) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(&error, path);
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let from = match identify(&transaction, path)? {
        Identity::Empty => {
            make(&transaction, word).map_err(failed)?;
            SCHEMA_VERSION
        }
        Identity::Ledger(version) => version,
    };
    // `from` is at least 1: the first step leads from schema 1 to 2.
    for (step, version) in STEPS.iter().zip(2..).filter(|(_, version)| *version > from) {
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

fn make(conn: &Connection, word: Option<&str>) -> rusqlite::Result<()> {
    conn.execute_batch(SCHEMA)?;
    conn.execute(
        "INSERT INTO meta (one, ledger, generation, switch) VALUES (1, coalesce(?1, lower(hex(randomblob(4)))), 0, 'run')",
        [word],
    )?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", SCHEMA_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every former schema, the first of them schema 1.
    const FORMER: [&str; STEPS.len()] =
        [include_str!("../../tests/fixtures/schema_1.sql"), include_str!("../../tests/fixtures/schema_2.sql")];

    fn former(schema: &str) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(schema).unwrap();
        conn
    }

    /// Everything that a schema consists of, however its statements are written.
    fn shape(conn: &Connection) -> Vec<String> {
        let mut all = conn
            .prepare(
                "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk || ' ' || t.strict
                        || ' ' || t.wr || ' #' || c.cid
                   FROM pragma_table_list t JOIN pragma_table_info(t.name) c WHERE t.schema = 'main'
                 UNION ALL
                 SELECT i.name || ': ' || coalesce(i.sql, '') FROM sqlite_schema i WHERE i.type = 'index' ORDER BY 1",
            )
            .unwrap();
        all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_migrated_file_has_the_schema_of_a_new_one() {
        let path = Path::new("memory");
        let mut new = Connection::open_in_memory().unwrap();
        prepare(&mut new, path, None).unwrap();
        for (schema, version) in FORMER.iter().zip(1..) {
            let mut old = former(schema);
            assert_eq!(identify(&old, path).unwrap(), Identity::Ledger(version));
            assert_ne!(shape(&old), shape(&new));
            prepare(&mut old, path, None).unwrap();
            assert_eq!(shape(&old), shape(&new), "from schema {version}");
            assert_eq!(identify(&old, path).unwrap(), Identity::Ledger(SCHEMA_VERSION));
        }
    }

    #[test]
    fn a_failed_step_changes_nothing() {
        let path = Path::new("memory");
        // Each is in the way of the last statement of a step; to fail at the second undoes the first.
        for (schema, version, in_the_way) in
            [(FORMER[0], 1, "leases"), (FORMER[0], 1, "notes"), (FORMER[1], 2, "notes")]
        {
            let mut old = former(schema);
            old.execute_batch(&format!("CREATE TABLE {in_the_way} (a)")).unwrap();
            let before = shape(&old);
            assert!(prepare(&mut old, path, None).is_err());
            assert_eq!(shape(&old), before);
            assert_eq!(identify(&old, path).unwrap(), Identity::Ledger(version));
        }
    }
}
