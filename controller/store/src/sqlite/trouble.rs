//! What can be wrong with the file, in words that name it and say what to do.

use std::path::{Path, PathBuf};

use muster_core::ports::StoreError;
use rusqlite::ErrorCode;
use thiserror::Error;

/// A ledger could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// There is no such file, and it was to be read.
    #[error("there is no ledger at {0}: `muster serve --db` makes one; or name the file that it uses")]
    Missing(PathBuf),
    /// The directory does not exist.
    #[error("the ledger cannot be made at {0}: make its directory first")]
    NoDirectory(PathBuf),
    /// Some other kind of file.
    #[error("{0} is not a ledger (not even an SQLite file): name another file; this one was not touched")]
    NotADatabase(PathBuf),
    /// An SQLite file of something else.
    #[error("{0} belongs to another application: name another file; this one was not touched")]
    OtherApplication(PathBuf),
    /// A later version wrote it.
    #[error(
        "the ledger {path} has schema {found}, and this Muster knows schemas up to {known}: run the newer Muster again, \
         or go on from a copy made before the upgrade"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest schema known here.
        known: i64,
    },
    /// An earlier version wrote it, and it was only to be read.
    #[error(
        "the ledger {path} has the old schema {found}: start `muster serve` on it once, which brings it to {known}"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema it needs.
        known: i64,
    },
    /// Another Muster writes to it.
    #[error(
        "the ledger {path} is in use by another Muster{}: a ledger has one writer; stop that one, or name another file",
        .process.map_or_else(String::new, |process| format!(" (process {process})"))
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// The other's process id, if it says so.
        process: Option<u32>,
    },
    /// It has hard links.
    #[error(
        "the ledger {0} has more than one name (hard links), and two writers would not see each other: remove the other \
         names, or make a copy"
    )]
    ManyNames(PathBuf),
    /// Another program holds it.
    #[error("the ledger {0} is locked by another program: close it (a database shell, a backup?) and try again")]
    Locked(PathBuf),
    /// It must be written and cannot be.
    #[error("the ledger {0} cannot be written: make the file and its directory writable for this user")]
    ReadOnly(PathBuf),
    /// No space.
    #[error("the disk that holds the ledger {0} is full: free some space; what was answered before is safe")]
    DiskFull(PathBuf),
    /// The file is damaged.
    #[error("the ledger {0} is damaged: keep it, and go on from a backup or from what `sqlite3 FILE .recover` saves")]
    Damaged(PathBuf),
    /// It cannot be opened.
    #[error("the ledger {path} cannot be opened: {reason}; check that path and permissions are right")]
    CannotOpen {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Anything else, in the database's words.
    #[error("the ledger {path} failed: {reason}; try again, and check the disk")]
    Failed {
        /// The file.
        path: PathBuf,
        /// The database's words.
        reason: String,
    },
}

impl OpenError {
    /// What an error of the database means for this file.
    pub(super) fn of(error: &rusqlite::Error, path: &Path) -> OpenError {
        OpenError::meant(error, path, has_no_space)
    }

    /// The same, with what is asked if reading or writing failed without a cause: whether the disk is full.
    pub(super) fn meant(error: &rusqlite::Error, path: &Path, is_full: impl Fn(&Path) -> bool) -> OpenError {
        let code = error.sqlite_error_code();
        let is = |known: &[ErrorCode]| code.is_some_and(|code| known.contains(&code));
        let path = path.to_owned();
        if is(&[ErrorCode::NotADatabase]) {
            OpenError::NotADatabase(path)
        } else if is(&[ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::FileLockingProtocolFailed]) {
            OpenError::Locked(path)
        } else if is(&[ErrorCode::ReadOnly, ErrorCode::PermissionDenied]) {
            OpenError::ReadOnly(path)
        } else if is(&[ErrorCode::DiskFull]) || (is(&[ErrorCode::SystemIoFailure]) && is_full(&path)) {
            OpenError::DiskFull(path)
        } else if is(&[ErrorCode::DatabaseCorrupt]) {
            OpenError::Damaged(path)
        } else if is(&[ErrorCode::CannotOpen]) {
            OpenError::CannotOpen { path, reason: error.to_string() }
        } else {
            OpenError::Failed { path, reason: error.to_string() }
        }
    }

    /// What an error of the file system means for this file.
    pub(super) fn of_io(error: &std::io::Error, path: &Path) -> OpenError {
        use std::io::ErrorKind;
        let (kind, path) = (error.kind(), path.to_owned());
        if kind == ErrorKind::PermissionDenied || kind == ErrorKind::ReadOnlyFilesystem {
            OpenError::ReadOnly(path)
        } else if kind == ErrorKind::StorageFull || kind == ErrorKind::QuotaExceeded {
            OpenError::DiskFull(path)
        } else {
            OpenError::CannotOpen { path, reason: error.to_string() }
        }
    }
}

/// As many bytes as SQLite's index of its log is made with.
const PROBE_BYTES: usize = 32 * 1024;

/// Whether there is no space beside this file. SQLite tells a full disk as one only where it writes the ledger itself; when
/// it makes the files beside it, it does not say why that failed, so it is tried.
pub(super) fn has_no_space(path: &Path) -> bool {
    use std::io::{ErrorKind, Write};
    let probe = super::lock::beside(path, &format!("-probe-{}", std::process::id()));
    let tried = std::fs::File::create_new(&probe)
        .and_then(|mut file| file.write_all(&[1; PROBE_BYTES]).and_then(|()| file.sync_all()));
    // It may not be there.
    let _ = std::fs::remove_file(&probe);
    tried.is_err_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// Why a piece of work failed, before the file's name is known.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database failed.
    Sql(rusqlite::Error),
    /// The answer itself is an error.
    Answer(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Answer(error)
    }
}

impl Failure {
    /// A row that does not read.
    pub(super) fn unreadable(row: impl std::fmt::Display, why: impl std::fmt::Display) -> Failure {
        Failure::Answer(StoreError::Unreadable(format!("{row}: {why}")))
    }

    /// As the port wants it.
    pub(super) fn told(self, path: &Path) -> StoreError {
        match self {
            Failure::Sql(error) => StoreError::Unavailable(OpenError::of(&error, path).to_string()),
            Failure::Answer(error) => error,
        }
    }
}

/// The outcome of a piece of work on a connection.
pub(super) type Outcome<T> = Result<T, Failure>;
