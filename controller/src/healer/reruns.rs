//! Re-runs of runs whose jobs failed because the cloud took their machines.
//!
//! What lives here: when to ask, what is asked, and what is kept so that nothing is asked twice. What may not: which job was
//! interrupted (the scaler's, `muster_core::rerun`), and the choice (the same).
//!
//! Invariant: before every request to run again, GitHub has said in the same look that the run is over and at the attempt that
//! was interrupted; and the intent to ask is in the ledger. So a repeat, after a crash or a lost answer, finds a later attempt
//! and asks for nothing.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_core::config::FleetConfig;
use muster_core::ids::{JobId, JobKey, RunId};
use muster_core::job::Conclusion;
use muster_core::ports::{GithubError, Reruns as Runs, Snapshot, Store, StoreError, Switch};
use muster_core::rerun::{self, InterruptedJob, Outcome, judge, judge_jobs};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use serde::{Deserialize, Serialize};

use super::around::Around;
use super::{Healed, stranded};

/// How long after a look that came to nothing the next one is; each one later doubles it, ...
pub const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// ... up to this.
const AGAIN_MAX: Duration = Duration::from_secs(900);
/// Runs looked at in one step: at most five requests each.
pub const RUNS_MAX: usize = 10;
/// So often GitHub may refuse, or not show it, before a run is given up.
const TRIES_MAX: u32 = 5;
/// Where it is kept, among the ledger's notes, as JSON.
const NOTE: &str = "reruns";

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// Which.
    pub run: RunId,
    /// Where.
    pub repository: Arc<str>,
    /// Its interrupted jobs.
    pub jobs: Vec<JobKey>,
    /// What came of it.
    pub outcome: Outcome,
}

/// One attempt of a run, between looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    attempt: u32,
    /// How many interrupted jobs of it were known when it was last judged.
    #[serde(default)]
    jobs: usize,
    /// The intent: GitHub was or is about to be asked.
    asked_at: Option<Timestamp>,
    outcome: Option<Outcome>,
    /// Requests that were refused.
    tries: u32,
    next_at: Timestamp,
    wait: Duration,
}

/// What is kept of runs.
#[derive(Default)]
pub(super) struct Reruns {
    kept: Option<BTreeMap<RunId, Kept>>,
}

/// A run with interrupted jobs.
struct Wanted<'a> {
    run: RunId,
    repository: &'a Arc<str>,
    attempt: u32,
    jobs: Vec<JobKey>,
    reruns_max: u32,
    /// Whether it was cancelled by us, for its stranded jobs.
    cancelled: bool,
}

impl Reruns {
    /// Looks at runs with interrupted jobs whose turn it is.
    pub(super) async fn step<S: Store, R: Runs, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        config: &FleetConfig,
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        if config.pools().iter().all(|pool| pool.rerun_interrupted == 0) || around.is_over() {
            return Ok(());
        }
        let store = around.store;
        let text = store.note(rerun::NOTE).await?;
        let jobs: Vec<InterruptedJob> = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let stranded = stranded::cancelled(store).await?;
        let mut kept = match self.kept.take() {
            Some(kept) => kept,
            None => store.note(NOTE).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        };
        let now = around.now();
        let wanted = wanted(&jobs, &stranded, config, now);
        kept.retain(|run, _| wanted.iter().any(|wanted| wanted.run == *run));
        let mut due: Vec<Wanted<'_>> =
            wanted.into_iter().filter(|wanted| is_due(kept.get(&wanted.run), wanted, now)).collect();
        due.sort_by_key(|wanted| (kept.get(&wanted.run).map(|kept| kept.next_at), wanted.run));
        if !due.is_empty() {
            let snapshot = store.load().await?;
            for wanted in due.iter().filter(|wanted| is_quiet(wanted, &snapshot)).take(RUNS_MAX) {
                if around.is_over() || store.switch().await? == Switch::Freeze {
                    break;
                }
                let limited = look(around, wanted, &mut kept, healed).await?;
                store.put_note(NOTE, &serde_json::to_string(&kept).unwrap_or_default()).await?;
                if limited {
                    break;
                }
            }
        }
        self.kept = Some(kept);
        Ok(())
    }
}

/// The runs with interrupted jobs, each at its latest attempt that has some.
fn wanted<'a>(
    interrupted: &'a [InterruptedJob],
    stranded: &'a [InterruptedJob],
    config: &FleetConfig,
    now: Timestamp,
) -> Vec<Wanted<'a>> {
    let mut by_run: BTreeMap<RunId, Wanted<'a>> = BTreeMap::new();
    let all = interrupted.iter().map(|job| (job, false)).chain(stranded.iter().map(|job| (job, true)));
    for (job, cancelled) in all.filter(|(job, _)| now.since(job.at) < rerun::REMEMBERED_FOR) {
        let reruns_max = config.pool(&job.pool).map_or(0, |pool| pool.rerun_interrupted);
        let (run, repository, attempt) = (job.run, &job.repository, job.key.attempt);
        let fresh = || Wanted { run, repository, attempt, jobs: Vec::new(), reruns_max, cancelled };
        let wanted = by_run.entry(run).or_insert_with(fresh);
        if attempt > wanted.attempt {
            *wanted = fresh();
        }
        if attempt == wanted.attempt {
            wanted.cancelled |= cancelled;
            if !wanted.jobs.contains(&job.key) {
                wanted.jobs.push(job.key);
            }
            // Jobs of several pools: what the strictest allows.
            wanted.reruns_max = wanted.reruns_max.min(reruns_max);
        }
    }
    by_run.into_values().filter(|wanted| wanted.reruns_max > 0).collect()
}

fn is_due(kept: Option<&Kept>, wanted: &Wanted<'_>, now: Timestamp) -> bool {
    let same = kept.filter(|kept| kept.attempt == wanted.attempt);
    same.is_none_or(|kept| match kept.outcome {
        None => kept.next_at <= now,
        // What seemed to have failed by itself, or to be cancelled, was interrupted too: that is known a little later.
        Some(Outcome::FailedItself | Outcome::Cancelled) => kept.jobs < wanted.jobs.len(),
        Some(
            Outcome::Rerun
            | Outcome::Already
            | Outcome::Limit
            | Outcome::Superseded
            | Outcome::Succeeded
            | Outcome::Refused,
        ) => false,
    })
}

/// Whether the ledger knows of no job of the run that goes on: without that GitHub need not be asked.
fn is_quiet(wanted: &Wanted<'_>, snapshot: &Snapshot) -> bool {
    snapshot.jobs.iter().all(|job| job.about.run != wanted.run)
}

/// Looks at one run, and has it run again if all is as it must be. Whether requests have run short.
async fn look<S: Store, R: Runs, K: Clock>(
    around: Around<'_, S, R, K>,
    wanted: &Wanted<'_>,
    kept: &mut BTreeMap<RunId, Kept>,
    healed: &mut Healed,
) -> Result<bool, StoreError> {
    let Around { store, github, .. } = around;
    let now = around.now();
    let (attempt, jobs) = (wanted.attempt, wanted.jobs.len());
    let fresh = Kept { attempt, jobs, asked_at: None, outcome: None, tries: 0, next_at: now, wait: AGAIN_AFTER };
    let entry = kept.entry(wanted.run).or_insert_with(|| fresh.clone());
    if entry.attempt != wanted.attempt {
        *entry = fresh;
    }
    (entry.jobs, entry.outcome) = (jobs, None);
    let (asked_before, tries) = (entry.asked_at.is_some(), entry.tries);
    let may = match may_rerun(around, wanted).await {
        Ok(Err(Some(Outcome::Already))) if asked_before => Ok(Err(Some(Outcome::Rerun))),
        other => other,
    };
    let ended = match may {
        Ok(Ok(())) => {
            // The intent first: whoever goes on after a crash looks at the attempt, and tells whose doing it was.
            if let Some(entry) = kept.get_mut(&wanted.run) {
                entry.asked_at = Some(now);
            }
            store.put_note(NOTE, &serde_json::to_string(&*kept).unwrap_or_default()).await?;
            around.ask(github.rerun_failed(wanted.repository, wanted.run)).await.map(|()| Some(Outcome::Rerun))
        }
        Ok(Err(outcome)) => Ok(outcome),
        Err(error) => Err(error),
    };
    let Some(entry) = kept.get_mut(&wanted.run) else { return Ok(false) };
    let mut limited = false;
    entry.outcome = match ended {
        Ok(outcome) => outcome,
        Err(GithubError::Limited { until }) => {
            healed
                .troubles
                .push(format!("run {} of {}: GitHub asks to wait until {until}", wanted.run, wanted.repository));
            limited = true;
            None
        }
        Err(error) => {
            healed.troubles.push(format!("running run {} of {} again: {error}", wanted.run, wanted.repository));
            // No answer is no refusal: GitHub may be down for an hour.
            entry.tries = tries + u32::from(matches!(error, GithubError::Rejected(_)));
            (entry.tries >= TRIES_MAX).then_some(Outcome::Refused)
        }
    };
    match entry.outcome {
        Some(outcome) => {
            let (run, repository, jobs) = (wanted.run, wanted.repository.clone(), wanted.jobs.clone());
            healed.reruns.push(Rerun { run, repository, jobs, outcome });
        }
        None => {
            entry.next_at = now + entry.wait;
            entry.wait = (entry.wait * 2).min(AGAIN_MAX);
        }
    }
    Ok(limited)
}

/// Whether GitHub says that the run may be run again; why not, or `None` if it is not over.
async fn may_rerun<S, R: Runs, K: Clock>(
    around: Around<'_, S, R, K>,
    wanted: &Wanted<'_>,
) -> Result<Result<(), Option<Outcome>>, GithubError> {
    let github = around.github;
    let Some(run) = around.ask(github.run(wanted.repository, wanted.run)).await? else {
        return Err(GithubError::Rejected("GitHub does not show it".to_owned()));
    };
    if let Err(why) = judge(&run, wanted.attempt, wanted.reruns_max) {
        return Ok(Err(why));
    }
    let jobs = around.ask(github.run_jobs(wanted.repository, wanted.run, wanted.attempt)).await?;
    let was_cancelled = run.conclusion == Some(Conclusion::Cancelled) && !wanted.cancelled;
    let interrupted: BTreeSet<JobId> = wanted.jobs.iter().map(|key| key.job).collect();
    if let Err(why) = judge_jobs(&jobs, was_cancelled, &interrupted) {
        return Ok(Err(Some(why)));
    }
    let superseded = around.ask(github.is_superseded(wanted.repository, wanted.run)).await?;
    Ok(if superseded { Err(Some(Outcome::Superseded)) } else { Ok(()) })
}
