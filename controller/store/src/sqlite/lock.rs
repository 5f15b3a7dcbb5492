//! The writer's lock: at most one Muster writes to a ledger.
//!
//! It is a lock on a file beside the ledger, `NAME-writer`, and not on the ledger itself: SQLite locks that one in its own
//! way, and readers stay free. The system releases it when the process ends, however it ends. Whoever removes the file
//! takes the lock from its holder, who therefore looks before each write and takes it anew, or stops writing.
//!
//! Invariant: while a [`WriterLock`] lives and its file has its name, no second one of the same ledger can be taken, not
//! even by this process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::place::is_at;
use super::trouble::OpenError;

/// The longest process id in decimal, and its line end.
const PROCESS_ID_MAX: u64 = 21;

/// The right to write to one ledger.
#[derive(Debug)]
pub(super) struct WriterLock {
    file: File,
    path: PathBuf,
}

impl WriterLock {
    /// Takes the lock of the ledger at `ledger`.
    pub(super) fn take(ledger: &Path) -> Result<WriterLock, OpenError> {
        let path = beside(ledger, "-writer");
        let failed = |error: &std::io::Error| OpenError::of_io(error, ledger);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| failed(&error))?;
        match file.try_lock() {
            // Else it was removed in between, and another one may be locked in its stead.
            Ok(()) if is_at(&file, &path) => {}
            Ok(()) => return Err(OpenError::InUse { path: ledger.to_owned(), process: None }),
            Err(TryLockError::WouldBlock) => {
                let mut words = String::new();
                // Without it the message only says less.
                let read = (&file).take(PROCESS_ID_MAX).read_to_string(&mut words);
                let process = read.ok().and_then(|_| words.trim().parse().ok());
                return Err(OpenError::InUse { path: ledger.to_owned(), process });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        let line = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(line.as_bytes())).map_err(|error| failed(&error))?;
        Ok(WriterLock { file, path })
    }

    /// Makes sure that the lock is still held under its name: if its file was removed it is taken anew.
    pub(super) fn keep(&mut self, ledger: &Path) -> Result<(), OpenError> {
        if !is_at(&self.file, &self.path) {
            *self = WriterLock::take(ledger)?;
        }
        Ok(())
    }
}

/// The path of a file beside the ledger.
pub(super) fn beside(ledger: &Path, ending: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
