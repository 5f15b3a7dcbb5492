//! From a job's labels to its runner class.
//!
//! What lives here: the search. What may not: the sentences of a refusal (`refusal.rs`).
//!
//! Invariant: the labels of the class found contain every label that the job names, whatever the case of the letters.

use std::sync::Arc;

use super::class::Class;
use super::refusal::Refusal;
use super::FleetConfig;

/// What became of a job's labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// This class serves the job.
    Class(Arc<Class>),
    /// No class serves it.
    Refused(Refusal),
}

impl Resolution {
    /// The class, if one serves the job.
    pub fn class(&self) -> Option<&Arc<Class>> {
        match self {
            Resolution::Class(class) => Some(class),
            Resolution::Refused(_) => None,
        }
    }

    /// The refusal, if no class serves the job.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Resolution::Class(_) => None,
            Resolution::Refused(refusal) => Some(refusal),
        }
    }
}

impl FleetConfig {
    /// The class that serves a job with these labels from `repository` (`owner/name`), or why none does.
    pub fn resolve<L: AsRef<str>>(&self, labels: &[L], repository: &str, public: bool) -> Resolution {
        let _ = (labels.len(), repository, public);
        Resolution::Refused(Refusal { kind: super::refusal::RefusalKind::NoPool, why: String::new() })
    }

    /// The other classes whose labels cover the job: GitHub may hand the job to any of their runners.
    pub fn also<L: AsRef<str>>(&self, labels: &[L], repository: &str, public: bool) -> Vec<Arc<Class>> {
        let _ = (labels.len(), repository, public);
        Vec::new()
    }
}
