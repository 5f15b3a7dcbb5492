//! What the fake GitHub remembers: repositories with their runs and jobs, the owner's webhooks, and the logs of deliveries.
//!
//! What lives here: the state, and how tests change it. What may not: what is answered.
//!
//! Invariant: whatever comes later has the larger number.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::settings::FakeHook;
use super::world::World;

/// The log of which webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeLog {
    /// An App's own.
    App(u64),
    /// One of the owner's, by its number.
    Hook(i64),
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeJob {
    /// Its number.
    pub id: i64,
    /// Its run.
    pub run: i64,
    /// The attempt of its run.
    pub attempt: u32,
    /// Its name.
    pub name: String,
    /// What it runs on.
    pub labels: Vec<String>,
    /// Where it stands, in GitHub's word.
    pub status: String,
    /// How it ended, in GitHub's word.
    pub conclusion: Option<String>,
    /// When it was made.
    pub created_at: Duration,
    /// When it began; until then, when it was made.
    pub started_at: Duration,
    /// When it ended.
    pub completed_at: Option<Duration>,
    /// The runner's number and name.
    pub runner: Option<(i64, String)>,
    /// Whether its runner is dead: it hears of no cancellation.
    pub deaf: bool,
}

pub(super) struct Delivery {
    pub(super) id: i64,
    pub(super) log: FakeLog,
    pub(super) guid: String,
    pub(super) at: Duration,
    pub(super) redelivery: bool,
    pub(super) status_code: u16,
    pub(super) event: String,
    pub(super) payload: Value,
}

pub(super) struct Hook {
    pub(super) id: i64,
    pub(super) active: bool,
    pub(super) events: Vec<String>,
    pub(super) settings: FakeHook,
}

pub(super) struct Repository {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) private: bool,
    pub(super) archived: bool,
    pub(super) closed: bool,
    pub(super) pushed_at: Duration,
}

pub(super) struct Run {
    pub(super) id: i64,
    pub(super) repository: String,
    pub(super) workflow: String,
    pub(super) branch: Option<String>,
    pub(super) event: String,
    pub(super) at: Duration,
    pub(super) cancelled: bool,
    pub(super) attempt: u32,
}

pub(super) struct Records {
    pub(super) hookless: BTreeSet<u64>,
    pub(super) hooks: Vec<Hook>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) repositories: Vec<Repository>,
    pub(super) runs: Vec<Run>,
    pub(super) jobs: Vec<FakeJob>,
    /// What a receiver of deliveries answers to another attempt. `None`: it never comes to an end.
    pub(super) receiver: Option<u16>,
}

impl Default for Records {
    fn default() -> Records {
        Records {
            hookless: BTreeSet::new(),
            hooks: Vec::new(),
            deliveries: Vec::new(),
            repositories: Vec::new(),
            runs: Vec::new(),
            jobs: Vec::new(),
            receiver: Some(202),
        }
    }
}

impl Records {
    /// The jobs of a run as they are now: of each the latest attempt.
    pub(super) fn latest(&self, run: i64) -> impl Iterator<Item = &FakeJob> {
        let of_run = move || self.jobs.iter().filter(move |job| job.run == run);
        of_run().filter(move |job| of_run().all(|other| other.name != job.name || other.attempt <= job.attempt))
    }

    /// The number of a run within its workflow, from 1.
    pub(super) fn run_number(&self, run: &Run) -> usize {
        let same = |other: &&Run| other.repository == run.repository && other.workflow == run.workflow;
        self.runs.iter().filter(same).filter(|other| other.id <= run.id).count()
    }

    /// The number of a run's workflow.
    pub(super) fn workflow_number(&self, run: &Run) -> usize {
        let same = |other: &Run| other.repository == run.repository && other.workflow == run.workflow;
        1 + self.runs.iter().position(same).unwrap_or(0)
    }

    /// Where a run stands, by its jobs.
    pub(super) fn status(&self, run: i64) -> &'static str {
        let of_run = || self.latest(run);
        let any = |status: &str| of_run().any(|job| job.status == status);
        if of_run().next().is_some() && of_run().all(|job| job.status == "completed") {
            "completed"
        } else if any("in_progress") || any("completed") {
            "in_progress"
        } else if any("waiting") && !any("queued") {
            "waiting"
        } else {
            "queued"
        }
    }

    pub(super) fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.iter().find(|repository| repository.name.eq_ignore_ascii_case(name))
    }
}

impl World {
    /// Logs a delivery, with what its receiver answered, and gives its number.
    pub fn deliver(&mut self, log: FakeLog, event: &str, payload: Value, status_code: u16) -> i64 {
        let (id, at) = (self.number(), self.now());
        let (guid, event) = (format!("guid-{id}"), event.to_owned());
        self.records.deliveries.push(Delivery { id, log, guid, at, redelivery: false, status_code, event, payload });
        id
    }

    /// Logs a `workflow_job` delivery of an App's webhook whose receiver could not be reached.
    pub fn fail_delivery(&mut self, app: u64, payload: Value) -> i64 {
        self.deliver(FakeLog::App(app), "workflow_job", payload, 502)
    }

    /// Logs another attempt of a delivery. `None`: there is no such delivery.
    pub fn redeliver(&mut self, delivery: i64, status_code: u16) -> Option<i64> {
        let former = self.records.deliveries.iter().find(|known| known.id == delivery)?;
        let (log, event, payload) = (former.log, former.event.clone(), former.payload.clone());
        let guid = former.guid.clone();
        let id = self.deliver(log, &event, payload, status_code);
        let latest = self.records.deliveries.last_mut()?;
        (latest.guid, latest.redelivery) = (guid, true);
        Some(id)
    }

    /// What a receiver of deliveries answers to an attempt that was asked for. `None`: it does not answer.
    pub fn set_receiver(&mut self, status: Option<u16>) {
        self.records.receiver = status;
    }

    /// Drops a delivery from its log, as GitHub does after some days.
    pub fn forget_delivery(&mut self, delivery: i64) {
        self.records.deliveries.retain(|known| known.id != delivery);
    }

    /// Takes an App's own webhook away.
    pub fn remove_app_hook(&mut self, app: u64) {
        self.records.hookless.insert(app);
    }

    /// Gives the owner a webhook for these events.
    pub fn add_hook(&mut self, events: &[&str], active: bool) -> i64 {
        let id = self.number();
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        self.records.hooks.push(Hook { id, active, events, settings: FakeHook::default() });
        id
    }

    /// Makes a repository, `owner/name`, pushed to just now.
    pub fn add_repository(&mut self, name: &str, private: bool) {
        let (id, pushed_at, name) = (self.number(), self.now(), name.to_owned());
        let repository = Repository { id, name, private, archived: false, closed: false, pushed_at };
        self.records.repositories.push(repository);
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        if self.records.repository(name).is_none() {
            self.add_repository(name, true);
        }
        let all = self.records.repositories.iter_mut();
        all.into_iter().find(|known| known.name.eq_ignore_ascii_case(name)).expect("it is there now")
    }

    /// Pushes to a repository; one that was not there is made, and private.
    pub fn push(&mut self, repository: &str) {
        let now = self.now();
        self.repository(repository).pushed_at = now;
    }

    /// Lets a repository have been pushed to last at another instant.
    pub fn set_pushed(&mut self, repository: &str, at: Duration) {
        self.repository(repository).pushed_at = at;
    }

    /// Archives a repository.
    pub fn archive(&mut self, repository: &str) {
        self.repository(repository).archived = true;
    }

    /// Bars a repository to everybody, as GitHub does with some, or opens it again.
    pub fn close_repository(&mut self, repository: &str, closed: bool) {
        self.repository(repository).closed = closed;
    }

    /// Starts a run of a workflow. A repository that was not there is made, and private.
    pub fn add_run(&mut self, repository: &str, workflow: &str) -> i64 {
        let repository = self.repository(repository).name.clone();
        let (id, at) = (self.number(), self.now());
        let (workflow, branch) = (workflow.to_owned(), Some("main".to_owned()));
        let (event, cancelled, attempt) = ("push".to_owned(), false, 1);
        self.records.runs.push(Run { id, repository, workflow, branch, event, at, cancelled, attempt });
        id
    }

    /// Lets a run be of another branch than `main`, or of none, and of another event than a push.
    pub fn set_branch(&mut self, run: i64, branch: Option<&str>, event: &str) {
        if let Some(run) = self.records.runs.iter_mut().find(|known| known.id == run) {
            (run.branch, run.event) = (branch.map(str::to_owned), event.to_owned());
        }
    }

    /// Lets a run have been triggered at another instant, and cancelled or not.
    pub fn set_run(&mut self, run: i64, at: Duration, cancelled: bool) {
        if let Some(run) = self.records.runs.iter_mut().find(|known| known.id == run) {
            (run.at, run.cancelled) = (at, cancelled);
        }
    }

    /// Adds a job to a run. It is queued.
    pub fn add_job(&mut self, run: i64, labels: &[&str]) -> i64 {
        let (id, now) = (self.number(), self.now());
        self.records.jobs.push(FakeJob {
            id,
            run,
            attempt: 1,
            name: format!("job {id}"),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            status: "queued".to_owned(),
            conclusion: None,
            created_at: now,
            started_at: now,
            completed_at: None,
            runner: None,
            deaf: false,
        });
        id
    }

    /// Cancels a run: its jobs end, by force also those whose runner does not answer. Why not, in GitHub's words.
    pub(super) fn cancel_run(&mut self, run: i64, force: bool) -> Result<(), &'static str> {
        if self.records.status(run) == "completed" {
            return Err("Cannot cancel a workflow run that is completed.");
        }
        let now = self.now();
        if let Some(known) = self.records.runs.iter_mut().find(|known| known.id == run) {
            known.cancelled = true;
        }
        let open = |job: &&mut FakeJob| job.run == run && job.status != "completed" && (force || !job.deaf);
        for job in self.records.jobs.iter_mut().filter(open) {
            (job.status, job.conclusion) = ("completed".to_owned(), Some("cancelled".to_owned()));
            job.completed_at = Some(now);
        }
        Ok(())
    }

    /// Runs what failed in a run again, as its next attempt. Why not, in GitHub's words.
    pub(super) fn rerun_failed(&mut self, run: i64) -> Result<(), &'static str> {
        if self.records.status(run) != "completed" {
            return Err("This workflow run is already running");
        }
        let bad = |job: &&FakeJob| matches!(job.conclusion.as_deref(), Some("failure" | "cancelled" | "timed_out"));
        let failed: Vec<FakeJob> = self.records.latest(run).filter(bad).cloned().collect();
        if failed.is_empty() {
            return Err("The workflow run has no failed jobs");
        }
        let Some(known) = self.records.runs.iter_mut().find(|known| known.id == run) else { return Err("Not Found") };
        known.attempt += 1;
        known.cancelled = false;
        let (attempt, now) = (known.attempt, self.now());
        for job in failed {
            let (id, status) = (self.number(), "queued".to_owned());
            let (conclusion, completed_at, runner, deaf) = (None, None, None, false);
            let (created_at, started_at) = (now, now);
            self.records.jobs.push(FakeJob {
                id,
                attempt,
                status,
                conclusion,
                completed_at,
                runner,
                deaf,
                created_at,
                started_at,
                ..job
            });
        }
        Ok(())
    }

    /// One job, to change.
    pub fn job(&mut self, job: i64) -> Option<&mut FakeJob> {
        self.records.jobs.iter_mut().find(|known| known.id == job)
    }

    /// Moves a job on: one that begins has a runner, and one that ends has ended well, unless it says otherwise already.
    pub fn set_job_status(&mut self, job: i64, status: &str) {
        let now = self.now();
        let Some(job) = self.job(job) else { return };
        match status {
            "in_progress" => {
                job.started_at = now;
                job.runner.get_or_insert_with(|| (job.id + 1_000, format!("runner-{}", job.id)));
            }
            "completed" => {
                job.completed_at = Some(now);
                job.conclusion.get_or_insert_with(|| "success".to_owned());
            }
            _ => {}
        }
        job.status = status.to_owned();
    }
}
