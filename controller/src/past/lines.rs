//! The trace of a past: one run a line, as `muster simulate --trace` reads it.
//!
//! What is known and what not: GitHub tells neither what a job needs nor which jobs are entries of one matrix, so neither is
//! in the trace: all jobs of a run are queued when it is triggered.
//!
//! Invariant: the same runs give the same bytes, in whatever order they were read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use muster_core::time::Timestamp;
use muster_github::PastJob;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A run as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) run_id: i64,
    pub(super) created_at: Timestamp,
    pub(super) repo: String,
    pub(super) public: bool,
    pub(super) workflow: String,
    pub(super) event: String,
    pub(super) cancelled: bool,
    pub(super) jobs: Vec<Job>,
}

/// A job that had a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) labels: Vec<String>,
    pub(super) duration_s: u64,
    pub(super) completed_at: Timestamp,
}

impl Run {
    /// Takes in jobs. One without labels is GitHub's own, and no fleet's.
    pub(super) fn take_in(&mut self, jobs: &[PastJob]) {
        self.jobs.extend(jobs.iter().filter(|job| !job.labels.is_empty()).map(Job::from));
    }
}

/// What is shown of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Only jobs that ask for a self-hosted runner by that label.
    pub self_hosted_only: bool,
    /// Hashes for the names of repositories, workflows and jobs, and numbers in order of time for those of runs.
    pub anonymous: bool,
}

/// What is in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Jobs of them.
    pub jobs: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    run_id: i64,
    t: i64,
    repo: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    public: bool,
    workflow: String,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_after_s: Option<u64>,
    jobs: Vec<JobLine<'a>>,
}

#[derive(Serialize)]
struct JobLine<'a> {
    name: String,
    labels: &'a [String],
    duration_s: u64,
}

/// The label that asks for a self-hosted runner.
const SELF_HOSTED: &str = "self-hosted";
/// Letters of a hash: of a million names, no two are likely to share one.
const HASH_LETTERS: usize = 16;
const WEEK_MS: i64 = 7 * 86_400_000;

/// Where a trace begins whose first instant this is: the Monday, 00:00 UTC, before it, as simulations begin on one.
fn start(from: Timestamp) -> Timestamp {
    let since_monday = (from.unix_ms() - muster_sim::START.unix_ms()).rem_euclid(WEEK_MS);
    Timestamp::from_unix_ms(from.unix_ms() - since_monday)
}

/// Writes the trace of these runs, whose first instant may be `from`.
pub(super) fn write(runs: Vec<Run>, from: Timestamp, shown: Shown, out: &mut impl Write) -> io::Result<Totals> {
    let ordered: BTreeMap<(Timestamp, i64), Run> =
        runs.into_iter().map(|run| ((run.created_at, run.run_id), run)).collect();
    let (start, mut totals) = (start(from), Totals::default());
    let named = |kind, name: &str| if shown.anonymous { hashed(kind, name) } else { name.to_owned() };
    for run in ordered.values() {
        let is_shown = |job: &&Job| !shown.self_hosted_only || asks_for_own(&job.labels);
        let jobs: Vec<JobLine<'_>> = run.jobs.iter().filter(is_shown).map(|job| job.line(named)).collect();
        if jobs.is_empty() {
            continue;
        }
        totals.runs += 1;
        totals.jobs += u64::try_from(jobs.len()).unwrap_or(u64::MAX);
        let (owner, name) = run.repo.split_once('/').unwrap_or(("", &run.repo));
        let number = i64::try_from(totals.runs).unwrap_or(i64::MAX);
        let last = run.jobs.iter().map(|job| job.completed_at).max();
        let line = Line {
            run_id: if shown.anonymous { number } else { run.run_id },
            t: (run.created_at.unix_ms() - start.unix_ms()).div_euclid(1_000),
            repo: format!("{}/{}", named("owner", owner), named("repository", name)),
            public: run.public,
            workflow: named("workflow", &run.workflow),
            event: &run.event,
            cancel_after_s: last.filter(|_| run.cancelled).map(|last| last.since(run.created_at).as_secs()),
            jobs,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(totals)
}

impl Job {
    fn line(&self, named: impl Fn(&'static str, &str) -> String) -> JobLine<'_> {
        JobLine { name: named("job", &self.name), labels: &self.labels, duration_s: self.duration_s }
    }
}

fn asks_for_own(labels: &[String]) -> bool {
    labels.iter().any(|label| label.eq_ignore_ascii_case(SELF_HOSTED))
}

/// A name that says nothing, and is the same each time.
fn hashed(kind: &str, name: &str) -> String {
    let mut hash = hex::encode(Sha256::digest(format!("muster trace {kind} {name}")));
    hash.truncate(HASH_LETTERS);
    format!("{kind}-{hash}")
}
