"""Instance types and what they cost.

What lives here: a catalogue (moto's copy of DescribeInstanceTypes), made-up on-demand prices, spot prices that can be
set. What may not: the choice of a type. Invariant: the same type, zone and region have the same price in every run.
"""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import moto.ec2
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

VCPU_DOLLARS, GIB_DOLLARS, WINDOWS_VCPU_DOLLARS = 0.0336, 0.0045, 0.046
"""Per hour. Roughly what general-purpose types cost in us-east-1; plausible, not AWS's price list."""

SPOT_SHARE_MIN, SPOT_SHARE_RANGE = 0.30, 0.20


@functools.cache
def catalogue() -> dict[str, dict[str, Any]]:
    """All instance types that moto knows."""
    path = Path(moto.ec2.__file__).parent / "resources" / "instance_types.json.gz"
    with gzip.open(path, "rt") as file:
        return json.load(file)


@functools.cache
def offered(region: str, kind: str) -> list[str]:
    """The zones where a type is offered, as moto's copy of DescribeInstanceTypeOfferings says."""
    rows = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return sorted(row["Location"] for row in rows if row["InstanceType"] == kind)


def vcpus_of(kind: str) -> int:
    """Two of an unknown type."""
    known = catalogue().get(kind)
    return known["VCpuInfo"]["DefaultVCpus"] if known else 2


def licence(kind: str) -> float:
    """Dollars per hour that Windows costs more."""
    return vcpus_of(kind) * WINDOWS_VCPU_DOLLARS


def on_demand(kind: str) -> float:
    """Dollars per hour; an unknown type costs as much as one of two vCPUs and eight GiB."""
    known = catalogue().get(kind)
    vcpus = vcpus_of(kind)
    gib = known["MemoryInfo"]["SizeInMiB"] / 1024 if known else 8
    return vcpus * VCPU_DOLLARS + gib * GIB_DOLLARS


def share(*words: str) -> float:
    """A number between 0 and 1 that depends on the words only."""
    return zlib.crc32(":".join(words).encode()) / 2**32


class Prices:
    """Spot prices of a region: made up, unless set."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.fixed: dict[tuple[str, str], list[tuple[float, float]]] = {}
        """(type, zone) to moments with prices, oldest first."""

    def spot(self, kind: str, zone: str) -> float:
        """The latest."""
        if fixed := self.fixed.get((kind, zone)):
            return fixed[-1][1]
        return on_demand(kind) * (SPOT_SHARE_MIN + SPOT_SHARE_RANGE * share("price", kind, zone))

    def history(self, kind: str, zone: str, now: float) -> list[tuple[float, float]]:
        """Moments with prices, newest first; a made-up price is a few hours old."""
        if fixed := self.fixed.get((kind, zone)):
            return fixed[::-1]
        return [(now - 3600 * (1 + 5 * share("age", kind, zone)), self.spot(kind, zone))]

    def set(self, kind: str, zone: str, price: float, now: float) -> None:
        self.fixed.setdefault((kind, zone), []).append((now, price))
