"""Auto Scaling: members and activities described; protection and health set. Invariant: desired capacity stays."""

from __future__ import annotations

from datetime import datetime, timezone

from . import engine, views
from .actions import Context, Params, action, page, with_token
from .errors import no_instance, validation
from .groups import Activity

IDS_MAX = 50
"""DescribeAutoScalingInstances and SetInstanceProtection (their documentation)."""

ACTIVITY_WEEKS = 6


@action("autoscaling", "DescribeAutoScalingInstances")
def describe(context: Context, params: Params) -> Params:
    """Unknown ids are left out without an error; instances of warm pools are in (inferred from users' reports)."""
    region, ids = context.region, params.get("InstanceIds")
    if ids and len(ids) > IDS_MAX:
        raise validation(f"InstanceIds can name at most {IDS_MAX} instances.")
    if ids:
        found = [pair for pair in (region.member(instance_id) for instance_id in dict.fromkeys(ids)) if pair]
    else:
        found = [(group, member) for _, group in sorted(region.groups.items()) for member in group.members.values()]
    found = [(group, member) for group, member in found if context.world.visible(member.machine)]
    chosen, token = page(found, params, 50, 50)
    return with_token({"AutoScalingInstances": [views.instance(group, member) for group, member in chosen]}, token)


@action("autoscaling", "SetInstanceProtection")
def protect(context: Context, params: Params) -> Params:
    group, ids = context.group(params["AutoScalingGroupName"]), params["InstanceIds"]
    if len(ids) > IDS_MAX:
        raise validation(f"InstanceIds can name at most {IDS_MAX} instances.")
    for instance_id in ids:
        member = group.members.get(instance_id)
        if member is None:
            raise no_instance(instance_id)
        if member.state != "InService":
            raise validation(f"The instance {instance_id} is not in InService or EnteringStandby or Standby.")
    for instance_id in ids:
        group.members[instance_id].protected = params["ProtectedFromScaleIn"]
    context.world.wake(group)
    return {}


@action("autoscaling", "SetInstanceHealth")
def set_health(context: Context, params: Params) -> Params:
    """Within the grace period Unhealthy is ignored, unless the caller says otherwise."""
    if params["HealthStatus"] not in ("Healthy", "Unhealthy"):
        raise validation("HealthStatus must be Healthy or Unhealthy.")
    world, found = context.world, context.region.member(params["InstanceId"])
    if found is None:
        raise no_instance(params["InstanceId"])
    group, member = found
    grace_s = group.given.get("HealthCheckGracePeriod", 0) if params.get("ShouldRespectGracePeriod", True) else 0
    in_grace = member.in_service_at is not None and world.clock.now() < member.in_service_at + grace_s
    if params["HealthStatus"] == "Unhealthy" and in_grace:
        return {}
    member.health = params["HealthStatus"]
    world.clock.after_ms(world.settings.health_check_ms, lambda: engine.check_health(world, group))
    return {}


@action("autoscaling", "DescribeScalingActivities")
def activities(context: Context, params: Params) -> Params:
    """Open ones first, then the latest first."""
    region, name, ids = context.region, params.get("AutoScalingGroupName"), params.get("ActivityIds")
    oldest = context.world.clock.now() - ACTIVITY_WEEKS * 7 * 86_400
    found: list[tuple[Activity, bool]] = []
    for group in list(region.groups.values()) + (region.deleted if params.get("IncludeDeletedGroups") else []):
        if name in (None, group.name):
            found += [(one, region.groups.get(group.name) is not group) for one in group.activities]
    if name is not None and name not in region.groups and not params.get("IncludeDeletedGroups"):
        context.group(name)
    found = [pair for pair in found if pair[0].start >= oldest and (not ids or pair[0].id in ids)]
    for wanted in params.get("Filters", []):
        found = [pair for pair in found if _matches(pair[0], wanted)]
    found.sort(key=lambda pair: (pair[0].end is not None, -pair[0].start))
    chosen, token = page(found, params, 100, 100)
    return with_token({"Activities": [views.activity(one, deleted) for one, deleted in chosen]}, token)


def _matches(one: Activity, wanted: Params) -> bool:
    name, values = wanted.get("Name"), wanted.get("Values", [])
    if name == "Status":
        return one.status in values
    if name not in ("StartTimeLowerBound", "StartTimeUpperBound") or len(values) != 1:
        raise validation("Filters are StartTimeLowerBound and StartTimeUpperBound with one time, and Status.")
    try:
        bound = datetime.fromisoformat(values[0].replace("Z", "+00:00"))
    except ValueError:
        raise validation(f"{name} must be an ISO 8601 time.") from None
    if bound.tzinfo is None:
        bound = bound.replace(tzinfo=timezone.utc)
    start = datetime.fromtimestamp(one.start, timezone.utc)
    return start >= bound if name == "StartTimeLowerBound" else start <= bound
