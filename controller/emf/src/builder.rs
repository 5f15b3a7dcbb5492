//! How a recorder is set up, and where its settings put a key.
//!
//! What lives here: the namespace, the allow-list of dimensions, the dimension sets, and the sorting of a key's labels
//! into dimensions and properties. What may not: values and lines.
//!
//! Invariant: a label that was not allowed never becomes a dimension, and each metric has at least one dimension set.

use std::collections::{BTreeMap, BTreeSet};

use metrics::Key;
use thiserror::Error;

use crate::limits::{DIMENSIONS_PER_SET_MAX, SETS_PER_METRIC_MAX};
use crate::name::{self, NameError, NameKind};
use crate::recorder::EmfRecorder;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A name that cannot be written.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The allow-list is longer than a dimension set can be.
    #[error("{dimensions} dimensions are allowed; the most is {DIMENSIONS_PER_SET_MAX}")]
    TooManyDimensions {
        /// How many it has.
        dimensions: usize,
    },
    /// The allow-list, or a set, names a dimension twice.
    #[error("the dimension {dimension:?} is named twice")]
    RepeatedDimension {
        /// The dimension.
        dimension: String,
    },
    /// A set names a dimension that is not on the allow-list.
    #[error("a dimension set of {metric:?} names {dimension:?}, which is not an allowed dimension")]
    NotAllowed {
        /// The metric.
        metric: String,
        /// The dimension.
        dimension: String,
    },
    /// A metric was given no set, or more than [`SETS_PER_METRIC_MAX`].
    #[error("{metric:?} has {sets} dimension sets; it needs 1 to {SETS_PER_METRIC_MAX}")]
    SetCount {
        /// The metric.
        metric: String,
        /// How many it was given.
        sets: usize,
    },
}

/// Settings of an [`EmfRecorder`]; made by [`EmfRecorder::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EmfRecorderBuilder {
    layout: Layout,
}

impl EmfRecorderBuilder {
    pub(crate) fn new(namespace: String) -> Self {
        Self { layout: Layout { namespace, allowed: Vec::new(), sets: BTreeMap::new() } }
    }

    /// Allows labels to become dimensions, in this order. Labels that are not allowed are written as properties.
    ///
    /// Allow only labels with few values: each combination of values is billed as a custom metric of its own.
    pub fn dimensions<D: Into<String>>(mut self, names: impl IntoIterator<Item = D>) -> Self {
        self.layout.allowed.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the dimension sets of one metric, in place of the one set of all allowed labels that the key has (which is
    /// the empty set if it has none). A set some of whose labels are missing from a key is left out for that key; if
    /// none remains, the usual one is used.
    ///
    /// Each set is billed as a custom metric of its own.
    pub fn dimension_sets<S, K>(mut self, metric: impl Into<String>, sets: impl IntoIterator<Item = S>) -> Self
    where
        S: IntoIterator<Item = K>,
        K: Into<String>,
    {
        let sets = sets.into_iter().map(|set| set.into_iter().map(Into::into).collect()).collect();
        self.layout.sets.insert(metric.into(), sets);
        self
    }

    /// The recorder.
    ///
    /// # Errors
    /// A setting that cannot work, see [`ConfigError`].
    pub fn build(self) -> Result<EmfRecorder, ConfigError> {
        self.layout.check()?;
        Ok(EmfRecorder::new(self.layout))
    }
}

/// Settings that were checked.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) namespace: String,
    allowed: Vec<String>,
    sets: BTreeMap<String, Vec<Vec<String>>>,
}

/// What keys must share to be written in one document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The dimension sets.
    pub(crate) sets: Vec<Vec<String>>,
    /// The allowed labels, as CloudWatch takes them.
    pub(crate) dimensions: BTreeMap<String, String>,
    /// The other labels, and allowed ones with a blank value, as they are.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Layout {
    fn check(&self) -> Result<(), ConfigError> {
        name::check(NameKind::Namespace, &self.namespace)?;
        for dimension in &self.allowed {
            name::check(NameKind::Dimension, dimension)?;
        }
        check_unique(&self.allowed)?;
        if self.allowed.len() > DIMENSIONS_PER_SET_MAX {
            return Err(ConfigError::TooManyDimensions { dimensions: self.allowed.len() });
        }
        for (metric, sets) in &self.sets {
            name::check(NameKind::Metric, metric)?;
            if sets.is_empty() || sets.len() > SETS_PER_METRIC_MAX {
                return Err(ConfigError::SetCount { metric: metric.clone(), sets: sets.len() });
            }
            for set in sets {
                check_unique(set)?;
                if let Some(dimension) = set.iter().find(|it| !self.allowed.contains(it)) {
                    return Err(ConfigError::NotAllowed { metric: metric.clone(), dimension: dimension.clone() });
                }
            }
        }
        Ok(())
    }

    /// Where the values of a key belong. Of a label that the key has twice, the last value counts.
    pub(crate) fn place(&self, key: &Key) -> Place {
        let (mut dimensions, mut labels) = (BTreeMap::new(), BTreeMap::new());
        for label in key.labels() {
            let name = label.key().to_owned();
            let allowed = self.allowed.contains(&name);
            match name::dimension_value(label.value()) {
                Some(value) if allowed => dimensions.insert(name, value),
                Some(_) | None => labels.insert(name, label.value().to_owned()),
            };
        }
        labels.retain(|name, _| !dimensions.contains_key(name));
        let sets = self.sets_of(key.name(), &dimensions);
        Place { sets, dimensions, labels }
    }

    fn sets_of(&self, metric: &str, dimensions: &BTreeMap<String, String>) -> Vec<Vec<String>> {
        let complete = |set: &&Vec<String>| set.iter().all(|name| dimensions.contains_key(name));
        let chosen: Vec<_> = self.sets.get(metric).into_iter().flatten().filter(complete).cloned().collect();
        if chosen.is_empty() {
            return vec![self.allowed.iter().filter(|name| dimensions.contains_key(*name)).cloned().collect()];
        }
        chosen
    }
}

fn check_unique(names: &[String]) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(ConfigError::RepeatedDimension { dimension: name.clone() }),
        None => Ok(()),
    }
}
