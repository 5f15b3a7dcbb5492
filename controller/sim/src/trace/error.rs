//! What can be wrong with a trace, said so that it can be mended: the file, the line, the trouble, the remedy.

use std::io;

use thiserror::Error;

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
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "name an existing .jsonl or .jsonl.gz file",
            io::ErrorKind::PermissionDenied => "make it readable for this user",
            _ => "check the file and its disk",
        };
        TraceError::File { file: file.to_owned(), what: format!("cannot be opened: {error}"), remedy: remedy.to_owned() }
    }

    /// The text breaks off or is not text.
    pub(crate) fn garbled(file: &str, line: u64, error: &io::Error) -> TraceError {
        let remedy = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the file is cut short: copy it again",
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                "the file is neither plain text nor whole gzip: copy it again"
            }
            _ => "check the file and its disk",
        };
        TraceError::line(file, line, format!("cannot be read: {error}"), remedy)
    }

    pub(crate) fn line(file: &str, line: u64, what: String, remedy: &str) -> TraceError {
        TraceError::Line { file: file.to_owned(), line, what, remedy: remedy.to_owned() }
    }
}
