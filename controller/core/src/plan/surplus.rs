//! Surplus: idle machines that nobody needs are drained, and standby stock follows its bounds.
//!
//! Invariant: as many idle machines as there are untaken jobs are left alone: one of them is about to get each job.

use std::time::Duration;

use super::demand::Wants;
use super::reason::Reason;
use super::{Action, Plan, Policy};
use crate::config::FleetConfig;
use crate::ids::ClassId;
use crate::time::Timestamp;
use crate::world::{World, count};

/// How long an idle machine between the bounds' `min` and `max` is kept: EC2 bills at least 60 s of every start.
pub const IDLE_LINGER: Duration = Duration::from_secs(60);

/// Drains what is too much, and at a cap also what is idle elsewhere: queued demand outranks every idle target.
pub(super) fn drain(
    plan: &mut Plan,
    world: &World,
    wants: &[Wants],
    policy: Policy,
    unmet: Option<(ClassId, u32)>,
    now: Timestamp,
) {
    let (waiting, mut room_wanted) = unmet.map_or((None, 0), |(class, count)| (Some(class), count));
    // Lowest priority first gives way; drains already under way make room too.
    room_wanted = room_wanted.saturating_sub(world.classes().map(|(_, state)| count(state.draining.len())).sum());
    for want in wants.iter().rev() {
        let Some(state) = world.class(&want.class.id) else { continue };
        let idle = count(state.idle.len());
        let untaken = want.need().min(idle);
        let free = idle - untaken;
        let beyond = want.supply.saturating_sub(want.need() + want.target).min(free);
        let keep_for_a_while = match policy {
            Policy::Cold | Policy::Fixed(_) => 0,
            Policy::Target => want.idle_max.saturating_sub(want.target),
        };
        let mut drained = 0;
        for (place, (since, instance)) in (0u32..).zip(&state.idle) {
            if place >= free {
                break;
            }
            let Some(machine) = world.machine(instance) else { continue };
            let reason = if drained < beyond {
                let lingers = beyond - drained <= keep_for_a_while && now.since(*since) < IDLE_LINGER;
                if lingers && room_wanted == 0 {
                    plan.wake_after(*since, IDLE_LINGER);
                    break; // They come by age: the rest is younger.
                }
                Reason::Surplus { idle, wanted: idle - beyond }
            } else if room_wanted > 0 {
                match &waiting {
                    Some(waiting) => Reason::MakesRoom { waiting: waiting.clone() },
                    None => break,
                }
            } else {
                break;
            };
            room_wanted = room_wanted.saturating_sub(1);
            drained += 1;
            plan.act(Action::Drain { instance: instance.clone(), number: machine.next_drain_order() }, reason);
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

/// Brings standby stock to the lower bound that holds now.
pub(super) fn stock(plan: &mut Plan, world: &World, config: &FleetConfig, now: Timestamp) {
    for (shape, standby) in config.bounds_at(now).standby_shapes() {
        let size = standby.bounds.min;
        if world.stock_wanted(shape) != size {
            plan.act(Action::SetStandby { shape: shape.clone(), size }, Reason::StandbyBounds);
        }
    }
}
