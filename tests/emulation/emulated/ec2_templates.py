"""EC2: launch templates and their versions. Invariant: a repeated client token makes nothing twice."""

from __future__ import annotations

import re
import secrets
from typing import Any

from .actions import Context, Params, action, page, with_token
from .errors import AwsError
from .models import service_model
from .templates import Template, Version, merged

NAME_PATTERN = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")
"""CreateLaunchTemplate's documentation of the name."""

VERSIONS_MAX = 10_000


@action("ec2", "CreateLaunchTemplate")
def create(context: Context, params: Params) -> Params:
    templates, name = context.region.templates, params["LaunchTemplateName"]
    if known := _repeated(context, params):
        return {"LaunchTemplate": _template(known[0])}
    if not NAME_PATTERN.fullmatch(name):
        raise AwsError(
            "InvalidLaunchTemplateName.MalformedException",
            "Launch template names have 3 to 128 letters, digits and ()./_-",
        )
    if any(template.name == name for template in templates.by_id.values()):
        raise AwsError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    template = Template(f"lt-{secrets.token_hex(9)[:17]}", name, context.world.clock.now(), context.caller)
    template.tags = _tags(params)
    version = template.add(context.world.clock.now(), params["LaunchTemplateData"], params.get("VersionDescription"))
    templates.by_id[template.id] = template
    _remember(context, params, template, version)
    return {"LaunchTemplate": _template(template)}


@action("ec2", "CreateLaunchTemplateVersion")
def create_version(context: Context, params: Params) -> Params:
    template = context.region.templates.find(params.get("LaunchTemplateId"), params.get("LaunchTemplateName"))
    if known := _repeated(context, params):
        return {"LaunchTemplateVersion": _version(*known)}
    if len(template.versions) >= VERSIONS_MAX:
        raise AwsError("VersionLimitExceeded", f"A launch template can have {VERSIONS_MAX} versions.")
    data = params["LaunchTemplateData"]
    if source := params.get("SourceVersion"):
        data = merged(template.version(source).data, data)
    version = template.add(context.world.clock.now(), data, params.get("VersionDescription"))
    _remember(context, params, template, version)
    return {"LaunchTemplateVersion": _version(template, version)}


def _repeated(context: Context, params: Params) -> tuple[Template, Version] | None:
    """What an earlier request with this token made."""
    templates, token = context.region.templates, params.get("ClientToken")
    if token is None or token not in templates.tokens:
        return None
    asked, template_id, number = templates.tokens[token]
    template = templates.by_id.get(template_id)
    if asked != params or template is None:
        raise AwsError(
            "IdempotentParameterMismatch", f"The client token '{token}' has been used with other parameters."
        )
    return template, template.versions[number]


def _remember(context: Context, params: Params, template: Template, version: Version) -> None:
    if token := params.get("ClientToken"):
        context.region.templates.tokens[token] = (params, template.id, version.number)


def _tags(params: Params) -> dict[str, str]:
    tags: dict[str, str] = {}
    for spec in params.get("TagSpecifications", []):
        if spec.get("ResourceType") != "launch-template":
            raise AwsError(
                "InvalidParameterValue", "The tags of a launch template need the resource type launch-template."
            )
        tags |= {tag["Key"]: tag.get("Value", "") for tag in spec.get("Tags", [])}
    return tags


@action("ec2", "ModifyLaunchTemplate")
def modify(context: Context, params: Params) -> Params:
    """Sets the default version."""
    template = context.region.templates.find(params.get("LaunchTemplateId"), params.get("LaunchTemplateName"))
    if wanted := params.get("DefaultVersion"):
        template.default = template.version(wanted).number
    return {"LaunchTemplate": _template(template)}


@action("ec2", "DeleteLaunchTemplate")
def delete(context: Context, params: Params) -> Params:
    templates = context.region.templates
    template = templates.find(params.get("LaunchTemplateId"), params.get("LaunchTemplateName"))
    del templates.by_id[template.id]
    return {"LaunchTemplate": _template(template)}


@action("ec2", "DeleteLaunchTemplateVersions")
def delete_versions(context: Context, params: Params) -> Params:
    """The default version cannot be deleted; the model has no code of its own for that (inferred)."""
    template = context.region.templates.find(params.get("LaunchTemplateId"), params.get("LaunchTemplateName"))
    done, failed = [], []
    for wanted in params["Versions"]:
        number = int(wanted) if wanted.isdigit() else -1
        entry: dict[str, Any] = {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "VersionNumber": number,
        }
        if number not in template.versions:
            failed.append(
                entry | {"ResponseError": {"Code": "launchTemplateVersionDoesNotExist", "Message": "No such version."}}
            )
        elif number == template.default:
            failed.append(
                entry
                | {
                    "ResponseError": {
                        "Code": "unexpectedError",
                        "Message": "The default version cannot be deleted.",
                    }
                }
            )
        else:
            del template.versions[number]
            done.append(entry)
    return {
        "SuccessfullyDeletedLaunchTemplateVersions": done,
        "UnsuccessfullyDeletedLaunchTemplateVersions": failed,
    }


@action("ec2", "DescribeLaunchTemplates")
def describe(context: Context, params: Params) -> Params:
    templates = context.region.templates
    if ids := params.get("LaunchTemplateIds"):
        found = [templates.find(one, None) for one in ids]
    elif names := params.get("LaunchTemplateNames"):
        found = [templates.find(None, one) for one in names]
    else:
        found = list(templates.by_id.values())
    for wanted in params.get("Filters", []):
        found = [template for template in found if _matches(template, wanted)]
    chosen, token = page(found, params, 200, 200, "MaxResults")
    return with_token({"LaunchTemplates": [_template(template) for template in chosen]}, token)


def _matches(template: Template, wanted: Params) -> bool:
    name, values = wanted.get("Name", ""), wanted.get("Values", [])
    if name == "launch-template-name":
        return template.name in values
    if name == "tag-key":
        return any(key in values for key in template.tags)
    if name.startswith("tag:"):
        return template.tags.get(name[4:]) in values
    raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid, or not emulated.")


@action("ec2", "DescribeLaunchTemplateVersions")
def describe_versions(context: Context, params: Params) -> Params:
    template = context.region.templates.find(params.get("LaunchTemplateId"), params.get("LaunchTemplateName"))
    if wanted := params.get("Versions"):
        versions = [template.version(one) for one in wanted]
    else:
        low, high = int(params.get("MinVersion", 0)), int(params.get("MaxVersion", 1 << 40))
        versions = [one for number, one in sorted(template.versions.items(), reverse=True) if low <= number <= high]
    if params.get("Filters"):
        raise AwsError("InvalidParameterValue", "Filters of DescribeLaunchTemplateVersions are not emulated.")
    chosen, token = page(versions, params, 200, 200, "MaxResults")
    return with_token({"LaunchTemplateVersions": [_version(template, version) for version in chosen]}, token)


def _template(template: Template) -> dict[str, Any]:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "CreateTime": template.created,
        "CreatedBy": template.creator,
        "DefaultVersionNumber": template.default,
        "LatestVersionNumber": template.latest,
        "Tags": [{"Key": key, "Value": value} for key, value in template.tags.items()],
    }


def _version(template: Template, version: Version) -> dict[str, Any]:
    known = service_model("ec2").shape_for("ResponseLaunchTemplateData").members
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "VersionNumber": version.number,
        "VersionDescription": version.description,
        "CreateTime": version.created,
        "CreatedBy": template.creator,
        "DefaultVersion": version.number == template.default,
        "LaunchTemplateData": {name: value for name, value in version.data.items() if name in known},
    }
