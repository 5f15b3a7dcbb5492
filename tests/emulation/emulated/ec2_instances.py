"""EC2: the instances that groups have launched. Those that RunInstances made in moto are merged into what is described.

Invariant: an id is either ours or moto's. Filters that are not understood are refused, never ignored.
"""

from __future__ import annotations

import base64
import fnmatch
from typing import Any

from . import machines
from .actions import Context, Params, action, page, with_token
from .errors import AwsError
from .machines import STATES, Machine
from .reply import timestamp

PAGE_MAX = 1000
"""DescribeInstances' documentation of MaxResults (5 to 1000)."""


def view(machine: Machine) -> dict[str, Any]:
    """An Instance of the model."""
    data, place = machine.launch.data, machine.place
    answer: dict[str, Any] = {
        "InstanceId": machine.id,
        "ImageId": machine.image_id,
        "State": {"Code": STATES[machine.state], "Name": machine.state},
        "InstanceType": machine.type,
        "LaunchTime": machine.launched_at,
        "Placement": {"AvailabilityZone": place.zone, "AvailabilityZoneId": place.zone_id, "Tenancy": "default"},
        "Monitoring": {"State": "disabled"},
        "MetadataOptions": machine.metadata,
        "AmiLaunchIndex": 0,
        "Architecture": "arm64" if _is_arm(machine.type) else "x86_64",
        "RootDeviceType": "ebs",
        "RootDeviceName": "/dev/xvda",
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EbsOptimized": data.get("EbsOptimized", False),
        "SecurityGroups": [{"GroupId": group_id, "GroupName": group_id} for group_id in _security_groups(data)],
        "ClientToken": machine.client_token,
        "StateTransitionReason": machine.reason[1] if machine.reason else "",
        "Tags": [{"Key": key, "Value": value} for key, value in machine.tags.items()],
        "BlockDeviceMappings": [
            _device(machine, number, device)
            for number, device in enumerate(data.get("BlockDeviceMappings", []))
            if "Ebs" in device
        ],
    }
    if machine.market == "spot":
        answer["InstanceLifecycle"] = "spot"
        answer["SpotInstanceRequestId"] = "sir-" + machine.id[2:10]
    if profile := data.get("IamInstanceProfile"):
        name = profile.get("Name") or profile.get("Arn", "").split("/")[-1]
        arn = profile.get("Arn") or f"arn:aws:iam::{machine.account}:instance-profile/{name}"
        answer["IamInstanceProfile"] = {"Arn": arn, "Id": "AIPA" + machine.id[2:].upper()}
    if machine.reason:
        answer["StateReason"] = {"Code": machine.reason[0], "Message": machine.reason[1]}
    if "HibernationOptions" in data:
        answer["HibernationOptions"] = data["HibernationOptions"]
    if machine.state not in ("shutting-down", "terminated"):
        dashed = machine.address.replace(".", "-")
        answer |= {
            "SubnetId": place.subnet_id,
            "VpcId": place.vpc_id,
            "PrivateIpAddress": machine.address,
            "PrivateDnsName": f"ip-{dashed}.ec2.internal",
        }
    return answer


def _is_arm(kind: str) -> bool:
    family = kind.split(".")[0]
    return "g" in family.lstrip("abcdefghijklmnopqrstuvwxyz") or family == "a1"


def _security_groups(data: dict[str, Any]) -> list[str]:
    for interface in data.get("NetworkInterfaces", []):
        if "Groups" in interface:
            return interface["Groups"]
    return data.get("SecurityGroupIds", [])


def volume_id(machine: Machine, number: int) -> str:
    """An id that depends on instance and device only."""
    return f"vol-{number:x}{machine.id[3:]}"


def _device(machine: Machine, number: int, device: dict[str, Any]) -> dict[str, Any]:
    ebs = {
        "VolumeId": volume_id(machine, number),
        "Status": "attached",
        "AttachTime": machine.launched_at,
        "DeleteOnTermination": device["Ebs"].get("DeleteOnTermination", True),
    }
    return {"DeviceName": device.get("DeviceName", "/dev/xvda"), "Ebs": ebs}


def _facts(machine: Machine, name: str) -> list[str]:
    """What a filter of DescribeInstances is compared with."""
    if name.startswith("tag:"):
        return [value for key, value in machine.tags.items() if key == name[4:]]
    place, options = machine.place, machine.metadata
    facts: dict[str, list[str]] = {
        "instance-id": [machine.id],
        "instance-state-name": [machine.state],
        "instance-state-code": [str(STATES[machine.state])],
        "instance-type": [machine.type],
        "instance-lifecycle": [machine.market] if machine.market == "spot" else [],
        "image-id": [machine.image_id],
        "availability-zone": [place.zone],
        "availability-zone-id": [place.zone_id],
        "subnet-id": [place.subnet_id],
        "vpc-id": [place.vpc_id],
        "private-ip-address": [machine.address],
        "client-token": [machine.client_token],
        "launch-time": [timestamp(machine.launched_at)],
        "reservation-id": [machine.reservation],
        "owner-id": [machine.account],
        "tag-key": list(machine.tags),
        "tag-value": list(machine.tags.values()),
        "metadata-options.http-tokens": [options["HttpTokens"]],
        "metadata-options.http-endpoint": [options["HttpEndpoint"]],
        "metadata-options.http-put-response-hop-limit": [str(options["HttpPutResponseHopLimit"])],
    }
    if name not in facts:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid, or not emulated.")
    return facts[name]


def matches(machine: Machine, wanted: list[Params]) -> bool:
    """All filters; within one, any value, with * and ? as EC2 understands them."""
    for one in wanted:
        facts = _facts(machine, one.get("Name", ""))
        if not any(fnmatch.fnmatchcase(fact, value) for fact in facts for value in one.get("Values", [])):
            return False
    return True


def own(context: Context, params: Params) -> list[Machine]:
    """The instances of ours that a DescribeInstances means."""
    world, region = context.world, context.region
    seen_until = world.clock.now() - world.settings.terminated_visible_ms / 1000
    if ids := params.get("InstanceIds"):
        chosen = [region.machines[one] for one in dict.fromkeys(ids) if one in region.machines]
    else:
        chosen = list(region.machines.values())
    wanted = params.get("Filters", [])
    return [
        machine
        for machine in chosen
        if world.visible(machine)
        and not (machine.ended_at is not None and machine.ended_at < seen_until)
        and (not wanted or matches(machine, wanted))
    ]


@action("ec2", "DescribeInstances")
def describe(context: Context, params: Params) -> Params:
    """Unknown ids are an error, and so are ids that are not visible yet: that is EC2's eventual consistency."""
    if params.get("InstanceIds") and "MaxResults" in params:
        raise AwsError(
            "InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults"
        )
    found = own(context, params)
    if ids := params.get("InstanceIds"):
        known = {machine.id for machine in own(context, {"InstanceIds": ids})}
        if unknown := [one for one in ids if one not in known]:
            names = ", ".join(unknown)
            one = len(unknown) == 1
            text = f"The instance ID '{names}' does not exist" if one else f"The instance IDs '{names}' do not exist"
            raise AwsError("InvalidInstanceID.NotFound", text)
    size = params.get("MaxResults")
    if size is not None and not 5 <= size <= PAGE_MAX:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and {PAGE_MAX}.",
        )
    chosen, token = page(found, params, PAGE_MAX, PAGE_MAX, "MaxResults")
    reservations = [
        {"ReservationId": machine.reservation, "OwnerId": machine.account, "Groups": [], "Instances": [view(machine)]}
        for machine in chosen
    ]
    return with_token({"Reservations": reservations}, token)


def _all(context: Context, ids: list[str]) -> list[Machine]:
    return [context.world.machine(context.account, context.region_name, one) for one in ids]


def _changes(chosen: list[Machine], change: Any) -> list[dict[str, Any]]:
    changes = []
    for machine in chosen:
        before = machine.state
        change(machine)
        changes.append(
            {
                "InstanceId": machine.id,
                "PreviousState": {"Code": STATES[before], "Name": before},
                "CurrentState": {"Code": STATES[machine.state], "Name": machine.state},
            }
        )
    return changes


@action("ec2", "TerminateInstances")
def terminate(context: Context, params: Params) -> Params:
    """Behind the group's back, as far as groups are concerned."""
    code = "Client.UserInitiatedShutdown"
    change = lambda machine: machines.terminate(context.world, machine, code, f"{code}: User initiated shutdown")  # noqa: E731
    return {"TerminatingInstances": _changes(_all(context, params["InstanceIds"]), change)}


@action("ec2", "StopInstances")
def stop(context: Context, params: Params) -> Params:
    chosen, code = _all(context, params["InstanceIds"]), "Client.UserInitiatedShutdown"
    for machine in chosen:
        if machine.market == "spot":
            text = "because it is associated with a one-time Spot Instance request."
            raise AwsError("UnsupportedOperation", f"You can't stop the Spot Instance '{machine.id}' {text}")
    change = lambda machine: machines.stop(context.world, machine, code, f"{code}: User initiated shutdown")  # noqa: E731
    return {"StoppingInstances": _changes(chosen, change)}


@action("ec2", "StartInstances")
def start(context: Context, params: Params) -> Params:
    world, chosen = context.world, _all(context, params["InstanceIds"])
    for machine in chosen:
        if machine.state not in ("stopped", "pending", "running"):
            text = f"The instance '{machine.id}' is not in a state from which it can be started."
            raise AwsError("IncorrectInstanceState", text)

    def change(machine: Machine) -> None:
        machines.start(world, machine)
        world.clock.after_ms(world.settings.boot_ms, lambda: machines.run(world, machine))

    return {"StartingInstances": _changes(chosen, change)}


@action("ec2", "ModifyInstanceMetadataOptions")
def metadata(context: Context, params: Params) -> Params:
    """Takes effect at once, and says `pending` as EC2 does."""
    machine = context.world.machine(context.account, context.region_name, params["InstanceId"])
    if machine.state in ("shutting-down", "terminated"):
        raise AwsError(
            "IncorrectInstanceState",
            f"The instance '{machine.id}' is not in a state where its metadata options can be changed.",
        )
    changes = {name: value for name, value in params.items() if name not in ("InstanceId", "DryRun")}
    hops = changes.get("HttpPutResponseHopLimit", 1)
    if not 1 <= hops <= 64:
        raise AwsError(
            "InvalidParameterValue", f"Invalid value '{hops}' for HttpPutResponseHopLimit. It must be between 1 and 64."
        )
    machine.metadata = machine.metadata | changes | {"State": "applied"}
    return {"InstanceId": machine.id, "InstanceMetadataOptions": machine.metadata | {"State": "pending"}}


@action("ec2", "GetConsoleOutput")
def console(context: Context, params: Params) -> Params:
    """What was put there by `/_emulation/console`, in base64 as on the wire of AWS."""
    machine = context.world.machine(context.account, context.region_name, params["InstanceId"])
    output = base64.b64encode(machine.console.encode()).decode()
    return {"InstanceId": machine.id, "Timestamp": context.world.clock.now(), "Output": output}
