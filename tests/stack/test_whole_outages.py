"""Long outages in the deployed shape: EC2 fails for minutes, and the role of one account is revoked for as long.

What lives here: what is true while it lasts, and how soon all is well afterwards. What may not: a single failure
(`test_whole_ec2.py`).

The processes read the wall's clock, so an outage takes its time. MUSTER_TEST_OUTAGE_SECONDS says how long one is: by default
long enough for the cloud to be looked at meanwhile; ten minutes is 600, and then "gone" could be concluded, wrongly.
"""

import collections
import json
import os
import time
import unittest

from botocore.config import Config
import boto3

from given import queued
from jobs import Place, Run, carry, ended
from stack import REGION
from whole import Surroundings, with_binaries

OUTAGE_SECONDS = int(os.environ.get("MUSTER_TEST_OUTAGE_SECONDS", "75"))
# How soon after its end a job has what it waited for; after a refusal, how soon after the end of the hold.
SERVED_SECONDS_MAX = 60
# A launch is asked for every ten seconds, twice each time, and the cloud is looked at once a minute.
CALLS_A_MINUTE_MAX = 40
TICKS_A_MINUTE_MAX = 20
TICK_SECONDS_MAX = 30
# A refusal settles a launch that is ten minutes old (`UNCERTAIN_MAX`), and it is first asked for within 5 s of its intent.
SAME_LAUNCH_SECONDS = 595
# Its groups are looked at once a minute: one look is refused, and the next has a new session.
RENEWED_SECONDS_MAX = 150

OTHER = "222222222222"
ROLE = f"arn:aws:iam::{OTHER}:role/muster-fleet"
# The role of the machines there: a profile's has its name, where nobody says otherwise.
RUNNER = f"arn:aws:iam::{OTHER}:role/muster-runner"


class Outage(Surroundings):
    def last(self, seconds, each=5.0):
        """Lets the outage last. Meanwhile somebody looks whether all goes on as it should."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.goes_on()
            time.sleep(each)

    def goes_on(self):
        """What holds at every moment of the outage."""

    def heal(self):
        self.emulate("faults", {}, "DELETE")

    def said(self, *words, since=0):
        """Lines of the scaler's log with all of these words."""
        return [line for line in self.stack.log("scaler")[since:] if all(word in line for word in words)]

    def longest_tick(self):
        """The longest that a tick took, as its metric says."""
        return max(self.stack.values("scaler", "TickDuration"))


@with_binaries
class Ec2Fails(Outage):
    pools = ("before", "during")

    def goes_on(self):
        self.assertEqual(self.machines("before"), {self.instance}, "nobody has seen that its instance is gone")

    def test_ec2_fails_for_minutes(self):
        # A job runs before, and ends meanwhile.
        self.deliver(queued(701, labels=["before"]), "queued-701")
        instance = self.until("an instance", lambda: next(iter(self.instances("before")), None))
        self.instance = instance
        before = Run(self, 701, instance, ["before"])
        before.claim()
        before.start()

        # Half of the time EC2 breaks, half of the time it wants less.
        self.emulate("calls", {}, "DELETE")
        ticks, lines, began = self.stack.invocations("scaler"), len(self.stack.log("scaler")), time.monotonic()
        for service in ("ec2", "autoscaling"):
            self.emulate("faults", {"kind": "error", "service": service, "code": "InternalFailure", "status": 500})
        # One launch does not get as far as its group. The other is asked for, and nobody knows what becomes of it.
        self.deliver(queued(702, labels=["during"]), "queued-702")
        self.deliver(queued(703, labels=["before"]), "queued-703")
        self.last(OUTAGE_SECONDS / 2)
        before.finish()  # The door needs no EC2.
        for service in ("ec2", "autoscaling"):
            self.emulate("faults", {"kind": "error", "service": service, "code": "RequestLimitExceeded", "status": 503})
        self.last(OUTAGE_SECONDS / 2)
        minutes = (time.monotonic() - began) / 60
        calls = self.emulation.get("/_emulation/calls")
        ticked = self.stack.invocations("scaler") - ticks
        counts = collections.Counter(call["action"] for call in calls)
        print(f"\nEC2 failed for {minutes:.1f} min: {len(calls)} calls ({dict(counts)}), {ticked} invocations of the scaler")
        self.assertTrue(calls and all(call["code"] for call in calls), "nothing went through meanwhile")
        self.assertLess(len(calls), CALLS_A_MINUTE_MAX * max(minutes, 1), counts)
        self.assertLess(ticked, TICKS_A_MINUTE_MAX * max(minutes, 1))
        self.assertTrue(self.said("launch refused", "DescribeAutoScalingGroups", since=lines), "a clear word about the one")
        self.assertTrue(self.said("it counts until the cloud answers", since=lines), "and about the other")
        self.assertEqual(self.machines("before"), {instance})
        self.assertTrue(self.job(701)["completed"], "webhooks are merged all the while")

        self.heal()
        healed = time.monotonic()
        self.until("an instance for one job that waited", lambda: self.machines("during"), SERVED_SECONDS_MAX)
        self.until("an instance for the other", lambda: self.machines("before") - {instance}, SERVED_SECONDS_MAX)
        served = time.monotonic() - healed
        self.until("it is gone", lambda: instance not in self.instances("before"), SERVED_SECONDS_MAX)
        print(f"both served {served:.1f} s after the end; a tick took {self.longest_tick():.1f} s at most")
        for pool in self.pools:
            self.assertEqual(len(self.instances(pool)), 1, pool)
            self.until("nothing but it in the ledger", lambda pool=pool: self.machines(pool) == set(self.instances(pool)))
            launched = [call for call in self.launches(pool) if not call["code"]]
            self.assertEqual(len(launched), 1, launched)
        # Until it is known what became of it, it is the same launch.
        calls = self.launches("before")
        asked = {call["params"]["ClientToken"] for call in calls if call["at"] < calls[0]["at"] + SAME_LAUNCH_SECONDS}
        self.assertEqual(len(asked), 1, asked)
        # And on to the ends of both, and of the one before.
        for pool, job in (("during", 702), ("before", 703)):
            carry(self, pool, [job])
        ended(self, Place(self, "before"), [before])
        self.assertLess(self.longest_tick(), TICK_SECONDS_MAX)
        self.assertNotIn("Task timed out", self.emulator.told(100_000))


class OverThere(Place):
    """Where the machines of a pool of the other account are."""

    role = RUNNER

    def groups(self):
        groups = self.case.over_there("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        return self.case.of_pool(groups, self.pool)


@with_binaries
class RoleRevoked(Outage):
    pools = ("near", "far", "again")
    emulated = ("EC2", "AUTO_SCALING", "STS")

    @classmethod
    def configured(cls, text):
        ec2 = cls.over_there("ec2")
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:3]
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        for pool in ("far", "again"):
            text = text.replace(f'name = "{pool}"\n', f'name = "{pool}"\naccount = "build"\n')
        return text + f"""
[[aws.account]]
name = "build"
role = "{ROLE}"
external_id = "what-was-agreed"
subnets = {json.dumps(subnets)}
security_groups = ["{ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]}"]
instance_profile = "arn:aws:iam::{OTHER}:instance-profile/muster-runner"
images = {{ linux-x64 = "{image}" }}
"""

    @classmethod
    def over_there(cls, service):
        """A client in the other account, by another role than Muster's."""
        role = f"arn:aws:iam::{OTHER}:role/tests"
        given = cls.at_emulation("sts").assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=cls.emulation.url,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

    def far(self, pool="far"):
        """Members of a pool's groups in the other account."""
        return OverThere(self, pool).instances()

    # IAM's "revoke sessions" refuses what was given out before; a new session would do.
    def test_a_session_that_is_refused_is_renewed(self):
        self.deliver(queued(611, labels=["again"]), "queued-611")
        self.until("an instance there", lambda: self.machines("again") == self.far("again") != set())
        sessions = len(self.sessions())
        self.fault(kind="error", service="autoscaling", role=ROLE, code="AccessDenied", status=403)
        self.deliver(queued(612, labels=["again"]), "queued-612")
        self.until("a refusal", lambda: any(call["code"] for call in self.calls("LaunchInstances")))
        self.until("a new session", lambda: len(self.sessions()) > sessions, RENEWED_SECONDS_MAX)

    def sessions(self):
        """The calls by which Muster takes on its role."""
        return [call for call in self.calls("AssumeRole") if call["params"].get("RoleArn") == ROLE]

    def held_seconds(self):
        """How long until the first offering of the pool `far` may be tried again."""
        records = {kind: [json.loads(row["record"]) for row in self.rows(kind).values()] for kind in ("machines", "holds")}
        shapes = {machine["purpose"]["shape"] for machine in records["machines"] if machine["purpose"]["pool"] == "far"}
        ends = [hold["until"] / 1000 for hold in records["holds"] if hold["offering"]["shape"] in shapes]
        return max(0.0, min(ends) - time.time())

    def goes_on(self):
        self.assertEqual(self.machines("far"), self.known, "nobody could look: they are not gone")
        for run in self.runs.values():
            run.report("busy")

    def run_on(self, job, instance, role=None):
        """A job begins on a machine, and goes on until somebody ends it."""
        run = Run(self, job, instance, ["far" if role else "near"], role)
        run.claim()
        run.start()
        self.runs[job] = run

    def test_the_role_of_one_account_is_revoked(self):
        self.deliver(queued(601, labels=["near"]), "queued-601")
        self.deliver(queued(602, labels=["far"]), "queued-602")
        self.until("an instance here", lambda: self.machines("near") == set(self.instances("near")) != set())
        self.until("an instance there", lambda: self.machines("far") == self.far() != set())
        self.known = self.far()
        self.runs = {}
        self.run_on(601, *self.instances("near"))
        self.run_on(602, *self.known, role=RUNNER)
        told = {call["params"].get("ExternalId") for call in self.sessions()}
        self.assertEqual(told, {"what-was-agreed"})

        # Revoked, with its sessions: whatever is asked with it is refused.
        lines, began = len(self.stack.log("scaler")), time.monotonic()
        self.emulate("calls", {}, "DELETE")
        self.emulate("faults", {"kind": "error", "role": ROLE, "code": "AccessDenied", "status": 403})
        self.deliver(queued(603, labels=["far"]), "queued-603")
        self.deliver(queued(604, labels=["near"]), "queued-604")
        self.until("a second instance here", lambda: len(self.machines("near")) == 2)
        here = time.monotonic() - began
        self.until("a word about the account", lambda: self.said("account build", "AccessDenied", since=lines))
        self.last(OUTAGE_SECONDS)
        self.deliver(queued(605, labels=["near"]), "queued-605")
        self.until("a third instance here", lambda: len(self.machines("near")) == 3)
        minutes = (time.monotonic() - began) / 60
        refused = [call for call in self.emulation.get("/_emulation/calls") if call["code"] == "AccessDenied"]
        counts = collections.Counter(call["action"] for call in refused)
        print(f"\nthe role was revoked for {minutes:.1f} min: {len(refused)} refused calls ({dict(counts)})")
        print(f"a job of the home account had its instance after {here:.1f} s")
        self.assertLess(len(refused), CALLS_A_MINUTE_MAX * max(minutes, 1), counts)
        self.assertEqual(self.machines("far"), self.known)
        failures = [line for line in self.stack.metrics("scaler") if "LaunchFailures" in line and line.get("Pool") == "far"]
        self.until("a metric of the pool", lambda: failures)
        self.assertTrue(self.said("listing instances", "account build", since=lines), "it was looked for meanwhile")

        # A refusal that is nobody's but an admin's to mend is tried again after 3 minutes, then 6, 12, 24, 30.
        self.heal()
        healed = time.monotonic()
        held = self.held_seconds()
        print(f"the role is back; its pool is held back for another {held:.0f} s")
        self.until("an instance there for the job that waited", lambda: len(self.far()) == 2, held + SERVED_SECONDS_MAX)
        print(f"served {time.monotonic() - healed:.1f} s after the role was back")
        self.until("its machine", lambda: self.machines("far") == self.far())
        # Each job ran where it was begun, through all of it; the others have theirs, and all come to their ends.
        self.run_on(603, *(self.far() - self.known), role=RUNNER)
        for job, instance in zip((604, 605), sorted(set(self.instances("near")) - {self.runs[601].instance})):
            self.run_on(job, instance)
        for run in self.runs.values():
            run.finish()
        for at in (Place(self, "near"), OverThere(self, "far")):
            ended(self, at, [run for run in self.runs.values() if run.labels == [at.pool]])
        self.assertEqual(len(self.runs), 5)


if __name__ == "__main__":
    unittest.main()
