"""Starts a pipeline of Image Builder when GitHub has released a runner that was not built in yet.

A function of the stack in image.yaml, asked every few hours. GitHub's page of the newest release redirects to it and has
no limit of requests as the API has, which functions share by their addresses. The release that was started for is
remembered in a parameter, written last: a start that failed is tried again, and one that is repeated within minutes is
one execution, since the token is the same. That a build came to an image is not its business: the weekly build and the
topic are for that.
"""

import os
import re
import urllib.error
import urllib.request
import uuid

LATEST = "https://github.com/actions/runner/releases/latest"
SECONDS_MAX = 20


class Stay(urllib.request.HTTPRedirectHandler):
    """The redirection is the answer."""

    def redirect_request(self, *_):
        return None


def newest(address=LATEST):
    """The version of the newest release, 2.N.N."""
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "muster-image"})
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=SECONDS_MAX) as answer:
            raise RuntimeError(f"{address} answers {answer.status}, not with a redirection to a release")
    except urllib.error.HTTPError as answer:
        with answer:
            location = answer.headers.get("Location") or ""
            found = re.search(r"/releases/tag/v(2\.\d+\.\d+)$", location)
            if answer.code not in (301, 302, 303, 307, 308) or not found:
                raise RuntimeError(f"{address} answers {answer.code} {location!r}, not with a release") from None
    return found[1]


def check(version, pipeline, known, ssm, imagebuilder):
    """Starts `pipeline` if `version` is not what the parameter `known` has. Returns whether it did."""
    try:
        before = ssm.get_parameter(Name=known)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        before = None
    if before == version:
        return False
    # Of the release and the pipeline, so that a repetition is the same request.
    token = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{pipeline}#{version}"))
    imagebuilder.start_image_pipeline_execution(imagePipelineArn=pipeline, clientToken=token)
    ssm.put_parameter(Name=known, Value=version, Type="String", Overwrite=True)
    return True


def handler(_event, _context):
    import boto3

    version = newest()
    started = check(
        version,
        os.environ["MUSTER_PIPELINE"],
        os.environ["MUSTER_KNOWN_RELEASE"],
        boto3.client("ssm"),
        boto3.client("imagebuilder"),
    )
    print(f"runner {version}: {'a build is started' if started else 'nothing new'}")
