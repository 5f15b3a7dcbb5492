//! What GitHub's interface is asked for, by kind: where a fleet's requests go.
//!
//! What lives here: the count. What may not: a limit (the hub's).

use std::collections::BTreeMap;

/// A kind of request to GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    /// A registration.
    Mint,
    /// A registration's removal.
    Remove,
    /// A page of the list of registrations.
    Registrations,
    /// A page of the log of webhook deliveries.
    Deliveries,
    /// A delivery's payload.
    Payload,
    /// One job.
    Job,
    /// The repositories that were pushed to.
    Repositories,
    /// A repository's runs, and the jobs of one of them.
    Sweep,
    /// One run, or its jobs.
    Run,
    /// A run again, or no more.
    Rerun,
    /// The runner releases.
    Releases,
}

impl Ask {
    /// Its word.
    fn as_word(self) -> &'static str {
        match self {
            Ask::Mint => "mint",
            Ask::Remove => "remove",
            Ask::Registrations => "registrations",
            Ask::Deliveries => "deliveries",
            Ask::Payload => "payload",
            Ask::Job => "job",
            Ask::Repositories => "repositories",
            Ask::Sweep => "sweep",
            Ask::Run => "run",
            Ask::Rerun => "rerun",
            Ask::Releases => "releases",
        }
    }
}

/// How often each was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(BTreeMap<Ask, u64>);

impl Asked {
    pub(crate) fn add(&mut self, ask: Ask, requests: u64) {
        if requests > 0 {
            *self.0.entry(ask).or_default() += requests;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn by_word(&self) -> BTreeMap<&'static str, u64> {
        self.0.iter().map(|(ask, requests)| (ask.as_word(), *requests)).collect()
    }
}
