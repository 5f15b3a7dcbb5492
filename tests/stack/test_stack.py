"""The stack on an emulator, with stand-ins for our binaries: what CloudFormation makes of the template, who is invoked by
what, and what each role may do.

What lives here: what holds whatever is in the zips. What may not: Muster's own behaviour.

Each class starts an emulator of its own. No test sleeps; those of the schedule wait for a real minute, with a deadline.
"""

import json
import unittest

from botocore.exceptions import ClientError

from stack import DEPLOYED, FUNCTIONS, ONLY_OVER_TLS, PAYLOADS, REGION, Emulator, Stack, stand_in, template, wait_for

SECONDS = 20
# The schedule says one minute; the emulator's clock may have just passed.
MINUTE_SECONDS = 130

EVERYWHERE = {"MUSTER_FLEET", "MUSTER_TABLE", "MUSTER_CONFIG", "MUSTER_BELL_QUEUE_URL", "MUSTER_LOG"}
ENVIRONMENT = {
    "door": EVERYWHERE | {"MUSTER_DOOR_SERVES"},
    "agents": EVERYWHERE | {"MUSTER_DOOR_SERVES", "MUSTER_CLAIMS_QUEUE_URL", "MUSTER_AUDIENCE", "MUSTER_RUNNER_ROLES"},
    "scaler": EVERYWHERE
    | {
        "MUSTER_CLAIMS_QUEUE_URL",
        "MUSTER_WAKE_QUEUE_URL",
        "MUSTER_SUBNETS",
        "MUSTER_SECURITY_GROUPS",
        "MUSTER_INSTANCE_PROFILE",
        "MUSTER_DOOR_URL",
        "MUSTER_IMAGE_LINUX_X64",
    },
    "registrar": EVERYWHERE,
    "healer": EVERYWHERE | {"MUSTER_REGISTRAR_SERVES"},
}
# They are there, and may be empty.
OPTIONAL = {"scaler": {"MUSTER_IMAGE_LINUX_ARM64", "MUSTER_IMAGE_WINDOWS_X64", "MUSTER_KMS_KEY"}}


def events(stack, function):
    """What a stand-in was invoked with so far."""
    return [line["event"] for line in stack.json_lines(function) if "stand_in" in line]


class Deployed(unittest.TestCase):
    """Without authorization, so that the emulator's gaps in IAM are in nobody's way."""

    @classmethod
    def setUpClass(cls):
        cls.emulator = Emulator()
        cls.addClassCleanup(cls.emulator.stop)
        zips = {function: stand_in() for function in FUNCTIONS}
        cls.stack = Stack(cls.emulator, zips)

    def seen(self, function, what, wanted, seconds=SECONDS):
        """Waits until the function was invoked with such an event, and gives it."""

        def look():
            return next((event for event in events(self.stack, function) if wanted(event)), None)

        return wait_for(f"{function} invoked with {what}", look, seconds)

    def test_a_webhook_reaches_the_door_as_it_was_sent(self):
        body = (PAYLOADS / "workflow_job.queued.6.json").read_bytes()
        status, _, _ = self.stack.webhook(body, "secret", delivery="d-1")
        self.assertEqual(status, 202)

        def wanted(event):
            return event.get("headers", {}).get("x-github-delivery") == "d-1"

        event = self.seen("door", "the delivery", wanted)
        self.assertEqual(event["version"], "2.0")
        self.assertEqual(event["routeKey"], "POST /webhook")
        self.assertEqual(event["body"].encode(), body, "the bytes that the signature is over")
        self.assertTrue(event["headers"]["x-hub-signature-256"].startswith("sha256="))

    def test_only_the_routes_of_the_door_are_there(self):
        agents = [("POST", f"/runners/{name}") for name in ("claim", "report", "prewarmed", "logs")]
        for method, path in [("GET", "/healthz"), *agents]:
            status, _, _ = self.stack.post(path, b"{}" if method == "POST" else None, method=method)
            self.assertEqual(status, 202, path)
            # Long polls of agents must not use up what webhooks need.
            function = "agents" if path.startswith("/runners/") else "door"
            self.seen(function, path, lambda event, path=path: event.get("rawPath") == path)
        for method, path in [("GET", "/webhook"), ("POST", "/"), ("POST", "/runners"), ("POST", "/healthz")]:
            status, _, _ = self.stack.post(path, b"{}" if method == "POST" else None, method=method)
            self.assertEqual(status, 404, f"{method} {path}")

    def test_every_function_gets_its_variables(self):
        for function in DEPLOYED:
            found = self.stack.invoke(function, {"stand-in": "environment"})
            ours = {name: value for name, value in found.items() if name.startswith("MUSTER_")}
            self.assertEqual(set(ours), ENVIRONMENT[function] | OPTIONAL.get(function, set()), function)
            empty = {name for name in ENVIRONMENT[function] if not ours[name].strip(", ")}
            self.assertEqual(empty, set(), function)
            self.assertEqual(ours["MUSTER_FLEET"], "acme")
            self.assertEqual(ours["MUSTER_CONFIG"], self.stack.outputs["Config"])
            for name, value in ours.items():
                self.assertFalse(value.startswith(",") or value.endswith(","), f"{name}={value}")
            # Nothing of this machine's leaks in: what a test sees is what the stack gives.
            self.assertNotIn("CARGO_TARGET_DIR", found)
        scaler = self.stack.invoke("scaler", {"stand-in": "environment"})
        door = self.stack.invoke("door", {"stand-in": "environment"})
        agents = self.stack.invoke("agents", {"stand-in": "environment"})
        self.assertEqual((door["MUSTER_DOOR_SERVES"], agents["MUSTER_DOOR_SERVES"]), ("github", "agents"))
        self.assertEqual(len(scaler["MUSTER_SUBNETS"].split(",")), 3)
        self.assertEqual(scaler["MUSTER_DOOR_URL"], agents["MUSTER_AUDIENCE"])
        self.assertEqual(agents["MUSTER_RUNNER_ROLES"], self.stack.outputs["InstanceRoleArn"])
        self.assertIn(":instance-profile/", scaler["MUSTER_INSTANCE_PROFILE"])

    def test_queues_invoke_whom_they_should(self):
        for queue, function in [("BellQueue", "scaler"), ("ClaimsQueue", "registrar"), ("WakeQueue", "door")]:
            self.stack.ring(queue, body=f"for {function}", word=f"to-{function}")

            def wanted(event, function=function):
                return any(record["body"] == f"for {function}" for record in event.get("Records", []))

            event = self.seen(function, "a message", wanted)
            self.assertEqual({record["eventSource"] for record in event["Records"]}, {"aws:sqs"})
            wait_for(f"{queue} emptied", lambda queue=queue: self.stack.waiting(queue) == 0, SECONDS)

    def test_the_scaler_has_one_event_source_and_runs_alone(self):
        client = self.emulator.client("lambda")
        sources = client.list_event_source_mappings(FunctionName="muster-acme-scaler")["EventSourceMappings"]
        self.assertEqual([source["EventSourceArn"].rsplit(":", 1)[1] for source in sources], ["muster-acme-bell.fifo"])
        self.assertEqual(sources[0]["BatchSize"], 10)
        for function in ("scaler", "registrar", "healer"):
            # Put by `Stack.complete` from the parameter's default.
            kept = template()["Resources"][function.capitalize()]["Properties"]["ReservedConcurrentExecutions"]
            self.assertEqual(kept["Fn::If"], ["HasScalerConcurrency", 1, {"Ref": "AWS::NoValue"}])
            told = client.get_function_concurrency(FunctionName=f"muster-acme-{function}")
            self.assertEqual(told["ReservedConcurrentExecutions"], 1, function)
        queue = self.emulator.client("sqs").get_queue_attributes(
            QueueUrl=self.stack.resources["BellQueue"], AttributeNames=["All"]
        )["Attributes"]
        timeout = client.get_function_configuration(FunctionName="muster-acme-scaler")["Timeout"]
        self.assertEqual(timeout, 30)
        # More than the time-out, or Lambda refuses the mapping; less than a minute, or a crash costs more than one.
        self.assertTrue(timeout < int(queue["VisibilityTimeout"]) < 60, queue["VisibilityTimeout"])
        self.assertIn("muster-acme-bell-dead.fifo", queue["RedrivePolicy"])

    def test_agents_and_webhooks_have_executions_of_their_own(self):
        said = template()
        for function, parameter in (("Door", "DoorConcurrency"), ("Agents", "AgentsConcurrency")):
            # The emulator's CloudFormation leaves the number out.
            kept = said["Resources"][function]["Properties"]["ReservedConcurrentExecutions"]
            self.assertEqual(kept["Fn::If"], [f"Has{parameter}", {"Ref": parameter}, {"Ref": "AWS::NoValue"}])
            # An account may have no more than 10, of which nothing can be kept for anybody.
            self.assertEqual(said["Parameters"][parameter]["Default"], 0)
        client = self.emulator.client("lambda")
        for function, wakes in (("door", 1), ("agents", 0)):
            sources = client.list_event_source_mappings(FunctionName=f"muster-acme-{function}")["EventSourceMappings"]
            self.assertEqual(len(sources), wakes, function)

    def test_the_schedule_invokes_the_door_and_the_healer(self):
        self.seen("door", "a tick", lambda event: event == {"muster": "tick"}, MINUTE_SECONDS)
        self.seen("healer", "a look", lambda event: event == {"muster": "heal"}, MINUTE_SECONDS)

    def test_rules_match_what_they_should_and_reach_the_door(self):
        client = self.emulator.client("events")
        outside = {"account": "000000000000", "region": REGION, "time": "2026-11-24T00:00:00Z", "id": "1", "resources": []}
        instance = {"instance-id": "i-0123456789abcdef0"}

        def ec2(kind, **detail):
            return {**outside, "source": "aws.ec2", "detail-type": kind, "detail": {**instance, **detail}}

        def group(kind, name):
            detail = {"AutoScalingGroupName": name}
            return {**outside, "source": "aws.autoscaling", "detail-type": kind, "detail": detail}

        spot, state, groups = "SpotEvents", "StateEvents", "GroupEvents"
        notice = "EC2 Instance State-change Notification"
        cases = [
            (spot, ec2("EC2 Spot Instance Interruption Warning", **{"instance-action": "terminate"}), True),
            (spot, ec2("EC2 Instance Rebalance Recommendation"), True),
            (spot, ec2(notice, state="terminated"), False),
            (state, ec2(notice, state="terminated"), True),
            (state, ec2(notice, state="shutting-down"), True),
            (state, ec2(notice, state="running"), False),
            (groups, group("EC2 Instance Launch Unsuccessful", "muster-acme-cpu-2"), True),
            (groups, group("EC2 Instance-launch Lifecycle Action", "muster-acme-cpu-2"), True),
            (groups, group("EC2 Instance-terminate Lifecycle Action", "muster-acme-cpu-2"), False),
            (groups, group("EC2 Instance Launch Successful", "muster-acme-cpu-2"), False),
            (groups, group("EC2 Instance Launch Unsuccessful", "muster-other-cpu-2"), False),
            (groups, group("EC2 Instance Launch Unsuccessful", "web"), False),
        ]
        for rule, event, wanted in cases:
            name = self.stack.resources[rule].rsplit("/", 1)[-1].rsplit("|", 1)[-1]
            described = client.describe_rule(Name=name)
            self.assertEqual(described["State"], "ENABLED", rule)
            told = client.test_event_pattern(EventPattern=described["EventPattern"], Event=json.dumps(event))
            self.assertEqual(told["Result"], wanted, f"{rule}: {event['detail-type']} {event['detail']}")
            target = client.list_targets_by_rule(Rule=name)["Targets"][0]
            self.assertTrue(target["Arn"].endswith(":muster-acme-door"), target)
            self.assertTrue(target["DeadLetterConfig"]["Arn"].endswith(":muster-acme-undelivered"), target)
            # Nobody may send events in AWS's name. So the same pattern, with a source of ours, and the same target.
            pattern = json.loads(described["EventPattern"]) | {"source": ["muster.test"]}
            probe = f"probe-{name}"
            client.put_rule(Name=probe, EventPattern=json.dumps(pattern))
            client.put_targets(Rule=probe, Targets=[{"Id": "door", "Arn": target["Arn"]}])
            if wanted:
                entry = {"Source": "muster.test", "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
                self.assertEqual(client.put_events(Entries=[entry])["FailedEntryCount"], 0)
                kind = event["detail-type"]
                self.seen("door", kind, lambda seen, kind=kind: seen.get("detail-type") == kind)
            client.remove_targets(Rule=probe, Ids=["door"])
            client.delete_rule(Name=probe)

    def test_the_table_is_the_ledgers(self):
        client = self.emulator.client("dynamodb")
        table = client.describe_table(TableName=self.stack.outputs["Table"])["Table"]
        kinds = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
        self.assertEqual(kinds, {"pk": "S", "sk": "S", "live": "N"})
        keys = {one["KeyType"]: one["AttributeName"] for one in table["KeySchema"]}
        self.assertEqual(keys, {"HASH": "pk", "RANGE": "sk"})
        [index] = table["LocalSecondaryIndexes"]
        keys = {one["KeyType"]: one["AttributeName"] for one in index["KeySchema"]}
        self.assertEqual((index["IndexName"], keys), ("live", {"HASH": "pk", "RANGE": "live"}))
        self.assertEqual(index["Projection"]["ProjectionType"], "ALL")
        self.assertTrue(table["DeletionProtectionEnabled"])
        # The emulator's CloudFormation leaves these out: what the template says is all there is to look at.
        said = template()["Resources"]["Ledger"]
        self.assertEqual(said["Properties"]["TimeToLiveSpecification"], {"AttributeName": "expires", "Enabled": True})
        self.assertTrue(said["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"])
        self.assertEqual((said["DeletionPolicy"], said["UpdateReplacePolicy"]), ("RetainExceptOnCreate", "Retain"))

    def test_the_configs_bucket_is_private_and_keeps_versions(self):
        client = self.emulator.client("s3")
        bucket = self.stack.outputs["Config"].removeprefix("s3://").split("/")[0]
        self.assertEqual(client.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled")
        blocked = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        self.assertTrue(all(blocked.values()) and len(blocked) == 4, blocked)
        statements = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        self.assertTrue(any(one["Sid"] == "OnlyOverTls" and one["Effect"] == "Deny" for one in statements))

    def test_routes_are_throttled_apart(self):
        client = self.emulator.client("apigatewayv2")
        [stage] = client.get_stages(ApiId=self.stack.outputs["ApiId"])["Items"]
        # The emulator keeps the settings under names that no client reads, and does not throttle.
        said = template()
        limits = said["Resources"]["ApiStage"]["Properties"]["RouteSettings"]
        limits = {route: setting["ThrottlingRateLimit"]["Ref"] for route, setting in limits.items()}
        runners = {f"POST /runners/{name}": "RunnersRate" for name in ("claim", "report", "prewarmed", "logs")}
        self.assertEqual(limits, {"POST /webhook": "WebhookRate", **runners})
        routes = [one["Properties"]["RouteKey"] for one in said["Resources"].values() if one["Type"].endswith("V2::Route")]
        self.assertLess(set(limits), set(routes))
        told = json.loads(stage["AccessLogSettings"]["Format"])
        self.assertIn("route", told)
        self.assertFalse(any("header" in value or "body" in value for value in told.values()), told)

    def test_machines_may_do_nothing(self):
        client = self.emulator.client("iam")
        role = self.stack.resources["InstanceRole"]
        trust = client.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        self.assertEqual([one["Principal"] for one in trust["Statement"]], [{"Service": "ec2.amazonaws.com"}])
        [policy] = client.list_role_policies(RoleName=role)["PolicyNames"]
        [statement] = client.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]["Statement"]
        self.assertEqual((statement["Effect"], statement["Action"], statement["Resource"]), ("Deny", "*", "*"))
        self.assertEqual(client.list_attached_role_policies(RoleName=role)["AttachedPolicies"], [])
        groups = self.emulator.client("ec2").describe_security_groups(GroupIds=[self.stack.outputs["RunnerSecurityGroupId"]])
        self.assertEqual(groups["SecurityGroups"][0]["IpPermissions"], [])


class Authorized(unittest.TestCase):
    """With AUTH=true: actions and ARNs are enforced. Conditions on tags and on DynamoDB's keys are not known to the
    emulator; `test_whole_authorized.py` has them judged."""

    @classmethod
    def setUpClass(cls):
        cls.emulator = Emulator(auth=True)
        cls.addClassCleanup(cls.emulator.stop)
        zips = {function: stand_in() for function in FUNCTIONS}
        cls.stack = Stack(cls.emulator, zips, config="[fleet]\n", without=ONLY_OVER_TLS)
        cls.references = {kind: cls.stack.put_secret(kind, "one", f"planted-secret-of-{kind}") for kind in ("webhook", "app")}
        cls.stack.put_secret("webhook", "two", "another")
        for kind in ("webhook", "app"):
            cls.emulator.client("secretsmanager").create_secret(Name=f"muster/acme/{kind}/three", SecretString="s")
        cls.roles = {function: cls.stack.credentials_of(function) for function in DEPLOYED}

    def client(self, function, service):
        return self.emulator.client(service, self.roles[function])

    def refused(self, what, call):
        with self.assertRaises(ClientError, msg=f"{what} was allowed") as caught:
            call()
        code = caught.exception.response["Error"]["Code"]
        self.assertIn(code, {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}, f"{what}: {code}")

    def secret(self, function, kind):
        return self.client(function, "ssm").get_parameter(
            Name=self.references[kind].removeprefix("ssm:"), WithDecryption=True
        )["Parameter"]["Value"]

    def test_the_roles_are_the_functions(self):
        for function, role in zip(DEPLOYED, ("DoorRole", "AgentsRole", "ScalerRole", "RegistrarRole", "HealerRole")):
            told = self.client(function, "sts").get_caller_identity()["Arn"]
            self.assertIn(f":assumed-role/{self.stack.resources[role]}/", told)

    def test_doors_and_registrar_are_refused_ec2_and_auto_scaling(self):
        for function in ("door", "agents", "registrar", "healer"):
            ec2, groups = self.client(function, "ec2"), self.client(function, "autoscaling")
            image = {"ImageId": "ami-0123456789abcdef0", "MinCount": 1, "MaxCount": 1}
            template = {"LaunchTemplateName": "muster-acme-x", "Version": "1"}
            sizes = {"MinSize": 0, "MaxSize": 1, "LaunchTemplate": template, "AvailabilityZones": [f"{REGION}a"]}
            name = {"AutoScalingGroupName": "muster-acme-x"}
            for what, call in {
                "ec2:RunInstances": lambda: ec2.run_instances(**image),
                    "ec2:DescribeInstances": ec2.describe_instances,
                "ec2:CreateLaunchTemplate": lambda: ec2.create_launch_template(
                    LaunchTemplateName="muster-acme-x", LaunchTemplateData={}
                ),
                "autoscaling:DescribeAutoScalingGroups": groups.describe_auto_scaling_groups,
                "autoscaling:CreateAutoScalingGroup": lambda: groups.create_auto_scaling_group(**name, **sizes),
                "autoscaling:SetDesiredCapacity": lambda: groups.set_desired_capacity(**name, DesiredCapacity=1),
                "autoscaling:DeleteAutoScalingGroup": lambda: groups.delete_auto_scaling_group(**name),
            }.items():
                self.refused(f"{function}: {what}", call)

    def test_only_who_needs_the_app_key_gets_it(self):
        self.refused("door: the App key", lambda: self.secret("door", "app"))
        self.assertEqual(self.secret("door", "webhook"), "planted-secret-of-webhook")
        for kind in ("webhook", "app"):
            self.refused(f"agents: the {kind} secret", lambda kind=kind: self.secret("agents", kind))
        for function in ("scaler", "registrar"):
            self.assertEqual(self.secret(function, "app"), "planted-secret-of-app")
            self.refused(f"{function}: the webhook secret", lambda function=function: self.secret(function, "webhook"))
        for function, own, other in (("door", "webhook", "app"), ("registrar", "app", "webhook")):
            client = self.client(function, "secretsmanager")
            client.get_secret_value(SecretId=f"muster/acme/{own}/three")
            name = f"muster/acme/{other}/three"
            self.refused(f"{function}: {name}", lambda client=client, name=name: client.get_secret_value(SecretId=name))

    def put(self, function, *partitions):
        for partition in partitions:
            row = {"pk": {"S": partition}, "sk": {"S": "x"}}
            self.client(function, "dynamodb").put_item(TableName=self.stack.outputs["Table"], Item=row)

    def get(self, function, *partitions):
        for partition in partitions:
            key = {"pk": {"S": partition}, "sk": {"S": "x"}}
            ledger = self.client(function, "dynamodb")
            ledger.get_item(TableName=self.stack.outputs["Table"], Key=key, ConsistentRead=True)

    def update(self, function, *partitions):
        for partition in partitions:
            self.client(function, "dynamodb").update_item(
                TableName=self.stack.outputs["Table"],
                Key={"pk": {"S": partition}, "sk": {"S": "x"}},
                UpdateExpression="SET heard_at = :at",
                ExpressionAttributeValues={":at": {"N": "1"}},
            )

    def send(self, function, queue):
        url = self.stack.resources[queue]
        self.client(function, "sqs").send_message(
            QueueUrl=url, MessageBody="look", MessageGroupId="acme", MessageDeduplicationId=function
        )

    def test_the_doors_may_do_their_own(self):
        self.put("door", "fact#1", "once")
        self.get("door", "machines", "meta")
        self.put("agents", "fact#1", "once", "claims")
        self.get("agents", "claims", "orders", "machines", "meta")
        self.update("agents", "claims", "leases")
        for function, queue in (("door", "BellQueue"), ("agents", "BellQueue"), ("agents", "ClaimsQueue")):
            self.send(function, queue)
        bucket, key = self.stack.outputs["Config"].removeprefix("s3://").split("/", 1)
        for function in ("door", "agents"):
            self.assertEqual(self.client(function, "s3").get_object(Bucket=bucket, Key=key)["Body"].read(), b"[fleet]\n")

    def test_the_doors_are_refused_what_is_not_their_own(self):
        for function, role in (("door", "DoorRole"), ("agents", "AgentsRole")):
            self.refused_in_common(function, role)
        self.refused("door: dynamodb:UpdateItem", lambda: self.update("door", "claims"))
        self.refused("door: sqs:SendMessage of claims", lambda: self.send("door", "ClaimsQueue"))
        url = self.stack.resources["WakeQueue"]
        self.client("door", "sqs").receive_message(QueueUrl=url)
        queues = self.client("agents", "sqs")
        self.refused("agents: sqs:ReceiveMessage of wakes", lambda: queues.receive_message(QueueUrl=url))

    def refused_in_common(self, function, role):
        table, ledger = self.stack.outputs["Table"], self.client(function, "dynamodb")
        key = {"pk": {"S": "claims"}, "sk": {"S": "x"}}
        bucket, config = self.stack.outputs["Config"].removeprefix("s3://").split("/", 1)
        s3, queues, iam = self.client(function, "s3"), self.client(function, "sqs"), self.client(function, "iam")
        wake, bell = self.stack.resources["WakeQueue"], self.stack.resources["BellQueue"]
        names = {"#pk": "pk"}
        for what, call in {
            "dynamodb:Scan": lambda: ledger.scan(TableName=table),
            "dynamodb:DeleteItem": lambda: ledger.delete_item(TableName=table, Key=key),
            "dynamodb:DeleteTable": lambda: ledger.delete_table(TableName=table),
            "dynamodb:Query": lambda: ledger.query(
                TableName=table,
                KeyConditionExpression="#pk = :pk",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues={":pk": {"S": "claims"}},
            ),
            "s3:PutObject": lambda: s3.put_object(Bucket=bucket, Key=config, Body=b""),
            "s3:GetObject of something else": lambda: s3.get_object(Bucket=bucket, Key="other"),
            "sqs:ReceiveMessage of bells": lambda: queues.receive_message(QueueUrl=bell),
            "sqs:SendMessage of wakes": lambda: queues.send_message(QueueUrl=wake, MessageBody="x"),
            "iam:PutRolePolicy": lambda: iam.put_role_policy(
                RoleName=self.stack.resources[role], PolicyName="more", PolicyDocument="{}"
            ),
        }.items():
            self.refused(f"{function}: {what}", call)

    def test_the_scaler_may_look_and_changes_neither_roles_nor_networks(self):
        self.client("scaler", "autoscaling").describe_auto_scaling_groups()
        self.client("scaler", "ec2").describe_instances()
        ec2, iam = self.client("scaler", "ec2"), self.client("scaler", "iam")
        role = self.stack.resources["InstanceRole"]
        for what, call in {
            "ec2:TerminateInstances": lambda: ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"]),
            "ec2:AuthorizeSecurityGroupIngress": lambda: ec2.authorize_security_group_ingress(
                GroupId=self.stack.outputs["RunnerSecurityGroupId"], IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
            ),
            "iam:DeleteRolePolicy": lambda: iam.delete_role_policy(RoleName=role, PolicyName="nothing"),
            "iam:CreateRole": lambda: iam.create_role(RoleName="x", AssumeRolePolicyDocument="{}"),
        }.items():
            self.refused(what, call)

    def test_the_registrar_reads_claims_and_rings(self):
        table, ledger = self.stack.outputs["Table"], self.client("registrar", "dynamodb")
        ledger.query(
            TableName=table,
            IndexName="live",
            KeyConditionExpression="#pk = :pk",
            ExpressionAttributeNames={"#pk": "pk"},
            ExpressionAttributeValues={":pk": {"S": "claims"}},
        )
        ledger.put_item(TableName=table, Item={"pk": {"S": "fact#2"}, "sk": {"S": "x"}})
        bell, claims = self.stack.resources["BellQueue"], self.stack.resources["ClaimsQueue"]
        message = {"MessageBody": "look", "MessageGroupId": "acme", "MessageDeduplicationId": "registrar"}
        queues = self.client("registrar", "sqs")
        queues.send_message(QueueUrl=bell, **message)
        self.refused("registrar: sqs:SendMessage of claims", lambda: queues.send_message(QueueUrl=claims, **message))
        self.refused("registrar: dynamodb:Scan", lambda: ledger.scan(TableName=table))

    def test_the_healer_reads_jobs_and_puts_facts_and_notes(self):
        table, ledger = self.stack.outputs["Table"], self.client("healer", "dynamodb")
        ledger.query(
            TableName=table,
            KeyConditionExpression="#pk = :pk",
            ExpressionAttributeNames={"#pk": "pk"},
            ExpressionAttributeValues={":pk": {"S": "job#2"}},
        )
        for partition in ("fact#2", "notes"):
            ledger.put_item(TableName=table, Item={"pk": {"S": partition}, "sk": {"S": "x"}})
        claims, queues = self.stack.resources["ClaimsQueue"], self.client("healer", "sqs")
        message = {"MessageBody": "look", "MessageGroupId": "acme", "MessageDeduplicationId": "healer"}
        queues.send_message(QueueUrl=self.stack.resources["BellQueue"], **message)
        self.refused("healer: sqs:SendMessage of claims", lambda: queues.send_message(QueueUrl=claims, **message))
        key = {"pk": {"S": "fact#2"}, "sk": {"S": "x"}}
        self.refused("healer: dynamodb:DeleteItem", lambda: ledger.delete_item(TableName=table, Key=key))
        self.refused("healer: dynamodb:Scan", lambda: ledger.scan(TableName=table))

    def test_queues_still_invoke_their_functions(self):
        for queue, function in [("BellQueue", "scaler"), ("ClaimsQueue", "registrar"), ("WakeQueue", "door")]:
            self.stack.ring(queue, body=f"for {function}", word=f"to-{function}")

            def look(function=function):
                bodies = [one["body"] for event in events(self.stack, function) for one in event.get("Records", [])]
                return f"for {function}" in bodies

            wait_for(f"{function} invoked by its queue", look, SECONDS)


if __name__ == "__main__":
    unittest.main()
