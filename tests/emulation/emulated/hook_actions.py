"""Auto Scaling: lifecycle hooks and their answers. Invariant: changing a hook leaves waiting members as they are."""

from __future__ import annotations

from . import lifecycle, views
from .actions import Context, Params, action
from .errors import AwsError, validation
from .groups import LAUNCHING, TERMINATING, Action, Group, Hook, Member

HOOKS_MAX = 50
HEARTBEAT_S_MIN, HEARTBEAT_S_MAX = 30, 7200
"""PutLifecycleHook's documentation."""


def hook_from(params: Params, old: Hook | None) -> Hook:
    """A hook from parameters, over what the old one said."""
    transition = params.get("LifecycleTransition") or (old.transition if old else None)
    if transition not in (LAUNCHING, TERMINATING):
        raise validation(f"LifecycleTransition must be {LAUNCHING} or {TERMINATING}.")
    heartbeat = params.get("HeartbeatTimeout", old.heartbeat_s if old else 3600)
    if not HEARTBEAT_S_MIN <= heartbeat <= HEARTBEAT_S_MAX:
        raise validation(f"HeartbeatTimeout must be between {HEARTBEAT_S_MIN} and {HEARTBEAT_S_MAX} seconds.")
    result = params.get("DefaultResult", old.default_result if old else "ABANDON")
    if result not in ("CONTINUE", "ABANDON"):
        raise validation("DefaultResult must be CONTINUE or ABANDON.")
    target = params.get("NotificationTargetARN", old.target if old else None) or None
    if target and target.endswith(".fifo"):
        raise validation("FIFO queues and topics cannot be notification targets of lifecycle hooks.")
    role = params.get("RoleARN", old.role if old else None)
    if target and not role:
        raise validation("A RoleARN is required with a NotificationTargetARN.")
    metadata = params.get("NotificationMetadata", old.metadata if old else None)
    return Hook(params["LifecycleHookName"], transition, heartbeat, result, target, role, metadata)


@action("autoscaling", "PutLifecycleHook")
def put(context: Context, params: Params) -> Params:
    group, name = context.group(params["AutoScalingGroupName"]), params["LifecycleHookName"]
    if name not in group.hooks and len(group.hooks) >= HOOKS_MAX:
        raise AwsError("LimitExceeded", f"A group can have {HOOKS_MAX} lifecycle hooks.")
    hook = hook_from(params, group.hooks.get(name))
    group.hooks[name] = hook
    lifecycle.test_notice(context.world, group, hook)
    return {}


@action("autoscaling", "DescribeLifecycleHooks")
def describe(context: Context, params: Params) -> Params:
    group, names = context.group(params["AutoScalingGroupName"]), params.get("LifecycleHookNames")
    hooks = [hook for _, hook in sorted(group.hooks.items()) if not names or hook.name in names]
    return {"LifecycleHooks": [views.hook(group.name, hook) for hook in hooks]}


@action("autoscaling", "DeleteLifecycleHook")
def delete(context: Context, params: Params) -> Params:
    """Waiting actions end: ABANDON for launching, CONTINUE for terminating instances (the action's documentation)."""
    group, name = context.group(params["AutoScalingGroupName"]), params["LifecycleHookName"]
    if name not in group.hooks:
        raise validation(f"No Lifecycle Hook found with name {name} for AutoScalingGroup {group.name}")
    hook = group.hooks.pop(name)
    for member in list(group.members.values()):
        if name in member.actions:
            result = "ABANDON" if hook.transition == LAUNCHING else "CONTINUE"
            lifecycle.complete(context.world, group, member, name, result)
    return {}


def _waiting(context: Context, params: Params) -> tuple[Group, Member, Action]:
    """By token or instance id. Raises the error of AWS if nothing waits (wording inferred)."""
    group, name = context.group(params["AutoScalingGroupName"]), params["LifecycleHookName"]
    token, instance_id = params.get("LifecycleActionToken"), params.get("InstanceId")
    if not token and not instance_id:
        raise validation("Either LifecycleActionToken or InstanceId must be specified.")
    for member in group.members.values():
        waiting = member.actions.get(name)
        if waiting and token in (None, waiting.token) and instance_id in (None, member.machine.id):
            return group, member, waiting
    what = f"instance ID {instance_id}" if instance_id else f"token {token}"
    raise validation(f"No active Lifecycle Action found with {what}")


@action("autoscaling", "CompleteLifecycleAction")
def complete(context: Context, params: Params) -> Params:
    result = params["LifecycleActionResult"]
    if result not in ("CONTINUE", "ABANDON"):
        raise validation("LifecycleActionResult must be CONTINUE or ABANDON.")
    group, member, waiting = _waiting(context, params)
    lifecycle.complete(context.world, group, member, waiting.hook.name, result)
    return {}


@action("autoscaling", "RecordLifecycleActionHeartbeat")
def heartbeat(context: Context, params: Params) -> Params:
    _, _, waiting = _waiting(context, params)
    waiting.until = context.world.clock.now() + waiting.hook.heartbeat_s
    return {}
