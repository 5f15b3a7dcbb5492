//! Hot and ready: which claimed machines register, which wait a mint away, and which may claim again.
//!
//! Where GitHub removes idle registrations, what is not needed by a job is made hot within a budget ([`crate::hot`]), and
//! waits *ready* beyond it. A listener that was removed ends by itself, and its machine has no right to the next session
//! before a plan gives it: so it comes back hot or ready, as there is room then.
//!
//! Invariant: a machine that waits *ready* has no right to a registration until a plan gives it one, so it can be ended
//! without a drain. So can one whose listener ended by itself: this is the drain that costs nothing, since no job can
//! reach it before it claims again. As many as are wanted hot are hot, or keep the right to be.

use std::collections::{BTreeSet, VecDeque};

use super::demand::Wants;
use super::endings::{AGAIN, CLAIM_AGAIN_MAX, REGISTER_MAX};
use super::reason::Reason;
use super::{Action, Plan};
use crate::machine::Machine;
use crate::time::Timestamp;
use crate::world::{ClassWorld, Since, World, count};

/// The machines of a set, the oldest first.
fn of<'a>(world: &'a World, set: &'a BTreeSet<Since>) -> impl DoubleEndedIterator<Item = (Timestamp, &'a Machine)> {
    set.iter().filter_map(|(at, instance)| Some((*at, world.machine(instance)?)))
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
    let wanted = want.need() + want.target;
    let beyond = want.supply.saturating_sub(wanted);
    let silent = end_silent(plan, world, state, beyond, now);
    let between: Vec<&Machine> = of(world, &state.between).map(|(_, machine)| machine).skip(silent.len()).collect();
    let lost = silent.iter().filter(|machine| machine.may_register()).count();
    let mut hot = state.hot().saturating_sub(count(lost));

    let for_jobs = want.need().saturating_sub(hot);
    let hot_wanted = wanted.saturating_sub(hot.max(want.need()));
    let for_target = hot_wanted.min(*room);
    // One that waits ready has claimed already, so it registers first and ends last; of equals the oldest ends.
    let held = |machine: &&Machine| !machine.may_register();
    let ready = of(world, &state.ready).map(|(_, machine)| machine);
    let mut waits: VecDeque<&Machine> = between.iter().copied().chain(ready).filter(held).rev().collect();
    for machine in waits.drain(..waits.len().min(for_jobs as usize)) {
        hot += 1;
        let reason = Reason::Demand { queued: want.queued, taken: want.taken, supply: want.supply };
        plan.act(Action::Register { instance: machine.instance.clone() }, reason);
    }
    for machine in waits.drain(..waits.len().min(for_target as usize)) {
        hot += 1;
        *room -= 1;
        let reason = Reason::IdleTarget { target: want.target, spare: want.spare() };
        plan.act(Action::Register { instance: machine.instance.clone() }, reason);
    }

    let mut ended = count(silent.len());
    while ended < beyond
        && let Some(machine) = waits.pop_back()
    {
        ended += 1;
        plan.act(Action::Terminate { instance: machine.instance.clone() }, unneeded(machine));
    }
    if let Some(more) = world.hot_room().filter(|_| hot_wanted > for_target && !waits.is_empty()) {
        plan.wake(more.more_at);
    }
    let beyond = beyond.saturating_sub(ended);
    // Up to the upper bound they may linger, as idle ones do.
    let lingering = want.need().saturating_add(want.idle_max.max(want.target));
    let at_once = beyond.min(hot.saturating_sub(lingering));
    let mut granted = 0;
    for machine in between.iter().copied().filter(|machine| machine.may_register()).take(at_once as usize) {
        granted += 1;
        plan.act(Action::Terminate { instance: machine.instance.clone() }, Reason::EndedIdle);
    }
    ended
        + granted
        + end_unregistered(plan, world, state, beyond.min(hot.saturating_sub(wanted)).saturating_sub(granted), now)
}

fn unneeded(machine: &Machine) -> Reason {
    if machine.told.done.is_some() { Reason::EndedIdle } else { Reason::Unneeded }
}

/// Ends machines that wait for a registration that they have the right to and that nobody needs any more, at most `most`;
/// returns how many. One gets it within moments as a rule, and is then drained like any other. If GitHub gives none for as long
/// as a listener may take to appear, it ends here: its end, once committed, is seen by the registrar before it hands out a
/// configuration.
fn end_unregistered(plan: &mut Plan, world: &World, state: &ClassWorld, most: u32, now: Timestamp) -> u32 {
    let granted = of(world, &state.ready).filter(|(_, machine)| machine.may_register());
    let mut ended = 0;
    for (since, machine) in granted.take(most as usize) {
        let since = world.watched_from().max(since);
        if now.since(since) <= REGISTER_MAX {
            plan.wake_after(since, REGISTER_MAX);
            break; // They come by age: the rest is younger.
        }
        ended += 1;
        plan.act(Action::Terminate { instance: machine.instance.clone() }, Reason::Unneeded);
    }
    ended
}

/// Ends machines whose listener ended without a job and that do not claim again; they are the oldest. `beyond` of them are
/// no loss.
fn end_silent<'a>(
    plan: &mut Plan,
    world: &'a World,
    state: &'a ClassWorld,
    beyond: u32,
    now: Timestamp,
) -> Vec<&'a Machine> {
    let mut silent = Vec::new();
    for (since, machine) in of(world, &state.between) {
        let since = world.watched_from().max(since);
        if now.since(since) <= CLAIM_AGAIN_MAX {
            plan.wake_after(since, CLAIM_AGAIN_MAX);
            break; // They come by age: the rest is younger.
        }
        let was_wanted = count(silent.len()) >= beyond;
        if was_wanted {
            // It was supply: what it leaves short is seen by the next plan.
            plan.wake(now + AGAIN);
        }
        silent.push(machine);
        let reason = if was_wanted { Reason::NoAnswer } else { Reason::EndedIdle };
        plan.act(Action::Terminate { instance: machine.instance.clone() }, reason);
    }
    silent
}
