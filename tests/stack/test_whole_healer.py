"""Webhooks that never came, in the deployed shape: the healer finds their jobs, and they get machines.

What lives here: the three ways to find a job. What may not: what GitHub's answers look like (the tests of
`controller/github`).
"""

import unittest

from given import queued, workflow_job
from whole import APP, Surroundings, with_binaries


@with_binaries
class Healer(Surroundings):
    pools = ("failed", "unheard")

    def requests(self, path):
        return [one for one in self.github.get("/_fake/state")["requests"] if one["path"].startswith(path)]

    def test_a_delivery_that_failed_ends_in_a_machine(self):
        delivery = self.tell_github("delivery", app=APP, payload=queued(701, labels=["failed"]))
        self.heal()
        self.until("a job", lambda: self.job(701))
        self.until("a machine", lambda: self.machines("failed"))
        self.assertEqual(self.job(701)["about"]["labels"], ["failed"])
        self.heal()
        self.assertEqual(len(self.requests(f"/app/hook/deliveries/{delivery}")), 1, "it is healed once")
        lines = self.until("a metric line", lambda: [one for one in self.stack.json_lines("healer") if "HealDelay" in one])
        self.assertTrue(any("WebhooksHealed" in one for one in self.stack.json_lines("healer")), lines)

    def test_a_job_of_a_repository_never_seen_before_whose_webhook_is_in_no_log_ends_in_a_machine(self):
        self.tell_github("push", repository="octo-org/brand-new")
        run = self.tell_github("run", repository="octo-org/brand-new", workflow="build")
        job = self.tell_github("job", run=run, labels=["unheard"])
        self.assertEqual(self.machines("unheard"), set())
        # The healer sweeps with its first look, and every five minutes: a new process looks at once.
        self.stack.renew("healer")
        self.heal()
        self.until("a job", lambda: self.job(job))
        self.until("a machine", lambda: self.machines("unheard"))

    def test_what_github_has_finished_is_known_when_it_is_told_twice_and_late(self):
        payload = queued(702, labels=["failed"])
        over = payload | {"action": "completed", "workflow_job": workflow_job(702, status="completed", labels=["failed"])}
        over["workflow_job"] |= {"conclusion": "cancelled", "completed_at": over["workflow_job"]["started_at"]}
        self.deliver(over, "completed-702")
        self.until("a job", lambda: self.job(702))
        self.tell_github("delivery", app=APP, payload=payload)
        self.heal()
        self.until("its beginning", lambda: "queued" in (self.job(702) or {}))
        self.assertIn("completed", self.job(702), "a tombstone stays one")


if __name__ == "__main__":
    unittest.main()
