"""The stack on an emulator with our own binaries: from a signed webhook to an instance, a claim, a job, and the end.

Auto Scaling and EC2 are the emulation of `tests/emulation`, GitHub is the fake of `tests/github`, everything else is
ministack. The agent is a script that signs as an assumed role whose session name is the instance's id.

What lives here: what Muster does in the deployed shape. What may not: what holds whatever is in the zips
(`test_stack.py`).

The binaries are taken from the folder that MUSTER_TEST_BINARIES names; without it these tests are left out.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import boto3
from botocore.config import Config

from agent import Agent
from stack import FUNCTIONS, PAYLOADS, REGION, ROOT, Emulator, Stack, direct, wait_for, zip_of

BINARIES = os.environ.get("MUSTER_TEST_BINARIES")
SECRET = "a secret of the tests"
SECONDS = 60
RECORDED = sorted(PAYLOADS.glob("workflow_job.*.json"))
LABELS = ["gpu", "db-app", "dc-03"]

CONFIG = """
[github]
organization = "octo-org"
api_url = "{github}"
webhook_secrets = ["{webhook}"]
[[github.app]]
id = {app}
private_key = "{key}"
[aws]
subnets = {subnets}
security_groups = ["{security_group}"]
images = {{ linux-x64 = "{image}" }}
[fleet]
name = "acme"
max_runners = 8
[[pool]]
name = "hosted-like"
os = "linux"
arch = "x64"
labels = ["ubuntu-latest"]
repositories = ["*"]
public_repositories = true
[pool.sizes.cpu-2]
instance_types = ["c6i.large"]
[[pool]]
name = "gpu"
os = "linux"
arch = "x64"
labels = {labels}
repositories = ["*"]
public_repositories = true
markets = ["spot"]
[pool.sizes.cpu-8]
instance_types = ["c6i.2xlarge", "m6i.2xlarge"]
[[pool]]
name = "k8s"
os = "linux"
arch = "x64"
labels = ["self-hosted", "k8s"]
repositories = ["*"]
public_repositories = true
[pool.sizes.cpu-2]
instance_types = ["c6i.large"]
"""
APP = 4711


class Program:
    """A server of ours that says `listening on URL` and ends when its standard input does."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        said = self.process.stdout.readline()
        if not said.startswith("listening on "):
            raise AssertionError(f"{command[0]}: {said!r} {self.process.communicate()[1]}")
        self.url = said.split()[-1]

    def stop(self):
        """Ends it; gives its exit code and what it had to say."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.communicate(timeout=20)[1], self.process.returncode
        self.process.kill()
        return self.process.communicate()[1], self.process.returncode

    def get(self, path):
        with direct.open(self.url + path, timeout=20) as answer:
            return json.loads(answer.read())


def queued(job, name="marker"):
    """A delivery about a job that is queued."""
    return json.loads((PAYLOADS / "workflow_job.queued.6.json").read_text()) | {
        "action": "queued",
        "workflow_job": workflow_job(job, status="queued", name=name),
        "repository": {"full_name": "octo-org/marker", "private": True},
    }


def workflow_job(job, **fields):
    return {
        "id": job, "run_id": job * 10, "run_attempt": 1, "labels": LABELS, "created_at": now(), "started_at": now(), **fields
    }


def now():
    import datetime

    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@unittest.skipUnless(BINARIES, "MUSTER_TEST_BINARIES does not name a folder with our binaries")
class Whole(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        binaries = pathlib.Path(BINARIES)
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="muster-whole-"))
        cls.addClassCleanup(shutil.rmtree, cls.home, ignore_errors=True)
        cls.emulation = Program(sys.executable, ROOT / "tests" / "emulation" / "serve.py", "--port", "0")
        cls.addClassCleanup(cls.emulation.stop)
        key = cls.home / "app.pem"
        cls.github = Program(binaries / "github-fake", "--organization", "octo-org", "--app", APP, "--key", key)
        cls.addClassCleanup(cls.github.stop)
        variables = {f"AWS_ENDPOINT_URL_{service}": cls.emulation.url for service in ("EC2", "AUTO_SCALING")}
        cls.emulator = Emulator(variables=variables)
        cls.addClassCleanup(cls.emulator.stop)
        zips = {name: zip_of((binaries / f"muster-{name}").read_bytes()) for name in FUNCTIONS}
        cls.stack = Stack(cls.emulator, zips)
        ec2 = cls.at_emulation("ec2")
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:3]
        config = CONFIG.format(
            github=cls.github.url,
            webhook=cls.stack.put_secret("webhook", "current", SECRET),
            app=APP,
            key=cls.stack.put_secret("app", "key", key.read_text()),
            subnets=json.dumps(subnets),
            security_group=ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
            image=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            labels=json.dumps(LABELS),
        )
        cls.stack.put_config(config)

    @classmethod
    def at_emulation(cls, service):
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=cls.emulation.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

    def told(self):
        """What to show when a wait fails."""
        return "\n".join(line for name in FUNCTIONS for line in self.stack.log(name)[-12:])

    def until(self, what, look, seconds=SECONDS):
        try:
            return wait_for(what, look, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from None

    def deliver(self, payload, delivery):
        status, _, body = self.stack.webhook(json.dumps(payload).encode(), SECRET, delivery=delivery)
        self.assertEqual(status, 202, body)

    def calls(self, action):
        return [call for call in self.emulation.get("/_emulation/calls") if call["action"] == action]

    def members(self):
        groups = self.at_emulation("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        return {i["InstanceId"]: g for g in groups for i in g["Instances"]}

    def test_a_job_from_webhook_to_end(self):
        # Recorded deliveries, under a configuration that serves their labels.
        for number, path in enumerate(RECORDED):
            status, _, body = self.stack.webhook(path.read_bytes(), SECRET, delivery=f"recorded-{number}")
            self.assertEqual(status, 202, (path.name, body))
        status, _, body = self.stack.post("/webhook", RECORDED[0].read_bytes(), {"X-GitHub-Event": "workflow_job"})
        self.assertEqual(status, 401, body)
        self.until("the recorded jobs in the ledger", lambda: any("jobs" in r["pk"]["S"] or "job#" in r["pk"]["S"] for r in self.stack.rows()))

        # One more, of which something is wanted.
        self.deliver(queued(77), "queued-77")
        launch = self.until("a launch", lambda: self.calls("LaunchInstances"))[0]
        self.assertEqual(launch["params"]["RequestedCapacity"], 1, launch)
        instance, group = self.until("a member", lambda: list(self.members().items()))[0]
        self.assertEqual(group["DesiredCapacity"], 1)
        queued_lines = lambda: [line for line in self.stack.metrics("scaler") if "JobsQueued" in line or "PoolExhausted" in line]
        self.until("metric lines in the log group", queued_lines)

        # Its agent: an assumed role whose session name is the instance's id.
        sts = self.emulator.client("sts")
        role = self.stack.outputs["InstanceRoleArn"]
        credentials = sts.assume_role(RoleArn=role, RoleSessionName=instance)["Credentials"]
        environment = self.emulator.client("lambda").get_function_configuration(FunctionName="muster-acme-door")
        audience = environment["Environment"]["Variables"]["MUSTER_AUDIENCE"]

        def post(path, body, headers):
            return self.stack.post(path, body, headers, timeout=40)

        agent = Agent(post, instance, credentials, audience, REGION)
        self.until("an answer to the claim", lambda: agent.claim(wait_s=20)[0] == 200)
        self.until("a configuration", lambda: agent.config or agent.report("ready", wait_s=20) and agent.config)
        runner = self.github.get("/_fake/state")["runners"][0]
        self.assertEqual(sorted(runner["labels"]), sorted(LABELS + ["cpu-8", "spot"]))
        self.assertIn(instance, runner["name"])

        # The same claim gets the same answer, another one none.
        again = Agent(post, instance, credentials, audience, REGION)
        self.assertEqual(again.claim()[0], 409)
        stranger = sts.assume_role(RoleArn=role, RoleSessionName="i-0123456789abcdef0")["Credentials"]
        self.assertEqual(Agent(post, "i-0123456789abcdef0", stranger, audience, REGION).claim()[0], 425)
        elsewhere = sts.assume_role(RoleArn=role.replace("instance", "other"), RoleSessionName=instance)["Credentials"]
        self.assertIn(Agent(post, instance, elsewhere, audience, REGION).claim()[0], (401, 409))

        # The job runs and ends.
        self.assertEqual(agent.report("listening")[0], 200)
        silenced = lambda: [c for c in self.calls("ModifyInstanceMetadataOptions") if c["params"]["InstanceId"] == instance]
        self.until("the metadata service turned off", silenced)
        self.assertEqual(agent.report("busy")[0], 200)
        named = {"runner_id": runner["id"], "runner_name": runner["name"], "runner_group_id": 1, "runner_group_name": "Default"}
        started = queued(77) | {"action": "in_progress", "workflow_job": workflow_job(77, status="in_progress", **named)}
        self.deliver(started, "started-77")
        done = workflow_job(77, status="completed", conclusion="success", completed_at=now(), **named)
        self.assertEqual(agent.report("done", ran_job=True)[0], 200)
        self.deliver(queued(77) | {"action": "completed", "workflow_job": done}, "completed-77")
        ended = self.until("the end of the instance", lambda: self.calls("TerminateInstanceInAutoScalingGroup"))[0]
        self.assertTrue(ended["params"]["ShouldDecrementDesiredCapacity"], ended)
        self.until("the group back at nothing", lambda: not self.members())
        self.until("a queue time", lambda: [line for line in self.stack.metrics("scaler") if "QueueTime" in line])

        # Nothing was launched for the others, and nothing of what was asked was wrong.
        self.assertEqual(len(self.calls("LaunchInstances")), 1, self.calls("LaunchInstances"))
        self.assertEqual(self.emulation.get("/_emulation/bugs"), [])
        self.assertEqual(self.github.get("/_fake/state")["wrong"], [])


if __name__ == "__main__":
    unittest.main()
