"""The function that starts a build for a new runner: GitHub on loopback, AWS's answers by botocore's stubs."""

import unittest

import boto3
import botocore.stub

import new_release
from loopback import serving

PIPELINE = "arn:aws:imagebuilder:eu-central-1:123456789012:image-pipeline/muster-acme-ubuntu2404-x64"
KNOWN = "/muster/acme/image-release/ubuntu2404-x64"


def stubbed(service):
    client = boto3.client(service, "eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    return client, botocore.stub.Stubber(client)


class Release(unittest.TestCase):
    def newest(self, status, location):
        headers = {"Location": location} if location else {}
        with serving({"HEAD /latest": (status, headers, b"")}) as (address, _):
            return new_release.newest(f"{address}/latest")

    def test_the_redirection_names_it(self):
        self.assertEqual(self.newest(302, "https://github.com/actions/runner/releases/tag/v2.336.0"), "2.336.0")

    def test_anything_else_is_an_error(self):
        for status, location in (
            (200, None),
            (302, "https://github.com/login"),
            (302, "https://github.com/actions/runner/releases/tag/v3.0.0-beta"),
            (429, None),
            (500, None),
        ):
            with self.assertRaises(RuntimeError, msg=f"{status} {location}"):
                self.newest(status, location)


class Check(unittest.TestCase):
    def check(self, version, known, fails=False):
        """Which calls there were."""
        ssm, of_ssm = stubbed("ssm")
        builder, of_builder = stubbed("imagebuilder")
        if known is None:
            of_ssm.add_client_error("get_parameter", "ParameterNotFound", expected_params={"Name": KNOWN})
        else:
            of_ssm.add_response("get_parameter", {"Parameter": {"Value": known}}, {"Name": KNOWN})
        if fails:
            of_builder.add_client_error("start_image_pipeline_execution", "ResourceInUseException")
        elif version != known:
            started = {"imagePipelineArn": PIPELINE, "clientToken": botocore.stub.ANY}
            of_builder.add_response("start_image_pipeline_execution", {}, started)
            written = {"Name": KNOWN, "Value": version, "Type": "String", "Overwrite": True}
            of_ssm.add_response("put_parameter", {}, written)
        with of_ssm, of_builder:
            try:
                return new_release.check(version, PIPELINE, KNOWN, ssm, builder)
            finally:
                of_ssm.assert_no_pending_responses()
                of_builder.assert_no_pending_responses()

    def test_a_new_release_starts_a_build_and_is_remembered(self):
        self.assertTrue(self.check("2.336.0", "2.335.1"))

    def test_so_does_the_first(self):
        self.assertTrue(self.check("2.336.0", None))

    def test_a_known_one_does_not(self):
        self.assertFalse(self.check("2.336.0", "2.336.0"))

    def test_a_build_that_did_not_start_is_not_remembered(self):
        with self.assertRaises(Exception):
            self.check("2.336.0", "2.335.1", fails=True)


if __name__ == "__main__":
    unittest.main()
