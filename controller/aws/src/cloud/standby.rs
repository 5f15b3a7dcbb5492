//! Standby groups: a warm pool of a size that we say, machines taken out of it by raising desired capacity, and the hook
//! that they wait at on their way in and out.
//!
//! What lives here: the pool's size, the raise, and who came by it. What may not: a second raise while one is open.
//!
//! `LaunchInstances` does not work in a group with a warm pool, and raising desired capacity has no token. So the group
//! itself remembers the one raise that is open, in a tag that is written before it: a repeat of the launch finds it and
//! raises nothing. Whose the machines are is told by the ledger: a member that it does not know, and that was not there
//! before the raise, has come by it. The tag stays after the answer, for the answer may never be written down: the next
//! launch takes its place once the ledger knows all who came.
//!
//! Members of a pool cannot be ended by name. So a stock that was made from another template, such as a former image, is
//! renewed by its size: the pool is emptied, and filled again when the last of the old ones is on its way out.
//!
//! A raise whose launches Auto Scaling reports as failed is not waited out: what is missing is taken back, and the launch is
//! told what the group's activities say, so that the next plan goes elsewhere.
//!
//! Invariant: one raise at a time; under one launch's id desired capacity is raised once.

use std::time::Duration;

use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, InstanceReusePolicy, LifecycleState, WarmPoolState};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use muster_core::ids::{InstanceId, ShapeId};
use muster_core::launch::{Launch, LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::machine::Origin;
use muster_core::ports::CloudError;
use muster_core::time::Timestamp;

use super::account::{Account, lock};
use super::blueprint::Blueprint;
use super::budget::{Api, Resource};
use super::errors::Failure;
use super::group::{is_leaving, is_made_from, tag_of, template_version};
use super::names::{RAISE_TAG, SHAPE_TAG, client_token};

/// The hook of every standby group.
const HOOK: &str = "muster-standby";
/// How long a machine waits at the hook when nobody says that it may go on: warming up takes this long at most. It goes
/// on then all the same.
const HOOK_SECONDS: i32 = 300;
/// Machines that are let go on at a time.
const RELEASED_AT_ONCE: usize = 10;
/// Before that, a raise is not judged by the group's activities: they may not be listed yet.
const ACTIVITIES_AFTER: Duration = Duration::from_secs(20);
/// One that never took effect is made again until then: what comes of it needs time before the raise is over.
const RAISED_AGAIN_UNTIL: Duration = Duration::from_secs(120);
/// A raise whose machines have not come by then is over: starting takes less than a minute.
pub(super) const RAISE_MAX: Duration = Duration::from_secs(240);
/// Members that the ledger does not know, at the time of a raise: more than these do not fit into the tag.
const STRANGERS_MAX: usize = 6;
/// Longest value of a tag (Auto Scaling API, `Tag`).
const TAG_CHARS_MAX: usize = 256;
/// Longest client token and the other parts of the tag's value, with their separators.
const _: () = assert!(64 + 20 + 5 + 12 + STRANGERS_MAX * 20 < TAG_CHARS_MAX);
/// Members of a pool in one page (Auto Scaling API, `DescribeWarmPool`), and pages read.
const PAGES_MAX: usize = 50;

/// How the tag says that a raise was answered.
const ANSWERED: &str = "done";
/// How it says that it was not.
const UNANSWERED: &str = "open";

/// The pool of a standby group.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) shape: ShapeId,
    group: AutoScalingGroup,
    members: Vec<Pooled>,
}

/// A machine of a pool.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) instance: InstanceId,
    state: Option<LifecycleState>,
    /// Of the launch template that it was made from.
    version: Option<String>,
}

impl Pool {
    /// How many can be taken out of it now.
    pub(super) fn ready(&self) -> u32 {
        u32::try_from(self.members.iter().filter(|member| member.is_ready()).count()).unwrap_or(u32::MAX)
    }

    /// How many are kept in it.
    pub(super) fn size(&self) -> Option<u32> {
        let kept = self.group.warm_pool_configuration()?.max_group_prepared_capacity()?;
        u32::try_from(kept).ok()
    }

    /// Whether it is as it would be made from the blueprint.
    pub(super) fn is_as(&self, blueprint: &Blueprint, state: &WarmPoolState) -> bool {
        let kept = self.group.warm_pool_configuration().and_then(|pool| pool.pool_state());
        is_made_from(&self.group, &blueprint.hash())
            && kept == Some(state)
            && self.members.iter().all(|member| member.is_of(&self.group))
    }
}

impl Pooled {
    fn is_ready(&self) -> bool {
        use LifecycleState::{WarmedHibernated, WarmedRunning, WarmedStopped};
        matches!(self.state, Some(WarmedStopped | WarmedHibernated | WarmedRunning))
    }

    /// Whether it was made from the template that the group has now, or goes anyway.
    fn is_of(&self, group: &AutoScalingGroup) -> bool {
        self.state.as_ref().is_some_and(is_leaving)
            || self.version.as_deref().is_none_or(|made| template_version(group).is_none_or(|now| now == made))
    }
}

/// The latest raise, as its tag says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Raise {
    token: String,
    at: Timestamp,
    /// Whether its launch has got its answer, which may not be in the ledger yet.
    answered: bool,
    /// What desired capacity was raised to.
    to: i32,
    /// Members that were there before, and that the ledger did not know.
    strangers: Vec<String>,
}

impl Raise {
    fn value(&self) -> String {
        let state = if self.answered { ANSWERED } else { UNANSWERED };
        let mut parts = vec![self.token.clone(), self.at.unix_ms().to_string(), state.to_owned(), self.to.to_string()];
        parts.extend(self.strangers.iter().cloned());
        parts.join(" ")
    }

    fn of(group: &AutoScalingGroup) -> Option<Raise> {
        let mut parts = tag_of(group, RAISE_TAG)?.split(' ');
        let token = parts.next().filter(|token| token.len() > 1)?.to_owned();
        let at = Timestamp::from_unix_ms(parts.next()?.parse().ok()?);
        let answered = parts.next()? == ANSWERED;
        let to = parts.next()?.parse().ok()?;
        Some(Raise { token, at, answered, to, strangers: parts.map(str::to_owned).collect() })
    }
}

impl Account {
    /// Brings the standby stock of a group that is as it should be to `size`; to none as long as some of it were made from
    /// another template.
    pub(super) async fn set_stock(
        &self,
        blueprint: &Blueprint,
        size: u32,
        state: WarmPoolState,
    ) -> Result<(), Failure> {
        let name = blueprint.name.as_str();
        let _turn = self.turn(name).await;
        let group = self.find_group(name).await?;
        let Some(group) = group.filter(|group| size > 0 && group.warm_pool_configuration().is_some()) else {
            return self.set_pool(name, size, state).await;
        };
        let outdated = self.pool_members(name).await?.iter().filter(|member| !member.is_of(&group)).count();
        if outdated > 0 {
            tracing::info!(group = name, outdated, "the stock is made anew: those of a former template go first");
        }
        self.set_pool(name, if outdated > 0 { 0 } else { size }, state).await
    }

    /// Takes away the stock of a shape that is in no configuration, if there is one.
    pub(super) async fn empty_pool(&self, name: &str) -> Result<(), Failure> {
        let _turn = self.turn(name).await;
        let Some(group) = self.find_group(name).await? else { return Ok(()) };
        match group.warm_pool_configuration().and_then(|pool| pool.pool_state()) {
            Some(state) => self.set_pool(name, 0, state.clone()).await,
            None => Ok(()),
        }
    }

    async fn set_pool(&self, name: &str, size: u32, state: WarmPoolState) -> Result<(), Failure> {
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        self.call(Api::PutLifecycleHook, |clients| {
            clients
                .scaling
                .put_lifecycle_hook()
                .auto_scaling_group_name(name)
                .lifecycle_hook_name(HOOK)
                .lifecycle_transition("autoscaling:EC2_INSTANCE_LAUNCHING")
                .default_result("CONTINUE")
                .heartbeat_timeout(HOOK_SECONDS)
                .send()
        })
        .await?;
        // Both bounds, so that the stock is of this size however many are taken out: by default it would be MaxSize.
        self.call(Api::PutWarmPool, |clients| {
            clients
                .scaling
                .put_warm_pool()
                .auto_scaling_group_name(name)
                .min_size(size)
                .max_group_prepared_capacity(size)
                .pool_state(state)
                .instance_reuse_policy(InstanceReusePolicy::builder().reuse_on_scale_in(false).build())
                .send()
        })
        .await
        .map(|_| ())
    }

    /// The pools of standby groups here.
    pub(super) async fn pools(&self) -> Result<Vec<Pool>, Failure> {
        let mut pools = Vec::new();
        for group in self.groups().await? {
            let name = group.auto_scaling_group_name().unwrap_or_default();
            let Some(shape) = tag_of(&group, SHAPE_TAG).filter(|_| group.warm_pool_configuration().is_some()) else {
                continue;
            };
            let (shape, members) = (ShapeId::new(shape), self.pool_members(name).await?);
            pools.push(Pool { shape, group, members });
        }
        Ok(pools)
    }

    /// The machines of a group's pool.
    pub(super) async fn pool_members(&self, group: &str) -> Result<Vec<Pooled>, Failure> {
        let (mut members, mut next) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self
                .call(Api::DescribeWarmPool, |clients| {
                    let describe = clients.scaling.describe_warm_pool().auto_scaling_group_name(group);
                    describe.set_next_token(next.take()).send()
                })
                .await?;
            members.extend(page.instances().iter().filter_map(|member| {
                let version = member.launch_template().and_then(|template| template.version());
                Some(Pooled {
                    instance: InstanceId::new(member.instance_id()?),
                    state: member.lifecycle_state().cloned(),
                    version: version.map(str::to_owned),
                })
            }));
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(members);
            }
        }
        Err(Failure::ours(LaunchErrorKind::Unknown, format!("{group} has more than {PAGES_MAX} pages of stock")))
    }

    /// Raises desired capacity for a launch, which takes machines out of the stock if there is one. `known`: those of the
    /// shape that the ledger has.
    pub(super) async fn launch_by_raise(
        &self,
        blueprint: &Blueprint,
        launch: &Launch,
        known: &[InstanceId],
    ) -> Result<LaunchReply, CloudError> {
        let name = blueprint.name.as_str();
        let _turn = self.turn(name).await;
        let not_now = |why: String| CloudError::Throttled(format!("{name}: {why}"));
        let group = self.find_group(name).await.map_err(Failure::on_the_way)?;
        let group = group.ok_or_else(|| not_now("the group is not there yet".to_owned()))?;
        let token = client_token(&launch.id);
        let now = (self.now)();
        match Raise::of(&group) {
            Some(raise) if raise.token == token => return self.who_came(name, group, raise, launch, known).await,
            Some(raise)
                if now.since(raise.at) < RAISE_MAX
                    && !(raise.answered && newcomers(&group, known, &raise.strangers).is_empty()) =>
            {
                return Err(not_now("another launch of it is under way".to_owned()));
            }
            Some(_) | None => {}
        }
        let desired = group.desired_capacity().unwrap_or(0);
        // One that is being terminated is listed until it is gone, and counts no more: its end has lowered desired capacity.
        let staying = staying(&group).count();
        if usize::try_from(desired).ok() != Some(staying) {
            return Err(not_now(format!("it has {staying} members that stay and wants {desired}")));
        }
        let strangers: Vec<String> = newcomers(&group, known, &[]).iter().map(InstanceId::to_string).collect();
        if strangers.len() > STRANGERS_MAX {
            return Err(not_now(format!("it has {} members that the ledger does not know", strangers.len())));
        }
        let to = desired.saturating_add(i32::try_from(launch.count).unwrap_or(i32::MAX));
        let raise = Raise { token, at: now, answered: false, to, strangers };
        let resource = match launch.purpose.origin {
            Origin::Cold => Resource::RunInstances,
            Origin::Standby => Resource::StartInstances,
        };
        self.budgets.take_instances(resource, launch.count).await.map_err(Failure::on_the_way)?;
        if let Err(failure) = self.tag_group(name, RAISE_TAG, &raise.value()).await {
            self.budgets.give_back_instances(resource, launch.count);
            return Err(failure.on_the_way());
        }
        match self.raise(name, to).await {
            Ok(()) => {
                if launch.purpose.origin == Origin::Standby {
                    // Auto Scaling fills the stock up again, at once.
                    self.budgets.owe_instances(Resource::RunInstances, launch.count);
                }
                Err(CloudError::Unknown(format!(
                    "{name}: {} machines were asked for and are on their way",
                    launch.count
                )))
            }
            Err(failure) => {
                if failure.refusal().is_some() {
                    self.budgets.give_back_instances(resource, launch.count);
                    // Nothing was raised: the next launch need not wait. If this fails, it waits the raise out.
                    self.tag_group(name, RAISE_TAG, "-").await.ok();
                }
                Err(failure.into())
            }
        }
    }

    async fn raise(&self, name: &str, to: i32) -> Result<(), Failure> {
        lock(&self.excess).busy(name, (self.now)());
        let set = self.call(Api::SetDesiredCapacity, |clients| {
            let set = clients.scaling_once.set_desired_capacity().auto_scaling_group_name(name);
            set.desired_capacity(to).honor_cooldown(false).send()
        });
        set.await.map(|_| ())
    }

    /// The machines that came by the launch's raise; an answer when all are there, or when it is over.
    async fn who_came(
        &self,
        name: &str,
        group: AutoScalingGroup,
        raise: Raise,
        launch: &Launch,
        known: &[InstanceId],
    ) -> Result<LaunchReply, CloudError> {
        let wanted = launch.count as usize;
        let mut instances = newcomers(&group, known, &raise.strangers);
        let mut error = None;
        if instances.len() < wanted {
            let waited = (self.now)().since(raise.at);
            let failed = match waited < ACTIVITIES_AFTER {
                true => None,
                false => match self.judge(name, &group, &raise, launch).await {
                    Err(failure) if waited < RAISE_MAX => return Err(CloudError::Unknown(failure.text)),
                    // Time judges it, whatever its activities say.
                    failed => failed.unwrap_or_default(),
                },
            };
            if failed.is_none() && waited < RAISE_MAX {
                let missing = wanted - instances.len();
                return Err(CloudError::Unknown(format!("{name}: {missing} of {wanted} machines are on their way")));
            }
            // Some may have come while it was taken back.
            let group = self.find_group(name).await.map_err(|failure| CloudError::Unknown(failure.text))?;
            instances = group.map(|group| newcomers(&group, known, &raise.strangers)).unwrap_or_default();
            error = failed.or_else(|| {
                let waited = RAISE_MAX.as_secs();
                let message = format!("{} of {wanted} machines came within {waited} s", instances.len()).into();
                Some(LaunchError { kind: LaunchErrorKind::Capacity, message })
            });
        }
        instances.truncate(wanted);
        if !raise.answered {
            let raise = Raise { answered: true, ..raise };
            self.tag_group(name, RAISE_TAG, &raise.value())
                .await
                .map_err(|failure| CloudError::Unknown(failure.text))?;
        }
        Ok(LaunchReply { error: error.filter(|_| instances.len() < wanted), instances })
    }

    /// Judges a raise by the group's activities. If there are none, and desired capacity is as it was, it never took effect,
    /// and is made again. If it failed and nothing is under way any more, what is missing is taken back, and why is told.
    async fn judge(
        &self,
        name: &str,
        group: &AutoScalingGroup,
        raise: &Raise,
        launch: &Launch,
    ) -> Result<Option<LaunchError>, Failure> {
        let told = self.activities(name, raise.at).await?;
        let before = raise.to.saturating_sub(i32::try_from(launch.count).unwrap_or(i32::MAX));
        let early = (self.now)().since(raise.at) < RAISED_AGAIN_UNTIL;
        if told.count == 0 && early && !raise.answered && group.desired_capacity() == Some(before) {
            tracing::warn!(group = name, to = raise.to, "desired capacity was not raised: it is raised again");
            self.raise(name, raise.to).await?;
            return Ok(None);
        }
        let Some(error) = told.failed.filter(|_| told.open == 0) else { return Ok(None) };
        let instances = self.fleet_instances().await?;
        Ok(self.lower(name, &instances).await?.then_some(error))
    }

    /// Lets machines of a standby group go on that wait at its hook.
    pub(super) async fn release(&self, group: &str, instances: &[InstanceId]) -> Vec<(InstanceId, CloudError)> {
        let calls = instances.iter().map(|instance| async move {
            let completed = self
                .call(Api::CompleteLifecycleAction, |clients| {
                    clients
                        .scaling
                        .complete_lifecycle_action()
                        .auto_scaling_group_name(group)
                        .lifecycle_hook_name(HOOK)
                        .instance_id(instance.as_str())
                        .lifecycle_action_result("CONTINUE")
                        .send()
                })
                .await;
            match completed {
                Ok(_) => None,
                // It does not wait, or not any more.
                Err(failure) if failure.is("ValidationError") => None,
                Err(failure) => Some((instance.clone(), failure.into())),
            }
        });
        // Boxed: the compiler does not see that a future over a borrowed iterator may move between threads.
        let calls: Vec<BoxFuture<'_, Option<_>>> = calls.map(FutureExt::boxed).collect();
        let answers: Vec<Option<_>> = stream::iter(calls).buffer_unordered(RELEASED_AT_ONCE).collect().await;
        answers.into_iter().flatten().collect()
    }
}

/// Members in or on the way into service.
fn staying(group: &AutoScalingGroup) -> impl Iterator<Item = &Instance> {
    group.instances().iter().filter(|member| !member.lifecycle_state().is_some_and(is_leaving))
}

/// Those that neither the ledger nor the raise's tag knows.
fn newcomers(group: &AutoScalingGroup, known: &[InstanceId], strangers: &[String]) -> Vec<InstanceId> {
    let ids = staying(group).filter_map(Instance::instance_id);
    let new = ids.filter(|id| {
        !known.iter().any(|known| known.as_str() == *id) && !strangers.iter().any(|stranger| stranger == id)
    });
    new.map(InstanceId::new).collect()
}
