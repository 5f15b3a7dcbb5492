"""Desired capacity, asynchronous launches and terminations, activities, zones, suspended processes."""

from fixture import EmulationTest


class Scaling(EmulationTest):
    def desire(self, number: int, name: str = "cold") -> None:
        self.asg.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=number)

    def activities(self, *statuses: str, name: str = "cold") -> list[dict[str, str]]:
        filters = [{"Name": "Status", "Values": list(statuses)}] if statuses else []
        answer = self.asg.describe_scaling_activities(AutoScalingGroupName=name, Filters=filters)
        return list(answer["Activities"])

    def test_launches_come_later_and_balanced(self) -> None:
        self.group(zones=3)
        self.desire(6)
        self.assertEqual((self.described()["DesiredCapacity"], self.states()), (6, []))
        self.advance(0.06)
        self.assertEqual(self.states(), ["Pending"] * 6)
        self.assertEqual({one["StatusCode"] for one in self.activities()}, {"InProgress"})
        self.advance(1)
        zones = sorted(one["AvailabilityZone"] for one in self.described()["Instances"])
        self.assertEqual(zones, ["us-east-1a"] * 2 + ["us-east-1b"] * 2 + ["us-east-1c"] * 2)
        done = self.activities("Successful")
        self.assertEqual(len(done), 6)
        self.assertIn("changing the desired capacity from 0 to 6", done[0]["Cause"])
        self.assertIn(
            "an instance was started in response to a difference between desired and actual", done[0]["Cause"]
        )
        self.assertTrue(done[0]["Description"].startswith("Launching a new EC2 instance: i-"))

    def test_a_failure_leaves_phantom_desired_and_is_retried_with_growing_pauses(self) -> None:
        self.group(zones=1)
        fault = self.control("POST", "faults", kind="launch", instance_type="m6i.large", available=1)["id"]
        self.desire(3)
        self.advance(0.06)
        self.assertEqual((self.described()["DesiredCapacity"], len(self.states())), (3, 1))
        (failed,) = self.activities("Failed")
        self.assertIn("We currently do not have sufficient m6i.large capacity", failed["StatusMessage"])
        self.assertIn("Status Reason: We currently do not have sufficient", failed["Description"])
        counts = []
        for _ in range(8):
            self.advance(1)
            counts.append(len(self.activities("Failed")))
        self.assertEqual(counts[-1], 4, f"at 0, 1, 3 and 7 s: {counts}")
        unsuccessful = self.events("EC2 Instance Launch Unsuccessful")
        self.assertEqual(len(unsuccessful), 4)
        self.assertEqual(unsuccessful[0]["detail"]["StatusCode"], "Failed")
        self.control("DELETE", "faults", id=fault)
        self.advance(30)
        self.assertEqual(self.states(), ["InService"] * 3)

    def test_cancelling_phantom_desired_terminates_nobody(self) -> None:
        self.group(zones=1, NewInstancesProtectedFromScaleIn=True)
        self.launch(count=2)
        self.advance(1)
        self.control("POST", "faults", kind="launch")
        self.desire(5)
        self.advance(1)
        self.desire(2)
        self.control("DELETE", "faults")
        self.advance(120)
        self.assertEqual((self.described()["DesiredCapacity"], self.states()), (2, ["InService"] * 2))

    def test_a_full_zone_sends_the_rest_to_the_others(self) -> None:
        self.group(zones=2)
        self.control("POST", "faults", kind="launch", zone="us-east-1a")
        self.desire(4)
        self.advance(2)
        self.assertEqual({one["AvailabilityZone"] for one in self.described()["Instances"]}, {"us-east-1b"})
        self.assertEqual(len(self.described()["Instances"]), 4)
        self.assertEqual(len(self.activities("Failed")), 1)

    def test_zones_that_a_group_has_left_get_nothing_more(self) -> None:
        self.group(zones=2)
        self.launch(count=2)
        self.advance(1)
        subnet = self.subnets["us-east-1c"]
        self.asg.update_auto_scaling_group(AutoScalingGroupName="cold", VPCZoneIdentifier=subnet)
        self.desire(6)
        self.advance(1)
        zones = [one["AvailabilityZone"] for one in self.described()["Instances"]]
        self.assertEqual(sorted(zones), ["us-east-1a"] * 2 + ["us-east-1c"] * 4)

    def test_spot_failures_are_worded_as_for_spot(self) -> None:
        self.group(zones=1, MixedInstancesPolicy=self.mixed(["c6i.large"], spot=True))
        self.control("POST", "faults", kind="launch", code="MaxSpotInstanceCountExceeded", market="spot")
        self.desire(1)
        self.advance(0.1)
        (failed,) = self.activities("Failed")
        self.assertTrue(
            failed["StatusMessage"].startswith("Could not launch Spot Instances. MaxSpotInstanceCountExceeded")
        )

    def test_scale_in_respects_protection(self) -> None:
        self.group()
        self.desire(4)
        self.advance(1)
        ids = [one["InstanceId"] for one in self.described()["Instances"]]
        self.asg.set_instance_protection(AutoScalingGroupName="cold", InstanceIds=ids[:3], ProtectedFromScaleIn=True)
        self.desire(0)
        self.advance(1)
        self.assertEqual([one["InstanceId"] for one in self.described()["Instances"]], ids[:3])
        self.assertEqual(self.described()["DesiredCapacity"], 0)
        (failed,) = self.activities("Failed")
        self.assertIn("all remaining instances are protected from scale-in", failed["StatusMessage"])
        self.asg.set_instance_protection(AutoScalingGroupName="cold", InstanceIds=ids[:1], ProtectedFromScaleIn=False)
        self.advance(1)
        self.assertEqual([one["InstanceId"] for one in self.described()["Instances"]], ids[1:3])

    def test_protection_is_refused_before_service_and_for_strangers(self) -> None:
        self.group()
        ids = self.ids(self.launch())
        protect = {"AutoScalingGroupName": "cold", "ProtectedFromScaleIn": True}
        self.refused("ValidationError", self.asg.set_instance_protection, InstanceIds=ids, **protect)
        self.refused("ValidationError", self.asg.set_instance_protection, InstanceIds=["i-0"], **protect)
        many = [f"i-{number}" for number in range(51)]
        self.refused("ValidationError", self.asg.set_instance_protection, InstanceIds=many, **protect)

    def test_mixed_markets_follow_base_and_percentage(self) -> None:
        policy = self.mixed(["c6i.large"], spot=True)
        split = {"OnDemandBaseCapacity": 2, "OnDemandPercentageAboveBaseCapacity": 50}
        policy["InstancesDistribution"] = split | {"SpotAllocationStrategy": "capacity-optimized"}
        self.group(MixedInstancesPolicy=policy)
        self.desire(6)
        self.advance(1)
        (world,) = self.control("GET", "state")
        markets = sorted(one["market"] for one in world["instances"])
        self.assertEqual(markets, ["on-demand"] * 4 + ["spot"] * 2)

    def test_suspended_processes_do_nothing(self) -> None:
        self.group()
        self.asg.suspend_processes(AutoScalingGroupName="cold", ScalingProcesses=["Launch"])
        self.desire(2)
        self.advance(60)
        self.assertEqual(self.states(), [])
        self.asg.resume_processes(AutoScalingGroupName="cold", ScalingProcesses=["Launch"])
        self.advance(1)
        self.assertEqual(self.states(), ["InService"] * 2)
        self.asg.suspend_processes(AutoScalingGroupName="cold", ScalingProcesses=["Terminate"])
        self.desire(0)
        self.advance(60)
        self.assertEqual(self.states(), ["InService"] * 2)
        self.asg.resume_processes(AutoScalingGroupName="cold")
        self.advance(1)
        self.assertEqual(self.states(), [])
        self.refused(
            "ValidationError", self.asg.suspend_processes, AutoScalingGroupName="cold", ScalingProcesses=["Lunch"]
        )

    def test_rebalancing_moves_instances_unless_suspended(self) -> None:
        for name, balance, expected in (
            ("still", False, {"us-east-1a": 4}),
            ("moved", True, {"us-east-1a": 2, "us-east-1b": 2}),
        ):
            self.group(name, balance=balance)
            self.launch(name, count=4)
            self.advance(10)
            zones = [one["AvailabilityZone"] for one in self.described(name)["Instances"]]
            self.assertEqual({zone: zones.count(zone) for zone in zones}, expected, name)

    def test_activities_are_filtered_and_paged(self) -> None:
        self.group(MaxSize=200)
        self.desire(120)
        self.advance(1)
        first = self.asg.describe_scaling_activities(AutoScalingGroupName="cold")
        self.assertEqual(len(first["Activities"]), 100)
        rest = self.asg.describe_scaling_activities(AutoScalingGroupName="cold", NextToken=first["NextToken"])
        self.assertEqual(len(rest["Activities"]), 20)
        one = first["Activities"][0]["ActivityId"]
        answer = self.asg.describe_scaling_activities(ActivityIds=[one, "unknown"])
        self.assertEqual([activity["ActivityId"] for activity in answer["Activities"]], [one])
        future = [{"Name": "StartTimeLowerBound", "Values": ["2100-01-01T00:00:00Z"]}]
        self.assertEqual(self.asg.describe_scaling_activities(Filters=future)["Activities"], [])
        self.refused("ValidationError", self.asg.describe_scaling_activities, AutoScalingGroupName="no")

    def test_honouring_the_cooldown_is_refused_during_activities(self) -> None:
        self.group()
        self.desire(1)
        self.advance(0.06)
        call = {"AutoScalingGroupName": "cold", "DesiredCapacity": 2}
        self.refused("ScalingActivityInProgress", self.asg.set_desired_capacity, HonorCooldown=True, **call)
        self.advance(1)
        self.asg.set_desired_capacity(HonorCooldown=True, **call)
