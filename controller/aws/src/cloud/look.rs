//! A look at one account: which instances are there, which are not, and what is tidied up on the occasion.
//!
//! Invariant: an instance is told as absent only when every list that could have it was read to its end.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use futures_util::future::join;
use muster_core::config::FleetConfig;
use muster_core::ids::{InstanceId, ShapeId};
use muster_core::ports::Sighting;

use super::account::Account;
use super::errors::Failure;
use super::group::tag_of;
use super::instances::AllSeen;
use super::names::SHAPE_TAG;
use super::phantom::dead_members;

/// Dead members buried in one look at a group (`TerminateInstanceInAutoScalingGroup`, `InstanceIds`).
const BURIED_MAX: usize = 100;
/// Tidying up is cut short after this long: a tick waits for it.
const TIDY_WITHIN: Duration = Duration::from_millis(2_500);

impl Account {
    /// Looks for `known` instances of this account, and for whatever else is the fleet's here.
    pub(super) async fn look(&self, known: &[InstanceId], config: &FleetConfig) -> Sighting {
        match self.try_look(known, config).await {
            Ok(sighting) => sighting,
            Err(failure) => Sighting { troubles: vec![failure.to_string()], ..Sighting::default() },
        }
    }

    async fn try_look(&self, known: &[InstanceId], config: &FleetConfig) -> Result<Sighting, Failure> {
        let (instances, groups) =
            join(self.look_for("instances", self.list(known)), self.look_for("groups", self.groups())).await;
        let instances = instances?;
        let absent = known.iter().filter(|instance| !instances.contains_key(*instance)).cloned().collect();
        let mut troubles = Vec::new();
        let mut stock = BTreeSet::new();
        match groups {
            Ok(groups) => {
                match self.look_for("standby stock", self.all_stock(&groups)).await {
                    Ok(members) => stock = members,
                    Err(failure) => troubles.push(failure.to_string()),
                }
                let tidied = self.tidy_up(&groups, &instances, config, &mut troubles);
                if tokio::time::timeout(TIDY_WITHIN, tidied).await.is_err() {
                    troubles.push(format!("tidying up {} takes long: it goes on at the next look", self.title()));
                }
            }
            Err(failure) => troubles.push(format!("reading groups: {failure}")),
        }
        let wanted: BTreeSet<&InstanceId> = known.iter().collect();
        // Stock is no machine of the ledger's before it is launched.
        let is_told =
            |instance: &InstanceId, ours: bool| wanted.contains(instance) || (ours && !stock.contains(instance));
        let seen = instances.iter().filter(|(instance, seen)| is_told(instance, seen.ours));
        let seen = seen.map(|(instance, seen)| (instance.clone(), seen.state)).collect();
        Ok(Sighting { seen, absent, troubles })
    }

    /// All that stands by in these groups, or is on its way to.
    async fn all_stock(&self, groups: &[AutoScalingGroup]) -> Result<BTreeSet<InstanceId>, Failure> {
        let mut stock = BTreeSet::new();
        for group in groups.iter().filter(|group| group.warm_pool_configuration().is_some()) {
            let members = self.pool_members(group.auto_scaling_group_name().unwrap_or_default()).await?;
            stock.extend(members.into_iter().map(|member| member.instance));
        }
        Ok(stock)
    }

    async fn list(&self, known: &[InstanceId]) -> Result<AllSeen, Failure> {
        let mut instances = self.fleet_instances().await?;
        let unlisted: Vec<&InstanceId> = known.iter().filter(|instance| !instances.contains_key(*instance)).collect();
        if !unlisted.is_empty() {
            // A tag may have been taken off, or not be there yet.
            instances.append(&mut self.described_by_id(unlisted).await?);
        }
        Ok(instances)
    }

    /// Buries the dead, cancels phantom capacity, tells what launches that nobody waits for have come to, and removes what is
    /// long unused. Each step looks again at what it changes: one that is cut short is done at the next look.
    async fn tidy_up(
        &self,
        groups: &[AutoScalingGroup],
        instances: &AllSeen,
        config: &FleetConfig,
        troubles: &mut Vec<String>,
    ) {
        let begin = self.tidied.fetch_add(1, Ordering::Relaxed).checked_rem(groups.len()).unwrap_or(0);
        let (before, after) = groups.split_at(begin);
        let groups = [after, before].concat();
        for group in &groups {
            let dead = dead_members(group, instances);
            let name = group.auto_scaling_group_name().unwrap_or_default();
            let failed = self.end_members(name, &dead[..dead.len().min(BURIED_MAX)]).await;
            troubles.extend(failed.iter().map(|(member, failure)| format!("burying {member}: {failure}")));
        }
        self.cancel_excess(&groups, instances, troubles).await;
        self.tell_why_machines_lack(&groups, troubles).await;
        let shapes = groups.iter().filter_map(|group| tag_of(group, SHAPE_TAG));
        let wanted = shapes.filter(|shape| config.shape(&ShapeId::new(*shape)).is_some()).map(str::to_owned);
        self.retire(&groups, &wanted.collect(), troubles).await;
    }
}
