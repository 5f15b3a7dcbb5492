//! Facts in memory: those that wait for a tick, those set aside, and, if history is kept, the merged ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{JobId, JobKey};
use muster_core::job::JobEvent;
use muster_core::ports::{NewFact, Put};
use muster_core::time::Timestamp;

use crate::read::job_of;
use crate::upkeep::{Counts, SetAside};

#[derive(Debug)]
enum Verdict {
    New,
    Merged,
    SetAside(String),
}

/// A text that does not read.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) body: String,
    pub(super) reason: String,
}

#[derive(Debug)]
struct Shelved {
    key: Arc<str>,
    received_at: Timestamp,
    fact: Result<Fact, Unread>,
    verdict: Verdict,
}

impl Shelved {
    fn job(&self) -> Option<JobKey> {
        self.fact.as_ref().ok().and_then(|fact| job_of(&fact.body))
    }

    fn job_event(&self) -> Option<(&JobEvent, Timestamp)> {
        match &self.fact.as_ref().ok()?.body {
            FactBody::Job(event) => Some((event, self.received_at)),
            FactBody::Machine(_)
            | FactBody::Cloud(_)
            | FactBody::Group(_)
            | FactBody::Prewarmed(_)
            | FactBody::Release(_) => None,
        }
    }
}

/// The facts, by their place.
#[derive(Debug)]
pub(super) struct Facts {
    keep_merged: bool,
    last: i64,
    shelf: BTreeMap<i64, Shelved>,
    by_key: BTreeMap<Arc<str>, i64>,
    new: BTreeSet<i64>,
}

impl Facts {
    pub(super) fn new(keep_merged: bool) -> Facts {
        Facts { keep_merged, last: 0, shelf: BTreeMap::new(), by_key: BTreeMap::new(), new: BTreeSet::new() }
    }

    /// Stores a fact, made only if its key is new.
    pub(super) fn put(
        &mut self,
        key: String,
        received_at: Timestamp,
        make: impl FnOnce() -> Result<Fact, Unread>,
    ) -> Put {
        if self.by_key.contains_key(key.as_str()) {
            return Put::Duplicate;
        }
        let key: Arc<str> = key.into();
        self.last += 1;
        self.by_key.insert(key.clone(), self.last);
        self.new.insert(self.last);
        self.shelf.insert(self.last, Shelved { key, received_at, fact: make(), verdict: Verdict::New });
        Put::New
    }

    pub(super) fn new_facts(&self, max: usize) -> Vec<NewFact> {
        let mut facts = Vec::with_capacity(max.min(self.new.len()));
        for seq in self.new.iter().take(max) {
            let Some(shelved) = self.shelf.get(seq) else { continue };
            let fact = shelved.fact.as_ref().map(Clone::clone).map_err(|unread| unread.reason.clone());
            facts.push(NewFact { seq: *seq, fact });
        }
        facts
    }

    /// A fact has one verdict, and the first one stands.
    pub(super) fn merge(&mut self, seq: i64) {
        if !self.new.remove(&seq) {
            return;
        }
        if self.keep_merged {
            if let Some(shelved) = self.shelf.get_mut(&seq) {
                shelved.verdict = Verdict::Merged;
            }
        } else {
            self.drop_fact(seq);
        }
    }

    pub(super) fn set_aside(&mut self, seq: i64, reason: &str) {
        if self.new.remove(&seq)
            && let Some(shelved) = self.shelf.get_mut(&seq)
        {
            shelved.verdict = Verdict::SetAside(reason.to_owned());
        }
    }

    pub(super) fn listed(&self, max: usize) -> Vec<SetAside> {
        let aside = self.shelf.iter().filter_map(|(seq, shelved)| match &shelved.verdict {
            Verdict::SetAside(reason) => Some((*seq, shelved, reason)),
            Verdict::New | Verdict::Merged => None,
        });
        aside
            .take(max)
            .map(|(seq, shelved, reason)| SetAside {
                seq,
                key: shelved.key.as_ref().to_owned(),
                received_at: shelved.received_at,
                body: match &shelved.fact {
                    Ok(fact) => serde_json::to_string(&fact.body).unwrap_or_default(),
                    Err(unread) => unread.body.clone(),
                },
                reason: reason.clone(),
            })
            .collect()
    }

    pub(super) fn by_key(&self, key: &str) -> Option<&Fact> {
        self.shelf.get(self.by_key.get(key)?)?.fact.as_ref().ok()
    }

    pub(super) fn history(&self, job: JobId) -> Vec<Fact> {
        let of_job = self.shelf.values().filter(|shelved| shelved.job().is_some_and(|key| key.job == job));
        of_job.filter_map(|shelved| shelved.fact.as_ref().ok().cloned()).collect()
    }

    /// What no tick has merged yet about jobs.
    pub(super) fn new_job_events(&self) -> impl Iterator<Item = (&JobEvent, Timestamp)> {
        self.new.iter().filter_map(|seq| self.shelf.get(seq)?.job_event())
    }

    /// Forgets facts with a verdict, in the order in which they came, up to the first that is not older than `cutoff`.
    /// Those of known jobs stay.
    pub(super) fn prune(&mut self, cutoff: Timestamp, known: impl Fn(JobKey) -> bool) -> usize {
        let old = self.shelf.iter().take_while(|(_, shelved)| shelved.received_at < cutoff);
        let over = old.filter(|(_, shelved)| match shelved.verdict {
            Verdict::New => false,
            Verdict::Merged | Verdict::SetAside(_) => !shelved.job().is_some_and(&known),
        });
        let over: Vec<i64> = over.map(|(seq, _)| *seq).collect();
        for seq in &over {
            self.drop_fact(*seq);
        }
        over.len()
    }

    pub(super) fn count(&self, counts: &mut Counts) {
        for shelved in self.shelf.values() {
            match shelved.verdict {
                Verdict::New => counts.facts_new += 1,
                Verdict::Merged => counts.facts_merged += 1,
                Verdict::SetAside(_) => counts.facts_set_aside += 1,
            }
        }
    }

    fn drop_fact(&mut self, seq: i64) {
        if let Some(shelved) = self.shelf.remove(&seq) {
            self.by_key.remove(&shelved.key);
        }
    }
}
