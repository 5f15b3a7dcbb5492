//! The tick: merge new facts, observe, plan, check, commit, execute, record.
//!
//! What lives here: the order of these steps and the writes between them. What may not: a decision (the planner's), time
//! (the driver's), a retry (the next tick is the retry).
//!
//! Invariant: intent before effect. Whatever a tick does outside was committed before, under the generation that it saw;
//! a scaler that dies between any two steps leaves a ledger from which the next one goes on.

mod execute;
mod hot;
mod interrupted;
mod observe;
mod report;
mod silence;
#[cfg(test)]
mod slow_tests;
mod step;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use muster_core::check::check;
use muster_core::claim::Order;
use muster_core::config::FleetConfig;
use muster_core::fact::{FactBody, GroupEvent, GroupEventKind};
use muster_core::ids::{InstanceId, JobKey, LaunchId};
use muster_core::launch::Launch;
use muster_core::machine::MachinePhase;
use muster_core::plan::{BOOT_MAX, Plan, Policy, plan};
use muster_core::ports::{Batch, Cloud, CloudError, Github, GithubError, NewFact, Store, StoreError, Switch};
use muster_core::stages::Stages;
use muster_core::time::Timestamp;
use muster_core::world::{Effect, Merged, News, World};
use muster_webhook::clock::Clock;
use thiserror::Error;

pub use observe::{GONE_AFTER, GONE_READS, LOOK_MAX, NEWBORN, OBSERVE_EVERY, OBSERVE_IDLE_EVERY};
pub use report::{JobNews, TickReport};
pub use silence::{RELEASED_MAX, SILENCED_MAX};
pub use step::{Probe, Step, StopAt};

/// Facts merged in one write.
pub const FACTS_MAX: usize = 1_000;
/// Steps of a plan committed in one write: each chunk is valid alone.
pub const STEPS_MAX: usize = 40;
/// A launch without an outcome is asked for again, under the same token, after this long.
pub const ASK_AGAIN: Duration = Duration::from_secs(10);
/// An effect without a token of its own is not started later than this after its commit: another scaler may have looked
/// in the meantime.
pub const EFFECT_WITHIN: Duration = Duration::from_secs(5);

/// An answer from outside is waited for so long. One that comes later was no answer: what was asked for may have happened.
pub const CALL_MAX: Duration = Duration::from_secs(30);
/// A tick that must be over by a certain time keeps this much for writing down how its effects went.
pub const RECORD_WITHIN: Duration = Duration::from_secs(3);
/// It begins nothing outside with less than this left.
pub const BEGIN_WITH: Duration = Duration::from_secs(8);
/// A refusal of a repeated launch does not settle it before it is as old as this: the first request may have launched.
/// Agents that the ledger does not know give up in this time.
pub const UNCERTAIN_MAX: Duration = BOOT_MAX;

/// A tick could not finish. Nothing is lost: facts wait in the ledger, intents too.
#[derive(Debug, Error)]
pub enum TickError {
    /// The ledger failed, or another scaler wrote to it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The probe stopped the tick.
    #[error("stopped at {0:?}")]
    Stopped(Step),
}

/// The scaler: one for each fleet.
pub struct Reconciler<S, C, G, K> {
    store: Arc<S>,
    cloud: Arc<C>,
    github: Arc<G>,
    clock: K,
    config: Arc<FleetConfig>,
    policy: Policy,
    world: Option<World>,
    observer: observe::Observer,
    asked: BTreeMap<LaunchId, Timestamp>,
    /// What idle targets may take of GitHub's requests; `None` before the first tick.
    hot: Option<hot::Hot>,
    silenced: silence::Once,
    released: silence::Once,
    prewarmed: silence::Prewarms,
    /// When the present tick must be over.
    until: Timestamp,
    /// When the first tick began: before it, nobody may have heard the agents.
    watched_from: Option<Timestamp>,
}

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// A scaler that has seen nothing yet: its first tick loads the ledger.
    pub fn new(
        store: Arc<S>,
        cloud: Arc<C>,
        github: Arc<G>,
        clock: K,
        config: Arc<FleetConfig>,
        policy: Policy,
    ) -> Self {
        Reconciler {
            store,
            cloud,
            github,
            clock,
            config,
            policy,
            world: None,
            observer: observe::Observer::default(),
            asked: BTreeMap::new(),
            hot: None,
            silenced: silence::Once::default(),
            released: silence::Once::default(),
            prewarmed: silence::Prewarms::default(),
            until: Timestamp::MAX,
            watched_from: None,
        }
    }

    /// Takes a new configuration into use, in flight.
    pub fn set_config(&mut self, config: Arc<FleetConfig>) {
        if let Some(world) = &mut self.world {
            world.reconfigure(&config);
        }
        self.config = config;
    }

    /// What the last tick knew; `None` before the first.
    pub fn world(&self) -> Option<&World> {
        self.world.as_ref()
    }

    /// Forgets what the last tick knew if the ledger has moved on since: the next tick starts from the ledger.
    ///
    /// # Errors
    /// That of the ledger.
    pub async fn trust_only_if_latest(&mut self) -> Result<(), StoreError> {
        if let Some(world) = &self.world
            && self.store.generation().await? != world.generation()
        {
            self.world = None;
        }
        Ok(())
    }

    /// One tick that takes the time it needs.
    ///
    /// # Errors
    /// [`TickError`]: the next tick starts from the ledger again.
    pub async fn tick(&mut self, probe: &mut impl Probe) -> Result<TickReport, TickError> {
        self.tick_until(Timestamp::MAX, probe).await
    }

    /// One tick that is to be over by `until`: calls to the outside are waited for no longer, and what does not fit any more
    /// is left to the next tick.
    ///
    /// # Errors
    /// [`TickError`]: the next tick starts from the ledger again.
    pub async fn tick_until(&mut self, until: Timestamp, probe: &mut impl Probe) -> Result<TickReport, TickError> {
        self.until = until;
        let world = self.world.take();
        let outcome = self.steps(world, probe).await;
        outcome.map(|(world, report)| {
            self.world = Some(world);
            report
        })
    }

    async fn steps(&mut self, world: Option<World>, probe: &mut impl Probe) -> Result<(World, TickReport), TickError> {
        let now = self.clock.now();
        let mut report = TickReport::at(now);
        let mut world = match world {
            Some(world) => world,
            None => {
                self.observer = observe::Observer::default();
                self.silenced = silence::Once::default();
                self.released = silence::Once::default();
                let snapshot = self.store.load().await?;
                // At each start and after each failure anew: it is an alarm until somebody mends it.
                report.set_aside += snapshot.unreadable.len();
                let told = snapshot.unreadable.iter().map(|row| format!(
                    "a row of the ledger does not read and is left out (a machine among them may run uncounted): {row}; run \
                     the version that wrote it, or remove the row"
                ));
                report.troubles.extend(told);
                World::from_snapshot(snapshot, &self.config)
            }
        };
        world.set_watched_from(*self.watched_from.get_or_insert(now));
        probe.reached(Step::Loaded)?;
        world.set_switch(self.store.switch().await?);
        self.merge(&mut world, &mut report, probe).await?;
        world.expire_unmatched(now);
        self.observe(&mut world, &mut report).await?;
        world.set_hot_room(self.hot_room(&mut report).await);
        probe.reached(Step::Observed)?;

        let mut plan = plan(&world, &self.config, self.policy, now);
        self.strike_out(&world, &mut plan, &mut report);
        self.spend_hot_room(&plan, now);
        report.waits = std::mem::take(&mut plan.waits);
        if let Some(at) = plan.wake_at {
            report.wake(at);
        }
        let mut repeats = self.unsettled(&world, &mut report);
        for chunk in plan.steps.chunks(STEPS_MAX) {
            if self.is_late() {
                let left = plan.steps.len() - report.steps.len();
                report.troubles.push(format!("time is up: {left} steps are left to the next tick"));
                report.wake(self.clock.now());
                break;
            }
            report.steps.extend_from_slice(chunk);
            self.note_interrupted(&world, chunk, &mut report).await?;
            let mut batch = Batch::default();
            let steps = chunk.iter();
            let intended = steps.filter_map(|step| world.intend(&step.action, now, &mut batch));
            let effects: Vec<Effect> = intended.collect();
            let committed_at = self.clock.now();
            // An effect that leaves nothing to write (a removal, whose intent is the drain; a standby size) is committed
            // too: the generation rises, and a second scaler is out before anything happens.
            if !(batch.is_empty() && effects.is_empty()) {
                probe.reached(Step::Planned)?;
                self.commit(&mut world, &batch).await?;
                probe.committed(&batch);
                probe.reached(Step::Committed)?;
            }
            let effects = std::mem::take(&mut repeats).into_iter().chain(effects).collect();
            report.orders.extend(batch.orders.iter().map(|(instance, _)| instance.clone()));
            self.execute(&mut world, effects, committed_at, &mut report, probe).await?;
        }
        self.execute(&mut world, repeats, now, &mut report, probe).await?;
        self.release(&world, &mut report).await;
        self.silence(&world, &mut report).await;
        Ok((world, report))
    }

    /// Merges all new facts, a bounded number in each write.
    async fn merge(
        &mut self,
        world: &mut World,
        report: &mut TickReport,
        probe: &mut impl Probe,
    ) -> Result<(), TickError> {
        loop {
            let facts = self.store.new_facts(FACTS_MAX).await?;
            if facts.is_empty() {
                return Ok(());
            }
            let more = facts.len() == FACTS_MAX;
            let mut merged = Merged::default();
            for record in self.store.jobs(&unknown_jobs(world, &facts)).await? {
                merged.jobs.insert(record.key, record);
            }
            let mut batch = Batch::default();
            for NewFact { seq, fact } in facts {
                match fact {
                    Ok(fact) => {
                        world.merge(&fact, &self.config, &mut merged);
                        batch.merged.push(seq);
                    }
                    Err(why) => {
                        report.set_aside += 1;
                        batch.set_aside.push((seq, why));
                    }
                }
            }
            report.merged += batch.merged.len();
            let pools = merged.removed.iter();
            report.removed.extend(
                pools.filter_map(|(instance, idle)| Some((world.machine(instance)?.purpose.pool.clone(), *idle))),
            );
            report.news.extend(merged.news.iter().filter_map(|news| self.tell(news, world, &merged)));
            batch.jobs = merged.changed.iter().filter_map(|key| merged.jobs.remove(key)).collect();
            batch.machines = merged.machines.iter().filter_map(|instance| world.machine(instance).cloned()).collect();
            batch.holds = std::mem::take(&mut merged.holds);
            batch.orders = merged.news.iter().filter_map(|news| warning(news, world)).collect();
            self.commit(world, &batch).await?;
            report.orders.extend(batch.orders.iter().map(|(instance, _)| instance.clone()));
            self.prewarmed.told(merged.prewarmed, &self.config);
            self.hear_of_groups(world, &merged.groups, report);
            probe.reached(Step::Merged)?;
            if !more {
                return Ok(());
            }
        }
    }

    /// What the cloud tells of its groups is about launches that it has taken on and does in its own time: those that are
    /// open there are asked for in this tick instead of at their time.
    fn hear_of_groups(&mut self, world: &World, told: &[GroupEvent], report: &mut TickReport) {
        for GroupEvent { group, at, kind } in told {
            let Some(shape) = self.cloud.shape_of(group) else { continue };
            if let GroupEventKind::LaunchFailed { why, .. } = kind {
                report.troubles.push(format!("a machine could not be launched in {group}, at {at}: {why}"));
            }
            let open = world.launches().filter(|launch| launch.purpose.shape == shape && launch.intended_at <= *at);
            for launch in open {
                self.asked.remove(&launch.id);
            }
        }
    }

    fn tell(&self, news: &News, world: &World, merged: &Merged) -> Option<JobNews> {
        let key = match news {
            News::Queued(key) | News::Started(key) | News::Timed(key) | News::Completed(key) => key,
            News::Interrupted(instance) => return Some(JobNews::Interrupted(world.machine(instance)?.purpose.clone())),
        };
        let record = merged.jobs.get(key)?;
        let class = World::resolve(record, &self.config).class()?.clone();
        let machine = record.runner().and_then(|runner| muster_core::machine::instance_of(&runner.name));
        let machine = machine.and_then(|instance| world.machine(&instance));
        Some(match news {
            News::Queued(_) => JobNews::Queued { class },
            News::Started(_) => JobNews::Started { class, market: machine.map(|machine| machine.purpose.market) },
            News::Timed(_) => JobNews::Timed {
                class,
                market: machine.map(|machine| machine.purpose.market),
                job: Box::new(record.clone()),
                stages: Stages::of(record, machine),
            },
            News::Completed(_) => JobNews::Completed {
                class,
                conclusion: record.completed.as_ref()?.conclusion.clone(),
                started: record.started_at().is_some(),
            },
            News::Interrupted(_) => return None,
        })
    }

    /// Judges the plan and takes out what fails.
    fn strike_out(&self, world: &World, plan: &mut Plan, report: &mut TickReport) {
        let violations = check(plan, world, &self.config, report.now);
        for violation in violations.iter().rev() {
            plan.steps.remove(violation.step);
        }
        report.violations = violations;
    }

    /// Launches whose outcome was never learned, to be asked for once more: the token makes it the same launch. They need no
    /// commit, and go with the first effects of the plan.
    fn unsettled(&mut self, world: &World, report: &mut TickReport) -> Vec<Effect> {
        let now = report.now;
        if world.switch() != Switch::Run {
            // What was never asked for would be a launch now.
            return Vec::new();
        }
        let open: Vec<Launch> = world.launches().cloned().collect();
        self.asked.retain(|id, _| open.iter().any(|launch| launch.id == *id));
        if self.is_late() && !open.is_empty() {
            report.wake(self.clock.now());
            return Vec::new();
        }
        let mut effects = Vec::new();
        for launch in open {
            match self.asked.get(&launch.id).map(|at| *at + ASK_AGAIN) {
                // One that is asked for now wakes us by its answer.
                Some(due) if due > now => report.wake(due),
                Some(_) | None => {
                    self.asked.insert(launch.id.clone(), now);
                    effects.push(Effect::Launch(launch));
                }
            }
        }
        effects
    }

    /// How long the outside may be waited for now.
    fn call_max(&self) -> Duration {
        CALL_MAX.min(self.until.since(self.clock.now()).saturating_sub(RECORD_WITHIN))
    }

    /// Whether there is too little time left to begin something outside.
    fn is_late(&self) -> bool {
        self.until.since(self.clock.now()) < BEGIN_WITH
    }

    async fn commit(&self, world: &mut World, batch: &Batch) -> Result<(), TickError> {
        let generation = self.store.commit(batch, world.generation()).await?;
        world.set_generation(generation);
        Ok(())
    }
}

/// The answer of a call to the outside; `None` if there was none within `limit`: a tick must end.
async fn answered<T>(clock: &impl Clock, limit: Duration, call: impl Future<Output = T> + Send) -> Option<T> {
    let (call, late) = (pin!(call), pin!(clock.sleep(limit)));
    // The call is polled first: one that is ready at once has an answer on every clock.
    match select(call, late).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(((), _)) => None,
    }
}

/// The same for the cloud: no answer is the answer that it may have taken effect.
async fn from_cloud<T>(
    clock: &impl Clock,
    limit: Duration,
    call: impl Future<Output = Result<T, CloudError>> + Send,
) -> Result<T, CloudError> {
    let answer = answered(clock, limit, call).await;
    answer.unwrap_or_else(|| Err(CloudError::Unknown(format!("nothing within {:.1} s", limit.as_secs_f64()))))
}

/// The same for GitHub.
pub(crate) async fn from_github<T>(
    clock: &impl Clock,
    call: impl Future<Output = Result<T, GithubError>> + Send,
) -> Result<T, GithubError> {
    from_github_within(clock, CALL_MAX, call).await
}

/// The same for GitHub, with a limit of its own.
pub(crate) async fn from_github_within<T>(
    clock: &impl Clock,
    limit: Duration,
    call: impl Future<Output = Result<T, GithubError>> + Send,
) -> Result<T, GithubError> {
    let answer = answered(clock, limit, call).await;
    answer.unwrap_or_else(|| Err(GithubError::Unknown(format!("nothing within {:.1} s", limit.as_secs_f64()))))
}

/// What an agent is told of a machine that the cloud will take: its job may save what it can. Without a job the plan drains it,
/// which says more.
fn warning(news: &News, world: &World) -> Option<(InstanceId, Order)> {
    let News::Interrupted(instance) = news else { return None };
    let busy = matches!(world.machine(instance)?.phase(), MachinePhase::Busy(_));
    busy.then(|| (instance.clone(), Order::Interruption))
}

/// The jobs that these facts are about and the world does not hold: new ones, and finished ones.
fn unknown_jobs(world: &World, facts: &[NewFact]) -> Vec<JobKey> {
    let mut keys: Vec<JobKey> = facts
        .iter()
        .filter_map(|fact| match &fact.fact.as_ref().ok()?.body {
            FactBody::Job(event) => Some(event.key),
            FactBody::Machine(_)
            | FactBody::Cloud(_)
            | FactBody::Group(_)
            | FactBody::Prewarmed(_)
            | FactBody::Release(_) => None,
        })
        .filter(|key| world.job(*key).is_none())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
