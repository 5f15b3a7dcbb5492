//! Hot and ready: which claimed machines register, which wait a mint away, and which may claim again.
//!
//! Where GitHub removes idle registrations, what is not needed by a job is made hot within a budget ([`crate::hot`]), and
//! waits *ready* beyond it. A listener that was removed ends by itself, and its machine has no right to the next session
//! before a plan gives it: so it comes back hot or ready, as there is room then.
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
use crate::world::{ClassWorld, Since, World};

/// Machines of these without the right to register, the oldest first.
fn held<'a>(
    world: &'a World,
    machines: impl IntoIterator<Item = &'a Since> + 'a,
) -> impl Iterator<Item = &'a Machine> + 'a {
    let machines = machines.into_iter().filter_map(|(_, instance)| world.machine(instance));
    machines.filter(|machine| !machine.may_register())
}

/// Gives the right to register: to as many as jobs need now, and to as many as the idle target and the limit allow. Ends
/// those that nobody needs; returns how many, for each of the wants. `room` is how many may be made hot for idle targets.
pub(super) fn settle_ready(
    plan: &mut Plan,
    world: &World,
    wants: &[Wants],
    room: &mut u32,
    now: Timestamp,
) -> Vec<u32> {
    wants.iter().map(|want| settle_class(plan, world, want, room, now)).collect()
}

fn settle_class(plan: &mut Plan, world: &World, want: &Wants, room: &mut u32, now: Timestamp) -> u32 {
    let Some(state) = world.class(&want.class.id) else { return 0 };
    let hot = state.hot();
    let for_jobs = want.need().saturating_sub(hot);
    let hot_wanted = (want.need() + want.target).saturating_sub(hot.max(want.need()));
    let for_target = hot_wanted.min(*room);
    let beyond = want.supply.saturating_sub(want.need() + want.target);
    let ended = end_between(plan, world, state, beyond, now);
    // One that waits ready has claimed already.
    let mut waits = held(world, &state.ready).chain(held(world, state.between.iter().skip(ended as usize)));
    for machine in waits.by_ref().take(for_jobs as usize) {
        let instance = machine.instance.clone();
        let reason = Reason::Demand { queued: want.queued, taken: want.taken, supply: want.supply };
        plan.act(Action::Register { instance }, reason);
    }
    for machine in waits.by_ref().take(for_target as usize) {
        *room -= 1;
        let instance = machine.instance.clone();
        plan.act(Action::Register { instance }, Reason::IdleTarget { target: want.target, spare: want.spare() });
    }
    if let Some(more) = world.hot_room().filter(|_| hot_wanted > for_target) {
        plan.wake(more.more_at);
    }
    let ready = waits.take_while(|machine| machine.told.done.is_none());
    let mut unneeded = 0;
    for machine in ready.take(beyond.saturating_sub(ended) as usize) {
        unneeded += 1;
        plan.act(Action::Terminate { instance: machine.instance.clone() }, Reason::Unneeded);
    }
    ended + unneeded
}

/// Ends machines whose listener ended without a job: those that nobody needs, and those that do not claim again. Returns how
/// many; they are the oldest.
fn end_between(plan: &mut Plan, world: &World, state: &ClassWorld, beyond: u32, now: Timestamp) -> u32 {
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
    ended
}
