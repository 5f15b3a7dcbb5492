//! One set of measurements, on its way to becoming lines.
//!
//! What lives here: the builder, its checks and its errors. What may not: the layout of a line, or any aggregation.
//!
//! Invariant: within a document a name means one thing. A dimension, a metric and a property can never overwrite one
//! another on a line, whatever the order in which they were added.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use crate::limits::{DIMENSIONS_PER_SET_MAX, LINE_BYTES_MAX, VALUE_MAGNITUDE_MAX};
use crate::line::{self, Frame};
use crate::name::{self, NameError, NameKind};
use crate::unit::Unit;

/// Why something could not be part of a document, or the document not be written.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// A name that cannot be written.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name is in use for something else, and a line has one place for it.
    #[error("{name:?} cannot name a {wanted}: it already names a {taken_by}")]
    NameTaken {
        /// The name.
        name: String,
        /// What it names already.
        taken_by: NameKind,
        /// What it was to name.
        wanted: NameKind,
    },
    /// CloudWatch takes no dimension whose value shows nothing.
    #[error("the dimension {name:?} has a blank value")]
    BlankDimension {
        /// The dimension.
        name: String,
    },
    /// A dimension set names a dimension that was given no value.
    #[error("a dimension set names {name:?}, which has no value")]
    UnknownDimension {
        /// The dimension.
        name: String,
    },
    /// A dimension set names a dimension twice.
    #[error("a dimension set names {name:?} twice")]
    RepeatedDimension {
        /// The dimension.
        name: String,
    },
    /// A dimension set has too many keys.
    #[error("a dimension set has {keys} keys; the most is {DIMENSIONS_PER_SET_MAX}")]
    LargeSet {
        /// How many it has.
        keys: usize,
    },
    /// The same metric came with two units.
    #[error("the metric {metric:?} is in {first} and cannot be in {second} too")]
    Unit {
        /// The metric.
        metric: String,
        /// The unit it has.
        first: Unit,
        /// The other unit.
        second: Unit,
    },
    /// Dimensions and properties leave no room for a single metric on a line.
    #[error("a line would be {bytes} bytes long; the most is {LINE_BYTES_MAX}")]
    LineTooLong {
        /// The length of the shortest possible line, in bytes.
        bytes: usize,
    },
    /// The JSON writer failed.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

/// The lines of a document, and what became of its values.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Rendered {
    /// Each is one JSON object, without its newline. Every line carries all dimensions and properties.
    pub lines: Vec<String>,
    /// Values on the lines.
    pub values: usize,
    /// Values that are on no line, because CloudWatch takes no such number: not finite, or beyond
    /// [`VALUE_MAGNITUDE_MAX`].
    pub values_refused: usize,
}

/// A metric and its values so far.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) unit: Unit,
    pub(crate) values: Vec<f64>,
}

/// Measurements of one moment that share their dimensions and properties.
///
/// Each dimension set makes a custom metric of its own out of each metric here, and is billed as one.
#[derive(Clone, Debug)]
pub struct Document {
    namespace: String,
    timestamp_unix_ms: u64,
    dimension_sets: Vec<Vec<String>>,
    dimensions: BTreeMap<String, String>,
    metrics: BTreeMap<String, Metric>,
    properties: BTreeMap<String, Value>,
    values_refused: usize,
}

impl Document {
    /// An empty document for `namespace`, with the time of its measurements in milliseconds since 1970. CloudWatch drops
    /// what is more than 14 days old or 2 hours ahead.
    ///
    /// # Errors
    /// [`DocumentError::Name`] if the namespace is not one.
    pub fn new(namespace: impl Into<String>, timestamp_unix_ms: u64) -> Result<Self, DocumentError> {
        let namespace = namespace.into();
        name::check(NameKind::Namespace, &namespace)?;
        Ok(Self {
            namespace,
            timestamp_unix_ms,
            dimension_sets: Vec::new(),
            dimensions: BTreeMap::new(),
            metrics: BTreeMap::new(),
            properties: BTreeMap::new(),
            values_refused: 0,
        })
    }

    /// Gives a dimension its value. The value is cut at
    /// [`DIMENSION_VALUE_CHARS_MAX`](crate::limits::DIMENSION_VALUE_CHARS_MAX) characters, and what is not printable
    /// ASCII in it becomes `?`, because CloudWatch takes nothing else.
    ///
    /// # Errors
    /// A name that is unusable or taken, or a value that is blank.
    pub fn dimension(&mut self, name: impl Into<String>, value: &str) -> Result<&mut Self, DocumentError> {
        let name = self.free_name(NameKind::Dimension, name.into())?;
        let Some(value) = name::dimension_value(value) else {
            return Err(DocumentError::BlankDimension { name });
        };
        self.dimensions.insert(name, value);
        Ok(self)
    }

    /// Adds a dimension set: the keys, in order, of dimensions that have their values already. No keys at all is the set
    /// that sums over everything. A set given before, in whatever order, is not added again: CloudWatch would count each
    /// value twice.
    ///
    /// A document with no set is written with one, of all its dimensions.
    ///
    /// # Errors
    /// A key without a value, a key twice, or too many keys.
    pub fn dimension_set<K: Into<String>>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<&mut Self, DocumentError> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        let sorted = sorted(&keys);
        if let Some(name) = keys.iter().find(|key| !self.dimensions.contains_key(*key)) {
            return Err(DocumentError::UnknownDimension { name: name.clone() });
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DocumentError::RepeatedDimension { name: pair[0].to_owned() });
        }
        check_set_size(keys.len())?;
        if !self.dimension_sets.iter().any(|known| self::sorted(known) == sorted) {
            self.dimension_sets.push(keys);
        }
        Ok(self)
    }

    /// Adds values of a metric, after those it has. A value that CloudWatch would not take (not finite, or beyond
    /// [`VALUE_MAGNITUDE_MAX`]) is left out and counted, see [`Rendered::values_refused`]; a metric with no other value
    /// is not written.
    ///
    /// # Errors
    /// A name that is unusable or taken, or another unit than before. None of the values is added then.
    pub fn metric(
        &mut self,
        name: impl Into<String>,
        unit: Unit,
        values: impl IntoIterator<Item = f64>,
    ) -> Result<&mut Self, DocumentError> {
        let mut name = name.into();
        match self.metrics.get(&name) {
            Some(known) if known.unit != unit => {
                return Err(DocumentError::Unit { metric: name, first: known.unit, second: unit });
            }
            Some(_) => {}
            None => name = self.free_name(NameKind::Metric, name)?,
        }
        let metric = self.metrics.entry(name).or_insert_with(|| Metric { unit, values: Vec::new() });
        for value in values {
            if value.abs() <= VALUE_MAGNITUDE_MAX {
                metric.values.push(value);
            } else {
                self.values_refused += 1;
            }
        }
        Ok(self)
    }

    /// Adds a plain member, which CloudWatch Logs keeps and searches but makes no metric of.
    ///
    /// # Errors
    /// A name that is unusable (empty, `_aws`) or taken.
    pub fn property(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Result<&mut Self, DocumentError> {
        let name = self.free_name(NameKind::Property, name.into())?;
        self.properties.insert(name, value.into());
        Ok(self)
    }

    /// Writes the document as one line, or as several where the format's limits ask for it.
    ///
    /// # Errors
    /// [`DocumentError::LineTooLong`] if dimensions and properties alone fill a line,
    /// [`DocumentError::LargeSet`] if no set was named and there are too many dimensions for one.
    pub fn render(&self) -> Result<Rendered, DocumentError> {
        let implied;
        let dimension_sets = if self.dimension_sets.is_empty() {
            check_set_size(self.dimensions.len())?;
            implied = [self.dimensions.keys().cloned().collect()];
            &implied[..]
        } else {
            &self.dimension_sets
        };
        let frame = Frame {
            namespace: &self.namespace,
            timestamp_unix_ms: self.timestamp_unix_ms,
            dimension_sets,
            dimensions: &self.dimensions,
            properties: &self.properties,
        };
        Ok(Rendered {
            lines: line::pack(&frame, &self.metrics)?,
            values: self.metrics.values().map(|metric| metric.values.len()).sum(),
            values_refused: self.values_refused,
        })
    }

    /// Removes all properties and says how many there were.
    pub(crate) fn clear_properties(&mut self) -> usize {
        std::mem::take(&mut self.properties).len()
    }

    /// The name, if nothing in the document is called that yet.
    fn free_name(&self, wanted: NameKind, name: String) -> Result<String, DocumentError> {
        name::check(wanted, &name)?;
        match self.user_of(&name) {
            Some(taken_by) => Err(DocumentError::NameTaken { name, taken_by, wanted }),
            None => Ok(name),
        }
    }

    /// What the name stands for in this document.
    fn user_of(&self, name: &str) -> Option<NameKind> {
        if self.dimensions.contains_key(name) {
            Some(NameKind::Dimension)
        } else if self.metrics.contains_key(name) {
            Some(NameKind::Metric)
        } else if self.properties.contains_key(name) {
            Some(NameKind::Property)
        } else {
            None
        }
    }

    /// Whether a property could have this name.
    pub(crate) fn takes_property(&self, name: &str) -> bool {
        name::check(NameKind::Property, name).is_ok() && self.user_of(name).is_none()
    }
}

fn check_set_size(keys: usize) -> Result<(), DocumentError> {
    if keys > DIMENSIONS_PER_SET_MAX { Err(DocumentError::LargeSet { keys }) } else { Ok(()) }
}

fn sorted(keys: &[String]) -> Vec<&str> {
    let mut sorted: Vec<&str> = keys.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted
}
