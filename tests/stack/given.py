"""What tests of the whole path are given: a configuration, and deliveries about jobs.

What lives here: texts and payloads. What may not: anything that runs.
"""

import datetime
import json

from stack import PAYLOADS

LABELS = ["gpu", "db-app", "dc-03"]

CONFIG = """
[github]
organization = "octo-org"
api_url = "{github}"
webhook_secrets = ["{webhook}"]
[[github.app]]
id = {app}
private_key = "{key}"
[aws]
subnets = {subnets}
security_groups = ["{security_group}"]
images = {{ linux-x64 = "{image}" }}
[fleet]
name = "acme"
max_runners = 32
[[pool]]
name = "hosted-like"
os = "linux"
arch = "x64"
labels = ["ubuntu-latest"]
repositories = ["*"]
public_repositories = true
[pool.sizes.cpu-2]
instance_types = ["c6i.large"]
[[pool]]
name = "gpu"
os = "linux"
arch = "x64"
labels = {labels}
repositories = ["*"]
public_repositories = true
markets = ["spot"]
[pool.sizes.cpu-8]
instance_types = ["c6i.2xlarge", "m6i.2xlarge"]
[[pool]]
name = "k8s"
os = "linux"
arch = "x64"
labels = ["self-hosted", "k8s"]
repositories = ["*"]
public_repositories = true
[pool.sizes.cpu-2]
instance_types = ["c6i.large"]
"""
POOL = """
[[pool]]
name = "{name}"
os = "linux"
arch = "x64"
labels = ["{name}"]
repositories = ["*"]
public_repositories = true
[pool.sizes.cpu-{cpus}]
instance_types = ["{kind}"]
"""
# Of the pools of a test: each has a type of its own, and so groups of its own.
TYPES = [
    ("m5.2xlarge", 8),
    ("m5.4xlarge", 16),
    ("m5.8xlarge", 32),
    ("m5.12xlarge", 48),
    ("m5.16xlarge", 64),
    ("m5.24xlarge", 96),
    ("m5.xlarge", 4),
    ("m5.large", 2),
]


def queued(job, name="marker", labels=LABELS):
    """A delivery about a job that is queued."""
    return json.loads((PAYLOADS / "workflow_job.queued.6.json").read_text()) | {
        "action": "queued",
        "workflow_job": workflow_job(job, status="queued", name=name, labels=labels),
        "repository": {"full_name": "octo-org/marker", "private": True},
    }


def workflow_job(job, **fields):
    return {
        "id": job, "run_id": job * 10, "run_attempt": 1, "labels": LABELS, "created_at": now(), "started_at": now(), **fields
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
