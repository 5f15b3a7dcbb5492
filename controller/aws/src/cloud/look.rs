//! A look at one account: which instances are there, which are not, and what is tidied up on the occasion.
//!
//! Invariant: an instance is told as absent only when every list that could have it was read to its end.

use std::collections::BTreeSet;

use muster_core::config::FleetConfig;
use muster_core::ids::{InstanceId, ShapeId};
use muster_core::ports::Sighting;

use super::account::Account;
use super::errors::Failure;
use super::group::tag_of;
use super::names::SHAPE_TAG;
use super::phantom::dead_members;

/// Dead members buried in one look at a group (`TerminateInstanceInAutoScalingGroup`, `InstanceIds`).
const BURIED_MAX: usize = 100;

impl Account {
    /// Looks for `known` instances of this account, and for whatever else is the fleet's here.
    pub(super) async fn look(&self, known: &[InstanceId], config: &FleetConfig) -> Sighting {
        match self.try_look(known, config).await {
            Ok(sighting) => sighting,
            Err(failure) => Sighting { troubles: vec![failure.to_string()], ..Sighting::default() },
        }
    }

    async fn try_look(&self, known: &[InstanceId], config: &FleetConfig) -> Result<Sighting, Failure> {
        let mut instances = self.fleet_instances().await?;
        let unlisted: Vec<&InstanceId> = known.iter().filter(|instance| !instances.contains_key(*instance)).collect();
        if !unlisted.is_empty() {
            // A tag may have been taken off, or not be there yet.
            instances.append(&mut self.described_by_id(unlisted).await?);
        }
        let absent = known.iter().filter(|instance| !instances.contains_key(*instance)).cloned().collect();
        let mut troubles = Vec::new();
        match self.groups().await {
            Ok(groups) => {
                for group in &groups {
                    let dead = dead_members(group, &instances);
                    let name = group.auto_scaling_group_name().unwrap_or_default();
                    let dead = &dead[..dead.len().min(BURIED_MAX)];
                    if !dead.is_empty()
                        && let Err(failure) = self.end_members(name, dead).await
                    {
                        troubles.push(format!("burying {} dead members: {failure}", dead.len()));
                    }
                }
                self.cancel_excess(&groups, &instances, &mut troubles).await;
                let shapes = groups.iter().filter_map(|group| tag_of(group, SHAPE_TAG));
                let wanted = shapes.filter(|shape| config.shape(&ShapeId::new(*shape)).is_some()).map(str::to_owned);
                self.retire(&groups, &wanted.collect(), &mut troubles).await;
            }
            Err(failure) => troubles.push(format!("reading groups: {failure}")),
        }
        let wanted: BTreeSet<&InstanceId> = known.iter().collect();
        let seen = instances.iter().filter(|(instance, seen)| seen.ours || wanted.contains(instance));
        let seen = seen.map(|(instance, seen)| (instance.clone(), seen.state)).collect();
        Ok(Sighting { seen, absent, troubles })
    }
}
