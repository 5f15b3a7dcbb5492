//! What the ledger's log of facts says of waiting jobs at any tick: recomputed without a line of the scaler's code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use muster_core::fact::FactBody;
use muster_core::ids::{InstanceId, JobKey};
use muster_core::job::JobEvidence;
use muster_core::machine::{Report, instance_of};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// Jobs of a class that wait, runners that took one of which GitHub has not told yet, and the oldest demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) queued: u64,
    pub(crate) taken: u64,
    pub(crate) oldest_at: Option<i64>,
}

/// By class. Classes without any are left out.
pub(crate) type ByClass = BTreeMap<String, Waiting>;

/// What was known after each merge.
pub(crate) struct Moment {
    /// When its latest fact was received.
    latest_at: i64,
    /// When the first fact was received that it does not know.
    next_at: i64,
    pub(crate) waiting: ByClass,
}

/// All merges of a run, in their order.
pub(crate) struct History {
    moments: Vec<Moment>,
    /// Lines are told in order of time: the next one's moment is not before this one.
    at: usize,
}

/// A fact is stored, and merged, a little after it was received: as long in simulated time as this host may take.
const LAG_MS: i64 = 120_000;

impl History {
    /// Reads a ledger. `entries` are its jobs, with their classes and demands.
    pub(crate) fn read(ledger: &Path, entries: &[Value]) -> History {
        let ledger = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut rows = ledger.prepare("SELECT merged, received_at, body FROM facts ORDER BY merged, seq").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))).unwrap();
        let facts: Vec<(i64, i64, FactBody)> = rows
            .map(|row| row.expect("every fact of a run that is over is merged"))
            .map(|(merged, at, body): (i64, i64, String)| (merged, at, serde_json::from_str(&body).unwrap()))
            .collect();
        let mut known = Known::of(entries, &facts);
        let mut moments = vec![Moment { latest_at: i64::MIN, next_at: 0, waiting: ByClass::new() }];
        for merge in facts.chunk_by(|(one, ..), (other, ..)| one == other) {
            merge.iter().for_each(|(_, _, body)| known.hear(body));
            let before = moments.last().map_or(i64::MIN, |moment| moment.latest_at);
            let latest_at = merge.iter().map(|(_, at, _)| *at).fold(before, i64::max);
            moments.push(Moment { latest_at, next_at: 0, waiting: known.waiting() });
        }
        let mut later = facts.iter().map(|(merged, at, _)| (*merged, *at)).collect::<Vec<_>>();
        later.dedup_by_key(|(merged, _)| *merged);
        let ends = later.into_iter().map(|(_, at)| at).chain([i64::MAX]);
        moments.iter_mut().zip(ends).for_each(|(moment, at)| moment.next_at = at);
        History { moments, at: 0 }
    }

    /// What was known at the tick of `now`, if it is as `told` says of these classes.
    pub(crate) fn at(&mut self, now: i64, told: impl Fn(&ByClass) -> bool) -> Option<&Moment> {
        let fits = |moment: &Moment| moment.latest_at <= now + LAG_MS && moment.next_at > now - LAG_MS;
        let found =
            (self.at..self.moments.len()).find(|at| fits(&self.moments[*at]) && told(&self.moments[*at].waiting));
        self.at = found?;
        self.moments.get(self.at)
    }
}

/// What the facts so far add up to.
struct Known {
    /// Class and demand of every job that ever was.
    jobs: BTreeMap<i64, (String, i64)>,
    /// The class of every machine that ever had a job.
    machines: BTreeMap<InstanceId, String>,
    queued: BTreeSet<JobKey>,
    started: BTreeSet<JobKey>,
    took: BTreeSet<InstanceId>,
    named: BTreeSet<InstanceId>,
}

impl Known {
    fn of(entries: &[Value], facts: &[(i64, i64, FactBody)]) -> Known {
        let job = |entry: &Value| {
            let demanded_at = crate::demo::ms(&entry["demanded_at"])?;
            Some((entry["job_id"].as_i64()?, (entry["class"].as_str()?.to_owned(), demanded_at)))
        };
        let jobs: BTreeMap<i64, (String, i64)> = entries.iter().filter_map(job).collect();
        // In this load a job runs on a machine of its own class: no set of labels covers another.
        let ran = |(_, _, body): &(i64, i64, FactBody)| {
            let FactBody::Job(event) = body else { return None };
            Some((runner_of(&event.evidence)?, jobs.get(&event.key.job.0)?.0.clone()))
        };
        let machines = facts.iter().filter_map(ran).collect();
        Known {
            jobs,
            machines,
            queued: BTreeSet::new(),
            started: BTreeSet::new(),
            took: BTreeSet::new(),
            named: BTreeSet::new(),
        }
    }

    fn hear(&mut self, body: &FactBody) {
        match body {
            FactBody::Job(event) => {
                self.named.extend(runner_of(&event.evidence));
                match &event.evidence {
                    JobEvidence::Queued { .. } => self.queued.insert(event.key),
                    JobEvidence::InProgress(_) | JobEvidence::Completed(_) => self.started.insert(event.key),
                    JobEvidence::Waiting => false,
                };
            }
            FactBody::Machine(event) => {
                if let Report::Busy | Report::Done { ran_job: true } = event.report {
                    self.took.insert(event.instance.clone());
                }
            }
            FactBody::Cloud(_) | FactBody::Group(_) | FactBody::Prewarmed(_) | FactBody::Release(_) => {}
        }
    }

    fn waiting(&self) -> ByClass {
        let mut by_class = ByClass::new();
        for (class, demanded_at) in self.queued.difference(&self.started).filter_map(|key| self.jobs.get(&key.job.0)) {
            let waiting = by_class.entry(class.clone()).or_default();
            waiting.queued += 1;
            waiting.oldest_at = Some(waiting.oldest_at.map_or(*demanded_at, |oldest| oldest.min(*demanded_at)));
        }
        for class in self.took.difference(&self.named).filter_map(|instance| self.machines.get(instance)) {
            by_class.entry(class.clone()).or_default().taken += 1;
        }
        by_class
    }
}

fn runner_of(evidence: &JobEvidence) -> Option<InstanceId> {
    let runner = match evidence {
        JobEvidence::InProgress(started) => started.runner.as_ref(),
        JobEvidence::Completed(completed) => completed.runner.as_ref(),
        JobEvidence::Queued { .. } | JobEvidence::Waiting => None,
    };
    instance_of(&runner?.name)
}
