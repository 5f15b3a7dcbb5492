//! What can be wrong with a trace, said so that it can be mended: the file, the line, the trouble, the remedy.

use std::io;

use thiserror::Error;

/// The remedy when the operating system refuses for a reason of its own.
const CHECK_DISK: &str = "check the file and its disk";

/// A trace that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TraceError {
    /// The file itself.
    #[error("{file}: {what}; {remedy}")]
    File {
        /// The trace.
        file: String,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// One line of it.
    #[error("{file}:{line}: {what}; {remedy}")]
    Line {
        /// The trace.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
}

impl TraceError {
    /// The file cannot be opened or read at all.
    pub(crate) fn unreadable(file: &str, error: &io::Error) -> TraceError {
        let remedy = if error.kind() == io::ErrorKind::NotFound {
            "name an existing .jsonl or .jsonl.gz file"
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            "make it readable for this user"
        } else {
            CHECK_DISK
        };
        TraceError::File {
            file: file.to_owned(),
            what: format!("cannot be opened: {error}"),
            remedy: remedy.to_owned(),
        }
    }

    /// The text breaks off or is not text.
    pub(crate) fn garbled(file: &str, line: u64, error: &io::Error) -> TraceError {
        let garbled = [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput];
        let remedy = if error.kind() == io::ErrorKind::UnexpectedEof {
            "the file is cut short: copy it again"
        } else if garbled.contains(&error.kind()) {
            "the file is neither plain text nor whole gzip: copy it again"
        } else {
            CHECK_DISK
        };
        TraceError::line(file, line, format!("cannot be read: {error}"), remedy)
    }

    pub(crate) fn line(file: &str, line: u64, what: String, remedy: &str) -> TraceError {
        TraceError::Line { file: file.to_owned(), line, what, remedy: remedy.to_owned() }
    }
}
