//! Ending instances by name, each with desired capacity lowered by one.
//!
//! What lives here: who may be ended and by which call. What may not: who should be.
//!
//! Invariant: an instance is ended only if its tag says that it is this fleet's, or, where EC2 does not tell of it yet,
//! if it is a member of a group that has the fleet's tag.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::ids::InstanceId;
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
                if let Err(failure) = self.end_members(&group, members).await {
                    ended.failed.extend(members.iter().map(|member| (member.clone(), failure.clone().into())));
                }
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

    /// Ends, or buries, members of a group of ours, lowering its desired capacity by as many.
    pub(super) async fn end_members(&self, group: &str, members: &[InstanceId]) -> Result<(), Failure> {
        let _turn = self.turn(group).await;
        let ended = self
            .call(Api::TerminateInstanceInAutoScalingGroup, |clients| {
                let end = clients.scaling_once.terminate_instance_in_auto_scaling_group();
                let end = end.should_decrement_desired_capacity(true);
                match members {
                    [only] => end.instance_id(only.as_str()).send(),
                    several => end.auto_scaling_group_name(group).set_instance_ids(Some(texts(several))).send(),
                }
            })
            .await;
        match ended {
            Ok(_) => Ok(()),
            // One of them left in the meantime. The others are asked for one by one.
            Err(failure) if members.len() > 1 && failure.refusal().is_some() => self.end_each(members).await,
            Err(failure) if failure.is_not_found() || failure.is("ScalingActivityInProgress") => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn end_each(&self, members: &[InstanceId]) -> Result<(), Failure> {
        let mut failed = None;
        for member in members {
            let ended = self
                .call(Api::TerminateInstanceInAutoScalingGroup, |clients| {
                    let end = clients.scaling_once.terminate_instance_in_auto_scaling_group();
                    end.should_decrement_desired_capacity(true).instance_id(member.as_str()).send()
                })
                .await;
            match ended {
                Ok(_) => {}
                Err(failure) if failure.is_not_found() || failure.is("ScalingActivityInProgress") => {}
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(()), Err)
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
