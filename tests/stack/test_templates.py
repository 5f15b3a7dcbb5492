"""The templates beside the stack, and the stack in networks of other kinds: what CloudFormation makes of them on an emulator.

What lives here: what stands after a deployment, and what the emulator refuses to deploy. What may not: what functions do in it
(`test_stack.py`), and what no emulator evaluates: conditions of trust policies, and events between accounts.
"""

import json
import unittest

from botocore.exceptions import ClientError

from stack import FUNCTIONS, REGION, ROOT, Emulator, Stack, deploy, stand_in, template

INFRA = ROOT / "infra"
IMAGE = ROOT / "ami/image/image.yaml"
HOME = "111111111111"
SCALER = f"arn:aws:iam::{HOME}:role/muster-acme-ScalerRole"
BUS = f"arn:aws:events:{REGION}:{HOME}:event-bus/default"
ISSUER = "token.actions.githubusercontent.com"
# Types that the emulator's CloudFormation does not know: what has one of them is not deployed, or without it.
REFUSED = {
    "events.yaml": ["AWS::Events::EventBusPolicy"],
    "oidc.yaml": ["AWS::IAM::OIDCProvider"],
    "stack.yaml": ["AWS::EC2::EIP", "AWS::EC2::NatGateway"],
}
OF_A_JOB = {
    "Repository": "octo-org/app",
    "RepositoryId": "4711",
    "Environment": "production",
    "Subject": "repo:octo-org/app:environment:production",
}


class Templates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.emulator = Emulator()
        cls.addClassCleanup(cls.emulator.stop)
        cls.ec2, cls.iam = cls.emulator.client("ec2"), cls.emulator.client("iam")
        cls.vpc = cls.ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        cls.subnets = [
            cls.ec2.create_subnet(VpcId=cls.vpc, CidrBlock=f"10.20.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
            for n, zone in enumerate("ab")
        ]

    def role(self, arn):
        """A role's trust policy, and its own policies by name."""
        name = arn.rsplit("/", 1)[1]
        role = self.iam.get_role(RoleName=name)["Role"]
        policies = self.iam.list_role_policies(RoleName=name)["PolicyNames"]
        read = lambda policy: self.iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]["Statement"]
        return role["AssumeRolePolicyDocument"]["Statement"], {policy: read(policy) for policy in policies}

    def stack(self, fleet, **parameters):
        zips = {function: stand_in() for function in FUNCTIONS}
        changes = {"without": (), "instead": None} | {name: parameters.pop(name) for name in ("without", "instead") if name in parameters}
        return Stack(self.emulator, zips, fleet=fleet, parameters=parameters, **changes)

    def account(self, name, **more):
        given = {"Fleet": "acme", "ScalerRoleArn": SCALER, "ExternalId": "what-was-agreed-on", "FleetAccountId": HOME, "VpcId": self.vpc}
        return deploy(self.emulator, name, INFRA / "account.yaml", given | more)[0]

    def test_another_accounts_role_is_for_the_scaler_with_the_agreed_word_only(self):
        outputs = self.account("other-account")
        trust, policies = self.role(outputs["ScalerAccessRoleArn"])
        self.assertEqual({statement["Effect"] for statement in trust}, {"Allow"})
        self.assertEqual([statement["Principal"] for statement in trust], [{"AWS": SCALER}] * 2)
        conditions = {statement["Action"]: statement["Condition"] for statement in trust}
        self.assertEqual(conditions["sts:AssumeRole"], {"StringEquals": {"sts:ExternalId": "what-was-agreed-on"}})
        session = conditions["sts:TagSession"]
        self.assertEqual(session["StringEquals"], {"aws:RequestTag/muster:fleet": "acme"})
        self.assertEqual(session["ForAllValues:StringEquals"], {"aws:TagKeys": ["muster:fleet", "muster:account"]})

        # Whatever it changes has the fleet's tag, or is made with it.
        statements = {statement["Sid"]: statement for statement in policies["fleet"]}
        for sid in ("ChangeGroupsWithTheTag", "ChangeTemplatesWithTheTag", "EndWhatHasLeftItsGroup", "TurnTheMetadataServiceOff"):
            self.assertEqual(statements[sid]["Condition"], {"StringEquals": {"aws:ResourceTag/muster:fleet": "acme"}}, sid)
        passed = statements["GiveInstancesTheirRole"]
        self.assertEqual(passed["Resource"], outputs["InstanceRoleArn"])
        self.assertEqual(passed["Condition"], {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}})
        groups = [arn for arn in statements["LaunchWithWhatInstancesNeed"]["Resource"] if ":security-group/" in arn]
        self.assertEqual([arn.rsplit("/", 1)[1] for arn in groups], [outputs["RunnerSecurityGroupId"]])
        # Conditions of the emulator know no Fn::Join, so that these are there; what was not named they name neither.
        further = {sid: statements[sid]["Resource"] for sid in statements if "More" in sid or "Other" in sid}
        self.assertEqual([arns for arns in further.values() if "".join(arns)], [], further)
        self.assertEqual({statement["Effect"] for statement in policies["fleet"]}, {"Allow"})

        # Its machines may do nothing, and nobody reaches them.
        trust, policies = self.role(outputs["InstanceRoleArn"])
        self.assertEqual([statement["Principal"] for statement in trust], [{"Service": "ec2.amazonaws.com"}])
        [[nothing]] = policies.values()
        self.assertEqual((nothing["Effect"], nothing["Action"], nothing["Resource"]), ("Deny", "*", "*"))
        profile = self.iam.get_instance_profile(InstanceProfileName=outputs["InstanceProfileArn"].rsplit("/", 1)[1])
        self.assertEqual([role["Arn"] for role in profile["InstanceProfile"]["Roles"]], [outputs["InstanceRoleArn"]])
        [group] = self.ec2.describe_security_groups(GroupIds=[outputs["RunnerSecurityGroupId"]])["SecurityGroups"]
        self.assertEqual((group["VpcId"], group["IpPermissions"]), (self.vpc, []))

        # Its events go to the fleet's bus, by a role that may do that.
        events = self.emulator.client("events")
        rules = {rule["Name"]: json.loads(rule["EventPattern"]) for rule in events.list_rules(NamePrefix="muster-acme-")["Rules"]}
        self.assertEqual(set(rules), {"muster-acme-machines", "muster-acme-groups"})
        self.assertEqual(rules["muster-acme-machines"]["source"], ["aws.ec2"])
        self.assertEqual(len(rules["muster-acme-machines"]["detail-type"]), 3)
        of_groups = {"source": ["aws.autoscaling"], "detail": {"AutoScalingGroupName": [{"prefix": "muster-acme-"}]}}
        self.assertEqual(rules["muster-acme-groups"], of_groups)
        for rule in rules:
            [target] = events.list_targets_by_rule(Rule=rule)["Targets"]
            self.assertEqual(target["Arn"], BUS)
            trust, policies = self.role(target["RoleArn"])
            self.assertEqual(trust[0]["Principal"], {"Service": "events.amazonaws.com"})
            self.assertIn("aws:SourceAccount", trust[0]["Condition"]["StringEquals"])
            [[send]] = policies.values()
            self.assertEqual((send["Effect"], send["Action"], send["Resource"]), ("Allow", "events:PutEvents", BUS))

    def test_what_another_account_has_of_its_own_is_allowed_by_name(self):
        group = f"arn:aws:ec2:{REGION}:000000000000:security-group/sg-0123456789abcdef0"
        role, image = "arn:aws:iam::000000000000:role/ours", f"arn:aws:ssm:{REGION}:000000000000:parameter/ours/image"
        named = {"MoreSecurityGroupArns": group, "MoreInstanceRoleArns": role, "MoreImageParameterArns": image}
        outputs = self.account("other-account-with-more", Fleet="more", **named)
        statements = {statement["Sid"]: statement for statement in self.role(outputs["ScalerAccessRoleArn"])[1]["fleet"]}
        for sid, action, resource in (
            ("LaunchIntoMoreSecurityGroups", "ec2:RunInstances", group),
            ("GiveInstancesOtherRoles", "iam:PassRole", role),
            ("ReadMoreImageParameters", "ssm:GetParameter", image),
        ):
            self.assertEqual((statements[sid]["Action"], statements[sid]["Resource"]), (action, [resource]), sid)

    def test_a_jobs_role_is_for_one_workflow_of_one_repository(self):
        made = self.iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"])
        provider = made["OpenIDConnectProviderArn"]
        outputs, _ = deploy(self.emulator, "oidc", INFRA / "oidc.yaml", OF_A_JOB | {"ProviderArn": provider}, without=("Provider",))
        [trust], policies = self.role(outputs["DeployRoleArn"])
        self.assertEqual((trust["Effect"], trust["Action"]), ("Allow", "sts:AssumeRoleWithWebIdentity"))
        self.assertEqual(trust["Principal"], {"Federated": provider})
        wanted = {
            "aud": "sts.amazonaws.com",
            "sub": "repo:octo-org/app:environment:production",
            "repository_id": "4711",
            "environment": "production",
            "job_workflow_ref": "octo-org/app/.github/workflows/deploy.yml@refs/heads/main",
        }
        self.assertEqual(trust["Condition"], {"StringEquals": {f"{ISSUER}:{claim}": value for claim, value in wanted.items()}})
        self.assertEqual(policies, {}, "it may say who it is")

    def test_what_the_emulator_does_not_know_is_what_we_say(self):
        private = {"Fleet": "x", "CodeBucket": "code", "CodePrefix": "test", "ImageLinuxX64": "ami-0123456789abcdef0", "Network": "private"}
        for name, given in {"events.yaml": {"Fleet": "x", "AccountIds": HOME}, "oidc.yaml": OF_A_JOB, "stack.yaml": private}.items():
            with self.subTest(template=name), self.assertRaises(ClientError) as caught:
                deploy(self.emulator, f"refused-{name.split('.')[0]}", INFRA / name, given)
            self.assertIn(f"Unrecognized resource types: [{', '.join(REFUSED[name])}]", str(caught.exception))

    def test_the_fleets_stack_builds_its_image_by_a_stack_within_it(self):
        # Parameters and outputs as they are; of the rest one resource, since the emulator knows none of Image Builder's.
        image, prefix = template(IMAGE), "muster-image/0123456789abcdef"
        image["Resources"] = {"BuildLog": image["Resources"]["BuildLog"]}
        image["Outputs"]["PipelineArn"]["Value"] = "the pipeline's"
        s3 = self.emulator.client("s3")
        s3.create_bucket(Bucket="code")
        s3.put_object(Bucket="code", Key=f"{prefix}/image.yaml", Body=json.dumps(image).encode())
        files = {"ImagePrefix": prefix, "ImageArchiveSha256": "0" * 64}
        stack = self.stack("builds", BuildLinuxX64="al2023", ImageLinuxX64="", **files)
        told = stack.invoke("scaler", {"stand-in": "environment"})["MUSTER_IMAGE_LINUX_X64"]
        self.assertEqual(told, "ssm:/imagebuilder/muster/builds/al2023-x64")
        self.assertEqual(stack.outputs["PipelineLinuxX64"], "the pipeline's")
        self.assertIn("LinuxX64Image", stack.resources)
        self.assertNotIn("LinuxArm64Image", stack.resources)
        logs = self.emulator.client("logs").describe_log_groups(logGroupNamePrefix="/aws/imagebuilder/")["logGroups"]
        self.assertEqual([group["logGroupName"] for group in logs], ["/aws/imagebuilder/muster-builds-al2023-x64"])

    def routes(self, table):
        """Where a route table leads to, by destination; local ways left out."""
        [found] = self.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        way = lambda route: route.get("NatGatewayId") or route.get("GatewayId")
        ways = {route["DestinationCidrBlock"]: way(route) for route in found["Routes"] if way(route) != "local"}
        return ways, {one["SubnetId"] for one in found["Associations"] if one.get("SubnetId")}

    def given_subnets(self, stack):
        """The subnets that the scaler is told to launch into."""
        return stack.invoke("scaler", {"stand-in": "environment"})["MUSTER_SUBNETS"].split(",")

    def test_in_a_private_network_machines_go_out_by_nat(self):
        # The emulator's EC2 has such gateways, its CloudFormation does not.
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        gateway = self.ec2.create_nat_gateway(SubnetId=self.subnets[0], AllocationId=address)["NatGateway"]["NatGatewayId"]
        without, instead = ("NatAddress", "NatGateway"), {"PrivateWayOut": {"NatGatewayId": gateway}}
        stack = self.stack("inside", Network="private", without=without, instead=instead)
        made = stack.resources
        private = [made[f"PrivateSubnet{number}"] for number in (1, 2, 3)]
        public = [made[f"PublicSubnet{number}"] for number in (1, 2, 3)]
        self.assertEqual(self.given_subnets(stack), private)
        self.assertEqual(self.routes(made["PrivateRoutes"]), ({"0.0.0.0/0": gateway}, set(private)))
        self.assertEqual(self.routes(made["PublicRoutes"]), ({"0.0.0.0/0": made["InternetGateway"]}, set(public)))
        subnets = {one["SubnetId"]: one for one in self.ec2.describe_subnets(SubnetIds=private + public)["Subnets"]}
        self.assertEqual({one["VpcId"] for one in subnets.values()}, {made["Vpc"]})
        for some in (private, public):
            self.assertEqual(len({subnets[one]["AvailabilityZone"] for one in some}), 3, "each in a zone of its own")
        self.assertEqual(len({one["CidrBlock"] for one in subnets.values()}), 6)
        self.assertFalse(any(one["MapPublicIpOnLaunch"] for one in subnets.values()), "nobody has a public address")
        for endpoint in self.ec2.describe_vpc_endpoints(VpcEndpointIds=[made["S3Endpoint"], made["DynamoDbEndpoint"]])["VpcEndpoints"]:
            self.assertEqual(set(endpoint["RouteTableIds"]), {made["PrivateRoutes"], made["PublicRoutes"]})

    def test_two_zones_are_enough(self):
        stack = self.stack("two", Network="public", Zones="2")
        made = stack.resources
        self.assertEqual(self.given_subnets(stack), [made["PublicSubnet1"], made["PublicSubnet2"]])
        self.assertFalse([name for name in made if name.endswith("3") or name.startswith(("Private", "Nat"))])

    def test_an_existing_network_is_used_and_nothing_is_added_to_it(self):
        before = self.networks()
        account = {"AccountRoleArns": "arn:aws:iam::222222222222:role/muster", "AccountRunnerRoleArns": "arn:aws:iam::222222222222:role/runner"}
        more = account | {"RunnerLogsBucket": "acme-runner-logs", "RunnerLogsPrefix": "ci/logs"}
        stack = self.stack("there", Network="existing", VpcId=self.vpc, SubnetIds=",".join(self.subnets), **more)
        self.assertEqual(self.networks(), before)
        self.assertEqual(self.given_subnets(stack), self.subnets)
        [group] = self.ec2.describe_security_groups(GroupIds=[stack.resources["RunnerSecurityGroup"]])["SecurityGroups"]
        self.assertEqual((group["VpcId"], group["IpPermissions"]), (self.vpc, []))
        self.assertEqual([rule["IpRanges"][0]["CidrIp"] for rule in group["IpPermissionsEgress"]], ["0.0.0.0/0"])
        # The other account's machines are believed, and its role may be taken on.
        roles = stack.invoke("agents", {"stand-in": "environment"})["MUSTER_RUNNER_ROLES"].split(",")
        self.assertEqual(roles, [stack.outputs["InstanceRoleArn"], account["AccountRunnerRoleArns"]])
        policies = self.role(stack.outputs["ScalerRoleArn"])[1].values()
        taken_on = [one for policy in policies for one in policy if "sts:AssumeRole" in one["Action"]]
        self.assertEqual([one["Resource"] for one in taken_on], [[account["AccountRoleArns"]]])
        # Logs are put below their prefix, in this account, in the name of the agents' door and of nobody else.
        for role in ("DoorRole", "AgentsRole", "ScalerRole", "RegistrarRole", "HealerRole", "InstanceRole"):
            policies = self.role(f"role/{stack.resources[role]}")[1].values()
            puts = [one for policy in policies for one in policy if one["Effect"] == "Allow" and "s3:PutObject" in one["Action"]]
            allowed = [(one["Action"], one["Resource"], one.get("Condition")) for one in puts]
            below = "arn:aws:s3:::acme-runner-logs/ci/logs/*"
            here = {"StringEquals": {"aws:ResourceAccount": stack.outputs["ScalerRoleArn"].split(":")[4]}}
            self.assertEqual(allowed, [("s3:PutObject", below, here)] if role == "AgentsRole" else [], role)

    def networks(self):
        """How many there are of what networks are made of."""
        ec2 = self.ec2
        gateways = ec2.describe_internet_gateways()["InternetGateways"]
        vpcs, subnets = ec2.describe_vpcs()["Vpcs"], ec2.describe_subnets()["Subnets"]
        return [len(some) for some in (vpcs, subnets, gateways, ec2.describe_route_tables()["RouteTables"])]


if __name__ == "__main__":
    unittest.main()
