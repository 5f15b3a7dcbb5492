//! An owner's past: its repositories, the runs of a span of time, and the jobs of each that had a runner.
//!
//! What lives here: one page of each, one request each. What may not: which page is next, and what becomes of it.
//!
//! Invariant: everything is read as optional work, so that the last tenth of GitHub's limit stays with registrations.

use std::time::Duration;

use muster_core::config::Owner;
use muster_core::ports::GithubError;
use muster_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::github::{RestGithub, told};
use crate::jobs::{is_closed, path_of, readable};
use crate::owner;

/// GitHub's largest page: what is shorter is the last one.
pub const PAST_PAGE: usize = 100;
/// Results that GitHub lists of a filtered search, whatever it counts (REST, "List workflow runs for a repository").
pub const PAST_RUNS_MAX: usize = 1_000;

/// A repository of the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRepository {
    /// `owner/name`.
    pub name: String,
    /// When it was last pushed to.
    pub pushed_at: Option<Timestamp>,
}

/// A run of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastRun {
    /// Its number.
    pub id: i64,
    /// When it was triggered.
    pub created_at: Timestamp,
    /// The workflow's name.
    pub workflow: String,
    /// The event that triggered it.
    pub event: String,
    /// Whether its repository is public.
    pub public: bool,
    /// Whether it is over.
    pub completed: bool,
    /// Whether it was cancelled in its first attempt.
    pub cancelled: bool,
}

/// A job that had a runner, and gave it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastJob {
    /// The name that people see.
    pub name: String,
    /// What it ran on.
    pub labels: Vec<String>,
    /// For how long it had a runner.
    pub duration: Duration,
    /// When it ended.
    pub completed_at: Timestamp,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPage<T> {
    /// What of it reads, and is of interest.
    pub items: Vec<T>,
    /// Whether there is none after it.
    pub last: bool,
    /// How many there are in all, where GitHub counts them.
    pub total: usize,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PastRead<T> {
    /// A page.
    Page(PastPage<T>),
    /// It is not there, no more, or not for us: in GitHub's words.
    Closed(String),
}

#[derive(Deserialize)]
struct RepositoryAnswer {
    full_name: String,
    #[serde(default)]
    disabled: bool,
    pushed_at: Option<String>,
}

#[derive(Deserialize)]
struct RunPage {
    total_count: usize,
    workflow_runs: Vec<Value>,
}

#[derive(Deserialize)]
struct RunAnswer {
    id: i64,
    name: Option<String>,
    event: String,
    status: Option<String>,
    conclusion: Option<String>,
    run_attempt: Option<u32>,
    created_at: String,
    repository: Visibility,
}

#[derive(Deserialize)]
struct Visibility {
    private: bool,
}

#[derive(Deserialize)]
struct JobPage {
    total_count: usize,
    jobs: Vec<Value>,
}

#[derive(Deserialize)]
struct JobAnswer {
    name: String,
    labels: Vec<String>,
    conclusion: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    runner_id: Option<i64>,
    runner_name: Option<String>,
}

impl RunAnswer {
    fn told(self) -> Option<PastRun> {
        let cancelled = self.conclusion.as_deref() == Some("cancelled");
        Some(PastRun {
            id: self.id,
            created_at: Timestamp::parse(&self.created_at)?,
            workflow: self.name.unwrap_or_default(),
            event: self.event,
            public: !self.repository.private,
            completed: self.status.as_deref() == Some("completed"),
            // What ended a later attempt says nothing of how long after the trigger that was.
            cancelled: cancelled && self.run_attempt.is_none_or(|attempt| attempt <= 1),
        })
    }
}

impl JobAnswer {
    /// What it took of a runner; nothing if it had none: skipped, or cancelled while it waited.
    fn told(self) -> Option<PastJob> {
        let named = self.runner_name.as_deref().is_some_and(|name| !name.is_empty());
        let ran = matches!(self.conclusion.as_deref(), Some("success" | "failure" | "timed_out"));
        if !(named || ran || self.runner_id.is_some_and(|id| id != 0)) || self.conclusion.as_deref() == Some("skipped")
        {
            return None;
        }
        let started_at = Timestamp::parse(&self.started_at?)?;
        let completed_at = Timestamp::parse(&self.completed_at?)?;
        // Zero if the end is the earlier one.
        let duration = completed_at.since(started_at);
        Some(PastJob { name: self.name, labels: self.labels, duration, completed_at })
    }
}

fn unknown(what: &str) -> impl Fn(String) -> GithubError {
    move |why| GithubError::Unknown(format!("{what}: {why}"))
}

impl RestGithub {
    /// A page, from 1, of the owner's repositories in the order of their making, so that what is pushed meanwhile moves
    /// none from one page to another. Without those that GitHub has disabled. Nothing is asked where the owner is one.
    ///
    /// # Errors
    /// [`GithubError`]; an enterprise's repositories are rejected.
    pub async fn past_repositories(&self, page: usize) -> Result<PastPage<PastRepository>, GithubError> {
        let login = match &*self.owner {
            Owner::Organization(login) => login,
            Owner::Repository(name) => {
                let items = vec![PastRepository { name: name.to_string(), pushed_at: None }];
                return Ok(PastPage { items, last: true, total: 1 });
            }
            Owner::Enterprise(_) => {
                let why = "an enterprise's organizations are not known: write a configuration for one of them";
                return Err(GithubError::Rejected(why.to_owned()));
            }
        };
        let base = owner::base(&self.owner);
        let path = format!("{base}/repos?sort=created&direction=asc&per_page={PAST_PAGE}&page={page}");
        let answer = self.read(&path, None).await.map_err(told)?;
        let what = format!("the repositories of {login}");
        if !answer.status.is_success() {
            return Err(self.unread(&what, &answer));
        }
        let all: Vec<Value> = answer.json().map_err(unknown(&what))?;
        let open = readable::<RepositoryAnswer>(&all).into_iter().filter(|one| !one.disabled);
        let items = open.map(|one| PastRepository {
            pushed_at: one.pushed_at.as_deref().and_then(Timestamp::parse),
            name: one.full_name,
        });
        Ok(PastPage { items: items.collect(), last: all.len() < PAST_PAGE, total: all.len() })
    }

    /// A page, from 1, of the runs that a repository's workflows had from an instant to another, both in whole seconds and
    /// included. Of more than [`PAST_RUNS_MAX`] GitHub lists the latest.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn past_runs(
        &self,
        repository: &str,
        (from, to): (Timestamp, Timestamp),
        page: usize,
    ) -> Result<PastRead<PastRun>, GithubError> {
        let span = owner::escaped(&format!("{}..{}", seconds(from), seconds(to)));
        let base = path_of(repository)?;
        let path = format!("{base}/actions/runs?created={span}&per_page={PAST_PAGE}&page={page}");
        let answer = self.read(&path, None).await.map_err(told)?;
        let what = format!("the runs of {repository}");
        if let Some(closed) = self.closed(&what, &answer)? {
            return Ok(PastRead::Closed(closed));
        }
        let read: RunPage = answer.json().map_err(unknown(&what))?;
        let last = read.workflow_runs.len() < PAST_PAGE || page * PAST_PAGE >= read.total_count.min(PAST_RUNS_MAX);
        let items = readable::<RunAnswer>(&read.workflow_runs).into_iter().filter_map(RunAnswer::told).collect();
        Ok(PastRead::Page(PastPage { items, last, total: read.total_count }))
    }

    /// A page, from 1, of the jobs of a run that had a runner, each as it was executed last.
    ///
    /// # Errors
    /// [`GithubError`].
    pub async fn past_jobs(&self, repository: &str, run: i64, page: usize) -> Result<PastRead<PastJob>, GithubError> {
        let base = path_of(repository)?;
        let path = format!("{base}/actions/runs/{run}/jobs?filter=latest&per_page={PAST_PAGE}&page={page}");
        let answer = self.read(&path, None).await.map_err(told)?;
        let what = format!("the jobs of run {run} of {repository}");
        if let Some(closed) = self.closed(&what, &answer)? {
            return Ok(PastRead::Closed(closed));
        }
        let read: JobPage = answer.json().map_err(unknown(&what))?;
        let last = read.jobs.len() < PAST_PAGE || page * PAST_PAGE >= read.total_count;
        let items = readable::<JobAnswer>(&read.jobs).into_iter().filter_map(JobAnswer::told).collect();
        Ok(PastRead::Page(PastPage { items, last, total: read.total_count }))
    }

    /// GitHub's words, if what was asked for is closed to us.
    fn closed(&self, what: &str, answer: &Answer) -> Result<Option<String>, GithubError> {
        match answer.status {
            status if status.is_success() => Ok(None),
            _ if is_closed(answer) => Ok(Some(answer.told())),
            _ => Err(self.unread(what, answer)),
        }
    }
}

/// An instant as GitHub's filters take it.
fn seconds(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.unix_ms().div_euclid(1_000)).unwrap_or_default().to_string()
}
