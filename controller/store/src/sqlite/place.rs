//! Where the ledger stands, and whether it still stands there.
//!
//! Whoever removes or moves the file under a writer leaves it writing to a file that nobody finds again, and its reader
//! reading it: a scaler with nothing to do would go on for days. A `stat` or two for each group of writes, and for each
//! read, is cheap, so it is looked each time.
//!
//! Invariant: a write that was answered with `Ok` was in the file that has the ledger's name, under the writer's lock; what
//! a process that writes has read was in the file of that name.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use muster_core::ports::StoreError;

use super::lock::{WriterLock, beside};
use super::trouble::{Failure, OpenError, Outcome};

/// What makes a file the same file, whatever its name: device and number. `None` where the system does not tell.
pub(super) type Identity = Option<(u64, u64)>;

#[cfg(unix)]
pub(super) fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
pub(super) fn identity(_: &Metadata) -> Identity {
    None
}

/// Refuses a file with two names: SQLite's log and our lock go by the name, so two writers would not see each other.
pub(super) fn has_one_name(path: &Path) -> Result<(), OpenError> {
    #[cfg(unix)]
    if let Ok(metadata) = path.metadata() {
        use std::os::unix::fs::MetadataExt;
        if metadata.is_file() && metadata.nlink() > 1 {
            return Err(OpenError::ManyNames(path.to_owned()));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// The files of an open ledger as they were when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Files([(PathBuf, Identity); 2]);

/// Those files, and who may write to them.
#[derive(Debug)]
pub(super) struct Place {
    files: Files,
    /// The lock of whoever writes; whoever only reads has none.
    lock: Option<WriterLock>,
}

impl Place {
    /// Remembers the ledger and its write-ahead log, which SQLite has opened.
    pub(super) fn of(ledger: &Path, lock: WriterLock) -> Result<Place, OpenError> {
        let seen = |path: PathBuf| {
            let metadata = path.metadata().map_err(|error| OpenError::of_io(&error, ledger))?;
            Ok::<_, OpenError>((path, identity(&metadata)))
        };
        let files = Files([seen(ledger.to_owned())?, seen(beside(ledger, "-wal"))?]);
        Ok(Place { files, lock: Some(lock) })
    }

    /// The same for the writer's own reader.
    pub(super) fn for_reading(&self) -> Place {
        Place { files: self.files.clone(), lock: None }
    }

    /// Whether the files are still those that are open; for whoever writes, under its lock.
    pub(super) fn check(&mut self) -> Outcome<()> {
        self.files.check()?;
        self.lock
            .as_mut()
            .map_or(Ok(()), |lock| lock.keep(self.files.ledger()).map_err(|error| unavailable(error.to_string())))
    }
}

fn unavailable(text: String) -> Failure {
    Failure::Answer(StoreError::Unavailable(text))
}

impl Files {
    fn ledger(&self) -> &Path {
        &self.0[0].0
    }

    fn check(&self) -> Outcome<()> {
        for (path, known) in &self.0 {
            let found = path.metadata().map(|metadata| identity(&metadata)).ok();
            if found != Some(*known) {
                let text = format!(
                    "the ledger file {} was moved, removed or replaced: put it back, or restart; nothing more is \
                     taken in or done until then",
                    path.display()
                );
                return Err(unavailable(text));
            }
        }
        Ok(())
    }
}

/// Whether a file is what its name leads to.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(held), Ok(found)) => identity(&held) == identity(&found),
        _ => false,
    }
}
