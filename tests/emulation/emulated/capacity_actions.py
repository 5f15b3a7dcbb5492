"""Auto Scaling: instances in (LaunchInstances, SetDesiredCapacity) and out (terminate, detach).

Invariant: desired capacity changes only by what the caller asked for, never by a failure.
Inferred, because neither model nor guide says so: a successful LaunchInstances raises desired capacity by what it
launched; a request beyond MaxSize, or with Launch suspended, is refused whole; a client token is remembered for good,
also for a call that launched nothing; of several ids to terminate, one unknown refuses all.
"""

from __future__ import annotations

from typing import Any

from . import engine, lifecycle, offers, views
from .actions import Context, Params, action
from .errors import AwsError, no_instance, validation
from .groups import Group, Member
from .network import Place
from .offers import Given

LAUNCH_MAX = 100
"""Instances of one LaunchInstances call (RequestedCapacity's documentation)."""

DETACH_MAX = 20
"""DetachInstances' documentation."""

MARKET_WORDS = {offers.SPOT: "Spot", offers.ON_DEMAND: "OnDemand"}
"""MarketType in answers, as the user guide's example of LaunchInstances writes it."""


@action("autoscaling", "SetDesiredCapacity")
def set_desired(context: Context, params: Params) -> Params:
    """Absolute; whoever comes last wins."""
    world, group, wanted = context.world, context.group(params["AutoScalingGroupName"]), params["DesiredCapacity"]
    if wanted > group.max_size:
        raise validation(
            f"New SetDesiredCapacity value {wanted} is above max value {group.max_size} for the AutoScalingGroup."
        )
    if wanted < group.min_size:
        raise validation(
            f"New SetDesiredCapacity value {wanted} is below min value {group.min_size} for the AutoScalingGroup."
        )
    if params.get("HonorCooldown") and (open_one := next((a for a in group.activities if a.end is None), None)):
        raise AwsError(
            "ScalingActivityInProgress", f"Scaling activity {open_one.id} is in progress and blocks this action"
        )
    if wanted != group.desired:
        group.change = (
            f"At {lifecycle.moment(world)} a user request explicitly set group desired capacity changing the desired "
            f"capacity from {group.desired} to {wanted}."
        )
    group.desired, group.blocked_until, group.failures = wanted, 0.0, 0
    world.wake(group)
    return {}


@action("autoscaling", "LaunchInstances")
def launch_instances(context: Context, params: Params) -> Params:
    """Ids, or an error for each type, at once."""
    world, region = context.world, context.region
    group = context.group(params["AutoScalingGroupName"])
    token = params["ClientToken"]
    asked = {name: value for name, value in params.items() if name != "ClientToken"}
    if (context.account, group.name, token) in world.answering:
        text = "The service is currently processing another request with the same client token."
        raise AwsError("IdempotentCallInProgress", text, 500)
    if known := region.launch_tokens.get((group.id, token)):
        if known[0] != asked:
            text = "The request uses the same client token as a previous, but non-identical request."
            raise AwsError("IdempotentParameterMismatch", text)
        return known[1]
    answer = _launch(context, group, params)
    region.launch_tokens[group.id, token] = (asked, answer)
    world.wake(group)
    return answer


def _launch(context: Context, group: Group, params: Params) -> Params:
    world, region, wanted = context.world, context.region, params["RequestedCapacity"]
    if group.pool is not None:
        raise AwsError("UnsupportedOperation", "LaunchInstances is not supported for groups with a warm pool.")
    market = offers.single_market(region, group)
    if market is None:
        text = "LaunchInstances supports mixed instances policies that are fully On-Demand or fully Spot only."
        raise AwsError("UnsupportedOperation", text)
    if not group.may("Launch"):
        raise validation("The Launch process is suspended for the group.")
    place = _place(group, params)
    if wanted > LAUNCH_MAX:
        raise validation(f"RequestedCapacity {wanted} is above {LAUNCH_MAX} instances per launch.")
    if group.desired + wanted > group.max_size:
        raise validation(
            f"Launching {wanted} instances would raise the desired capacity {group.desired} above the max size "
            f"{group.max_size} of the AutoScalingGroup."
        )
    choices = offers.offers(world, region, group, market, place.zone)
    given = offers.take(world, region, group, choices, place, wanted)
    launched = [_entry(context, group, one, place) for one in given if one.count]
    count = sum(one.count for one in given)
    raised = wanted if params.get("RetryStrategy") == "retry-with-group-configuration" else count
    if raised:
        group.change = (
            f"At {lifecycle.moment(world)} a user request launched {count} instances changing the desired capacity "
            f"from {group.desired} to {group.desired + raised}."
        )
    group.desired += raised
    return {
        "AutoScalingGroupName": group.name,
        "ClientToken": params["ClientToken"],
        "Instances": launched,
        "Errors": [_error(one, place) for one in given if one.error],
    }


def _place(group: Group, params: Params) -> Place:
    """The one subnet to launch into."""
    named, ids, subnets = (params.get(name) for name in ("AvailabilityZones", "AvailabilityZoneIds", "SubnetIds"))
    if named and ids:
        raise validation("You cannot specify both AvailabilityZones and AvailabilityZoneIds.")
    if len(group.zones) > 1 and not (named or ids or subnets):
        raise validation("AvailabilityZones, AvailabilityZoneIds or SubnetIds is required for multi-AZ groups.")
    fits = [
        place
        for place in group.places
        if (not named or place.zone in named)
        and (not ids or place.zone_id in ids)
        and (not subnets or place.subnet_id in subnets)
    ]
    if not fits:
        raise validation("The requested Availability Zone or subnet is not part of the Auto Scaling group.")
    return fits[0]


def _entry(context: Context, group: Group, given: Given, place: Place) -> dict[str, Any]:
    cause = f"At {lifecycle.moment(context.world)} an instance was launched in response to a LaunchInstances request."
    ids = []
    for _ in range(given.count):
        machine = engine.machine_for(context.world, group, given, place)
        lifecycle.join(context.world, group, machine, cause, warm=False)
        ids.append(machine.id)
    return _where(given, place) | {"InstanceIds": ids}


def _error(given: Given, place: Place) -> dict[str, Any]:
    assert given.error is not None
    return _where(given, place) | {"ErrorCode": given.error.code, "ErrorMessage": given.error.message}


def _where(given: Given, place: Place) -> dict[str, Any]:
    return {
        "InstanceType": given.offer.type,
        "MarketType": MARKET_WORDS[given.offer.market],
        "SubnetId": place.subnet_id,
        "AvailabilityZone": place.zone,
        "AvailabilityZoneId": place.zone_id,
    }


@action("autoscaling", "TerminateInstanceInAutoScalingGroup")
def terminate(context: Context, params: Params) -> Params:
    """One id, or up to a hundred with the group's name; the two forms answer differently (botocore's documentation)."""
    one, several, name = params.get("InstanceId"), params.get("InstanceIds"), params.get("AutoScalingGroupName")
    if bool(one) == bool(several):
        raise validation("Either InstanceId or InstanceIds must be specified.")
    if several and not name:
        raise validation("AutoScalingGroupName is required when using InstanceIds.")
    ids = [one] if one else list(dict.fromkeys(several or []))
    found = [_member(context, instance_id, name) for instance_id in ids]
    group = found[0][0]
    if group.deleting:
        raise validation(f"AutoScalingGroup '{group.name}' is pending delete, and cannot be updated.")
    for _, member in found:
        if member.warm:
            raise validation(
                f"The instance {member.machine.id} is in the warm pool and cannot be terminated by this operation."
            )
        if member.ending and context.world.settings.second_terminate == "refuse":
            text = f"The instance {member.machine.id} is being terminated by activity {member.activity.id}."
            raise AwsError("ScalingActivityInProgress", text)
    if params["ShouldDecrementDesiredCapacity"]:
        _decrement(group, len(ids))
    at = lifecycle.moment(context.world)
    activities = []
    for _, member in found:
        cause = f"At {at} instance {member.machine.id} was taken out of service in response to a user request."
        ended = member.activity if member.ending else lifecycle.end(context.world, group, member, cause)
        activities.append(views.activity(ended))
    context.world.wake(group)
    return {"Activity": activities[0]} if one else {"Activities": activities}


def _member(context: Context, instance_id: str, group_name: str | None) -> tuple[Group, Member]:
    if group_name is not None:
        context.group(group_name)
    found = context.region.member(instance_id)
    if found is None or group_name not in (None, found[0].name):
        raise no_instance(instance_id)
    return found


def _decrement(group: Group, count: int) -> None:
    """AWS's own words, as users report them."""
    if group.desired - count < group.min_size:
        raise validation(
            f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without replacement will "
            "violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower "
            "group's min size."
        )
    group.desired -= count


@action("autoscaling", "DetachInstances")
def detach(context: Context, params: Params) -> Params:
    """The instances go on without the group."""
    world, ids = context.world, params.get("InstanceIds", [])
    group = context.group(params["AutoScalingGroupName"])
    if not 1 <= len(ids) <= DETACH_MAX:
        raise validation(f"InstanceIds must name between 1 and {DETACH_MAX} instances.")
    members = [_member(context, instance_id, group.name)[1] for instance_id in ids]
    for member in members:
        if member.state != "InService":
            raise validation(f"The instance {member.machine.id} is not in InService.")
    if params["ShouldDecrementDesiredCapacity"]:
        _decrement(group, len(ids))
    activities = []
    for member in members:
        machine = member.machine
        cause = f"At {lifecycle.moment(world)} instance {machine.id} was detached in response to a user request."
        opened = lifecycle.activity(world, group, f"Detaching EC2 instance: {machine.id}", cause, machine)
        lifecycle.close(world, opened, "Successful")
        activities.append(views.activity(opened))
        member.step += 1
        del group.members[machine.id]
        machine.group = None
        machine.tags.pop("aws:autoscaling:groupName", None)
    world.wake(group)
    return {"Activities": activities}
