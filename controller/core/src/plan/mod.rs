//! The planner: what to do next, from what is known. Pure.
//!
//! In order: finish what has ended (`endings`), answer drains (`endings`), work out what each class is short of
//! (`demand`), launch it under the caps (`launches`), send home what nobody needs (`surplus`), keep the standby stock.
//!
//! Invariant: demand is a count per class, never a job-to-machine pair: GitHub hands a job to any idle runner whose labels
//! cover it.

mod demand;
mod endings;
mod fairness;
mod launches;
mod reason;
mod sources;
mod stalls;
mod surplus;
mod tiers;

use std::fmt;
use std::time::Duration;

pub use demand::Wants;
pub use endings::{
    BOOT_MAX, CLAIM_AGAIN_MAX, DRAIN_ANSWER_MAX, END_REPEAT, OTHER_BOOT_MAX, OVERSTAY_MAX, REGISTER_MAX, REMOVE_WITHIN,
    THAWS_AFTER,
};
pub use reason::{Reason, Wait};
pub use stalls::{STALLED_AFTER, STALLS_AT_ONCE, UNSERVABLE_FOR};
use surplus::Done;
pub use surplus::IDLE_LINGER;

use crate::config::FleetConfig;
use crate::ids::{ClassId, InstanceId, JobKey, RunnerId, ShapeId};
use crate::job::STALL_ROUNDS_MAX;
use crate::launch::Launch;
use crate::ports::Switch;
use crate::time::Timestamp;
use crate::world::World;

/// How many idle runners to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// None: launch for queued jobs only.
    Cold,
    /// So many in each class, from its first queued job on.
    Fixed(u32),
    /// What the configuration's bounds and schedules say.
    Target,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch machines.
    Launch(Launch),
    /// Ask an idle runner's agent to freeze.
    Drain {
        /// The machine.
        instance: InstanceId,
        /// The drain's number.
        number: u32,
    },
    /// Remove a frozen runner's registration: the second key.
    Remove {
        /// The machine.
        instance: InstanceId,
        /// Its registration.
        runner: RunnerId,
    },
    /// The registration is gone: let the agent end its frozen listener.
    Kill {
        /// The machine.
        instance: InstanceId,
        /// The drain's number.
        number: u32,
    },
    /// The runner has a job: let the listener run.
    Thaw {
        /// The machine.
        instance: InstanceId,
        /// The drain's number.
        number: u32,
    },
    /// Give up a drain that nobody answered; the agent thaws by itself.
    CloseDrain {
        /// The machine.
        instance: InstanceId,
    },
    /// End an instance, with decrement.
    Terminate {
        /// The machine.
        instance: InstanceId,
    },
    /// Let a *ready* machine register.
    Register {
        /// The machine.
        instance: InstanceId,
    },
    /// Note that a job is stalled, for the `round`-th time; the last round makes it unservable.
    Stall {
        /// The job.
        job: JobKey,
        /// Which round, from 1.
        round: u32,
    },
    /// Forget a machine that is gone and matched.
    Forget {
        /// The machine.
        instance: InstanceId,
    },
    /// Bring a shape's standby stock to a size.
    SetStandby {
        /// The shape.
        shape: ShapeId,
        /// How many machines.
        size: u32,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Launch(l) => {
                let origin = match l.purpose.origin {
                    crate::machine::Origin::Cold => "launch",
                    crate::machine::Origin::Standby => "start from standby",
                };
                let wait = if l.may_register { "" } else { " to wait ready" };
                write!(
                    f,
                    "{origin} {} x {} ({} in {}){wait}",
                    l.count, l.purpose.class, l.purpose.shape, l.purpose.zone
                )
            }
            Action::Drain { instance, number } => write!(f, "drain {instance} #{number}"),
            Action::Remove { instance, runner } => write!(f, "remove registration {runner} of {instance}"),
            Action::Kill { instance, number } => write!(f, "kill the frozen listener of {instance} #{number}"),
            Action::Thaw { instance, number } => write!(f, "thaw {instance} #{number}"),
            Action::CloseDrain { instance } => write!(f, "give up draining {instance}"),
            Action::Terminate { instance } => write!(f, "terminate {instance}"),
            Action::Register { instance } => write!(f, "register {instance}"),
            Action::Stall { job, round } if *round >= STALL_ROUNDS_MAX => write!(f, "give up on job {job}: unservable"),
            Action::Stall { job, round } => write!(f, "note that job {job} is stalled, round {round}"),
            Action::Forget { instance } => write!(f, "forget {instance}"),
            Action::SetStandby { shape, size } => write!(f, "keep {size} x {shape} on standby"),
        }
    }
}

/// An action and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// What to do, and what has to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// Classes that are short of machines and do not get them now, how many, and why.
    pub waits: Vec<(ClassId, u32, Wait)>,
    /// When to look again even if nothing is heard until then.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    fn act(&mut self, action: Action, reason: Reason) {
        self.steps.push(Step { action, reason });
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    /// Wakes when `limit` has passed since `since`, if that is still to come.
    fn wake_after(&mut self, since: Timestamp, limit: Duration) {
        self.wake(since + limit + Duration::from_millis(1));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{}: {}", step.action, step.reason)?;
        }
        for (class, count, wait) in &self.waits {
            writeln!(f, "wait with {count} x {class}: {wait}")?;
        }
        match self.wake_at {
            Some(at) => writeln!(f, "wake at {at}"),
            None => writeln!(f, "wake when something is heard"),
        }
    }
}

/// Plans. The same arguments give the same plan.
pub fn plan(world: &World, config: &FleetConfig, policy: Policy, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if world.switch() == Switch::Freeze {
        let wants = demand::wants(world, config, policy, &config.bounds_at(now));
        let short = wants.iter().filter(|want| want.short() > 0);
        plan.waits.extend(short.map(|want| (want.class.id.clone(), want.short(), Wait::Frozen)));
        return plan;
    }
    endings::finish(&mut plan, world, config, now);
    endings::answer_drains(&mut plan, world, now);
    endings::overdue(&mut plan, world, config, now);
    let bounds = config.bounds_at(now);
    let wants = demand::wants(world, config, policy, &bounds);
    demand::wake_when_disbelieved(&mut plan, world, &wants, now);
    let replaced = stalls::note(&mut plan, world, &wants, now);
    let mut hot_room = world.hot_room().map_or(u32::MAX, |room| room.runners);
    let ended = tiers::settle_ready(&mut plan, world, &wants, &mut hot_room, now);
    let unmet = launches::launch(&mut plan, world, config, &wants, hot_room, now);
    surplus::drain(&mut plan, world, &wants, &Done { ended, replaced }, (policy, config), unmet, now);
    surplus::retire(&mut plan, world, config);
    if policy == Policy::Target {
        surplus::stock(&mut plan, world, &bounds);
        if bounds.until < Timestamp::MAX {
            plan.wake(bounds.until);
        }
    }
    plan
}
