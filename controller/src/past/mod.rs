//! An owner's own past, pulled from GitHub as a workload trace for `muster simulate`.
//!
//! What lives here: what to ask for next, and how far the asking has come. What may not: files (`files.rs`), the shape of the
//! trace (`lines.rs`), and waiting, which is the caller's.
//!
//! Invariant: a step asks GitHub once at most, and a step that fails changes nothing: whoever comes back goes on where it was,
//! and in the end has what an uninterrupted pull has.

mod files;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use muster_core::ports::GithubError;
use muster_core::time::Timestamp;
use muster_github::{PAST_PAGE, PAST_RUNS_MAX, PastJob, PastRead, PastRun, RestGithub};
use serde::{Deserialize, Serialize};

pub use files::{Files, PullError};
pub use lines::{Shown, Totals};

use lines::{Job, Run};

const DAY_MS: i64 = 86_400_000;
/// Jobs of a run that are read: a trace has no more in one run.
const JOBS_MAX: usize = 4_000;
/// A form of the state that an older version cannot read has another number.
const VERSION: u32 = 1;

/// What is pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The organization, or the repository as `owner/name`.
    pub owner: String,
    /// GitHub's REST interface.
    pub api_url: String,
    /// So many whole days, UTC, before the one on which the pull began.
    pub days: u32,
    /// Whether repositories are looked into that nobody has pushed to in these days.
    pub unpushed: bool,
}

/// How far a pull has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    version: u32,
    wanted: Wanted,
    from: Timestamp,
    until: Timestamp,
    /// The page of repositories that is next. `None`: all were listed.
    listing: Option<usize>,
    /// Those that were not begun.
    repositories: VecDeque<String>,
    /// The one at hand.
    current: Option<String>,
    /// What of its time was not read to the end, the earliest last; both ends are in it.
    spans: Vec<(Timestamp, Timestamp)>,
    /// The page of the last span that is next.
    page: usize,
    /// Runs whose jobs were not read.
    runs: VecDeque<Run>,
    /// The page of the first run's jobs that is next.
    job_page: usize,
    /// How many bytes of the runs that were read are good.
    kept: u64,
    told: Told,
}

/// What is worth telling of a pull, besides the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Repositories that were read to the end.
    pub repositories: u64,
    /// Repositories that cannot be read, and why.
    pub skipped: Vec<Skipped>,
    /// Runs that are not over yet: they are not in the trace.
    pub unfinished: u64,
    /// Runs that GitHub does not list: more than its limit in one second.
    pub unlisted: u64,
    /// Runs whose jobs are not there any more, or not for us.
    pub unread: u64,
}

/// A repository that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// `owner/name`.
    pub repository: String,
    /// In GitHub's words.
    pub why: String,
}

/// Why a pull has stopped before its end.
#[derive(Debug)]
pub enum Stop {
    /// As many requests were sent as there may be.
    Spent,
    /// GitHub wants to be left alone until then, which is too long to wait.
    Limited(Timestamp),
    /// GitHub refuses, or answers with what cannot be read.
    Trouble(GithubError),
}

/// The longest rest for a limit: that of our own pace is a minute, and GitHub's hour is longer.
pub const REST_MAX: Duration = Duration::from_secs(150);
/// How often something is asked that had no answer: it only reads.
const TRIES: u32 = 4;
/// Before something is asked again.
const TRY_AGAIN: Duration = Duration::from_secs(3);

impl Pull {
    /// A pull that has not begun, of the days before `now`.
    pub fn new(wanted: Wanted, now: Timestamp) -> Pull {
        let until = Timestamp::from_unix_ms(now.unix_ms().div_euclid(DAY_MS) * DAY_MS);
        let from = Timestamp::from_unix_ms(until.unix_ms() - DAY_MS * i64::from(wanted.days));
        Pull {
            version: VERSION,
            wanted,
            from,
            until,
            listing: Some(1),
            repositories: VecDeque::new(),
            current: None,
            spans: Vec::new(),
            page: 1,
            runs: VecDeque::new(),
            job_page: 1,
            kept: 0,
            told: Told::default(),
        }
    }

    /// The span of time: from the one up to the other.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (self.from, self.until)
    }

    /// What is worth telling so far.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Repositories that are listed and not read to the end.
    pub fn left(&self) -> usize {
        self.repositories.len() + usize::from(self.current.is_some())
    }

    /// Whether nothing is left to ask.
    pub fn is_whole(&self) -> bool {
        self.listing.is_none() && self.left() == 0
    }

    /// Steps until all is read, or something stops it; what was read is in the files each time.
    ///
    /// # Errors
    /// The files cannot be written.
    pub async fn run(
        &mut self,
        github: &RestGithub,
        files: &Files,
        now: impl Fn() -> Timestamp,
        mut rest: impl AsyncFnMut(Duration),
    ) -> Result<Option<Stop>, PullError> {
        let mut tries = 0;
        while !self.is_whole() {
            match self.step(github).await {
                Ok(read) => {
                    tries = 0;
                    self.kept = files.keep(&read, self.kept)?;
                    files.save(self)?;
                }
                Err(error @ GithubError::Rejected(_)) => return Ok(Some(Stop::Trouble(error))),
                Err(_) if github.is_spent() => return Ok(Some(Stop::Spent)),
                Err(GithubError::Limited { until }) => {
                    let pause = until.since(now());
                    if pause > REST_MAX {
                        return Ok(Some(Stop::Limited(until)));
                    }
                    rest(pause).await;
                }
                Err(GithubError::Unknown(_)) if tries + 1 < TRIES => {
                    tries += 1;
                    rest(TRY_AGAIN).await;
                }
                Err(error) => return Ok(Some(Stop::Trouble(error))),
            }
        }
        Ok(None)
    }

    /// Asks for what is next. Gives the runs whose jobs are all read now.
    async fn step(&mut self, github: &RestGithub) -> Result<Vec<Run>, GithubError> {
        if let Some(page) = self.listing {
            return self.list(github, page).await.map(|()| Vec::new());
        }
        if self.current.is_none() {
            self.current = self.repositories.pop_front();
            self.spans = vec![(self.from, self.until - Duration::from_secs(1))];
            self.page = 1;
        }
        let Some(repository) = self.current.clone() else { return Ok(Vec::new()) };
        let read = match (self.runs.front(), self.spans.last()) {
            (Some(run), _) => {
                let id = run.run_id;
                self.read_jobs(github, &repository, id).await?
            }
            (None, Some(span)) => {
                let span = *span;
                self.read_runs(github, &repository, span).await?;
                None
            }
            (None, None) => None,
        };
        if self.current.is_some() && self.runs.is_empty() && self.spans.is_empty() {
            self.current = None;
            self.told.repositories += 1;
        }
        Ok(read.into_iter().collect())
    }

    async fn list(&mut self, github: &RestGithub, page: usize) -> Result<(), GithubError> {
        let read = github.past_repositories(page).await?;
        let (from, unpushed) = (self.from, self.wanted.unpushed);
        let wanted = read.items.into_iter().filter(|one| unpushed || one.pushed_at.is_none_or(|at| at >= from));
        self.repositories.extend(wanted.map(|one| one.name));
        self.listing = (!read.last).then_some(page + 1);
        Ok(())
    }

    async fn read_runs(
        &mut self,
        github: &RestGithub,
        repository: &str,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<(), GithubError> {
        let read = match github.past_runs(repository, (from, to), self.page).await? {
            PastRead::Page(read) => read,
            PastRead::Closed(why) => {
                self.told.skipped.push(Skipped { repository: repository.to_owned(), why });
                self.spans.clear();
                self.current = None;
                return Ok(());
            }
        };
        if self.page == 1 && read.total >= PAST_RUNS_MAX {
            if let Some(middle) = middle(from, to) {
                self.spans.pop();
                self.spans.push((middle + Duration::from_secs(1), to));
                self.spans.push((from, middle));
                return Ok(());
            }
            self.told.unlisted += u64::try_from(read.total - PAST_RUNS_MAX).unwrap_or(u64::MAX);
        }
        if read.last || self.page * PAST_PAGE >= PAST_RUNS_MAX {
            self.spans.pop();
            self.page = 1;
        } else {
            self.page += 1;
        }
        for run in read.items {
            if run.completed {
                self.runs.push_back(begun(run, repository));
            } else {
                self.told.unfinished += 1;
            }
        }
        Ok(())
    }

    /// Reads a page of the first run's jobs. Gives the run with all its jobs if that was the last one.
    async fn read_jobs(&mut self, github: &RestGithub, repository: &str, id: i64) -> Result<Option<Run>, GithubError> {
        let read = match github.past_jobs(repository, id, self.job_page).await? {
            PastRead::Page(read) => Some(read),
            PastRead::Closed(_) => None,
        };
        let last = read.as_ref().is_none_or(|read| read.last);
        let page = self.job_page;
        if let (Some(read), Some(run)) = (&read, self.runs.front_mut()) {
            run.take_in(&read.items);
        }
        if !last && page * PAST_PAGE < JOBS_MAX {
            self.job_page += 1;
            return Ok(None);
        }
        self.job_page = 1;
        self.told.unread += u64::from(read.is_none());
        Ok(self.runs.pop_front().filter(|run| read.is_some() && !run.jobs.is_empty()))
    }
}

/// A run before its jobs are known.
fn begun(run: PastRun, repository: &str) -> Run {
    Run {
        run_id: run.id,
        created_at: run.created_at,
        repo: repository.to_owned(),
        public: run.public,
        workflow: run.workflow,
        event: run.event,
        cancelled: run.cancelled,
        jobs: Vec::new(),
    }
}

impl From<&PastJob> for Job {
    fn from(job: &PastJob) -> Job {
        Job {
            name: job.name.clone(),
            labels: job.labels.clone(),
            duration_s: job.duration.as_secs(),
            completed_at: job.completed_at,
        }
    }
}

/// The last second of the first half of a span. `None`: it is one second.
fn middle(from: Timestamp, to: Timestamp) -> Option<Timestamp> {
    let seconds = to.since(from).as_secs();
    (seconds > 0).then(|| from + Duration::from_secs((seconds - 1) / 2))
}
