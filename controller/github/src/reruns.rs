//! Workflow runs: how one stands, how its jobs ended, running it again, and cancelling it.
//!
//! Invariant: the token that runs or cancels something can do nothing with runners, and a request without an answer is not
//! repeated.

use http::{Method, StatusCode};
use muster_core::ids::{JobId, RunId, RunnerName};
use muster_core::job::Conclusion;
use muster_core::ports::GithubError;
use muster_core::rerun::{JobNow, RunNow};
use serde::Deserialize;

use crate::budget::Purpose;
use crate::deliveries::is_gone;
use crate::github::{RestGithub, told};
use crate::jobs::path_of;

/// Events whose runs are of a branch of their own.
const OF_A_BRANCH: [&str; 3] = ["pull_request", "pull_request_target", "merge_group"];
/// GitHub's largest page.
const PAGE: usize = 100;
/// Pages of jobs that are read: a run may have a few matrices of 256 jobs.
const PAGES_MAX: usize = 20;

#[derive(Deserialize)]
struct RunAnswer {
    run_attempt: Option<u32>,
    status: Option<String>,
    conclusion: Option<String>,
    run_number: Option<i64>,
    workflow_id: Option<i64>,
    head_branch: Option<String>,
    event: Option<String>,
}

#[derive(Deserialize)]
struct RunsPage {
    workflow_runs: Vec<RunAnswer>,
}

#[derive(Deserialize)]
struct JobsPage {
    total_count: usize,
    jobs: Vec<JobAnswer>,
}

#[derive(Deserialize)]
struct JobAnswer {
    id: i64,
    status: Option<String>,
    conclusion: Option<String>,
    runner_name: Option<String>,
}

impl JobAnswer {
    fn told(self) -> JobNow {
        let begun = matches!(self.status.as_deref(), Some("in_progress" | "completed"));
        let runner = self.runner_name.filter(|name| !name.is_empty());
        JobNow {
            job: JobId(self.id),
            conclusion: self.conclusion.as_deref().map(Conclusion::from_word),
            waits: !begun && self.status.is_some(),
            runner: runner.map(RunnerName::new),
        }
    }
}

/// Whether the latest of these numbers is later than the run's. Numbers of runs count within a workflow; none means that the
/// page is full of later runs of others.
fn is_later(numbers: &[i64], this: &RunAnswer) -> bool {
    numbers.iter().max().is_none_or(|latest| Some(*latest) > this.run_number)
}

impl RestGithub {
    pub(crate) async fn read_run(&self, repository: &str, run: RunId) -> Result<Option<RunNow>, GithubError> {
        let Some(read) = self.run_answer(repository, run).await? else { return Ok(None) };
        let over = read.status.as_deref() == Some("completed");
        let conclusion = || Conclusion::from_word(read.conclusion.as_deref().unwrap_or("unknown"));
        Ok(Some(RunNow { attempt: read.run_attempt.unwrap_or(1), conclusion: over.then(conclusion) }))
    }

    async fn run_answer(&self, repository: &str, run: RunId) -> Result<Option<RunAnswer>, GithubError> {
        let path = format!("{}/actions/runs/{run}?exclude_pull_requests=true", path_of(repository)?);
        let answer = self.read(&path, None).await.map_err(told)?;
        if is_gone(&answer) {
            return Ok(None);
        }
        let what = || format!("run {run} of {repository}");
        if !answer.status.is_success() {
            return Err(self.unread(&what(), &answer));
        }
        answer.json().map(Some).map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))
    }

    /// Whether a later run of the run's workflow has begun that may share its concurrency group: on the same branch, or, unless
    /// the run is a pull request's or of a branch that has had others, for the same event anywhere. A tag looks like a branch with
    /// one run. What cannot be told may be.
    pub(crate) async fn has_later_run(&self, repository: &str, run: RunId) -> Result<bool, GithubError> {
        let Some(this) = self.run_answer(repository, run).await? else { return Ok(true) };
        let (Some(branch), Some(event)) = (&this.head_branch, &this.event) else { return Ok(true) };
        let on_branch = self.numbers_of(repository, &this, ("branch", branch)).await?;
        if is_later(&on_branch, &this) {
            return Ok(true);
        }
        let alone = on_branch.len() < 2;
        if OF_A_BRANCH.contains(&&**event) || (event == "push" && !alone) {
            return Ok(false);
        }
        Ok(is_later(&self.numbers_of(repository, &this, ("event", event)).await?, &this))
    }

    /// The numbers of runs of the same workflow, the latest, as far as one page goes. It is of all workflows.
    async fn numbers_of(
        &self,
        repository: &str,
        this: &RunAnswer,
        (name, value): (&str, &str),
    ) -> Result<Vec<i64>, GithubError> {
        let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let base = path_of(repository)?;
        let path = format!("{base}/actions/runs?{name}={value}&exclude_pull_requests=true&per_page={PAGE}");
        let what = || format!("the runs of {repository} with {name} {value}");
        let answer = self.read(&path, None).await.map_err(told)?;
        if !answer.status.is_success() {
            return Err(self.unread(&what(), &answer));
        }
        let page: RunsPage = answer.json().map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))?;
        let same = page.workflow_runs.iter().filter(|other| other.workflow_id == this.workflow_id);
        Ok(same.filter_map(|other| other.run_number).collect())
    }

    pub(crate) async fn read_run_jobs(
        &self,
        repository: &str,
        run: RunId,
        attempt: u32,
    ) -> Result<Vec<JobNow>, GithubError> {
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
            jobs.extend(read.jobs.into_iter().map(JobAnswer::told));
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
