//! Intents into the world: what a plan changes the moment it is committed, and what an effect's outcome changes after it.
//!
//! Invariant: the world after `intend` is what a scaler would load if this one died right after its commit.

use std::time::Duration;

use super::World;
use crate::claim::Order;
use crate::ids::{InstanceId, LaunchId, RunnerId, ShapeId};
use crate::job::Stall;
use crate::launch::{Hold, Launch, LaunchErrorKind, LaunchReply, Offering};
use crate::machine::{Drain, Machine, Origin, Removal};
use crate::plan::Action;
use crate::ports::Batch;
use crate::time::Timestamp;

/// The first hold after a refusal for want of capacity; it doubles with each further one.
pub const HOLD_FIRST: Duration = Duration::from_secs(180);
/// A hold grows no longer than this.
pub const HOLD_MAX: Duration = Duration::from_secs(1800);
/// What a person has to mend is tried again this soon, so that whoever has mended it sees it: a request costs nothing.
pub const HOLD_CONFIGURATION_MAX: Duration = Duration::from_secs(300);
/// After a throttled request.
pub const HOLD_THROTTLED: Duration = Duration::from_secs(5);
/// So long after such a hold the next request is a small one: EC2 gives out more than the largest launch in this time.
pub(super) const THROTTLE_REMEMBERED: Duration = Duration::from_secs(60);

/// What is to be done outside, once the intent is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the cloud for machines.
    Launch(Launch),
    /// Ask GitHub to remove a registration.
    Remove {
        /// Whose.
        instance: InstanceId,
        /// Which.
        runner: RunnerId,
    },
    /// Ask the cloud to end an instance.
    Terminate {
        /// Which.
        instance: InstanceId,
    },
    /// Ask the cloud for standby stock.
    SetStandby {
        /// Of which shape.
        shape: ShapeId,
        /// How many.
        size: u32,
    },
}

impl World {
    /// Makes an action an intent: changes the world, adds what is to be stored to the batch, and says what is to be done
    /// once that is committed.
    pub fn intend(&mut self, action: &Action, now: Timestamp, batch: &mut Batch) -> Option<Effect> {
        let mut change = |world: &mut World, instance: &InstanceId, change: &mut dyn FnMut(&mut Machine)| {
            world.change_machine(instance, |machine| {
                change(machine);
                batch.machines.push(machine.clone());
            });
        };
        match action {
            Action::Launch(launch) => {
                self.put_launch(launch.clone());
                self.probed(&launch.purpose.shape, launch.purpose.market, now, batch);
                batch.launches.push(launch.clone());
                Some(Effect::Launch(launch.clone()))
            }
            Action::Drain { instance, number } => {
                let drain = Drain { order: *number, ordered_at: now, removal: None, answered: false, closed_at: None };
                change(self, instance, &mut |machine| machine.drain = Some(drain.clone()));
                batch.orders.push((instance.clone(), Order::Drain { number: *number }));
                None
            }
            Action::Remove { instance, runner } => Some(Effect::Remove { instance: instance.clone(), runner: *runner }),
            Action::Kill { instance, number } | Action::Thaw { instance, number } => {
                let number = *number;
                change(self, instance, &mut |machine| {
                    if let Some(drain) = &mut machine.drain {
                        drain.answered = true;
                    }
                });
                let kill = matches!(action, Action::Kill { .. });
                let order = if kill { Order::Kill { number } } else { Order::Thaw { number } };
                batch.orders.push((instance.clone(), order));
                None
            }
            Action::CloseDrain { instance } => {
                change(self, instance, &mut |machine| {
                    if let Some(drain) = &mut machine.drain {
                        drain.closed_at = Some(now);
                    }
                });
                None
            }
            Action::Terminate { instance } => {
                change(self, instance, &mut |machine| machine.terminate_at = Some(now));
                Some(Effect::Terminate { instance: instance.clone() })
            }
            Action::Register { instance } => {
                change(self, instance, &mut |machine| machine.registers = machine.session_to_register());
                None
            }
            Action::Stall { job, round } => {
                let stall = Stall { rounds: *round, at: now };
                batch.jobs.extend(self.stall_job(*job, stall));
                None
            }
            Action::Forget { instance } => {
                self.forget_machine(instance);
                batch.forgotten.push(instance.clone());
                None
            }
            // The world notes the size once the cloud has taken it: until then every plan asks again.
            Action::SetStandby { shape, size } => Some(Effect::SetStandby { shape: shape.clone(), size: *size }),
        }
    }

    /// The cloud has answered a launch: its machines exist, and a refusal becomes a hold.
    pub fn launch_answered(&mut self, id: &LaunchId, reply: &LaunchReply, now: Timestamp, batch: &mut Batch) {
        let Some(launch) = self.settle_launch(id) else { return };
        batch.settled.push(id.clone());
        for instance in &reply.instances {
            let machine = Machine::launched(instance.clone(), &launch, now);
            batch.machines.push(machine.clone());
            self.put_machine(machine);
        }
        let purpose = &launch.purpose;
        let throttled = reply.error.as_ref().is_some_and(|error| error.kind == LaunchErrorKind::Throttled);
        if purpose.origin == Origin::Standby
            && let Some(stock) = self.stock.get_mut(&purpose.shape)
        {
            // What the stock did not give is not there, whatever was last told of it; unless nobody looked.
            let came = u32::try_from(reply.instances.len()).unwrap_or(u32::MAX);
            let taken = match &reply.error {
                Some(_) if throttled => came,
                Some(_) => *stock,
                None => launch.count,
            };
            *stock = stock.saturating_sub(taken);
        }
        if reply.instances.is_empty() {
            self.not_probed(&launch, now, batch);
        }
        let offering = Offering::of(purpose);
        match &reply.error {
            // A stock that has too few is filled by its bounds; the cold launch that follows meets what is wrong, if anything.
            Some(error) if purpose.origin == Origin::Cold || throttled => {
                self.refused(offering, error.kind, now, batch);
            }
            Some(_) => {}
            None => self.delivered(&offering, now, batch),
        }
    }

    fn refused(&mut self, offering: Offering, kind: LaunchErrorKind, now: Timestamp, batch: &mut Batch) {
        let last = self.last_hold(&offering);
        let throttled = kind == LaunchErrorKind::Throttled;
        if throttled && last.is_some_and(|last| last.until > now && last.kind != kind) {
            return; // Another launch was told more, and it holds for longer.
        }
        let strikes = match last {
            // It says nothing about capacity. A start from standby counts how often it was put off in a row.
            Some(last) if throttled && offering.is_standby() && now.since(last.until) > THROTTLE_REMEMBERED => 1,
            Some(last) => last.strikes + u32::from(!throttled || offering.is_standby()),
            None => u32::from(!throttled || offering.is_standby()),
        };
        let hold = Hold { until: now + hold_for(kind, strikes), offering, kind, strikes };
        batch.holds.push(hold.clone());
        self.put_hold(hold);
    }

    /// What was held before and has just delivered is held no more. What another launch was told meanwhile stands.
    fn delivered(&mut self, offering: &Offering, now: Timestamp, batch: &mut Batch) {
        if let Some(hold) = self.last_hold(offering).filter(|hold| hold.until <= now) {
            // Whoever loads it finds as little as we remember.
            batch.holds.push(Hold { until: now - THROTTLE_REMEMBERED * 2, strikes: 0, ..hold.clone() });
            self.drop_hold(offering);
        }
    }

    /// GitHub has answered a removal.
    pub fn removal_answered(&mut self, instance: &InstanceId, removal: Removal, now: Timestamp, batch: &mut Batch) {
        self.change_machine(instance, |machine| {
            let number = machine.next_drain_order();
            let drain = machine.drain.get_or_insert(Drain {
                order: number,
                ordered_at: now,
                removal: None,
                answered: true,
                closed_at: Some(now),
            });
            drain.removal = Some(removal);
            batch.machines.push(machine.clone());
        });
    }

    /// The end of a machine is no intent any more: none of it was begun.
    pub fn take_back_end(&mut self, instance: &InstanceId, batch: &mut Batch) {
        self.change_machine(instance, |machine| {
            machine.terminate_at = None;
            batch.machines.push(machine.clone());
        });
    }

    /// The cloud says that an instance is gone.
    pub fn instance_gone(&mut self, instance: &InstanceId, now: Timestamp, batch: &mut Batch) {
        self.change_machine(instance, |machine| {
            machine.gone_at.get_or_insert(now);
            batch.machines.push(machine.clone());
        });
    }
}

/// How long a refusal is remembered, by kind and by how many there were in a row.
fn hold_for(kind: LaunchErrorKind, strikes: u32) -> Duration {
    let doubled = HOLD_FIRST.saturating_mul(1 << strikes.saturating_sub(1).min(8)).min(HOLD_MAX);
    match kind {
        LaunchErrorKind::Capacity | LaunchErrorKind::Outdated | LaunchErrorKind::Unknown => doubled,
        LaunchErrorKind::Configuration => doubled.min(HOLD_CONFIGURATION_MAX),
        LaunchErrorKind::Throttled => HOLD_THROTTLED,
        LaunchErrorKind::Quota => HOLD_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_by_what_it_was_and_how_often() {
        let held = |kind| [1, 2, 3, 9].map(|strikes| hold_for(kind, strikes).as_secs());
        assert_eq!(held(LaunchErrorKind::Capacity), [180, 360, 720, 1_800]);
        assert_eq!(held(LaunchErrorKind::Unknown), [180, 360, 720, 1_800]);
        assert_eq!(held(LaunchErrorKind::Configuration), [180, 300, 300, 300], "somebody may have mended it");
        assert_eq!(held(LaunchErrorKind::Throttled), [5; 4]);
        assert_eq!(held(LaunchErrorKind::Quota), [1_800; 4]);
    }
}
