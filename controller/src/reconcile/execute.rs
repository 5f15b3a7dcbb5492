//! Effects: what a committed intent asks of the cloud and of GitHub, and the record of how it went.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join_all, join4};
use futures_util::stream;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{InstanceId, RunnerId, ShapeId};
use muster_core::launch::{Launch, LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::machine::{Machine, MachineEvent, MachinePhase, Origin, Removal, Report};
use muster_core::plan::{REMOVE_WITHIN, THAWS_AFTER};
use muster_core::ports::{Batch, Cloud, CloudError, Ended, Github, GithubError, Store};
use muster_core::time::Timestamp;
use muster_core::world::{Effect, World};
use muster_webhook::clock::Clock;

use super::{
    EFFECT_WITHIN, Probe, Reconciler, Step, TickError, TickReport, UNCERTAIN_MAX, from_cloud, from_github_within,
};

/// Instances ended in one request (`TerminateInstanceInAutoScalingGroup`, `InstanceIds`).
const TERMINATE_MAX: usize = 100;
/// A launch is waited for so long; then it is asked for again, under the same token. Agents that wait frozen for their end,
/// machines of other accounts and new facts wait for this tick: well below [`THAWS_AFTER`].
pub(super) const LAUNCH_WAIT: Duration = Duration::from_secs(8);
const _: () = assert!(LAUNCH_WAIT.as_secs() * 2 < THAWS_AFTER.as_secs());
/// Removals that GitHub works on at a time: it allows 100 requests at once (GitHub REST API, secondary rate limits).
const REMOVED_AT_ONCE: usize = 10;

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// Executes the effects of one commit: launches (their token makes a repeat harmless), and beside them what has no token,
    /// if the ledger is still ours and the commit is fresh. A launch may wait long for its answer; nothing waits for it.
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
        let mut endings = self.spare(world, endings, report, &mut batch).await?;
        // Machines come out of a stock by raising desired capacity, which has no token.
        let raises = |launch: &Launch| launch.purpose.origin == Origin::Standby;
        if !(endings.is_empty() && removals.is_empty() && stocks.is_empty()) || launches.iter().any(raises) {
            let fresh = self.clock.now().since(committed_at) <= EFFECT_WITHIN;
            if !(fresh && self.store.generation().await? == world.generation()) {
                report.troubles.push("effects were not started: the commit is stale or not the last one".to_owned());
                // None of it was begun, so that the next plan need not wait for it.
                for instance in endings.drain(..) {
                    world.take_back_end(&instance, &mut batch);
                }
                removals.clear();
                stocks.clear();
                // These stay open, and are asked for by a later tick, if it is still ours to ask.
                launches.retain(|launch| !raises(launch));
                report.wake(self.clock.now());
            }
        }
        if !(launches.is_empty() && endings.is_empty() && removals.is_empty() && stocks.is_empty()) {
            probe.reached(Step::BeforeEffect)?;
            let (replies, ended, removed, stocked) = join4(
                self.launch(world, &launches),
                self.end(world, &endings),
                self.remove(world, &removals),
                self.set_stocks(&stocks),
            )
            .await;
            probe.reached(Step::AfterEffect)?;
            self.launched(world, launches, replies, report, &mut batch);
            self.ended(world, ended, report, &mut batch);
            self.removed(world, removals, removed, report, &mut batch);
            for ((shape, size), answer) in stocks.into_iter().zip(stocked) {
                if let Err(error) = answer {
                    report.troubles.push(format!("standby stock of {shape}: {error}"));
                }
                // Also if it failed: the next look tells, and until then it is not asked for again.
                world.set_stock_wanted(shape, size);
            }
        }
        if !batch.is_empty() {
            self.commit(world, &batch).await?;
            probe.reached(Step::Recorded)?;
        }
        Ok(())
    }

    async fn launch(&self, world: &World, launches: &[Launch]) -> Vec<Result<LaunchReply, CloudError>> {
        let known = known_of(world, launches);
        let calls = launches.iter().map(|launch| {
            let known = known.get(&launch.purpose.shape).map(Vec::as_slice).unwrap_or_default();
            from_cloud(&self.clock, LAUNCH_WAIT.min(self.call_max()), self.cloud.launch(launch, known))
        });
        join_all(calls).await
    }

    fn launched(
        &mut self,
        world: &mut World,
        launches: Vec<Launch>,
        replies: Vec<Result<LaunchReply, CloudError>>,
        report: &mut TickReport,
        batch: &mut Batch,
    ) {
        let answered_at = self.clock.now();
        for (launch, reply) in launches.into_iter().zip(replies) {
            let reply = match reply {
                Ok(reply) => reply,
                Err(CloudError::Unknown(why)) => {
                    report
                        .troubles
                        .push(format!("launch {}: no answer: {why}; it counts until the cloud answers", launch.id));
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
                report.wake(answered_at + Duration::from_secs(1));
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

    async fn end(&self, world: &World, endings: &[InstanceId]) -> Vec<(usize, Result<Ended, CloudError>)> {
        let shape_of = |instance: &InstanceId| world.machine(instance).map(|machine| machine.purpose.shape.clone());
        let named: Vec<(InstanceId, ShapeId)> =
            endings.iter().filter_map(|instance| Some((instance.clone(), shape_of(instance)?))).collect();
        let chunks = || named.chunks(TERMINATE_MAX);
        let calls = chunks().map(|some| from_cloud(&self.clock, self.call_max(), self.cloud.terminate(some)));
        let answers = join_all(calls).await;
        chunks().map(<[_]>::len).zip(answers).collect()
    }

    fn ended(
        &self,
        world: &mut World,
        answers: Vec<(usize, Result<Ended, CloudError>)>,
        report: &mut TickReport,
        batch: &mut Batch,
    ) {
        for (count, answer) in answers {
            match answer {
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
                Err(error) => report.troubles.push(format!("ending {count} instances: {error}")),
            }
        }
    }

    /// Asks GitHub to remove registrations, some at a time.
    async fn remove(
        &self,
        world: &World,
        removals: &[(InstanceId, RunnerId)],
    ) -> Vec<Option<Result<Removal, GithubError>>> {
        let frozen_at = |instance: &InstanceId| match world.machine(instance).map(Machine::phase) {
            Some(MachinePhase::Frozen(at)) => Some(at),
            Some(_) | None => None,
        };
        let calls = removals.iter().map(|(instance, runner)| self.remove_one(*runner, frozen_at(instance)));
        stream::iter(calls.collect::<Vec<_>>()).buffered(REMOVED_AT_ONCE).collect().await
    }

    /// `None` for one whose agent thaws before an answer could come: removing a busy registration can succeed.
    async fn remove_one(&self, runner: RunnerId, frozen_at: Option<Timestamp>) -> Option<Result<Removal, GithubError>> {
        let mut limit = self.call_max();
        if let Some(at) = frozen_at {
            let frozen_for = self.clock.now().since(at);
            if frozen_for > REMOVE_WITHIN {
                return None;
            }
            limit = limit.min(THAWS_AFTER.saturating_sub(frozen_for));
        }
        Some(from_github_within(&self.clock, limit, self.github.remove(runner)).await)
    }

    fn removed(
        &self,
        world: &mut World,
        removals: Vec<(InstanceId, RunnerId)>,
        answers: Vec<Option<Result<Removal, GithubError>>>,
        report: &mut TickReport,
        batch: &mut Batch,
    ) {
        for ((instance, runner), answer) in removals.into_iter().zip(answers) {
            let now = self.clock.now();
            match answer {
                Some(Ok(removal)) => {
                    world.removal_answered(&instance, removal, now, batch);
                    // The agent waits frozen for the answer: turn to it at once.
                    report.wake(now);
                }
                Some(Err(GithubError::Limited { until })) => {
                    report.wake(until.max(now + Duration::from_secs(1)));
                    report.troubles.push(format!("removing registration {runner}: GitHub asks to wait until {until}"));
                }
                Some(Err(error)) => report.troubles.push(format!("removing registration {runner}: {error}")),
                None => {
                    report.troubles.push(format!("removing registration {runner}: too late, its agent thaws it"));
                }
            }
        }
    }

    async fn set_stocks(&self, stocks: &[(ShapeId, u32)]) -> Vec<Result<(), CloudError>> {
        let calls = stocks
            .iter()
            .map(|(shape, size)| from_cloud(&self.clock, self.call_max(), self.cloud.set_standby(shape, *size)));
        join_all(calls).await
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
