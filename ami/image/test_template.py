"""What image.yaml asks of Image Builder, held against the service's own model of its requests as botocore has it."""

import re
import unittest

import botocore.session
import botocore.validate

from template import HERE, REQUIRED, Template

MODEL = botocore.session.Session().get_service_model("imagebuilder")
REQUESTS = {
    "AWS::ImageBuilder::Component": "CreateComponent",
    "AWS::ImageBuilder::ImageRecipe": "CreateImageRecipe",
    "AWS::ImageBuilder::InfrastructureConfiguration": "CreateInfrastructureConfiguration",
    "AWS::ImageBuilder::DistributionConfiguration": "CreateDistributionConfiguration",
    "AWS::ImageBuilder::ImagePipeline": "CreateImagePipeline",
    "AWS::ImageBuilder::LifecyclePolicy": "CreateLifecyclePolicy",
}
# CloudFormation's names that are not the API's with a capital.
RENAMED = {"version": "semanticVersion"}
PARAMETERS = [
    {},
    {"Arch": "arm64", "RunnerVersion": "2.336.0", "RunnerSha256": "1" * 64},
    {"System": "al2023", "SubnetId": "subnet-0123456789abcdef0", "SecurityGroupId": "sg-0123456789abcdef0"},
    {
        "System": "al2023",
        "Arch": "arm64",
        "Fleet": "a" * 32,
        "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/0123",
        "TopicArn": "arn:aws:sns:eu-central-1:123456789012:builds",
        "Docker": "on",
        "Proxy": "http://proxy.acme.example:3128",
    },
]


def request(kind, properties):
    """The properties as the API wants them: camel case, but for the keys of maps."""
    operation = MODEL.operation_model(REQUESTS[kind])

    def convert(value, shape):
        if shape.type_name == "list":
            return [convert(item, shape.member) for item in value]
        if shape.type_name != "structure":
            return value
        renamed = {}
        for name, item in value.items():
            name = name[0].lower() + name[1:]
            name = name if name in shape.members else RENAMED.get(name, name)
            renamed[name] = convert(item, shape.members[name]) if name in shape.members else item
        return renamed

    return operation.input_shape, convert(properties, operation.input_shape) | {"clientToken": "t"}


def patterns(value, shape, path=""):
    """botocore checks types, names and lower limits, but no upper ones, no patterns and no enumerations."""
    most = shape.metadata.get("max")
    if most is not None and (value if isinstance(value, int) else len(value)) > most:
        yield f"{path}: {value!r} is more than {most}"
    if shape.type_name == "structure":
        for name, item in value.items():
            yield from patterns(item, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from patterns(item, shape.member, f"{path}[{index}]")
    elif shape.type_name == "string":
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(pattern, value):
            yield f"{path}: {value!r} is not {pattern}"
        if getattr(shape, "enum", None) and value not in shape.enum:
            yield f"{path}: {value!r} is none of {shape.enum}"


class Requests(unittest.TestCase):
    def test_the_service_knows_them(self):
        for given in PARAMETERS:
            template = Template(**given)
            self.assertEqual(template.refused(), [], given)
            seen = set()
            for name, (kind, properties) in template.resources().items():
                if kind not in REQUESTS:
                    self.assertFalse(kind.startswith("AWS::ImageBuilder::"), kind)
                    continue
                seen.add(kind)
                with self.subTest(name, **given):
                    shape, asked = request(kind, properties)
                    report = botocore.validate.ParamValidator().validate(asked, shape)
                    self.assertFalse(report.has_errors(), report.generate_report())
                    self.assertEqual(list(patterns(asked, shape)), [])
            self.assertEqual(seen, set(REQUESTS))

    def test_another_content_is_another_recipe(self):
        def names(prefix):
            template = Template(ImagePrefix=prefix)
            return {
                properties["Name"]
                for kind, properties in template.resources().values()
                if kind in ("AWS::ImageBuilder::Component", "AWS::ImageBuilder::ImageRecipe")
            }

        one, other = names("muster-image/0123456789abcdef"), names("muster-image/fedcba9876543210")
        self.assertEqual(len(one), 5)
        self.assertEqual(one & other, set())

    def test_two_stacks_of_a_fleet_share_no_name(self):
        def names(**given):
            found = set()
            for kind, properties in Template(**given).resources().values():
                # What names another resource is not a name of its own.
                if kind != "AWS::Lambda::Permission":
                    keys = [key for key in properties if key.endswith("Name") and key != "InstanceProfileName"]
                    found |= {(kind, properties[key]) for key in keys if isinstance(properties[key], str)}
            return found

        both = [names(System=system, Arch=arch) for system in ("ubuntu2404", "al2023") for arch in ("x64", "arm64")]
        self.assertEqual(len(set.union(*both)), sum(map(len, both)))

    def test_parameters_that_make_no_sense_are_refused(self):
        for wrong in (
            {"RunnerVersion": "2.336.0"},
            {"RunnerSha256": "1" * 64},
            {"SubnetId": "subnet-0123456789abcdef0"},
            {"SecurityGroupId": "sg-0123456789abcdef0"},
            {"RunnerVersion": "latest", "RunnerSha256": "1" * 64},
            {"ImagePrefix": "muster/0123456789abcdef"},
            {"Proxy": "http://proxy:1'; reboot; '"},
            {"NoProxy": "a'b"},
            {"DockerDataRoot": "relative"},
            {"RunnerMirror": "http://mirror.example"},
            {"WarmImages": "alpine:3"},
        ):
            self.assertNotEqual(Template(**wrong).refused(), [], wrong)

    def test_no_parameter_can_leave_its_quotes(self):
        """Values are put into shell commands between single quotes, as AWSTOE does it: by replacing text."""
        template = Template()
        for name, what in template.body["Parameters"].items():
            if what["Type"] == "String" and "AllowedValues" not in what:
                for nasty in ("'", "x'y", "{{ Archive }}", "a b", "$(reboot)", "a\nb"):
                    self.assertIsNone(re.fullmatch(what["AllowedPattern"], nasty), f"{name} takes {nasty!r}")

    def test_the_scaler_may_read_where_the_image_is_told(self):
        _, distribution = Template().resources()["Distribution"]
        parameter = distribution["Distributions"][0]["SsmParameterConfigurations"][0]["ParameterName"]
        self.assertEqual(parameter, "/imagebuilder/muster/acme/ubuntu2404-x64")
        for file in ("stack.yaml", "account.yaml"):
            text = (HERE / "../../infra" / file).read_text()
            self.assertIn(":parameter/imagebuilder/muster/${Fleet}/*", text, file)

    def test_only_what_follows_asks_for_releases(self):
        def kinds(**given):
            return {kind for kind, _ in Template(**given).resources().values()}

        self.assertIn("AWS::Lambda::Function", kinds())
        self.assertNotIn("AWS::Lambda::Function", kinds(RunnerVersion="2.336.0", RunnerSha256="1" * 64))

    def test_required_parameters_are_all_that_is_required(self):
        declared = Template().body["Parameters"]
        self.assertEqual({name for name, what in declared.items() if "Default" not in what}, set(REQUIRED))

    def test_it_is_built_every_week_whatever_has_changed(self):
        """So that it has packages and a runner that are a week old at most, three weeks before GitHub's rule strikes."""
        _, pipeline = Template().resources()["Pipeline"]
        self.assertEqual(pipeline["Status"], "ENABLED")
        self.assertRegex(pipeline["Schedule"]["ScheduleExpression"], r"^cron\(0 \d+ \? \* \w{3} \*\)$")
        self.assertEqual(pipeline["Schedule"]["PipelineExecutionStartCondition"], "EXPRESSION_MATCH_ONLY")
        self.assertTrue(pipeline["ImageTestsConfiguration"]["ImageTestsEnabled"])


class WithinTheFleets(unittest.TestCase):
    """infra/stack.yaml builds images itself where its parameters ask for that: by stacks of image.yaml within it."""

    SHAPES = {"LinuxX64": "x64", "LinuxArm64": "arm64"}
    FILES = {"ImagePrefix": REQUIRED["ImagePrefix"], "ImageArchiveSha256": REQUIRED["ArchiveSha256"]}

    def fleet(self, **parameters):
        required = {"Fleet": "acme", "CodeBucket": "code", "CodePrefix": "muster/0123456789abcdef"}
        return Template("../../infra/stack.yaml", required, **parameters)

    def test_each_is_what_a_stack_of_its_own_would_be(self):
        for shape, arch in self.SHAPES.items():
            for system in ("ubuntu2404", "al2023"):
                fleet = self.fleet(**{f"Build{shape}": system}, **self.FILES)
                self.assertEqual(fleet.refused(), [])
                resource = fleet.body["Resources"][f"{shape}Image"]
                self.assertTrue(fleet.condition(resource["Condition"]))
                within = fleet.resolve(resource["Properties"])
                self.assertEqual(
                    within["TemplateURL"], f"https://s3.eu-central-1.amazonaws.com/code/{REQUIRED['ImagePrefix']}/image.yaml"
                )
                image = Template(required={}, **within["Parameters"])
                self.assertEqual(image.refused(), [])
                _, distribution = image.resources()["Distribution"]
                told = distribution["Distributions"][0]["SsmParameterConfigurations"][0]["ParameterName"]
                self.assertEqual(told, f"/imagebuilder/muster/acme/{system}-{arch}")

    def test_the_scaler_is_told_of_it(self):
        variables = self.fleet().body["Resources"]["Scaler"]["Properties"]["Environment"]["Variables"]
        for shape, name in (("LinuxX64", "MUSTER_IMAGE_LINUX_X64"), ("LinuxArm64", "MUSTER_IMAGE_LINUX_ARM64")):
            builds = self.fleet(**{f"Build{shape}": "al2023"}, **self.FILES)
            self.assertEqual(builds.resolve(variables[name]), f"{shape}Image.Outputs.Image")
            takes = self.fleet(**{f"Image{shape}": "ssm:/elsewhere"})
            self.assertEqual(takes.resolve(variables[name]), "ssm:/elsewhere")
        self.assertIn("Image", Template().body["Outputs"])

    def test_by_default_none_is_built(self):
        fleet = self.fleet()
        self.assertEqual(fleet.refused(), [])
        for shape in self.SHAPES:
            self.assertFalse(fleet.condition(fleet.body["Resources"][f"{shape}Image"]["Condition"]))

    def test_parameters_that_make_no_sense_are_refused(self):
        for shape in self.SHAPES:
            build = {f"Build{shape}": "ubuntu2404"}
            for wrong in (
                build,
                build | {"ImagePrefix": REQUIRED["ImagePrefix"]},
                build | self.FILES | {f"Image{shape}": "ami-0123456789abcdef0"},
                {f"Build{shape}": "windows2022"} | self.FILES,
            ):
                self.assertNotEqual(self.fleet(**wrong).refused(), [], wrong)


if __name__ == "__main__":
    unittest.main()
