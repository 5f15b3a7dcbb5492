"""The unit files, as systemd reads them."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from template import HERE

# What our units name in After=, Requires= and the like. Verifying loads them too: stubs, so that only ours are judged.
STUBS = (
    "local-fs.target shutdown.target sysinit.target basic.target multi-user.target sockets.target network.target "
    "-.slice system.slice systemd-remount-fs.service systemd-tmpfiles-setup.service systemd-sysctl.service "
    "systemd-networkd.service amazon-ssm-agent.service docker.service docker.socket"
).split()


class Units(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.units = self.root / "etc/systemd/system"
        self.units.mkdir(parents=True)
        for name in STUBS:
            service, socket = name.endswith(".service"), name.endswith(".socket")
            text = "[Unit]\nDescription=stub\nDefaultDependencies=no\n"
            text += "[Service]\nExecStart=/bin/true\n" * service + "[Socket]\nListenStream=/run/stub\n" * socket
            (self.units / name).write_text(text)
        for name in (
            "usr/local/bin/muster-agent",
            "usr/local/lib/muster/agent-failed",
            "usr/local/lib/muster/user-data",
            "bin/true",
        ):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("#!/bin/sh\n")
            path.chmod(0o755)

    def verify(self, unit):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={self.root}", unit],
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "SYSTEMD_LOG_LEVEL": "warning"},
        )
        return done.returncode, done.stdout + done.stderr

    def test_the_agents_units(self):
        for name in ("muster-agent.service", "muster-agent-failed.service"):
            shutil.copy(HERE / "files" / name, self.units)
        for name in ("muster-agent.service", "muster-agent-failed.service"):
            self.assertEqual(self.verify(name), (0, ""))

    def test_what_is_dropped_into_others(self):
        for unit, file in (("amazon-ssm-agent.service", "ssm.conf"), ("docker.socket", "docker.conf")):
            folder = self.units / f"{unit}.d"
            folder.mkdir()
            shutil.copy(HERE / "files" / file, folder / "muster.conf")
            self.assertEqual(self.verify(unit), (0, ""), file)

    def test_a_mistake_is_told(self):
        text = (HERE / "files/muster-agent.service").read_text()
        for right, wrong in (
            ("Type=notify", "Type=notified"),
            ("WatchdogSec=60", "WatchDogSeconds=60"),
            ("/usr/local/bin/muster-agent", "/usr/local/bin/muster-agents"),
            ("StartLimitBurst=5", "StartLimitBurst=five"),
        ):
            self.assertIn(right, text)
            (self.units / "muster-agent.service").write_text(text.replace(right, wrong))
            self.assertNotEqual(self.verify("muster-agent.service"), (0, ""), wrong)


if __name__ == "__main__":
    unittest.main()
