//! Workflow runs: how one stands, how its jobs ended, and running it again.
//!
//! Invariant: the token that runs something again can do nothing with runners, and a request without an answer is not
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
struct EndedPage {
    total_count: usize,
    jobs: Vec<EndedAnswer>,
}

#[derive(Deserialize)]
struct EndedAnswer {
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

    pub(crate) async fn read_ended_jobs(
        &self,
        repository: &str,
        run: RunId,
        attempt: u32,
    ) -> Result<Vec<(JobId, Conclusion)>, GithubError> {
        let base = format!("{}/actions/runs/{run}/attempts/{attempt}/jobs", path_of(repository)?);
        let what = || format!("the jobs of run {run} of {repository}");
        let mut ended = Vec::new();
        let mut seen = 0;
        for page in 1..=PAGES_MAX {
            let answer = self.read(&format!("{base}?per_page={PAGE}&page={page}"), None).await.map_err(told)?;
            if !answer.status.is_success() {
                return Err(self.unread(&what(), &answer));
            }
            let read: EndedPage = answer.json().map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))?;
            seen += read.jobs.len();
            let (is_last, total) = (read.jobs.len() < PAGE, read.total_count);
            let over = |job: EndedAnswer| Some((JobId(job.id), Conclusion::from_word(&job.conclusion?)));
            ended.extend(read.jobs.into_iter().filter_map(over));
            if is_last || seen >= total {
                return Ok(ended);
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
}
