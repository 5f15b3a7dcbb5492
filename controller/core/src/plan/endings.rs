//! Endings: machines that are over, drains under way, and deadlines that have passed.
//!
//! Invariant: a machine with a job ends by nothing here but its pool's `max_job_hours`, or GitHub's word that the job is over.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Action, Plan, Reason};
use crate::config::limits::JOB_HOURS_MAX;
use crate::config::{FleetConfig, Os};
use crate::machine::{Machine, MachinePhase, Removal};
use crate::time::Timestamp;
use crate::world::{Since, UNMATCHED_MAX, World};

/// How long a Linux machine may take from launch to claim. Cold starts take a minute or two; ten is a broken image.
pub const BOOT_MAX: Duration = Duration::from_secs(600);
/// The same for Windows and macOS, which boot in minutes (macOS: 6 to 20).
pub const OTHER_BOOT_MAX: Duration = Duration::from_secs(2400);
/// How long from a mint to a listening runner. The listener's own session retries end after 4 minutes.
pub const REGISTER_MAX: Duration = Duration::from_secs(360);
/// How long after its listener ended without a job an agent may take to claim again: seconds, as a rule.
pub const CLAIM_AGAIN_MAX: Duration = Duration::from_secs(60);
/// How long after the end of its job, as GitHub has it, a machine is left alone. Its agent tells the end itself within seconds, or
/// minutes while the door is away; one that does not is broken, or is no longer its own master.
pub const OVERSTAY_MAX: Duration = Duration::from_secs(600);
/// How long a drain may go unanswered: longer than the agent's own 20 s, so that it has thawed by then.
pub const DRAIN_ANSWER_MAX: Duration = Duration::from_secs(60);
/// After this long without an answer a frozen agent thaws by itself, and its listener may get a job.
pub const THAWS_AFTER: Duration = Duration::from_secs(20);
/// How long after freezing GitHub may still be asked to remove the registration: the request takes its time too.
pub const REMOVE_WITHIN: Duration = Duration::from_secs(10);
const _: () =
    assert!(REMOVE_WITHIN.as_secs() * 2 <= THAWS_AFTER.as_secs() && THAWS_AFTER.as_secs() < DRAIN_ANSWER_MAX.as_secs());
/// A plan that takes machines from what jobs count on, or gives some back, is followed by another one this soon.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// How long a machine that the cloud took is remembered while its job goes on at GitHub, which fails it within minutes.
const KEPT_FOR_ITS_JOB: Duration = Duration::from_secs(24 * 3_600);
/// How long it is remembered if GitHub has named no job for it: a job that it had is asked for within an hour.
const KEPT_FOR_A_NAME: Duration = Duration::from_secs(70 * 60);
/// How often the end of an instance that is still there is asked for again.
pub const END_REPEAT: Duration = Duration::from_secs(60);

/// Ends what is over and forgets what is gone.
pub(super) fn finish(plan: &mut Plan, world: &World, config: &FleetConfig, now: Timestamp) {
    for machine in world.ended() {
        plan.act(Action::Terminate { instance: machine.instance.clone() }, over_because(machine));
    }
    for machine in world.ending() {
        let Some(asked) = machine.terminate_at else { continue };
        if now.since(asked) > END_REPEAT {
            plan.act(Action::Terminate { instance: machine.instance.clone() }, Reason::StillThere);
        } else {
            plan.wake_after(asked, END_REPEAT);
            break; // They come by age: the rest is younger.
        }
    }
    for machine in world.gone() {
        // What became of its job is told by GitHub, minutes after the cloud has taken the machine.
        let waits = |gone_at| machine.was_taken() && now.since(gone_at) <= KEPT_FOR_ITS_JOB;
        if machine.job.is_some_and(|job| world.job(job).is_some()) && machine.gone_at.is_some_and(waits) {
            continue;
        }
        let reruns = config.pool(&machine.purpose.pool).is_some_and(|pool| pool.rerun_interrupted > 0);
        match (machine.unmatched_since(), machine.gone_at) {
            (Some(at), _) if now.since(at) <= UNMATCHED_MAX => plan.wake_after(at, UNMATCHED_MAX),
            // Its job may have been interrupted, which shows when GitHub names it.
            (Some(_), Some(at)) if reruns && machine.was_taken() && now.since(at) <= KEPT_FOR_A_NAME => {}
            (Some(_) | None, _) => plan.act(Action::Forget { instance: machine.instance.clone() }, Reason::Over),
        }
    }
}

fn over_because(machine: &Machine) -> Reason {
    if let Some((_, why)) = &machine.failed {
        return Reason::Failed(why.clone());
    }
    match machine.told.done {
        // It was drained, or warned by the cloud, before it ended.
        Some((_, false)) => Reason::EndedIdle,
        Some((_, true)) => Reason::Done,
        None => Reason::Drained,
    }
}

/// Turns the second key for frozen runners, and tells their agents how GitHub answered.
pub(super) fn answer_drains(plan: &mut Plan, world: &World, now: Timestamp) {
    for machine in world.frozen() {
        let (Some(drain), Some((frozen_order, frozen_at))) = (machine.open_drain(), machine.told.frozen) else {
            continue;
        };
        let registration = machine.told.registered.as_ref().map(|(_, registration)| registration.id);
        let instance = machine.instance.clone();
        let number = frozen_order;
        match (drain.removal, registration) {
            _ if now.since(drain.ordered_at) > DRAIN_ANSWER_MAX => unanswered(plan, machine, now),
            // GitHub has named a job for this runner. Removing a busy registration can succeed, so it is not asked, and
            // that it is gone says nothing.
            _ if machine.job.is_some() && !drain.answered => {
                plan.act(Action::Thaw { instance, number }, Reason::GithubSaysBusy);
            }
            (Some(Removal::Gone), _) if !drain.answered => {
                plan.act(Action::Kill { instance, number }, Reason::RegistrationGone);
            }
            (Some(Removal::Busy), _) if !drain.answered => {
                plan.act(Action::Thaw { instance, number }, Reason::GithubSaysBusy);
            }
            (None, Some(runner)) if machine.job.is_none() && now.since(frozen_at) <= REMOVE_WITHIN => {
                plan.act(Action::Remove { instance, runner }, Reason::Frozen);
            }
            (None | Some(_), _) => plan.wake_after(drain.ordered_at, DRAIN_ANSWER_MAX),
        }
    }
}

/// Nobody answered: the agent runs its listener again by now. Without a registration no job can reach that, so the machine
/// ends, unless GitHub has named one before; with one it is idle again, or loses it if GitHub sees no listener either.
fn unanswered(plan: &mut Plan, machine: &Machine, now: Timestamp) {
    let instance = machine.instance.clone();
    let removal = machine.drain.as_ref().and_then(|drain| drain.removal);
    let registration = machine.told.registered.as_ref().filter(|_| machine.job.is_none());
    match (removal, registration) {
        (Some(Removal::Gone), _) if machine.job.is_none() => {
            plan.act(Action::Terminate { instance }, Reason::NoAnswer);
        }
        // Neither its agent nor GitHub knows of a listener. Its registration goes first, so that none can get a job.
        (None, Some((_, registration))) if machine.told.unseen_at.is_some() => {
            plan.act(Action::Remove { instance, runner: registration.id }, Reason::Unseen);
            plan.wake(now + AGAIN);
        }
        (None | Some(_), _) => {
            plan.act(Action::CloseDrain { instance }, Reason::NoAnswer);
            plan.wake(now + AGAIN);
        }
    }
}

/// Acts on deadlines that have passed, and wakes at the next ones.
pub(super) fn overdue(plan: &mut Plan, world: &World, config: &FleetConfig, now: Timestamp) {
    for (id, state) in world.classes() {
        let class = config.class(id);
        let os = class.as_ref().and_then(|class| class.shapes.first()).map_or(Os::Linux, |shape| shape.os);
        let boot_max = match os {
            Os::Linux => BOOT_MAX,
            Os::Windows | Os::Macos => OTHER_BOOT_MAX,
        };
        let hours = class.map_or(JOB_HOURS_MAX, |class| class.max_job_hours);
        let job_max = Duration::from_secs(u64::from(hours) * 3600);
        // A deadline of silence runs only while there was somebody to hear; that of a job runs on.
        let (heard, always) = (world.watched_from(), Timestamp::EPOCH);
        let mut due =
            |set: &BTreeSet<Since>, from: Timestamp, limit: Duration, act: &mut dyn FnMut(&mut Plan, &Machine)| {
                for (at, instance) in set {
                    let at = from.max(*at);
                    if now.since(at) <= limit {
                        plan.wake_after(at, limit);
                        break; // They come by age: the rest is younger.
                    }
                    if let Some(machine) = world.machine(instance) {
                        act(plan, machine);
                    }
                }
            };
        let end = |reason: Reason| {
            move |plan: &mut Plan, machine: &Machine| {
                plan.act(Action::Terminate { instance: machine.instance.clone() }, reason.clone());
            }
        };
        due(&state.booting, heard, boot_max, &mut |plan, machine| {
            end(Reason::NeverClaimed)(plan, machine);
            plan.wake(now + AGAIN);
        });
        due(&state.busy, always, job_max, &mut end(Reason::JobTooLong { hours }));
        due(&state.overstaying, heard, OVERSTAY_MAX, &mut |plan, machine| {
            // One that is over its job's own limit has been ended just now.
            if matches!(machine.phase(), MachinePhase::Busy(since) if now.since(since) <= job_max) {
                end(Reason::Overstays { minutes: OVERSTAY_MAX.as_secs() / 60 })(plan, machine);
            }
        });
        due(&state.registering, heard, REGISTER_MAX, &mut |plan, machine| {
            write_off(plan, machine, Reason::NeverListened, now)
        });
        // GitHub refused to remove it because a job runs there, so it gets a job's time.
        due(&state.registering, always, job_max, &mut |plan, machine| {
            if machine.drain.as_ref().is_some_and(|drain| drain.removal == Some(Removal::Busy)) {
                let instance = machine.instance.clone();
                plan.act(Action::Terminate { instance }, Reason::JobTooLong { hours });
                plan.wake(now + AGAIN);
            }
        });
        due(&state.draining, heard, DRAIN_ANSWER_MAX, &mut |plan, machine| unanswered(plan, machine, now));
        for (_, instance) in &state.doomed {
            if let Some(machine) = world.machine(instance) {
                doomed(plan, machine, now);
            }
        }
    }
}

/// A machine that the cloud will take, or recommends to leave, or whose listener GitHub does not see, and that has no job: one
/// that listens is drained, the others can end.
fn doomed(plan: &mut Plan, machine: &Machine, now: Timestamp) {
    let instance = machine.instance.clone();
    let reason = match (machine.interrupted_at, machine.told.unseen_at) {
        (Some(_), _) => Reason::Interrupted,
        (None, Some(_)) => Reason::Unseen,
        (None, None) => Reason::Rebalance,
    };
    if machine.told.listening_at.is_some() {
        plan.act(Action::Drain { instance, number: machine.next_drain_order() }, reason);
    } else {
        write_off(plan, machine, reason, now);
    }
}

/// Ends a machine that may hold a registration which never listened: the registration goes first, so that no job can
/// reach a machine that is being ended.
fn write_off(plan: &mut Plan, machine: &Machine, reason: Reason, now: Timestamp) {
    let instance = machine.instance.clone();
    match (&machine.told.registered, machine.drain.as_ref().and_then(|drain| drain.removal)) {
        (Some((_, registration)), None) => {
            plan.act(Action::Remove { instance, runner: registration.id }, reason);
        }
        (Some(_), Some(Removal::Busy)) => {}
        (Some(_), Some(Removal::Gone)) | (None, _) => {
            plan.act(Action::Terminate { instance }, reason);
            plan.wake(now + AGAIN);
        }
    }
}
