//! The file of metric lines, which remembers that it could not be written.
//!
//! Invariant: the first failure is kept, whoever was told of it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Inner {
    file: BufWriter<File>,
    trouble: Option<String>,
}

/// The file. Clones write to the same.
#[derive(Clone)]
pub(super) struct MetricsFile(Arc<Mutex<Inner>>);

impl MetricsFile {
    pub(super) fn create(path: &Path) -> io::Result<MetricsFile> {
        let inner = Inner { file: BufWriter::new(File::create(path)?), trouble: None };
        Ok(MetricsFile(Arc::new(Mutex::new(inner))))
    }

    /// Writes what is left, and says what went wrong at any time.
    pub(super) fn close(mut self) -> Option<String> {
        // The failure is kept, as any other.
        let _ = self.flush();
        self.inner().trouble.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn noted<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome {
            self.trouble.get_or_insert_with(|| error.to_string());
        }
        outcome
    }
}

impl Write for MetricsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        let outcome = inner.file.write(bytes);
        inner.noted(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut inner = self.inner();
        let outcome = inner.file.flush();
        inner.noted(outcome)
    }
}
