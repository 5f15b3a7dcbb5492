"""What tests of the whole path share: the stack with our own binaries, the emulation of EC2, and a GitHub.

Auto Scaling and EC2 are the emulation of `tests/emulation`, GitHub is the fake of `tests/github`, everything else is
ministack.

What lives here: the surroundings, and words for what happens in them. What may not: what a test expects.

Invariant: each class has surroundings of its own, and each test a pool and jobs of its own in them. Without
MUSTER_TEST_BINARIES, which names the folder of our binaries, the tests are left out.
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

import boto3
from botocore.config import Config

import agent
from agent import Agent
from given import CONFIG, LABELS, POOL, TYPES
from stack import DEPLOYED, FUNCTIONS, REGION, ROOT, Emulator, Stack, direct, wait_for

BINARIES = os.environ.get("MUSTER_TEST_BINARIES")
SECRET = "planted-secret"
SECONDS = 60
APP = 4711
with_binaries = unittest.skipUnless(BINARIES, "MUSTER_TEST_BINARIES does not name a folder with our binaries")


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


@functools.cache
def built_zips(binaries):
    """The folder with what `infra/build` packs of our binaries."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="muster-zips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    variables = os.environ | {"MUSTER_INFRA_BINARIES": str(binaries)}
    subprocess.run([ROOT / "infra" / "build", folder], env=variables, check=True, capture_output=True)
    return folder


def tells_no_secret(lines, github, key):
    """Fails if one of the lines has a secret in it that was planted, given out or unsealed so far."""
    given_out = github.get("/_fake/state")["secrets"]
    of_the_key = [line for line in key.read_text().splitlines() if not line.startswith("-----")]
    secrets = {SECRET, *given_out, *of_the_key, *agent.UNSEALED}
    for line in lines:
        told = [secret for secret in secrets if len(secret) > 8 and secret in line]
        if told:
            raise AssertionError(f"a secret is told: {line}")


class Surroundings(unittest.TestCase):
    """The stack in its surroundings. `pools` are the names of further pools: their label is their name."""

    pools = ()
    # References to further webhook secrets.
    further_secrets = ()
    auth = False
    without = ()
    # Services that the functions find at the emulation instead of ministack.
    emulated = ("EC2", "AUTO_SCALING")

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
        variables = {f"AWS_ENDPOINT_URL_{service}": way for service, way in cls.ways().items()}
        cls.emulator = Emulator(auth=cls.auth, variables=variables)
        cls.addClassCleanup(cls.emulator.stop)
        # Over all that the class has done.
        cls.addClassCleanup(cls.no_function_tells_a_secret)
        zips = {name: (built_zips(binaries) / f"{name}.zip").read_bytes() for name in FUNCTIONS}
        ec2 = cls.at_emulation("ec2")
        security_group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
        cls.stack = Stack(cls.emulator, zips, without=cls.without, parameters=cls.parameters(security_group))
        cls.deployed()
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:3]
        config = CONFIG.format(
            github=cls.github.url,
            webhook='", "'.join([cls.stack.put_secret("webhook", "current", SECRET), *cls.further_secrets]),
            app=APP,
            key=cls.stack.put_secret("app", "key", key.read_text()),
            subnets=json.dumps(subnets),
            security_group=security_group,
            image=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            labels=json.dumps(LABELS),
        )
        further = [POOL.format(name=name, kind=kind, cpus=cpus) for name, (kind, cpus) in zip(cls.pools, TYPES)]
        cls.stack.put_config(cls.configured("".join([config, *further])))

    @classmethod
    def parameters(cls, security_group):
        """Of the stack, whose machines are in that security group of the emulation."""

    @classmethod
    def deployed(cls):
        """Called once the stack is there, and before there is a configuration."""

    @classmethod
    def configured(cls, text):
        """The configuration that is put in force, made from the usual one."""
        return text

    @classmethod
    def no_function_tells_a_secret(cls):
        lines = (line for name in DEPLOYED for line in cls.stack.log(name))
        tells_no_secret(lines, cls.github, cls.home / "app.pem")

    @classmethod
    def ways(cls):
        """Where the functions find services that they do not find at ministack's own address."""
        return {service: cls.way_to_emulation() for service in cls.emulated}

    @classmethod
    def way_to_emulation(cls):
        """Where the functions find the emulation."""
        return cls.emulation.url

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
        return "\n".join(line for name in DEPLOYED for line in self.stack.log(name)[-12:])

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

    @classmethod
    def emulate(cls, what, body, method="POST"):
        """Tells the emulation of EC2 something; gives its answer."""
        request = urllib.request.Request(f"{cls.emulation.url}/_emulation/{what}", json.dumps(body).encode(), method=method)
        with direct.open(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def fault(self, **fields):
        """A fault of the emulation, until the end of the test."""
        number = self.emulate("faults", fields)["id"]
        self.addCleanup(self.emulate, f"faults?id={number}", {}, "DELETE")

    def ring(self):
        """A tick of the schedule, at once: the constant event of its rule."""
        self.stack.invoke("door", {"muster": "tick"})

    def tell_github(self, what, **body):
        """Lets the fake GitHub remember something; gives its number."""
        request = urllib.request.Request(f"{self.github.url}/_fake/{what}", json.dumps(body).encode(), method="POST")
        with direct.open(request, timeout=20) as answer:
            return json.loads(answer.read()).get("id")

    def heal(self):
        """A look of the schedule, at once: the constant event of its rule."""
        self.stack.invoke("healer", {"muster": "heal"})

    def groups(self, pool):
        """The groups of a pool of `pools`, by name: those for its instance type."""
        return self.of_pool(self.at_emulation("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"], pool)

    def of_pool(self, groups, pool):
        """Those of these groups that are a pool's, by name."""
        kind = TYPES[self.pools.index(pool)][0]
        return {one["AutoScalingGroupName"]: one for one in groups if f'"{kind}"' in json.dumps(one, default=str)}

    def launches(self, pool):
        """LaunchInstances calls for a pool of `pools`."""
        groups = self.groups(pool)
        return [call for call in self.calls("LaunchInstances") if call["params"]["AutoScalingGroupName"] in groups]

    def instances(self, pool):
        """Members of its groups, by id."""
        return {i["InstanceId"]: i for group in self.groups(pool).values() for i in group["Instances"]}

    def machines(self, pool):
        """The ids of machines that the ledger has of a pool."""
        records = [json.loads(row["record"]) for row in self.rows("machines").values()]
        return {record["instance"] for record in records if record["purpose"]["pool"] == pool}

    def rows(self, kind):
        """Rows of the partitions of a kind, as plain values by their sort key."""
        rows = [row for row in self.stack.rows() if row["pk"]["S"].split("#")[0] == kind]
        return {row["sk"]["S"]: {name: next(iter(value.values())) for name, value in row.items()} for row in rows}

    def job(self, number):
        """What the ledger has of a job, or None."""
        rows = [row for sort, row in self.rows("job").items() if int(sort.split("#")[0], 16) ^ (1 << 63) == number]
        return json.loads(rows[0]["record"]) if rows else None

    def agent(self, instance, role=None, audience=None):
        """An agent with the credentials of an assumed role whose session name is `instance`."""
        role = role or self.stack.outputs["InstanceRoleArn"]
        credentials = self.emulator.client("sts").assume_role(RoleArn=role, RoleSessionName=instance)["Credentials"]
        if audience is None:
            door = self.emulator.client("lambda").get_function_configuration(FunctionName="muster-acme-agents")
            audience = door["Environment"]["Variables"]["MUSTER_AUDIENCE"]

        def post(path, body, headers):
            return self.stack.post(path, body, headers, timeout=40)

        return Agent(post, instance, credentials, audience, REGION)
