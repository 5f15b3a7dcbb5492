//! Facts into the world.
//!
//! Invariant: merging a fact a second time changes nothing and tells no news.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use crate::config::FleetConfig;
use crate::fact::{CloudEventKind, Fact, FactBody};
use crate::ids::{InstanceId, JobKey};
use crate::job::{JobEvent, JobPhase, JobRecord, RunnerRef};
use crate::machine::{Machine, MachineEvent, instance_of};
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
    /// What is worth telling, in the order of the facts.
    pub news: Vec<News>,
}

/// Something that has happened for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A job became queued.
    Queued(JobKey),
    /// A job started.
    Started(JobKey),
    /// A job is over.
    Completed(JobKey),
    /// The cloud will take or has taken a machine.
    Interrupted(InstanceId),
}

impl World {
    /// Merges one fact.
    pub fn merge(&mut self, fact: &Fact, config: &FleetConfig, merged: &mut Merged) {
        match &fact.body {
            FactBody::Job(event) => self.merge_job(event, fact.received_at, config, merged),
            FactBody::Machine(event) => self.merge_machine(event, merged),
            FactBody::Cloud(event) => {
                let heard = self.change_machine_if(&event.instance, |machine| match event.kind {
                    CloudEventKind::InterruptionNotice if machine.interrupted_at.is_none() => {
                        machine.interrupted_at = Some(event.at);
                        true
                    }
                    CloudEventKind::Terminated if machine.gone_at.is_none() => {
                        machine.gone_at = Some(event.at);
                        true
                    }
                    CloudEventKind::InterruptionNotice | CloudEventKind::Terminated => false,
                });
                if heard {
                    merged.machines.insert(event.instance.clone());
                    if event.kind == CloudEventKind::InterruptionNotice {
                        merged.news.push(News::Interrupted(event.instance.clone()));
                    }
                }
            }
        }
    }

    fn merge_job(&mut self, event: &JobEvent, received_at: Timestamp, config: &FleetConfig, merged: &mut Merged) {
        let key = event.key;
        let told = JobRecord::from_event(event, received_at);
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
        if record.phase() == JobPhase::Completed && !had(|r| r.phase() == JobPhase::Completed) {
            merged.news.push(News::Completed(key));
        }
        for runner in [record.started.as_ref().and_then(|s| s.runner.as_ref()), record.runner()].into_iter().flatten() {
            if let Some(instance) = self.machine_of(runner)
                && self.match_job(&instance, key)
            {
                merged.machines.insert(instance);
            }
        }
        self.put_job(record.clone(), config);
        merged.changed.insert(key);
        merged.jobs.insert(key, record);
    }

    /// The machine of ours that carries the runner's name now.
    fn machine_of(&self, runner: &RunnerRef) -> Option<InstanceId> {
        let instance = instance_of(&runner.name)?;
        let registered = self.machine(&instance)?.told.registered.as_ref();
        registered.is_some_and(|(_, registration)| registration.name == runner.name).then_some(instance)
    }

    fn merge_machine(&mut self, event: &MachineEvent, merged: &mut Merged) {
        let changed = self.change_machine_if(&event.instance, |machine| {
            let before = machine.clone();
            machine.hear(event);
            *machine != before
        });
        if changed {
            merged.machines.insert(event.instance.clone());
        }
    }

    fn change_machine_if(&mut self, instance: &InstanceId, change: impl FnOnce(&mut Machine) -> bool) -> bool {
        self.change_machine(instance, change).unwrap_or(false)
    }
}
