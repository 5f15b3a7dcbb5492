//! What GitHub remembers: failed deliveries, and what jobs are now.
//!
//! Invariant: looking changes nothing but the count of requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use muster_core::ids::{JobId, RunId};
use muster_core::job::{Completed, JobEvent, JobEvidence, Started};
use muster_core::ports::{FailedDelivery, Listed};
use muster_core::release::Release;
use muster_core::time::Timestamp;

use super::Universe;
use crate::webhook::{Installation, Webhook};
use crate::work::{ActiveRun, State};

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
