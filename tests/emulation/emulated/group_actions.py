"""Auto Scaling: groups are made, changed, deleted and described.

Invariant: MinSize <= DesiredCapacity <= MaxSize holds for every group after every action.
"""

from __future__ import annotations

from typing import Any

from . import engine, lifecycle, offers, views
from .actions import Context, Params, action, page, with_token
from .errors import AwsError, validation
from .groups import PROCESSES, Group
from .hook_actions import hook_from
from .network import Place, default_place, place, zones
from .tag_actions import set_tags

ECHOED = (
    "LaunchTemplate",
    "MixedInstancesPolicy",
    "DefaultCooldown",
    "HealthCheckType",
    "HealthCheckGracePeriod",
    "PlacementGroup",
    "VPCZoneIdentifier",
    "TerminationPolicies",
    "NewInstancesProtectedFromScaleIn",
    "ServiceLinkedRoleARN",
    "MaxInstanceLifetime",
    "CapacityRebalance",
    "Context",
    "DesiredCapacityType",
    "DefaultInstanceWarmup",
    "InstanceMaintenancePolicy",
    "DeletionProtection",
    "AvailabilityZoneDistribution",
    "AvailabilityZoneImpairmentPolicy",
    "CapacityReservationSpecification",
    "InstanceLifecyclePolicy",
)
"""What is kept as given and described again."""

REFUSED = (
    "LaunchConfigurationName",
    "InstanceId",
    "LoadBalancerNames",
    "TargetGroupARNs",
    "TrafficSources",
    "Operator",
)
"""Known to the model, but not emulated."""

LIFETIME_MIN_S = 86_400


@action("autoscaling", "CreateAutoScalingGroup")
def create(context: Context, params: Params) -> Params:
    """MinSize is the default of DesiredCapacity; hooks exist before the first instance."""
    region, name = context.region, params["AutoScalingGroupName"]
    if name in region.groups:
        text = f"AutoScalingGroup by this name already exists - A group with the name {name} already exists"
        raise AwsError("AlreadyExists", text)
    if ":" in name:
        raise validation("The name of an Auto Scaling group cannot contain a colon.")
    if len(region.groups) >= region.limits["MaxNumberOfAutoScalingGroups"]:
        raise AwsError("LimitExceeded", "You have reached the limit of Auto Scaling groups in this Region.")
    _refuse_unknown(params)
    given = {key: params[key] for key in ECHOED if key in params}
    _check_given(context, given)
    low, high = params["MinSize"], params["MaxSize"]
    desired: int = params["DesiredCapacity"] if "DesiredCapacity" in params else low
    _check_sizes(low, high, desired)
    group = Group(
        name=name,
        account=context.account,
        region=context.region_name,
        created=context.world.clock.now(),
        given=given,
        min_size=low,
        max_size=high,
        desired=desired,
        places=_places(context, params),
    )
    for given_hook in params.get("LifecycleHookSpecificationList", []):
        group.hooks[given_hook["LifecycleHookName"]] = hook_from(given_hook, None)
    set_tags(group, params.get("Tags", []))
    region.groups[name] = group
    for hook in group.hooks.values():
        lifecycle.test_notice(context.world, group, hook)
    text = f"a user request created an AutoScalingGroup changing the desired capacity from 0 to {desired}."
    group.change = f"At {lifecycle.moment(context.world)} {text}"
    context.world.wake(group)
    return {}


@action("autoscaling", "UpdateAutoScalingGroup")
def update(context: Context, params: Params) -> Params:
    """A desired capacity outside of new bounds follows them (UpdateAutoScalingGroup's documentation)."""
    group = context.group(params["AutoScalingGroupName"])
    _refuse_unknown(params)
    given = group.given | {key: params[key] for key in ECHOED if key in params}
    if "MixedInstancesPolicy" in params:
        _merge_policy(group, given, params)
    elif "LaunchTemplate" in params:
        given.pop("MixedInstancesPolicy", None)
    _check_given(context, given)
    low, high = params.get("MinSize", group.min_size), params.get("MaxSize", group.max_size)
    desired = params.get("DesiredCapacity")
    if desired is None:
        if low > high:
            _check_sizes(low, high, low)
        desired = min(max(group.desired, low), high)
    _check_sizes(low, high, desired)
    places = (
        _places(context, params)
        if {"VPCZoneIdentifier", "AvailabilityZones", "AvailabilityZoneIds"} & set(params)
        else group.places
    )
    if desired != group.desired:
        group.change = (
            f"At {lifecycle.moment(context.world)} a user request update of AutoScalingGroup constraints to min: {low}"
            f", max: {high}, desired: {desired} changing the desired capacity from {group.desired} to {desired}."
        )
        group.blocked_until = 0.0
    group.given, group.min_size, group.max_size, group.desired, group.places = given, low, high, desired, places
    context.world.wake(group)
    return {}


def _merge_policy(group: Group, given: dict[str, Any], params: Params) -> None:
    """Parts of the policy that are not given stay (UpdateAutoScalingGroup's documentation of the policy)."""
    given.pop("LaunchTemplate", None)
    old = group.given.get("MixedInstancesPolicy") or {}
    new = params["MixedInstancesPolicy"]
    merged = dict(old) | new
    if "InstancesDistribution" in old and "InstancesDistribution" in new:
        merged["InstancesDistribution"] = old["InstancesDistribution"] | new["InstancesDistribution"]
    given["MixedInstancesPolicy"] = merged


def _specs(given: dict[str, Any]) -> list[dict[str, Any]]:
    """All launch template specifications of a request or group."""
    found = [given["LaunchTemplate"]] if "LaunchTemplate" in given else []
    template = (given.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    found += [
        one["LaunchTemplateSpecification"]
        for one in [template, *template.get("Overrides", [])]
        if "LaunchTemplateSpecification" in one
    ]
    return found


def _complete(context: Context, given: dict[str, Any]) -> None:
    """Template specifications get both id and name, as AWS describes them."""
    for spec in _specs(given):
        template = context.region.templates.find(
            spec.get("LaunchTemplateId"), None if "LaunchTemplateId" in spec else spec.get("LaunchTemplateName")
        )
        spec |= {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name}


def _refuse_unknown(params: Params) -> None:
    for spec in _specs(params):
        if ("LaunchTemplateId" in spec) == ("LaunchTemplateName" in spec):
            raise validation("Valid requests must contain either LaunchTemplateId or LaunchTemplateName")
    for name in REFUSED:
        if params.get(name):
            raise AwsError(
                "NotEmulated", f"{name} is not emulated; use a launch template in a VPC without load balancers."
            )


def _check_given(context: Context, given: dict[str, Any]) -> None:
    if "LaunchTemplate" in given and "MixedInstancesPolicy" in given:
        raise validation("Valid requests must contain either LaunchTemplate or MixedInstancesPolicy, not both.")
    offers.check(context.region, given)
    _complete(context, given)
    lifetime = given.get("MaxInstanceLifetime", 0)
    if lifetime and lifetime < LIFETIME_MIN_S:
        raise validation(f"MaxInstanceLifetime must be 0 or at least {LIFETIME_MIN_S}.")
    for kind in given.get("HealthCheckType", "EC2").split(","):
        if kind not in ("EC2", "EBS", "ELB", "VPC_LATTICE"):
            raise validation(f"Invalid HealthCheckType {kind}.")


def _check_sizes(low: int, high: int, desired: int) -> None:
    if min(low, high, desired) < 0:
        raise validation("Min size, max size and desired capacity must not be negative.")
    if low > high:
        raise validation("Min bound must be less than or equal to max bound")
    if desired > high:
        raise validation(f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}")
    if desired < low:
        raise validation(f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}")


def _places(context: Context, params: Params) -> list[Place]:
    account, region = context.account, context.region_name
    named = set(params.get("AvailabilityZones", []))
    known = zones(region)
    if ids := params.get("AvailabilityZoneIds"):
        if named:
            raise validation("You cannot specify both AvailabilityZones and AvailabilityZoneIds.")
        named = {zone for zone, zone_id in known.items() if zone_id in ids}
        if len(named) != len(ids):
            raise validation(f"One of the Availability Zone IDs {', '.join(ids)} does not exist.")
    if wrong := named - set(known):
        raise validation(f"Invalid availability zones: {', '.join(sorted(wrong))}")
    if subnets := params.get("VPCZoneIdentifier"):
        found = []
        for subnet_id in subnets.split(","):
            subnet = place(account, region, subnet_id.strip())
            if subnet is None:
                raise validation(f"The subnet ID '{subnet_id}' does not exist")
            found.append(subnet)
        if named and {subnet.zone for subnet in found} != named:
            raise validation("The availability zones of the specified subnets and the Auto Scaling group do not match")
        return found
    if not named:
        raise validation("At least one Availability Zone or VPC Subnet is required.")
    defaults = [default_place(account, region, zone) for zone in sorted(named)]
    if None in defaults:
        raise validation("No default subnet in one of the Availability Zones.")
    return [subnet for subnet in defaults if subnet]


@action("autoscaling", "DeleteAutoScalingGroup")
def delete(context: Context, params: Params) -> Params:
    """With ForceDelete the instances are terminated without their hooks; the group is listed until they are gone."""
    group = context.group(params["AutoScalingGroupName"])
    force = params.get("ForceDelete", False)
    protection = group.given.get("DeletionProtection", "none")
    if protection == "prevent-all-deletion" or (protection == "prevent-force-deletion" and force):
        raise validation(f"You cannot delete the group because its deletion protection is {protection}.")
    if group.members and not force:
        if all(member.ending for member in group.members.values()):
            text = (
                "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group."
            )
            raise AwsError("ScalingActivityInProgress", text)
        text = (
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still "
            "in the group."
        )
        raise AwsError("ResourceInUse", text)
    group.deleting, group.desired, group.min_size = True, 0, 0
    group.hooks.clear()
    for member in list(group.members.values()):
        cause = f"At {lifecycle.moment(context.world)} a user request force deleted the AutoScalingGroup."
        lifecycle.end(context.world, group, member, cause)
    engine.evaluate(context.world, group)
    return {}


@action("autoscaling", "DescribeAutoScalingGroups")
def describe(context: Context, params: Params) -> Params:
    """Unknown names are left out without an error."""
    names = params.get("AutoScalingGroupNames")
    groups = [group for _, group in sorted(context.region.groups.items()) if not names or group.name in names]
    for wanted in params.get("Filters", []):
        groups = [group for group in groups if _matches(group, wanted)]
    if names and len(names) > params.get("MaxRecords", 50):
        raise validation("You can specify at most MaxRecords group names.")
    chosen, token = page(groups, params, 50, 100)
    with_instances = params.get("IncludeInstances", True)
    return with_token(
        {"AutoScalingGroups": [views.group(context.world, group, with_instances) for group in chosen]}, token
    )


def _matches(group: Group, wanted: Params) -> bool:
    name, values = wanted.get("Name", ""), wanted.get("Values", [])
    if name == "tag-key":
        return any(key in values for key in group.tags)
    if name == "tag-value":
        return any(value in values for value, _ in group.tags.values())
    if name.startswith("tag:"):
        return group.tags.get(name[4:], (None, False))[0] in values
    raise validation(f"Filter type {name} is not correct. Allowed Filter types are: tag-key, tag-value, tag:<key>")


@action("autoscaling", "SuspendProcesses")
def suspend(context: Context, params: Params) -> Params:
    group = context.group(params["AutoScalingGroupName"])
    for process in _processes(params):
        group.suspended[process] = f"User suspended at {lifecycle.moment(context.world)}"
    return {}


@action("autoscaling", "ResumeProcesses")
def resume(context: Context, params: Params) -> Params:
    group = context.group(params["AutoScalingGroupName"])
    for process in _processes(params):
        group.suspended.pop(process, None)
    group.blocked_until = 0.0
    context.world.clock.after_ms(
        context.world.settings.health_check_ms, lambda: engine.check_health(context.world, group)
    )
    context.world.wake(group)
    return {}


def _processes(params: Params) -> list[str]:
    named = params.get("ScalingProcesses") or list(PROCESSES)
    for process in named:
        if process not in PROCESSES:
            raise validation(f"Invalid scaling process {process}; there are {', '.join(PROCESSES)}.")
    return named


@action("autoscaling", "DescribeAccountLimits")
def limits(context: Context, _: Params) -> Params:
    counts = {"NumberOfAutoScalingGroups": len(context.region.groups), "NumberOfLaunchConfigurations": 0}
    return context.region.limits | counts
