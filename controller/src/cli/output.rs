//! Where output goes, and how a command fails.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use muster_core::config::{Diagnostic, FleetConfig};
use serde::Serialize;

/// A command could not do its work.
#[derive(Debug)]
pub struct Failure {
    error: anyhow::Error,
    /// The exit code: 2 as a rule; 1 if what it was given was read and found bad.
    pub(super) code: u8,
}

impl Failure {
    /// Whether nobody reads our output any more.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.error.chain().any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(broken)
                || cause
                    .downcast_ref::<serde_json::Error>()
                    .is_some_and(|e| e.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
        })
    }

    /// What was given was read and found bad: exit code 1.
    pub(super) fn found_bad(error: anyhow::Error) -> Failure {
        Failure { error, code: 1 }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { error: error.into(), code: 2 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// One JSON document on one line of standard output.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// One line for people on standard output.
pub(super) fn line(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// One line on standard error. That nobody reads it is no failure.
pub(super) fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Why the command failed, on standard error.
pub(super) fn complain(failure: &Failure) {
    note(format_args!("muster: {failure}"));
}

/// Shows a diagnostic as compilers do.
pub(super) fn diagnostic(kind: &str, found: &Diagnostic) {
    note(format_args!("{}:{}: {kind}: {}: {}", found.file, found.line, found.key, found.message));
    note(format_args!("    {}", found.remedy));
}

/// Reads and validates a configuration; a bad one is told on standard error and is a failure.
pub(super) fn read_config(path: &Path) -> Result<(FleetConfig, String), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}; is the path right?", path.display()))?;
    let parsed = FleetConfig::parse(&path.display().to_string(), &text);
    for warning in &parsed.warnings {
        diagnostic("warning", warning);
    }
    for error in &parsed.errors {
        diagnostic("error", error);
    }
    match parsed.config {
        Some(config) if parsed.errors.is_empty() => Ok((config, text)),
        Some(_) | None => {
            let errors = parsed.errors.len();
            let what = anyhow::anyhow!("{} is not valid: {errors} errors, see above", path.display());
            Err(Failure::found_bad(what))
        }
    }
}
