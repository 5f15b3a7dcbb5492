//! Cold launches: one call, one zone, and what the answer means.
//!
//! What lives here: the request and the reading of its answer. What may not: another zone, another type or another try;
//! the next plan ranks around a refusal.
//!
//! Invariant: a launch is asked for under the token made from its id, with parameters that follow from the launch alone.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_autoscaling::operation::launch_instances::LaunchInstancesOutput;
use aws_sdk_autoscaling::types::RetryStrategy;
use muster_core::ids::InstanceId;
use muster_core::launch::{LAUNCH_MAX, Launch, LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::ports::CloudError;

use super::account::{Account, lock};
use super::blueprint::Blueprint;
use super::budget::{Api, Resource};
use super::errors::{Failure, meaning};
use super::names::client_token;

/// When a group without `LaunchInstances` is tried again.
const PROBE_AGAIN: Duration = Duration::from_secs(24 * 3_600);

/// How long a launch without an answer is asked for again, and then some.
const PAID_FOR: Duration = Duration::from_secs(3_600);

/// Which kind a mixture of refusals is told as. What some types lack elsewhere is no fault of the configuration; a quota
/// is told before a want of capacity, for somebody has to act.
const PRECEDENCE: [LaunchErrorKind; 5] = [
    LaunchErrorKind::Quota,
    LaunchErrorKind::Throttled,
    LaunchErrorKind::Capacity,
    LaunchErrorKind::Configuration,
    LaunchErrorKind::Unknown,
];

impl Account {
    /// Launches into a group that is as it should be. Where there is no `LaunchInstances`, which is found out once for
    /// each group and tried again after a day, desired capacity is raised as for standby, in a zone of the group's choice.
    pub(super) async fn launch_cold(
        &self,
        blueprint: &Blueprint,
        launch: &Launch,
        known: &[InstanceId],
    ) -> Result<LaunchReply, CloudError> {
        let lacking = lock(&self.no_launches).get(&blueprint.name).copied();
        if lacking.is_some_and(|at| (self.now)().since(at) < PROBE_AGAIN) {
            return self.launch_by_raise(blueprint, launch, known).await;
        }
        match self.try_launch(blueprint, launch).await {
            Ok(reply) => Ok(reply),
            Err(failure) if failure.is_unknown_action() => {
                tracing::warn!("{failure}: desired capacity is raised instead, one launch of a group at a time");
                lock(&self.no_launches).insert(blueprint.name.clone(), (self.now)());
                self.launch_by_raise(blueprint, launch, known).await
            }
            Err(failure) if failure.is_not_found() => {
                // Somebody has deleted the group that we took for sound. Nothing was launched.
                self.doubt(&blueprint.name);
                self.realise(blueprint).await.map_err(Failure::on_the_way)?;
                self.try_launch(blueprint, launch).await.or_else(answer)
            }
            Err(failure) => answer(failure),
        }
    }

    async fn try_launch(&self, blueprint: &Blueprint, launch: &Launch) -> Result<LaunchReply, Failure> {
        let first = self.pay(launch).await?;
        let answer = self.ask(blueprint, launch).await;
        self.settle(launch, first, &answer);
        answer
    }

    /// Takes from the budget of instances what a launch needs, once: a repeat under its token launches nothing more.
    /// Whether this is the first time.
    async fn pay(&self, launch: &Launch) -> Result<bool, Failure> {
        if lock(&self.paid).contains_key(&launch.id) {
            return Ok(false);
        }
        self.budgets.take_instances(Resource::RunInstances, launch.count).await?;
        let now = (self.now)();
        let mut paid = lock(&self.paid);
        // Of those nobody will ask any more.
        paid.retain(|_, at| now.since(*at) < PAID_FOR);
        paid.insert(launch.id.clone(), now);
        Ok(true)
    }

    /// Gives back what was taken for instances that have not come; as long as they still may, it stays taken.
    fn settle(&self, launch: &Launch, first: bool, answer: &Result<LaunchReply, Failure>) {
        let came = match answer {
            Ok(reply) => u32::try_from(reply.instances.len()).unwrap_or(launch.count),
            // A repeat that is refused says nothing of what the first attempt has done.
            Err(failure) if first && failure.refusal().is_some() => 0,
            Err(_) => return,
        };
        self.budgets.give_back_instances(Resource::RunInstances, launch.count.saturating_sub(came));
        lock(&self.paid).remove(&launch.id);
    }

    async fn ask(&self, blueprint: &Blueprint, launch: &Launch) -> Result<LaunchReply, Failure> {
        lock(&self.excess).busy(&blueprint.name, (self.now)());
        let count = i32::try_from(launch.count.min(LAUNCH_MAX)).unwrap_or(1);
        let answer = self
            .call(Api::LaunchInstances, |clients| {
                // Once: the SDK's repetition could be refused although the first attempt, answered too late, has launched.
                clients
                    .scaling_once
                    .launch_instances()
                    .auto_scaling_group_name(&blueprint.name)
                    .requested_capacity(count)
                    .client_token(client_token(&launch.id))
                    .availability_zones(launch.purpose.zone.as_str())
                    .retry_strategy(RetryStrategy::None)
                    .send()
            })
            .await;
        lock(&self.excess).busy(&blueprint.name, (self.now)());
        answer.map(|answer| read(&answer, launch.count))
    }
}

/// What a failed call means for the launch.
fn answer(failure: Failure) -> Result<LaunchReply, CloudError> {
    match failure.refusal() {
        // The service's own word that it has no room, given for the whole request.
        Some(kind @ (LaunchErrorKind::Capacity | LaunchErrorKind::Quota)) => {
            let error = LaunchError { kind, message: failure.text.as_str().into() };
            Ok(LaunchReply { instances: Vec::new(), error: Some(error) })
        }
        Some(
            LaunchErrorKind::Throttled
            | LaunchErrorKind::Configuration
            | LaunchErrorKind::Outdated
            | LaunchErrorKind::Unknown,
        )
        | None => Err(failure.into()),
    }
}

/// The machines that came, and one error for those that did not.
fn read(answer: &LaunchInstancesOutput, wanted: u32) -> LaunchReply {
    let ids = answer.instances().iter().flat_map(|some| some.instance_ids());
    let instances: Vec<InstanceId> = ids.map(|id| InstanceId::new(id.as_str())).collect();
    if instances.len() >= wanted as usize {
        return LaunchReply { instances, error: None };
    }
    let mut by_kind: BTreeMap<LaunchErrorKind, Vec<String>> = BTreeMap::new();
    for error in answer.errors() {
        let code = error.error_code().unwrap_or("no code");
        let (what, zone) =
            (error.instance_type().unwrap_or("any type"), error.availability_zone().unwrap_or("any zone"));
        let words = error.error_message().unwrap_or("no message");
        let text = format!("{code} ({what}, {zone}): {words}");
        let texts = by_kind.entry(meaning(code)).or_default();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    let others: usize = by_kind.values().map(Vec::len).sum::<usize>().saturating_sub(1);
    let worst = PRECEDENCE.iter().find_map(|kind| Some((*kind, by_kind.get(kind)?.first()?)));
    let error = match worst {
        Some((kind, text)) if others > 0 => LaunchError { kind, message: format!("{text}; and {others} more").into() },
        Some((kind, text)) => LaunchError { kind, message: text.as_str().into() },
        None => {
            let message = format!("{} of {wanted} instances came, and no word about the rest", instances.len());
            LaunchError { kind: LaunchErrorKind::Unknown, message: message.into() }
        }
    };
    LaunchReply { instances, error: Some(error) }
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::{InstanceCollection, LaunchInstancesError};

    use super::*;

    fn answered(ids: &[&str], errors: &[(&str, &str)]) -> LaunchReply {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let some = InstanceCollection::builder().set_instance_ids(Some(ids)).build();
        let error = |(code, name): &(&str, &str)| {
            LaunchInstancesError::builder().error_code(*code).instance_type(*name).availability_zone("a").build()
        };
        let errors = errors.iter().map(error).collect();
        read(&LaunchInstancesOutput::builder().instances(some).set_errors(Some(errors)).build(), 2)
    }

    #[test]
    fn a_mixture_of_refusals_is_one_error() {
        let kind = |errors: &[(&str, &str)]| answered(&[], errors).error.unwrap().kind;
        let (ice, unsupported) = (("InsufficientInstanceCapacity", "a.large"), ("Unsupported", "b.large"));
        assert_eq!(kind(&[unsupported, ice]), LaunchErrorKind::Capacity);
        assert_eq!(kind(&[ice, ("VcpuLimitExceeded", "c.large")]), LaunchErrorKind::Quota);
        assert_eq!(kind(&[unsupported]), LaunchErrorKind::Configuration);
        assert_eq!(kind(&[("Gremlins", "d.large")]), LaunchErrorKind::Unknown);
        assert_eq!(kind(&[]), LaunchErrorKind::Unknown);
        let told = answered(&[], &[unsupported, ice, ice]).error.unwrap().to_string();
        assert_eq!(told, "capacity: InsufficientInstanceCapacity (a.large, a): no message; and 1 more");
    }

    #[test]
    fn errors_beside_enough_instances_do_not_matter() {
        let ice = ("InsufficientInstanceCapacity", "a.large");
        assert_eq!(answered(&["i-1", "i-2"], &[ice]).error, None);
        let part = answered(&["i-1"], &[ice]);
        assert_eq!((part.instances.len(), part.error.unwrap().kind), (1, LaunchErrorKind::Capacity));
    }
}
