"""Groups act: towards desired capacity, zone balance, the size of the warm pool, and health.

What lives here: how many members a group should have, and where. What may not: the steps of one member (`lifecycle`).
Invariant: nothing here runs for a process that is suspended. That a failed launch leaves desired capacity as it is and
is retried with growing pauses follows the troubleshooting pages; the length of the pauses is inferred.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from . import lifecycle, machines, offers
from .errors import AwsError
from .groups import Group, Member
from .machines import Machine
from .network import Place
from .offers import Given

if TYPE_CHECKING:
    from .world import World


def evaluate(world: World, group: Group) -> None:
    """One look of a group at itself."""
    group.awake = False
    if group.deleting:
        _finish_deletion(world, group)
        return
    if world.of(group).groups.get(group.name) is not group:
        return
    missing = group.desired - len(group.serving())
    if missing > 0:
        _scale_out(world, group, missing)
    elif missing < 0:
        _scale_in(world, group, -missing)
    else:
        _balance(world, group)
    _fit_pool(world, group)


def _scale_out(world: World, group: Group, missing: int) -> None:
    if not group.may("Launch"):
        return
    have = len(group.serving())
    ready = sorted((m for m in group.pooled() if m.waiting), key=lambda m: m.machine.launched_at)
    for number, member in enumerate(ready[:missing]):
        lifecycle.leave_pool(world, group, member, _cause(world, group, have + number, have + number + 1))
    missing -= len(ready[:missing])
    if missing and world.clock.now() >= group.blocked_until:
        launched = launch_anywhere(world, group, missing, warm=False)
        _note_failures(world, group, launched < missing)


def _note_failures(world: World, group: Group, failed: bool) -> None:
    if not failed:
        group.failures, group.blocked_until = 0, 0.0
        return
    pause_ms = min(world.settings.retry_max_ms, world.settings.retry_ms * 2**group.failures)
    group.failures += 1
    group.blocked_until = world.clock.now() + pause_ms / 1000
    world.wake(group, pause_ms)


def launch_anywhere(world: World, group: Group, wanted: int, warm: bool) -> int:
    """Launches asynchronously, balanced over the zones; a zone that gives nothing is left for the next one."""
    region = world.of(group)
    members = group.pooled() if warm else group.serving()
    load = _load(group, members)
    launched = 0
    try:
        shares = offers.next_markets(region, group, wanted)
        for market, count in shares:
            closed: set[str] = set()
            while count > 0 and (zone := _emptiest(load, closed)) is not None:
                place = next(place for place in group.places if place.zone == zone)
                choices = offers.offers(world, region, group, market, zone)
                share = min(count, max(1, _room(load, closed, zone, count)))
                got = 0
                for given in offers.take(world, region, group, choices, place, share):
                    for _ in range(given.count):
                        have = len(group.serving())
                        lifecycle.join(
                            world,
                            group,
                            machine_for(world, group, given, place),
                            _cause(world, group, have, have + 1),
                            warm,
                        )
                    got += given.count
                    if given.error and got < share:
                        _failed(world, group, given, place)
                load[zone] += got
                launched += got
                count -= got
                if got < share:
                    closed.add(zone)
    except AwsError as problem:
        _refused(world, group, f"{problem.message} Launching EC2 instance failed.", None)
    return launched


def _load(group: Group, members: list[Member]) -> Counter[str]:
    """Members in each of the group's zones; those in zones that it has left count nowhere."""
    load = Counter({zone: 0 for zone in group.zones})
    load.update(member.machine.place.zone for member in members if member.machine.place.zone in load)
    return load


def _emptiest(load: Counter[str], closed: set[str]) -> str | None:
    open_zones = [zone for zone in load if zone not in closed]
    return min(open_zones, key=lambda zone: (load[zone], zone)) if open_zones else None


def _room(load: Counter[str], closed: set[str], zone: str, count: int) -> int:
    """How many to launch here before another zone is the emptiest."""
    others = [load[other] for other in load if other != zone and other not in closed]
    return min(others) - load[zone] if others else count


def machine_for(world: World, group: Group, given: Given, place: Place) -> Machine:
    """A new EC2 instance with the group's tags over the template's (CreateAutoScalingGroup's documentation)."""
    region, launch = world.of(group), given.offer.launch
    tags: dict[str, str] = {}
    for spec in launch.data.get("TagSpecifications", []):
        if spec.get("ResourceType") == "instance":
            tags |= {tag["Key"]: tag.get("Value", "") for tag in spec.get("Tags", [])}
    tags |= {key: value for key, (value, propagate) in group.tags.items() if propagate}
    tags |= {
        "aws:autoscaling:groupName": group.name,
        "aws:ec2launchtemplate:id": launch.template_id,
        "aws:ec2launchtemplate:version": str(launch.version),
    }
    return machines.create(world, region, group.name, launch, given.offer.type, given.offer.market, place, tags)


def _failed(world: World, group: Group, given: Given, place: Place) -> None:
    assert given.error is not None
    text = given.error.message
    if given.offer.market == offers.SPOT:
        text = f"Could not launch Spot Instances. {given.error.code} - {text}"
    _refused(world, group, f"{text} Launching EC2 instance failed.", place)


def _refused(world: World, group: Group, message: str, place: Place | None) -> None:
    have = len(group.serving())
    opened = lifecycle.activity(
        world, group, "Launching a new EC2 instance", _cause(world, group, have, have + 1), None
    )
    opened.description = f"Launching a new EC2 instance.  Status Reason: {message}"
    if place:
        opened.details = lifecycle.where(place)
    lifecycle.close(world, opened, "Failed", message)
    lifecycle.tell_failure(world, group, opened, place.zone if place else "", place.subnet_id if place else "")


def _cause(world: World, group: Group, before: int, after: int) -> str:
    now, verb = lifecycle.moment(world), "increasing" if after > before else "shrinking"
    change = f"{group.change}  " if group.change else ""
    action = "an instance was started" if after > before else "an instance was taken out of service"
    text = f"{change}At {now} {action} in response to a difference between desired and actual capacity, "
    return f"{text}{verb} the capacity from {before} to {after}."


def _scale_in(world: World, group: Group, surplus: int) -> None:
    """That only protected members are left is said once for each desired capacity."""
    if not group.may("Terminate"):
        return
    have = len(group.serving())
    for number in range(surplus):
        victim = _victim(group)
        if victim is None:
            if group.stuck_at == group.desired:
                return
            group.stuck_at = group.desired
            opened = lifecycle.activity(world, group, "Terminating EC2 instances", group.change or "Scale in.", None)
            text = "Could not scale to desired capacity because all remaining instances are protected from scale-in."
            lifecycle.close(world, opened, "Failed", text)
            return
        cause = _cause(world, group, have - number, have - number - 1)
        cause += f"  At {lifecycle.moment(world)} instance {victim.machine.id} was selected for termination."
        if group.pool and group.pool.reuse and victim.state == "InService":
            lifecycle.return_to_pool(world, group, victim, cause)
        else:
            lifecycle.end(world, group, victim, cause)


def _victim(group: Group, zone: str | None = None) -> Member | None:
    """From the fullest zone, the oldest or newest. Protection begins in service (user guide, instance protection)."""
    serving = group.serving()
    load = Counter(member.machine.place.zone for member in serving)
    free = [m for m in serving if not (m.protected and m.state == "InService") and zone in (None, m.machine.place.zone)]
    newest = "NewestInstance" in (group.given.get("TerminationPolicies") or [])
    sign = -1 if newest else 1
    return min(free, key=lambda m: (-load[m.machine.place.zone], sign * m.machine.launched_at), default=None)


def _balance(world: World, group: Group) -> None:
    """AZRebalance: one more where there are fewest, then one less where there are most."""
    serving = group.serving()
    settled = all(member.state == "InService" for member in serving)
    if not (group.may("AZRebalance") and group.may("Launch") and group.may("Terminate") and settled and serving):
        return
    load = _load(group, serving)
    fullest = max(load, key=lambda zone: (load[zone], zone))
    if load[fullest] - min(load.values()) > 1 and _victim(group, fullest) is not None:
        # The next look finds one too many and takes it from the fullest zone.
        launch_anywhere(world, group, 1, warm=False)


def pool_target(group: Group) -> int:
    """The warm pool's size: prepared capacity (or MaxSize) less desired, and at least MinSize (PutWarmPool)."""
    if group.pool is None or group.pool.deleting:
        return 0
    prepared = group.pool.prepared_max
    limit = group.max_size if prepared in (None, -1) else prepared
    return max(group.pool.min_size, limit - group.desired, 0)


def _fit_pool(world: World, group: Group) -> None:
    pooled = group.pooled()
    if group.pool is not None and group.pool.deleting and not [m for m in group.members.values() if m.warm]:
        group.pool = None
        return
    difference = pool_target(group) - len(pooled)
    if difference > 0 and group.may("Launch") and world.clock.now() >= group.blocked_until:
        launched = launch_anywhere(world, group, difference, warm=True)
        _note_failures(world, group, launched < difference)
    elif difference < 0 and group.may("Terminate"):
        for member in sorted(pooled, key=lambda m: m.machine.launched_at)[:-difference]:
            cause = f"At {lifecycle.moment(world)} an instance was taken out of the warm pool to fit its size."
            lifecycle.end(world, group, member, cause)


def _finish_deletion(world: World, group: Group) -> None:
    region = world.of(group)
    if not group.members and region.groups.get(group.name) is group:
        del region.groups[group.name]
        region.deleted.append(group)


def machine_left(world: World, machine: Machine) -> None:
    """An instance no longer runs: its group finds out at the next health check."""
    found = world.of_machine(machine)
    if found is None:
        return
    group, member = found
    if not member.ending:
        world.clock.after_ms(world.settings.health_check_ms, lambda: check_health(world, group))


def check_health(world: World, group: Group) -> None:
    """Marks members that do not run, and replaces what is unhealthy. A suspended process leaves them as they are."""
    if group.deleting:
        return
    members = [member for member in group.members.values() if not member.ending]
    for member in members:
        # In the pool an instance may be stopped, but not ended.
        alive = ("pending", "running", "stopping", "stopped") if member.warm else machines.LIVE
        if group.may("HealthCheck") and member.machine.state not in alive:
            member.health = "Unhealthy"
    if not (group.may("ReplaceUnhealthy") and group.may("Terminate")):
        return
    for member in members:
        if member.health == "Unhealthy":
            text = "an instance was taken out of service in response to an EC2 health check indicating it has been "
            lifecycle.end(world, group, member, f"At {lifecycle.moment(world)} {text}terminated or stopped.")
