//! What is wrong with a configuration, where, and what to do.
//!
//! What lives here: the diagnostic and its collector. What may not: the rules.
//!
//! Invariant: no message or remedy holds the text of a secret.

use std::fmt;

use serde::Serialize;

use super::FleetConfig;

/// One thing wrong, or worth a look, in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file as it was named by the caller.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Dotted path, such as `pool[0].sizes.cpu-2.instance_types`. Empty if there is none.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} ({})", self.message, self.remedy)
    }
}

/// The outcome of reading a configuration.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The configuration; `None` if there is any error.
    pub config: Option<FleetConfig>,
    /// All errors, by line.
    pub errors: Vec<Diagnostic>,
    /// All warnings, by line. Present with and without errors.
    pub warnings: Vec<Diagnostic>,
}
