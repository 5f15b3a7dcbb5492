"""Which permissions a call needs: actions, resources and condition keys, by AWS's service authorization reference.

What lives here: EC2 and Auto Scaling as Muster uses them. What may not: the verdict (`roles.py`). Invariant: a call that
is not known here needs its own action on `*`, so that only a statement on everything allows it.

Read from documentation, and never compared with AWS: what a launch needs of the caller (user guide of EC2 Auto Scaling,
"Control Amazon EC2 launch template usage in Auto Scaling groups" and "Launch instances synchronously"). Inferred: tags of
the launch template count as tags of that request. Of a group or an instance that is not there nothing is needed: the
action itself says that it is not there.
"""

from __future__ import annotations

from typing import Any

from .actions import Context, Params
from .groups import Group
from .roles import Need, Role
from .templates import Launch

TEMPLATES = (
    "CreateLaunchTemplateVersion",
    "ModifyLaunchTemplate",
    "DeleteLaunchTemplate",
    "DeleteLaunchTemplateVersions",
)
INSTANCES = ("ModifyInstanceMetadataOptions", "StartInstances", "StopInstances", "TerminateInstances")


def needs(context: Context, service: str, action: str, params: Params, role: Role) -> list[Need]:
    """What the role must have for this call."""
    asked = _Asked(context, role)
    if action.startswith("Describe"):
        return [Need(f"{service}:{action}")]
    return asked.of_ec2(action, params) if service == "ec2" else asked.of_auto_scaling(action, params)


def request_tags(tags: list[Params]) -> dict[str, Any]:
    """The condition keys of tags that a request carries."""
    keys: dict[str, Any] = {f"aws:RequestTag/{tag['Key']}": tag.get("Value", "") for tag in tags}
    return keys | ({"aws:TagKeys": [tag["Key"] for tag in tags]} if tags else {})


def resource_tags(tags: dict[str, str]) -> dict[str, Any]:
    """The condition keys of tags that a resource has."""
    return {f"aws:ResourceTag/{name}": value for name, value in tags.items()}


class _Asked:
    """A call in a role's name. ARNs are in the role's account."""

    def __init__(self, context: Context, role: Role) -> None:
        self.context, self.region, self.role = context, context.region, role

    def ec2_arn(self, resource: str, account: bool = True) -> str:
        return f"arn:aws:ec2:{self.context.region_name}:{self.role.account if account else ''}:{resource}"

    def of_ec2(self, action: str, params: Params) -> list[Need]:
        name = f"ec2:{action}"
        if action == "CreateLaunchTemplate":
            tags = [tag for spec in params.get("TagSpecifications", []) for tag in spec.get("Tags", [])]
            resource, keys = self.ec2_arn("launch-template/*"), request_tags(tags)
            tagging = [Need("ec2:CreateTags", resource, keys | {"ec2:CreateAction": action})] if tags else []
            return [Need(name, resource, keys), *tagging]
        if action in TEMPLATES:
            template = self.region.templates.find(params.get("LaunchTemplateId"), params.get("LaunchTemplateName"))
            return [Need(name, self.ec2_arn(f"launch-template/{template.id}"), resource_tags(template.tags))]
        if action in INSTANCES:
            ids = params.get("InstanceIds") or [params["InstanceId"]]
            known = [self.region.machines[one] for one in ids if one in self.region.machines]
            return [Need(name, self.ec2_arn(f"instance/{one.id}"), resource_tags(one.tags)) for one in known]
        return [Need(name)]

    def of_auto_scaling(self, action: str, params: Params) -> list[Need]:
        name = f"autoscaling:{action}"
        if action == "CreateAutoScalingGroup":
            made = Need(name, self.group_arn(params["AutoScalingGroupName"]), request_tags(params.get("Tags", [])))
            return [made, *self.of_launches(params)]
        if action == "CreateOrUpdateTags":
            named = {tag["ResourceId"]: [] for tag in params["Tags"]}
            for tag in params["Tags"]:
                named[tag["ResourceId"]].append(tag)
            return [Need(name, self.group_arn(one), request_tags(tags)) for one, tags in named.items()]
        changed = [Need(name, self.group_arn(group.name), self.group_tags(group)) for group in self.groups(params)]
        if action == "UpdateAutoScalingGroup":
            changed += self.of_launches(params)
        if action == "LaunchInstances":
            for group in self.groups(params):
                changed += self.of_launches(group.given, fleet=True)
        return changed

    def group_arn(self, name: str) -> str:
        prefix = f"arn:aws:autoscaling:{self.context.region_name}:{self.role.account}:autoScalingGroup"
        group = self.region.groups.get(name)
        return f"{prefix}:{group.id if group else '*'}:autoScalingGroupName/{name}"

    @staticmethod
    def group_tags(group: Group) -> dict[str, Any]:
        return resource_tags({name: value for name, (value, _) in group.tags.items()})

    def groups(self, params: Params) -> list[Group]:
        """The groups that a call is about: named, or those of its instances."""
        if name := params.get("AutoScalingGroupName"):
            return [self.region.groups[name]] if name in self.region.groups else []
        ids = params.get("InstanceIds") or [params.get("InstanceId", "")]
        members = [self.region.member(one) for one in ids]
        return list({found[0].name: found[0] for found in members if found}.values())

    def of_launches(self, given: Params, fleet: bool = False) -> list[Need]:
        """Auto Scaling launches in its caller's name: what it launches from, into, and as whom."""
        policy = given.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
        specs = [one.get("LaunchTemplateSpecification") for one in (policy, *policy.get("Overrides", []))]
        specs.append(given.get("LaunchTemplate"))
        launches = [self.region.templates.choose(spec) for spec in specs if spec]
        subnets = [one.strip() for one in given.get("VPCZoneIdentifier", "").split(",") if one.strip()]
        return [need for launch in launches for need in self.of_launch(launch, subnets, fleet)]

    def of_launch(self, launch: Launch, subnets: list[str], fleet: bool) -> list[Need]:
        template = self.region.templates.by_id[launch.template_id]
        of_template = {"ec2:LaunchTemplate": self.ec2_arn(f"launch-template/{template.id}")}
        tags = {spec["ResourceType"]: spec.get("Tags", []) for spec in launch.data.get("TagSpecifications", [])}
        resources = {
            of_template["ec2:LaunchTemplate"]: resource_tags(template.tags),
            self.ec2_arn(f"image/{launch.image_id}", account=False): {},
            **{self.ec2_arn(f"{kind}/*"): request_tags(tags.get(kind, [])) for kind in ("instance", "volume")},
            self.ec2_arn("network-interface/*"): {},
            **{self.ec2_arn(f"security-group/{one}"): {} for one in launch.data.get("SecurityGroupIds", [])},
            **{self.ec2_arn(f"subnet/{one}"): {} for one in subnets},
        }
        found = [Need("ec2:RunInstances", one, of_template | keys) for one, keys in resources.items()]
        created = {"ec2:CreateAction": "RunInstances"}
        found += [
            Need("ec2:CreateTags", self.ec2_arn(f"{kind}/*"), request_tags(some) | created) for kind, some in tags.items()
        ]
        if profile := launch.data.get("IamInstanceProfile"):
            found.append(self.of_profile(profile))
        if fleet:
            found += [Need("ec2:CreateFleet", one, of_template) for one in (self.ec2_arn("fleet/*"), *resources)]
        return found

    def of_profile(self, profile: Params) -> Need:
        """A profile that nobody has told of has a role of its own name."""
        own = f"arn:aws:iam::{self.role.account}:role/{(profile.get('Arn') or profile['Name']).rsplit('/', 1)[-1]}"
        role = self.context.world.roles.profiles.get(profile.get("Arn", ""), own)
        return Need("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})
