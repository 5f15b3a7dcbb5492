//! Effects: what a committed intent asks of the cloud and of GitHub, and the record of how it went.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{InstanceId, RunnerId, ShapeId};
use muster_core::launch::{Launch, LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::machine::{Machine, MachineEvent, MachinePhase, Report};
use muster_core::plan::{REMOVE_WITHIN, THAWS_AFTER};
use muster_core::ports::{Batch, Cloud, CloudError, Ended, Github, GithubError, Store};
use muster_core::time::Timestamp;
use muster_core::world::{Effect, World};
use muster_webhook::clock::Clock;

use super::{
    CALL_MAX, EFFECT_WITHIN, Probe, Reconciler, Step, TickError, TickReport, UNCERTAIN_MAX, from_cloud,
    from_github_within,
};

/// Instances ended in one request (`TerminateInstanceInAutoScalingGroup`, `InstanceIds`).
const TERMINATE_MAX: usize = 100;

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// Executes the effects of one commit: launches (their token makes a repeat harmless), then what has no token, if the
    /// ledger is still ours and the commit is fresh.
    pub(super) async fn execute(
        &mut self,
        world: &mut World,
        effects: Vec<Effect>,
        committed_at: Timestamp,
        report: &mut TickReport,
        probe: &mut impl Probe,
    ) -> Result<(), TickError> {
        if effects.is_empty() {
            return Ok(());
        }
        let (mut launches, mut endings, mut removals, mut stocks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Launch(launch) => launches.push(launch),
                Effect::Terminate { instance } => endings.push(instance),
                Effect::Remove { instance, runner } => removals.push((instance, runner)),
                Effect::SetStandby { shape, size } => stocks.push((shape, size)),
            }
        }
        let mut batch = Batch::default();
        if !launches.is_empty() {
            probe.reached(Step::BeforeEffect)?;
            self.launch(world, launches, report, &mut batch).await;
            probe.reached(Step::AfterEffect)?;
        }
        let endings = self.spare(world, endings, report, &mut batch).await?;
        let fresh = self.clock.now().since(committed_at) <= EFFECT_WITHIN;
        if !(endings.is_empty() && removals.is_empty() && stocks.is_empty()) {
            if fresh && self.store.generation().await? == world.generation() {
                probe.reached(Step::BeforeEffect)?;
                self.end(world, &endings, report, &mut batch).await;
                self.remove(world, removals, report, &mut batch).await;
                for (shape, size) in stocks {
                    match from_cloud(&self.clock, self.cloud.set_standby(&shape, size)).await {
                        Ok(()) => world.set_stock_wanted(shape, size),
                        Err(error) => report.troubles.push(format!("standby stock of {shape}: {error}")),
                    }
                }
                probe.reached(Step::AfterEffect)?;
            } else {
                report.troubles.push("effects were not started: the commit is stale or not the last one".to_owned());
                // None of it was begun, so that the next plan need not wait for it.
                for instance in &endings {
                    world.take_back_end(instance, &mut batch);
                }
                report.wake(self.clock.now());
            }
        }
        if !batch.is_empty() {
            self.commit(world, &batch).await?;
            probe.reached(Step::Recorded)?;
        }
        Ok(())
    }

    async fn launch(&mut self, world: &mut World, launches: Vec<Launch>, report: &mut TickReport, batch: &mut Batch) {
        let known = known_of(world, &launches);
        let calls = launches.iter().map(|launch| {
            let known = known.get(&launch.purpose.shape).map(Vec::as_slice).unwrap_or_default();
            from_cloud(&self.clock, self.cloud.launch(launch, known))
        });
        let replies = join_all(calls).await;
        let answered_at = self.clock.now();
        for (launch, reply) in launches.into_iter().zip(replies) {
            let reply = match reply {
                Ok(reply) => reply,
                Err(CloudError::Unknown(why)) => {
                    report.troubles.push(format!("launch {}: {why}; it counts until the cloud answers", launch.id));
                    self.asked.insert(launch.id.clone(), answered_at);
                    report.wake(answered_at + super::ASK_AGAIN);
                    continue;
                }
                // Not proof of absence: an earlier request under this token may have launched.
                Err(error) if self.is_uncertain(&launch, answered_at) => {
                    report
                        .troubles
                        .push(format!("launch {}, asked for again: {error}; it counts until then", launch.id));
                    self.asked.insert(launch.id.clone(), answered_at);
                    report.wake(answered_at + super::ASK_AGAIN);
                    continue;
                }
                Err(CloudError::Throttled(why)) => refused(LaunchErrorKind::Throttled, &why),
                Err(CloudError::Rejected(why)) => refused(LaunchErrorKind::Configuration, &why),
            };
            if let Some(error) = &reply.error {
                report.refused.push((launch.clone(), error.clone()));
                // Try elsewhere at once: the hold is in the world now.
                report.wake(answered_at + std::time::Duration::from_secs(1));
            }
            world.launch_answered(&launch.id, &reply, answered_at, batch);
        }
    }

    /// Takes back the end of machines that hold a registration which the plan did not know: claims and mints do not wait
    /// for a tick. Once an end is committed the door hands out no configuration, so one that is not seen here is unused.
    async fn spare(
        &self,
        world: &mut World,
        endings: Vec<InstanceId>,
        report: &mut TickReport,
        batch: &mut Batch,
    ) -> Result<Vec<InstanceId>, TickError> {
        let mut sure = Vec::new();
        for instance in endings {
            let told = world.machine(&instance).map(|machine| &machine.told);
            // A machine that ran its job gets no other session.
            let ran = told.is_some_and(|told| told.done.is_some_and(|(_, ran)| ran));
            let known = told.and_then(|told| Some(told.registered.as_ref()?.1.id));
            let claim = if ran { None } else { self.store.claim(&instance).await? };
            let registered = claim.and_then(|claim| Some((claim.session, claim.registration?)));
            match registered.filter(|(_, registration)| Some(registration.id) != known) {
                None => sure.push(instance),
                Some((session, registration)) => {
                    let at = self.clock.now();
                    let event = MachineEvent {
                        instance: instance.clone(),
                        session,
                        at,
                        report: Report::Registered(registration),
                    };
                    // The registrar puts it too, but may have died before.
                    self.store.put_fact(&Fact { received_at: at, body: FactBody::Machine(event) }).await?;
                    report.troubles.push(format!("{instance} is not ended: it was registered in the meantime"));
                    report.wake(at);
                    world.take_back_end(&instance, batch);
                }
            }
        }
        Ok(sure)
    }

    /// Whether a launch was asked for before and nobody knows what became of that.
    fn is_uncertain(&self, launch: &Launch, now: Timestamp) -> bool {
        self.asked.contains_key(&launch.id) && now.since(launch.intended_at) <= UNCERTAIN_MAX
    }

    async fn end(&mut self, world: &mut World, endings: &[InstanceId], report: &mut TickReport, batch: &mut Batch) {
        let shape_of = |instance: &InstanceId| world.machine(instance).map(|machine| machine.purpose.shape.clone());
        let named: Vec<(InstanceId, ShapeId)> =
            endings.iter().filter_map(|instance| Some((instance.clone(), shape_of(instance)?))).collect();
        for instances in named.chunks(TERMINATE_MAX) {
            match from_cloud(&self.clock, self.cloud.terminate(instances)).await {
                Ok(Ended { gone, failed }) => {
                    let told = failed.into_iter().map(|(instance, why)| format!("ending {instance}: {why}"));
                    report.troubles.extend(told);
                    let now = self.clock.now();
                    if !gone.is_empty() && !report.waits.is_empty() {
                        // There is room under a cap that the plan did not see.
                        report.wake(now);
                    }
                    for instance in gone {
                        world.instance_gone(&instance, now, batch);
                    }
                }
                Err(error) => report.troubles.push(format!("ending {} instances: {error}", instances.len())),
            }
        }
    }

    async fn remove(
        &mut self,
        world: &mut World,
        removals: Vec<(InstanceId, RunnerId)>,
        report: &mut TickReport,
        batch: &mut Batch,
    ) {
        for (instance, runner) in removals {
            let now = self.clock.now();
            let mut limit = CALL_MAX;
            if let Some(MachinePhase::Frozen(at)) = world.machine(&instance).map(Machine::phase) {
                let frozen_for = now.since(at);
                if frozen_for > REMOVE_WITHIN {
                    // The calls before this one took long. Its agent thaws it any moment, and removing a busy
                    // registration can succeed.
                    report.troubles.push(format!("removing registration {runner}: too late, its agent thaws it"));
                    continue;
                }
                limit = THAWS_AFTER.saturating_sub(frozen_for);
            }
            match from_github_within(&self.clock, limit, self.github.remove(runner)).await {
                Ok(removal) => {
                    world.removal_answered(&instance, removal, now, batch);
                    // The agent waits frozen for the answer: turn to it at once.
                    report.wake(now);
                }
                Err(GithubError::Limited { until }) => {
                    report.wake(until.max(now + std::time::Duration::from_secs(1)));
                    report.troubles.push(format!("removing registration {runner}: GitHub asks to wait until {until}"));
                }
                Err(error) => report.troubles.push(format!("removing registration {runner}: {error}")),
            }
        }
    }
}

/// The instances that the ledger has, of the shapes that are launched.
fn known_of(world: &World, launches: &[Launch]) -> BTreeMap<ShapeId, Vec<InstanceId>> {
    let mut known: BTreeMap<ShapeId, Vec<InstanceId>> =
        launches.iter().map(|launch| (launch.purpose.shape.clone(), Vec::new())).collect();
    for machine in world.machines() {
        if let Some(instances) = known.get_mut(&machine.purpose.shape) {
            instances.push(machine.instance.clone());
        }
    }
    known
}

fn refused(kind: LaunchErrorKind, message: &str) -> LaunchReply {
    LaunchReply { instances: Vec::new(), error: Some(LaunchError { kind, message: message.into() }) }
}
