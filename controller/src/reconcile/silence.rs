//! The metadata service of machines: off once the agent has what it needed of it.
//!
//! A job runs as a user that a firewall on the machine keeps away from the metadata service; turning it off from outside
//! holds even for a job that has become root. The agent proves its identity once, with its first claim, and from then on
//! with its session; notices of interruption reach it as orders.
//!
//! The same for machines at the hook of their standby group: on their way in until their agent has warmed them, on their way
//! out until it has claimed.
//!
//! Invariant: nothing waits for it. It comes last in a tick, is repeated until it succeeds, and repeated once more for
//! every machine after a start. A tick does it for a bounded number, those first that were tried least recently: machines
//! for which it fails again and again do not keep the others from their turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join;
use muster_core::config::FleetConfig;
use muster_core::fact::Prewarmed;
use muster_core::ids::{InstanceId, ShapeId};
use muster_core::machine::{Machine, Origin};
use muster_core::ports::{Cloud, CloudError, Github, Store, Switch};
use muster_core::time::Timestamp;
use muster_core::world::World;
use muster_webhook::clock::Clock;

use super::{Reconciler, TickReport, from_cloud};

/// Machines silenced by one tick. `ModifyInstanceMetadataOptions` takes one instance a call, from a bucket of 100 that
/// refills by 5 a second (EC2 API throttling).
pub const SILENCED_MAX: usize = 50;

/// Machines let go on by one tick.
pub const RELEASED_MAX: usize = 50;

/// After this long a group has let a machine go on by itself: the hook's time is over.
const HELD_MAX: Duration = Duration::from_secs(300);

/// Machines that have warmed themselves, and wait at the hook of their standby group. The ledger does not know them: a
/// scaler that dies forgets them, and they wait the hook's time.
#[derive(Default)]
pub(super) struct Prewarms(BTreeMap<InstanceId, (ShapeId, Timestamp)>);

impl Prewarms {
    /// Takes in who has said so. A shape that there is not has no stock to be in.
    pub(super) fn told(&mut self, told: Vec<Prewarmed>, config: &FleetConfig) {
        let known = told.into_iter().filter(|prewarmed| config.shape(&prewarmed.shape).is_some());
        self.0.extend(known.map(|Prewarmed { instance, shape, at }| (instance, (shape, at))));
    }

    /// Who is let go on now: at most `most`, those first that have waited longest.
    fn next(&mut self, world: &World, most: usize, now: Timestamp) -> Vec<(InstanceId, ShapeId)> {
        // One that was launched is on its way out, and waits for its claim.
        self.0.retain(|instance, (_, since)| now.since(*since) < HELD_MAX && world.machine(instance).is_none());
        let mut waiting: Vec<_> = self.0.iter().collect();
        waiting.sort_by_key(|(_, (_, since))| *since);
        waiting.truncate(most);
        waiting.into_iter().map(|(instance, (shape, _))| (instance.clone(), shape.clone())).collect()
    }

    /// Takes in for whom it failed; says so in words.
    fn answered(
        &mut self,
        whose: Vec<(InstanceId, ShapeId)>,
        answer: Result<Vec<(InstanceId, CloudError)>, CloudError>,
        report: &mut TickReport,
    ) {
        match answer {
            Ok(failed) => {
                let failed: BTreeMap<InstanceId, CloudError> = failed.into_iter().collect();
                report.troubles.extend(failed.iter().map(|(instance, why)| format!("into standby: {instance}: {why}")));
                self.0.retain(|instance, _| {
                    failed.contains_key(instance) || !whose.iter().any(|(asked, _)| asked == instance)
                });
            }
            Err(error) => report.troubles.push(format!("into standby: {} machines: {error}", whose.len())),
        }
    }
}

/// Something that is done once to every machine that is due for it.
#[derive(Default)]
pub(super) struct Once {
    done: BTreeSet<InstanceId>,
    /// When it was last tried for those for which it failed.
    tried: BTreeMap<InstanceId, Timestamp>,
}

impl Once {
    /// Whose turn it is now: at most `most` of those that are due.
    fn next<'a>(
        &mut self,
        world: &'a World,
        is_due: impl Fn(&Machine) -> bool,
        most: usize,
        now: Timestamp,
    ) -> Vec<(InstanceId, ShapeId)> {
        self.done.retain(|instance| world.machine(instance).is_some());
        self.tried.retain(|instance, _| world.machine(instance).is_some());
        let mut due: Vec<&'a Machine> =
            world.machines().filter(|machine| is_due(machine) && !self.done.contains(&machine.instance)).collect();
        due.sort_by_key(|machine| self.tried.get(&machine.instance));
        due.truncate(most);
        self.tried.extend(due.iter().map(|machine| (machine.instance.clone(), now)));
        due.into_iter().map(|machine| (machine.instance.clone(), machine.purpose.shape.clone())).collect()
    }

    /// Takes in for whom it failed; says so in words.
    fn answered(
        &mut self,
        whose: Vec<(InstanceId, ShapeId)>,
        answer: Result<Vec<(InstanceId, CloudError)>, CloudError>,
        what: &str,
        report: &mut TickReport,
    ) {
        match answer {
            Ok(failed) => {
                let failed: BTreeMap<InstanceId, CloudError> = failed.into_iter().collect();
                for (instance, _) in whose {
                    match failed.get(&instance) {
                        Some(why) => report.troubles.push(format!("{what} {instance}: {why}")),
                        None => {
                            self.tried.remove(&instance);
                            self.done.insert(instance);
                        }
                    }
                }
            }
            Err(error) => report.troubles.push(format!("{what} {} machines: {error}", whose.len())),
        }
    }
}

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// Silences machines that hold a registration and are not known to be silent.
    pub(super) async fn silence(&mut self, world: &World, report: &mut TickReport) {
        let is_loud = |machine: &Machine| {
            machine.told.registered.is_some() && machine.is_live() && machine.terminate_at.is_none()
        };
        if world.switch() == Switch::Freeze || self.is_late() {
            return;
        }
        let loud = self.silenced.next(world, is_loud, SILENCED_MAX, report.now);
        if loud.is_empty() {
            return;
        }
        let answer = from_cloud(&self.clock, self.call_max(), self.cloud.silence(&loud)).await;
        self.silenced.answered(loud, answer, "turning the metadata service off:", report);
    }

    /// Lets machines go on into standby that are warm, and out of it that have claimed: their group holds them until we say
    /// so, or for minutes.
    pub(super) async fn release(&mut self, world: &World, report: &mut TickReport) {
        let is_held = |machine: &Machine| {
            machine.purpose.origin == Origin::Standby && machine.told.claimed_at.is_some() && machine.is_live()
        };
        if world.switch() == Switch::Freeze || self.is_late() {
            return;
        }
        // A job may wait for those on their way out.
        let held = self.released.next(world, is_held, RELEASED_MAX, report.now);
        let warm = self.prewarmed.next(world, RELEASED_MAX - held.len(), report.now);
        let (out, into) = join(self.let_go_on(&held), self.let_go_on(&warm)).await;
        if let Some(answer) = out {
            self.released.answered(held, answer, "letting go on:", report);
        }
        if let Some(answer) = into {
            self.prewarmed.answered(warm, answer, report);
        }
    }

    async fn let_go_on(
        &self,
        whose: &[(InstanceId, ShapeId)],
    ) -> Option<Result<Vec<(InstanceId, CloudError)>, CloudError>> {
        if whose.is_empty() {
            return None;
        }
        Some(from_cloud(&self.clock, self.call_max(), self.cloud.release(whose)).await)
    }
}
