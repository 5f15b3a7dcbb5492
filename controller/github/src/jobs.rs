//! Jobs as GitHub has them now, and where to look for those that nobody has told of.
//!
//! What lives here: one job by its number, a repository's jobs that wait, and the repositories that were pushed to. What may
//! not: which of it is news.
//!
//! Invariant: of a list that was not read to its end the tag is not kept, so that it is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use muster_core::config::Owner;
use muster_core::ids::{JobId, JobKey, RunId, RunnerId, RunnerName};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, RunnerRef, Started};
use muster_core::ports::GithubError;
use muster_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::budget::OPTIONAL_POINTS;
use crate::deliveries::is_gone;
use crate::github::{RestGithub, told};
use crate::owner;

/// GitHub's largest page.
const PAGE: usize = 100;
/// A job that waits may be in a run of which others work already.
const STATUSES: [&str; 2] = ["queued", "in_progress"];
/// Pages of jobs that one call reads; a run has one at least. The next call goes on below the runs that were read.
pub const JOB_PAGES_MAX: usize = 40;
/// A list's tag is believed for this long: GitHub does not say that a run in a list becomes another one with each of its
/// jobs.
pub const TAG_AGE_MAX: Duration = Duration::from_secs(900);
/// Repositories whose tags are kept.
const REPOSITORIES_MAX: usize = 1_000;

// A list that goes on after its first page is too long anyway.
const _: () = assert!(JOB_PAGES_MAX < PAGE);
const _: () = assert!(2 * (STATUSES.len() + JOB_PAGES_MAX) < OPTIONAL_POINTS as usize);

/// A job. Words that GitHub may add to stay words.
#[derive(Deserialize)]
struct JobAnswer {
    id: i64,
    run_id: i64,
    run_attempt: Option<u32>,
    status: String,
    conclusion: Option<String>,
    created_at: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    name: Option<String>,
    workflow_name: Option<String>,
    labels: Vec<String>,
    runner_id: Option<i64>,
    runner_name: Option<String>,
}

#[derive(Deserialize)]
struct JobPage {
    jobs: Vec<Value>,
}

#[derive(Deserialize)]
struct RunAnswer {
    id: i64,
    name: Option<String>,
    repository: RepositoryAnswer,
}

#[derive(Deserialize)]
struct RunPage {
    workflow_runs: Vec<Value>,
}

#[derive(Deserialize)]
struct RepositoryAnswer {
    full_name: String,
    private: bool,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    disabled: bool,
    pushed_at: Option<String>,
}

impl JobAnswer {
    /// Whether no runner has it, and none has had it.
    fn waits(&self) -> bool {
        !matches!(&*self.status, "in_progress" | "completed")
    }

    /// What it says. An instant that is absent or does not read is no reason to lose a job: the latest other one stands in.
    fn evidence(&self, answered_at: Timestamp) -> JobEvidence {
        let instant = |text: &Option<String>| text.as_deref().and_then(Timestamp::parse);
        let (created_at, started_at) = (instant(&self.created_at), instant(&self.started_at));
        match &*self.status {
            // As of a delivery: a gate, a concurrency group or GitHub itself holds it back.
            "waiting" | "pending" | "requested" => JobEvidence::Waiting,
            "in_progress" => JobEvidence::InProgress(Started {
                started_at: started_at.or(created_at).unwrap_or(answered_at),
                runner: self.runner(),
            }),
            "completed" => JobEvidence::Completed(Completed {
                completed_at: instant(&self.completed_at).or(created_at.max(started_at)).unwrap_or(answered_at),
                conclusion: Conclusion::from_word(self.conclusion.as_deref().unwrap_or("unknown")),
                started_at,
                runner: self.runner(),
            }),
            // Also what GitHub may add: a machine too many is cheaper than a job that never runs.
            _ => JobEvidence::Queued { created_at, approved_at: None },
        }
    }

    /// The runner, if one is named: a job that was cancelled in the queue has id 0 or null and no name.
    fn runner(&self) -> Option<RunnerRef> {
        let id = self.runner_id.filter(|id| *id != 0).map(RunnerId);
        let name = self.runner_name.as_deref().unwrap_or_default();
        (id.is_some() || !name.is_empty()).then(|| RunnerRef { id, name: RunnerName::new(name) })
    }

    /// The event, with what the job itself does not tell.
    fn event(self, repository: Arc<str>, public: bool, workflow: Option<Arc<str>>, answered_at: Timestamp) -> JobEvent {
        JobEvent {
            key: JobKey { job: JobId(self.id), attempt: self.run_attempt.filter(|n| *n > 0).unwrap_or(1) },
            evidence: self.evidence(answered_at),
            about: JobAbout {
                run: RunId(self.run_id),
                repository,
                public,
                labels: self.labels.iter().map(|label| Arc::from(&**label)).collect(),
                workflow: self.workflow_name.map(Arc::from).or(workflow),
                name: self.name.map(Arc::from),
            },
        }
    }
}

/// What names an answer that is known.
#[derive(Clone)]
struct Tag {
    text: String,
    app: u64,
    read_at: Timestamp,
}

/// What is known of a repository's runs.
#[derive(Clone, Default)]
struct Known {
    /// In the order of [`STATUSES`].
    tags: [Option<Tag>; STATUSES.len()],
    /// The runs from this one on were read last time, and those below it were not.
    read_down_to: Option<i64>,
    asked_at: Timestamp,
}

/// What is known of the lists of runs, by repository.
#[derive(Default)]
pub(crate) struct Lists(Mutex<BTreeMap<String, Known>>);

impl Lists {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, repository: &str) -> Known {
        self.locked().get(repository).cloned().unwrap_or_default()
    }

    /// Keeps it, and forgets the one that was asked for least of late if they become too many.
    fn keep(&self, repository: &str, known: Known) {
        let mut all = self.locked();
        all.insert(repository.to_owned(), known);
        if all.len() > REPOSITORIES_MAX
            && let Some(oldest) = all.iter().min_by_key(|(_, known)| known.asked_at).map(|(name, _)| name.clone())
        {
            all.remove(&oldest);
        }
    }
}

pub(crate) fn path_of(repository: &str) -> Result<String, GithubError> {
    let wrong = || GithubError::Rejected(format!("\"{repository}\" is no name of a repository: it must be owner/name"));
    owner::repository(repository).ok_or_else(wrong)
}

/// What of a list reads.
pub(crate) fn readable<T: for<'de> Deserialize<'de>>(items: &[Value]) -> Vec<T> {
    items.iter().filter_map(|item| T::deserialize(item).ok()).collect()
}

impl RestGithub {
    pub(crate) async fn read_job(&self, about: &JobAbout, job: JobId) -> Result<Option<JobEvent>, GithubError> {
        let path = format!("{}/actions/jobs/{job}", path_of(&about.repository)?);
        let answer = self.read(&path, None).await.map_err(told)?;
        // Which permission is lacking is worth telling.
        if is_closed(&answer) && answer.status != StatusCode::FORBIDDEN {
            return Ok(None);
        }
        let what = || format!("job {job} of {}", about.repository);
        if !answer.status.is_success() {
            return Err(self.unread(&what(), &answer));
        }
        let read: JobAnswer = answer.json().map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))?;
        Ok(Some(read.event(about.repository.clone(), about.public, about.workflow.clone(), answer.at)))
    }

    pub(crate) async fn pushed_repositories(&self, since: Timestamp) -> Result<Vec<Arc<str>>, GithubError> {
        let login = match &*self.owner {
            Owner::Organization(login) => login,
            Owner::Repository(name) => return Ok(vec![Arc::from(&**name)]),
            // Its organizations are not known.
            Owner::Enterprise(_) => return Ok(Vec::new()),
        };
        let path = format!("{}/repos?sort=pushed&direction=desc&per_page={PAGE}", owner::base(&self.owner));
        let answer = self.read(&path, None).await.map_err(told)?;
        let what = || format!("the repositories of {login}");
        if !answer.status.is_success() {
            return Err(self.unread(&what(), &answer));
        }
        let page: Vec<Value> = answer.json().map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))?;
        let pushed = |one: &RepositoryAnswer| one.pushed_at.as_deref().and_then(Timestamp::parse);
        let all = readable::<RepositoryAnswer>(&page).into_iter();
        let wanted = all.filter(|one| !one.archived && !one.disabled && pushed(one).is_some_and(|at| at >= since));
        Ok(wanted.map(|one| Arc::from(one.full_name)).collect())
    }

    pub(crate) async fn waiting_jobs(
        &self,
        repository: &str,
        let_be: &BTreeSet<RunId>,
    ) -> Result<Option<Vec<JobEvent>>, GithubError> {
        let base = path_of(repository)?;
        let now = (self.clock)();
        let mut known = self.lists.of(repository);
        known.asked_at = now;
        let mut runs: BTreeMap<i64, RunAnswer> = BTreeMap::new();
        let mut changed = false;
        for (status, kept) in STATUSES.into_iter().zip(&mut known.tags) {
            let path = format!("{base}/actions/runs?status={status}&per_page={PAGE}");
            let tag = kept.take().filter(|tag| now.since(tag.read_at) < TAG_AGE_MAX);
            let asked = self.read(&path, tag.as_ref().map(|tag| (&*tag.text, tag.app))).await;
            let answer = asked.map_err(told)?;
            match answer.status {
                StatusCode::NOT_MODIFIED => *kept = tag,
                status if status.is_success() => {
                    let unreadable = |why| GithubError::Unknown(format!("the runs of {repository}: {why}"));
                    let page: RunPage = answer.json().map_err(unreadable)?;
                    changed = true;
                    runs.extend(readable::<RunAnswer>(&page.workflow_runs).into_iter().map(|run| (run.id, run)));
                    *kept = tag_of(&answer);
                }
                _ if is_closed(&answer) => return Ok(None),
                _ => return Err(self.unread(&format!("the runs of {repository}"), &answer)),
            }
        }
        if !changed {
            self.lists.keep(repository, known);
            return Ok(None);
        }
        // The latest first, after those that the last call has read; then those.
        let last = known.read_down_to.take().unwrap_or(i64::MAX);
        let mut order: Vec<RunAnswer> = runs.into_values().collect();
        order.sort_by_key(|run| (run.id >= last, std::cmp::Reverse(run.id)));
        let (mut events, mut pages, mut read_down_to) = (Vec::new(), JOB_PAGES_MAX, None);
        for run in order {
            if let_be.contains(&RunId(run.id)) {
                // It may be asked for when the lists still are as they are now.
                known.tags = Default::default();
                continue;
            }
            let whole = self.waiting_of(&base, &run, &mut pages, &mut events).await?;
            // One that is too long by itself must not stop those below it.
            if whole || read_down_to.is_none() {
                read_down_to = Some(run.id);
            }
            if !whole {
                known.tags = Default::default();
                known.read_down_to = read_down_to;
                break;
            }
        }
        self.lists.keep(repository, known);
        Ok(Some(events))
    }

    /// The jobs of a run that wait, as far as the pages go. Whether these are all.
    async fn waiting_of(
        &self,
        base: &str,
        run: &RunAnswer,
        pages: &mut usize,
        events: &mut Vec<JobEvent>,
    ) -> Result<bool, GithubError> {
        let repository: Arc<str> = Arc::from(&*run.repository.full_name);
        let workflow: Option<Arc<str>> = run.name.as_deref().map(Arc::from);
        let what = || format!("the jobs of run {} of {repository}", run.id);
        for page in 1..=*pages {
            *pages -= 1;
            let path = format!("{base}/actions/runs/{}/jobs?filter=latest&per_page={PAGE}&page={page}", run.id);
            let answer = self.read(&path, None).await.map_err(told)?;
            if is_gone(&answer) {
                // The run was removed meanwhile.
                return Ok(true);
            }
            if !answer.status.is_success() {
                return Err(self.unread(&what(), &answer));
            }
            let read: JobPage = answer.json().map_err(|why| GithubError::Unknown(format!("{}: {why}", what())))?;
            let waiting = readable::<JobAnswer>(&read.jobs).into_iter().filter(JobAnswer::waits);
            let public = !run.repository.private;
            events.extend(waiting.map(|job| job.event(repository.clone(), public, workflow.clone(), answer.at)));
            if read.jobs.len() < PAGE {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a repository is not there, no more, or not for us.
pub(crate) fn is_closed(answer: &Answer) -> bool {
    let moved = answer.status == StatusCode::MOVED_PERMANENTLY;
    let barred = matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS);
    is_gone(answer) || moved || barred
}

fn tag_of(answer: &Answer) -> Option<Tag> {
    Some(Tag { text: answer.tag()?.to_owned(), app: answer.app?, read_at: answer.at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_repositories_the_one_asked_for_longest_ago_is_forgotten() {
        let lists = Lists::default();
        let known = |ms: usize| Known {
            read_down_to: Some(1),
            asked_at: Timestamp::from_unix_ms(i64::try_from(ms).unwrap()),
            ..Known::default()
        };
        for n in 0..REPOSITORIES_MAX {
            lists.keep(&format!("acme/{n}"), known(n));
        }
        lists.keep("acme/0", known(REPOSITORIES_MAX));
        lists.keep("acme/new", known(REPOSITORIES_MAX + 1));
        assert_eq!(lists.locked().len(), REPOSITORIES_MAX);
        assert_eq!(lists.of("acme/1").read_down_to, None);
        assert_eq!(lists.of("acme/0").read_down_to, Some(1));
    }
}
