"""Everything that is emulated, and what its parts need of each other.

What lives here: the root of the state, its lock, the wiring. What may not: behaviour. Invariant: whoever reads or
changes state holds `lock`, and has run what was due before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .calls import Calls
from .clock import Clock
from .errors import AwsError
from .events import Events
from .faults import Faults
from .groups import Group, Member
from .machines import Machine
from .prices import Prices
from .roles import Roles
from .settings import Settings
from .templates import Templates


class Region:
    """One account's part of a region."""

    def __init__(self, account: str, name: str) -> None:
        self.account = account
        self.name = name
        self.groups: dict[str, Group] = {}
        self.deleted: list[Group] = []
        self.machines: dict[str, Machine] = {}
        self.templates = Templates()
        self.prices = Prices(name)
        self.launch_tokens: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        self.limits = {"MaxNumberOfAutoScalingGroups": 200, "MaxNumberOfLaunchConfigurations": 200}

    def member(self, instance_id: str) -> tuple[Group, Member] | None:
        machine = self.machines.get(instance_id)
        group = self.groups.get(machine.group) if machine and machine.group else None
        member = group.members.get(instance_id) if group else None
        return (group, member) if group and member else None


class World:
    """All accounts."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clock = Clock()
        self.settings = Settings()
        self.faults = Faults()
        self.events = Events()
        self.calls = Calls()
        self.roles = Roles()
        self.answering: set[tuple[str, str, str]] = set()
        """Launches (account, group, token) whose reply is still on its way."""
        self.regions: dict[tuple[str, str], Region] = {}
        self.on_wake: Callable[[Group], None] = lambda group: None
        self.on_machine_left: Callable[[Machine], None] = lambda machine: None

    def region(self, account: str, name: str) -> Region:
        """May be called without the lock: `setdefault` never replaces what another thread has made."""
        key = (account, name)
        return self.regions.get(key) or self.regions.setdefault(key, Region(account, name))

    def of(self, group: Group) -> Region:
        return self.region(group.account, group.region)

    def of_machine(self, machine: Machine) -> tuple[Group, Member] | None:
        """The group that has the instance."""
        return self.region(machine.account, machine.region).member(machine.id)

    def emit(
        self, account: str, region: str, source: str, kind: str, resources: list[str], detail: dict[str, Any]
    ) -> None:
        self.events.emit(self.clock.now(), account, region, source, kind, resources, detail)

    def machine_left(self, machine: Machine) -> None:
        self.on_machine_left(machine)

    def wake(self, group: Group, delay_ms: float | None = None) -> None:
        """The group looks at itself a little later."""
        if delay_ms is None:
            if group.awake:
                return
            group.awake = True
            delay_ms = self.settings.evaluate_ms
        self.clock.after_ms(delay_ms, lambda: self.on_wake(group))

    def visible(self, machine: Machine) -> bool:
        """Whether Describe calls show it yet."""
        return self.clock.now() >= machine.launched_at + self.settings.visibility_ms / 1000

    def machine(self, account: str, region: str, instance_id: str) -> Machine:
        """Raises EC2's error for an unknown one, or one that is too new to be seen."""
        machine = self.region(account, region).machines.get(instance_id)
        if machine is None or not self.visible(machine):
            raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return machine

    def forget(self) -> None:
        """Back to an empty world with the settings of the start."""
        self.clock.forget()
        self.regions.clear()
        self.answering.clear()
        self.events.forget()
        self.settings = Settings()
        self.faults = Faults()
        self.calls = Calls()
        self.roles = Roles()
