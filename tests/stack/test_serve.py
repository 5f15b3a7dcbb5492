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
import urllib.error
import urllib.request

from stack import REGION, ROOT, Emulator, direct, template, wait_for
from whole import APP, BINARIES, SECRET, Program, Surroundings
from given import CONFIG, LABELS, queued

STOPPED_SECONDS = 30
REFUSED_SECONDS = 60
# A tick that fails pauses for 2 s; a failing door logs each request, and nobody asks it anything here.
LINES_A_SECOND_MAX = 4


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
        self.make_table("ledger")
        ec2 = self.at_emulation("ec2")
        (self.home / "webhook.secret").write_text(SECRET)
        subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:3]
        text = CONFIG.format(
            github=self.github.url,
            webhook="file:webhook.secret",
            app=APP,
            key=f"file:{key}",
            subnets=json.dumps(subnets),
            security_group=ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
            image=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            labels=json.dumps(LABELS),
        )
        (self.home / "muster.toml").write_text(text)

    def make_table(self, name):
        wanted = template()["Resources"]["Ledger"]["Properties"]
        keys = ("AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes", "BillingMode")
        self.emulator.client("dynamodb").create_table(TableName=name, **{key: wanted[key] for key in keys})

    def serve(self, table):
        """Starts it; gives the process and its address. What it logs is in `self.home`."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.emulator.url,
            "AWS_ENDPOINT_URL_EC2": self.emulation.url,
            "AWS_ENDPOINT_URL_AUTO_SCALING": self.emulation.url,
            "MUSTER_INSTANCE_PROFILE": "arn:aws:iam::123456789012:instance-profile/muster-runner",
            "MUSTER_RUNNER_ROLES": "arn:aws:iam::123456789012:role/muster-runner",
            "MUSTER_DOOR_URL": "http://127.0.0.1:9",
        }
        self.log = self.home / f"{table}.log"
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                [pathlib.Path(BINARIES) / "muster", "serve", "--cloud", "aws", "--table", table,
                 "--config", self.home / "muster.toml", "--listen", "127.0.0.1:0"],
                env=environment, cwd=self.home, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True,
            )
        self.addCleanup(self.end, process)
        said = process.stdout.readline()
        self.assertTrue(said.startswith("listening on "), (said, self.log.read_text()[-2000:]))
        return process, said.split()[-1]

    def end(self, process):
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

    def deliver(self, url, job):
        import hashlib
        import hmac

        body = json.dumps(queued(job)).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-GitHub-Event": "workflow_job", "X-Hub-Signature-256": f"sha256={signature}",
                   "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/webhook", data=body, headers=headers)
        try:
            with direct.open(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def launches(self):
        return [call for call in self.emulation.get("/_emulation/calls") if call["action"] == "LaunchInstances"]

    def quiet_enough(self, before, seconds):
        logged = len(self.lines()) - before
        self.assertLess(logged, LINES_A_SECOND_MAX * seconds, "a busy loop?")

    def test_it_outlives_what_it_stands_on(self):
        process, url = self.serve("ledger")
        self.assertEqual(self.deliver(url, 41), 202)
        wait_for("a launch", self.launches, 30)

        # Stopped: nobody answers, and nothing is refused either.
        before = len(self.lines())
        self.emulator.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.emulator.process.send_signal, signal.SIGCONT)
        self.assertEqual(self.deliver(url, 42), 503, "what is not stored is not acknowledged")
        time.sleep(STOPPED_SECONDS)
        self.quiet_enough(before, STOPPED_SECONDS)
        self.emulator.process.send_signal(signal.SIGCONT)
        wait_for("the door to store again", lambda: self.deliver(url, 42) == 202, 60)
        wait_for("a second launch", lambda: len(self.launches()) >= 2, 60)

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
        wait_for("the third machine", lambda: len(Surroundings.members(self)) >= 3, 90)

        # Emptied: another table stands for a ledger that was lost. The former fleet is not taken for nothing.
        self.end(process)
        self.make_table("another")
        self.serve("another")
        told = wait_for("a word about the former fleet", lambda: self.has_logged("this ledger does not know"), 60)
        self.assertIn("3 machines", told[0])
        client = self.emulator.client("dynamodb")
        client.delete_table(TableName="another")
        before = len(self.lines())
        wait_for("a word about the table", lambda: self.has_logged("another", before), 90)
        time.sleep(10)
        self.quiet_enough(before, 10)


if __name__ == "__main__":
    unittest.main()
