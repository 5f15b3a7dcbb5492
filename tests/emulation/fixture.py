"""One emulation for all tests of a run, its clock stopped, emptied before each test.

Invariant: no test sleeps; time moves by `advance`, and what depends on other threads is polled with a deadline.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = "us-east-1"
ACCOUNT = "123456789012"
OTHER_ACCOUNT = "222222222222"
READY_SECONDS_MAX = 60.0
POLL_SECONDS_MAX = 10.0

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_running: list[tuple[subprocess.Popen[bytes], str]] = []


def start() -> tuple[subprocess.Popen[bytes], str]:
    """A new emulation and its address."""
    script = Path(__file__).parent / "serve.py"
    process = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    if not line.startswith("listening on "):
        raise RuntimeError(f"the emulation did not start: {line!r}; run {sys.executable} {script}")
    return process, line.removeprefix("listening on ").strip()


def end(process: subprocess.Popen[bytes]) -> int:
    """Closes its standard input, and waits."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    code = process.wait(READY_SECONDS_MAX)
    process.stdout.close()
    return code


def address() -> str:
    """The emulation that all tests share."""
    if not _running:
        _running.append(start())
        atexit.register(lambda: end(_running[0][0]))
    return _running[0][1]


class EmulationTest(unittest.TestCase):
    """Clients, shortcuts, and the control endpoint."""

    url: str
    asg: Any
    ec2: Any
    subnets: dict[str, str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.url = address()
        cls.asg = cls.client("autoscaling")
        cls.ec2 = cls.client("ec2")
        described = cls.ec2.describe_subnets()["Subnets"]
        cls.subnets = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in described}

    def setUp(self) -> None:
        self.control("POST", "reset")
        self.control("POST", "clock", mode="stopped")

    def tearDown(self) -> None:
        self.assertEqual(self.control("GET", "bugs"), [], "bugs of the emulation")

    @classmethod
    def client(cls, service: str, credentials: dict[str, str] | None = None) -> Any:
        """A boto3 client that tries once."""
        key = credentials or {"AccessKeyId": "AKIAEMULATIONTESTS00", "SecretAccessKey": "secret", "SessionToken": ""}
        return boto3.client(
            service,
            endpoint_url=cls.url,
            region_name=REGION,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
            aws_session_token=key["SessionToken"] or None,
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    def assume(self, account: str, role: str = "muster") -> dict[str, str]:
        """Credentials of a role in an account."""
        answer = self.client("sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/{role}", RoleSessionName="tests")
        return dict(answer["Credentials"])

    def control(self, method: str, path: str, **body: Any) -> Any:
        """The control endpoint; an error answer fails the test."""
        data = json.dumps(body).encode() if method != "GET" else None
        query = "?" + urllib.parse.urlencode(body) if body and method != "POST" else ""
        request = urllib.request.Request(f"{self.url}/_emulation/{path}{query}", data, method=method)
        try:
            with _opener.open(request, timeout=POLL_SECONDS_MAX) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as problem:
            with problem:
                self.fail(f"{method} {path}: {problem.read().decode()}")

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.control("POST", "advance", seconds=seconds)

    def template(self, name: str = "runners", **data: Any) -> str:
        """A launch template's id."""
        data = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m6i.large"} | data
        answer = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        return str(answer["LaunchTemplate"]["LaunchTemplateId"])

    def group(self, name: str = "cold", zones: int = 2, **params: Any) -> str:
        """A group over the first zones, without balancing unless a test asks for it."""
        if not {"LaunchTemplate", "MixedInstancesPolicy"} & set(params):
            params["LaunchTemplate"] = {"LaunchTemplateId": self.template(f"template-of-{name}"), "Version": "$Latest"}
        subnets = [self.subnets[zone] for zone in sorted(self.subnets)[:zones]]
        balance = params.pop("balance", False)
        params = {"MinSize": 0, "MaxSize": 20, "VPCZoneIdentifier": ",".join(subnets)} | params
        self.asg.create_auto_scaling_group(AutoScalingGroupName=name, **params)
        if not balance:
            self.asg.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["AZRebalance"])
        return name

    def mixed(self, types: list[str], spot: bool, strategy: str = "price-capacity-optimized", **template: Any) -> Any:
        """A policy with one market."""
        split: dict[str, Any] = {"OnDemandPercentageAboveBaseCapacity": 0 if spot else 100}
        if spot:
            split["SpotAllocationStrategy"] = strategy
        name = f"mixed-{'-'.join(types).replace('.', '-')}-{spot}"
        return {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateId": self.template(name, **template),
                    "Version": "$Latest",
                },
                "Overrides": [{"InstanceType": kind} for kind in types],
            },
            "InstancesDistribution": split,
        }

    def launch(
        self, name: str = "cold", count: int = 1, token: str = "token", zone: str = "us-east-1a", **params: Any
    ) -> Any:
        """LaunchInstances into a zone."""
        return self.asg.launch_instances(
            AutoScalingGroupName=name, RequestedCapacity=count, ClientToken=token, AvailabilityZones=[zone], **params
        )

    def ids(self, answer: Any) -> list[str]:
        """The ids of a LaunchInstances answer."""
        return [one for entry in answer["Instances"] for one in entry["InstanceIds"]]

    def described(self, name: str = "cold") -> Any:
        """The group as AWS describes it."""
        groups = self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        self.assertEqual(len(groups), 1, f"group {name}")
        return groups[0]

    def states(self, name: str = "cold") -> list[str]:
        """The lifecycle states of a group's members, sorted."""
        return sorted(instance["LifecycleState"] for instance in self.described(name)["Instances"])

    def instance(self, instance_id: str) -> Any:
        """The instance as EC2 describes it."""
        return self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]

    def events(self, kind: str) -> list[Any]:
        """The events of a detail-type."""
        return list(self.control("GET", "events", **{"detail-type": kind}))

    def refused(self, code: str, call: Callable[..., Any], *args: Any, **params: Any) -> str:
        """Asserts that a call is answered with the code; gives the message."""
        with self.assertRaises(ClientError) as caught:
            call(*args, **params)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code, error["Message"])
        return str(error["Message"])

    def raw(self, service: str, **params: str) -> tuple[int, str]:
        """A request that botocore would not let through: status and body."""
        versions = {"autoscaling": "2011-01-01", "ec2": "2016-11-15"}
        credential = f"AKIAEMULATIONTESTS00/20260101/{REGION}/{service}/aws4_request"
        body = urllib.parse.urlencode({"Version": versions[service]} | params).encode()
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"}
        request = urllib.request.Request(self.url + "/", body, headers)
        try:
            with _opener.open(request, timeout=POLL_SECONDS_MAX) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, problem.read().decode()

    def eventually(self, holds: Callable[[], bool], what: str) -> None:
        """Polls, for what happens in another thread."""
        deadline = time.monotonic() + POLL_SECONDS_MAX
        while not holds():
            self.assertLess(time.monotonic(), deadline, f"not within {POLL_SECONDS_MAX} s: {what}")
            time.sleep(0.01)
