//! The metadata service of machines: off once the agent has what it needed of it.
//!
//! A job runs as a user that a firewall on the machine keeps away from the metadata service; turning it off from outside
//! holds even for a job that has become root. The agent proves its identity once, with its first claim, and from then on
//! with its session; notices of interruption reach it as orders.
//!
//! The same for machines that came out of a standby stock: their group holds them at a hook until their agent has claimed.
//!
//! Invariant: nothing waits for it. It comes last in a tick, is repeated until it succeeds, and repeated once more for
//! every machine after a start.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::{InstanceId, ShapeId};
use muster_core::machine::Origin;
use muster_core::ports::{Cloud, CloudError, Github, Store, Switch};
use muster_core::world::World;
use muster_webhook::clock::Clock;

use super::{Reconciler, TickReport, from_cloud};

/// Machines silenced by one tick. `ModifyInstanceMetadataOptions` takes one instance a call, from a bucket of 100 that
/// refills by 5 a second (EC2 API throttling).
pub const SILENCED_MAX: usize = 50;

/// Machines let go on by one tick.
pub const RELEASED_MAX: usize = 50;

/// The machines whose metadata service is known to be off.
pub(super) type Silenced = BTreeSet<InstanceId>;

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// Silences machines that hold a registration and are not known to be silent.
    pub(super) async fn silence(&mut self, world: &World, report: &mut TickReport) {
        if world.switch() == Switch::Freeze {
            return;
        }
        let silenced = &mut self.silenced;
        silenced.retain(|instance| world.machine(instance).is_some());
        let loud = world.machines().filter(|machine| {
            machine.told.registered.is_some()
                && machine.is_live()
                && machine.terminate_at.is_none()
                && !silenced.contains(&machine.instance)
        });
        let loud: Vec<(InstanceId, ShapeId)> =
            loud.take(SILENCED_MAX).map(|machine| (machine.instance.clone(), machine.purpose.shape.clone())).collect();
        if loud.is_empty() {
            return;
        }
        match from_cloud(&self.clock, self.cloud.silence(&loud)).await {
            Ok(failed) => {
                let failed: BTreeMap<InstanceId, CloudError> = failed.into_iter().collect();
                let loud = loud.into_iter().map(|(instance, _)| instance);
                self.silenced.extend(loud.filter(|instance| !failed.contains_key(instance)));
                let told = failed
                    .iter()
                    .map(|(instance, why)| format!("turning the metadata service of {instance} off: {why}"));
                report.troubles.extend(told);
            }
            Err(error) => {
                report.troubles.push(format!("turning the metadata service of {} instances off: {error}", loud.len()));
            }
        }
    }

    /// Lets machines from standby go on that have claimed: their group holds them until we say so, or for minutes.
    pub(super) async fn release(&mut self, world: &World, report: &mut TickReport) {
        if world.switch() == Switch::Freeze {
            return;
        }
        let released = &mut self.released;
        released.retain(|instance| world.machine(instance).is_some());
        let held = world.machines().filter(|machine| {
            machine.purpose.origin == Origin::Standby
                && machine.told.claimed_at.is_some()
                && machine.is_live()
                && !released.contains(&machine.instance)
        });
        let held: Vec<(InstanceId, ShapeId)> =
            held.take(RELEASED_MAX).map(|machine| (machine.instance.clone(), machine.purpose.shape.clone())).collect();
        if held.is_empty() {
            return;
        }
        match from_cloud(&self.clock, self.cloud.release(&held)).await {
            Ok(failed) => {
                let failed: BTreeMap<InstanceId, CloudError> = failed.into_iter().collect();
                let held = held.into_iter().map(|(instance, _)| instance);
                self.released.extend(held.filter(|instance| !failed.contains_key(instance)));
                let told = failed.iter().map(|(instance, why)| format!("letting {instance} go on: {why}"));
                report.troubles.extend(told);
            }
            Err(error) => report.troubles.push(format!("letting {} instances go on: {error}", held.len())),
        }
    }
}
