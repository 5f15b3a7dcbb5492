//! Facts into the world.
//!
//! Invariant: merging a fact a second time changes nothing and tells no news.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::World;
use crate::config::FleetConfig;
use crate::fact::{CloudEventKind, Fact, FactBody, GroupEvent, Prewarmed, ReleaseEvent};
use crate::ids::{InstanceId, JobId, JobKey, RunnerName};
use crate::job::{JobEvent, JobPhase, JobRecord};
use crate::launch::Hold;
use crate::machine::{Machine, MachineEvent, MachinePhase, Report, instance_of};
use crate::protocol::RUNNER_OUTDATED;
use crate::time::Timestamp;

/// What a batch of facts has changed.
#[derive(Debug, Default)]
pub struct Merged {
    /// Records as they now are. Put in the stored records of jobs that the world does not hold (finished ones) before
    /// merging facts about them.
    pub jobs: BTreeMap<JobKey, JobRecord>,
    /// Jobs among these that have changed.
    pub changed: BTreeSet<JobKey>,
    /// Machines that have changed.
    pub machines: BTreeSet<InstanceId>,
    /// Machines that may go on into their standby stock, also those that have gone on long ago.
    pub prewarmed: Vec<Prewarmed>,
    /// What was told of groups. Which machines a group is for, the cloud's adapter knows.
    pub groups: Vec<GroupEvent>,
    /// Idle listeners that ended by themselves: GitHub has removed their registrations, or they have failed.
    pub removed: Vec<(InstanceId, Duration)>,
    /// Holds that follow from what was told, whole.
    pub holds: Vec<Hold>,
    /// What is worth telling, in the order of the facts.
    pub news: Vec<News>,
    /// Runners that the jobs among these name, finished jobs too.
    runners: BTreeSet<(RunnerName, JobKey)>,
    /// The same by job. Of two that name a runner each, the record keeps one.
    named: BTreeMap<JobKey, BTreeSet<RunnerName>>,
}

/// Something that has happened for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A job became queued.
    Queued(JobKey),
    /// A job started.
    Started(JobKey),
    /// Both a job's demand and its start are known: it has a queue time. The two come in any order.
    Timed(JobKey),
    /// A job is over.
    Completed(JobKey),
    /// The cloud will take or has taken a machine.
    Interrupted(InstanceId),
}

impl World {
    /// Merges one fact.
    pub fn merge(&mut self, fact: &Fact, config: &FleetConfig, merged: &mut Merged) {
        match &fact.body {
            FactBody::Job(event) => {
                self.merge_job(event, fact.received_at, config, merged);
                self.end_of_job(event.key, merged);
            }
            FactBody::Machine(event) => self.merge_machine(event, merged),
            FactBody::Group(event) => merged.groups.push(event.clone()),
            FactBody::Prewarmed(event) => merged.prewarmed.push(event.clone()),
            FactBody::Release(ReleaseEvent { shape, market, at, taken, .. }) => {
                merged.holds.extend(self.release_judged(shape, *market, *taken, *at));
            }
            FactBody::Cloud(event) => {
                self.tell_machine(&event.instance, merged, |machine| {
                    let known = match event.kind {
                        CloudEventKind::InterruptionNotice => &mut machine.interrupted_at,
                        CloudEventKind::RebalanceRecommended => &mut machine.rebalance_at,
                        CloudEventKind::Terminated => &mut machine.gone_at,
                    };
                    *known = Some(known.map_or(event.at, |known| known.min(event.at)));
                });
            }
        }
    }

    fn merge_job(&mut self, event: &JobEvent, received_at: Timestamp, config: &FleetConfig, merged: &mut Merged) {
        let key = event.key;
        let told = JobRecord::from_event(event, received_at);
        for runner in told.runners() {
            merged.runners.insert((runner.name.clone(), key));
            merged.named.entry(key).or_default().insert(runner.name.clone());
            if let Some(instance) = self.machine_of(&runner.name)
                && self.match_job(&instance, key)
            {
                merged.machines.insert(instance);
            }
        }
        let known = merged.jobs.remove(&key).or_else(|| self.job(key).map(|job| job.record.clone()));
        let (before, record) = match known {
            Some(known) => {
                let mut record = known.clone();
                record.merge(&told);
                if record == known {
                    merged.jobs.insert(key, known);
                    return;
                }
                (Some(known), record)
            }
            None => (None, told),
        };
        let had = |what: fn(&JobRecord) -> bool| before.as_ref().is_some_and(what);
        if record.queued.is_some() && !had(|r| r.queued.is_some()) {
            merged.news.push(News::Queued(key));
        }
        if record.started_at().is_some() && !had(|r| r.started_at().is_some()) {
            merged.news.push(News::Started(key));
        }
        if record.queue_time().is_some() && !had(|r| r.queue_time().is_some()) {
            merged.news.push(News::Timed(key));
        }
        if record.phase() == JobPhase::Completed && !had(|r| r.phase() == JobPhase::Completed) {
            merged.news.push(News::Completed(key));
        }
        self.put_job(record.clone(), config);
        merged.changed.insert(key);
        merged.jobs.insert(key, record);
    }

    /// The machine of ours that carries the runner's name now.
    fn machine_of(&self, runner: &RunnerName) -> Option<InstanceId> {
        let instance = instance_of(runner)?;
        let registered = self.machine(&instance)?.told.registered.as_ref();
        registered.is_some_and(|(_, registration)| registration.name == *runner).then_some(instance)
    }

    fn merge_machine(&mut self, event: &MachineEvent, merged: &mut Merged) {
        let changed = self.tell_machine(&event.instance, merged, |machine| machine.hear(event));
        if changed && let Report::Registered(_) = event.report {
            self.match_registration(&event.instance, merged);
        }
        if changed
            && let Report::Failed { why } = &event.report
            && why.starts_with(RUNNER_OUTDATED)
            && let Some(machine) = self.machine(&event.instance)
        {
            let (shape, market) = (machine.purpose.shape.clone(), machine.purpose.market);
            merged.holds.extend(self.release_judged(&shape, market, false, event.at));
        }
    }

    /// GitHub's word on a job may be merged before the registrar's on its runner.
    fn match_registration(&mut self, instance: &InstanceId, merged: &Merged) {
        let Some((_, registration)) = self.machine(instance).and_then(|machine| machine.told.registered.as_ref())
        else {
            return;
        };
        let job = [&merged.runners, &self.runners].into_iter().filter_map(|set| job_on(set, &registration.name)).min();
        self.change_machine(instance, |machine| machine.job = job);
        self.end_of_job_on(instance, merged);
    }

    /// Tells the machines that a job names when it ended.
    fn end_of_job(&mut self, key: JobKey, merged: &mut Merged) {
        let Some(record) = merged.jobs.get(&key) else { return };
        let names = record.runners().map(|runner| &runner.name).chain(merged.named.get(&key).into_iter().flatten());
        let machines: BTreeSet<InstanceId> = names.filter_map(|name| self.machine_of(name)).collect();
        for instance in machines {
            if self.end_of_job_on(&instance, merged) {
                merged.machines.insert(instance);
            }
        }
    }

    /// Tells a machine when its job ended, if this tick knows of that job; `true` if that is news.
    fn end_of_job_on(&mut self, instance: &InstanceId, merged: &Merged) -> bool {
        let told = self.change_machine(instance, |machine| {
            let known = machine.job_over_at;
            if let Some(record) = machine.job.and_then(|job| merged.jobs.get(&job)) {
                machine.job_over_at = record.completed.as_ref().map(|completed| completed.completed_at);
            }
            machine.job_over_at != known
        });
        told.unwrap_or_default()
    }

    /// Changes a machine by something told of it; `true` if that is news.
    fn tell_machine(&mut self, instance: &InstanceId, merged: &mut Merged, tell: impl FnOnce(&mut Machine)) -> bool {
        let told = self.change_machine(instance, |machine| {
            let before = machine.clone();
            tell(machine);
            let interrupted = before.interrupted_at.is_none() && machine.interrupted_at.is_some();
            (*machine != before, interrupted, idle_until_removed(&before, machine))
        });
        let (changed, interrupted, idle) = told.unwrap_or_default();
        if changed {
            merged.machines.insert(instance.clone());
        }
        merged.removed.extend(idle.map(|idle| (instance.clone(), idle)));
        if interrupted {
            merged.news.push(News::Interrupted(instance.clone()));
        }
        changed
    }
}

/// How long a listener was idle that has just ended by itself.
fn idle_until_removed(before: &Machine, after: &Machine) -> Option<Duration> {
    match (before.phase(), after.phase()) {
        (MachinePhase::Idle(since), MachinePhase::Between(at)) => Some(at.since(since)),
        _ => None,
    }
}

/// The job that names this runner; of several, which GitHub does not do, the first.
fn job_on(runners: &BTreeSet<(RunnerName, JobKey)>, name: &RunnerName) -> Option<JobKey> {
    let least = JobKey { job: JobId(i64::MIN), attempt: 0 };
    let (found, job) = runners.range((name.clone(), least)..).next()?;
    (found == name).then_some(*job)
}
