"""EC2: what a test may want to know of an instance beyond DescribeInstances. Invariant: changes nothing."""

from __future__ import annotations

from typing import Any

from .actions import Context, Params, action, page, with_token
from .ec2_instances import own, volume_id
from .errors import AwsError
from .machines import LIVE, STATES, Machine


@action("ec2", "DescribeInstanceAttribute")
def attribute(context: Context, params: Params) -> Params:
    """The attributes that launch templates of runners set; others are refused."""
    machine = context.world.machine(context.account, context.region_name, params["InstanceId"])
    data = machine.launch.data
    answer: dict[str, Any] = {"InstanceId": machine.id}
    match params["Attribute"]:
        case "instanceInitiatedShutdownBehavior":
            return answer | {"InstanceInitiatedShutdownBehavior": {"Value": machine.behaviour_on_shutdown}}
        case "userData":
            return answer | {"UserData": {"Value": data.get("UserData", "")}}
        case "instanceType":
            return answer | {"InstanceType": {"Value": machine.type}}
        case "ebsOptimized":
            return answer | {"EbsOptimized": {"Value": data.get("EbsOptimized", False)}}
        case other:
            raise AwsError("NotEmulated", f"The attribute {other} is not emulated.")


@action("ec2", "DescribeVolumes")
def volumes(context: Context, params: Params) -> Params:
    """One volume for each EBS device of a launch template. Only the filter `attachment.instance-id` is understood."""
    found = [one for machine in own(context, {}) if machine.state != "terminated" for one in _volumes(machine)]
    for wanted in params.get("Filters", []):
        if wanted.get("Name") != "attachment.instance-id":
            raise AwsError("InvalidParameterValue", f"The filter '{wanted.get('Name')}' is invalid, or not emulated.")
        found = [one for one in found if one["Attachments"][0]["InstanceId"] in wanted.get("Values", [])]
    if ids := params.get("VolumeIds"):
        found = [one for one in found if one["VolumeId"] in ids]
    chosen, token = page(found, params, 500, 1000, "MaxResults")
    return with_token({"Volumes": chosen}, token)


def _volumes(machine: Machine) -> list[dict[str, Any]]:
    described = []
    for number, device in enumerate(machine.launch.data.get("BlockDeviceMappings", [])):
        ebs = device.get("Ebs")
        if ebs is None:
            continue
        volume = {
            "VolumeId": volume_id(machine, number),
            "AvailabilityZone": machine.place.zone,
            "CreateTime": machine.launched_at,
            "Encrypted": ebs.get("Encrypted", False),
            "VolumeType": ebs.get("VolumeType", "gp2"),
            "Size": ebs.get("VolumeSize", 8),
            "State": "in-use",
            "Attachments": [
                {
                    "InstanceId": machine.id,
                    "VolumeId": volume_id(machine, number),
                    "Device": device.get("DeviceName", "/dev/xvda"),
                    "State": "attached",
                    "DeleteOnTermination": ebs.get("DeleteOnTermination", True),
                }
            ],
        }
        described.append(
            volume | {name: ebs[name] for name in ("Iops", "Throughput", "KmsKeyId", "SnapshotId") if name in ebs}
        )
    return described


@action("ec2", "DescribeInstanceStatus")
def status(context: Context, params: Params) -> Params:
    """Running instances only, unless all are wanted; both checks pass as soon as an instance runs."""
    found = own(context, {name: params[name] for name in ("InstanceIds", "Filters") if name in params})
    unknown = set(params.get("InstanceIds", [])) - set(context.region.machines)
    if unknown:
        raise AwsError("InvalidInstanceID.NotFound", f"The instance IDs '{', '.join(sorted(unknown))}' do not exist")
    if not params.get("IncludeAllInstances", False):
        found = [machine for machine in found if machine.state == "running"]
    chosen, token = page(found, params, 100, 1000, "MaxResults")
    return with_token({"InstanceStatuses": [_status(machine) for machine in chosen]}, token)


def _status(machine: Machine) -> dict[str, Any]:
    checks = "ok" if machine.state == "running" else "initializing" if machine.state in LIVE else "not-applicable"
    return {
        "InstanceId": machine.id,
        "AvailabilityZone": machine.place.zone,
        "InstanceState": {"Code": STATES[machine.state], "Name": machine.state},
        "InstanceStatus": {"Status": checks},
        "SystemStatus": {"Status": checks},
    }
