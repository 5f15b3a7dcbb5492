"""Lifecycle hooks that wait and notify."""

import json
from typing import Any

from fixture import ACCOUNT, REGION, EmulationTest

LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"


class Hooks(EmulationTest):
    def hook(self, name: str = "ready", transition: str = LAUNCHING, **params: Any) -> None:
        self.asg.put_lifecycle_hook(
            AutoScalingGroupName="cold", LifecycleHookName=name, LifecycleTransition=transition, **params
        )

    def complete(self, result: str, name: str = "ready", **which: str) -> None:
        self.asg.complete_lifecycle_action(
            AutoScalingGroupName="cold", LifecycleHookName=name, LifecycleActionResult=result, **which
        )

    def waiting(self) -> str:
        """One instance that waits for its launch hook."""
        (instance_id,) = self.ids(self.launch())
        self.advance(1)
        self.assertEqual(self.states(), ["Pending:Wait"])
        return instance_id

    def test_a_launch_waits_until_it_is_continued(self) -> None:
        self.group()
        self.hook()
        instance_id = self.waiting()
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "running")
        self.complete("CONTINUE", InstanceId=instance_id)
        self.assertEqual(self.states(), ["Pending:Proceed"])
        self.advance(1)
        self.assertEqual(self.states(), ["InService"])
        self.refused("ValidationError", self.complete, "CONTINUE", InstanceId=instance_id)

    def test_by_token_from_the_event(self) -> None:
        self.group()
        self.hook(NotificationMetadata="fleet=acme")
        instance_id = self.waiting()
        (event,) = self.events("EC2 Instance-launch Lifecycle Action")
        detail = event["detail"]
        self.assertEqual((event["source"], event["account"]), ("aws.autoscaling", ACCOUNT))
        self.assertEqual(
            {
                name: detail[name]
                for name in ("EC2InstanceId", "LifecycleHookName", "Origin", "Destination", "NotificationMetadata")
            },
            {
                "EC2InstanceId": instance_id,
                "LifecycleHookName": "ready",
                "Origin": "EC2",
                "Destination": "AutoScalingGroup",
                "NotificationMetadata": "fleet=acme",
            },
        )
        self.refused("ValidationError", self.complete, "CONTINUE", LifecycleActionToken="0" * 36)
        self.refused("ValidationError", self.complete, "SKIP", InstanceId=instance_id)
        self.complete("CONTINUE", LifecycleActionToken=detail["LifecycleActionToken"])
        self.advance(1)
        self.assertEqual(self.states(), ["InService"])

    def test_an_abandoned_launch_is_terminated_and_replaced(self) -> None:
        self.group()
        self.hook()
        instance_id = self.waiting()
        self.complete("ABANDON", InstanceId=instance_id)
        self.advance(2)
        (instance,) = self.described()["Instances"]
        self.assertNotEqual(instance["InstanceId"], instance_id)
        self.assertEqual(instance["LifecycleState"], "Pending:Wait")
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "terminated")
        self.assertEqual(len(self.events("EC2 Instance Launch Unsuccessful")), 1)

    def test_time_outs_end_with_the_default_result(self) -> None:
        self.group()
        self.hook(HeartbeatTimeout=30, DefaultResult="CONTINUE")
        self.waiting()
        self.advance(28)
        self.assertEqual(self.states(), ["Pending:Wait"])
        self.advance(2)
        self.assertEqual(self.states(), ["InService"])

    def test_heartbeats_extend_up_to_the_global_limit(self) -> None:
        self.group()
        self.hook(HeartbeatTimeout=30, DefaultResult="CONTINUE")
        instance_id = self.waiting()
        beat = {"AutoScalingGroupName": "cold", "LifecycleHookName": "ready", "InstanceId": instance_id}
        for _ in range(4):
            self.advance(20)
            self.asg.record_lifecycle_action_heartbeat(**beat)
        self.assertEqual(self.states(), ["Pending:Wait"])
        for _ in range(200):
            self.advance(20)
            if self.states() == ["InService"]:
                break
            self.asg.record_lifecycle_action_heartbeat(**beat)
        self.assertEqual(self.states(), ["InService"])
        self.refused("ValidationError", self.asg.record_lifecycle_action_heartbeat, **beat)

    def test_all_hooks_must_answer_and_one_abandon_is_enough(self) -> None:
        self.group()
        self.hook("one")
        self.hook("two")
        instance_id = self.waiting()
        self.complete("CONTINUE", "one", InstanceId=instance_id)
        self.advance(1)
        self.assertEqual(self.states(), ["Pending:Wait"])
        self.complete("ABANDON", "two", InstanceId=instance_id)
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "shutting-down")

    def test_abandon_does_not_wait_for_the_other_hooks(self) -> None:
        self.group()
        self.hook("one")
        self.hook("two")
        instance_id = self.waiting()
        self.complete("ABANDON", "one", InstanceId=instance_id)
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "shutting-down")
        self.refused("ValidationError", self.complete, "CONTINUE", "two", InstanceId=instance_id)

    def test_terminations_wait_too_and_end_either_way(self) -> None:
        self.group()
        self.hook("leave", TERMINATING)
        ids = self.ids(self.launch(count=2))
        self.advance(1)
        for instance_id in ids:
            self.asg.terminate_instance_in_auto_scaling_group(
                InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
            )
        self.advance(1)
        self.assertEqual(self.states(), ["Terminating:Wait"] * 2)
        self.assertEqual(self.instance(ids[0])["State"]["Name"], "running")
        self.assertEqual(self.described()["DesiredCapacity"], 0)
        self.complete("CONTINUE", "leave", InstanceId=ids[0])
        self.complete("ABANDON", "leave", InstanceId=ids[1])
        self.advance(1)
        self.assertEqual(self.described()["Instances"], [])
        details = [event["detail"] for event in self.events("EC2 Instance-terminate Lifecycle Action")]
        self.assertEqual([(one["Origin"], one["Destination"]) for one in details], [("AutoScalingGroup", "EC2")] * 2)

    def test_deleting_a_hook_ends_what_waits_for_it(self) -> None:
        self.group()
        self.hook("leave", TERMINATING)
        (instance_id,) = self.ids(self.launch())
        self.advance(1)
        self.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)
        self.advance(1)
        self.asg.delete_lifecycle_hook(AutoScalingGroupName="cold", LifecycleHookName="leave")
        self.advance(1)
        self.assertEqual(self.described()["Instances"], [])
        self.refused(
            "ValidationError", self.asg.delete_lifecycle_hook, AutoScalingGroupName="cold", LifecycleHookName="leave"
        )

    def test_hooks_are_described_and_updated(self) -> None:
        self.group(LifecycleHookSpecificationList=[{"LifecycleHookName": "first", "LifecycleTransition": LAUNCHING}])
        self.hook("second", TERMINATING, HeartbeatTimeout=120, DefaultResult="CONTINUE", NotificationMetadata="x")
        self.asg.put_lifecycle_hook(AutoScalingGroupName="cold", LifecycleHookName="second", HeartbeatTimeout=60)
        first, second = self.asg.describe_lifecycle_hooks(AutoScalingGroupName="cold")["LifecycleHooks"]
        self.assertEqual(
            (first["HeartbeatTimeout"], first["DefaultResult"], first["GlobalTimeout"]), (3600, "ABANDON", 172800)
        )
        self.assertEqual(
            (second["HeartbeatTimeout"], second["DefaultResult"], second["GlobalTimeout"]), (60, "CONTINUE", 6000)
        )
        self.assertEqual(second["NotificationMetadata"], "x")
        self.refused("ValidationError", self.hook, "third", HeartbeatTimeout=29)
        self.refused("ValidationError", self.hook, "third", DefaultResult="MAYBE")
        self.refused("ValidationError", self.hook, "third", "autoscaling:EC2_INSTANCE_LAUNCH")
        for number in range(48):
            self.hook(f"more-{number}")
        self.refused("LimitExceeded", self.hook, "one-too-many")

    def test_notices_go_to_the_queue(self) -> None:
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName="hooks")["QueueUrl"]
        target = {
            "NotificationTargetARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:hooks",
            "RoleARN": f"arn:aws:iam::{ACCOUNT}:role/x",
        }
        self.group()
        self.hook(**target)
        instance_id = self.waiting()
        messages = [
            json.loads(one["Body"]) for one in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        ]
        self.assertEqual(messages[0]["Event"], "autoscaling:TEST_NOTIFICATION")
        self.assertEqual((messages[1]["EC2InstanceId"], messages[1]["LifecycleTransition"]), (instance_id, LAUNCHING))
        fifo = target | {"NotificationTargetARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:hooks.fifo"}
        self.refused("ValidationError", self.hook, "fifo", **fifo)
        sqs.delete_queue(QueueUrl=url)
