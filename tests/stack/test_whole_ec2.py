"""EC2 fails in the deployed shape.

What lives here: what becomes of a job whose launch fails. What may not: that the error codes are read right (the tests of
`controller/aws`).
"""

import json
import unittest

from whole import Surroundings, queued, with_binaries

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


@with_binaries
class Ec2(Surroundings):
    pools = ("fails", "full")

    def test_a_job_gets_its_instance_when_ec2_has_failed_for_a_while(self):
        self.fault(kind="error", action="LaunchInstances", code="InternalFailure", status=500, count=6)
        self.deliver(queued(501, labels=["fails"]), "queued-501")
        self.until("an instance", lambda: self.instances("fails"), 120)
        for c in self.launches("fails"): print(c)
        print(self.rows("machines"), self.rows("holds"))

    def test_a_job_gets_its_instance_in_a_zone_that_has_some(self):
        for zone in ZONES[:2]:
            self.fault(kind="launch", zone=zone)
        self.deliver(queued(502, labels=["full"]), "queued-502")
        self.until("an instance", lambda: self.instances("full"), 120)
        for c in self.launches("full"): print(c)
        print(self.instances("full"))
        print(self.rows("machines"), self.rows("holds"))


if __name__ == "__main__":
    unittest.main()
