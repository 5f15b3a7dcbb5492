//! Auto Scaling groups: made at the first launch of a shape, and changed when what they are made from has changed.
//!
//! What lives here: one group's making, and reading groups. What may not: their desired capacity.
//!
//! Invariant: a group is marked as made from something only after all of it is in force: a change that was cut off is
//! made again. Changing a group never lowers its maximum below its desired capacity, for that would end machines.

use std::time::Duration;

use aws_sdk_autoscaling::types::{
    AcceleratorCountRequest, AcceleratorType, AutoScalingGroup, CpuManufacturer, Filter, InstanceGeneration,
    InstanceRequirements, InstancesDistribution, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification,
    LifecycleState, MemoryMiBRequest, MixedInstancesPolicy, Tag, VCpuCountRequest,
};
use muster_core::launch::LaunchErrorKind;
use muster_core::time::Timestamp;

use super::account::{Account, lock};
use super::blueprint::{Attributes, Blueprint, Hardware};
use super::budget::Api;
use super::errors::Failure;
use super::names::{FLEET_TAG, MADE_FROM_TAG, SHAPE_TAG};
use super::template::Version;

/// A group that was found as it should be is not looked at again for so long.
const FRESH: Duration = Duration::from_secs(600);
/// Groups in one page (Auto Scaling API, `DescribeAutoScalingGroups`).
const PAGE: i32 = 100;
/// Pages read in one look: a fleet of more groups than any account may have.
const PAGES_MAX: usize = 20;
/// Processes that would do what the fleet decides itself. In a group with a warm pool, Auto Scaling replaces what is
/// unhealthy in the pool.
const SUSPENDED: [&str; 3] = ["AZRebalance", "AlarmNotification", "ReplaceUnhealthy"];
const SUSPENDED_WITH_POOL: [&str; 2] = ["AZRebalance", "AlarmNotification"];

/// A group that is as its blueprint says.
#[derive(Clone, Debug)]
pub(super) struct Realised {
    made_from: String,
    at: Timestamp,
}

impl Account {
    /// Sees to it that the group is there and as its blueprint says.
    pub(super) async fn realise(&self, blueprint: &Blueprint) -> Result<(), Failure> {
        if self.is_realised(blueprint) {
            return Ok(());
        }
        let _turn = self.turn(&blueprint.name).await;
        if self.is_realised(blueprint) {
            return Ok(());
        }
        let made_from = blueprint.hash();
        match self.find_group(&blueprint.name).await? {
            Some(group) if is_made_from(&group, &made_from) => {}
            found => {
                let version = self.template_version(&blueprint.name, &blueprint.template).await?;
                match found {
                    Some(group) => self.change_group(blueprint, &version, &group).await?,
                    None => match self.make_group(blueprint, &version).await {
                        Ok(()) => {}
                        Err(failure) => return Err(self.explained(failure).await),
                    },
                }
                self.suspend(blueprint).await?;
                self.mark(blueprint, &made_from).await?;
            }
        }
        let realised = Realised { made_from, at: (self.now)() };
        lock(&self.realised).insert(blueprint.name.clone(), realised);
        Ok(())
    }

    fn is_realised(&self, blueprint: &Blueprint) -> bool {
        let now = (self.now)();
        lock(&self.realised)
            .get(&blueprint.name)
            .is_some_and(|known| known.made_from == blueprint.hash() && now.since(known.at) < FRESH)
    }

    /// The next launch looks at the group again.
    pub(super) fn doubt(&self, group: &str) {
        lock(&self.realised).remove(group);
    }

    /// The group of this name.
    ///
    /// # Errors
    /// It could not be read, or it is not this fleet's.
    pub(super) async fn find_group(&self, name: &str) -> Result<Option<AutoScalingGroup>, Failure> {
        let found = self
            .call(Api::DescribeAutoScalingGroups, |clients| {
                clients.scaling.describe_auto_scaling_groups().auto_scaling_group_names(name).send()
            })
            .await?;
        let mut groups = found.auto_scaling_groups.unwrap_or_default();
        let Some(group) = groups.pop() else { return Ok(None) };
        if tag_of(&group, FLEET_TAG) != Some(self.fleet.as_str()) {
            let why = format!(
                "the group {name} in {} exists and has no tag {FLEET_TAG}={}: delete it, or rename the fleet",
                self.title(),
                self.fleet
            );
            return Err(Failure::ours(LaunchErrorKind::Configuration, why));
        }
        Ok(Some(group))
    }

    /// All groups of the fleet here.
    pub(super) async fn groups(&self) -> Result<Vec<AutoScalingGroup>, Failure> {
        let mut groups: Vec<AutoScalingGroup> = Vec::new();
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let page = self
                .call(Api::DescribeAutoScalingGroups, |clients| {
                    let ours = Filter::builder().name(format!("tag:{FLEET_TAG}")).values(&self.fleet).build();
                    let describe = clients.scaling.describe_auto_scaling_groups().filters(ours).max_records(PAGE);
                    describe.set_next_token(next.take()).send()
                })
                .await?;
            groups.extend(page.auto_scaling_groups.unwrap_or_default());
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                // What the service has filtered is filtered here too: nothing of ours is done to what is not ours.
                groups.retain(|group| tag_of(group, FLEET_TAG) == Some(self.fleet.as_str()));
                return Ok(groups);
            }
        }
        let why = format!("{} has more than {PAGES_MAX} pages of groups", self.title());
        Err(Failure::ours(LaunchErrorKind::Unknown, why))
    }

    async fn make_group(&self, blueprint: &Blueprint, version: &Version) -> Result<(), Failure> {
        self.call(Api::CreateAutoScalingGroup, |clients| {
            clients
                .scaling
                .create_auto_scaling_group()
                .auto_scaling_group_name(&blueprint.name)
                .mixed_instances_policy(policy(blueprint, version))
                .min_size(0)
                .max_size(size(blueprint.size_max))
                .desired_capacity(0)
                .vpc_zone_identifier(blueprint.subnets.join(","))
                .new_instances_protected_from_scale_in(true)
                .capacity_rebalance(false)
                .health_check_type("EC2")
                .health_check_grace_period(0)
                .default_cooldown(0)
                .set_tags(Some(self.tags(blueprint)))
                .send()
        })
        .await
        .map(|_| ())
    }

    async fn change_group(
        &self,
        blueprint: &Blueprint,
        version: &Version,
        is: &AutoScalingGroup,
    ) -> Result<(), Failure> {
        let members = i32::try_from(is.instances().len()).unwrap_or(i32::MAX);
        let floor = is.desired_capacity().unwrap_or(0).max(members);
        self.call(Api::UpdateAutoScalingGroup, |clients| {
            clients
                .scaling
                .update_auto_scaling_group()
                .auto_scaling_group_name(&blueprint.name)
                .mixed_instances_policy(policy(blueprint, version))
                .min_size(0)
                .max_size(size(blueprint.size_max).max(floor))
                .vpc_zone_identifier(blueprint.subnets.join(","))
                .new_instances_protected_from_scale_in(true)
                .capacity_rebalance(false)
                .health_check_type("EC2")
                .health_check_grace_period(0)
                .default_cooldown(0)
                .send()
        })
        .await
        .map(|_| ())
    }

    async fn suspend(&self, blueprint: &Blueprint) -> Result<(), Failure> {
        let processes: &[&str] = if blueprint.standby { &SUSPENDED_WITH_POOL } else { &SUSPENDED };
        self.call(Api::SuspendProcesses, |clients| {
            clients
                .scaling
                .suspend_processes()
                .auto_scaling_group_name(&blueprint.name)
                .set_scaling_processes(Some(processes.iter().map(|name| (*name).to_owned()).collect()))
                .send()
        })
        .await
        .map(|_| ())
    }

    async fn mark(&self, blueprint: &Blueprint, made_from: &str) -> Result<(), Failure> {
        let name = blueprint.name.as_str();
        let mut tags = self.tags(blueprint);
        tags.push(group_tag(name, MADE_FROM_TAG, made_from, false));
        self.put_tags(tags).await
    }

    /// Notes something on a group.
    pub(super) async fn tag_group(&self, group: &str, key: &str, value: &str) -> Result<(), Failure> {
        // The fleet's tag goes with it: the controller may only write tags together with it.
        self.put_tags(vec![group_tag(group, FLEET_TAG, &self.fleet, true), group_tag(group, key, value, false)]).await
    }

    async fn put_tags(&self, tags: Vec<Tag>) -> Result<(), Failure> {
        self.call(Api::CreateOrUpdateTags, |clients| {
            clients.scaling.create_or_update_tags().set_tags(Some(tags)).send()
        })
        .await
        .map(|_| ())
    }

    /// The tags that a group's machines have too.
    fn tags(&self, blueprint: &Blueprint) -> Vec<Tag> {
        let tag = |key, value| group_tag(&blueprint.name, key, value, true);
        vec![tag(FLEET_TAG, &self.fleet), tag(SHAPE_TAG, &blueprint.template.shape)]
    }
}

fn group_tag(group: &str, key: &str, value: &str, propagate: bool) -> Tag {
    let tag = Tag::builder().key(key).value(value).propagate_at_launch(propagate);
    tag.resource_id(group).resource_type("auto-scaling-group").build()
}

/// A tag of a group.
pub(super) fn tag_of<'a>(group: &'a AutoScalingGroup, key: &str) -> Option<&'a str> {
    group.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
}

/// Whether all of what a group was made from is in force. Whoever has set its template to `$Latest` by hand has changed it.
pub(super) fn is_made_from(group: &AutoScalingGroup, hash: &str) -> bool {
    tag_of(group, MADE_FROM_TAG) == Some(hash)
        && template_version(group).is_none_or(|version| !version.starts_with('$'))
}

/// The version of the launch template that a group makes its machines from.
pub(super) fn template_version(group: &AutoScalingGroup) -> Option<&str> {
    group.mixed_instances_policy()?.launch_template()?.launch_template_specification()?.version()
}

/// Whether a member is on its way out, or out.
pub(super) fn is_leaving(state: &LifecycleState) -> bool {
    state.as_str().contains("Terminat")
}

fn size(of: u32) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

fn policy(blueprint: &Blueprint, version: &Version) -> MixedInstancesPolicy {
    let specification =
        LaunchTemplateSpecification::builder().launch_template_id(&version.template).version(&version.number).build();
    let overrides = match &blueprint.hardware {
        Hardware::Types(types) => {
            types.iter().map(|name| LaunchTemplateOverrides::builder().instance_type(&**name).build()).collect()
        }
        Hardware::Attributes(attributes) => {
            vec![LaunchTemplateOverrides::builder().instance_requirements(requirements(attributes)).build()]
        }
    };
    let template =
        LaunchTemplate::builder().launch_template_specification(specification).set_overrides(Some(overrides)).build();
    let distribution = InstancesDistribution::builder().on_demand_base_capacity(0);
    let distribution = if blueprint.spot {
        distribution.on_demand_percentage_above_base_capacity(0).spot_allocation_strategy("price-capacity-optimized")
    } else {
        // By attributes there is no order to be kept (Auto Scaling API, `InstancesDistribution`).
        let strategy = match blueprint.hardware {
            Hardware::Types(_) => "prioritized",
            Hardware::Attributes(_) => "lowest-price",
        };
        distribution.on_demand_percentage_above_base_capacity(100).on_demand_allocation_strategy(strategy)
    };
    MixedInstancesPolicy::builder().launch_template(template).instances_distribution(distribution.build()).build()
}

/// vCPUs exactly, memory at least: the allocation strategy takes the cheapest of what is enough. Burstable and bare-metal
/// types are left out, as is the API's default.
fn requirements(attributes: &Attributes) -> InstanceRequirements {
    let vcpus = attributes.vcpus.map(size);
    let vcpus = VCpuCountRequest::builder().min(vcpus.unwrap_or(0)).set_max(vcpus).build();
    let memory = MemoryMiBRequest::builder().min(size(attributes.memory_mib.unwrap_or(0))).build();
    let gpus = size(attributes.gpus);
    let accelerators = AcceleratorCountRequest::builder().min(gpus).max(gpus).build();
    let requirements = InstanceRequirements::builder()
        .v_cpu_count(vcpus)
        .memory_mib(memory)
        .accelerator_count(accelerators)
        .instance_generations(InstanceGeneration::Current);
    let requirements =
        if attributes.gpus > 0 { requirements.accelerator_types(AcceleratorType::Gpu) } else { requirements };
    let makers: &[CpuManufacturer] = if attributes.arm {
        &[CpuManufacturer::AmazonWebServices]
    } else {
        &[CpuManufacturer::Intel, CpuManufacturer::Amd]
    };
    requirements.set_cpu_manufacturers(Some(makers.to_vec())).build()
}
