"""Members leave: terminated by name, detached, dead behind the group's back, unhealthy."""

from typing import Any

from fixture import EmulationTest


class Leaving(EmulationTest):
    def running(self, count: int, **params: Any) -> list[str]:
        self.group(**params)
        ids = self.ids(self.launch(count=count))
        self.advance(1)
        return ids

    def end(self, decrement: bool, **which: Any) -> Any:
        return self.asg.terminate_instance_in_auto_scaling_group(ShouldDecrementDesiredCapacity=decrement, **which)

    def test_with_decrement_it_is_gone_and_desired_is_lower(self) -> None:
        ids = self.running(3, NewInstancesProtectedFromScaleIn=True)
        answer = self.end(True, InstanceId=ids[0])
        self.assertNotIn("Activities", answer)
        self.assertEqual(answer["Activity"]["StatusCode"], "InProgress")
        self.assertEqual(
            (self.described()["DesiredCapacity"], self.states()), (2, ["InService", "InService", "Terminating"])
        )
        self.assertEqual(self.instance(ids[0])["State"]["Name"], "shutting-down")
        self.advance(30)
        self.assertEqual((self.described()["DesiredCapacity"], self.states()), (2, ["InService"] * 2))
        self.assertEqual(self.instance(ids[0])["State"]["Name"], "terminated")

    def test_without_decrement_it_is_replaced(self) -> None:
        ids = self.running(2)
        self.end(False, InstanceId=ids[0])
        self.advance(30)
        now = {one["InstanceId"] for one in self.described()["Instances"]}
        self.assertEqual((len(now), ids[0] in now, ids[1] in now), (2, False, True))

    def test_one_that_still_boots_never_gets_into_service(self) -> None:
        self.group()
        self.control("POST", "settings", boot_ms=40_000, terminate_ms=60_000)
        (instance_id,) = self.ids(self.launch())
        self.advance(10)
        self.end(True, InstanceId=instance_id)
        for _ in range(6):
            self.advance(10)
            self.assertNotIn("InService", self.states())
        self.assertEqual((self.states(), self.events("EC2 Instance Launch Successful")), ([], []))
        activity = self.asg.describe_scaling_activities(AutoScalingGroupName="cold")["Activities"][-1]
        self.assertEqual(activity["StatusCode"], "Cancelled")

    def test_several_at_once(self) -> None:
        ids = self.running(4)
        answer = self.end(True, InstanceIds=ids[:3], AutoScalingGroupName="cold")
        self.assertNotIn("Activity", answer)
        self.assertEqual(len(answer["Activities"]), 3)
        self.assertEqual(self.described()["DesiredCapacity"], 1)
        self.advance(1)
        self.assertEqual([one["InstanceId"] for one in self.described()["Instances"]], ids[3:])

    def test_what_is_refused(self) -> None:
        ids = self.running(2)
        self.group("other")
        strangers = self.ids(self.launch("other"))
        message = ""
        for which in (
            {"InstanceIds": ids},
            {"InstanceId": ids[0], "InstanceIds": ids, "AutoScalingGroupName": "cold"},
            {"InstanceId": "i-0123456789abcdef0"},
            {"InstanceIds": [ids[0], "i-0123456789abcdef0"], "AutoScalingGroupName": "cold"},
            {"InstanceIds": [ids[0], *strangers], "AutoScalingGroupName": "cold"},
        ):
            message = self.refused("ValidationError", self.end, True, **which)
        self.assertIn("No managed instance found for instance ID", message)
        self.assertEqual((self.described()["DesiredCapacity"], len(self.states())), (2, 2))
        self.asg.update_auto_scaling_group(AutoScalingGroupName="cold", MinSize=1)
        message = self.refused("ValidationError", self.end, True, InstanceIds=ids, AutoScalingGroupName="cold")
        self.assertIn("will violate group's min size constraint", message)
        self.end(True, InstanceId=ids[0])

    def test_a_second_time_is_refused_or_decrements_as_set(self) -> None:
        ids = self.running(3)
        self.end(True, InstanceId=ids[0])
        self.refused("ScalingActivityInProgress", self.end, True, InstanceId=ids[0])
        self.assertEqual(self.described()["DesiredCapacity"], 2)
        self.control("POST", "settings", second_terminate="decrement")
        self.end(True, InstanceId=ids[0])
        self.assertEqual(self.described()["DesiredCapacity"], 1)

    def test_the_dead_are_replaced(self) -> None:
        ids = self.running(2)
        self.ec2.terminate_instances(InstanceIds=ids[:1])
        self.advance(0.01)
        self.assertEqual(self.states(), ["InService", "InService"])
        self.advance(5)
        now = {one["InstanceId"] for one in self.described()["Instances"]}
        self.assertEqual((len(now), ids[0] in now), (2, False))

    def test_the_dead_stay_listed_while_replacing_is_suspended_and_can_be_buried(self) -> None:
        ids = self.running(2)
        self.asg.suspend_processes(AutoScalingGroupName="cold", ScalingProcesses=["ReplaceUnhealthy"])
        self.control("POST", "instances", instance_id=ids[0], do="shutdown")
        self.advance(60)
        described = {one["InstanceId"]: one["HealthStatus"] for one in self.described()["Instances"]}
        self.assertEqual(described, {ids[0]: "Unhealthy", ids[1]: "Healthy"})
        self.assertEqual(self.instance(ids[0])["State"]["Name"], "stopped")
        self.ec2.terminate_instances(InstanceIds=ids[:1])
        self.advance(8000)
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=ids[:1])
        self.end(True, InstanceId=ids[0])
        self.advance(5)
        self.assertEqual((self.described()["DesiredCapacity"], self.states()), (1, ["InService"]))

    def test_shutdown_behaviour_decides_between_stopped_and_terminated(self) -> None:
        template = {"LaunchTemplateId": self.template("ends", InstanceInitiatedShutdownBehavior="terminate")}
        ids = self.running(1, LaunchTemplate=template)
        self.control("POST", "instances", instance_id=ids[0], do="shutdown")
        self.advance(0.06)
        instance = self.instance(ids[0])
        self.assertEqual(instance["State"]["Name"], "terminated")
        self.assertEqual(instance["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")

    def test_without_health_checks_nobody_notices(self) -> None:
        ids = self.running(1)
        self.asg.suspend_processes(AutoScalingGroupName="cold", ScalingProcesses=["HealthCheck"])
        self.ec2.terminate_instances(InstanceIds=ids)
        self.advance(60)
        self.assertEqual(self.described()["Instances"][0]["HealthStatus"], "Healthy")
        self.asg.resume_processes(AutoScalingGroupName="cold", ScalingProcesses=["HealthCheck"])
        self.advance(5)
        self.assertNotEqual(self.described()["Instances"][0]["InstanceId"], ids[0])

    def test_health_that_is_set(self) -> None:
        ids = self.running(1, HealthCheckGracePeriod=300)
        sick = {"InstanceId": ids[0], "HealthStatus": "Unhealthy"}
        self.asg.set_instance_health(**sick)
        self.advance(5)
        self.assertEqual(self.described()["Instances"][0]["InstanceId"], ids[0])
        self.asg.set_instance_health(ShouldRespectGracePeriod=False, **sick)
        self.advance(5)
        self.assertNotEqual(self.described()["Instances"][0]["InstanceId"], ids[0])
        self.refused("ValidationError", self.asg.set_instance_health, **(sick | {"InstanceId": "i-0"}))
        self.refused("ValidationError", self.asg.set_instance_health, InstanceId=ids[0], HealthStatus="Sick")

    def test_detached_instances_live_on(self) -> None:
        ids = self.running(2)
        detach = {"AutoScalingGroupName": "cold", "ShouldDecrementDesiredCapacity": True}
        answer = self.asg.detach_instances(InstanceIds=ids[:1], **detach)
        self.assertEqual(answer["Activities"][0]["Description"], f"Detaching EC2 instance: {ids[0]}")
        self.advance(5)
        self.assertEqual((self.described()["DesiredCapacity"], len(self.states())), (1, 1))
        instance = self.instance(ids[0])
        self.assertEqual(instance["State"]["Name"], "running")
        self.assertNotIn("aws:autoscaling:groupName", {tag["Key"] for tag in instance["Tags"]})
        self.refused("ValidationError", self.asg.detach_instances, InstanceIds=ids[:1], **detach)
        self.refused("ValidationError", self.asg.detach_instances, InstanceIds=["i-0"] * 21, **detach)

    def test_members_are_described_by_id_and_in_pages(self) -> None:
        self.group(MaxSize=100)
        ids = self.ids(self.launch(count=60))
        self.advance(1)
        first = self.asg.describe_auto_scaling_instances()
        self.assertEqual(len(first["AutoScalingInstances"]), 50)
        rest = self.asg.describe_auto_scaling_instances(NextToken=first["NextToken"])
        self.assertEqual(len(rest["AutoScalingInstances"]), 10)
        few = self.asg.describe_auto_scaling_instances(MaxRecords=7)
        self.assertEqual(len(few["AutoScalingInstances"]), 7)
        some = self.asg.describe_auto_scaling_instances(InstanceIds=[*ids[:2], "i-unknown"])["AutoScalingInstances"]
        self.assertEqual([one["InstanceId"] for one in some], ids[:2])
        self.assertEqual((some[0]["AutoScalingGroupName"], some[0]["HealthStatus"]), ("cold", "HEALTHY"))
        self.refused(
            "ValidationError", self.asg.describe_auto_scaling_instances, InstanceIds=[f"i-{n}" for n in range(51)]
        )
        self.refused("ValidationError", self.asg.describe_auto_scaling_instances, MaxRecords=51)
