"""EC2: instances described and ended, metadata options, launch templates, spot prices, console."""

import base64
from datetime import datetime, timedelta, timezone
from typing import Any

from fixture import ACCOUNT, REGION, EmulationTest


class Instances(EmulationTest):
    def described_ids(self, **params: Any) -> list[str]:
        answer = self.ec2.describe_instances(**params)
        return [one["InstanceId"] for reservation in answer["Reservations"] for one in reservation["Instances"]]

    def test_filters(self) -> None:
        self.group("one", Tags=[{"Key": "muster:fleet", "Value": "acme", "PropagateAtLaunch": True}])
        self.group("two")
        first = self.ids(self.launch("one", count=2))
        second = self.ids(self.launch("two", zone="us-east-1b"))
        self.advance(1)
        for name, values, expected in (
            ("tag:muster:fleet", ["acme"], first),
            ("tag:aws:autoscaling:groupName", ["two", "three"], second),
            ("tag:aws:autoscaling:groupName", ["o*"], first),
            ("tag-key", ["muster:fleet"], first),
            ("availability-zone", ["us-east-1b"], second),
            ("instance-state-name", ["running"], first + second),
            ("instance-state-name", ["stopped", "terminated"], []),
            ("instance-id", first[:1], first[:1]),
        ):
            found = self.described_ids(Filters=[{"Name": name, "Values": values}])
            self.assertEqual(sorted(found), sorted(expected), f"{name} {values}")
        both = [
            {"Name": "tag:muster:fleet", "Values": ["acme"]},
            {"Name": "availability-zone", "Values": ["us-east-1b"]},
        ]
        self.assertEqual(self.described_ids(Filters=both), [])
        self.refused(
            "InvalidParameterValue", self.ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["x"]}]
        )

    def test_pages_and_unknown_ids(self) -> None:
        self.group()
        ids = self.ids(self.launch(count=12))
        first = self.ec2.describe_instances(MaxResults=5)
        self.assertEqual(len(first["Reservations"]), 5)
        self.assertEqual(len(self.described_ids(MaxResults=10, NextToken=first["NextToken"])), 7)
        self.refused("InvalidParameterValue", self.ec2.describe_instances, MaxResults=4)
        self.refused("InvalidParameterCombination", self.ec2.describe_instances, MaxResults=5, InstanceIds=ids)
        self.refused(
            "InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[ids[0], "i-0123456789abcdef0"]
        )

    def test_terminated_instances_are_seen_for_an_hour(self) -> None:
        self.group()
        (instance_id,) = self.ids(self.launch())
        self.asg.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=True)
        self.advance(3000)
        self.assertEqual(self.instance(instance_id)["State"]["Name"], "terminated")
        self.advance(700)
        self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[instance_id])
        self.assertEqual(self.control("GET", "state")[0]["instances"], [])

    def test_what_moto_launched_is_described_and_ended_beside(self) -> None:
        # In an account of its own, because moto keeps what it has ended.
        credentials = self.assume("444444444444")
        ec2, asg = self.client("ec2", credentials), self.client("autoscaling", credentials)
        image = {"ImageId": "ami-12345678", "InstanceType": "m6i.large"}
        template = ec2.create_launch_template(LaunchTemplateName="mine", LaunchTemplateData=image)["LaunchTemplate"]
        asg.create_auto_scaling_group(
            AutoScalingGroupName="cold",
            MinSize=0,
            MaxSize=1,
            AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplateId"]},
        )
        answer = asg.launch_instances(AutoScalingGroupName="cold", RequestedCapacity=1, ClientToken="t")
        (ours,) = self.ids(answer)
        run = ec2.run_instances(ImageId="ami-12345678", InstanceType="t3.micro", MinCount=1, MaxCount=1)
        theirs = run["Instances"][0]["InstanceId"]
        found = [one["Instances"][0]["InstanceId"] for one in ec2.describe_instances()["Reservations"]]
        self.assertEqual(found, [ours, theirs])
        one = ec2.describe_instances(InstanceIds=[theirs])["Reservations"][0]["Instances"][0]
        self.assertEqual(one["InstanceType"], "t3.micro")
        ended = ec2.terminate_instances(InstanceIds=[theirs])["TerminatingInstances"]
        self.assertEqual(ended[0]["InstanceId"], theirs)

    def test_metadata_options_change_at_once(self) -> None:
        self.group()
        (instance_id,) = self.ids(self.launch())
        self.assertEqual(self.instance(instance_id)["MetadataOptions"]["HttpEndpoint"], "enabled")
        answer = self.ec2.modify_instance_metadata_options(InstanceId=instance_id, HttpEndpoint="disabled")
        self.assertEqual(answer["InstanceMetadataOptions"]["State"], "pending")
        self.assertEqual(self.instance(instance_id)["MetadataOptions"]["HttpEndpoint"], "disabled")
        modify = self.ec2.modify_instance_metadata_options
        self.refused("InvalidParameterValue", modify, InstanceId=instance_id, HttpPutResponseHopLimit=65)
        self.refused("InvalidInstanceID.NotFound", modify, InstanceId="i-0123456789abcdef0", HttpEndpoint="disabled")
        self.ec2.terminate_instances(InstanceIds=[instance_id])
        self.refused("IncorrectInstanceState", modify, InstanceId=instance_id, HttpEndpoint="enabled")

    def test_the_console_says_what_was_set(self) -> None:
        self.group()
        (instance_id,) = self.ids(self.launch())
        self.control("POST", "console", instance_id=instance_id, text="muster-agent: no route to the door\n")
        output = self.ec2.get_console_output(InstanceId=instance_id)["Output"]
        self.assertEqual(output, "muster-agent: no route to the door\n")

    def test_tags_of_instances_change(self) -> None:
        self.group()
        (instance_id,) = self.ids(self.launch())
        self.ec2.create_tags(Resources=[instance_id], Tags=[{"Key": "job", "Value": "1"}])
        self.assertEqual(self.described_ids(Filters=[{"Name": "tag:job", "Values": ["1"]}]), [instance_id])
        self.ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": "job", "Value": "2"}])
        self.assertEqual(len(self.described_ids(Filters=[{"Name": "tag-key", "Values": ["job"]}])), 1)
        self.ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": "job"}])
        self.assertEqual(self.described_ids(Filters=[{"Name": "tag-key", "Values": ["job"]}]), [])
        subnet = self.subnets["us-east-1a"]
        self.ec2.create_tags(Resources=[subnet], Tags=[{"Key": "x", "Value": "y"}])
        self.ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "x"}])

    def test_stopped_instances_start_again_and_spot_does_not_stop(self) -> None:
        self.group()
        self.asg.suspend_processes(AutoScalingGroupName="cold", ScalingProcesses=["HealthCheck"])
        ids = self.ids(self.launch())
        self.advance(1)
        self.ec2.stop_instances(InstanceIds=ids)
        self.advance(1)
        self.assertEqual(self.instance(ids[0])["State"]["Name"], "stopped")
        self.ec2.start_instances(InstanceIds=ids)
        self.advance(1)
        self.assertEqual(self.instance(ids[0])["State"]["Name"], "running")
        self.group("spot", MixedInstancesPolicy=self.mixed(["c6i.large"], spot=True))
        spot = self.ids(self.launch("spot"))
        self.refused("UnsupportedOperation", self.ec2.stop_instances, InstanceIds=spot)


class Templates(EmulationTest):
    def test_a_client_token_makes_one(self) -> None:
        call = {"LaunchTemplateName": "one", "LaunchTemplateData": {"ImageId": "ami-12345678"}, "ClientToken": "t"}
        first = self.ec2.create_launch_template(**call)["LaunchTemplate"]
        again = self.ec2.create_launch_template(**call)["LaunchTemplate"]
        self.assertEqual(first["LaunchTemplateId"], again["LaunchTemplateId"])
        self.refused(
            "IdempotentParameterMismatch", self.ec2.create_launch_template, **(call | {"LaunchTemplateName": "two"})
        )
        name = call | {"ClientToken": "u"}
        self.refused("InvalidLaunchTemplateName.AlreadyExistsException", self.ec2.create_launch_template, **name)
        version = {"LaunchTemplateName": "one", "LaunchTemplateData": {"KeyName": "k"}, "ClientToken": "v"}
        for _ in range(2):
            number = self.ec2.create_launch_template_version(**version)["LaunchTemplateVersion"]["VersionNumber"]
            self.assertEqual(number, 2)

    def test_versions(self) -> None:
        template = self.template("versions", MetadataOptions={"HttpTokens": "required"})
        made = self.ec2.create_launch_template_version(
            LaunchTemplateId=template, SourceVersion="$Latest", LaunchTemplateData={"InstanceType": "c6i.large"}
        )["LaunchTemplateVersion"]
        self.assertEqual(made["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"], "required")
        self.assertFalse(made["DefaultVersion"])
        self.ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="2")
        describe = self.ec2.describe_launch_template_versions
        (default,) = describe(LaunchTemplateId=template, Versions=["$Default"])["LaunchTemplateVersions"]
        self.assertEqual((default["VersionNumber"], default["LaunchTemplateData"]["InstanceType"]), (2, "c6i.large"))
        self.refused("InvalidLaunchTemplateId.VersionNotFound", describe, LaunchTemplateId=template, Versions=["3"])
        answer = self.ec2.delete_launch_template_versions(LaunchTemplateId=template, Versions=["1", "2", "9"])
        self.assertEqual(len(answer["SuccessfullyDeletedLaunchTemplateVersions"]), 1)
        codes = {one["ResponseError"]["Code"] for one in answer["UnsuccessfullyDeletedLaunchTemplateVersions"]}
        self.assertEqual(codes, {"unexpectedError", "launchTemplateVersionDoesNotExist"})

    def test_found_by_name_tag_and_filter_and_deleted(self) -> None:
        tags = [{"ResourceType": "launch-template", "Tags": [{"Key": "fleet", "Value": "acme"}]}]
        data = {"ImageId": "ami-12345678"}
        self.ec2.create_launch_template(LaunchTemplateName="tagged", LaunchTemplateData=data, TagSpecifications=tags)
        self.template("plain")
        describe = self.ec2.describe_launch_templates
        found = describe(Filters=[{"Name": "tag:fleet", "Values": ["acme"]}])["LaunchTemplates"]
        self.assertEqual([one["LaunchTemplateName"] for one in found], ["tagged"])
        self.refused("InvalidLaunchTemplateName.NotFoundException", describe, LaunchTemplateNames=["none"])
        self.ec2.delete_launch_template(LaunchTemplateName="tagged")
        self.assertEqual([one["LaunchTemplateName"] for one in describe()["LaunchTemplates"]], ["plain"])

    def test_values_are_judged_by_the_model(self) -> None:
        for data in ({"InstanceType": "m6i.lrage"}, {"MetadataOptions": {"HttpTokens": "always"}}):
            self.refused("InvalidParameterValue", self.template, "bad", **data)


class Market(EmulationTest):
    def history(self, **params: Any) -> list[Any]:
        product = {"ProductDescriptions": ["Linux/UNIX"]}
        return list(self.ec2.describe_spot_price_history(**(product | params))["SpotPriceHistory"])

    def test_prices_are_plausible_and_by_zone(self) -> None:
        now = datetime.now(timezone.utc)
        prices = self.history(InstanceTypes=["m6i.large", "m6i.4xlarge"], StartTime=now)
        self.assertEqual(len(prices), 12)
        by_type: dict[str, list[float]] = {"m6i.large": [], "m6i.4xlarge": []}
        for one in prices:
            by_type[one["InstanceType"]].append(float(one["SpotPrice"]))
        self.assertTrue(all(0.01 < price < 0.1 for price in by_type["m6i.large"]), by_type)
        self.assertGreater(min(by_type["m6i.4xlarge"]), max(by_type["m6i.large"]))
        self.assertGreater(len(set(by_type["m6i.large"])), 1)
        here = {"InstanceTypes": ["m6i.large"], "AvailabilityZone": "us-east-1c", "StartTime": now}
        (linux,) = self.history(**here)
        (windows,) = self.history(ProductDescriptions=["Windows"], **here)
        self.assertAlmostEqual(float(windows["SpotPrice"]) - float(linux["SpotPrice"]), 2 * 0.046)
        self.assertEqual(self.history(ProductDescriptions=["SUSE Linux"], **here), [])

    def test_prices_that_are_set(self) -> None:
        for price in (0.05, 0.07):
            self.control(
                "POST",
                "spot-prices",
                account=ACCOUNT,
                region=REGION,
                instance_type="m6i.large",
                zone="us-east-1a",
                price=price,
            )
            self.advance(60)
        where = {"InstanceTypes": ["m6i.large"], "AvailabilityZone": "us-east-1a"}
        self.assertEqual([one["SpotPrice"] for one in self.history(**where)], ["0.070000", "0.050000"])
        now = datetime.fromtimestamp(self.control("GET", "clock")["now"], timezone.utc)
        self.assertEqual([one["SpotPrice"] for one in self.history(StartTime=now, **where)], ["0.070000"])
        early = now - timedelta(days=1)
        self.assertEqual(self.history(StartTime=early, EndTime=early, **where), [])

    def test_offerings_are_motos(self) -> None:
        answer = self.ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["m6i.large"]}]
        )
        self.assertIn("us-east-1a", {one["Location"] for one in answer["InstanceTypeOfferings"]})

    def test_console_output_is_base64_on_the_wire(self) -> None:
        self.group()
        (instance_id,) = self.ids(self.launch())
        self.control("POST", "console", instance_id=instance_id, text="boot")
        _, body = self.raw("ec2", Action="GetConsoleOutput", InstanceId=instance_id)
        self.assertIn(f"<output>{base64.b64encode(b'boot').decode()}</output>", body)
