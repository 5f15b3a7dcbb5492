"""`muster serve --cloud aws` on emulators: it serves, and it outlives an outage of everything around it.

The ledger is a table of ministack, Auto Scaling and EC2 are the emulation of `tests/emulation`, GitHub is the fake of
`tests/github`. Without MUSTER_TEST_BINARIES these tests are left out.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from agent import Agent
from given import CONFIG, LABELS, queued
from stack import REGION, ROOT, Emulator, Gate, direct, send, signed, template, wait_for
from whole import APP, BINARIES, SECRET, Program, Surroundings, tells_no_secret

STOPPED_SECONDS = 30
REFUSED_SECONDS = 60
# Some ticks: after a failure one comes every two seconds.
WIPED_SECONDS = 10
# How long each of the other services refuses, once it was noticed: a whole minute is 60.
EACH_SECONDS = int(os.environ.get("MUSTER_TEST_REFUSED_SECONDS", "10"))
# A secret is remembered for 25 s.
NOTICED_SECONDS_MAX = 60
# A tick that fails pauses for 2 s; a failing door logs each request, and nobody asks it anything here.
LINES_A_SECOND_MAX = 4
# What it takes of a processor while a service refuses: a debug build, and deliveries beside.
PROCESSOR_SHARE_MAX = 0.25
ROLE = "arn:aws:iam::123456789012:role/muster-runner"
AUDIENCE = "http://127.0.0.1:9"


@unittest.skipUnless(BINARIES, "MUSTER_TEST_BINARIES does not name a folder with our binaries")
class Serve(unittest.TestCase):
    at_emulation = classmethod(Surroundings.at_emulation.__func__)

    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="muster-serve-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        type(self).emulation = Program(sys.executable, ROOT / "tests" / "emulation" / "serve.py", "--port", "0")
        self.addCleanup(self.emulation.stop)
        key = self.home / "app.pem"
        self.github = Program(pathlib.Path(BINARIES) / "github-fake", "--organization", "octo-org", "--app", APP, "--key", key)
        self.addCleanup(self.github.stop)
        self.emulator = Emulator()
        self.addCleanup(lambda: self.emulator.stop())
        # Each service has an address of its own, so that one of them can refuse.
        self.gates = {service: Gate(self.emulator.url) for service in ("DYNAMODB", "SSM", "STS")}
        for gate in self.gates.values():
            self.addCleanup(gate.shut)
        self.make_table("ledger")
        ec2 = self.at_emulation("ec2")
        self.put_secret(SECRET)
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:3]
        text = CONFIG.format(
            github=self.github.url,
            webhook="ssm:/muster/acme/webhook/one",
            app=APP,
            key=f"file:{key}",
            subnets=json.dumps(subnets),
            security_group=ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
            image=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            labels=json.dumps(LABELS),
        )
        (self.home / "muster.toml").write_text(text)

    def put_secret(self, value):
        put = self.emulator.client("ssm").put_parameter
        put(Name="/muster/acme/webhook/one", Value=value, Type="SecureString", Overwrite=True)

    def make_table(self, name):
        wanted = template()["Resources"]["Ledger"]["Properties"]
        keys = ("AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes", "BillingMode")
        self.emulator.client("dynamodb").create_table(TableName=name, **{key: wanted[key] for key in keys})

    def serve(self, table=None):
        """Starts it over a table, or over a file; gives the process and its address. What it logs is in `self.home`."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            # The identity check has no address of its own.
            "AWS_ENDPOINT_URL": self.gates["STS"].url,
            "AWS_ENDPOINT_URL_DYNAMODB": self.gates["DYNAMODB"].url,
            "AWS_ENDPOINT_URL_SSM": self.gates["SSM"].url,
            "AWS_ENDPOINT_URL_EC2": self.emulation.url,
            "AWS_ENDPOINT_URL_AUTO_SCALING": self.emulation.url,
            "MUSTER_INSTANCE_PROFILE": "arn:aws:iam::123456789012:instance-profile/muster-runner",
            "MUSTER_RUNNER_ROLES": ROLE,
            "MUSTER_DOOR_URL": AUDIENCE,
        }
        ledger = ["--table", table] if table else ["--db", self.home / "muster.sqlite"]
        self.log = self.home / f"{table or 'file'}.log"
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [pathlib.Path(BINARIES) / "muster", "serve", "--cloud", "aws", *ledger,
                 "--config", self.home / "muster.toml", "--listen", "127.0.0.1:0"],
                env=environment, cwd=self.home, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True,
            )
        self.process = process
        self.addCleanup(self.end, process)
        said = process.stdout.readline()
        self.assertTrue(said.startswith("listening on "), (said, self.log.read_text()[-2000:]))
        return process, said.split()[-1]

    def end(self, process):
        tells_no_secret(self.lines(), self.github, self.home / "app.pem")
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()

    def lines(self):
        return self.log.read_text().splitlines()

    def has_logged(self, what, since=0):
        return [line for line in self.lines()[since:] if re.search(what, line)]

    def deliver(self, url, job, secret=SECRET):
        body = json.dumps(queued(job)).encode()
        return send(f"{url}/webhook", body, signed(body, secret))[0]

    def rows(self, kind):
        """The ledger's rows of a kind."""
        rows = self.emulator.client("dynamodb").scan(TableName="ledger")["Items"]
        return [row for row in rows if row["pk"]["S"].split("#")[0] == kind]

    def launches(self):
        return [call for call in self.emulation.get("/_emulation/calls") if call["action"] == "LaunchInstances"]

    def stop(self, process):
        process.send_signal(signal.SIGSTOP)
        self.addCleanup(process.send_signal, signal.SIGCONT)

    def quiet_enough(self, before, seconds):
        logged = len(self.lines()) - before
        self.assertLess(logged, LINES_A_SECOND_MAX * seconds, "a busy loop?")

    def processor_seconds(self):
        """How long the process has been at work, whatever it has logged."""
        times = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")

    def test_it_outlives_what_it_stands_on(self):
        process, url = self.serve("ledger")
        self.assertEqual(self.deliver(url, 41), 202)
        wait_for("a launch", self.launches, 30)

        # Stopped: nobody answers, and nothing is refused either. First EC2 and Auto Scaling alone, for whom facts are taken in.
        before, worked = len(self.lines()), self.processor_seconds()
        self.stop(self.emulation.process)
        self.assertEqual(self.deliver(url, 44), 202)
        wait_for("a word about the launch", lambda: self.has_logged("launch .*no answer", before), 30)
        self.stop(self.emulator.process)
        self.assertEqual(self.deliver(url, 42), 503, "what is not stored is not acknowledged")
        wait_for("a word about the ledger", lambda: self.has_logged("DynamoDB table ledger", before), 30)
        time.sleep(STOPPED_SECONDS)
        self.quiet_enough(before, STOPPED_SECONDS)
        self.assertLess(self.processor_seconds() - worked, PROCESSOR_SHARE_MAX * STOPPED_SECONDS)
        for stopped in (self.emulation, self.emulator):
            stopped.process.send_signal(signal.SIGCONT)
        wait_for("the door to store again", lambda: self.deliver(url, 42) == 202, 60)
        wait_for("a machine for each", lambda: len(Surroundings.members(self)) == 3, 90)

        # Refused: Auto Scaling and EC2 are gone for a minute. Facts are taken in all the same.
        fault = {"kind": "refuse_connection"}
        request = urllib.request.Request(
            self.emulation.url + "/_emulation/faults", data=json.dumps(fault).encode(), headers={"Content-Type": "application/json"}
        )
        direct.open(request, timeout=10).close()
        before = len(self.lines())
        self.assertEqual(self.deliver(url, 43), 202)
        time.sleep(REFUSED_SECONDS)
        self.assertTrue(self.has_logged("launch ", before), self.lines()[before:])
        self.quiet_enough(before, REFUSED_SECONDS)
        request = urllib.request.Request(self.emulation.url + "/_emulation/faults", method="DELETE")
        direct.open(request, timeout=10).close()
        wait_for("the fourth machine", lambda: len(Surroundings.members(self)) == 4, 90)

        # Emptied: another table stands for a ledger that was lost. The former fleet is not taken for nothing.
        self.end(process)
        self.make_table("another")
        self.serve("another")
        told = wait_for("a word about the former fleet", lambda: self.has_logged("this ledger does not know"), 60)
        self.assertIn("4 machines", told[0])
        client = self.emulator.client("dynamodb")
        client.delete_table(TableName="another")
        before = len(self.lines())
        wait_for("a word about the table", lambda: self.has_logged("another", before), 90)
        time.sleep(10)
        self.quiet_enough(before, 10)

    def test_over_a_file_it_is_killed_and_goes_on(self):
        process, url = self.serve()
        self.assertEqual(self.deliver(url, 91), 202)
        wait_for("a machine", lambda: len(Surroundings.members(self)) == 1, 60)
        process.kill()
        process.wait()
        process, url = self.serve()
        self.assertEqual(self.deliver(url, 91), 202, "told again")
        self.assertEqual(self.deliver(url, 92), 202)
        wait_for("a machine for each", lambda: len(Surroundings.members(self)) == 2, 60)
        time.sleep(STOPPED_SECONDS / 10)
        # Killed before it has heard of the first, it asks for the same one again.
        tokens = {call["params"]["ClientToken"] for call in self.launches()}
        self.assertEqual(len(tokens), 2, "the former one was not forgotten")
        self.assertEqual(len(Surroundings.members(self)), 2)
        self.assertEqual(self.has_logged("this ledger does not know"), [])

    def test_dynamodb_ssm_and_sts_refuse_in_turn_and_each_is_told_and_nothing_is_lost(self):
        _, url = self.serve("ledger")
        self.assertEqual(self.deliver(url, 51), 202)
        [instance] = wait_for("a machine", lambda: Surroundings.members(self), 30)
        wait_for("its row", lambda: self.rows("machines"), 30)

        def not_stored():
            self.assertEqual(self.deliver(url, 52), 503, "what is not stored is not acknowledged")
            self.assertEqual(send(f"{url}/healthz", None, {}, "GET")[0], 503)

        self.refuse("DYNAMODB", "DynamoDB table ledger: ", not_stored)
        self.assertEqual(len(self.launches()), 1)
        # GitHub counts it as failed, and somebody sends it again.
        wait_for("the door to store again", lambda: self.deliver(url, 52) == 202, 60)
        wait_for("a second machine", lambda: len(self.rows("machines")) == 2, 60)

        self.refuse("SSM", "ssm:/muster/acme/webhook/one", lambda: self.assertEqual(
            self.deliver(url, 53), 202, "the secret that was good last is"
        ))
        self.put_secret("planted-next-secret")
        wait_for("the next secret", lambda: self.deliver(url, 54, "planted-next-secret") == 202, 60)
        wait_for("a machine for each", lambda: len(self.rows("machines")) == 4, 60)

        agent = self.agent(url, instance)

        def not_believed():
            self.assertEqual(self.deliver(url, 55, "planted-next-secret"), 202, "GitHub needs no STS")
            self.assertEqual(agent.claim()[0], 503, "and no machine is believed without it")

        self.refuse("STS", "STS", not_believed)
        wait_for("a session", lambda: agent.claim()[0] == 200, 60)
        wait_for("a fifth machine", lambda: len(self.rows("machines")) == 5, 60)
        self.assertEqual(len(self.launches()), 5, "one for each job")

    def refuse(self, service, named, meanwhile):
        """A service refuses connections for some time. `meanwhile` is tried at its beginning and at its end."""
        before, worked, began = len(self.lines()), self.processor_seconds(), time.monotonic()
        self.gates[service].shut()
        meanwhile()
        wait_for(f"a word about {service}", lambda: self.has_logged(named, before), NOTICED_SECONDS_MAX)
        time.sleep(EACH_SECONDS)
        meanwhile()
        seconds, worked = time.monotonic() - began, self.processor_seconds() - worked
        print(f"\n{service} refused for {seconds:.0f} s: {len(self.lines()) - before} lines, {worked:.1f} s of a processor")
        self.quiet_enough(before, seconds)
        self.assertLess(worked, PROCESSOR_SHARE_MAX * seconds, "a busy loop that says nothing?")
        self.gates[service].open()

    def agent(self, url, instance):
        given = self.emulator.client("sts").assume_role(RoleArn=ROLE, RoleSessionName=instance)["Credentials"]
        post = lambda path, body, headers: send(url + path, body, headers)
        return Agent(post, instance, given, AUDIENCE, REGION)

    def test_a_table_that_is_wiped_under_it_is_told_and_nobody_is_launched_for_twice(self):
        process, url = self.serve("ledger")
        self.assertEqual(self.deliver(url, 61), 202)
        wait_for("its machine", lambda: self.rows("machines"), 30)
        self.wipe()
        before, began = len(self.lines()), time.monotonic()
        self.assertEqual(self.deliver(url, 62), 202)
        told = wait_for("a word about the table", lambda: self.has_logged("DynamoDB table ledger: ", before), 30)
        self.assertIn("the table was emptied while it was in use; restore it, or start anew", told[0])
        time.sleep(WIPED_SECONDS)
        self.quiet_enough(before, time.monotonic() - began)
        self.assertEqual(send(f"{url}/healthz", None, {}, "GET")[0], 503)
        self.assertEqual((len(self.launches()), self.rows("machines")), (1, []), "it acts no more")

        # Started anew, it does not take the former fleet for nothing, and what it has acknowledged since is served.
        self.end(process)
        before = len(self.lines())
        self.serve("ledger")
        told = wait_for("a word about the former fleet", lambda: self.has_logged("this ledger does not know", before), 60)
        self.assertIn("1 machines of the fleet", told[0])
        wait_for("a machine for the other job", lambda: self.rows("machines"), 60)
        time.sleep(WIPED_SECONDS)
        self.assertEqual(len(self.launches()), 2, "one for each job")
        self.assertEqual((len(self.rows("machines")), len(Surroundings.members(self))), (1, 2), "nobody has ended the former one")

    def test_a_table_that_is_wiped_while_nothing_else_happens_is_told_by_the_next_ticks(self):
        _, url = self.serve("ledger")
        self.assertEqual(self.deliver(url, 71), 202)
        wait_for("its machine", lambda: self.rows("machines"), 30)
        self.wipe()
        # A tick comes at least every minute.
        wait_for("a word about the table", lambda: self.has_logged("the table was emptied while it was in use"), 130)
        self.assertEqual(send(f"{url}/healthz", None, {}, "GET")[0], 503)

    def wipe(self):
        """Deletes all that is in the table."""
        client = self.emulator.client("dynamodb")
        for row in client.scan(TableName="ledger")["Items"]:
            client.delete_item(TableName="ledger", Key={key: row[key] for key in ("pk", "sk")})


if __name__ == "__main__":
    unittest.main()
