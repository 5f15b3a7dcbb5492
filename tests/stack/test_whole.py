"""The whole path: from a signed webhook to an instance, a claim, a job, and the end.

The agent is a script that signs as an assumed role whose session name is the instance's id.

What lives here: what Muster does in the deployed shape when all goes well. What may not: what holds whatever is in the
zips (`test_stack.py`).
"""

import json
import pathlib
import subprocess
import unittest

from given import LABELS, now, queued, workflow_job
from stack import PAYLOADS, REGION
from whole import BINARIES, SECONDS, SECRET, Surroundings, with_binaries

RECORDED = sorted(PAYLOADS.glob("workflow_job.*.json"))


@with_binaries
class Whole(Surroundings):
    def test_a_job_from_webhook_to_end(self):
        # Recorded deliveries, under a configuration that serves their labels.
        for number, path in enumerate(RECORDED):
            status, _, body = self.stack.webhook(path.read_bytes(), SECRET, delivery=f"recorded-{number}")
            self.assertEqual(status, 202, (path.name, body))
        status, _, body = self.stack.post("/webhook", RECORDED[0].read_bytes(), {"X-GitHub-Event": "workflow_job"})
        self.assertEqual(status, 401, body)
        self.until("the recorded jobs in the ledger", lambda: any("jobs" in r["pk"]["S"] or "job#" in r["pk"]["S"] for r in self.stack.rows()))

        # One more, of which something is wanted.
        self.deliver(queued(77), "queued-77")
        launch = self.until("a launch", lambda: self.calls("LaunchInstances"))[0]
        self.assertEqual(launch["params"]["RequestedCapacity"], 1, launch)
        instance, group = self.until("a member", lambda: list(self.members().items()))[0]
        self.assertEqual(group["DesiredCapacity"], 1)
        queued_lines = lambda: [line for line in self.stack.metrics("scaler") if "JobsQueued" in line or "PoolExhausted" in line]
        self.until("metric lines in the log group", queued_lines)

        # Its agent: an assumed role whose session name is the instance's id.
        agent = self.agent(instance)
        self.until("an answer to the claim", lambda: agent.claim(wait_s=20)[0] == 200)
        self.until("a configuration", lambda: agent.config or agent.report("ready", wait_s=20) and agent.config)
        runner = self.github.get("/_fake/state")["runners"][0]
        self.assertEqual(sorted(runner["labels"]), sorted(LABELS + ["cpu-8", "spot"]))
        self.assertIn(instance, runner["name"])

        # The job runs and ends.
        self.assertEqual(agent.report("listening")[0], 200)
        silenced = lambda: [c for c in self.calls("ModifyInstanceMetadataOptions") if c["params"]["InstanceId"] == instance]
        self.until("the metadata service turned off", silenced)
        self.assertEqual(agent.report("busy")[0], 200)
        named = {"runner_id": runner["id"], "runner_name": runner["name"], "runner_group_id": 1, "runner_group_name": "Default"}
        started = queued(77) | {"action": "in_progress", "workflow_job": workflow_job(77, status="in_progress", **named)}
        self.deliver(started, "started-77")
        done = workflow_job(77, status="completed", conclusion="success", completed_at=now(), **named)
        self.assertEqual(agent.report("done", ran_job=True)[0], 200)
        self.deliver(queued(77) | {"action": "completed", "workflow_job": done}, "completed-77")
        ended = self.until("the end of the instance", lambda: self.calls("TerminateInstanceInAutoScalingGroup"))[0]
        self.assertTrue(ended["params"]["ShouldDecrementDesiredCapacity"], ended)
        self.until("the group back at nothing", lambda: not self.members())
        self.until("a queue time", lambda: [line for line in self.stack.metrics("scaler") if "QueueTime" in line])

        # Nothing was launched for the others, and nothing of what was asked was wrong.
        self.assertEqual(len(self.calls("LaunchInstances")), 1, self.calls("LaunchInstances"))
        self.assertEqual(self.emulation.get("/_emulation/bugs"), [])
        self.assertEqual(self.github.get("/_fake/state")["wrong"], [])


@with_binaries
class Recorded(Surroundings):
    """A delivery as GitHub has published it, byte for byte, at a fleet of its own organization."""

    @classmethod
    def configured(cls, text):
        return text.replace('organization = "octo-org"', 'organization = "Codertocat"')

    def test_a_recorded_delivery_ends_in_a_launch_and_in_metric_lines(self):
        (path,) = [path for path in RECORDED if path.name == "workflow_job.queued.6.json"]
        job = str(json.loads(path.read_text(encoding="utf-8"))["workflow_job"]["id"])
        status, _, body = self.stack.webhook(path.read_bytes(), SECRET, delivery="recorded")
        self.assertEqual(status, 202, body)
        launch = self.until("a launch", lambda: self.calls("LaunchInstances"))[0]
        self.assertEqual(launch["params"]["RequestedCapacity"], 1, launch)
        members = self.until("a member", self.members)
        of_the_pool = lambda: [line for line in self.stack.metrics("scaler") if line.get("Pool") == "hosted-like" and "JobsQueued" in line]
        self.until("metric lines of its pool", of_the_pool)
        # What an admin sees of it, in the table.
        (entry,) = [json.loads(line) for line in self.command("ledger", "--json").splitlines()]
        self.assertEqual((str(entry["job_id"]), entry["phase"]), (job, "queued"), entry)
        self.assertIn(job, self.command("explain", "--job", job))
        self.assertEqual(self.command("switch").strip(), "run")
        self.assertEqual(self.command("switch", "freeze").strip(), "freeze (was run)")
        self.assertEqual(self.command("switch").strip(), "freeze")
        self.assertEqual(set(self.members()), set(members))
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
