//! Ending instances by name, each with desired capacity lowered by one.
//!
//! What lives here: who may be ended and by which call. What may not: who should be.
//!
//! Invariant: an instance is ended only if its tag says that it is this fleet's, or, where EC2 does not tell of it yet,
//! if it is a member of a group that has the fleet's tag.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::InstanceId;
use muster_core::launch::LaunchErrorKind;
use muster_core::ports::{CloudError, Ended, InstanceState};

use super::account::{Account, texts};
use super::budget::Api;
use super::errors::Failure;
use super::group::is_leaving;
use super::instances::AllSeen;

/// Ids in one call of `DescribeAutoScalingInstances`, and of `TerminateInstanceInAutoScalingGroup` (Auto Scaling API).
const DESCRIBED_MAX: usize = 50;
const TERMINATED_MAX: usize = 100;
/// What a warm pool's members' states begin with.
const WARMED: &str = "Warmed:";

/// Where an instance is a member.
struct Membership {
    group: String,
    leaving: bool,
    warm: bool,
}

impl Account {
    /// Ends these instances, as far as they are here and the fleet's.
    pub(super) async fn end(&self, instances: &[InstanceId], ended: &mut Ended) {
        let (seen, members) = match self.look_at(instances).await {
            Ok(found) => found,
            Err(failure) => {
                let failed = |instance: &InstanceId| (instance.clone(), failure.clone().on_the_way());
                ended.failed.extend(instances.iter().map(failed));
                return;
            }
        };
        let mut by_group: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
        let mut strays = Vec::new();
        let mut foreign = |instance: &InstanceId, why: &str| {
            ended.failed.push((instance.clone(), CloudError::Rejected(why.to_owned())));
        };
        for instance in instances {
            let member = members.get(instance);
            let Some(seen) = seen.get(instance) else {
                // Not listed: not yet, or not any more. A membership in a group of ours is enough to end it; without
                // one the lists tell in time.
                if let Some(member) = member.filter(|member| !member.leaving && !member.warm) {
                    by_group.entry(member.group.clone()).or_default().push(instance.clone());
                }
                continue;
            };
            match (seen.ours, member) {
                (false, _) => foreign(instance, "it lacks this fleet's tag: it is left alone"),
                (true, Some(member)) if member.warm => {
                    foreign(instance, "it is in a warm pool, whose members cannot be ended by name");
                }
                (true, Some(member)) if !member.leaving => {
                    by_group.entry(member.group.clone()).or_default().push(instance.clone());
                }
                (true, Some(_)) => {}
                (true, None) if seen.state == InstanceState::Live => strays.push(instance.clone()),
                (true, None) => {}
            }
            if seen.ours && seen.state == InstanceState::Gone {
                ended.gone.push(instance.clone());
            }
        }
        for (group, members) in by_group {
            for members in members.chunks(TERMINATED_MAX) {
                let failed = self.end_members(&group, members).await;
                ended.failed.extend(failed.into_iter().map(|(member, failure)| (member, failure.into())));
            }
        }
        if !strays.is_empty()
            && let Err(failure) = self.end_strays(&strays).await
        {
            ended.failed.extend(strays.iter().map(|stray| (stray.clone(), failure.clone().into())));
        }
        let failed: BTreeSet<&InstanceId> = ended.failed.iter().map(|(instance, _)| instance).collect();
        // One that is gone and not buried still counts in its group: it is tried again.
        ended.gone.retain(|instance| !failed.contains(instance));
    }

    async fn look_at(&self, instances: &[InstanceId]) -> Result<(AllSeen, BTreeMap<InstanceId, Membership>), Failure> {
        let seen = self.described_by_id(instances).await?;
        let mut members = BTreeMap::new();
        for ids in texts(instances).chunks(DESCRIBED_MAX) {
            let found = self
                .call(Api::DescribeAutoScalingInstances, |clients| {
                    clients.scaling.describe_auto_scaling_instances().set_instance_ids(Some(ids.to_vec())).send()
                })
                .await?;
            for member in found.auto_scaling_instances() {
                let (Some(id), Some(group)) = (member.instance_id(), member.auto_scaling_group_name()) else {
                    continue;
                };
                let state = member.lifecycle_state().unwrap_or_default();
                let membership = Membership {
                    group: group.to_owned(),
                    leaving: is_leaving(&state.into()),
                    warm: state.starts_with(WARMED),
                };
                members.insert(InstanceId::new(id), membership);
            }
        }
        // Of what EC2 does not tell, the group's own tag says whose it is.
        let unseen: BTreeSet<String> = members
            .iter()
            .filter(|(instance, _)| !seen.contains_key(*instance))
            .map(|(_, member)| member.group.clone())
            .collect();
        for group in unseen {
            if self.find_group(&group).await.is_err() {
                members.retain(|_, member| member.group != group);
            }
        }
        Ok((seen, members))
    }

    /// Ends, or buries, members of a group of ours, lowering its desired capacity by as many. Returns those for which it
    /// failed.
    pub(super) async fn end_members(&self, group: &str, members: &[InstanceId]) -> Vec<(InstanceId, Failure)> {
        let _turn = self.turn(group).await;
        let failure = match members {
            [] => return Vec::new(),
            [only] => return Vec::from_iter(self.end_member(group, only).await.err().map(|why| (only.clone(), why))),
            several => {
                let ended = self.call(Api::TerminateInstanceInAutoScalingGroup, |clients| {
                    let end = clients.scaling_once.terminate_instance_in_auto_scaling_group();
                    let end = end.auto_scaling_group_name(group).set_instance_ids(Some(texts(several)));
                    end.should_decrement_desired_capacity(true).send()
                });
                match ended.await {
                    Ok(_) => return Vec::new(),
                    Err(failure) => failure,
                }
            }
        };
        if failure.refusal() != Some(LaunchErrorKind::Configuration) {
            return members.iter().map(|member| (member.clone(), failure.clone())).collect();
        }
        // One of them left in the meantime, or desired capacity is lower than their number: each for itself.
        let mut failed = Vec::new();
        for member in members {
            if let Err(failure) = self.end_member(group, member).await {
                failed.push((member.clone(), failure));
            }
        }
        failed
    }

    async fn end_member(&self, group: &str, member: &InstanceId) -> Result<(), Failure> {
        let end = async |decrement: bool| {
            self.call(Api::TerminateInstanceInAutoScalingGroup, |clients| {
                let end = clients.scaling_once.terminate_instance_in_auto_scaling_group();
                end.should_decrement_desired_capacity(decrement).instance_id(member.as_str()).send()
            })
            .await
            .map(|_| ())
        };
        match end(true).await {
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) if failure.is("ValidationError") && self.wants_nothing(group).await => {
                // Somebody has lowered desired capacity below the members: there is nothing left to lower, and nothing
                // takes this one's place.
                tracing::warn!(group, %member, "desired capacity is 0 already: ended without lowering it");
                end(false).await.or(Err(failure))
            }
            other => other,
        }
    }

    /// Whether the group's desired capacity is as low as can be.
    async fn wants_nothing(&self, group: &str) -> bool {
        matches!(self.find_group(group).await, Ok(Some(group)) if group.desired_capacity() == Some(0))
    }

    /// Ends instances of ours that are members of nothing any more.
    async fn end_strays(&self, strays: &[InstanceId]) -> Result<(), Failure> {
        let ended = self
            .call(Api::TerminateInstances, |clients| {
                clients.ec2.terminate_instances().set_instance_ids(Some(texts(strays))).send()
            })
            .await;
        match ended {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
