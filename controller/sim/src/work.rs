//! Runs and their jobs, as GitHub knows them to be.
//!
//! What lives here: the needs graph and what state each job is in. What may not: runners, machines, money.
//!
//! Invariant: a job goes forward only: waiting, queued, assigned, running, over; the one way back is from assigned to
//! queued. A job that is run again is another one, in the same place. A run is forgotten once all of its jobs are over and all
//! of its deliveries are made; one with an interrupted job is kept, since it may be run again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{JobId, JobKey, RunId};
use muster_core::job::{Conclusion, JobAbout, RunnerRef};
use muster_core::time::Timestamp;

use crate::classes::ClassNo;
use crate::cloud::InstanceNo;
use crate::labels::LabelsNo;

/// The place of a run in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunNo(pub(crate) u64);

/// A job of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobRef {
    pub(crate) run: RunNo,
    pub(crate) job: u16,
}

/// The three kinds of events that a job of a trace goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Queued,
    InProgress,
    Completed,
}

/// How a job ended, in the words of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed,
    Cancelled,
    Killed,
    Interrupted,
    Lost,
    Expired,
    Skipped,
}

impl Outcome {
    /// GitHub's word for it.
    pub(crate) fn conclusion(self) -> Conclusion {
        match self {
            Outcome::Completed => Conclusion::Success,
            Outcome::Cancelled | Outcome::Lost | Outcome::Expired => Conclusion::Cancelled,
            Outcome::Killed | Outcome::Interrupted => Conclusion::Failure,
            Outcome::Skipped => Conclusion::Skipped,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Some need is not complete.
    Waiting,
    /// Runnable, without a runner.
    Queued,
    /// GitHub has chosen a runner; no step has begun.
    Assigned,
    Running,
    Over(Outcome),
}

pub(crate) struct Job {
    pub(crate) key: JobKey,
    pub(crate) name: Arc<str>,
    pub(crate) labels: Arc<[Arc<str>]>,
    pub(crate) labels_no: LabelsNo,
    /// `None`: GitHub hosts it.
    pub(crate) class: Option<ClassNo>,
    pub(crate) duration: Duration,
    pub(crate) state: State,
    pub(crate) queued_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) over_at: Option<Timestamp>,
    pub(crate) runner: Option<RunnerRef>,
    pub(crate) instance: Option<InstanceNo>,
    /// How often GitHub has chosen a runner for it.
    pub(crate) tries: u32,
    /// The latest delivery so far: none of this job overtakes another.
    pub(crate) delivered_at: Timestamp,
    group: u16,
    needs: Box<[u16]>,
    needs_open: usize,
    doomed: bool,
}

struct Group {
    open: u32,
    failed: bool,
}

pub(crate) struct ActiveRun {
    pub(crate) id: RunId,
    pub(crate) repository: Arc<str>,
    pub(crate) public: bool,
    pub(crate) workflow: Arc<str>,
    /// Its latest attempt, from 1.
    pub(crate) attempt: u32,
    pub(crate) jobs: Vec<Job>,
    groups: Vec<Group>,
    open: usize,
    pub(crate) deliveries: u32,
}

impl ActiveRun {
    pub(crate) fn job_id(&self, job: u16) -> JobId {
        self.key(job).job
    }

    pub(crate) fn key(&self, job: u16) -> JobKey {
        self.jobs[usize::from(job)].key
    }

    /// Whether some job of it is not over.
    pub(crate) fn is_open(&self) -> bool {
        self.open > 0
    }

    /// The place of a job of this run.
    pub(crate) fn place_of(&self, job: JobId) -> Option<u16> {
        let place = self.jobs.iter().position(|known| known.key.job == job)?;
        u16::try_from(place).ok()
    }

    pub(crate) fn about(&self, job: &Job) -> JobAbout {
        JobAbout {
            run: self.id,
            repository: self.repository.clone(),
            public: self.public,
            labels: job.labels.clone(),
            workflow: Some(self.workflow.clone()),
            name: Some(job.name.clone()),
        }
    }
}

/// What the end of a job lets happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Queue(u16),
    Skip(u16),
}

/// All runs that are not forgotten.
#[derive(Default)]
pub(crate) struct Work {
    runs: BTreeMap<RunNo, ActiveRun>,
    arrived: u64,
    jobs_arrived: i64,
    /// Jobs that are not over.
    pub(crate) open: u64,
}

/// GitHub's job ids start somewhere; a number of today's size shows whoever keeps them in 32 bits.
const FIRST_JOB_ID: i64 = 58_000_000_001;

impl Work {
    /// Takes in a run. `place` says for each job's labels which number and class they have.
    pub(crate) fn arrive(
        &mut self,
        run: crate::trace::Run,
        mut place: impl FnMut(&Arc<[Arc<str>]>) -> (LabelsNo, Option<ClassNo>),
    ) -> RunNo {
        let no = RunNo(self.arrived);
        self.arrived += 1;
        let mut groups: Vec<Group> = (0..run.groups).map(|_| Group { open: 0, failed: false }).collect();
        let first_job = FIRST_JOB_ID + self.jobs_arrived;
        let jobs: Vec<Job> = (first_job..)
            .zip(run.jobs)
            .map(|(id, spec)| {
                if let Some(group) = groups.get_mut(usize::from(spec.group)) {
                    group.open += 1;
                }
                let (labels_no, class) = place(&spec.labels);
                Job {
                    key: JobKey { job: JobId(id), attempt: 1 },
                    name: spec.name,
                    labels: spec.labels,
                    labels_no,
                    class,
                    duration: spec.duration,
                    state: State::Waiting,
                    queued_at: None,
                    started_at: None,
                    over_at: None,
                    runner: None,
                    instance: None,
                    tries: 0,
                    delivered_at: Timestamp::EPOCH,
                    group: spec.group,
                    needs_open: spec.needs.len(),
                    needs: spec.needs,
                    doomed: false,
                }
            })
            .collect();
        let open = jobs.len();
        self.jobs_arrived += i64::try_from(open).unwrap_or(0);
        self.open += open as u64;
        if open > 0 {
            let active = ActiveRun {
                id: run.id,
                repository: run.repository,
                public: run.public,
                workflow: run.workflow,
                attempt: 1,
                jobs,
                groups,
                open,
                deliveries: 0,
            };
            self.runs.insert(no, active);
        }
        no
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &ActiveRun> {
        self.runs.values()
    }

    pub(crate) fn run(&self, no: RunNo) -> Option<&ActiveRun> {
        self.runs.get(&no)
    }

    pub(crate) fn run_mut(&mut self, no: RunNo) -> Option<&mut ActiveRun> {
        self.runs.get_mut(&no)
    }

    pub(crate) fn job(&self, at: JobRef) -> Option<&Job> {
        self.runs.get(&at.run)?.jobs.get(usize::from(at.job))
    }

    pub(crate) fn job_mut(&mut self, at: JobRef) -> Option<&mut Job> {
        self.runs.get_mut(&at.run)?.jobs.get_mut(usize::from(at.job))
    }

    pub(crate) fn state(&self, at: JobRef) -> Option<State> {
        self.job(at).map(|job| job.state)
    }

    /// The jobs of a run that need nothing.
    pub(crate) fn roots(&self, no: RunNo) -> Vec<u16> {
        let Some(run) = self.runs.get(&no) else {
            return Vec::new();
        };
        (0_u16..).zip(&run.jobs).filter(|(_, job)| job.needs_open == 0).map(|(at, _)| at).collect()
    }

    /// Ends a job and says, in order of the run, what follows. Jobs that need a job which did not succeed are skipped.
    pub(crate) fn end(&mut self, at: JobRef, outcome: Outcome, now: Timestamp) -> Vec<Next> {
        let mut next = Vec::new();
        let Some(run) = self.runs.get_mut(&at.run) else {
            return next;
        };
        let Some(job) = run.jobs.get_mut(usize::from(at.job)) else {
            return next;
        };
        if matches!(job.state, State::Over(_)) {
            return next;
        }
        job.state = State::Over(outcome);
        job.over_at = Some(now);
        run.open -= 1;
        self.open -= 1;
        let of = job.group;
        let Some(group) = run.groups.get_mut(usize::from(of)) else {
            return next;
        };
        group.open -= 1;
        group.failed |= outcome != Outcome::Completed;
        if group.open > 0 {
            return next;
        }
        let failed = group.failed;
        for (number, job) in (0_u16..).zip(&mut run.jobs) {
            if job.state != State::Waiting || !job.needs.contains(&of) {
                continue;
            }
            job.needs_open -= 1;
            job.doomed |= failed;
            if job.needs_open == 0 {
                next.push(if job.doomed { Next::Skip(number) } else { Next::Queue(number) });
            }
        }
        next
    }

    /// Forgets a run that is over and told of.
    pub(crate) fn forget_if_over(&mut self, no: RunNo) {
        let kept = |run: &ActiveRun| run.jobs.iter().any(|job| job.state == State::Over(Outcome::Interrupted));
        if self.runs.get(&no).is_some_and(|run| run.open == 0 && run.deliveries == 0 && !kept(run)) {
            self.runs.remove(&no);
        }
    }

    /// The place of a run that is not forgotten.
    pub(crate) fn no_of(&self, run: RunId) -> Option<RunNo> {
        self.runs.iter().find(|(_, known)| known.id == run).map(|(no, _)| *no)
    }

    /// Runs what failed in a run again, and what was skipped or cancelled with it, as its next attempt: other jobs in the same
    /// places. Those of them that need nothing more. `None`: the run is not over, or nothing in it failed.
    pub(crate) fn run_again(&mut self, no: RunNo) -> Option<Vec<u16>> {
        let run = self.runs.get_mut(&no).filter(|run| run.open == 0 && run.deliveries == 0)?;
        let again: Vec<u16> = (0_u16..)
            .zip(&run.jobs)
            .filter(|(_, job)| !matches!(job.state, State::Over(Outcome::Completed)))
            .map(|(place, _)| place)
            .collect();
        if again.is_empty() {
            return None;
        }
        run.attempt += 1;
        for group in &mut run.groups {
            group.failed = false;
        }
        for place in &again {
            let job = &mut run.jobs[usize::from(*place)];
            job.key = JobKey { job: JobId(FIRST_JOB_ID + self.jobs_arrived), attempt: run.attempt };
            self.jobs_arrived += 1;
            (job.state, job.tries, job.doomed) = (State::Waiting, 0, false);
            (job.queued_at, job.started_at, job.over_at) = (None, None, None);
            (job.runner, job.instance) = (None, None);
            if let Some(group) = run.groups.get_mut(usize::from(job.group)) {
                group.open += 1;
            }
        }
        let ActiveRun { jobs, groups, .. } = run;
        for place in &again {
            let job = &mut jobs[usize::from(*place)];
            let open = |need: &&u16| groups.get(usize::from(**need)).is_some_and(|group| group.open > 0);
            job.needs_open = job.needs.iter().filter(open).count();
        }
        run.open += again.len();
        self.open += again.len() as u64;
        let ready = |place: &u16| run.jobs[usize::from(*place)].needs_open == 0;
        Some(again.into_iter().filter(ready).collect())
    }

    /// The class of each job that was queued and is not over.
    pub(crate) fn open_jobs(&self) -> impl Iterator<Item = ClassNo> {
        let jobs = self.runs.values().flat_map(|run| &run.jobs);
        let open = jobs.filter(|job| matches!(job.state, State::Queued | State::Assigned | State::Running));
        open.filter_map(|job| job.class)
    }

    /// How many runs are in memory.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }
}
