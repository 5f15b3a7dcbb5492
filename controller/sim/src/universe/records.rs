//! What GitHub remembers: failed deliveries, and what jobs are now.
//!
//! Invariant: looking changes nothing but the count of requests. Running a run again and cancelling it are what does.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_core::ids::{JobId, RunId};
use muster_core::job::{Completed, Conclusion, JobEvent, JobEvidence, Started};
use muster_core::ports::{FailedDelivery, GithubError, Listed};
use muster_core::release::Release;
use muster_core::rerun::{JobNow, RunNow};
use muster_core::time::Timestamp;

use super::Universe;
use crate::webhook::{Installation, Webhook};
use crate::work::{ActiveRun, JobRef, State};

/// Entries in one page of the log (GitHub REST API).
const PAGE: usize = 100;
/// Lists of a repository's runs: those that are queued, and those in progress.
const LISTS: u64 = 2;

impl Universe {
    /// Deliveries that failed since then.
    pub fn failed_since(&mut self, since: Timestamp) -> Vec<FailedDelivery> {
        let failed = self.lost.latest_failed().take_while(|(at, _)| *at >= since);
        let mut failed: Vec<FailedDelivery> = failed.map(|(at, webhook)| told(*at, webhook)).collect();
        failed.reverse();
        self.hub.requests += failed.len().div_ceil(PAGE).max(1) as u64;
        failed
    }

    /// The payload of a delivery, as GitHub has it.
    pub fn payload(&mut self, place: &str) -> Option<Vec<u8>> {
        self.hub.requests += 1;
        let guid: u128 = place.parse().ok()?;
        let (_, webhook) = self.lost.latest_failed().find(|(_, webhook)| webhook.guid == guid)?;
        Some(webhook.to_delivery(&Installation::default()).body)
    }

    /// What a job is now.
    pub fn job_now(&mut self, job: JobId) -> Option<JobEvent> {
        self.hub.requests += 1;
        let now = self.work.runs().find_map(|run| event(run, run.place_of(job)?));
        now.or_else(|| self.lost.last(job).cloned())
    }

    /// Repositories whose runs are not over.
    pub fn repositories(&mut self) -> Vec<Arc<str>> {
        self.hub.requests += 1;
        let all: BTreeSet<&Arc<str>> = self.work.runs().map(|run| &run.repository).collect();
        all.into_iter().cloned().collect()
    }

    /// Jobs of a repository that wait for a runner, but for those of the runs that are to be let be.
    pub fn waiting_jobs(&mut self, repository: &str, let_be: &BTreeSet<RunId>) -> Vec<JobEvent> {
        let wanted = |run: &&ActiveRun| *run.repository == *repository && !let_be.contains(&run.id);
        let runs: Vec<&ActiveRun> = self.work.runs().filter(wanted).collect();
        // The lists of runs, and each run's jobs. Lists that have not changed cost nothing.
        self.hub.requests += if runs.is_empty() { 0 } else { LISTS + runs.len() as u64 };
        let jobs = runs.into_iter().flat_map(|run| (0_u16..).zip(&run.jobs).map(move |(place, job)| (run, place, job)));
        let waiting = jobs.filter(|(_, _, job)| matches!(job.state, State::Queued));
        waiting.filter_map(|(run, place, _)| event(run, place)).collect()
    }

    /// A run as it is now.
    pub fn run_now(&mut self, run: RunId) -> Option<RunNow> {
        self.hub.requests += 1;
        let run = self.work.run(self.work.no_of(run)?)?;
        let outcomes = || run.jobs.iter().map(|job| job.state);
        let over = outcomes().all(|state| matches!(state, State::Over(_)));
        let any = |wanted: Conclusion| outcomes().any(|s| matches!(s, State::Over(o) if o.conclusion() == wanted));
        let conclusion = [Conclusion::Failure, Conclusion::Cancelled].into_iter().find(|wanted| any(wanted.clone()));
        Some(RunNow { attempt: run.attempt, conclusion: over.then(|| conclusion.unwrap_or(Conclusion::Success)) })
    }

    /// The jobs of an attempt of a run that were queued, and how they ended. Of an earlier attempt than the latest the universe
    /// remembers nothing.
    pub fn run_jobs(&mut self, run: RunId, attempt: u32) -> Vec<JobNow> {
        self.hub.requests += 1;
        let Some(run) = self.work.no_of(run).and_then(|no| self.work.run(no)) else { return Vec::new() };
        let of_attempt = run.jobs.iter().filter(|job| job.key.attempt == attempt);
        let told = of_attempt.filter_map(|job| {
            let conclusion = match job.state {
                State::Over(outcome) => Some(outcome.conclusion()),
                State::Queued | State::Assigned | State::Running => None,
                State::Waiting => return None,
            };
            let waits = matches!(job.state, State::Queued | State::Assigned);
            Some(JobNow {
                job: job.key.job,
                conclusion,
                waits,
                runner: job.runner.as_ref().map(|runner| runner.name.clone()),
            })
        });
        told.collect()
    }

    /// Runs what failed in a run again.
    ///
    /// # Errors
    /// [`GithubError::Limited`] over the secondary limit; [`GithubError::Rejected`] if the run is not over.
    pub fn rerun_failed(&mut self, run: RunId) -> Result<(), GithubError> {
        self.spend()?;
        let no = self.work.no_of(run);
        let Some((no, ready)) = no.and_then(|no| Some((no, self.work.run_again(no)?))) else {
            return Err(GithubError::Rejected(format!("403: run {run} is running")));
        };
        for job in ready {
            self.queue(JobRef { run: no, job });
        }
        Ok(())
    }

    /// Cancels a run. A job whose machine is gone has ended here before.
    ///
    /// # Errors
    /// [`GithubError::Limited`] over the secondary limit; [`GithubError::Rejected`] if the run is over.
    pub fn cancel_run(&mut self, run: RunId) -> Result<(), GithubError> {
        self.spend()?;
        match self.work.no_of(run).filter(|no| self.work.run(*no).is_some_and(ActiveRun::is_open)) {
            Some(no) => {
                self.cancel(no);
                Ok(())
            }
            None => Err(GithubError::Rejected(format!("409: run {run} is over"))),
        }
    }

    /// The runner releases that are offered: the one that every simulated image has, which has no number.
    pub fn offered(&mut self) -> Vec<Release> {
        self.hub.requests += 1;
        Vec::new()
    }

    /// All registrations.
    pub fn registrations(&mut self) -> Vec<Listed> {
        self.hub.clear_away(self.now);
        let listed: Vec<Listed> = self.hub.list().collect();
        self.hub.requests += listed.len().div_ceil(PAGE).max(1) as u64;
        listed
    }
}

fn told(at: Timestamp, webhook: &Webhook) -> FailedDelivery {
    let guid: Arc<str> = webhook.guid.to_string().into();
    FailedDelivery { place: guid.clone(), guid, delivered_at: at, action: webhook.action().into() }
}

/// What GitHub would say of a job, if it was queued.
fn event(run: &ActiveRun, place: u16) -> Option<JobEvent> {
    let job = run.jobs.get(usize::from(place))?;
    let created_at = job.queued_at?;
    let evidence = match job.state {
        State::Waiting => return None,
        State::Queued | State::Assigned => JobEvidence::Queued { created_at: Some(created_at), approved_at: None },
        State::Running => JobEvidence::InProgress(Started {
            started_at: job.started_at.unwrap_or(created_at),
            runner: job.runner.clone(),
        }),
        State::Over(outcome) => JobEvidence::Completed(Completed {
            completed_at: job.over_at.unwrap_or(created_at),
            conclusion: outcome.conclusion(),
            started_at: job.started_at,
            runner: job.runner.clone(),
        }),
    };
    Some(JobEvent { key: run.key(place), about: run.about(job), evidence })
}
