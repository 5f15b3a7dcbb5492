"""LaunchInstances: ids or errors at once."""

from concurrent.futures import ThreadPoolExecutor

from fixture import EmulationTest


class Launch(EmulationTest):
    def test_ids_come_at_once_and_desired_capacity_follows(self) -> None:
        self.group()
        answer = self.launch(count=3)
        self.assertEqual(answer["Errors"], [])
        self.assertEqual(len(self.ids(answer)), 3)
        entry = answer["Instances"][0]
        self.assertEqual((entry["InstanceType"], entry["MarketType"]), ("m6i.large", "OnDemand"))
        self.assertEqual((entry["AvailabilityZone"], entry["SubnetId"]), ("us-east-1a", self.subnets["us-east-1a"]))
        self.assertEqual(self.described()["DesiredCapacity"], 3)
        self.assertEqual(self.states(), ["Pending"] * 3)
        self.advance(1)
        self.assertEqual(self.states(), ["InService"] * 3)
        self.assertEqual(self.instance(self.ids(answer)[0])["State"]["Name"], "running")
        self.advance(60)
        self.assertEqual(len(self.described()["Instances"]), 3)

    def test_a_client_token_launches_once(self) -> None:
        self.group()
        first = self.launch(count=2, token="one")
        again = self.launch(count=2, token="one")
        self.assertEqual(self.ids(first), self.ids(again))
        self.assertEqual(self.described()["DesiredCapacity"], 2)
        self.refused("IdempotentParameterMismatch", self.launch, count=3, token="one")
        self.refused("IdempotentParameterMismatch", self.launch, count=2, token="one", zone="us-east-1b")
        self.assertNotEqual(self.ids(self.launch(count=2, token="two")), self.ids(first))
        self.group("other")
        self.assertEqual(len(self.ids(self.launch("other", token="one", count=1))), 1)

    def test_a_client_token_launches_once_also_at_the_same_time(self) -> None:
        self.group()
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: self.launch(count=3, token="same"), range(16)))
        self.assertEqual(len({tuple(self.ids(answer)) for answer in answers}), 1)
        self.assertEqual(self.described()["DesiredCapacity"], 3)

    def test_a_token_whose_reply_is_on_its_way_is_in_use(self) -> None:
        self.group()
        self.control("POST", "faults", kind="delay", action="LaunchInstances", ms=2000, count=1)
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(self.launch, count=2, token="slow")
            self.eventually(lambda: self.described()["DesiredCapacity"] == 2, "the effect of the slow launch")
            self.refused("IdempotentCallInProgress", self.launch, count=2, token="slow")
            first = self.ids(slow.result())
        self.assertEqual(self.ids(self.launch(count=2, token="slow")), first)
        self.assertEqual(self.described()["DesiredCapacity"], 2)

    def test_types_that_a_zone_does_not_offer(self) -> None:
        self.group(zones=6, MixedInstancesPolicy=self.mixed(["m6i.large", "m6i.lrage", "t2.micro"], spot=False))
        answer = self.launch(zone="us-east-1e")
        self.assertEqual(answer["Instances"][0]["InstanceType"], "t2.micro")
        codes = [(error["InstanceType"], error["ErrorCode"]) for error in answer["Errors"]]
        self.assertEqual(codes, [("m6i.large", "Unsupported"), ("m6i.lrage", "InvalidParameterValue")])

    def test_one_zone_of_the_group_must_be_named(self) -> None:
        self.group()
        call = {"AutoScalingGroupName": "cold", "RequestedCapacity": 1}
        self.refused("ValidationError", self.asg.launch_instances, **call, ClientToken="a")
        self.refused("ValidationError", self.launch, zone="us-east-1f")
        self.refused("ValidationError", self.launch, AvailabilityZoneIds=["use1-az6"])
        answer = self.asg.launch_instances(**call, ClientToken="b", SubnetIds=[self.subnets["us-east-1b"]])
        self.assertEqual(answer["Instances"][0]["AvailabilityZone"], "us-east-1b")
        zone_id = answer["Instances"][0]["AvailabilityZoneId"]
        answer = self.asg.launch_instances(**call, ClientToken="c", AvailabilityZoneIds=[zone_id])
        self.assertEqual(answer["Instances"][0]["AvailabilityZone"], "us-east-1b")
        self.group("single", zones=1)
        answer = self.asg.launch_instances(AutoScalingGroupName="single", RequestedCapacity=1, ClientToken="d")
        self.assertEqual(answer["Instances"][0]["AvailabilityZone"], "us-east-1a")

    def test_limits(self) -> None:
        self.group(MaxSize=150)
        self.refused("ValidationError", self.launch, count=101)
        self.launch(count=100)
        self.refused("ValidationError", self.launch, count=51, token="more")
        self.assertEqual(self.described()["DesiredCapacity"], 100)
        self.launch(count=50, token="rest")

    def test_capacity_errors_are_per_type_and_the_next_type_is_tried(self) -> None:
        self.group(MixedInstancesPolicy=self.mixed(["c6i.large", "m6i.large", "r6i.large"], spot=False))
        self.control("POST", "faults", kind="launch", instance_type="c6i.large", zone="us-east-1a", available=2)
        answer = self.launch(count=5)
        got = {entry["InstanceType"]: len(entry["InstanceIds"]) for entry in answer["Instances"]}
        self.assertEqual(got, {"c6i.large": 2, "m6i.large": 3})
        (error,) = answer["Errors"]
        self.assertEqual((error["InstanceType"], error["ErrorCode"]), ("c6i.large", "InsufficientInstanceCapacity"))
        self.assertIn("sufficient c6i.large capacity", error["ErrorMessage"])
        self.assertEqual(self.described()["DesiredCapacity"], 5)
        answer = self.launch(count=1, token="b", zone="us-east-1b")
        self.assertEqual((answer["Instances"][0]["InstanceType"], answer["Errors"]), ("c6i.large", []))

    def test_nothing_at_all_and_partial_success(self) -> None:
        self.group()
        self.control("POST", "faults", kind="launch", code="VcpuLimitExceeded", market="on-demand", count=1)
        answer = self.launch(count=4)
        self.assertEqual((answer["Instances"], answer["Errors"][0]["ErrorCode"]), ([], "VcpuLimitExceeded"))
        self.assertEqual(self.described()["DesiredCapacity"], 0)
        self.control("POST", "faults", kind="launch", available=3, count=1)
        answer = self.launch(count=4, token="again")
        self.assertEqual((len(self.ids(answer)), len(answer["Errors"])), (3, 1))
        self.assertEqual(self.described()["DesiredCapacity"], 3)

    def test_retry_with_group_configuration_raises_desired_by_all(self) -> None:
        self.group()
        self.control("POST", "faults", kind="launch", zone="us-east-1a", available=1)
        answer = self.launch(count=3, RetryStrategy="retry-with-group-configuration")
        self.assertEqual(len(self.ids(answer)), 1)
        self.assertEqual(self.described()["DesiredCapacity"], 3)
        self.advance(5)
        zones = [one["AvailabilityZone"] for one in self.described()["Instances"]]
        self.assertEqual(sorted(zones), ["us-east-1a", "us-east-1b", "us-east-1b"])

    def test_spot_instances_are_marked_and_follow_the_price(self) -> None:
        policy = self.mixed(["c6i.large", "m6i.large"], spot=True, strategy="lowest-price")
        self.group(MixedInstancesPolicy=policy)
        for kind, price in (("c6i.large", 0.05), ("m6i.large", 0.01)):
            self.control(
                "POST",
                "spot-prices",
                account="123456789012",
                region="us-east-1",
                instance_type=kind,
                zone="us-east-1a",
                price=price,
            )
        answer = self.launch(count=2)
        (entry,) = answer["Instances"]
        self.assertEqual((entry["InstanceType"], entry["MarketType"]), ("m6i.large", "Spot"))
        instance = self.instance(entry["InstanceIds"][0])
        self.assertEqual(instance["InstanceLifecycle"], "spot")
        self.control("POST", "faults", kind="launch", code="MaxSpotInstanceCountExceeded", market="spot")
        answer = self.launch(token="more")
        self.assertEqual({error["ErrorCode"] for error in answer["Errors"]}, {"MaxSpotInstanceCountExceeded"})

    def test_what_launch_instances_does_not_support(self) -> None:
        policy = self.mixed(["c6i.large"], spot=True)
        policy["InstancesDistribution"]["OnDemandBaseCapacity"] = 1
        self.group(MixedInstancesPolicy=policy)
        self.refused("UnsupportedOperation", self.launch)
        self.group("warm")
        self.asg.put_warm_pool(AutoScalingGroupName="warm", MinSize=0, MaxGroupPreparedCapacity=0)
        self.refused("UnsupportedOperation", self.launch, "warm")
        self.group("still")
        self.asg.suspend_processes(AutoScalingGroupName="still", ScalingProcesses=["Launch"])
        self.refused("ValidationError", self.launch, "still")

    def test_attributes_choose_types(self) -> None:
        policy = self.mixed([], spot=True)
        policy["LaunchTemplate"]["Overrides"] = [
            {
                "InstanceRequirements": {
                    "VCpuCount": {"Min": 2, "Max": 2},
                    "MemoryMiB": {"Min": 8192, "Max": 8192},
                    "CpuManufacturers": ["intel"],
                    "AllowedInstanceTypes": ["m6i.*", "m7i.*", "t3.*"],
                }
            }
        ]
        self.group(MixedInstancesPolicy=policy)
        answer = self.launch(count=1)
        self.assertIn(answer["Instances"][0]["InstanceType"], ("m6i.large", "m7i.large"))

    def test_instances_carry_the_template_and_the_groups_tags(self) -> None:
        template = self.template(
            "secure",
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            IamInstanceProfile={"Name": "runner"},
            InstanceInitiatedShutdownBehavior="terminate",
            SecurityGroupIds=["sg-0123456789abcdef0"],
            BlockDeviceMappings=[
                {
                    "DeviceName": "/dev/xvda",
                    "Ebs": {"Encrypted": True, "VolumeType": "gp3", "VolumeInitializationRate": 200},
                }
            ],
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "template"}, {"Key": "b", "Value": "b"}]}
            ],
        )
        tags = [
            {"Key": "a", "Value": "group", "PropagateAtLaunch": True},
            {"Key": "c", "Value": "c", "PropagateAtLaunch": False},
        ]
        self.group(LaunchTemplate={"LaunchTemplateId": template, "Version": "$Latest"}, Tags=tags)
        (instance_id,) = self.ids(self.launch())
        instance = self.instance(instance_id)
        self.assertEqual(instance["MetadataOptions"]["HttpTokens"], "required")
        self.assertEqual(instance["ImageId"], "ami-0123456789abcdef0")
        self.assertTrue(instance["IamInstanceProfile"]["Arn"].endswith("instance-profile/runner"))
        self.assertEqual(instance["SecurityGroups"][0]["GroupId"], "sg-0123456789abcdef0")
        self.assertEqual(instance["BlockDeviceMappings"][0]["DeviceName"], "/dev/xvda")
        seen = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        self.assertEqual((seen["a"], seen["b"], seen["aws:autoscaling:groupName"]), ("group", "b", "cold"))
        self.assertNotIn("c", seen)
        attached = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
        (volume,) = self.ec2.describe_volumes(Filters=attached)["Volumes"]
        self.assertEqual((volume["Encrypted"], volume["VolumeType"]), (True, "gp3"))
        self.assertEqual(volume["VolumeId"], instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"])
        behaviour = self.ec2.describe_instance_attribute(
            InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior"
        )
        self.assertEqual(behaviour["InstanceInitiatedShutdownBehavior"]["Value"], "terminate")
        self.assertEqual(self.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"], [])
        self.advance(1)
        (status,) = self.ec2.describe_instance_status(InstanceIds=[instance_id])["InstanceStatuses"]
        self.assertEqual(status["InstanceStatus"]["Status"], "ok")
        (world,) = self.control("GET", "state")
        data = world["instances"][0]["launch_template"]["data"]
        self.assertEqual(data["BlockDeviceMappings"][0]["Ebs"]["VolumeInitializationRate"], 200)
        self.assertEqual(data["InstanceInitiatedShutdownBehavior"], "terminate")

    def test_a_new_version_reaches_new_instances_only(self) -> None:
        template = self.template("versions")
        self.group(LaunchTemplate={"LaunchTemplateId": template, "Version": "$Latest"})
        old = self.ids(self.launch())[0]
        self.ec2.create_launch_template_version(
            LaunchTemplateId=template, SourceVersion="1", LaunchTemplateData={"ImageId": "ami-00000000000000002"}
        )
        new = self.ids(self.launch(token="two"))[0]
        self.assertEqual(self.instance(old)["ImageId"], "ami-0123456789abcdef0")
        self.assertEqual(self.instance(new)["ImageId"], "ami-00000000000000002")
        self.assertEqual(self.instance(new)["InstanceType"], "m6i.large")
        versions = {one["InstanceId"]: one["LaunchTemplate"]["Version"] for one in self.described()["Instances"]}
        self.assertEqual(versions, {old: "1", new: "2"})
