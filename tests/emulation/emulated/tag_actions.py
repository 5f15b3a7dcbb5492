"""Auto Scaling: the tags of groups. Invariant: a group's tags reach instances at their launch only."""

from __future__ import annotations

from . import views
from .actions import Context, Params, action, page, with_token
from .errors import AwsError, validation
from .groups import Group

TAGS_MAX = 50
"""AWS's limit for each resource (user guide, tagging)."""


def set_tags(group: Group, tags: list[Params]) -> None:
    """Adds or replaces."""
    for tag in tags:
        if tag["Key"].startswith("aws:"):
            raise validation("Reserved prefix aws: may not be used for tag keys.")
        if (
            tag.get("ResourceId", group.name) != group.name
            or tag.get("ResourceType", "auto-scaling-group") != "auto-scaling-group"
        ):
            raise validation("The tag names another resource than the group.")
        group.tags[tag["Key"]] = (tag.get("Value", ""), tag.get("PropagateAtLaunch", False))
    if len(group.tags) > TAGS_MAX:
        raise AwsError("LimitExceeded", f"A group can have {TAGS_MAX} tags.")


def _group_of(context: Context, tag: Params) -> Group:
    if "ResourceId" not in tag or tag.get("ResourceType") != "auto-scaling-group":
        raise validation("A tag needs ResourceId and the ResourceType auto-scaling-group.")
    return context.group(tag["ResourceId"])


@action("autoscaling", "CreateOrUpdateTags")
def create_or_update(context: Context, params: Params) -> Params:
    for tag, group in [(tag, _group_of(context, tag)) for tag in params["Tags"]]:
        set_tags(group, [tag])
    return {}


@action("autoscaling", "DeleteTags")
def delete(context: Context, params: Params) -> Params:
    for tag, group in [(tag, _group_of(context, tag)) for tag in params["Tags"]]:
        group.tags.pop(tag["Key"], None)
    return {}


@action("autoscaling", "DescribeTags")
def describe(context: Context, params: Params) -> Params:
    tags = [tag for _, group in sorted(context.region.groups.items()) for tag in views.tags(group)]
    fields = {
        "auto-scaling-group": "ResourceId",
        "key": "Key",
        "value": "Value",
        "propagate-at-launch": "PropagateAtLaunch",
    }
    for wanted in params.get("Filters", []):
        field = fields.get(wanted.get("Name", ""))
        if field is None:
            raise validation(f"Filter type {wanted.get('Name')} is not correct. Allowed: {', '.join(fields)}")
        values = wanted.get("Values", [])
        tags = [
            tag for tag in tags if (str(tag[field]).lower() if field == "PropagateAtLaunch" else tag[field]) in values
        ]
    chosen, token = page(tags, params, 50, 100)
    return with_token({"Tags": chosen}, token)
