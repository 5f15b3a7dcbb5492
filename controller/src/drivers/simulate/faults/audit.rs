//! The audit: what the universe and the ledger must say of each other, faults or not. It shares no code with the planner.
//!
//! What lives here: the rules that need both sides. What may not: those that the universe's own watch checks at every act
//! (`muster_sim::Rule`), and a correction.
//!
//! Invariant: what is judged is the truth of the universe and what the ledger holds, never what a scaler believes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use muster_core::fact::FactBody;
use muster_core::ids::{InstanceId, JobKey};
use muster_core::job::{JobEvidence, JobRecord};
use muster_core::ports::{Snapshot, Store};
use muster_core::time::Timestamp;
use muster_sim::{Census, SharedUniverse};

use super::chronicle::Chronicle;
use super::ledger::FaultyLedger;
use super::rest::Rest;

/// How often both sides are held against each other.
const EVERY: Duration = Duration::from_secs(60);
/// A machine that the ledger does not know is ended, or known, within this time: a look at the cloud is minutes apart, and the
/// door may be down for an hour.
const UNKNOWN_MACHINE_MAX: Duration = Duration::from_secs(90 * 60);
/// A registration that no listener has is gone within this time: half an hour, and an hour each without door and GitHub.
const EMPTY_REGISTRATION_MAX: Duration = Duration::from_secs(150 * 60);
/// When faults have ended, whatever waits is served within this time.
pub const SERVED_MAX: Duration = Duration::from_secs(3_600);
/// When faults and jobs have ended, nothing is left after this time.
pub const REST_MAX: Duration = Duration::from_secs(2 * 3_600);
/// Violations that are kept.
const KEPT_MAX: usize = 100;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// A fact was acknowledged, and the ledger does not have it.
    FactLost,
    /// A machine ran for long without the ledger's knowing.
    UnknownMachine,
    /// A registration was there for long without a listener.
    EmptyRegistration,
    /// GitHub refused a request for being over a limit.
    OverLimit,
    /// Faults had ended, and a job waited for long.
    NotServed,
    /// Faults and jobs had ended, and something was left.
    NotHealed,
}

impl Broken {
    /// Its word.
    pub fn as_word(self) -> &'static str {
        match self {
            Broken::FactLost => "fact_lost",
            Broken::UnknownMachine => "unknown_machine",
            Broken::EmptyRegistration => "empty_registration",
            Broken::OverLimit => "over_limit",
            Broken::NotServed => "not_served",
            Broken::NotHealed => "not_healed",
        }
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: Timestamp,
    /// Which.
    pub rule: Broken,
    /// By what.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.rule.as_word(), self.detail)
    }
}

/// Holds both sides against each other.
pub(super) struct Audit {
    ledger: Arc<FaultyLedger>,
    rest: Rest,
    chronicle: Chronicle,
    /// When faults end.
    until: Timestamp,
    next_at: Timestamp,
    unknown: BTreeMap<InstanceId, Timestamp>,
    refused: u64,
    /// From when on nothing waited that had waited at the end of faults.
    served_at: Option<Timestamp>,
    told: BTreeSet<(Broken, String)>,
    violations: Vec<Violation>,
    struck: u64,
}

impl Audit {
    pub(super) fn new(ledger: Arc<FaultyLedger>, rest: Rest, chronicle: Chronicle, until: Timestamp) -> Audit {
        Audit {
            ledger,
            rest,
            chronicle,
            until,
            next_at: Timestamp::EPOCH,
            unknown: BTreeMap::new(),
            refused: 0,
            served_at: None,
            told: BTreeSet::new(),
            violations: Vec::new(),
            struck: 0,
        }
    }

    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn broken(&mut self, at: Timestamp, rule: Broken, what: String, detail: String) {
        if self.violations.len() < KEPT_MAX && self.told.insert((rule, what)) {
            self.chronicle.write(at, || format!("VIOLATION {}: {detail}", rule.as_word()));
            self.violations.push(Violation { at, rule, detail });
        }
    }

    /// Looks, if it is time.
    pub(super) fn look(&mut self, now: Timestamp, universe: &SharedUniverse) {
        self.tell_faults(now, universe);
        if now < self.next_at {
            return;
        }
        self.next_at = now + EVERY;
        let Some(Ok(snapshot)) = self.ledger.inner().load().now_or_never() else { return };
        self.look_for_facts(now);
        self.look_at_machines(now, universe, &snapshot);
        self.look_at_github(now, universe);
        let broken = universe.lock().watch().counts().values().sum::<u64>();
        if broken > 0 || !self.violations.is_empty() {
            self.chronicle.close();
        }
    }

    fn tell_faults(&mut self, now: Timestamp, universe: &SharedUniverse) {
        let mut universe = universe.lock();
        let struck = universe.faults().struck();
        let total: u64 = struck.values().sum();
        if total > self.struck {
            self.chronicle.write(now, || {
                let all: Vec<String> = struck.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
                format!("faults so far: {}", all.join(", "))
            });
            self.struck = total;
        }
    }

    /// Every fact about a job that was acknowledged is merged into its record, or waits to be.
    fn look_for_facts(&mut self, now: Timestamp) {
        let acknowledged = self.ledger.take_acknowledged();
        if acknowledged.is_empty() {
            return;
        }
        let keys: Vec<JobKey> = acknowledged.keys().copied().collect();
        let store = self.ledger.inner();
        let (Some(Ok(records)), Some(Ok(facts))) =
            (store.jobs(&keys).now_or_never(), store.new_facts(usize::MAX).now_or_never())
        else {
            return;
        };
        let records: BTreeMap<JobKey, JobRecord> = records.into_iter().map(|record| (record.key, record)).collect();
        let waits: Vec<(JobKey, JobEvidence)> = facts
            .into_iter()
            .filter_map(|new| match new.fact.ok()?.body {
                FactBody::Job(event) => Some((event.key, event.evidence)),
                FactBody::Machine(_)
                | FactBody::Cloud(_)
                | FactBody::Group(_)
                | FactBody::Prewarmed(_)
                | FactBody::Release(_) => None,
            })
            .collect();
        for (key, all) in acknowledged {
            for evidence in all {
                let known = records.get(&key).is_some_and(|record| has(record, &evidence));
                if !known && !waits.iter().any(|(of, waiting)| *of == key && same_kind(waiting, &evidence)) {
                    let detail = format!("job {} attempt {}: {evidence:?} was acknowledged", key.job, key.attempt);
                    self.broken(now, Broken::FactLost, format!("{key:?}"), detail);
                }
            }
        }
    }

    /// A machine has a row, or is one that an open launch may have brought, or is on its way out.
    fn look_at_machines(&mut self, now: Timestamp, universe: &SharedUniverse, snapshot: &Snapshot) {
        let known: BTreeSet<&InstanceId> = snapshot.machines.iter().map(|machine| &machine.instance).collect();
        let there: BTreeSet<InstanceId> = universe.lock().machines().cloned().collect();
        self.unknown.retain(|instance, _| there.contains(instance) && !known.contains(instance));
        for instance in there.iter().filter(|instance| !known.contains(instance)) {
            let since = *self.unknown.entry(instance.clone()).or_insert(now);
            if now.since(since) > UNKNOWN_MACHINE_MAX {
                let detail = format!("{instance} has run since {since}, and the ledger does not know it");
                self.broken(now, Broken::UnknownMachine, instance.to_string(), detail);
            }
        }
    }

    fn look_at_github(&mut self, now: Timestamp, universe: &SharedUniverse) {
        let (empty, refused, census) = {
            let universe = universe.lock();
            let since = universe.registrations_without_listener();
            let long = since.into_iter().filter(|since| now.since(*since) > EMPTY_REGISTRATION_MAX);
            (long.collect::<Vec<_>>(), universe.github_refused(), universe.census())
        };
        for since in empty {
            let detail = format!("a registration has been without a listener since {since}");
            self.broken(now, Broken::EmptyRegistration, since.to_string(), detail);
        }
        if refused > self.refused {
            let detail = format!("{} requests more were refused by GitHub", refused - self.refused);
            self.broken(now, Broken::OverLimit, refused.to_string(), detail);
            self.refused = refused;
        }
        self.look_at_queue(now, census);
    }

    /// After the faults nothing waits for long, whenever it was queued.
    fn look_at_queue(&mut self, now: Timestamp, census: Census) {
        if now < self.until {
            return;
        }
        let Some(since) = census.waiting_since.filter(|since| *since <= self.until || now.since(*since) > SERVED_MAX)
        else {
            // Whatever waits has come since the end of faults, and not long ago.
            self.served_at = self.served_at.or(Some(now));
            return;
        };
        if now.since(self.until.max(since)) > SERVED_MAX {
            let detail = format!("a job waits since {since}, and faults ended at {}", self.until);
            self.broken(now, Broken::NotServed, since.to_string(), detail);
        }
    }

    /// The end: when everything had healed, and from when on nothing waited that had waited at the end of faults.
    pub(super) fn finish(&mut self, universe: &SharedUniverse) -> (Option<Timestamp>, Option<Timestamp>) {
        let (now, census, rests) = {
            let universe = universe.lock();
            (universe.now(), universe.census(), self.rest.has_come(&universe))
        };
        self.next_at = now;
        self.look(now, universe);
        if rests {
            return (Some(now), self.served_at);
        }
        let detail = format!("left at GitHub and in the cloud: {census:?}; in the ledger: {}", self.rest.left());
        self.broken(now, Broken::NotHealed, String::new(), detail);
        (None, self.served_at)
    }
}

/// Whether a record holds what was told: of each kind, the rule of the merge decides which word stays.
fn has(record: &JobRecord, evidence: &JobEvidence) -> bool {
    match evidence {
        JobEvidence::Queued { .. } => record.queued.is_some(),
        JobEvidence::Waiting => record.waiting.is_some() || record.queued.is_some(),
        JobEvidence::InProgress(_) => record.started.is_some(),
        JobEvidence::Completed(_) => record.completed.is_some(),
    }
}

fn same_kind(a: &JobEvidence, b: &JobEvidence) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
