"""Groups: made, changed, described, tagged, deleted."""

from fixture import EmulationTest


class Groups(EmulationTest):
    def test_a_group_is_described_as_it_was_made(self) -> None:
        policy = self.mixed(["c6i.large", "m6i.large"], spot=True)
        self.group(
            MixedInstancesPolicy=policy,
            NewInstancesProtectedFromScaleIn=True,
            CapacityRebalance=False,
            DefaultInstanceWarmup=0,
            HealthCheckGracePeriod=30,
        )
        group = self.described()
        self.assertEqual((group["MinSize"], group["MaxSize"], group["DesiredCapacity"]), (0, 20, 0))
        self.assertEqual(group["AvailabilityZones"], ["us-east-1a", "us-east-1b"])
        self.assertTrue(group["NewInstancesProtectedFromScaleIn"])
        self.assertEqual(group["HealthCheckGracePeriod"], 30)
        spec = group["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]
        self.assertEqual(spec["Version"], "$Latest")
        self.assertEqual(spec["LaunchTemplateName"], "mixed-c6i-large-m6i-large-True")
        split = group["MixedInstancesPolicy"]["InstancesDistribution"]
        self.assertEqual(split["SpotAllocationStrategy"], "price-capacity-optimized")
        self.assertEqual(split["OnDemandBaseCapacity"], 0)
        self.assertEqual(group["SuspendedProcesses"][0]["ProcessName"], "AZRebalance")

    def test_names_are_unique_and_unknown_names_are_errors(self) -> None:
        self.group()
        self.refused("AlreadyExists", self.group, LaunchTemplate={"LaunchTemplateName": "template-of-cold"})
        message = self.refused(
            "ValidationError", self.asg.set_desired_capacity, AutoScalingGroupName="no", DesiredCapacity=1
        )
        self.assertIn("not found", message)
        for call in (self.asg.suspend_processes, self.asg.delete_auto_scaling_group, self.asg.describe_warm_pool):
            self.refused("ValidationError", call, AutoScalingGroupName="no")
        self.assertEqual(self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=["no"])["AutoScalingGroups"], [])

    def test_sizes_are_checked(self) -> None:
        self.refused("ValidationError", self.group, "a", MinSize=3, MaxSize=2)
        self.refused("ValidationError", self.group, "b", MaxSize=2, DesiredCapacity=3)
        self.group("c", MinSize=1, MaxSize=2)
        self.assertEqual(self.described("c")["DesiredCapacity"], 1)
        message = self.refused(
            "ValidationError", self.asg.set_desired_capacity, AutoScalingGroupName="c", DesiredCapacity=3
        )
        self.assertIn("above max value 2", message)
        self.refused("ValidationError", self.asg.set_desired_capacity, AutoScalingGroupName="c", DesiredCapacity=0)
        self.refused(
            "ValidationError", self.asg.update_auto_scaling_group, AutoScalingGroupName="c", MinSize=5, MaxSize=4
        )
        self.asg.update_auto_scaling_group(AutoScalingGroupName="c", MinSize=2, MaxSize=4)
        self.assertEqual(self.described("c")["DesiredCapacity"], 2)

    def test_templates_and_subnets_must_exist(self) -> None:
        template = {"LaunchTemplateId": "lt-0123456789abcdef0"}
        self.refused("ValidationError", self.group, LaunchTemplate=template)
        template = {"LaunchTemplateId": self.template("one"), "Version": "7"}
        self.refused("ValidationError", self.group, LaunchTemplate=template)
        self.refused("ValidationError", self.group, VPCZoneIdentifier="subnet-00000000")
        bare = self.ec2.create_launch_template(
            LaunchTemplateName="bare", LaunchTemplateData={"InstanceType": "m6i.large"}
        )
        message = self.refused(
            "ValidationError",
            self.group,
            LaunchTemplate={"LaunchTemplateId": bare["LaunchTemplate"]["LaunchTemplateId"]},
        )
        self.assertIn("ImageId", message)

    def test_policies_are_checked(self) -> None:
        policy = self.mixed(["c6i.large"], spot=True)
        policy["InstancesDistribution"]["SpotAllocationStrategy"] = "diversified"
        self.refused("ValidationError", self.group, MixedInstancesPolicy=policy)
        policy["InstancesDistribution"] = {"OnDemandPercentageAboveBaseCapacity": 101}
        self.refused("ValidationError", self.group, MixedInstancesPolicy=policy)
        spot = self.mixed(["m6i.large"], spot=True, InstanceMarketOptions={"MarketType": "spot"})
        message = self.refused("ValidationError", self.group, MixedInstancesPolicy=spot)
        self.assertIn("InstanceMarketOptions", message)
        policy["InstancesDistribution"] = {}
        policy["LaunchTemplate"]["Overrides"] = [{"InstanceType": f"m{n}.large"} for n in range(41)]
        self.refused("ValidationError", self.group, MixedInstancesPolicy=policy)

    def test_pages_of_groups(self) -> None:
        template = {"LaunchTemplateId": self.template("shared")}
        names = [f"g{number:03}" for number in range(55)]
        for name in names:
            self.group(name, balance=True, LaunchTemplate=template)
        first = self.asg.describe_auto_scaling_groups()
        self.assertEqual(len(first["AutoScalingGroups"]), 50)
        second = self.asg.describe_auto_scaling_groups(NextToken=first["NextToken"])
        self.assertNotIn("NextToken", second)
        seen = [group["AutoScalingGroupName"] for group in first["AutoScalingGroups"] + second["AutoScalingGroups"]]
        self.assertEqual(seen, names)
        self.assertEqual(len(self.asg.describe_auto_scaling_groups(MaxRecords=100)["AutoScalingGroups"]), 55)
        self.refused("ValidationError", self.asg.describe_auto_scaling_groups, MaxRecords=101)
        self.refused("InvalidNextToken", self.asg.describe_auto_scaling_groups, NextToken="bm90IG91cnM=")
        limits = self.asg.describe_account_limits()
        self.assertEqual((limits["NumberOfAutoScalingGroups"], limits["MaxNumberOfAutoScalingGroups"]), (55, 200))
        self.control("POST", "limits", account="123456789012", region="us-east-1", MaxNumberOfAutoScalingGroups=55)
        self.refused("LimitExceeded", self.group, "one-more", LaunchTemplate=template)

    def test_tags_and_filters(self) -> None:
        fleet = {"Key": "muster:fleet", "Value": "acme", "PropagateAtLaunch": True}
        quiet = {"Key": "note", "Value": "x", "PropagateAtLaunch": False}
        self.group("one", Tags=[fleet, quiet])
        self.group("two", Tags=[fleet | {"Value": "other"}])
        found = self.asg.describe_auto_scaling_groups(Filters=[{"Name": "tag:muster:fleet", "Values": ["acme"]}])
        self.assertEqual([group["AutoScalingGroupName"] for group in found["AutoScalingGroups"]], ["one"])
        found = self.asg.describe_auto_scaling_groups(Filters=[{"Name": "tag-key", "Values": ["muster:fleet"]}])
        self.assertEqual(len(found["AutoScalingGroups"]), 2)
        self.refused(
            "ValidationError", self.asg.describe_auto_scaling_groups, Filters=[{"Name": "tags", "Values": ["x"]}]
        )
        target = {"ResourceId": "one", "ResourceType": "auto-scaling-group"}
        self.asg.create_or_update_tags(Tags=[target | {"Key": "note", "Value": "y", "PropagateAtLaunch": True}])
        tags = self.asg.describe_tags(Filters=[{"Name": "auto-scaling-group", "Values": ["one"]}])["Tags"]
        self.assertEqual({tag["Key"]: tag["Value"] for tag in tags}, {"muster:fleet": "acme", "note": "y"})
        self.asg.delete_tags(Tags=[target | {"Key": "note"}])
        self.assertEqual(len(self.described("one")["Tags"]), 1)
        self.refused("ValidationError", self.asg.delete_tags, Tags=[target | {"ResourceId": "no", "Key": "note"}])

    def test_deletion(self) -> None:
        self.group(DesiredCapacity=2)
        self.advance(1)
        self.refused("ResourceInUse", self.asg.delete_auto_scaling_group, AutoScalingGroupName="cold")
        self.asg.delete_auto_scaling_group(AutoScalingGroupName="cold", ForceDelete=True)
        self.assertEqual(self.described()["Status"], "Delete in progress")
        self.refused("ValidationError", self.asg.set_desired_capacity, AutoScalingGroupName="cold", DesiredCapacity=1)
        self.advance(1)
        self.assertEqual(self.asg.describe_auto_scaling_groups()["AutoScalingGroups"], [])
        states = self.ec2.describe_instances()["Reservations"]
        self.assertEqual({one["Instances"][0]["State"]["Name"] for one in states}, {"terminated"})

    def test_deletion_protection(self) -> None:
        self.group(DeletionProtection="prevent-force-deletion")
        self.refused(
            "ValidationError", self.asg.delete_auto_scaling_group, AutoScalingGroupName="cold", ForceDelete=True
        )
        self.asg.delete_auto_scaling_group(AutoScalingGroupName="cold")
        self.assertEqual(self.asg.describe_auto_scaling_groups()["AutoScalingGroups"], [])

    def test_an_update_changes_only_what_it_names(self) -> None:
        self.group(MixedInstancesPolicy=self.mixed(["c6i.large"], spot=True))
        before = self.described()
        self.asg.update_auto_scaling_group(AutoScalingGroupName="cold", MaxSize=7)
        after = self.described()
        self.assertEqual(after.pop("MaxSize"), 7)
        before.pop("MaxSize")
        for answer in (before, after):
            answer.pop("ResponseMetadata", None)
        self.assertEqual(before, after)
