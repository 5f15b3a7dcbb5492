"""Faults on demand: what goes wrong, for whom, and how often.

What lives here: the rules and the token buckets. What may not: how an answer is written. Invariant: a rule with a count
applies exactly that often, whichever thread asks.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

from .errors import AwsError

KINDS = ("launch", "error", "lose_reply", "refuse_connection", "delay")

LAUNCH_MESSAGES = {
    "InsufficientInstanceCapacity": "We currently do not have sufficient {type} capacity in the Availability Zone you "
    "requested ({zone}). Our system will be working on provisioning additional capacity.",
    "UnfulfillableCapacity": "Unable to fulfill capacity due to your request configuration. Please adjust your "
    "request and try again.",
    "VcpuLimitExceeded": "You have requested more vCPU capacity than your current vCPU limit allows for the instance "
    "bucket that the specified instance type belongs to.",
    "MaxSpotInstanceCountExceeded": "Max spot instance count exceeded",
    "SpotMaxPriceTooLow": "Your Spot request price is lower than the minimum required Spot request fulfillment price.",
    "InsufficientFreeAddressesInSubnet": "There are not enough free addresses in the subnet to satisfy the request.",
}
"""What EC2 says with each code, shortened where it goes on (troubleshooting pages of the user guides)."""


@dataclass
class Fault:
    """One rule. A field of the match that is None matches everything. A role is given by its ARN or its name."""

    kind: str
    id: int = 0
    service: str | None = None
    action: str | None = None
    account: str | None = None
    role: str | None = None
    group: str | None = None
    instance_type: str | None = None
    zone: str | None = None
    market: str | None = None
    code: str = ""
    message: str = ""
    status: int = 400
    available: int = 0
    ms: int = 0
    count: int | None = None

    def matches(self, **facts: str | None) -> bool:
        if role := facts.get("role"):
            facts["role"] = role if self.role and ":" in self.role else role.split("/")[-1]
        return all(getattr(self, name) in (None, fact) for name, fact in facts.items())

    def used(self) -> None:
        if self.count is not None:
            self.count -= 1

    @property
    def spent(self) -> bool:
        return self.count is not None and self.count <= 0


@dataclass
class Bucket:
    """A token bucket for one action, kept per account."""

    action: str
    size: float
    per_second: float
    levels: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def take(self, account: str, now: float) -> bool:
        level, at = self.levels.get(account, (self.size, now))
        level = min(self.size, level + (now - at) * self.per_second)
        taken = level >= 1
        self.levels[account] = (level - 1 if taken else level, now)
        return taken


class Faults:
    """All rules and buckets. The world's lock guards them."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self.buckets: list[Bucket] = []
        self._ids = itertools.count(1)

    def add(self, **fields: object) -> int:
        """A new rule. Raises ValueError when it says nothing that can be done."""
        known = {field.name for field in dataclasses.fields(Fault)} - {"id"}
        if wrong := set(fields) - known:
            raise ValueError(f"unknown field {', '.join(sorted(wrong))}; there are {', '.join(sorted(known))}")
        if fields.get("kind") not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if fields["kind"] == "launch":
            fields.setdefault("code", "InsufficientInstanceCapacity")
        if fields["kind"] == "error" and not fields.get("code"):
            raise ValueError("an error needs a code, for example Throttling")
        if fields.get("market") not in (None, "spot", "on-demand"):
            raise ValueError("market must be spot or on-demand")
        if fields["kind"] != "launch" and {"instance_type", "zone", "market", "available"} & set(fields):
            raise ValueError("instance_type, zone, market and available belong to the kind launch")
        fault = Fault(id=next(self._ids), **fields)  # type: ignore[arg-type]
        self.rules.append(fault)
        return fault.id

    def remove(self, fault_id: int) -> bool:
        before = len(self.rules)
        self.rules = [rule for rule in self.rules if rule.id != fault_id]
        return len(self.rules) < before

    def take(self, kind: str, **facts: str | None) -> Fault | None:
        """The first rule of that kind that matches, used once."""
        for rule in self.rules:
            if rule.kind == kind and not rule.spent and rule.matches(**facts):
                rule.used()
                return rule
        return None

    def grant(self, wanted: int, **facts: str | None) -> tuple[int, AwsError | None]:
        """How many of the wanted instances EC2 gives, and why not more."""
        for rule in self.rules:
            if rule.kind != "launch" or rule.spent or not rule.matches(**facts):
                continue
            granted = min(wanted, rule.available)
            rule.available -= granted
            if granted == wanted:
                return granted, None
            rule.used()
            text = rule.message or LAUNCH_MESSAGES.get(rule.code, "The launch was refused by a fault of the emulation.")
            text = text.replace("{type}", facts.get("instance_type") or "").replace("{zone}", facts.get("zone") or "")
            return granted, AwsError(rule.code, text)
        return wanted, None

    def throttled(self, action: str, account: str, now: float) -> bool:
        """Takes a token for the call from each bucket that it falls under."""
        takes = [bucket.take(account, now) for bucket in self.buckets if bucket.action in (action, "*")]
        return not all(takes)
