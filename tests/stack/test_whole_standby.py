"""A machine of a standby stock in the deployed shape: warmed, stopped, taken for a job.

What lives here: the way of one machine. What may not: what becomes of a stock whose image is old (the tests of
`controller/aws`).
"""

import base64
import json
import unittest

from given import queued
from whole import Surroundings, with_binaries

# Without a word of the agent the hook lets a machine go on after 300 s.
WARM_SECONDS = 90


@with_binaries
class Standby(Surroundings):
    pools = ("stock",)

    @classmethod
    def configured(cls, text):
        pool = 'labels = ["stock"]\ndefault_market = "on-demand"\nmarkets = ["on-demand"]\nstandby = { min = 1, max = 1 }'
        return text.replace('labels = ["stock"]', pool)

    def stock(self):
        """The machines of the pool's stock: state by id."""
        scaling = self.at_emulation("autoscaling")
        pools = [scaling.describe_warm_pool(AutoScalingGroupName=name) for name in self.groups("stock")]
        return {one["InstanceId"]: one["LifecycleState"] for pool in pools for one in pool["Instances"]}

    def user_data(self):
        """What a machine of the stock is told at its boot."""
        [name] = self.groups("stock")
        found = self.at_emulation("ec2").describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])
        [version] = found["LaunchTemplateVersions"]
        return json.loads(base64.b64decode(version["LaunchTemplateData"]["UserData"]))

    def test_a_machine_is_warmed_and_stopped_and_taken_for_a_job(self):
        self.ring()
        self.until("a machine on its way in", lambda: list(self.stock().values()) == ["Warmed:Pending:Wait"])
        [instance] = self.stock()
        agent = self.agent(instance)
        status, answer = agent.claim()
        self.assertEqual(status, 425, "what stands by gets no session: " + json.dumps(answer))
        stranger = self.agent("i-00000000000000bad")
        self.assertEqual(stranger.prewarmed(self.user_data()["shape"])[0], 200, "nothing but a fact")
        self.assertEqual(agent.prewarmed(self.user_data()["shape"]), (200, {}))
        self.until("stock", lambda: self.stock() == {instance: "Warmed:Stopped"}, WARM_SECONDS)
        self.assertEqual(self.machines("stock"), set(), "nobody has launched it")

        # The planner takes in what stands by once a minute; a job before that is launched cold.
        self.until("a look", lambda: self.looked_at_stock(), WARM_SECONDS)
        self.deliver(queued(601, labels=["stock"]), "queued-601")
        self.until("a machine of the ledger", lambda: self.machines("stock"), WARM_SECONDS)
        self.assertEqual(self.machines("stock"), {instance})
        self.assertEqual(self.calls("LaunchInstances"), [])
        self.until("a session", lambda: agent.claim(wait_s=20)[0] == 200)
        self.until("in service", lambda: self.instances("stock").get(instance, {}).get("LifecycleState") == "InService")
        self.until("another one in its place", lambda: len(self.stock()) == 1)

    def looked_at_stock(self):
        """Whether the scaler has read the stock since it stands."""
        if not hasattr(self, "read_before"):
            self.read_before = len(self.calls("DescribeWarmPool"))
        self.ring()
        # Of a fleet without machines nobody but the look at its stock reads a pool. A tick is over before the next begins.
        return len(self.calls("DescribeWarmPool")) > self.read_before


if __name__ == "__main__":
    unittest.main()
