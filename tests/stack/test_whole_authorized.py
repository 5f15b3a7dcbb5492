"""The whole path with authorization on: each function under its own role, which `infra/stack.yaml` gives it.

What lives here: that the roles allow what jobs need, that what is missing would show, and what our door is refused. What
may not: what a role allows whatever is in the zip (`test_stack.py`).
"""

import collections
import contextlib
import json
import unittest

from botocore.exceptions import ClientError

from given import now, queued, workflow_job
from jobs import Place, Run, carry
from judge import REFUSALS, SERVICES, Deployed, Way
from stack import DEPLOYED, ONLY_OVER_TLS, REGION
from whole import APP, SECRET, Surroundings, with_binaries

STRANGER = "i-0123456789abcdef0"


@with_binaries
class Authorized(Surroundings):
    """With AUTH=true ministack judges actions and ARNs. `judge.py` and the emulation add the table's partition keys, and EC2
    and Auto Scaling with their tags."""

    pools = ("authorized", "whole", "idle", "healed", "missing")
    auth = True
    without = ONLY_OVER_TLS

    @classmethod
    def ways(cls):
        cls.way = Way()
        cls.addClassCleanup(cls.way.stop)
        return super().ways() | {service: cls.way.url for service in SERVICES}

    @classmethod
    def parameters(cls, security_group):
        cls.way.lead_to(cls.emulator)
        return {"MoreSecurityGroupArns": f"arn:aws:ec2:{REGION}:000000000000:security-group/{security_group}"}

    @classmethod
    def deployed(cls):
        cls.roles = Deployed(cls.stack, cls.way, lambda body: cls.emulate("roles", body))

    @classmethod
    def configured(cls, text):
        return text.replace('labels = ["idle"]', 'labels = ["idle"]\nidle = { max = 0 }')

    def setUp(self):
        self.known = self.refused()
        self.read = {function: len(self.stack.log(function)) for function in DEPLOYED}

    def refused(self):
        """What functions were refused so far, and how often: role, service, action, and what was said."""
        calls = [call for call in self.emulation.get("/_emulation/calls") if call["code"] in REFUSALS]
        told = [(call["role"], call["service"], call["action"], call["code"]) for call in calls]
        return collections.Counter(told + self.way.refused)

    def nothing_was_refused(self):
        self.assertEqual(self.refused() - self.known, collections.Counter())
        roles = {call["role"] for call in self.emulation.get("/_emulation/calls") if call["access_key"] != "test"}
        self.assertEqual(roles, {self.roles.roles["scaler"]}, "who asks EC2 and Auto Scaling is known, and judged")
        for function in DEPLOYED:
            told = [line for line in self.stack.log(function)[self.read[function] :] if any(word in line for word in REFUSALS)]
            self.assertEqual(told, [], function)

    def machine(self, job, pool):
        """The instance that a job of the pool gets."""
        self.deliver(queued(job, labels=[pool]), f"queued-{job}")
        self.until("a machine", lambda: self.machines(pool))
        return next(iter(self.machines(pool)))

    def test_a_job_runs_from_its_webhook_to_its_end(self):
        instance = self.machine(611, "whole")
        carry(self, "whole", [611])
        silenced = [call["params"]["InstanceId"] for call in self.calls("ModifyInstanceMetadataOptions")]
        self.assertIn(instance, silenced)
        self.nothing_was_refused()

    def test_an_idle_machine_is_drained(self):
        run = Run(self, 621, self.machine(621, "idle"), ["idle"])
        run.claim()
        # Somebody else's machine has taken the job.
        elsewhere = {"runner_id": 9, "runner_name": "elsewhere", "runner_group_id": 1, "runner_group_name": "Default"}
        over = workflow_job(621, labels=["idle"], status="completed", conclusion="success", completed_at=now(), **elsewhere)
        self.deliver(queued(621, labels=["idle"]) | {"action": "completed", "workflow_job": over}, "completed-621")
        drain = self.order(run, "drain", "listening")
        self.order(run, "kill", "frozen", number=drain["number"])
        self.assertNotIn(run.runner["id"], [one["id"] for one in self.github.get("/_fake/state")["runners"]])
        run.report("drained")
        self.until("its end", lambda: run.instance in Place(self, "idle").ended())
        self.until("a group at its target", lambda: Place(self, "idle").sizes() == [(0, 0)])
        self.nothing_was_refused()

    def order(self, run, order, state, **fields):
        """Reports the state until there is an order of that name; gives it."""

        def given():
            run.report(state, wait_s=20, **fields)
            return next((one for one in run.agent.orders if one["order"] == order), None)

        return self.until(f"an order to {order}", given, 120)

    def test_a_webhook_that_never_came_is_healed(self):
        self.tell_github("delivery", app=APP, payload=queued(631, labels=["healed"]))
        self.heal()
        self.until("a machine", lambda: self.machines("healed"))
        self.nothing_was_refused()

    def test_the_door_takes_in_a_webhook_and_may_no_more(self):
        body = json.dumps(queued(601, labels=["authorized"])).encode()
        status, _, answer = self.stack.webhook(body, "another secret", delivery="forged-601")
        self.assertEqual(status, 401, answer)
        facts = lambda: {key.split(":")[1] for key in self.rows("fact") if key.startswith("job:")}
        self.assertNotIn("601", facts())
        self.deliver(queued(601, labels=["authorized"]), "queued-601")
        self.assertIn("601", facts())
        self.until("a machine", lambda: self.machines("authorized"))
        self.nothing_was_refused()

        credentials = self.stack.credentials_of("door")
        client = lambda service: self.emulator.client(service, credentials)
        role = client("sts").get_caller_identity()["Arn"]
        self.assertIn(f":assumed-role/{self.stack.resources['DoorRole']}/", role)
        ec2, groups = client("ec2"), client("autoscaling")
        group = {"AutoScalingGroupName": "muster-acme-x"}
        launch = {"RequestedCapacity": 1, "ClientToken": "x", **group}
        app_key = {"Name": "/muster/acme/app/key", "WithDecryption": True}
        for what, call in {
            "ec2:RunInstances": lambda: ec2.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1),
            "ec2:DescribeInstances": ec2.describe_instances,
            "ec2:TerminateInstances": lambda: ec2.terminate_instances(InstanceIds=[STRANGER]),
            "autoscaling:DescribeAutoScalingGroups": groups.describe_auto_scaling_groups,
            "autoscaling:LaunchInstances": lambda: groups.launch_instances(**launch),
            "autoscaling:SetDesiredCapacity": lambda: groups.set_desired_capacity(**group, DesiredCapacity=1),
            "ssm:GetParameter of the App key": lambda: client("ssm").get_parameter(**app_key),
        }.items():
            with self.assertRaises(ClientError, msg=f"{what} was allowed") as caught:
                call()
            self.assertIn(caught.exception.response["Error"]["Code"], REFUSALS, what)

    # The last one, by its name: what was refused is left alone for a while.
    def test_what_is_missing_shows(self):
        instance = self.machine(641, "missing")
        run = Run(self, 641, instance, ["missing"])
        run.claim()
        # ministack judges this one. A new process has no key in its memory.
        self.stack.renew("healer")
        with self.lacking("healer", "ReadAppKeyParameters", "ssm"), contextlib.suppress(AssertionError):
            self.heal()
        with self.lacking("agents", "NoteWhoWasHeardOf", "dynamodb"):
            run.agent.report("listening")
        run.start()
        with self.lacking("scaler", "ChangeGroupsWithTheTag", "autoscaling"):
            run.finish()

    @contextlib.contextmanager
    def lacking(self, function, sid, service):
        """Until something was refused because the statement is not there."""
        role, before = self.roles.roles[function], self.refused()
        with self.roles.without(function, sid):
            yield
            told = lambda: {one[:2] for one in self.refused() - before}
            self.until(f"a refusal without {sid}", lambda: (role, service) in told())


if __name__ == "__main__":
    unittest.main()
