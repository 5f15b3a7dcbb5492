"""botocore's models judge requests: names, types, enumerations, bounds."""

from fixture import EmulationTest


class Requests(EmulationTest):
    def test_an_unknown_parameter_is_refused(self) -> None:
        status, body = self.raw("autoscaling", Action="DescribeAutoScalingGroups", MaxRecord="3")
        self.assertEqual(status, 400)
        self.assertIn("<Code>ValidationError</Code>", body)
        self.assertIn("MaxRecord", body)
        status, body = self.raw("ec2", Action="DescribeInstances", InstanceIds="i-1")
        self.assertEqual(status, 400)
        self.assertIn("<Code>UnknownParameter</Code>", body)

    def test_an_unknown_parameter_deep_inside_is_refused(self) -> None:
        name = "MixedInstancesPolicy.LaunchTemplate.Overrides.member.1.InstanceTypo"
        params = {"Action": "CreateAutoScalingGroup", "AutoScalingGroupName": "g", "MinSize": "0", "MaxSize": "1"}
        status, body = self.raw("autoscaling", **params, **{name: "c6i.large"})
        self.assertEqual(status, 400)
        self.assertIn(name, body)
        status, body = self.raw(
            "ec2",
            Action="CreateLaunchTemplate",
            LaunchTemplateName="abc",
            **{"LaunchTemplateData.MetadataOptions.HttpToken": "required"},
        )
        self.assertEqual(status, 400)
        self.assertIn("HttpToken", body)

    def test_lists_have_the_dialect_of_the_service(self) -> None:
        status, body = self.raw("autoscaling", Action="DescribeAutoScalingGroups", **{"AutoScalingGroupNames.1": "g"})
        self.assertEqual((status, "AutoScalingGroupNames.1" in body), (400, True))
        status, body = self.raw("ec2", Action="DescribeInstances", **{"InstanceId.member.1": "i-1"})
        self.assertEqual((status, "InstanceId" in body), (400, True))

    def test_a_missing_parameter_is_refused_at_any_depth(self) -> None:
        status, body = self.raw("autoscaling", Action="SetDesiredCapacity", AutoScalingGroupName="g")
        self.assertEqual(status, 400)
        self.assertIn("Value null at 'desiredCapacity' failed to satisfy constraint: Member must not be null", body)
        status, body = self.raw("ec2", Action="GetConsoleOutput")
        self.assertIn("<Code>MissingParameter</Code>", body)
        params = {"Action": "CreateOrUpdateTags", "Tags.member.1.Value": "v"}
        status, body = self.raw("autoscaling", **params)
        self.assertEqual((status, "tags.member.1.Key" in body), (400, True), body)

    def test_types_are_checked(self) -> None:
        for name, value in (("DesiredCapacity", "two"), ("HonorCooldown", "yes"), ("DesiredCapacity", "")):
            params = {"Action": "SetDesiredCapacity", "AutoScalingGroupName": "g", "DesiredCapacity": "1", name: value}
            status, body = self.raw("autoscaling", **params)
            self.assertEqual((status, "ValidationError" in body), (400, True), body)

    def test_enumerations_lengths_bounds_and_patterns_are_checked(self) -> None:
        launch = {
            "Action": "LaunchInstances",
            "AutoScalingGroupName": "g",
            "RequestedCapacity": "1",
            "ClientToken": "t",
        }
        for name, value, words in (
            ("RetryStrategy", "later", "enum value set: [retry-with-group-configuration, none]"),
            ("RequestedCapacity", "0", "greater than or equal to 1"),
            ("ClientToken", "x" * 65, "less than or equal to 64"),
            ("ClientToken", "a token", "pattern"),
            ("AutoScalingGroupName", "", "greater than or equal to 1"),
        ):
            status, body = self.raw("autoscaling", **(launch | {name: value}))
            self.assertEqual(status, 400)
            self.assertIn(words, body)
        two = {"AvailabilityZones.member.1": "us-east-1a", "AvailabilityZones.member.2": "us-east-1b"}
        status, body = self.raw("autoscaling", **launch, **two)
        self.assertIn("less than or equal to 1", body)
        status, body = self.raw("ec2", Action="ModifyInstanceMetadataOptions", InstanceId="i-1", HttpEndpoint="off")
        self.assertIn("<Code>InvalidParameterValue</Code>", body)

    def test_unknown_actions_and_versions_are_refused(self) -> None:
        status, body = self.raw("autoscaling", Action="LaunchInstance")
        self.assertEqual((status, "InvalidAction" in body), (400, True))
        status, body = self.raw("autoscaling", Action="DescribeAutoScalingGroups", Version="2010-08-01")
        self.assertEqual((status, "NoSuchVersion" in body), (400, True))

    def test_what_is_missing_here_is_said_plainly(self) -> None:
        self.refused("NotEmulated", self.asg.describe_policies)
        self.refused(
            "NotEmulated",
            self.ec2.create_fleet,
            **{
                "LaunchTemplateConfigs": [
                    {"LaunchTemplateSpecification": {"LaunchTemplateName": "abc", "Version": "1"}}
                ],
                "TargetCapacitySpecification": {"TotalTargetCapacity": 1},
            },
        )

    def test_the_log_has_parameters_as_the_model_reads_them(self) -> None:
        self.group("logged", Tags=[{"Key": "fleet", "Value": "acme", "PropagateAtLaunch": True}])
        call = self.control("GET", "calls", action="CreateAutoScalingGroup")[-1]
        self.assertEqual((call["service"], call["account"], call["status"]), ("autoscaling", "123456789012", 200))
        self.assertEqual(call["params"]["Tags"][0]["PropagateAtLaunch"], True)
        self.assertEqual(call["params"]["MaxSize"], 20)
        self.raw("autoscaling", Action="SetDesiredCapacity", AutoScalingGroupName="g", Desired="1")
        call = self.control("GET", "calls", action="SetDesiredCapacity")[-1]
        self.assertEqual((call["status"], call["code"]), (400, "ValidationError"))
        self.assertEqual(self.control("GET", "calls/counts")["autoscaling:SetDesiredCapacity"], 1)


class Shapes(EmulationTest):
    def test_a_dry_run_has_no_effect(self) -> None:
        self.refused(
            "DryRunOperation",
            self.ec2.create_launch_template,
            **{
                "DryRun": True,
                "LaunchTemplateName": "dry",
                "LaunchTemplateData": {"ImageId": "ami-12345678"},
            },
        )
        self.assertEqual(self.ec2.describe_launch_templates()["LaunchTemplates"], [])
