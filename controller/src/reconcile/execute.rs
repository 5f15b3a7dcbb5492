//! Effects: what a committed intent asks of the cloud and of GitHub, and the record of how it went.

use futures_util::future::join_all;
use muster_core::ids::{InstanceId, RunnerId};
use muster_core::launch::{Launch, LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::ports::{Batch, Cloud, CloudError, Github, GithubError, Store};
use muster_core::time::Timestamp;
use muster_core::world::{Effect, World};
use muster_webhook::clock::Clock;

use super::{EFFECT_WITHIN, Probe, Reconciler, Step, TickError, TickReport};

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
        let fresh = self.clock.now().since(committed_at) <= EFFECT_WITHIN;
        if !(endings.is_empty() && removals.is_empty() && stocks.is_empty()) {
            if fresh && self.store.generation().await? == world.generation() {
                probe.reached(Step::BeforeEffect)?;
                self.end(world, &endings, report, &mut batch).await;
                self.remove(world, removals, report, &mut batch).await;
                for (shape, size) in stocks {
                    match self.cloud.set_standby(&shape, size).await {
                        Ok(()) => world.set_stock_wanted(shape, size),
                        Err(error) => report.troubles.push(format!("standby stock of {shape}: {error}")),
                    }
                }
                probe.reached(Step::AfterEffect)?;
            } else {
                report.troubles.push("effects were not started: the commit is stale or not the last one".to_owned());
            }
        }
        if !batch.is_empty() {
            self.commit(world, &batch).await?;
            probe.reached(Step::Recorded)?;
        }
        Ok(())
    }

    async fn launch(&mut self, world: &mut World, launches: Vec<Launch>, report: &mut TickReport, batch: &mut Batch) {
        let replies = join_all(launches.iter().map(|launch| self.cloud.launch(launch))).await;
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
                Err(CloudError::Throttled) => refused(LaunchErrorKind::Throttled, "too many requests"),
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

    async fn end(&mut self, world: &mut World, endings: &[InstanceId], report: &mut TickReport, batch: &mut Batch) {
        for instances in endings.chunks(TERMINATE_MAX) {
            match self.cloud.terminate(instances).await {
                Ok(gone) => {
                    let now = self.clock.now();
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
            match self.github.remove(runner).await {
                Ok(removal) => {
                    world.removal_answered(&instance, removal, now, batch);
                    // The agent waits frozen for the answer: turn to it at once.
                    report.wake(now);
                }
                Err(GithubError::Limited { until }) => {
                    report.wake(until);
                    report.troubles.push(format!("removing registration {runner}: GitHub asks to wait until {until}"));
                }
                Err(error) => report.troubles.push(format!("removing registration {runner}: {error}")),
            }
        }
    }
}

fn refused(kind: LaunchErrorKind, message: &str) -> LaunchReply {
    LaunchReply { instances: Vec::new(), error: Some(LaunchError { kind, message: message.into() }) }
}
