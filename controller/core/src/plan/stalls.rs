//! Stalled jobs: queued for long beside idle runners of their class.
//!
//! GitHub hands a queued job to an idle runner at once. If it does not, the runner only looks idle (ghost listeners exist),
//! or the job cannot go there (a runner group hides the repository), or it is long over and its event was lost. The runner
//! is replaced, and after [`STALL_ROUNDS_MAX`] rounds the job is no demand for [`UNSERVABLE_FOR`]. It stays in the ledger
//! with that reason, and any later event about it counts.
//!
//! Invariant: bounded. So many jobs at a time, so many rounds each, and a round takes at least [`STALLED_AFTER`].

use std::collections::BTreeSet;
use std::time::Duration;

use super::demand::Wants;
use super::reason::Reason;
use super::{Action, Plan};
use crate::ids::InstanceId;
use crate::job::STALL_ROUNDS_MAX;
use crate::time::Timestamp;
use crate::world::World;

/// A job queued for longer than this beside runners that were idle all the while is stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(90);
/// So long an unservable job is no demand; then it has one more round. An outage of GitHub's job assignment looks just like
/// a job that cannot be served.
pub const UNSERVABLE_FOR: Duration = Duration::from_secs(1800);
/// While there is surplus beside a stalled job, it is looked for again after this long.
const SURPLUS_GONE_AFTER: Duration = Duration::from_secs(5);
/// Jobs of one class that are looked into at a time.
pub const STALLS_AT_ONCE: usize = 5;

/// Notes stalled jobs, and drains a runner for each that did not get it; returns those runners.
pub(super) fn note(plan: &mut Plan, world: &World, wants: &[Wants], now: Timestamp) -> BTreeSet<InstanceId> {
    let mut drained = BTreeSet::new();
    for (since, job) in world.unservable() {
        if now.since(since) <= UNSERVABLE_FOR {
            plan.wake_after(since, UNSERVABLE_FOR);
            break; // They come by age: the rest is younger.
        }
        plan.act(Action::Stall { job, round: STALL_ROUNDS_MAX - 1 }, Reason::TriedAgain);
    }
    for want in wants {
        let Some(state) = world.class(&want.class.id) else { continue };
        let (Some((idle_since, _)), Some(((queued_at, _), _))) = (state.idle.first(), state.queued.first_key_value())
        else {
            continue;
        };
        let soonest = (*idle_since).max(*queued_at);
        if now.since(soonest) <= STALLED_AFTER {
            plan.wake_after(soonest, STALLED_AFTER);
            continue;
        }
        if want.supply > want.need() + want.target {
            // With machines to spare the surplus goes first: that replaces idle runners as well.
            plan.wake_after(now, SURPLUS_GONE_AFTER);
            continue;
        }
        let mut idle = state.idle.iter().filter(|(since, _)| now.since(*since) > STALLED_AFTER);
        let queued = state.queued.keys().filter_map(|(_, key)| world.job(*key));
        let stalled = queued.filter(|job| {
            let last = job.record.stall.map_or(job.place_in_queue().0, |stall| stall.at);
            now.since(last) > STALLED_AFTER
        });
        for job in stalled.take(STALLS_AT_ONCE) {
            let Some((_, instance)) = idle.next() else { break };
            let Some(machine) = world.machine(instance) else { continue };
            let round = job.record.stall.map_or(1, |stall| stall.rounds + 1);
            let reason = Reason::Stalled { for_s: now.since(job.place_in_queue().0).as_secs() };
            plan.act(Action::Stall { job: job.record.key, round }, reason.clone());
            if round < STALL_ROUNDS_MAX {
                let (instance, number) = (instance.clone(), machine.next_drain_order());
                drained.insert(instance.clone());
                plan.act(Action::Drain { instance, number }, reason);
            }
        }
        plan.wake_after(now, STALLED_AFTER);
    }
    drained
}
