"""The whole path: from a signed webhook to an instance, a claim, a job, and the end.

The agent is a script that signs as an assumed role whose session name is the instance's id.

What lives here: what Muster does in the deployed shape when all goes well. What may not: what holds whatever is in the
zips (`test_stack.py`).
"""

import datetime
import json
import pathlib
import subprocess
import unittest

from given import LABELS, now, queued
from jobs import Run
from stack import PAYLOADS, REGION
from whole import BINARIES, SECONDS, SECRET, Surroundings, with_binaries

RECORDED = sorted(PAYLOADS.glob("workflow_job.*.json"))


@with_binaries
class Whole(Surroundings):
    def test_a_job_from_webhook_to_end(self):
        status, _, body = self.stack.post("/webhook", RECORDED[0].read_bytes(), {"X-GitHub-Event": "workflow_job"})
        self.assertEqual(status, 401, body)
        self.deliver(queued(77), "queued-77")
        launch = self.until("a launch", lambda: self.calls("LaunchInstances"))[0]
        self.assertEqual(launch["params"]["RequestedCapacity"], 1, launch)
        instance, group = self.until("a member", lambda: list(self.members().items()))[0]
        self.assertEqual(group["DesiredCapacity"], 1)
        queued_lines = lambda: [line for line in self.stack.metrics("scaler") if "JobsQueued" in line or "PoolExhausted" in line]
        self.until("metric lines in the log group", queued_lines)

        # Its agent: an assumed role whose session name is the instance's id.
        run = Run(self, 77, instance, LABELS)
        run.claim()
        self.assertEqual(sorted(run.runner["labels"]), sorted(LABELS + ["cpu-8", "spot"]))

        # The job runs and ends.
        silenced = lambda: [c for c in self.calls("ModifyInstanceMetadataOptions") if c["params"]["InstanceId"] == instance]
        self.until("the metadata service turned off", silenced)
        run.start()
        # The cloud is about to take the machine, whose metadata service is off: its agent hears of it from us.
        detail = {"instance-id": instance, "instance-action": "terminate"}
        kind = "EC2 Spot Instance Interruption Warning"
        outside = {"account": "000000000000", "region": REGION, "time": now(), "id": "1", "resources": []}
        self.stack.invoke("door", {**outside, "source": "aws.ec2", "detail-type": kind, "detail": detail})
        warned = lambda: run.agent.report("busy")[1].get("order", {}).get("order") == "interruption"
        self.until("the warning", warned)
        run.report("interrupted")
        run.finish()
        ended = self.until("the end of the instance", lambda: self.calls("TerminateInstanceInAutoScalingGroup"))[0]
        self.assertTrue(ended["params"]["ShouldDecrementDesiredCapacity"], ended)
        groups = lambda: self.at_emulation("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        sizes = lambda: [(one["DesiredCapacity"], len(one["Instances"])) for one in groups()]
        self.until("the group back at its target", lambda: sizes() == [(0, 0)])
        self.until("a queue time", lambda: [line for line in self.stack.metrics("scaler") if "QueueTime" in line])

        # Nothing else was launched, and nothing of what was asked was wrong.
        self.assertEqual(len(self.calls("LaunchInstances")), 1, self.calls("LaunchInstances"))
        self.assertEqual(self.emulation.get("/_emulation/bugs"), [])
        self.assertEqual(self.github.get("/_fake/state")["wrong"], [])


# What becomes of each recorded delivery, one after another: the pool that serves its labels, the part of its job's record
# that it fills, and the news that metric lines tell of it. Several are about one job.
FOLLOWED = (
    # The action is `queued`, but the status is `waiting`: for an approval, and so for no machine.
    ("queued.7", "k8s", "waiting", []),
    ("waiting.8", "k8s", "waiting", []),
    ("in_progress.1", "gpu", "started", ["JobsStarted"]),
    ("in_progress.5", "hosted-like", "started", ["JobsStarted"]),
    ("queued.6", "hosted-like", "queued", ["JobsQueued"]),
    ("in_progress.4", "hosted-like", "started", ["JobsStarted", "QueueTime"]),
    ("completed.3", "hosted-like", "completed", ["JobsCompleted"]),
    # Another conclusion of the same instant. It is the graver one, and the job is over once.
    ("completed.2", "hosted-like", "completed", []),
)
NEWS = ("JobsQueued", "JobsStarted", "JobsCompleted", "QueueTime")
LAUNCHES = {"queued.6": 1}


def unix_ms(text):
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def evidence(part, job):
    """What a delivery says of its job, as that part of a record has it. Of a wait there is only the moment when we heard."""
    runner = {"id": job["runner_id"], "name": job["runner_name"]}
    if part == "waiting":
        return {}
    if part == "queued":
        return {"created_at": unix_ms(job["created_at"])}
    started = {"started_at": unix_ms(job["started_at"]), "runner": runner}
    if part == "started":
        return started
    return started | {"completed_at": unix_ms(job["completed_at"]), "conclusion": job["conclusion"]}


@with_binaries
class Recorded(Surroundings):
    """Deliveries as GitHub has published them, byte for byte, at a fleet of the organization that most of them name."""

    @classmethod
    def configured(cls, text):
        return text.replace('organization = "octo-org"', 'organization = "Codertocat"')

    def test_each_recorded_delivery_is_followed_to_its_record_its_launch_and_its_metric_lines(self):
        paths = {path.name.removeprefix("workflow_job.").removesuffix(".json"): path for path in RECORDED}
        self.assertEqual({name for name, *_ in FOLLOWED}, set(paths), "each of them, once")
        for name, pool, part, news in FOLLOWED:
            with self.subTest(delivery=name):
                self.follow(paths[name].read_bytes(), name, pool, part, news)
        self.assertEqual(self.emulation.get("/_emulation/bugs"), [])

    def follow(self, body, name, pool, part, news):
        job = json.loads(body)["workflow_job"]
        lines, launches = len(self.stack.metrics("scaler")), len(self.calls("LaunchInstances"))
        # The door, and what it leaves in the table.
        status, _, answer = self.stack.webhook(body, SECRET, delivery=name)
        self.assertEqual(status, 202, answer)
        self.assertEqual(json.loads(answer)["class"].split("/")[0], pool)
        facts = lambda: [row for key, row in self.rows("fact").items() if key.startswith(f"job:{job['id']}:")]
        self.assertTrue(facts())
        # The bell, and the scaler: it has merged the fact, and says so.
        self.until("facts merged", lambda: all("merged" in row for row in facts()))
        self.until("an answered bell", lambda: self.stack.waiting("BellQueue") == 0)
        record, said = self.job(job["id"]), evidence(part, job)
        self.assertIn(part, record)
        self.assertEqual({what: record[part][what] for what in said}, said)
        self.assertEqual(record["about"]["labels"], job["labels"])
        told = lambda: [
            (line["Pool"], one) for line in self.stack.metrics("scaler")[lines:] for one in NEWS if one in line
        ]
        self.until("its news in the log group", lambda: len(told()) >= len(news))
        self.assertEqual(sorted(told()), [(pool, one) for one in sorted(news)])
        # Auto Scaling.
        asked = self.calls("LaunchInstances")[launches:]
        self.assertEqual([call["params"]["RequestedCapacity"] for call in asked], [1] * LAUNCHES.get(name, 0), asked)
        if asked:
            self.until("its machine", lambda: self.machines(pool))

    def test_a_delivery_of_no_interest_is_answered_and_leaves_nothing(self):
        known = lambda: [self.rows(kind) for kind in ("fact", "job")]
        before = known()
        for event, path in (("ping", PAYLOADS / "ping.json"), ("workflow_run", RECORDED[0])):
            status, _, answer = self.stack.webhook(path.read_bytes(), SECRET, event=event, delivery=event)
            self.assertEqual((status, json.loads(answer)["outcome"]), (200, "event"), answer)
            self.assertIn(f"`{event}`", json.loads(answer)["reason"])
        self.assertEqual(known(), before)

    def test_an_admin_sees_a_job_in_the_table_and_turns_the_switch(self):
        self.deliver(queued(78), "queued-78")
        self.until("a machine", lambda: self.machines("gpu"))
        entries = [json.loads(line) for line in self.command("ledger", "--json").splitlines()]
        self.assertEqual([entry["phase"] for entry in entries if entry["job_id"] == 78], ["queued"], entries)
        self.assertIn("78", self.command("explain", "--job", "78"))
        self.assertEqual(self.command("switch").strip(), "run")
        self.addCleanup(self.command, "switch", "run")
        self.assertEqual(self.command("switch", "freeze").strip(), "freeze (was run)")
        self.assertEqual(self.command("switch").strip(), "freeze")
        empty = self.muster("switch", "--table", "not-there")
        self.assertEqual(empty.returncode, 2, empty)
        self.assertIn("not-there", empty.stderr)

    def command(self, name, *further):
        done = self.muster(name, "--table", self.stack.outputs["Table"], *further)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.stdout

    def muster(self, *arguments):
        return subprocess.run(
            [pathlib.Path(BINARIES) / "muster", *arguments],
            env={
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": REGION,
                "AWS_ENDPOINT_URL": self.emulator.url,
                "NO_PROXY": "127.0.0.1",
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


if __name__ == "__main__":
    unittest.main()
