//! Workflow runs: how one stands, how its jobs ended, running it again, and cancelling it.
//!
//! Invariant: the token that runs or cancels something can do nothing with runners, and a request without an answer is not
//! repeated.

use http::{Method, StatusCode};
use muster_core::ids::{JobId, RunId};
use muster_core::job::Conclusion;
use muster_core::ports::GithubError;
use muster_core::rerun::RunNow;
use serde::Deserialize;

use crate::budget::Purpose;
use crate::deliveries::is_gone;
use crate::github::{RestGithub, told};
use crate::jobs::path_of;

/// GitHub's largest page.
const PAGE: usize = 100;
/// Pages of jobs that are read: a run may have a few matrices of 256 jobs.
const PAGES_MAX: usize = 20;

#[derive(Deserialize)]
struct RunAnswer {
    run_attempt: Option<u32>,
    status: Option<String>,
    conclusion: Option<String>,
}

#[derive(Deserialize)]
struct JobsPage {
    total_count: usize,
    jobs: Vec<JobAnswer>,
}

#[derive(Deserialize)]
struct JobAnswer {
    id: i64,
    conclusion: Option<String>,
}

impl RestGithub {
    pub(crate) async fn read_run(&self, repository: &str, run: RunId) -> Result<Option<RunNow>, GithubError> {
        let path = format!("{}/actions/runs/{run}?exclude_pull_requests=true", path_of(repository)?);
        let answer = self.read(&path, None).await.map_err(told)?;
        if is_gone(&answer) {
            return Ok(None);
        }
        let what = || format!("run {run} of {repository}");
        if !answer.status.is_success() {
            return Err(self.unread(&what(), &answer));
        }
        let read: RunAnswer = answer.json().map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))?;
        let over = read.status.as_deref() == Some("completed");
        let conclusion = || Conclusion::from_word(read.conclusion.as_deref().unwrap_or("unknown"));
        Ok(Some(RunNow { attempt: read.run_attempt.unwrap_or(1), conclusion: over.then(conclusion) }))
    }

    pub(crate) async fn read_run_jobs(
        &self,
        repository: &str,
        run: RunId,
        attempt: u32,
    ) -> Result<Vec<(JobId, Option<Conclusion>)>, GithubError> {
        let base = format!("{}/actions/runs/{run}/attempts/{attempt}/jobs", path_of(repository)?);
        let what = || format!("the jobs of run {run} of {repository}");
        let mut jobs = Vec::new();
        let mut seen = 0;
        for page in 1..=PAGES_MAX {
            let answer = self.read(&format!("{base}?per_page={PAGE}&page={page}"), None).await.map_err(told)?;
            if !answer.status.is_success() {
                return Err(self.unread(&what(), &answer));
            }
            let read: JobsPage = answer.json().map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))?;
            seen += read.jobs.len();
            let (is_last, total) = (read.jobs.len() < PAGE, read.total_count);
            let told = |job: JobAnswer| (JobId(job.id), job.conclusion.as_deref().map(Conclusion::from_word));
            jobs.extend(read.jobs.into_iter().map(told));
            if is_last || seen >= total {
                return Ok(jobs);
            }
        }
        Err(GithubError::Rejected(format!("{} are more than {}", what(), PAGES_MAX * PAGE)))
    }

    pub(crate) async fn run_again(&self, repository: &str, run: RunId) -> Result<(), GithubError> {
        let path = format!("{}/actions/runs/{run}/rerun-failed-jobs", path_of(repository)?);
        let answer = self.ask(Method::POST, &path, None, Purpose::Rerun).await.map_err(told)?;
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::FORBIDDEN => Err(GithubError::Rejected(format!(
                "{}; asked to run the failed jobs of run {run} of {repository} again: it may not be over, be too old, or have \
                 been run again too often",
                answer.told()
            ))),
            _ => Err(GithubError::Rejected(format!(
                "{}; asked to run the failed jobs of run {run} of {repository} again",
                answer.told()
            ))),
        }
    }

    pub(crate) async fn cancel_run(&self, repository: &str, run: RunId, force: bool) -> Result<(), GithubError> {
        let verb = if force { "force-cancel" } else { "cancel" };
        let path = format!("{}/actions/runs/{run}/{verb}", path_of(repository)?);
        let answer = self.ask(Method::POST, &path, None, Purpose::Rerun).await.map_err(told)?;
        match answer.status {
            status if status.is_success() => Ok(()),
            _ => Err(GithubError::Rejected(format!(
                "{}; asked to {verb} run {run} of {repository}: it may be over",
                answer.told()
            ))),
        }
    }
}
