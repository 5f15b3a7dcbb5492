//! Names, and the values of dimensions: what CloudWatch accepts.
//!
//! What lives here: the checks on names and the trimming of dimension values. What may not: who uses which name for what.
//!
//! Invariant: what passes here is printable ASCII without surprises, so that its length in JSON is bounded.

use std::fmt;

use thiserror::Error;

use crate::limits::{DIMENSION_NAME_CHARS_MAX, DIMENSION_VALUE_CHARS_MAX, METRIC_NAME_CHARS_MAX, NAMESPACE_CHARS_MAX};

/// The root member that holds the format's own metadata (spec).
pub(crate) const METADATA: &str = "_aws";

/// Stands in a dimension value for each character that CloudWatch would not take.
const REPLACEMENT: char = '?';

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A namespace.
    Namespace,
    /// A metric.
    Metric,
    /// A dimension.
    Dimension,
    /// A property: any other member of the line.
    Property,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "namespace",
            Self::Metric => "metric",
            Self::Dimension => "dimension",
            Self::Property => "property",
        })
    }
}

/// A name that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty, or nothing but white space.
    #[error("the name of a {kind} needs a visible character")]
    Blank {
        /// What was named.
        kind: NameKind,
    },
    /// Longer than the format allows.
    #[error("the name of a {kind} is {chars} characters long; the most is {chars_max}")]
    TooLong {
        /// What was named.
        kind: NameKind,
        /// Its length, in characters.
        chars: usize,
        /// The longest allowed, in characters.
        chars_max: usize,
    },
    /// Holds something other than printable ASCII, which is all that CloudWatch takes in names.
    #[error("the name {name:?} of a {kind} holds {character:?}; only printable ASCII is allowed")]
    Character {
        /// What was named.
        kind: NameKind,
        /// The name.
        name: String,
        /// The first character at fault.
        character: char,
    },
    /// Starts with a colon, which CloudWatch keeps for itself.
    #[error("the name {name:?} of a {kind} starts with a colon")]
    Colon {
        /// What was named.
        kind: NameKind,
        /// The name.
        name: String,
    },
    /// `_aws`, which holds the format's own metadata.
    #[error("a {kind} cannot be called `_aws`: the format uses that name")]
    Reserved {
        /// What was named.
        kind: NameKind,
    },
}

/// Checks a name. A property may be called anything but nothing and `_aws`: it never reaches CloudWatch's metrics.
pub(crate) fn check(kind: NameKind, name: &str) -> Result<(), NameError> {
    let chars_max = match kind {
        NameKind::Namespace => NAMESPACE_CHARS_MAX,
        NameKind::Metric => METRIC_NAME_CHARS_MAX,
        NameKind::Dimension => DIMENSION_NAME_CHARS_MAX,
        NameKind::Property => usize::MAX,
    };
    let chars = name.chars().count();
    if name.trim().is_empty() {
        return Err(NameError::Blank { kind });
    }
    if name == METADATA {
        return Err(NameError::Reserved { kind });
    }
    if chars > chars_max {
        return Err(NameError::TooLong { kind, chars, chars_max });
    }
    if kind == NameKind::Property {
        return Ok(());
    }
    if let Some(character) = name.chars().find(|c| !is_printable(*c)) {
        return Err(NameError::Character { kind, name: name.to_owned(), character });
    }
    if name.starts_with(':') {
        return Err(NameError::Colon { kind, name: name.to_owned() });
    }
    Ok(())
}

/// The value as CloudWatch takes it: cut to length, each character outside printable ASCII replaced by `?` (API
/// `Dimension`). `None` if nothing visible is left; such a value cannot be a dimension.
pub(crate) fn dimension_value(value: &str) -> Option<String> {
    let kept = || value.chars().take(DIMENSION_VALUE_CHARS_MAX);
    if kept().all(char::is_whitespace) {
        return None;
    }
    Some(kept().map(|c| if is_printable(c) { c } else { REPLACEMENT }).collect())
}

fn is_printable(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}
