"""How state is described to the callers of Auto Scaling. Invariant: changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import offers
from .groups import Activity, Group, Hook, Member, Pool

if TYPE_CHECKING:
    from .world import World


def group(world: World, described: Group, with_instances: bool) -> dict[str, Any]:
    """An AutoScalingGroup of the model."""
    members = [member for member in described.listed() if world.visible(member.machine)]
    given = described.given
    answer = {
        "AutoScalingGroupName": described.name,
        "AutoScalingGroupARN": described.arn,
        "MinSize": described.min_size,
        "MaxSize": described.max_size,
        "DesiredCapacity": described.desired,
        "DefaultCooldown": 300,
        "AvailabilityZones": described.zones,
        "AvailabilityZoneIds": sorted({place.zone_id for place in described.places}),
        "LoadBalancerNames": [],
        "TargetGroupARNs": [],
        "HealthCheckType": "EC2",
        "HealthCheckGracePeriod": 0,
        "CreatedTime": described.created,
        "SuspendedProcesses": [
            {"ProcessName": name, "SuspensionReason": reason} for name, reason in sorted(described.suspended.items())
        ],
        "VPCZoneIdentifier": ",".join(place.subnet_id for place in described.places),
        "EnabledMetrics": [],
        "Tags": tags(described),
        "TerminationPolicies": ["Default"],
        "NewInstancesProtectedFromScaleIn": False,
        "DeletionProtection": "none",
        "Instances": [member_of(member) for member in members] if with_instances else [],
        "Status": "Delete in progress" if described.deleting else None,
    } | {name: value for name, value in given.items() if value is not None}
    if policy := given.get("MixedInstancesPolicy"):
        answer["MixedInstancesPolicy"] = policy | {"InstancesDistribution": offers.distribution(described)}
    if described.pool:
        answer["WarmPoolConfiguration"] = pool(described.pool)
        answer["WarmPoolSize"] = sum(1 for member in described.members.values() if member.warm)
    return answer


def tags(described: Group) -> list[dict[str, Any]]:
    """The group's tags as TagDescriptions."""
    return [
        {
            "ResourceId": described.name,
            "ResourceType": "auto-scaling-group",
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": at_launch,
        }
        for key, (value, at_launch) in sorted(described.tags.items())
    ]


def member_of(member: Member) -> dict[str, Any]:
    """An Instance of the model (within a group or warm pool)."""
    machine = member.machine
    launch = machine.launch
    answer = {
        "InstanceId": machine.id,
        "InstanceType": machine.type,
        "AvailabilityZone": machine.place.zone,
        "AvailabilityZoneId": machine.place.zone_id,
        "LifecycleState": member.state,
        "HealthStatus": member.health,
        "LaunchTemplate": {
            "LaunchTemplateId": launch.template_id,
            "LaunchTemplateName": launch.template_name,
            "Version": str(launch.version),
        },
        "ProtectedFromScaleIn": member.protected,
    }
    if launch.image_override:
        answer["ImageId"] = launch.image_override
    return answer


def instance(described: Group, member: Member) -> dict[str, Any]:
    """An AutoScalingInstanceDetails of the model. This action writes the health in capitals, the other does not."""
    return member_of(member) | {"AutoScalingGroupName": described.name, "HealthStatus": member.health.upper()}


def pool(described: Pool) -> dict[str, Any]:
    """A WarmPoolConfiguration."""
    answer: dict[str, Any] = {"MinSize": described.min_size, "PoolState": described.state}
    if described.prepared_max is not None:
        answer["MaxGroupPreparedCapacity"] = described.prepared_max
    if described.reuse is not None:
        answer["InstanceReusePolicy"] = {"ReuseOnScaleIn": described.reuse}
    if described.deleting:
        answer["Status"] = "PendingDelete"
    return answer


def hook(group_name: str, described: Hook) -> dict[str, Any]:
    """A LifecycleHook."""
    return {
        "LifecycleHookName": described.name,
        "AutoScalingGroupName": group_name,
        "LifecycleTransition": described.transition,
        "NotificationTargetARN": described.target,
        "RoleARN": described.role,
        "NotificationMetadata": described.metadata,
        "HeartbeatTimeout": described.heartbeat_s,
        "GlobalTimeout": described.global_s,
        "DefaultResult": described.default_result,
    }


def activity(described: Activity, deleted: bool = False) -> dict[str, Any]:
    """An Activity."""
    return {
        "ActivityId": described.id,
        "AutoScalingGroupName": described.group,
        "AutoScalingGroupARN": described.group_arn,
        "AutoScalingGroupState": "Deleted" if deleted else "InService",
        "Description": described.description,
        "Cause": described.cause[:1023],
        "StartTime": described.start,
        "EndTime": described.end,
        "StatusCode": described.status,
        "StatusMessage": described.message,
        "Progress": described.progress,
        "Details": described.details,
    }
