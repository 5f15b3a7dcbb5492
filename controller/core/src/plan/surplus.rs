//! Surplus: idle machines that nobody needs are drained, and standby stock follows its bounds.
//!
//! Invariant: as many idle machines as there are untaken jobs are left alone: one of them is about to get each job.

use std::collections::BTreeSet;
use std::time::Duration;

use super::demand::Wants;
use super::launches::Unmet;
use super::reason::Reason;
use super::{Action, Plan, Policy};
use crate::config::{BoundsAt, FleetConfig, Standby};
use crate::ids::{ClassId, InstanceId, PoolName};
use crate::ports::Switch;
use crate::time::Timestamp;
use crate::world::{World, count};

/// How long an idle machine between the bounds' `min` and `max` is kept: EC2 bills at least 60 s of every start.
pub const IDLE_LINGER: Duration = Duration::from_secs(60);

/// What earlier parts of the plan have done to machines that nobody needs.
pub(super) struct Done {
    /// Ready machines ended, for each of the wants.
    pub(super) ended: Vec<u32>,
    /// Idle runners that are drained because jobs are stalled beside them.
    pub(super) replaced: BTreeSet<InstanceId>,
}

/// Drains what is too much beyond what is done already, and at a cap also what is idle elsewhere: queued demand outranks every idle target.
pub(super) fn drain(
    plan: &mut Plan,
    world: &World,
    wants: &[Wants],
    done: &Done,
    policy: Policy,
    unmet: Vec<Unmet>,
    now: Timestamp,
) {
    let mut room = RoomWanted::new(world, unmet);
    // Lowest priority first gives way.
    for (want, ended) in wants.iter().zip(&done.ended).rev() {
        let Some(state) = world.class(&want.class.id) else {
            continue;
        };
        let idle = count(state.idle.len());
        let untaken = want.need().min(idle);
        let free = idle - untaken;
        let beyond = want.supply.saturating_sub(want.need() + want.target + ended).min(free);
        let keep_for_a_while = match policy {
            Policy::Cold | Policy::Fixed(_) => 0,
            Policy::Target => want.idle_max.saturating_sub(want.target),
        };
        let mut drained = 0;
        for (place, (since, instance)) in (0u32..).zip(&state.idle) {
            if place >= free {
                break;
            }
            let Some(machine) = world.machine(instance).filter(|_| !done.replaced.contains(instance)) else {
                continue;
            };
            let reason = if drained < beyond {
                let lingers = beyond - drained <= keep_for_a_while && now.since(*since) < IDLE_LINGER;
                if lingers && room.waiting(&want.class.pool).is_none() {
                    plan.wake_after(*since, IDLE_LINGER);
                    break; // They come by age: the rest is younger.
                }
                Reason::Surplus { idle, wanted: idle - beyond }
            } else if let Some(waiting) = room.waiting(&want.class.pool) {
                Reason::MakesRoom { waiting: waiting.clone() }
            } else {
                break;
            };
            room.made_in(&want.class.pool);
            drained += 1;
            plan.act(Action::Drain { instance: instance.clone(), number: machine.next_drain_order() }, reason);
        }
    }
}

/// Room that jobs at a cap still wait for.
struct RoomWanted(Vec<Unmet>);

impl RoomWanted {
    /// What is wanted beyond the room that machines on their way out will make.
    fn new(world: &World, unmet: Vec<Unmet>) -> RoomWanted {
        let mut room = RoomWanted(unmet);
        if !room.0.is_empty() {
            let by_class = world.classes().flat_map(|(_, state)| state.draining.iter().chain(&state.doomed));
            let by_class = by_class.filter_map(|(_, instance)| world.machine(instance));
            for leaving in by_class.chain(world.frozen()).chain(world.ended()).chain(world.ending()) {
                room.made_in(&leaving.purpose.pool);
            }
        }
        room
    }

    fn first(&mut self, pool: &PoolName) -> Option<&mut Unmet> {
        let helps = |unmet: &&mut Unmet| unmet.count > 0 && unmet.pool.as_ref().is_none_or(|capped| capped == pool);
        self.0.iter_mut().find(helps)
    }

    /// The class whose jobs would have the room of a machine of this pool.
    fn waiting(&mut self, pool: &PoolName) -> Option<&ClassId> {
        self.first(pool).map(|unmet| &unmet.class)
    }

    /// A machine of this pool goes.
    fn made_in(&mut self, pool: &PoolName) {
        if let Some(unmet) = self.first(pool) {
            unmet.count -= 1;
        }
    }
}

/// Sends home the machines of classes that the configuration no longer has. Busy ones end with their jobs.
pub(super) fn retire(plan: &mut Plan, world: &World, config: &FleetConfig) {
    for (_, state) in world.classes().filter(|(id, _)| config.class(id).is_none()) {
        for machine in state.idle.iter().filter_map(|(_, instance)| world.machine(instance)) {
            let (instance, number) = (machine.instance.clone(), machine.next_drain_order());
            plan.act(Action::Drain { instance, number }, Reason::ClassRemoved);
        }
        for (_, instance) in &state.ready {
            plan.act(Action::Terminate { instance: instance.clone() }, Reason::ClassRemoved);
        }
    }
}

/// Brings standby stock to the lower bound that holds now; what no bound names any more goes.
pub(super) fn stock(plan: &mut Plan, world: &World, bounds: &BoundsAt) {
    let kept = bounds.standby_shapes().map(|(shape, standby)| (shape, standby.bounds.min));
    let left_over = world.stocks().filter(|(shape, stock)| *stock > 0 && bounds.standby(shape) == Standby::NONE);
    let launches = world.switch() == Switch::Run;
    for (shape, size) in kept.chain(left_over.map(|(shape, _)| (shape, 0))) {
        // A larger stock is a launch.
        if world.stock_wanted(shape) != size && (launches || size <= world.stock(shape)) {
            plan.act(Action::SetStandby { shape: shape.clone(), size }, Reason::StandbyBounds);
        }
    }
}
