//! Opening the file in each of its ways: what is checked, locked and set before the first call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_core::ports::Switch;
use rusqlite::{Connection, OpenFlags};

use super::engine::{Engine, Held};
use super::lock::WriterLock;
use super::meta;
use super::place::{Place, has_one_name};
use super::schema::{Identity, SCHEMA_VERSION, identify, prepare};
use super::trouble::{Failure, OpenError};

/// How long a call waits for another program (a backup, a shell) to let go of the file. Other Musters are not waited for.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How many statements a connection keeps prepared: more than there are.
const STATEMENTS_MAX: usize = 128;

/// To how many bytes the write-ahead log is cut back after it had to grow.
const LOG_KEPT_BYTES: i64 = 64 << 20;

/// What a write survives once it was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and the loss of power: every commit waits for the disk.
    #[default]
    PowerLoss,
    /// The end of the process only. For simulations and tests, which lose no power.
    ProcessEnd,
}

/// How an [`SqliteStore`](super::SqliteStore) is opened for writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqliteOptions {
    /// What a write survives.
    pub durability: Durability,
    /// The word of a ledger that is made now (see [`Snapshot::ledger`](muster_core::ports::Snapshot::ledger)); eight
    /// random hex digits if none is given. An existing ledger keeps its own.
    pub ledger: Option<String>,
}

/// The path with links resolved, so that one file has one lock. The file need not exist, its directory must.
fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    if let Ok(found) = path.canonicalize() {
        return Ok(found);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(directory), Some(name)) = (directory.canonicalize(), path.file_name()) else {
        return Err(OpenError::NoDirectory(path.to_owned()));
    };
    Ok(directory.join(name))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(&error, path);
    if path.is_dir() {
        return Err(OpenError::NotADatabase(path.to_owned()));
    }
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    conn.busy_timeout(BUSY_WAIT).map_err(failed)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(conn)
}

fn writer(path: &Path, options: &SqliteOptions) -> Result<Held, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(&error, path);
    has_one_name(path)?;
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // Before anything is written, also beside it: the file may be someone else's.
    identify(&conn, path)?;
    if conn.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    let lock = WriterLock::take(path)?;
    // FULL: in WAL mode, every commit is synced before it is answered, and so is the directory when the log is made.
    let synchronous = match options.durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessEnd => "OFF",
    };
    conn.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
    // Only macOS has it, where a plain sync does not reach the disk.
    conn.pragma_update(None, "fullfsync", options.durability == Durability::PowerLoss).map_err(failed)?;
    // WAL: readers never wait for the writer, and a commit is one sync.
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let reason = format!("its file system does not allow a write-ahead log (mode {mode}); use a local disk");
        return Err(OpenError::CannotOpen { path: path.to_owned(), reason });
    }
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT_BYTES, |_| Ok(())).map_err(failed)?;
    prepare(&mut conn, path, options.ledger.as_deref())?;
    let place = Some(Place::of(path, lock)?);
    Ok(Held { conn, place })
}

/// For `muster serve`: a writer and a reader, each on a thread.
pub(super) fn threads(path: &Path, options: &SqliteOptions) -> Result<Engine, OpenError> {
    let path = resolve(path)?;
    let writer = writer(&path, options)?;
    let place = writer.place.as_ref().map(Place::for_reading);
    let reader = Held { conn: connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?, place };
    Engine::threads(&path, reader, writer).map_err(|error| OpenError::of_io(&error, &path))
}

/// For the simulator: one connection, used inline.
pub(super) fn direct(path: &Path, options: &SqliteOptions) -> Result<Engine, OpenError> {
    let path = resolve(path)?;
    let held = writer(&path, options)?;
    Ok(Engine::direct(&path, held))
}

/// For looking, also while another process writes.
pub(super) fn read_only(path: &Path) -> Result<Engine, OpenError> {
    let path = resolve(path)?;
    if !path.exists() {
        return Err(OpenError::Missing(path));
    }
    let conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match identify(&conn, &path)? {
        Identity::Empty => Err(OpenError::Missing(path)),
        Identity::Ledger(SCHEMA_VERSION) => Ok(Engine::direct(&path, Held { conn, place: None })),
        Identity::Ledger(found) => Err(OpenError::Older { path, found, known: SCHEMA_VERSION }),
    }
}

/// Sets the admin's switch in an existing ledger, also while another process writes to it; returns the former one.
pub(super) fn flip_switch(path: &Path, switch: Switch) -> Result<Switch, OpenError> {
    let path = resolve(path)?;
    if !path.exists() {
        return Err(OpenError::Missing(path));
    }
    has_one_name(&path)?;
    let conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    match identify(&conn, &path)? {
        Identity::Empty => return Err(OpenError::Missing(path)),
        Identity::Ledger(SCHEMA_VERSION) => {}
        Identity::Ledger(found) => return Err(OpenError::Older { path, found, known: SCHEMA_VERSION }),
    }
    let failed = |failure: Failure| match failure {
        Failure::Sql(error) => OpenError::of(&error, &path),
        Failure::Answer(error) => OpenError::CannotOpen { path: path.clone(), reason: error.to_string() },
    };
    let former = meta::switch(&conn).map_err(failed)?;
    meta::set_switch(&conn, switch).map_err(failed)?;
    Ok(former)
}
