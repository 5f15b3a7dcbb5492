"""What of EC2 stays moto's, next to the instances and launch templates that are ours.

Invariant: an action that would make instances in moto from launch templates that moto does not know is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.parsers import create_parser
from moto.backends import get_backend

from . import reply
from .actions import Context, Params
from .ec2_market import owns_all
from .models import operation_model

REFUSED = ("CreateFleet", "RequestSpotFleet", "RequestSpotInstances", "ModifyFleet", "DescribeTags")
"""They would answer from moto's state only, which lacks the groups' instances."""

BY_INSTANCE = (
    "TerminateInstances",
    "StopInstances",
    "StartInstances",
    "ModifyInstanceMetadataOptions",
    "GetConsoleOutput",
    "DescribeInstances",
    "DescribeInstanceAttribute",
    "DescribeInstanceStatus",
)


def _moto_instances(context: Context) -> set[str]:
    backend = get_backend("ec2")[context.account][context.region_name]
    return {instance.id for reservation in backend.reservations.values() for instance in reservation.instances}


def owns(context: Context, service: str, action: str, params: Params) -> bool:
    """Whether moto has what the request is about."""
    if service != "ec2":
        return False
    if action in ("CreateTags", "DeleteTags"):
        return not owns_all(context, params["Resources"])
    if action == "DescribeVolumes":
        return bool(
            set(params.get("VolumeIds", [])) & set(get_backend("ec2")[context.account][context.region_name].volumes)
        )
    if action in BY_INSTANCE:
        ids = params.get("InstanceIds") or [params.get("InstanceId")]
        return bool(_moto_instances(context) & set(ids))
    return False


def with_instances(context: Context, body: str, ask: Callable[[], bytes]) -> str:
    """Our answer to DescribeInstances, and the reservations of moto's."""
    if not _moto_instances(context):
        return body
    operation = operation_model("ec2", "DescribeInstances")
    assert operation is not None and operation.output_shape is not None
    theirs = _reservations(ask(), operation.output_shape)
    ours = _reservations(body.encode(), operation.output_shape)
    return reply.result(
        "ec2", operation, ours | {"Reservations": ours.get("Reservations", []) + theirs.get("Reservations", [])}
    )


def _reservations(body: bytes, shape: Any) -> dict[str, Any]:
    parsed = create_parser("ec2").parse({"body": body, "headers": {}, "status_code": 200}, shape)
    parsed.pop("ResponseMetadata", None)
    return parsed
