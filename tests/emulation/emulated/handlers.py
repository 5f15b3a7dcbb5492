"""Brings all modules with handlers in, so that the register is complete. Invariant: nothing else happens here."""

from __future__ import annotations

from . import (
    capacity_actions,
    ec2_details,
    ec2_instances,
    ec2_market,
    ec2_templates,
    group_actions,
    hook_actions,
    instance_actions,
    pool_actions,
    tag_actions,
)
from .actions import HANDLERS

MODULES = (
    capacity_actions,
    ec2_details,
    ec2_instances,
    ec2_market,
    ec2_templates,
    group_actions,
    hook_actions,
    instance_actions,
    pool_actions,
    tag_actions,
)

__all__ = ["HANDLERS", "MODULES"]
