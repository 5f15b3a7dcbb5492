//! Changes to the world. Each takes a thing out of the indexes, changes it, and puts it back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::class::Since;
use super::{LiveJob, World};
use crate::config::{FleetConfig, Resolution};
use crate::ids::{ClassId, InstanceId, JobKey, LaunchId};
use crate::job::{JobPhase, JobRecord, Stall};
use crate::launch::{Launch, LaunchErrorKind};
use crate::machine::{Machine, MachinePhase, Purpose};
use crate::time::Timestamp;

/// How long a runner's word that it has a job counts without GitHub's. GitHub's webhooks are seconds late as a rule; past
/// this the job's event was lost, or the runner was wrong.
pub const UNMATCHED_MAX: Duration = Duration::from_secs(300);

impl World {
    /// Takes in a job's record as it now is. A job that is over leaves the world.
    pub fn put_job(&mut self, record: JobRecord, config: &FleetConfig) {
        let former = self.jobs.remove(&record.key);
        if let Some(former) = &former {
            self.index_job(former, Change::Out);
        }
        if record.phase() == JobPhase::Completed {
            return;
        }
        let served = match former {
            Some(former) if former.record.about == record.about => former.served,
            Some(_) | None => World::resolve(&record, config),
        };
        self.place_job(LiveJob { record, served });
    }

    /// Resolves all jobs anew: the configuration has changed.
    pub fn reconfigure(&mut self, config: &FleetConfig) {
        // What was wrong about a launch may be mended now.
        self.holds.retain(|_, hold| hold.kind != LaunchErrorKind::Configuration);
        for job in std::mem::take(&mut self.jobs).into_values() {
            self.index_job(&job, Change::Out);
            let served = World::resolve(&job.record, config);
            self.place_job(LiveJob { served, ..job });
        }
    }

    fn place_job(&mut self, job: LiveJob) {
        self.index_job(&job, Change::In);
        self.jobs.insert(job.record.key, job);
    }

    /// Notes that a job was found stalled once more.
    pub fn stall_job(&mut self, key: JobKey, stall: Stall) -> Option<JobRecord> {
        let mut job = self.jobs.remove(&key)?;
        self.index_job(&job, Change::Out);
        job.record.stall = Some(stall);
        let record = job.record.clone();
        self.place_job(job);
        Some(record)
    }

    fn index_job(&mut self, job: &LiveJob, change: Change) {
        for runner in job.record.runners() {
            let entry = (runner.name.clone(), job.record.key);
            match change {
                Change::In => self.runners.insert(entry),
                Change::Out => self.runners.remove(&entry),
            };
        }
        let Resolution::Class(class) = &job.served else { return };
        if let Some(stall) = job.record.stall.filter(|_| job.record.is_unservable()) {
            let entry = (stall.at, job.record.key);
            match change {
                Change::In => self.unservable.insert(entry),
                Change::Out => self.unservable.remove(&entry),
            };
            return;
        }
        if job.record.phase() == JobPhase::Waiting {
            return;
        }
        let repository = &job.record.about.repository;
        let class = self.class_mut(&class.id);
        match (job.record.phase(), change) {
            (JobPhase::Queued, Change::In) => {
                class.queued.insert(job.place_in_queue(), repository.clone());
            }
            (JobPhase::Queued, Change::Out) => {
                class.queued.remove(&job.place_in_queue());
            }
            (JobPhase::Running, Change::In) => {
                class.running += 1;
                *self.running.entry(repository.clone()).or_default() += 1;
            }
            (JobPhase::Running, Change::Out) => {
                class.running -= 1;
                if let Some(running) = self.running.get_mut(repository) {
                    *running -= 1;
                    if *running == 0 {
                        self.running.remove(repository);
                    }
                }
            }
            (JobPhase::Waiting | JobPhase::Completed, _) => {}
        }
    }

    /// Takes in an unsettled launch: it counts as if its machines existed.
    pub fn put_launch(&mut self, launch: Launch) {
        self.settle_launch(&launch.id);
        self.count_machines(&launch.purpose, launch.count, Change::In);
        self.class_mut(&launch.purpose.class).launching += launch.count;
        self.launches.insert(launch.id.clone(), launch);
    }

    /// A launch's outcome is known: it no longer counts by itself.
    pub fn settle_launch(&mut self, id: &LaunchId) -> Option<Launch> {
        let launch = self.launches.remove(id)?;
        self.count_machines(&launch.purpose, launch.count, Change::Out);
        self.class_mut(&launch.purpose.class).launching -= launch.count;
        Some(launch)
    }

    /// Takes in a machine as it now is.
    pub fn put_machine(&mut self, machine: Machine) {
        self.forget_machine(&machine.instance);
        self.index_machine(&machine, Change::In);
        self.machines.insert(machine.instance.clone(), machine);
    }

    /// Changes a machine. `None` if there is none.
    pub fn change_machine<T>(&mut self, instance: &InstanceId, change: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let mut machine = self.forget_machine(instance)?;
        let out = change(&mut machine);
        self.put_machine(machine);
        Some(out)
    }

    /// Forgets a machine.
    pub fn forget_machine(&mut self, instance: &InstanceId) -> Option<Machine> {
        let machine = self.machines.remove(instance)?;
        self.index_machine(&machine, Change::Out);
        Some(machine)
    }

    /// GitHub has named the job of a machine. `true` if that is news. A runner runs one job; were two named, the first
    /// would count, whichever came first.
    pub fn match_job(&mut self, instance: &InstanceId, job: JobKey) -> bool {
        let known = self.machines.get(instance).map(|machine| machine.job);
        let news = known.is_some_and(|known| known.is_none_or(|known| job < known));
        news && self.change_machine(instance, |machine| machine.job = Some(job)).is_some()
    }

    /// Stops believing unmatched reports that are older than [`UNMATCHED_MAX`], for good.
    pub fn expire_unmatched(&mut self, now: Timestamp) {
        self.believed_from = self.believed_from.max(now - UNMATCHED_MAX);
        for class in self.classes.values_mut() {
            while class.unmatched.first().is_some_and(|(at, _)| *at < self.believed_from) {
                class.unmatched.pop_first();
            }
        }
    }

    fn index_machine(&mut self, machine: &Machine, change: Change) {
        let (place, at) = Place::of(machine);
        change.apply(self.set(&machine.purpose.class, place), (at, machine.instance.clone()));
        if matches!(place, Place::Ready | Place::Between) && machine.may_register() {
            let granted = &mut self.class_mut(&machine.purpose.class).granted;
            match change {
                Change::In => *granted += 1,
                Change::Out => *granted -= 1,
            }
        }
        if let Some(at) = machine.unmatched_since().filter(|at| *at >= self.believed_from) {
            let unmatched = &mut self.class_mut(&machine.purpose.class).unmatched;
            change.apply(unmatched, (at, machine.instance.clone()));
        }
        if let Some(at) = machine.overstays_since() {
            let overstaying = &mut self.class_mut(&machine.purpose.class).overstaying;
            change.apply(overstaying, (at, machine.instance.clone()));
        }
        if machine.is_live() {
            self.count_machines(&machine.purpose, 1, change);
        }
    }

    fn set(&mut self, class: &ClassId, place: Place) -> &mut BTreeSet<Since> {
        match place {
            Place::Frozen => &mut self.frozen,
            Place::Ended => &mut self.ended,
            Place::Ending => &mut self.ending,
            Place::Gone => &mut self.gone,
            Place::Booting => &mut self.class_mut(class).booting,
            Place::Ready => &mut self.class_mut(class).ready,
            Place::Registering => &mut self.class_mut(class).registering,
            Place::Idle => &mut self.class_mut(class).idle,
            Place::Between => &mut self.class_mut(class).between,
            Place::Draining => &mut self.class_mut(class).draining,
            Place::Busy => &mut self.class_mut(class).busy,
            Place::Doomed => &mut self.class_mut(class).doomed,
        }
    }

    fn count_machines(&mut self, purpose: &Purpose, count: u32, change: Change) {
        let price = purpose.price.times(count);
        let load = self.zone_load.entry((purpose.shape.clone(), purpose.zone.clone())).or_default();
        let pool = self.pools.entry(purpose.pool.clone()).or_default();
        match change {
            Change::In => {
                *load += count;
                for totals in [pool, &mut self.totals] {
                    totals.machines += count;
                    totals.price = totals.price + price;
                }
            }
            Change::Out => {
                *load -= count;
                for totals in [pool, &mut self.totals] {
                    totals.machines -= count;
                    totals.price = totals.price - price;
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Change {
    In,
    Out,
}

impl Change {
    fn apply(self, set: &mut BTreeSet<Since>, entry: Since) {
        match self {
            Change::In => set.insert(entry),
            Change::Out => set.remove(&entry),
        };
    }
}

/// The set that a machine stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Booting,
    Ready,
    Registering,
    Idle,
    Draining,
    Frozen,
    Busy,
    Between,
    /// Not busy, and the cloud will take it or recommends to leave it, or GitHub does not see its listener.
    Doomed,
    Ended,
    Ending,
    Gone,
}

impl Place {
    fn of(machine: &Machine) -> (Place, Timestamp) {
        let (place, at) = match machine.phase() {
            MachinePhase::Booting(at) => (Place::Booting, at),
            MachinePhase::Ready(at) => (Place::Ready, at),
            MachinePhase::Registering(at) => (Place::Registering, at),
            MachinePhase::Idle(at) => (Place::Idle, at),
            MachinePhase::Busy(at) => return (Place::Busy, at),
            MachinePhase::Draining(at) => return (Place::Draining, at),
            MachinePhase::Frozen(at) => return (Place::Frozen, at),
            MachinePhase::Between(at) => return (Place::Between, at),
            MachinePhase::Ended(at) => return (Place::Ended, at),
            MachinePhase::Ending(at) => return (Place::Ending, at),
            MachinePhase::Gone(at) => return (Place::Gone, at),
        };
        // What is on its way to a job may still get there; only what waits for one is better replaced in time.
        let waits = matches!(place, Place::Idle | Place::Ready);
        let better_replaced = machine.rebalance_at.is_some() || machine.told.unseen_at.is_some();
        let doomed = machine.interrupted_at.is_some() || (waits && better_replaced);
        if doomed { (Place::Doomed, at) } else { (place, at) }
    }
}
