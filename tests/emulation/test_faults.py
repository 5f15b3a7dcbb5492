"""What can be made to go wrong on the wire, and how it looks to a caller."""

import time

from botocore.exceptions import ClientError, ConnectionClosedError

from fixture import OTHER_ACCOUNT, EmulationTest


class Faults(EmulationTest):
    def test_any_error_of_an_action_as_often_as_wanted(self) -> None:
        self.control(
            "POST", "faults", kind="error", action="DescribeAutoScalingGroups", code="ResourceContention", count=2
        )
        for _ in range(2):
            self.refused("ResourceContention", self.asg.describe_auto_scaling_groups)
        self.asg.describe_auto_scaling_groups()
        self.asg.describe_account_limits()

    def test_a_failing_service_until_it_is_cleared(self) -> None:
        fault = self.control("POST", "faults", kind="error", service="ec2", code="InternalError", status=500)["id"]
        with self.assertRaises(ClientError) as caught:
            self.ec2.describe_instances()
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 500)
        self.asg.describe_auto_scaling_groups()
        self.refused("InternalError", self.ec2.describe_subnets)
        self.control("DELETE", "faults", id=fault)
        self.ec2.describe_instances()

    def test_an_effect_whose_reply_is_lost(self) -> None:
        self.group()
        self.control("POST", "faults", kind="lose_reply", action="LaunchInstances", count=1)
        with self.assertRaises(ConnectionClosedError):
            self.launch(count=2, token="lost")
        self.assertEqual(self.described()["DesiredCapacity"], 2)
        call = self.control("GET", "calls", action="LaunchInstances")[-1]
        self.assertEqual(call["status"], 0)
        answer = self.launch(count=2, token="lost")
        self.assertEqual((len(self.ids(answer)), self.described()["DesiredCapacity"]), (2, 2))

    def test_a_refused_connection_has_no_effect(self) -> None:
        self.group()
        self.control("POST", "faults", kind="refuse_connection", action="LaunchInstances", count=1)
        with self.assertRaises(ConnectionClosedError):
            self.launch(count=2)
        self.assertEqual(self.described()["DesiredCapacity"], 0)

    def test_replies_that_moto_gives_can_be_lost_too(self) -> None:
        sqs = self.client("sqs")
        self.control("POST", "faults", kind="lose_reply", service="sqs", action="CreateQueue", count=1)
        with self.assertRaises(ConnectionClosedError):
            sqs.create_queue(QueueName="lost")
        url = sqs.get_queue_url(QueueName="lost")["QueueUrl"]
        sqs.delete_queue(QueueUrl=url)

    def test_slow_replies(self) -> None:
        self.control("POST", "faults", kind="delay", action="DescribeAccountLimits", ms=300, count=1)
        began = time.monotonic()
        self.asg.describe_account_limits()
        self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_token_buckets_throttle_by_account_and_refill(self) -> None:
        self.control("POST", "buckets", action="DescribeInstances", size=2, per_second=1)
        for _ in range(2):
            self.ec2.describe_instances()
        self.refused("RequestLimitExceeded", self.ec2.describe_instances)
        self.client("ec2", self.assume(OTHER_ACCOUNT)).describe_instances()
        self.advance(1)
        self.ec2.describe_instances()
        self.refused("RequestLimitExceeded", self.ec2.describe_instances)
        self.control("POST", "buckets", action="SetDesiredCapacity", size=0, per_second=1)
        message = self.refused("Throttling", self.asg.set_desired_capacity, AutoScalingGroupName="g", DesiredCapacity=1)
        self.assertEqual(message, "Rate exceeded")

    def test_launch_faults_are_matched_by_account(self) -> None:
        self.group()
        self.control("POST", "faults", kind="launch", account=OTHER_ACCOUNT)
        self.assertEqual(self.launch()["Errors"], [])

    def test_faults_that_make_no_sense_are_refused(self) -> None:
        for body in (
            {"kind": "earthquake"},
            {"kind": "error"},
            {"kind": "launch", "zones": "us-east-1a"},
            {"kind": "launch", "market": "cheap"},
            {"kind": "error", "code": "X", "zone": "us-east-1a"},
        ):
            with self.assertRaises(AssertionError):
                self.control("POST", "faults", **body)
        with self.assertRaises(AssertionError):
            self.control("POST", "settings", boot="soon")
        with self.assertRaises(AssertionError):
            self.control("POST", "settings", boot_ms="soon")
        self.assertEqual(self.control("GET", "faults"), [])

    def test_new_instances_are_invisible_for_a_while(self) -> None:
        self.group()
        self.control("POST", "settings", visibility_ms=5000)
        (instance_id,) = self.ids(self.launch())
        self.advance(1)
        self.assertEqual(self.described()["Instances"], [])
        self.assertEqual(self.described()["DesiredCapacity"], 1)
        self.assertEqual(self.asg.describe_auto_scaling_instances()["AutoScalingInstances"], [])
        self.assertEqual(self.ec2.describe_instances()["Reservations"], [])
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[instance_id])
        modify = self.ec2.modify_instance_metadata_options
        self.refused("InvalidInstanceID.NotFound", modify, InstanceId=instance_id, HttpEndpoint="disabled")
        self.advance(4)
        self.assertEqual(self.states(), ["InService"])
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "running")

    def test_a_boot_takes_as_long_as_set(self) -> None:
        self.group()
        self.control("POST", "settings", boot_ms=40_000)
        (instance_id,) = self.ids(self.launch())
        self.advance(39)
        self.assertEqual((self.states(), self.instance(instance_id)["State"]["Name"]), (["Pending"], "pending"))
        self.advance(1)
        self.assertEqual((self.states(), self.instance(instance_id)["State"]["Name"]), (["InService"], "running"))


class Accounts(EmulationTest):
    def test_accounts_see_their_own_only(self) -> None:
        self.group()
        self.launch()
        credentials = self.assume(OTHER_ACCOUNT)
        there, ec2 = self.client("autoscaling", credentials), self.client("ec2", credentials)
        self.assertEqual(there.describe_auto_scaling_groups()["AutoScalingGroups"], [])
        self.assertEqual(ec2.describe_instances()["Reservations"], [])
        subnet = ec2.describe_subnets()["Subnets"][0]
        template = ec2.create_launch_template(
            LaunchTemplateName="there", LaunchTemplateData={"ImageId": "ami-12345678"}
        )
        there.create_auto_scaling_group(
            AutoScalingGroupName="cold",
            MinSize=0,
            MaxSize=1,
            VPCZoneIdentifier=subnet["SubnetId"],
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"]},
        )
        (group,) = there.describe_auto_scaling_groups()["AutoScalingGroups"]
        self.assertIn(f":{OTHER_ACCOUNT}:", group["AutoScalingGroupARN"])
        self.assertEqual(len(self.described()["Instances"]), 1)
        calls = self.control("GET", "calls", account=OTHER_ACCOUNT, service="autoscaling")
        self.assertEqual({call["role"] for call in calls}, {f"arn:aws:iam::{OTHER_ACCOUNT}:role/muster"})

    def test_a_role_can_be_refused(self) -> None:
        revoked = self.client("autoscaling", self.assume(OTHER_ACCOUNT, "revoked"))
        other = self.client("autoscaling", self.assume(OTHER_ACCOUNT, "other"))
        self.control("POST", "faults", kind="error", role="revoked", code="AccessDenied")
        message = self.refused("AccessDenied", revoked.describe_auto_scaling_groups)
        self.assertIn("assumed-role/revoked/session is not authorized to perform: autoscaling:Describe", message)
        other.describe_auto_scaling_groups()
        self.asg.describe_auto_scaling_groups()
        self.refused("AccessDenied", self.assume, OTHER_ACCOUNT, "revoked")
        self.assume(OTHER_ACCOUNT, "other")

    def test_a_role_by_its_arn(self) -> None:
        arn = f"arn:aws:iam::{OTHER_ACCOUNT}:role/revoked"
        self.control("POST", "faults", kind="error", role=arn, code="AccessDenied", action="AssumeRole")
        self.refused("AccessDenied", self.assume, OTHER_ACCOUNT, "revoked")
        self.assume("333333333333", "revoked")
