"""Warm pools: filled, drawn from, resized, deleted."""

from typing import Any

from fixture import EmulationTest

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"


class Pools(EmulationTest):
    def pool(self, **params: Any) -> None:
        self.asg.put_warm_pool(AutoScalingGroupName="cold", **params)

    def pooled(self) -> list[Any]:
        return list(self.asg.describe_warm_pool(AutoScalingGroupName="cold")["Instances"])

    def pool_states(self) -> list[str]:
        return sorted(one["LifecycleState"] for one in self.pooled())

    def desire(self, number: int) -> None:
        self.asg.set_desired_capacity(AutoScalingGroupName="cold", DesiredCapacity=number)

    def test_instances_are_started_and_then_really_stopped(self) -> None:
        self.group()
        self.pool(MinSize=0, MaxGroupPreparedCapacity=2)
        self.advance(0.06)
        self.assertEqual(self.pool_states(), ["Warmed:Pending"] * 2)
        self.advance(1)
        self.assertEqual(self.pool_states(), ["Warmed:Stopped"] * 2)
        self.assertEqual(self.instance(self.pooled()[0]["InstanceId"])["State"]["Name"], "stopped")
        group = self.described()
        self.assertEqual((group["Instances"], group["WarmPoolSize"], group["DesiredCapacity"]), ([], 2, 0))
        self.assertEqual(group["WarmPoolConfiguration"]["MaxGroupPreparedCapacity"], 2)
        (first, _) = self.asg.describe_auto_scaling_instances()["AutoScalingInstances"]
        self.assertEqual(first["LifecycleState"], "Warmed:Stopped")

    def test_the_default_size_is_max_size(self) -> None:
        self.group(MaxSize=5)
        self.pool()
        self.advance(1)
        self.assertEqual(len(self.pooled()), 5)

    def test_scale_out_takes_from_the_pool_and_the_pool_follows_its_size(self) -> None:
        self.group()
        self.pool(MinSize=1, MaxGroupPreparedCapacity=3)
        self.advance(1)
        warm = {one["InstanceId"] for one in self.pooled()}
        self.desire(2)
        self.advance(0.06)
        self.assertEqual(self.states(), ["Pending"] * 2)
        self.advance(2)
        serving = {one["InstanceId"] for one in self.described()["Instances"]}
        self.assertEqual((len(serving), serving <= warm), (2, True))
        self.assertEqual({self.instance(one)["State"]["Name"] for one in serving}, {"running"})
        self.assertEqual(self.pool_states(), ["Warmed:Stopped"])
        activity = self.asg.describe_scaling_activities(AutoScalingGroupName="cold")["Activities"][0]
        self.assertIn("from warm pool", activity["Description"])

    def test_an_empty_pool_means_a_cold_start(self) -> None:
        self.group()
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1)
        self.advance(1)
        self.desire(3)
        self.advance(2)
        self.assertEqual((len(self.states()), self.pooled()), (3, []))

    def test_hooks_fire_on_the_way_in_and_out(self) -> None:
        self.group()
        self.asg.put_lifecycle_hook(
            AutoScalingGroupName="cold", LifecycleHookName="ready", LifecycleTransition=LAUNCHING
        )
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1)
        self.advance(1)
        self.assertEqual(self.pool_states(), ["Warmed:Pending:Wait"])
        instance_id = self.pooled()[0]["InstanceId"]
        answer = {"AutoScalingGroupName": "cold", "LifecycleHookName": "ready", "InstanceId": instance_id}
        self.asg.complete_lifecycle_action(LifecycleActionResult="CONTINUE", **answer)
        self.advance(1)
        self.assertEqual(self.pool_states(), ["Warmed:Stopped"])
        self.desire(1)
        self.advance(1)
        self.assertEqual(self.states(), ["Pending:Wait"])
        self.asg.complete_lifecycle_action(LifecycleActionResult="CONTINUE", **answer)
        self.advance(1)
        self.assertEqual(self.states(), ["InService"])
        details = [event["detail"] for event in self.events("EC2 Instance-launch Lifecycle Action")]
        ways = [(one["Origin"], one["Destination"]) for one in details]
        self.assertEqual(ways, [("EC2", "WarmPool"), ("WarmPool", "AutoScalingGroup")])

    def test_members_cannot_be_terminated_or_protected_by_name(self) -> None:
        self.group()
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1)
        self.advance(1)
        instance_id = self.pooled()[0]["InstanceId"]
        self.refused(
            "ValidationError",
            self.asg.terminate_instance_in_auto_scaling_group,
            InstanceId=instance_id,
            ShouldDecrementDesiredCapacity=False,
        )
        self.refused(
            "ValidationError",
            self.asg.set_instance_protection,
            AutoScalingGroupName="cold",
            InstanceIds=[instance_id],
            ProtectedFromScaleIn=True,
        )

    def test_a_smaller_size_ends_instances(self) -> None:
        self.group()
        self.pool(MinSize=0, MaxGroupPreparedCapacity=3)
        self.advance(1)
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1)
        self.advance(0.06)
        self.assertEqual(self.pool_states(), ["Warmed:Stopped", "Warmed:Terminating", "Warmed:Terminating"])
        self.advance(1)
        self.assertEqual(self.pool_states(), ["Warmed:Stopped"])

    def test_the_dead_are_replaced(self) -> None:
        self.group()
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1)
        self.advance(1)
        instance_id = self.pooled()[0]["InstanceId"]
        self.ec2.terminate_instances(InstanceIds=[instance_id])
        self.advance(2)
        (now,) = self.pooled()
        self.assertNotEqual(now["InstanceId"], instance_id)

    def test_scale_in_terminates_or_returns_as_the_policy_says(self) -> None:
        self.group()
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1)
        self.advance(1)
        self.desire(1)
        self.advance(1)
        served = self.described()["Instances"][0]["InstanceId"]
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1, InstanceReusePolicy={"ReuseOnScaleIn": True})
        self.desire(0)
        self.advance(2)
        self.assertEqual([one["InstanceId"] for one in self.pooled()], [served])
        self.assertEqual(self.pool_states(), ["Warmed:Stopped"])
        self.desire(1)
        self.advance(1)
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1, InstanceReusePolicy={"ReuseOnScaleIn": False})
        self.desire(0)
        self.advance(2)
        self.assertEqual(self.instance(served)["State"]["Name"], "terminated")

    def test_other_states_of_the_pool(self) -> None:
        self.group()
        self.pool(MinSize=0, MaxGroupPreparedCapacity=1, PoolState="Running")
        self.advance(1)
        self.assertEqual(self.pool_states(), ["Warmed:Running"])
        self.assertEqual(self.instance(self.pooled()[0]["InstanceId"])["State"]["Name"], "running")
        self.refused("ValidationError", self.pool, PoolState="Hibernated")
        template = {"LaunchTemplateId": self.template("sleeps", HibernationOptions={"Configured": True})}
        self.group("sleepy", LaunchTemplate=template)
        self.asg.put_warm_pool(
            AutoScalingGroupName="sleepy", MinSize=0, MaxGroupPreparedCapacity=1, PoolState="Hibernated"
        )
        self.advance(1)
        (one,) = self.asg.describe_warm_pool(AutoScalingGroupName="sleepy")["Instances"]
        self.assertEqual(one["LifecycleState"], "Warmed:Hibernated")

    def test_spot_groups_have_none(self) -> None:
        self.group(MixedInstancesPolicy=self.mixed(["c6i.large"], spot=True))
        self.refused("ValidationError", self.pool)

    def test_deletion(self) -> None:
        self.group()
        self.refused("ValidationError", self.asg.delete_warm_pool, AutoScalingGroupName="cold")
        self.pool(MinSize=0, MaxGroupPreparedCapacity=2)
        self.advance(1)
        self.refused("ResourceInUse", self.asg.delete_auto_scaling_group, AutoScalingGroupName="cold")
        self.asg.delete_warm_pool(AutoScalingGroupName="cold")
        self.assertEqual(self.described()["WarmPoolConfiguration"]["Status"], "PendingDelete")
        self.advance(1)
        self.assertNotIn("WarmPoolConfiguration", self.described())
        self.assertEqual(self.pooled(), [])
