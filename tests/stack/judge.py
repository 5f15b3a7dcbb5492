"""The policies of the deployed roles, judged where the emulators do not, and every refusal seen.

ministack judges actions and ARNs of what functions ask of it, but knows no `dynamodb:LeadingKeys`; the emulation of EC2 and
Auto Scaling judges what it is told of. So functions find a way here in front of ministack: it judges each request to the
table by action, ARN and partition key, and notes what ministack refuses.

What lives here: requests, and what they need. What may not: what a function should be allowed (`infra/stack.yaml`).

Invariant: what is judged is the policies that the stack has deployed, by the key that signed the request.
"""

import contextlib
import http.client
import http.server
import json
import re
import sys
import threading

from stack import DEPLOYED, REGION, ROOT, stand_in

sys.path.append(str(ROOT / "tests" / "emulation"))
from emulated.roles import Need, Roles  # noqa: E402  it is no package of this folder

# What functions ask of ministack, by the name in the variable for its endpoint. STS is asked in a machine's name.
SERVICES = ("DYNAMODB", "S3", "SQS", "SSM", "SECRETS_MANAGER")
REFUSALS = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/[^/]+/([^/]+)/aws4_request")
REFUSED = re.compile(rb"AccessDenied|UnauthorizedOperation|SignatureDoesNotMatch|InvalidClientTokenId|UnrecognizedClient")
# The zip of a function that is not named like its zip.
ZIPS = {"agents": "door", "healer": "registrar"}
ITEM_ACTIONS = {
    "Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem", "Get": "GetItem"
}
PARTITION = "pk"


class Way(http.server.ThreadingHTTPServer):
    """A port in front of ministack, for functions."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.roles, self.refused = Roles(), []
        self.port = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def lead_to(self, emulator):
        self.port = emulator.port

    def judge(self, key, service, operation, body):
        """The answer of a refusal, or None."""
        role = self.roles.by_key.get(key)
        if role is None or service != "dynamodb":
            return None
        missing = self.roles.missing(role, needs(operation, json.loads(body or b"{}"), role.account), REGION)
        if missing is None:
            return None
        why = f"{role.arn} is not authorized to perform: {missing.action} on resource: {missing.resource} {missing.keys}"
        return json.dumps({"__type": "com.amazon.coral.service#AccessDeniedException", "message": why}).encode()

    def handle_error(self, request, client_address):
        """Clients come and go."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def stop(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def carry(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = CREDENTIAL.search(self.headers.get("Authorization", ""))
        key, service = found.groups() if found else ("", "")
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2] or f"{self.command} {self.path}"
        if refusal := self.server.judge(key, service, operation, body):
            status, headers, answer = 400, {"Content-Type": "application/x-amz-json-1.0"}, refusal
        else:
            status, headers, answer = self.ask(body)
        if status >= 400 and REFUSED.search(answer):
            role = self.server.roles.by_key.get(key)
            self.server.refused.append((role.arn if role else key, service, operation, answer.decode(errors="replace")))
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = carry

    def ask(self, body):
        """The same request, as it was signed."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as there:
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                there.putheader(name, value)
            there.endheaders(body)
            answer = there.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def log_message(self, *_):
        """What is refused is noted; the rest is nobody's business."""


def needs(operation, body, account):
    """What a request to DynamoDB needs. A transaction is no action of its own: each of its items is."""

    def need(action, table, partitions=(), index=None):
        arn = f"arn:aws:dynamodb:{REGION}:{account}:table/{table}" + (f"/index/{index}" if index else "")
        keys = {"dynamodb:LeadingKeys": list(partitions)} if partitions else {}
        return Need(f"dynamodb:{action}", arn, keys)

    def partition(item):
        return next(iter(item[PARTITION].values()))

    if operation in ("TransactWriteItems", "TransactGetItems"):
        parts = [part for entry in body["TransactItems"] for part in entry.items()]
        return [need(ITEM_ACTIONS[kind], one["TableName"], [partition(one.get("Item") or one["Key"])]) for kind, one in parts]
    if operation == "BatchGetItem":
        asked = body["RequestItems"].items()
        return [need(operation, table, [partition(key) for key in one["Keys"]]) for table, one in asked]
    if operation == "Query":
        names, values = body.get("ExpressionAttributeNames", {}), body["ExpressionAttributeValues"]
        equal = re.findall(r"(#?\w+) = (:\w+)", body["KeyConditionExpression"])
        wanted = [next(iter(values[value].values())) for name, value in equal if names.get(name, name) == PARTITION]
        return [need(operation, body["TableName"], wanted, body.get("IndexName"))]
    item = body.get("Item") or body.get("Key")
    return [need(operation, body["TableName"], [partition(item)] if item else ())]


class Deployed:
    """The roles of a deployed stack's functions. `tell(body)` tells the emulation of EC2 about one; `way` is told as well."""

    def __init__(self, stack, way, tell):
        self.stack, self.way, self.tell = stack, way, tell
        self.iam = stack.emulator.client("iam")
        self.keys = {function: self.key_of(function) for function in DEPLOYED}
        self.roles = {function: self.role_of(function) for function in DEPLOYED}
        for function in DEPLOYED:
            self.put(function, self.policies(function))

    def key_of(self, function):
        """The key that ministack gives the function. It tells a stand-in that takes the function's place for a moment."""
        client, name = self.stack.emulator.client("lambda"), f"muster-{self.stack.fleet}-{function}"
        client.update_function_code(FunctionName=name, ZipFile=stand_in())
        key = self.stack.invoke(function, {"stand-in": "credentials"})["AWS_ACCESS_KEY_ID"]
        client.update_function_code(FunctionName=name, S3Bucket="code", S3Key=f"test/{ZIPS.get(function, function)}.zip")
        return key

    def role_of(self, function):
        client, name = self.stack.emulator.client("lambda"), f"muster-{self.stack.fleet}-{function}"
        return client.get_function_configuration(FunctionName=name)["Role"]

    def policies(self, function):
        """Its role's policies by their names."""
        role = self.roles[function].rsplit("/", 1)[-1]
        names = self.iam.list_role_policies(RoleName=role)["PolicyNames"]
        return {name: self.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names}

    def put(self, function, policies):
        """From now on the role has these, for ministack and for both judges."""
        arn = self.roles[function]
        for name, policy in policies.items():
            self.iam.put_role_policy(
                RoleName=arn.rsplit("/", 1)[-1], PolicyName=name, PolicyDocument=json.dumps(policy)
            )
        name = self.stack.resources["InstanceProfile"].rsplit("/", 1)[-1]
        profile = self.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        told = {"arn": arn, "access_keys": [self.keys[function]], "policies": list(policies.values())}
        self.way.roles.put(*told.values())
        self.tell(told | {"instance_profiles": {profile["Arn"]: profile["Roles"][0]["Arn"]}})

    @contextlib.contextmanager
    def without(self, function, sid):
        """Meanwhile the statement of that Sid is not there."""
        whole = self.policies(function)
        lessened = json.loads(json.dumps(whole))
        for policy in lessened.values():
            policy["Statement"] = [one for one in policy["Statement"] if one["Sid"] != sid]
        if lessened == whole:
            raise AssertionError(f"{self.roles[function]} has no statement {sid}")
        self.put(function, lessened)
        try:
            yield
        finally:
            self.put(function, whole)
