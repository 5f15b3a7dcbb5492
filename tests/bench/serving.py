"""The surroundings of the measurements: those of the stack's tests, signed deliveries, and `muster serve` in them.

What lives here: what more than one command needs. What may not: a figure.

Invariant: what is started here is ended by `World.doClassCleanups`.
"""

import concurrent.futures
import hashlib
import hmac
import http.client
import json
import pathlib
import subprocess
import time
import urllib.parse

from given import queued
from stack import REGION, direct, template
from whole import BINARIES, SECRET, Surroundings

CONNECTIONS = 16
POOL = "bench"


class World(Surroundings):
    """The stack with a pool of ours, and room for a large fleet."""

    pools = (POOL,)

    @classmethod
    def configured(cls, text):
        return text.replace("max_runners = 32", "max_runners = 2000")

    @classmethod
    def upstream(cls, service):
        """The emulator of a service, as the tap wants it."""
        return cls.emulation.url if service in ("ec2", "autoscaling") else cls.emulator.url

    @classmethod
    def quiet(cls):
        """From now on ministack starts no function by itself."""
        client = cls.emulator.client("lambda")
        for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
            client.delete_event_source_mapping(UUID=mapping["UUID"])
        events = cls.emulator.client("events")
        for rule in events.list_rules()["Rules"]:
            events.disable_rule(Name=rule["Name"])

    @classmethod
    def table(cls, name):
        """A new table like the stack's."""
        wanted = template()["Resources"]["Ledger"]["Properties"]
        keys = ("AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes", "BillingMode")
        cls.emulator.client("dynamodb").create_table(TableName=name, **{key: wanted[key] for key in keys})
        return name

    @classmethod
    def launches(cls):
        """LaunchInstances calls that were answered, the oldest first."""
        with direct.open(cls.emulation.url + "/_emulation/calls?action=LaunchInstances", timeout=60) as answer:
            return [call for call in json.loads(answer.read()) if not call["code"]]

    @classmethod
    def asked(cls):
        """Instances asked for so far, each token once."""
        return sum({c["params"]["ClientToken"]: c["params"]["RequestedCapacity"] for c in cls.launches()}.values())

    @classmethod
    def there(cls):
        """Members of all groups."""
        return len(cls.members(cls))


class Serve:
    """`muster serve --cloud aws` with a table of its own, whose calls go through the tap."""

    def __init__(self, tap, table):
        bucket, key = World.stack.outputs["Config"].removeprefix("s3://").split("/", 1)
        text = World.emulator.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        (World.home / "muster.toml").write_text(text)
        self.emf, self.log = World.home / f"{table}.emf", World.home / f"{table}.log"
        environment = {
            "PATH": "/usr/bin:/bin",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": tap.url,
            "MUSTER_INSTANCE_PROFILE": "arn:aws:iam::123456789012:instance-profile/muster-runner",
            "MUSTER_RUNNER_ROLES": "arn:aws:iam::123456789012:role/muster-runner",
            "MUSTER_DOOR_URL": "http://127.0.0.1:9",
            "MUSTER_LOG": "warn",
        }
        command = [pathlib.Path(BINARIES) / "muster", "serve", "--cloud", "aws", "--table", table, "--emf", self.emf,
                   "--config", World.home / "muster.toml", "--listen", "127.0.0.1:0"]
        self.began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True
            )
        World.addClassCleanup(self.stop)
        said = self.process.stdout.readline()
        if not said.startswith("listening on "):
            raise SystemExit(f"muster serve did not start: {self.log.read_text()}")
        self.url = said.split()[-1]

    def memory_mb(self):
        """The most memory that it had resident."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


def signed(job, labels):
    """Body and headers of a delivery about a job that is queued."""
    body = json.dumps(queued(job, labels=labels)).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/json",
        "X-GitHub-Event": "workflow_job",
        "X-GitHub-Delivery": f"bench-{job}",
        "X-Hub-Signature-256": f"sha256={signature}",
    }


def post(url, deliveries, host=None):
    """Posts deliveries over CONNECTIONS connections; gives the seconds that each took, sorted."""
    netloc = urllib.parse.urlsplit(url).netloc

    def some(part):
        connection, took = http.client.HTTPConnection(netloc, timeout=60), []
        for body, headers in part:
            began = time.monotonic()
            connection.request("POST", "/webhook", body, headers | (host or {}))
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != 202:
                raise SystemExit(f"a delivery was not taken: {answer.status}: {told!r}")
            took.append(time.monotonic() - began)
        connection.close()
        return took

    parts = [deliveries[number::CONNECTIONS] for number in range(CONNECTIONS)]
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        return sorted(second for part in pool.map(some, parts) for second in part)
