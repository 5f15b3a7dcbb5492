"""Roles whose policies judge their calls: by action, resource and tags."""

from typing import Any

from fixture import EmulationTest

ROLE = "arn:aws:iam::444444444444:role/scaler"
KEY = {"AccessKeyId": "ASIAEMULATIONROLE000", "SecretAccessKey": "secret", "SessionToken": "token"}
OURS = {"Key": "fleet", "Value": "ours"}
TAGGED = {"StringEquals": {"aws:ResourceTag/fleet": "ours"}}
WITH_TAG = {"StringEquals": {"aws:RequestTag/fleet": "ours"}}
GROUPS = "arn:aws:autoscaling:us-east-1:444444444444:autoScalingGroup:*:autoScalingGroupName/ours-*"
EC2 = "arn:aws:ec2:us-east-1:444444444444:"


def allow(sid: str, actions: list[str], resource: Any = "*", condition: Any = None) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


LAUNCHES = [
    allow("From", ["ec2:RunInstances"], f"{EC2}launch-template/*", TAGGED),
    allow("Instances", ["ec2:RunInstances"], f"{EC2}instance/*", WITH_TAG),
    allow("Image", ["ec2:RunInstances"], "arn:aws:ec2:us-east-1::image/*"),
    allow("Rest", ["ec2:RunInstances"], [f"{EC2}{kind}/*" for kind in ("network-interface", "subnet", "volume")]),
    allow("Tags", ["ec2:CreateTags"], f"{EC2}instance/*", {"StringEquals": {"ec2:CreateAction": "RunInstances"}}),
    allow("Role", ["iam:PassRole"], "arn:aws:iam::444444444444:role/machine"),
]
GROUP_MADE = allow("Groups", ["autoscaling:CreateAutoScalingGroup"], GROUPS, WITH_TAG)


class Judged(EmulationTest):
    def judge(self, *statements: dict[str, Any]) -> None:
        """From now on calls with KEY may do this."""
        policies = [{"Version": "2012-10-17", "Statement": list(statements)}]
        self.control("POST", "roles", arn=ROLE, access_keys=[KEY["AccessKeyId"]], policies=policies)
        self.asg_of_role, self.ec2_of_role = self.client("autoscaling", KEY), self.client("ec2", KEY)

    def make(self, name: str, tags: list[dict[str, str]], template: str) -> None:
        spec = {"LaunchTemplateId": template, "Version": "$Latest"}
        tags = [{**tag, "ResourceId": name, "ResourceType": "auto-scaling-group"} for tag in tags]
        self.asg_of_role.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=0,
            MaxSize=4,
            LaunchTemplate=spec,
            Tags=tags,
            VPCZoneIdentifier=next(iter(self.subnets.values())),
        )

    def tagged_template(self, tags: list[dict[str, str]]) -> str:
        data = {
            "ImageId": "ami-0123456789abcdef0",
            "InstanceType": "m6i.large",
            "IamInstanceProfile": {"Name": "machine"},
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [OURS]}],
        }
        made = self.ec2.create_launch_template(
            LaunchTemplateName=f"of-{len(tags)}",
            LaunchTemplateData=data,
            **({"TagSpecifications": [{"ResourceType": "launch-template", "Tags": tags}]} if tags else {}),
        )
        return str(made["LaunchTemplate"]["LaunchTemplateId"])

    def test_an_action_that_no_statement_allows_is_refused_and_others_are_not(self) -> None:
        self.judge(allow("Look", ["ec2:DescribeInstances"]))
        self.ec2_of_role.describe_instances()
        told = self.refused("UnauthorizedOperation", self.ec2_of_role.describe_subnets)
        self.assertIn("ec2:DescribeSubnets", told)
        told = self.refused("AccessDenied", self.asg_of_role.describe_auto_scaling_groups)
        self.assertIn("autoscaling:DescribeAutoScalingGroups", told)
        self.asg.describe_auto_scaling_groups()
        self.assertEqual(self.control("GET", "roles/used"), [["scaler", "Look", "ec2:DescribeInstances"]])
        [call] = self.control("GET", "calls", action="DescribeSubnets")[-1:]
        self.assertEqual((call["role"], call["code"], call["status"]), (ROLE, "UnauthorizedOperation", 403))

    def test_a_group_is_changed_only_with_the_tag(self) -> None:
        self.judge(allow("Change", ["autoscaling:SetDesiredCapacity"], GROUPS, TAGGED))
        for name, tags in (("ours-x", [OURS]), ("ours-y", []), ("other", [OURS])):
            self.group(name)
            for tag in tags:
                tag = tag | {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
                self.asg.create_or_update_tags(Tags=[tag])
        wanted = {"DesiredCapacity": 1}
        self.asg_of_role.set_desired_capacity(AutoScalingGroupName="ours-x", **wanted)
        for name in ("ours-y", "other"):
            self.refused("AccessDenied", self.asg_of_role.set_desired_capacity, AutoScalingGroupName=name, **wanted)
        self.assertEqual([self.described(name)["DesiredCapacity"] for name in ("ours-x", "ours-y", "other")], [1, 0, 0])

    def test_a_member_is_ended_by_who_may_change_its_group(self) -> None:
        self.judge(allow("End", ["autoscaling:TerminateInstanceInAutoScalingGroup"], GROUPS))
        for name in ("ours-x", "other"):
            self.group(name)
        ours, other = (self.ids(self.launch(name))[0] for name in ("ours-x", "other"))
        self.advance(60)
        end = self.asg_of_role.terminate_instance_in_auto_scaling_group
        self.refused("AccessDenied", end, InstanceId=other, ShouldDecrementDesiredCapacity=True)
        end(InstanceId=ours, ShouldDecrementDesiredCapacity=True)

    def test_an_instance_is_changed_only_with_the_tag(self) -> None:
        self.judge(allow("Off", ["ec2:ModifyInstanceMetadataOptions"], f"{EC2}instance/*", TAGGED))
        self.group()
        first, second = self.ids(self.launch(count=2))
        self.advance(60)
        self.ec2.create_tags(Resources=[first], Tags=[OURS])
        self.ec2_of_role.modify_instance_metadata_options(InstanceId=first, HttpEndpoint="disabled")
        change = self.ec2_of_role.modify_instance_metadata_options
        self.refused("UnauthorizedOperation", change, InstanceId=second, HttpEndpoint="disabled")

    def test_a_template_is_made_only_with_the_tag_and_the_right_to_give_it(self) -> None:
        making = allow("Make", ["ec2:CreateLaunchTemplate"], f"{EC2}launch-template/*", WITH_TAG)
        wanted = {"LaunchTemplateName": "made", "LaunchTemplateData": {"ImageId": "ami-0123456789abcdef0"}}
        tags = {"TagSpecifications": [{"ResourceType": "launch-template", "Tags": [OURS]}]}
        self.judge(making)
        self.refused("UnauthorizedOperation", self.ec2_of_role.create_launch_template, **wanted)
        told = self.refused("UnauthorizedOperation", self.ec2_of_role.create_launch_template, **wanted, **tags)
        self.assertIn("ec2:CreateTags", told)
        at_birth = {"StringEquals": {"ec2:CreateAction": "CreateLaunchTemplate"}}
        self.judge(making, allow("Tag", ["ec2:CreateTags"], f"{EC2}launch-template/*", at_birth))
        self.ec2_of_role.create_launch_template(**wanted, **tags)

    def test_a_group_is_made_by_who_may_launch_what_its_template_says(self) -> None:
        template = self.tagged_template([OURS])
        for left_out in range(len(LAUNCHES)):
            self.judge(GROUP_MADE, *(one for place, one in enumerate(LAUNCHES) if place != left_out))
            with self.subTest(without=LAUNCHES[left_out]["Sid"]):
                told = self.refused("AccessDenied", self.make, "ours-x", [OURS], template)
                self.assertIn(LAUNCHES[left_out]["Action"][0], told)
        self.judge(GROUP_MADE, *LAUNCHES)
        self.refused("AccessDenied", self.make, "ours-x", [], template)
        self.refused("AccessDenied", self.make, "ours-x", [OURS], self.tagged_template([]))
        self.make("ours-x", [OURS], template)

    def test_a_synchronous_launch_needs_a_fleet_as_well(self) -> None:
        template = self.tagged_template([OURS])
        own = allow("Launch", ["autoscaling:LaunchInstances"], GROUPS)
        self.judge(GROUP_MADE, own, *LAUNCHES)
        self.make("ours-x", [OURS], template)
        wanted = {"RequestedCapacity": 1, "ClientToken": "token", "AvailabilityZones": [next(iter(self.subnets))]}
        launch = self.asg_of_role.launch_instances
        told = self.refused("AccessDenied", launch, AutoScalingGroupName="ours-x", **wanted)
        self.assertIn("ec2:CreateFleet", told)
        self.judge(own, allow("Fleet", ["ec2:CreateFleet"]), *LAUNCHES)
        launch(AutoScalingGroupName="ours-x", **wanted)
