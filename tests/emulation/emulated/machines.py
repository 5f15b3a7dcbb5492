"""EC2 instances: state, transitions, metadata options.

What lives here: everything about an instance that does not depend on its group. What may not: desired capacity, hooks.
Invariant: every change of state sends EC2's state-change event.
"""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .network import Place
from .templates import Launch

if TYPE_CHECKING:
    from .world import Region, World

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
"""EC2's codes of the states."""

LIVE = ("pending", "running")

METADATA_DEFAULTS = {
    "State": "applied",
    "HttpTokens": "optional",
    "HttpPutResponseHopLimit": 1,
    "HttpEndpoint": "enabled",
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}
"""Without a word in template or AMI, tokens are optional (EC2 documentation of ModifyInstanceMetadataOptions)."""

_addresses = itertools.count(256)


@dataclass
class Machine:
    """An instance."""

    id: str
    account: str
    region: str
    type: str
    market: str
    place: Place
    launch: Launch
    launched_at: float
    group: str | None
    tags: dict[str, str]
    state: str = "pending"
    reason: tuple[str, str] | None = None
    ended_at: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    console: str = ""
    address: str = ""
    step: int = 0
    reservation: str = ""
    client_token: str = ""

    @property
    def arn(self) -> str:
        return f"arn:aws:ec2:{self.region}:{self.account}:instance/{self.id}"

    @property
    def image_id(self) -> str:
        return self.launch.image_id

    @property
    def behaviour_on_shutdown(self) -> str:
        return self.launch.data.get("InstanceInitiatedShutdownBehavior", "stop")


def create(
    world: World,
    region: Region,
    group: str | None,
    launch: Launch,
    kind: str,
    market: str,
    place: Place,
    tags: dict[str, str],
) -> Machine:
    """A new instance in `pending`. Whoever asked for it calls `run` when it has booted."""
    number = next(_addresses)
    machine = Machine(
        id=f"i-{secrets.token_hex(9)[:17]}",
        account=region.account,
        region=region.name,
        type=kind,
        market=market,
        place=place,
        launch=launch,
        launched_at=world.clock.now(),
        group=group,
        tags=tags,
        metadata=METADATA_DEFAULTS | launch.data.get("MetadataOptions", {}),
        address=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        reservation=f"r-{secrets.token_hex(9)[:17]}",
    )
    region.machines[machine.id] = machine
    _tell(world, machine)
    return machine


def run(world: World, machine: Machine) -> None:
    """`pending` ends."""
    if machine.state == "pending":
        _change(world, machine, "running", None)


def start(world: World, machine: Machine) -> None:
    """A stopped instance becomes `pending`; it runs when `run` is called."""
    if machine.state == "stopped":
        _change(world, machine, "pending", None)


def stop(world: World, machine: Machine, code: str, text: str) -> None:
    """Stops, after `stop_ms`."""
    if machine.state not in LIVE:
        return
    _change(world, machine, "stopping", (code, text))
    step = machine.step

    def done() -> None:
        if machine.step == step:
            _change(world, machine, "stopped", machine.reason)

    world.clock.after_ms(world.settings.stop_ms, done)


def terminate(world: World, machine: Machine, code: str, text: str) -> None:
    """Terminates, after `terminate_ms`. Nothing happens to one that has ended."""
    if machine.state in ("shutting-down", "terminated"):
        return
    _change(world, machine, "shutting-down", (code, text))
    step = machine.step

    def done() -> None:
        if machine.step == step:
            machine.ended_at = world.clock.now()
            _change(world, machine, "terminated", machine.reason)
            _forget_later(world, machine)

    world.clock.after_ms(world.settings.terminate_ms, done)


def _forget_later(world: World, machine: Machine) -> None:
    """Once nobody can describe it any more, unless a group still lists it as dead."""

    def forget() -> None:
        if world.of_machine(machine) is None:
            world.region(machine.account, machine.region).machines.pop(machine.id, None)
        else:
            _forget_later(world, machine)

    world.clock.after_ms(world.settings.terminated_visible_ms + 1, forget)


def shut_down_itself(world: World, machine: Machine) -> None:
    """What `shutdown` inside the instance does: its behaviour decides."""
    text = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
    if machine.behaviour_on_shutdown == "terminate":
        terminate(world, machine, "Client.InstanceInitiatedShutdown", text)
    else:
        stop(world, machine, "Client.InstanceInitiatedShutdown", text)


def interrupt(world: World, machine: Machine, notice_ms: int) -> None:
    """A spot interruption: the warning now, the end after the notice."""
    resource = [f"arn:aws:ec2:{machine.place.zone}:instance/{machine.id}"]
    detail = {"instance-id": machine.id, "instance-action": "terminate"}
    world.emit(machine.account, machine.region, "aws.ec2", "EC2 Spot Instance Interruption Warning", resource, detail)
    text = "Server.SpotInstanceTermination: Instance terminated by EC2 as part of a spot interruption"
    world.clock.after_ms(notice_ms, lambda: terminate(world, machine, "Server.SpotInstanceTermination", text))


def recommend_rebalance(world: World, machine: Machine) -> None:
    """A rebalance recommendation. CapacityRebalance does not act on it here (README, missing)."""
    resource = [f"arn:aws:ec2:{machine.place.zone}:instance/{machine.id}"]
    kind = "EC2 Instance Rebalance Recommendation"
    world.emit(machine.account, machine.region, "aws.ec2", kind, resource, {"instance-id": machine.id})


def _change(world: World, machine: Machine, state: str, reason: tuple[str, str] | None) -> None:
    machine.state = state
    machine.reason = reason
    machine.step += 1
    _tell(world, machine)
    if state not in LIVE:
        world.machine_left(machine)


def _tell(world: World, machine: Machine) -> None:
    kind = "EC2 Instance State-change Notification"
    detail = {"instance-id": machine.id, "state": machine.state}
    world.emit(machine.account, machine.region, "aws.ec2", kind, [machine.arn], detail)
