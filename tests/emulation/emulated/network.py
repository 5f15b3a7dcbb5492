"""Subnets, zones, roles and queues as moto knows them.

What lives here: the only look-ups into moto's own state. What may not: state. Invariant: an unknown id is None.
"""

from __future__ import annotations

import functools
import json
import logging
from dataclasses import dataclass
from typing import Any

from moto.backends import get_backend
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
from moto.iam.models import get_account_id_from

log = logging.getLogger("emulation")


@dataclass(frozen=True)
class Place:
    """Where an instance can be: one subnet."""

    subnet_id: str
    vpc_id: str
    zone: str
    zone_id: str


def place(account: str, region: str, subnet_id: str) -> Place | None:
    """The subnet of that id."""
    backend = get_backend("ec2")[account][region]
    for by_zone in list(backend.subnets.values()):
        if subnet := by_zone.get(subnet_id):
            return Place(subnet.id, subnet.vpc_id, subnet.availability_zone, subnet.availability_zone_id)
    return None


def default_place(account: str, region: str, zone: str) -> Place | None:
    """The default subnet of a zone."""
    backend = get_backend("ec2")[account][region]
    for subnet in list(backend.subnets.get(zone, {}).values()):
        if subnet.default_for_az:
            return Place(subnet.id, subnet.vpc_id, zone, subnet.availability_zone_id)
    return None


@functools.cache
def zones(region: str) -> dict[str, str]:
    """Zone names with their ids."""
    return {zone.name: zone.zone_id for zone in RegionsAndZonesBackend.zones.get(region, [])}


def account_of(access_key: str) -> str:
    """The account that a key belongs to; moto's default account for keys that nobody made."""
    return get_account_id_from(access_key)


def role_of(account: str, access_key: str) -> str | None:
    """The ARN of the role behind a key that AssumeRole gave out."""
    for partition in get_backend("iam")[account].values():
        key = partition.access_keys.get(access_key)
        if key is not None and getattr(key, "role_arn", None):
            return key.role_arn
    return None


def notify(target_arn: str, message: dict[str, Any]) -> None:
    """Puts a hook's notice into an SQS queue or SNS topic of moto. A target that is not there loses it, as in AWS."""
    _, _, service, region, account, name = target_arn.split(":", 5)
    try:
        if service == "sqs":
            get_backend("sqs")[account][region].send_message(name, json.dumps(message))
        else:
            get_backend("sns")[account][region].publish(json.dumps(message), arn=target_arn)
    except Exception as problem:  # noqa: BLE001  moto raises its own kinds
        log.warning("the notice for %s is lost: %s", target_arn, problem)
