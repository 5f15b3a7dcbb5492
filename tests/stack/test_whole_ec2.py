"""EC2 fails in the deployed shape.

What lives here: what becomes of a job whose launch fails. What may not: that each error code is read right (the tests of
`controller/aws`).
"""

import json
import unittest

from given import queued
from jobs import carry
from whole import Surroundings, with_binaries

FAILURES = 6


@with_binaries
class Ec2(Surroundings):
    pools = ("fails", "full")

    def zones_held(self):
        """Zones that the ledger holds back for want of capacity."""
        holds = [json.loads(row["record"]) for row in self.rows("holds").values()]
        return {hold["offering"]["zone"] for hold in holds if hold["kind"] == "capacity"}

    def test_a_job_gets_its_instance_when_ec2_has_failed_for_a_while(self):
        self.fault(kind="error", action="LaunchInstances", code="InternalFailure", status=500, count=FAILURES)
        self.deliver(queued(501, labels=["fails"]), "queued-501")
        # Some ten seconds for each tick: the SDK repeats once, and then the tick goes on.
        self.until("an instance", lambda: self.instances("fails"), 120)
        self.until("a machine", lambda: self.machines("fails"))
        calls = self.launches("fails")
        self.assertEqual([call["code"] for call in calls], ["InternalFailure"] * FAILURES + [""], calls)
        # Nobody knows what a 500 has done: so it is the same launch until it is known.
        self.assertEqual(len({call["params"]["ClientToken"] for call in calls}), 1, calls)
        self.assertEqual(self.machines("fails"), set(self.instances("fails")))
        self.assertEqual(len(self.instances("fails")), 1)

    def test_a_job_gets_its_instance_in_a_zone_that_has_some(self):
        zones = [zone["ZoneName"] for zone in self.at_emulation("ec2").describe_availability_zones()["AvailabilityZones"]]
        # Of three, those that are asked first.
        empty = set(sorted(zones)[:2])
        for zone in empty:
            self.fault(kind="launch", zone=zone)
        self.deliver(queued(502, labels=["full"]), "queued-502")
        self.until("an instance", lambda: self.instances("full"))
        self.until("a machine", lambda: self.machines("full"))
        asked = [call["params"]["AvailabilityZones"] for call in self.launches("full")]
        [instance] = self.instances("full").values()
        self.assertNotIn(instance["AvailabilityZone"], empty)
        self.assertEqual(asked[-1], [instance["AvailabilityZone"]])
        refused = {zone for [zone] in asked[:-1]}
        self.assertTrue(refused and refused <= empty, asked)
        self.assertEqual(len(asked) - 1, len(refused), "a zone without capacity is left alone")
        self.assertEqual(self.zones_held(), refused)
        carry(self, "full", [502])


if __name__ == "__main__":
    unittest.main()
