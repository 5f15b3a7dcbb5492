//! What is wrong with a configuration, where, and what to do.
//!
//! What lives here: the diagnostic, its collector, and the way from a key to its line. What may not: the rules.
//!
//! Invariant: a diagnostic of a missing key stands at the line of the nearest table that should hold it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

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
    /// What is wrong. Never the text of a secret.
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
        write!(f, "{}; {}", self.message, self.remedy)
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

/// Collects diagnostics of one file and knows the line of every key in it.
pub(super) struct Findings {
    file: String,
    line_starts: Vec<usize>,
    places: BTreeMap<String, usize>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Findings {
    pub(super) fn new(file: &str, text: &str) -> Findings {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Findings {
            file: file.to_owned(),
            line_starts,
            places: BTreeMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Remembers where every key of the document stands.
    pub(super) fn learn_places(&mut self, table: &DeTable<'_>) {
        self.learn_table("", table);
    }

    fn learn_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let key = join(path, name.get_ref());
            self.places.insert(key.clone(), name.span().start);
            self.learn_value(&key, value);
        }
    }

    fn learn_value(&mut self, key: &str, value: &Spanned<DeValue<'_>>) {
        if let Some(table) = value.get_ref().as_table() {
            self.learn_table(key, table);
        } else if let Some(array) = value.get_ref().as_array() {
            for (i, element) in array.iter().enumerate() {
                let key = format!("{key}[{i}]");
                self.places.insert(key.clone(), element.span().start);
                self.learn_value(&key, element);
            }
        }
    }

    /// Line, from 1, of a byte of the text.
    pub(super) fn line_of(&self, offset: usize) -> u32 {
        u32::try_from(self.line_starts.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX).max(1)
    }

    /// Line of a key, or of the nearest one above it; 1 if there is none.
    fn line_of_key(&self, key: &str) -> u32 {
        let mut path = key;
        loop {
            if let Some(offset) = self.places.get(path) {
                return self.line_of(*offset);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return 1,
            }
        }
    }

    /// Where a key stands in the text; the end of all keys if it is not there.
    pub(super) fn offset_of(&self, key: &str) -> usize {
        self.places.get(key).copied().unwrap_or(usize::MAX)
    }

    pub(super) fn error(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        let key = key.into();
        let line = self.line_of_key(&key);
        self.error_at(line, key, message, remedy);
    }

    pub(super) fn error_at(
        &mut self,
        line: u32,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let file = self.file.clone();
        let (key, message, remedy) = (key.into(), message.into(), remedy.into());
        self.errors.push(Diagnostic { file, line, key, message, remedy });
    }

    pub(super) fn warn(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        let (file, key) = (self.file.clone(), key.into());
        let line = self.line_of_key(&key);
        let (message, remedy) = (message.into(), remedy.into());
        self.warnings.push(Diagnostic { file, line, key, message, remedy });
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Everything found, by line; the configuration only if there is no error.
    pub(super) fn into_parsed(mut self, config: Option<FleetConfig>) -> Parsed {
        self.errors.sort_by_key(|told| told.line);
        self.warnings.sort_by_key(|told| told.line);
        let config = if self.errors.is_empty() { config } else { None };
        Parsed { config, errors: self.errors, warnings: self.warnings }
    }
}

/// The dotted path of `name` in the table at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
