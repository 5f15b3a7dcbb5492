//! Why no class serves a job.
//!
//! What lives here: the refusals, their order and their sentences. What may not: the search for a class (`resolve.rs`).
//!
//! Invariant: the order of the kinds is the order in which a job is judged; across pools the furthest one wins.

use std::fmt;

/// The kinds of refusal, in the order in which a job is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// No pool is open to the repository.
    RepositoryNotAllowed,
    /// The repository is public and no pool takes public repositories.
    PublicRepository,
    /// The job names no label, and no pool serves such jobs.
    NoLabels,
    /// The job asks for a machine of GitHub's own. Ignored quietly.
    GithubHosted,
    /// No pool has the labels.
    NoPool,
    /// The pool does not have the size.
    SizeNotAllowed,
    /// The pool does not allow the raw instance type.
    InstanceTypeNotAllowed,
    /// The pool does not offer the market.
    MarketNotAllowed,
}

/// A job that no class serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub(super) kind: RefusalKind,
    pub(super) why: String,
}

impl Refusal {
    /// The kind, as an enum.
    pub fn refusal_kind(&self) -> RefusalKind {
        self.kind
    }

    /// The kind as a word: metric dimension, `outcome` of `explain`, `reason` in the ledger.
    pub fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    /// One sentence for the developer and the admin: what was asked for, and the remedy.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl RefusalKind {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalKind::RepositoryNotAllowed => "repository_not_allowed",
            RefusalKind::PublicRepository => "public_repository",
            RefusalKind::NoLabels => "no_labels",
            RefusalKind::GithubHosted => "github_hosted",
            RefusalKind::NoPool => "no_pool",
            RefusalKind::SizeNotAllowed => "size_not_allowed",
            RefusalKind::InstanceTypeNotAllowed => "instance_type_not_allowed",
            RefusalKind::MarketNotAllowed => "market_not_allowed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.why)
    }
}
