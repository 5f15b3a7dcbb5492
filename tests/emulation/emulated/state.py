"""The whole state as JSON, for tests that assert on what AWS would not tell. Invariant: changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .groups import Group
from .machines import Machine

if TYPE_CHECKING:
    from .world import World


def dump(world: World, account: str | None, region: str | None) -> list[dict[str, Any]]:
    """Each account and region with its groups and instances."""
    return [
        {
            "account": one.account,
            "region": one.name,
            "groups": [_group(group) for group in one.groups.values()],
            "instances": [_machine(machine) for machine in one.machines.values()],
            "launch_templates": [
                {"id": template.id, "name": template.name, "latest": template.latest, "default": template.default}
                for template in one.templates.by_id.values()
            ],
        }
        for one in world.regions.values()
        if account in (None, one.account) and region in (None, one.name)
    ]


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "min": group.min_size,
        "max": group.max_size,
        "desired": group.desired,
        "deleting": group.deleting,
        "failures": group.failures,
        "suspended": sorted(group.suspended),
        "members": [
            {
                "instance_id": member.machine.id,
                "state": member.state,
                "health": member.health,
                "protected": member.protected,
                "zone": member.machine.place.zone,
                "waits_for": sorted(member.actions),
            }
            for member in group.members.values()
        ],
    }


def _machine(machine: Machine) -> dict[str, Any]:
    return {
        "id": machine.id,
        "group": machine.group,
        "state": machine.state,
        "type": machine.type,
        "market": machine.market,
        "zone": machine.place.zone,
        "subnet": machine.place.subnet_id,
        "image": machine.image_id,
        "launched_at": machine.launched_at,
        "tags": machine.tags,
        "metadata_options": machine.metadata,
        "launch_template": {
            "id": machine.launch.template_id,
            "name": machine.launch.template_name,
            "version": machine.launch.version,
            "data": machine.launch.data,
        },
    }
