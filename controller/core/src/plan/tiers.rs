//! Hot and ready: which claimed machines register, which wait a mint away, and which may claim again.
//!
//! Invariant: a machine that waits *ready* has no right to a registration until a plan gives it one, so it can be ended
//! without a drain. So can one whose listener ended by itself: this is the drain that costs nothing, since no job can
//! reach it before it claims again.

use super::demand::Wants;
use super::endings::{AGAIN, CLAIM_AGAIN_MAX};
use super::reason::Reason;
use super::{Action, Plan};
use crate::machine::Machine;
use crate::time::Timestamp;
use crate::world::{ClassWorld, World, count};

/// Machines of a class that wait *ready* without the right to register, the oldest first.
pub(super) fn held<'a>(world: &'a World, state: &'a ClassWorld) -> impl Iterator<Item = &'a Machine> {
    let ready = state.ready.iter().filter_map(|(_, instance)| world.machine(instance));
    ready.filter(|machine| !machine.may_register)
}

/// How many more runners may be hot for an idle target.
pub(super) fn hot_room(world: &World) -> u32 {
    let Some(max) = world.hot_max() else { return u32::MAX };
    let hot = world.classes().map(|(_, state)| count(state.idle.len()) + count(state.registering.len())).sum();
    max.saturating_sub(hot)
}

/// Gives the right to register: to as many as jobs need now, and to as many as the idle target and the limit allow. Ends
/// those that nobody needs; returns how many, for each of the wants.
pub(super) fn settle_ready(plan: &mut Plan, world: &World, wants: &[Wants], now: Timestamp) -> Vec<u32> {
    let mut room = hot_room(world);
    wants.iter().map(|want| settle_class(plan, world, want, &mut room, now)).collect()
}

fn settle_class(plan: &mut Plan, world: &World, want: &Wants, room: &mut u32, now: Timestamp) -> u32 {
    let Some(state) = world.class(&want.class.id) else { return 0 };
    let hot = count(state.idle.len()) + count(state.registering.len());
    let for_jobs = want.need().saturating_sub(hot);
    let for_target = (want.need() + want.target).saturating_sub(hot.max(want.need())).min(*room);
    let beyond = want.supply.saturating_sub(want.need() + want.target);
    let mut held = held(world, state).map(|machine| machine.instance.clone());
    for instance in held.by_ref().take(for_jobs as usize) {
        let reason = Reason::Demand { queued: want.queued, taken: want.taken, supply: want.supply };
        plan.act(Action::Register { instance }, reason);
    }
    for instance in held.by_ref().take(for_target as usize) {
        *room -= 1;
        plan.act(Action::Register { instance }, Reason::IdleTarget { target: want.target, spare: want.spare() });
    }
    let mut ended = 0;
    for (since, instance) in &state.between {
        let since = world.watched_from().max(*since);
        if ended >= beyond && now.since(since) <= CLAIM_AGAIN_MAX {
            plan.wake_after(since, CLAIM_AGAIN_MAX);
            break; // They come by age: the rest is younger.
        }
        let wanted = ended >= beyond;
        if wanted {
            // It was supply: what it leaves short is seen by the next plan.
            plan.wake(now + AGAIN);
        }
        ended += 1;
        let reason = if wanted { Reason::NoAnswer } else { Reason::EndedIdle };
        plan.act(Action::Terminate { instance: instance.clone() }, reason);
    }
    for instance in held.take(beyond.saturating_sub(ended) as usize) {
        ended += 1;
        plan.act(Action::Terminate { instance }, Reason::Unneeded);
    }
    ended
}
