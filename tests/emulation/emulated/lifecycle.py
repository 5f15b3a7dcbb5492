"""The life of a member: in, out, and through the warm pool, with the hooks that hold it.

What lives here: transitions of one member, their activities and events. What may not: how many members a group should
have (see `engine`). Invariant: whatever is due for a former state of a member does nothing. States and order are those
of the user guide's lifecycle pages; that a member waits for its hooks only after it runs is inferred.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from . import machines
from .groups import LAUNCHING, TERMINATING, Action, Activity, Group, Hook, Member
from .machines import Machine
from .network import Place, notify
from .reply import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import World

POOL, GROUP, EC2 = "WarmPool", "AutoScalingGroup", "EC2"


def _later(world: World, member: Member, delay_ms: float, action: Callable[[], None]) -> None:
    step = member.step

    def run() -> None:
        if member.step == step:
            action()

    world.clock.after_ms(delay_ms, run)


def _enter(member: Member, state: str) -> None:
    member.state = state
    member.step += 1


def where(place: Place) -> str:
    """The details of an activity."""
    return json.dumps({"Subnet ID": place.subnet_id, "Availability Zone": place.zone})


def activity(world: World, group: Group, description: str, cause: str, machine: Machine | None) -> Activity:
    """Opens an activity of the group."""
    details = where(machine.place) if machine else "{}"
    opened = Activity(group.name, group.arn, description, cause, world.clock.now(), details)
    group.activities.appendleft(opened)
    return opened


def close(world: World, opened: Activity, status: str, message: str | None = None) -> None:
    """Ends an activity. The message is cut to what the model allows."""
    opened.status, opened.progress, opened.end = status, 100, world.clock.now()
    opened.message = message[:255] if message else None


def moment(world: World) -> str:
    """A time as the causes of activities name it."""
    return timestamp(world.clock.now())[:19] + "Z"


def join(world: World, group: Group, machine: Machine, cause: str, warm: bool) -> Member:
    """A new instance becomes a member, `Pending` or `Warmed:Pending`."""
    opened = activity(world, group, f"Launching a new EC2 instance: {machine.id}", cause, machine)
    protected = group.given.get("NewInstancesProtectedFromScaleIn", False)
    state, destination = ("Warmed:Pending", POOL) if warm else ("Pending", GROUP)
    member = Member(machine, state, protected, EC2, destination, opened)
    group.members[machine.id] = member
    _boot(world, group, member)
    return member


def leave_pool(world: World, group: Group, member: Member, cause: str) -> None:
    """A prepared member goes into service: started if it was stopped, and through the launch hooks again."""
    member.activity = activity(
        world, group, f"Launching a new EC2 instance from warm pool: {member.machine.id}", cause, member.machine
    )
    member.origin, member.destination = POOL, GROUP
    _enter(member, "Pending")
    machines.start(world, member.machine)
    _boot(world, group, member)


def _boot(world: World, group: Group, member: Member) -> None:
    def booted() -> None:
        machines.run(world, member.machine)
        _hold(world, group, member, LAUNCHING, lambda: _settled(world, group, member))

    _later(world, member, world.settings.boot_ms, booted)


def _hold(world: World, group: Group, member: Member, transition: str, after: Callable[[], None]) -> None:
    """Into `:Wait` if there are hooks, then `:Proceed`."""
    hooks = group.hooks_for(transition)
    base = member.state.removesuffix(":Wait").removesuffix(":Proceed")
    if not hooks:
        after()
        return
    _enter(member, f"{base}:Wait")
    member.activity.status = "MidLifecycleAction"
    now = world.clock.now()
    for hook in hooks:
        action = Action(hook, str(uuid.uuid4()), now + hook.heartbeat_s, now + hook.global_s)
        member.actions[hook.name] = action
        _announce(world, group, member, action)
        _watch(world, group, member, action)


def _watch(world: World, group: Group, member: Member, action: Action) -> None:
    """Ends the wait at its time-out, with the hook's default result."""

    def look() -> None:
        if member.actions.get(action.hook.name) is not action:
            return
        left = min(action.until, action.longest) - world.clock.now()
        if left > 0:
            world.clock.after_ms(left * 1000, look)
        else:
            complete(world, group, member, action.hook.name, action.hook.default_result)

    world.clock.after_ms((action.until - world.clock.now()) * 1000, look)


def complete(world: World, group: Group, member: Member, hook: str, result: str) -> None:
    """A hook has its result. ABANDON skips the other hooks; a launch that was abandoned is terminated."""
    member.actions.pop(hook, None)
    if result == "ABANDON":
        member.actions.clear()
        member.abandoned = True
    if member.actions:
        return
    abandoned, member.abandoned = member.abandoned, False
    if member.ending:
        _enter(member, member.state.replace(":Wait", ":Proceed"))
        _later(world, member, world.settings.settle_ms, lambda: _release(world, group, member))
    elif abandoned:
        text = "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token was abandoned"
        close(world, member.activity, "Cancelled", text)
        _tell(world, group, member.activity, "EC2 Instance Launch Unsuccessful", member.machine, "Cancelled")
        cause = f"At {moment(world)} an instance was taken out of service because its lifecycle action was abandoned."
        end(world, group, member, cause)
    else:
        _enter(member, member.state.replace(":Wait", ":Proceed"))
        _later(world, member, world.settings.settle_ms, lambda: _settled(world, group, member))


def _settled(world: World, group: Group, member: Member) -> None:
    """The launch is through: into service, or to rest in the pool."""
    if member.destination == POOL:
        _rest(world, group, member)
        return
    _enter(member, "InService")
    member.origin = GROUP
    member.in_service_at = world.clock.now()
    close(world, member.activity, "Successful")
    _tell(world, group, member.activity, "EC2 Instance Launch Successful", member.machine, "InProgress")
    if member.machine.state not in machines.LIVE:
        world.machine_left(member.machine)
    world.wake(group)


def _rest(world: World, group: Group, member: Member) -> None:
    state = group.pool.state if group.pool else "Stopped"
    if state == "Running":
        _pooled(world, group, member, "Warmed:Running")
        return
    machines.stop(
        world, member.machine, "Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"
    )
    # Still Warmed:Pending:Proceed until EC2 has stopped it (inferred).
    _later(world, member, world.settings.stop_ms, lambda: _pooled(world, group, member, f"Warmed:{state}"))


def _pooled(world: World, group: Group, member: Member, state: str) -> None:
    _enter(member, state)
    member.origin = POOL
    close(world, member.activity, "Successful")
    _tell(world, group, member.activity, "EC2 Instance Launch Successful", member.machine, "InProgress")
    world.wake(group)


def return_to_pool(world: World, group: Group, member: Member, cause: str) -> None:
    """Scale-in with ReuseOnScaleIn: back into the pool, through the launch hooks."""
    description = f"Returning EC2 instance to warm pool: {member.machine.id}"
    member.activity = activity(world, group, description, cause, member.machine)
    member.origin, member.destination = GROUP, POOL
    _enter(member, "Warmed:Pending")
    _hold(world, group, member, LAUNCHING, lambda: _rest(world, group, member))


def end(world: World, group: Group, member: Member, cause: str) -> Activity:
    """Takes a member out: terminate hooks, EC2's termination, gone."""
    opened = activity(world, group, f"Terminating EC2 instance: {member.machine.id}", cause, member.machine)
    if member.activity.status in ("InProgress", "MidLifecycleAction"):
        close(world, member.activity, "Cancelled")
    member.activity = opened
    member.actions.clear()
    member.origin = POOL if member.warm else GROUP
    member.destination = EC2
    _enter(member, "Warmed:Terminating" if member.warm else "Terminating")
    _hold(world, group, member, TERMINATING, lambda: _release(world, group, member))
    world.wake(group)
    return opened


def _release(world: World, group: Group, member: Member) -> None:
    text = "Client.UserInitiatedShutdown: User initiated shutdown"
    machines.terminate(world, member.machine, "Client.UserInitiatedShutdown", text)
    delay = 0 if member.machine.state == "terminated" else world.settings.terminate_ms
    _later(world, member, delay, lambda: gone(world, group, member))


def gone(world: World, group: Group, member: Member) -> None:
    """The member leaves the lists."""
    _enter(member, "Warmed:Terminated" if member.warm else "Terminated")
    group.members.pop(member.machine.id, None)
    close(world, member.activity, "Successful")
    _tell(world, group, member.activity, "EC2 Instance Terminate Successful", member.machine, "InProgress")
    world.wake(group)


def _announce(world: World, group: Group, member: Member, action: Action) -> None:
    """The event of a hook that waits, and the notice to its target."""
    hook = action.hook
    verb = "launch" if hook.transition == LAUNCHING else "terminate"
    detail: dict[str, Any] = {
        "LifecycleActionToken": action.token,
        "AutoScalingGroupName": group.name,
        "LifecycleHookName": hook.name,
        "EC2InstanceId": member.machine.id,
        "LifecycleTransition": hook.transition,
        "Origin": member.origin,
        "Destination": member.destination,
    }
    if hook.metadata:
        detail["NotificationMetadata"] = hook.metadata
    kind = f"EC2 Instance-{verb} Lifecycle Action"
    world.emit(group.account, group.region, "aws.autoscaling", kind, [group.arn], detail)
    if hook.target:
        service = {"Service": "AWS Auto Scaling", "Time": timestamp(world.clock.now()), "AccountId": group.account}
        notify(hook.target, service | detail)


def test_notice(world: World, group: Group, hook: Hook) -> None:
    """What the target gets when the hook is made."""
    if hook.target:
        message = {
            "AccountId": group.account,
            "RequestId": str(uuid.uuid4()),
            "AutoScalingGroupARN": group.arn,
            "AutoScalingGroupName": group.name,
            "Service": "AWS Auto Scaling",
            "Event": "autoscaling:TEST_NOTIFICATION",
            "Time": timestamp(world.clock.now()),
        }
        notify(hook.target, message)


def _tell(world: World, group: Group, opened: Activity, kind: str, machine: Machine, status: str) -> None:
    detail = {
        "StatusCode": status,
        "Description": opened.description,
        "AutoScalingGroupName": group.name,
        "ActivityId": opened.id,
        "RequestId": opened.id,
        "StatusMessage": opened.message or "",
        "EC2InstanceId": machine.id,
        "StartTime": timestamp(opened.start),
        "EndTime": timestamp(opened.end or world.clock.now()),
        "Cause": opened.cause,
        "Details": {"Availability Zone": machine.place.zone, "Subnet ID": machine.place.subnet_id},
    }
    world.emit(group.account, group.region, "aws.autoscaling", kind, [group.arn, machine.arn], detail)


def tell_failure(world: World, group: Group, opened: Activity, zone: str, subnet_id: str) -> None:
    """The event of a launch that never had an instance."""
    detail = {
        "StatusCode": "Failed",
        "Description": opened.description,
        "AutoScalingGroupName": group.name,
        "ActivityId": opened.id,
        "RequestId": opened.id,
        "StatusMessage": opened.message or "",
        "EC2InstanceId": "",
        "StartTime": timestamp(opened.start),
        "EndTime": timestamp(opened.end or opened.start),
        "Cause": opened.cause,
        "Details": {"Availability Zone": zone, "Subnet ID": subnet_id},
    }
    kind = "EC2 Instance Launch Unsuccessful"
    world.emit(group.account, group.region, "aws.autoscaling", kind, [group.arn], detail)
