"""`infra/stack.yaml` on an emulator: start it, deploy, and look at what happens.

What lives here: what tests of the deployed shape share, whatever is in the zips. What may not: what a test expects.

Invariant: everything listens on 127.0.0.1, and `Emulator.stop` ends what was started. The emulator, and so each function,
sees only the environment that is given to it here.
"""

import contextlib
import hashlib
import hmac
import io
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile

import boto3
import cfnlint.decode
from botocore.config import Config

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEMPLATE = ROOT / "infra" / "stack.yaml"
PAYLOADS = HERE.parent / "payloads"

# What there is a zip of, and what is made of them: the door twice, for GitHub and for agents.
FUNCTIONS = ("door", "scaler", "registrar")
DEPLOYED = ("door", "agents", "scaler", "registrar", "healer")
REGION = "us-east-1"
START_SECONDS_MAX = 60
DEPLOY_SECONDS_MAX = 120
POLL_SECONDS = 0.1

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for(what, look, seconds):
    """Looks until `look` gives something, and gives that. Fails with `what` when time is up."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(POLL_SECONDS)


def send(url, body, headers, method="POST", timeout=35):
    """A request; gives status, headers and body."""
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with direct.open(request, timeout=timeout) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def signed(body, secret, event="workflow_job", delivery="00000000-0000-0000-0000-000000000001"):
    """The headers of a delivery, signed as GitHub signs."""
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/0000000",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature}",
    }


def free_port():
    with contextlib.closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Emulator:
    """A ministack of its own. `variables` are seen by it and by every function that it runs."""

    def __init__(self, auth=False, variables=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="muster-stack-"))
        program = pathlib.Path(sys.executable).parent / "ministack"
        if not program.exists():
            raise SystemExit(f"{program} is not there: run this with the python of `bash .ci/run stack`'s environment")
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "LAMBDA_EXECUTOR": "local",
            "AWS_ENDPOINT_URL": self.url,
            "AUTH": "true" if auth else "false",
            **(variables or {}),
        }
        self.log = open(self.home / "ministack.log", "wb")
        self.process = subprocess.Popen(
            [program], cwd=self.home, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT
        )
        try:
            wait_for("an answer of ministack", self.answers, START_SECONDS_MAX)
        except BaseException:
            self.stop()
            raise

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"ministack ended with {self.process.returncode}:\n{self.told()}")
        try:
            direct.open(self.url + "/", timeout=5).close()
            return True
        except OSError:
            return False

    def told(self, lines=40):
        """The end of its own log."""
        return "\n".join((self.home / "ministack.log").read_text(errors="replace").splitlines()[-lines:])

    def client(self, service, credentials=None):
        """A client of boto3, by default as the account's owner."""
        with_session = {}
        if credentials and credentials.get("AWS_SESSION_TOKEN"):
            with_session["aws_session_token"] = credentials["AWS_SESSION_TOKEN"]
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"] if credentials else "test",
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"] if credentials else "test",
            config=Config(proxies={}, retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60),
            **with_session,
        )

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Gate:
    """A port in front of a server's. Shut, it refuses connections, and those that stand are cut off. It can also keep a
    request for itself: the server never hears of it, and the client waits."""

    def __init__(self, url):
        self.server = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.word, self.kept = None, []
        self.lock = threading.Lock()
        self.open()

    def open(self):
        self.listener, self.sockets = socket.create_server(("127.0.0.1", self.port)), set()
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def shut(self):
        with self.lock:
            sockets, self.sockets = (self.sockets or set()) | {self.listener}, None
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def keep(self, word):
        """From now on requests with this word in their body are kept, in `self.kept`; None: no more."""
        self.word = word and word.encode()

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(self.server)
                with self.lock:
                    if listener is not self.listener or self.sockets is None:
                        here.close()
                        there.close()
                        return
                    self.sockets |= {here, there}
                for way in ((here, there, self.let_through), (there, here, lambda answer: True)):
                    threading.Thread(target=self.carry, args=way, daemon=True).start()

    @staticmethod
    def carry(one, other, may):
        """Carries what comes from one to the other, once it may."""
        waiting = b""
        with contextlib.suppress(OSError):
            while come := one.recv(65_536):
                waiting += come
                if may(waiting):
                    other.sendall(waiting)
                    waiting = b""
            other.shutdown(socket.SHUT_WR)

    def let_through(self, request):
        """Whether to send on what there is of a request. What is kept never is."""
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if self.word is None:
            return True
        if not length or len(body) < int(length[1]):
            return False
        if self.word in body:
            self.kept.append(body.decode())
            return False
        return True


def zip_of(bootstrap):
    """A function's zip with these bytes as its `bootstrap`."""
    told = io.BytesIO()
    with zipfile.ZipFile(told, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o100755 << 16
        archive.writestr(entry, bootstrap)
    return told.getvalue()


def stand_in():
    """The zip of `bootstrap.py`, which runs on the python of this test."""
    return zip_of(f"#!{sys.executable} -I\n".encode() + (HERE / "bootstrap.py").read_bytes())


# They refuse what does not come over TLS, and the emulator's clients do not. It enforces that with AUTH=true only.
ONLY_OVER_TLS = ("QueuesOnlyOverTls", "UndeliveredPolicy", "ConfigBucketPolicy")


def template(path=TEMPLATE):
    """A template as a value, functions as `Fn::...`."""
    found, mistakes = cfnlint.decode.decode(str(path))
    if mistakes:
        raise AssertionError(f"{path}: {mistakes}")
    return json.loads(json.dumps(found))


def template_text(path, without, instead):
    """Its text; if it is changed, as JSON."""
    if not without and not instead:
        return path.read_bytes()
    found = template(path)
    for name in without:
        del found["Resources"][name]
    for name, properties in (instead or {}).items():
        found["Resources"][name]["Properties"] |= properties
    return json.dumps(found).encode()


def deploy(emulator, name, path, parameters, without=(), instead=None):
    """Deploys a template, `without` some of its resources, and with other properties of some `instead`; gives the stack's
    outputs, and the ids of its resources by their names in the template."""
    s3, cloudformation = emulator.client("s3"), emulator.client("cloudformation")
    s3.create_bucket(Bucket="code")
    # Too long to be sent as it is, as for AWS itself.
    s3.put_object(Bucket="code", Key=f"test/{name}.yaml", Body=template_text(path, without, instead))
    cloudformation.create_stack(
        StackName=name,
        TemplateURL=f"{emulator.url}/code/test/{name}.yaml",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    wait_for(f"a deployed {name}", lambda: is_deployed(emulator, name), DEPLOY_SECONDS_MAX)
    described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
    summaries = [one for page in pages for one in page["StackResourceSummaries"]]
    return outputs, {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in summaries}


def is_deployed(emulator, name):
    cloudformation = emulator.client("cloudformation")
    status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    if status.endswith("_IN_PROGRESS") and "ROLLBACK" not in status:
        return False
    if status == "CREATE_COMPLETE":
        return True
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    why = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
        for event in events
        if "FAILED" in event["ResourceStatus"]
    ]
    raise AssertionError(f"the stack {name} is {status}:\n" + "\n".join(why) + "\n" + emulator.told())


class Stack:
    """The stack, deployed. `zips` maps each of FUNCTIONS to the bytes of its zip."""

    def __init__(self, emulator, zips, fleet="acme", parameters=None, config=None, without=(), instead=None):
        self.emulator, self.fleet = emulator, fleet
        self.name = f"muster-{fleet}"
        s3 = emulator.client("s3")
        s3.create_bucket(Bucket="code")
        for function in FUNCTIONS:
            s3.put_object(Bucket="code", Key=f"test/{function}.zip", Body=zips[function])
        given = {
            "Fleet": fleet,
            "CodeBucket": "code",
            "CodePrefix": "test",
            "ImageLinuxX64": "ami-0123456789abcdef0",
            # The emulator knows neither alarms on queries nor NAT gateways.
            "PoolAlarms": "false",
            "Network": "public",
            **(parameters or {}),
        }
        self.outputs, self.resources = deploy(emulator, self.name, TEMPLATE, given, without, instead)
        self.complete()
        if config is not None:
            self.put_config(config)

    def complete(self):
        """Does what the template says and the emulator's CloudFormation leaves out."""
        resources = template()["Resources"]
        expiry = resources["Ledger"]["Properties"]["TimeToLiveSpecification"]
        self.emulator.client("dynamodb").update_time_to_live(
            TableName=self.outputs["Table"],
            TimeToLiveSpecification={"AttributeName": expiry["AttributeName"], "Enabled": bool(expiry["Enabled"])},
        )
        for resource in ("Scaler", "Registrar", "Healer"):
            self.emulator.client("lambda").put_function_concurrency(
                FunctionName=self.resources[resource],
                ReservedConcurrentExecutions=template()["Parameters"]["ScalerConcurrency"]["Default"],
            )

    # --- what is put in ---

    def put_config(self, text):
        self.emulator.client("s3").put_object(**self.config_object(), Body=text)

    def config(self):
        return self.emulator.client("s3").get_object(**self.config_object())["Body"].read().decode()

    def config_object(self):
        bucket, key = self.outputs["Config"].removeprefix("s3://").split("/", 1)
        return {"Bucket": bucket, "Key": key}

    def put_secret(self, kind, name, value):
        """A secret under one of the two paths that the stack knows, `webhook` or `app`; gives the reference to it."""
        path = f"/muster/{self.fleet}/{kind}/{name}"
        self.emulator.client("ssm").put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)
        return f"ssm:{path}"

    def post(self, path, body, headers=None, method="POST", timeout=35):
        """A request to the HTTP API's address; gives status, headers and body."""
        host = f"{self.outputs['ApiId']}.execute-api.localhost:{self.emulator.port}"
        return send(self.emulator.url + path, body, {"Host": host, **(headers or {})}, method, timeout)

    def webhook(self, body, secret, event="workflow_job", delivery="00000000-0000-0000-0000-000000000001"):
        """A delivery, signed as GitHub signs."""
        return self.post("/webhook", body, signed(body, secret, event, delivery))

    def ring(self, queue="BellQueue", body="look", word="1"):
        """A message to one of the queues, as Muster sends it."""
        url = self.resources[queue]
        fifo = {"MessageGroupId": self.fleet, "MessageDeduplicationId": word} if url.endswith(".fifo") else {}
        self.emulator.client("sqs").send_message(QueueUrl=url, MessageBody=body, **fifo)

    def invoke(self, function, event):
        """Invokes a function and gives its answer."""
        client = self.emulator.client("lambda")
        told = client.invoke(FunctionName=f"muster-{self.fleet}-{function}", Payload=json.dumps(event))
        answer = told["Payload"].read()
        if "FunctionError" in told:
            raise AssertionError(f"{function}: {answer!r}")
        return json.loads(answer)

    def renew(self, function):
        """The next event finds a new process, as after a deployment."""
        client, name = self.emulator.client("lambda"), f"muster-{self.fleet}-{function}"
        variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        variables["AGAIN"] = str(int(variables.get("AGAIN", "0")) + 1)
        client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})

    # --- what is looked at ---

    def log_events(self, function):
        """What is in a function's log group so far."""
        logs = self.emulator.client("logs")
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/muster-{self.fleet}-{function}")
        return [event for page in pages for event in page["events"]]

    def log(self, function):
        """Its lines, without line ends."""
        return [line for event in self.log_events(function) for line in event["message"].splitlines()]

    def json_lines(self, function):
        """Those that are JSON objects: log lines, and metrics."""
        for line in self.log(function):
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    yield value

    def metrics(self, function):
        """Those that are embedded metrics."""
        return [line for line in self.json_lines(function) if "_aws" in line]

    def values(self, function, metric):
        """All values of a metric so far. A line has one, a list of them, or each with how often it came."""
        for line in self.metrics(function):
            told = line.get(metric, [])
            if isinstance(told, dict):
                for value, count in zip(told["Values"], told["Counts"]):
                    yield from [value] * int(count)
            else:
                yield from told if isinstance(told, list) else [told]

    def rows(self, partition=None):
        """The ledger's rows, of one partition or all."""
        pages = self.emulator.client("dynamodb").get_paginator("scan").paginate(TableName=self.outputs["Table"])
        rows = [row for page in pages for row in page["Items"]]
        return [row for row in rows if partition is None or row["pk"]["S"] == partition]

    def waiting(self, queue):
        """Messages in a queue, seen or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.emulator.client("sqs").get_queue_attributes(QueueUrl=self.resources[queue], AttributeNames=names)
        return sum(int(told["Attributes"][name]) for name in names)

    def invocations(self, function):
        """How often a function was invoked, by the START lines of its log."""
        return sum(line.startswith("START RequestId") for line in self.log(function))

    def credentials_of(self, function):
        """The credentials that a function's role gives it, taken by a probe that has the same role."""
        client = self.emulator.client("lambda")
        role = client.get_function_configuration(FunctionName=f"muster-{self.fleet}-{function}")["Role"]
        name = f"probe-{function}"
        client.create_function(
            FunctionName=name, Runtime="provided.al2023", Handler="bootstrap", Role=role, Code={"ZipFile": stand_in()}
        )
        told = client.invoke(FunctionName=name, Payload=json.dumps({"stand-in": "credentials"}))
        return json.loads(told["Payload"].read())
