"""A boot: what the scripts make, started by a real systemd in a container, beside a metadata service.

The container's root is a scratch root, in which base.sh and agent.sh were run, with the /usr of this machine. So what is
shown is what systemd makes of our units: whether they start on whose machines, how the agent is watched, restarted and
stopped. Ubuntu, its network, cloud-init and packages are not here. The agent is a script that writes down what it finds,
and the real one if MUSTER_TEST_AGENT names it.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from template import HERE
from test_scripts import Scratch

ADDRESS = "169.254.169.254"
SECONDS_MAX = 90
USER_DATA = {
    "muster": json.dumps({"door": f"http://{ADDRESS}", "audience": "a", "fleet": "acme", "shape": "s"}),
    "other": "#!/bin/bash\n",
}
# Dies the first time, with something that it has started still alive, in a control group below its own as the agent
# makes it, and ends the machine the second time.
AGENT = """#!/bin/sh
told() { echo "$*" >>/var/told; }
pen="$(findmnt -n -t cgroup2 -o TARGET)$(sed -n s/^0:://p /proc/self/cgroup)/muster-runner"
if [ ! -e /run/muster/kept ]; then
    told "first as $(id -un), $1, $(stat -c %a /run/muster), watched every $WATCHDOG_USEC us"
    sleep 600 &
    echo $! >/run/muster/kept
    mkdir "$pen" && echo $! >"$pen/cgroup.procs" && told "made $(basename "$pen") below $(basename "$(dirname "$pen")")"
    systemd-notify --ready
    kill -9 $$
fi
[ "$(cat /run/muster/kept)" = "$(cat "$pen/cgroup.procs")" ] && told "second, and what was started is alive there"
systemd-notify --ready
systemctl poweroff
"""
# Cannot stay up, and leaves a job behind, which is frozen as in a drain.
FAILING_AGENT = """#!/bin/sh
pen="$(findmnt -n -t cgroup2 -o TARGET)$(sed -n s/^0:://p /proc/self/cgroup)/muster-runner"
echo started >>/var/told
if [ ! -e "$pen" ]; then
    mkdir "$pen"
    sh -c 'sleep 10; echo the job has ended >>/var/told' &
    echo $! >"$pen/cgroup.procs"
    echo 1 >"$pen/cgroup.freeze"
fi
kill -9 $$
"""
# Whoever's machine it is: when everything has started or was skipped.
SURVEY = """#!/bin/sh
sleep 3
for unit in muster-agent.service amazon-ssm-agent.service ssh.service; do
    echo "$unit $(systemctl is-active $unit)" >>/var/told
done
systemctl --failed --plain --no-legend | sed 's/^/failed: /' >>/var/told
systemctl poweroff
"""


def inside(root, whose):
    """In namespaces of its own: the metadata service, and the container."""
    import http.server
    import threading

    sys.path.insert(0, str(HERE / "scripts"))
    import stand_in

    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"],
        ["mkdir", "-p", "/run/systemd"],
        ["mount", "-t", "tmpfs", "tmpfs", "/run/systemd"],
    ):
        subprocess.run(command, check=True)

    class Metadata(stand_in.StandIn):
        def do_GET(self):
            if self.path == "/latest/user-data":
                return self.answer(200, USER_DATA[whose])
            super().do_GET()

    server = http.server.ThreadingHTTPServer((ADDRESS, 80), Metadata)
    server.address, server.daemon_threads, server.seen = f"http://{ADDRESS}", True, None
    # It goes on after a claim, and is the door too.
    server.shutdown = lambda: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    subprocess.run(
        ["systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--console=pipe", "--register=no", "--keep-unit"]
        + ["--bind-ro=/usr", f"--bind={root.parent}/local:/usr/local", "--link-journal=no"],
        # Control groups of version 2 alone, as the images have them, whatever this machine has.
        env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"),
        stdin=subprocess.DEVNULL,
        timeout=SECONDS_MAX,
        check=True,
    )
    print(f"wrong in the claim: {server.seen}")


class Boot(Scratch):
    def boot(self, whose, unit=None, agent=None, script=AGENT):
        """What the machine has told when it has switched itself off, or what was said beside it."""
        if not shutil.which("systemd-nspawn"):
            self.fail("systemd-nspawn is missing: apt-get install systemd-container")
        self.run_script("base.sh")
        (self.image / "agent").mkdir()
        if agent:
            shutil.copy(agent, self.image / "agent/muster-agent-x64")
            # It sets up TLS whether it is used or not.
            shutil.copytree("/etc/ssl/certs", self.root / "etc/ssl/certs", symlinks=True)
        else:
            (self.image / "agent/muster-agent-x64").write_text(script)
        self.run_script("agent.sh")
        self.put("etc/systemd/system/amazon-ssm-agent.service", "[Service]\nExecStart=/bin/sleep infinity\n")
        self.put("etc/systemd/system/ssh.service.d/not-ours.conf", "")
        self.put("etc/systemd/system/survey.service", "[Service]\nType=oneshot\nExecStart=/usr/local/bin/survey\n")
        self.put("usr/local/bin/survey", SURVEY, 0o755)
        wants = self.root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        for name in ("amazon-ssm-agent.service", *([unit] if unit else [])):
            (wants / name).symlink_to(f"/etc/systemd/system/{name}")
        # Out of the root, where the /usr of this machine would hide it.
        (self.root / "usr/local").rename(self.folder / "local")
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        (self.root / "var").mkdir(exist_ok=True)
        self.put("etc/machine-id", "")
        done = subprocess.run(
            # Whatever becomes of this, nothing of it outlives it.
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, __file__]
            + [self.root, whose],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX + 30,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        told = self.root / "var/told"
        return (told.read_text() if told.exists() else done.stdout).splitlines()

    def test_on_a_machine_of_musters_the_agent_is_started_watched_and_restarted(self):
        self.assertEqual(
            self.boot("muster"),
            [
                "first as root, run, 700, watched every 60000000 us",
                "made muster-runner below muster-agent.service",
                "second, and what was started is alive there",
            ],
        )

    def test_an_agent_that_cannot_stay_up_ends_the_machine_after_its_job(self):
        self.assertEqual(self.boot("muster", script=FAILING_AGENT), ["started"] * 5 + ["the job has ended"])

    def test_the_agent_itself_claims_and_switches_the_machine_off(self):
        agent = os.environ.get("MUSTER_TEST_AGENT") or self.skipTest("MUSTER_TEST_AGENT names no agent")
        self.assertEqual(self.boot("muster", agent=agent), ["wrong in the claim: []"])

    def test_on_another_machine_only_systems_manager_starts(self):
        told = self.boot("other", "survey.service")
        self.assertEqual(
            told, ["muster-agent.service inactive", "amazon-ssm-agent.service active", "ssh.service inactive"]
        )


if __name__ == "__main__":
    inside(pathlib.Path(sys.argv[1]), sys.argv[2])
