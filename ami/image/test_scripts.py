"""The scripts, run: against a GitHub and a metadata service on loopback, and in a scratch root instead of a machine."""

import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import unittest

from loopback import serving
from template import HERE

OS_RELEASE = {"ubuntu": 'ID=ubuntu\nVERSION_ID="24.04"\n', "amazon": 'ID="amzn"\nVERSION_ID="2023"\n'}
NEW, OLD = "2.336.0", "2.335.1"
BEGUN = time.time()


def runner_archive(*without):
    """An archive of GitHub's form. Its listener is a script."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in ("run.sh", "bin/Runner.Listener", "bin/Runner.Worker"):
            if name not in without:
                entry = tarfile.TarInfo(f"./{name}")
                entry.mode, content = 0o755, b"#!/bin/sh\n"
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(data.getvalue(), mtime=0)


def days_ago(days):
    """A minute more: a day that has just begun does not end within a test."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGUN - days * 86400 - 60))


class Scratch(unittest.TestCase):
    """A folder in place of /, with what a system has of its own, and a copy of the scripts as a machine gets them."""

    system = "ubuntu"

    def setUp(self):
        if os.geteuid() != 0:
            # Users are made, if only in a scratch root.
            self.fail("these tests are root's, as in CI: sudo -E")
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = self.folder / "root"
        for name, content in {
            "os-release": OS_RELEASE[self.system],
            "passwd": "root:x:0:0:root:/root:/bin/bash\n",
            "group": "root:x:0:\n",
            "shadow": "root:*:1::::::\n",
            "gshadow": "root:*::\n",
            "login.defs": "UID_MIN 1000\nGID_MIN 1000\nUID_MAX 60000\nGID_MAX 60000\n",
            "dnf/dnf.conf": "[main]\n",
            "machine-id": "0123\n",
            "netplan/50-cloud-init.yaml": "network: {}\n",
            "ssh/ssh_host_rsa_key": "secret\n",
        }.items():
            self.put(f"etc/{name}", content)
        for unit in ("systemd-networkd", "systemd-resolved"):
            self.put(f"usr/lib/systemd/system/{unit}.service", "[Unit]\n[Install]\nWantedBy=multi-user.target\n")
        (self.root / "home").mkdir()
        self.image = self.folder / "image"
        for name in ("scripts", "files"):
            shutil.copytree(HERE / name, self.image / name)

    def put(self, path, content, mode=0o644):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)

    def read(self, path):
        return (self.root / path).read_text()

    def run_script(self, script, works=True, **environment):
        done = subprocess.run(
            ["bash", self.image / "scripts" / script],
            env={"PATH": os.environ["PATH"], "MUSTER_ROOT": str(self.root), "MUSTER_MACHINE": "x86_64"} | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.returncode == 0, works, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def tree(self):
        """Every file with its mode and content, every link with its target."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file():
                found[name] = (oct(path.stat().st_mode), path.read_bytes())
        return found


class Runner(Scratch):
    def setUp(self):
        super().setUp()
        self.archive = runner_archive()
        self.digest = hashlib.sha256(self.archive).hexdigest()

    def install(self, works=True, of_api=None, of_notes=None, published=1, served=None, pinned=None, **environment):
        """With GitHub's newest release NEW; `served` is what is behind its address."""
        name = f"actions-runner-linux-x64-{NEW}.tar.gz"
        of_api = f"sha256:{self.digest}" if of_api is None else of_api
        of_notes = self.digest if of_notes is None else of_notes
        answers = {}
        with serving(answers) as (address, self.asked):
            release = {
                "tag_name": f"v{NEW}",
                "published_at": days_ago(published),
                "body": f"<!-- BEGIN SHA linux-x64 -->{of_notes}<!-- END SHA linux-x64 -->" if of_notes else "",
                "assets": [{"name": name, "digest": of_api or None, "browser_download_url": f"{address}/archive"}],
            }
            content = self.archive if served is None else served
            answers["GET /repos/actions/runner/releases/latest"] = (200, {}, json.dumps(release).encode())
            answers["GET /archive"] = (200, {}, content)
            for version in (NEW, OLD):
                answers[f"GET /mirror/v{version}/actions-runner-linux-x64-{version}.tar.gz"] = (200, {}, content)
            if pinned:
                environment |= {"RUNNER_VERSION": pinned, "RUNNER_MIRROR": f"{address}/mirror"}
            return self.run_script("runner.sh", works, GITHUB_API=address, **environment)

    def assertNothing(self):
        self.assertFalse((self.root / "opt/actions-runner").exists())
        self.assertFalse((self.root / "etc/muster/runner.json").exists())

    def test_the_newest_with_its_digest(self):
        self.install()
        self.assertTrue((self.root / "opt/actions-runner/bin/Runner.Listener").exists())
        said = json.loads(self.read("etc/muster/runner.json"))
        self.assertEqual((said["version"], said["sha256"]), (NEW, self.digest))
        self.assertRegex(said["published_at"], r"^\d{4}-")

    def test_again_is_the_same(self):
        self.install()
        before = self.tree()
        self.install()
        self.assertEqual(before, self.tree())

    def test_a_wrong_archive_is_refused(self):
        told = self.install(works=False, served=runner_archive("run.sh"))
        self.assertIn(self.digest, told)
        self.assertNothing()

    def test_an_archive_that_was_cut_off_is_refused(self):
        self.install(works=False, served=self.archive[:-20])
        self.assertNothing()

    def test_one_of_two_digests_is_enough(self):
        self.install(of_notes="")
        self.install(of_api="")

    def test_two_digests_must_agree(self):
        self.assertIn("2 digests", self.install(works=False, of_notes="1" * 64))
        self.assertNothing()

    def test_no_digest_is_no_runner(self):
        self.assertIn("0 digests", self.install(works=False, of_api="", of_notes=""))
        self.assertNothing()

    def test_an_archive_without_a_worker_is_refused(self):
        self.archive = runner_archive("bin/Runner.Worker")
        self.digest = hashlib.sha256(self.archive).hexdigest()
        self.assertIn("Runner.Worker", self.install(works=False))
        self.assertNothing()

    def test_a_given_version_with_its_digest(self):
        self.install(pinned=OLD, RUNNER_SHA256=self.digest)
        said = json.loads(self.read("etc/muster/runner.json"))
        self.assertEqual((said["version"], said["published_at"]), (OLD, None))

    def test_a_given_version_with_a_wrong_digest(self):
        self.install(works=False, pinned=OLD, RUNNER_SHA256="1" * 64)
        self.assertNothing()

    def test_a_given_version_without_a_digest(self):
        self.install(works=False, pinned=OLD)
        self.assertEqual(self.asked, [])

    def test_a_given_version_that_github_sends_no_jobs_to(self):
        told = self.install(works=False, pinned=OLD, RUNNER_SHA256=self.digest, published=30)
        self.assertIn("sends no jobs", told)
        self.assertNothing()
        self.install(pinned=OLD, RUNNER_SHA256=self.digest, published=29)

    def test_a_given_version_that_is_the_newest_may_be_old(self):
        self.install(pinned=NEW, RUNNER_SHA256=self.digest, published=90)

    def test_a_version_that_is_none(self):
        self.assertIn("RUNNER_VERSION", self.install(works=False, pinned="latest", RUNNER_SHA256=self.digest))

    def test_no_other_machine(self):
        self.install(works=False, MUSTER_MACHINE="riscv64")


class Base(Scratch):
    MASKED = ("unattended-upgrades.service", "apt-daily.timer", "serial-getty@ttyS0.service", "systemd-tmpfiles-clean.timer")

    def masked(self, unit):
        path = self.root / "etc/systemd/system" / unit
        return path.is_symlink() and os.readlink(path) == "/dev/null"

    def test_nobody_gets_in_and_nothing_upgrades(self):
        self.run_script("base.sh")
        for unit in (*self.MASKED, "ssh.service", "ssh.socket", "sshd.service"):
            self.assertTrue(self.masked(unit), unit)
        self.assertIn("ExecCondition", self.read("etc/systemd/system/amazon-ssm-agent.service.d/muster.conf"))
        self.assertIn("scripts_user", self.read("etc/cloud/cloud.cfg.d/99-muster.cfg"))
        self.assertTrue(os.access(self.root / "usr/local/lib/muster/user-data", os.X_OK))

    def test_a_daemon_with_a_second_name(self):
        unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\n"
        self.put("usr/lib/systemd/system/ssh.service", unit)
        subprocess.run(["systemctl", f"--root={self.root}", "--quiet", "enable", "ssh.service"], check=True)
        self.run_script("base.sh")
        self.assertTrue(self.masked("ssh.service") and self.masked("sshd.service"))

    def test_the_runner_is_a_user_like_any_other(self):
        self.run_script("base.sh")
        (line,) = [line for line in self.read("etc/passwd").splitlines() if line.startswith("runner:")]
        self.assertGreaterEqual(int(line.split(":")[2]), 1000)
        self.assertIn("runner:!", self.read("etc/shadow"))
        for group in self.read("etc/group").splitlines():
            self.assertNotIn("runner", group.split(":")[3])
        self.assertTrue((self.root / "home/runner").is_dir())

    def test_again_is_the_same(self):
        self.run_script("base.sh")
        before = self.tree()
        self.run_script("base.sh")
        self.assertEqual(before, self.tree())

    def test_ways_in_that_are_wanted(self):
        self.run_script("base.sh", SSH="on", SSM="on")
        self.assertFalse(self.masked("ssh.service"))
        self.assertFalse((self.root / "etc/systemd/system/amazon-ssm-agent.service.d/muster.conf").exists())
        self.assertIn("users_groups", self.read("etc/cloud/cloud.cfg.d/99-muster-ssh.cfg"))

    def test_packages_through_a_proxy(self):
        self.run_script("base.sh", PROXY="http://proxy.example:3128")
        self.assertIn("http://proxy.example:3128", self.read("etc/apt/apt.conf.d/90muster-proxy"))

    def test_authorities(self):
        (self.image / "ca").mkdir()
        (self.image / "ca/acme.crt").write_text("-----BEGIN CERTIFICATE-----\n")
        self.run_script("base.sh")
        self.assertTrue((self.root / "usr/local/share/ca-certificates/muster-acme.crt").exists())

    def test_what_is_neither_on_nor_off(self):
        self.assertIn("SSH", self.run_script("base.sh", works=False, SSH="perhaps"))

    def test_a_system_without_a_recipe(self):
        self.put("etc/os-release", "ID=debian\n")
        self.assertIn("debian", self.run_script("base.sh", works=False))


class BaseOfAmazon(Scratch):
    system = "amazon"

    def test_its_own_network_and_places(self):
        (self.image / "ca").mkdir()
        (self.image / "ca/acme.crt").write_text("-----BEGIN CERTIFICATE-----\n")
        for _ in range(2):
            self.run_script("base.sh", PROXY="http://proxy.example:3128")
        self.assertFalse((self.root / "etc/systemd/network").exists())
        self.assertEqual(self.read("etc/dnf/dnf.conf").count("proxy=http://proxy.example:3128"), 1)
        self.assertTrue((self.root / "etc/pki/ca-trust/source/anchors/muster-acme.crt").exists())


class Tools(Scratch):
    def setUp(self):
        super().setUp()
        for unit in ("docker.service", "docker.socket"):
            self.put(f"usr/lib/systemd/system/{unit}", "[Unit]\n[Install]\nWantedBy=sockets.target\n")
        self.run_script("base.sh")

    def test_no_docker_by_default(self):
        self.run_script("tools.sh")
        self.assertFalse((self.root / "etc/docker").exists())
        self.assertFalse((self.root / "etc/systemd/system/docker.socket.d").exists())

    def test_docker_by_its_socket_with_its_own_root(self):
        self.run_script(
            "tools.sh",
            DOCKER="on",
            DOCKER_DATA_ROOT="/data/docker",
            DOCKER_MIRROR="https://m.example",
            PROXY="http://p.example:1",
        )
        daemon = json.loads(self.read("etc/docker/daemon.json"))
        self.assertEqual((daemon["data-root"], daemon["registry-mirrors"]), ("/data/docker", ["https://m.example"]))
        self.assertEqual(daemon["proxies"]["https-proxy"], "http://p.example:1")
        self.assertIn("SocketGroup=runner", self.read("etc/systemd/system/docker.socket.d/muster.conf"))
        wants = self.root / "etc/systemd/system/sockets.target.wants"
        self.assertEqual([path.name for path in wants.iterdir()], ["docker.socket"])


class Agent(Scratch):
    def setUp(self):
        super().setUp()
        (self.image / "agent").mkdir()
        (self.image / "agent/muster-agent-x64").write_text("#!/bin/sh\n")
        self.run_script("base.sh")

    def settings(self):
        return tomllib.loads(self.read("etc/muster/agent.toml"))

    def test_it_starts_at_boot(self):
        self.run_script("agent.sh")
        self.assertTrue(os.access(self.root / "usr/local/bin/muster-agent", os.X_OK))
        self.assertTrue((self.root / "etc/systemd/system/sysinit.target.wants/muster-agent.service").is_symlink())
        self.assertEqual(self.settings(), {})
        self.assertEqual((self.root / "etc/muster/agent.toml").stat().st_mode & 0o777, 0o600)

    def test_a_proxy(self):
        self.run_script("agent.sh", PROXY="http://proxy.example:3128", NO_PROXY_FOR="door.example,10.0.0.0/8")
        settings = self.settings()
        self.assertEqual(settings["proxy"], "http://proxy.example:3128")
        self.assertEqual(settings["environment"]["https_proxy"], "http://proxy.example:3128")
        self.assertEqual(settings["environment"]["NO_PROXY"].split(","), settings["no_proxy"])
        for name in ("169.254.169.254", "fd00:ec2::254", "127.0.0.1", "door.example", "10.0.0.0/8"):
            self.assertIn(name, settings["no_proxy"])

    def test_authorities(self):
        (self.image / "ca").mkdir()
        for name in "ab":
            (self.image / f"ca/{name}.crt").write_text(f"-----BEGIN CERTIFICATE-----\n{name}\n")
        self.run_script("agent.sh")
        self.assertEqual(self.settings()["extra_ca"], "/etc/muster/ca.pem")
        self.assertEqual(self.read("etc/muster/ca.pem").count("BEGIN"), 2)

    def test_images_for_standby(self):
        self.run_script("agent.sh", WARM_IMAGES="ghcr.io/acme/build:1,alpine:3")
        self.assertEqual(self.settings(), {"warm_images": ["ghcr.io/acme/build:1", "alpine:3"]})

    def test_an_archive_for_another_architecture(self):
        self.assertIn("arm64", self.run_script("agent.sh", works=False, MUSTER_MACHINE="aarch64"))

    def test_hooks(self):
        self.assertIn("MUSTER_IMAGE_HOOKS", self.run_script("agent.sh", works=False, HOOKS="on"))
        (self.image / "hooks").mkdir()
        for name in ("job-started", "job-completed"):
            (self.image / f"hooks/{name}.sh").write_text("#!/bin/sh\n")
        self.run_script("agent.sh", HOOKS="on")
        for name in ("started", "completed"):
            path = self.settings()[f"hook_job_{name}"]
            self.assertTrue(os.access(self.root / path.lstrip("/"), os.X_OK))

    def test_hooks_for_pools_to_name(self):
        (self.image / "hooks").mkdir()
        (self.image / "hooks/license.sh").write_text("#!/bin/sh\n")
        self.run_script("agent.sh")
        self.assertEqual(self.settings(), {})
        self.assertTrue(os.access(self.root / "usr/local/lib/muster/hooks/license.sh", os.X_OK))

    def test_sealing_leaves_nothing_of_this_machine(self):
        self.run_script("agent.sh")
        self.put("root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n")
        self.run_script("seal.sh")
        self.assertEqual(self.read("etc/machine-id"), "")
        for gone in ("etc/ssh/ssh_host_rsa_key", "etc/netplan/50-cloud-init.yaml", "root/.ssh/authorized_keys"):
            self.assertFalse((self.root / gone).exists(), gone)
        self.assertFalse(self.image.exists())


# Claims as its argument says, at what its settings name as metadata service.
FAKE_AGENT = """#!/usr/bin/env python3
import json, os, sys, tomllib, urllib.error, urllib.request
base = tomllib.load(open(os.environ["MUSTER_AGENT_SETTINGS"], "rb"))["metadata"]
def ask(method, path, body=None, **headers):
    request = urllib.request.Request(base + path, body, headers, method=method)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read().decode()
token = ask("PUT", "/latest/api/token", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
def read(path):
    return ask("GET", "/latest/" + path, **{"X-aws-ec2-metadata-token": token})
role = json.loads(read("meta-data/iam/security-credentials/" + read("meta-data/iam/security-credentials/")))
proof = {"kind": "sts", "key_id": role["AccessKeyId"], "date": "20261122T100000Z"}
proof |= {"session_token": role["Token"], "signature": "0" * 64}
claim = {"proof": proof, "nonce": "0" * 32, "public_key": "0" * 64}
CHANGE
try:
    ask("POST", "/runners/claim", json.dumps(claim).encode())
except urllib.error.HTTPError as answer:
    assert answer.code == 410 and json.load(answer)["over"] == "not_needed"
"""


class Claim(Scratch):
    def claim(self, works, change):
        self.put("usr/local/bin/muster-agent", FAKE_AGENT.replace("CHANGE", change), 0o755)
        return self.run_script("claim.sh", works)

    def test_a_claim_as_it_should_be(self):
        self.assertIn("as docs/protocol.md describes it", self.claim(True, ""))

    def test_a_claim_that_lacks_something(self):
        self.assertIn("proof.signature", self.claim(False, 'proof["signature"] = "x"'))
        self.assertIn("proof.session_token", self.claim(False, 'proof["session_token"] = "of another"'))
        self.assertIn("public_key", self.claim(False, 'del claim["public_key"]'))
        self.assertIn("secret", self.claim(False, 'proof["secret"] = role["SecretAccessKey"]'))
        self.assertIn("JSON", self.claim(False, "claim = []"))

    def test_the_agent_itself(self):
        agent = os.environ.get("MUSTER_TEST_AGENT") or self.skipTest("MUSTER_TEST_AGENT names no agent")
        self.run_script("claim.sh", MUSTER_AGENT=agent)

    def test_the_agent_for_arm64(self):
        """In an emulation of the processor, with the C library of this system for it."""
        agent = os.environ.get("MUSTER_TEST_AGENT_ARM64") or self.skipTest("MUSTER_TEST_AGENT_ARM64 names no agent")
        self.put("emulated", f'#!/bin/sh\nexec qemu-aarch64 -L /usr/aarch64-linux-gnu {agent} "$@"\n', 0o755)
        self.run_script("claim.sh", MUSTER_AGENT=str(self.root / "emulated"))


class UserData(unittest.TestCase):
    TOKEN = {"PUT /latest/api/token": (200, {}, b"token")}

    def whose(self, answers):
        """Whether a unit of Muster's starts, and whether one that is not for Muster's machines does."""
        with serving(answers) as (address, self.asked):
            environment = {"PATH": os.environ["PATH"], "MUSTER_METADATA": address, "MUSTER_METADATA_TRIES": "2"}
            return tuple(
                subprocess.run([HERE / "files/user-data", of], env=environment, timeout=60).returncode == 0
                for of in ("muster", "other")
            )

    def test_json_with_a_door_is_musters(self):
        data = b'{"door":"https://door.acme.example","audience":"https://door.acme.example","fleet":"acme","shape":"s"}'
        self.assertEqual(self.whose(self.TOKEN | {"GET /latest/user-data": (200, {}, data)}), (True, False))
        for line, headers, _ in self.asked:
            self.assertTrue(line.startswith("PUT") or "X-aws-ec2-metadata-token" in headers, line)

    def test_a_script_is_not(self):
        data = b"#!/bin/bash\necho '{\"door\":1}' >/dev/null\n"
        self.assertEqual(self.whose(self.TOKEN | {"GET /latest/user-data": (200, {}, data)}), (False, True))

    def test_compressed_data_is_not(self):
        self.assertEqual(self.whose(self.TOKEN | {"GET /latest/user-data": (200, {}, gzip.compress(b"{}"))}), (False, True))

    def test_none_is_not(self):
        self.assertEqual(self.whose(self.TOKEN), (False, True))

    def test_what_nobody_can_say_is_left_to_the_agent(self):
        self.assertEqual(self.whose({}), (True, False))
        self.assertEqual(self.whose(self.TOKEN | {"GET /latest/user-data": (500, {}, b"")}), (True, False))


# Leaves a program, for the target that it is called for, where cargo would.
CARGO = """
import os, pathlib, sys
target, _, glibc = sys.argv[sys.argv.index("--target") + 1].partition(".")
assert glibc == "2.17" and sys.argv[1] == "zigbuild", sys.argv
machine = {"x86_64-unknown-linux-gnu": 62, "aarch64-unknown-linux-gnu": 183}[target]
program = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / target / "agent/muster-agent"
program.parent.mkdir(parents=True, exist_ok=True)
program.write_bytes(b"\\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + NEEDS.encode() + bytes(MORE))
"""


class Build(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def elf(self, machine=62, needs=b"GLIBC_2.28"):
        path = self.folder / f"agent-{machine}"
        path.write_bytes(b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(40) + needs)
        return str(path)

    def build(self, name="files", works=True, **environment):
        done = subprocess.run(
            [HERE / "build", self.folder / name],
            env={"PATH": os.environ["PATH"]} | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode == 0, works, done.stderr)
        return done.stdout if works else done.stderr

    def test_the_same_content_is_the_same_prefix(self):
        one = self.build("one", MUSTER_AGENT_X64=self.elf())
        self.assertRegex(one, r"^ImagePrefix=muster-image/[0-9a-f]{16} ArchiveSha256=[0-9a-f]{64}\n$")
        self.assertEqual(one, self.build("two", MUSTER_AGENT_X64=self.elf()))
        self.assertEqual((self.folder / "one/image.yaml").read_bytes(), (HERE / "image.yaml").read_bytes())
        archive = (self.folder / "one/image.tar.gz").read_bytes()
        self.assertIn(hashlib.sha256(archive).hexdigest(), one)
        self.assertNotEqual(one, self.build("three", MUSTER_AGENT_X64=self.elf(needs=b"GLIBC_2.27")))

    def test_an_agent_that_would_not_start(self):
        self.assertIn("2.35", self.build(works=False, MUSTER_AGENT_X64=self.elf(needs=b"GLIBC_2.35")))
        self.assertIn("no Linux program", self.build(works=False, MUSTER_AGENT_ARM64=self.elf()))

    def tools(self, needs="GLIBC_2.17", more=0):
        """An environment where cargo leaves such a program for any target, and rustup adds any."""
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        cargo = f"#!{sys.executable}\nNEEDS, MORE = {needs!r}, {more}\n{CARGO}"
        for name, content in (("cargo", cargo), ("cargo-zigbuild", "#!/bin/sh\n"), ("rustup", "#!/bin/sh\n")):
            (tools / name).write_text(content)
            (tools / name).chmod(0o755)
        return {"PATH": f"{tools}:{os.environ['PATH']}", "CARGO_TARGET_DIR": str(self.folder / "target")}

    def test_agents_are_built_if_none_is_given(self):
        for archs, built in (({}, {"x64", "arm64"}), ({"MUSTER_IMAGE_ARCHS": "arm64"}, {"arm64"})):
            self.build(**self.tools(), **archs)
            with tarfile.open(self.folder / "files/image.tar.gz") as archive:
                agents = {name.removeprefix("agent/muster-agent-") for name in archive.getnames() if name.startswith("agent/muster-agent-")}
                self.assertEqual(agents, built)

    def test_an_agent_that_is_built_for_too_few_systems_or_too_large(self):
        self.assertIn("later than 2.17", self.build(works=False, **self.tools(needs="GLIBC_2.18")))
        self.assertIn("not less than 6.0 MB", self.build(works=False, **self.tools(more=6_000_000)))
        self.assertFalse((self.folder / "files").exists())

    def test_a_missing_tool_is_told_with_its_remedy(self):
        told = self.build(works=False, PATH="/usr/bin:/bin")
        self.assertIn("pip install ziglang cargo-zigbuild", told)

    def test_what_is_given_besides(self):
        more = self.folder / "more"
        more.mkdir()
        for name in ("job-started.sh", "license.sh"):
            (more / name).write_text("#!/bin/sh\n")
        (more / "acme.crt").write_text("-----BEGIN CERTIFICATE-----\n")
        self.build(MUSTER_AGENT_ARM64=self.elf(183), MUSTER_IMAGE_CA=str(more), MUSTER_IMAGE_HOOKS=str(more))
        with tarfile.open(self.folder / "files/image.tar.gz") as archive:
            names = set(archive.getnames())
            for name in ("ca/acme.crt", "hooks/job-started.sh", "hooks/license.sh", "agent/muster-agent-arm64", "scripts/lib.sh"):
                self.assertIn(name, names)
            self.assertTrue(archive.getmember("hooks/job-started.sh").mode & 0o100)

    def test_a_folder_without_hooks(self):
        (self.folder / "none").mkdir()
        said = self.build(works=False, MUSTER_AGENT_X64=self.elf(), MUSTER_IMAGE_HOOKS=str(self.folder / "none"))
        self.assertIn("has no *.sh", said)

    def test_a_private_key_is_not_packed(self):
        more = self.folder / "more"
        more.mkdir()
        (more / "acme.crt").write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n")
        self.assertIn("private key", self.build(works=False, MUSTER_AGENT_X64=self.elf(), MUSTER_IMAGE_CA=str(more)))

    def test_another_folder_is_not_emptied(self):
        (self.folder / "files").mkdir()
        (self.folder / "files/dear").write_text("")
        self.assertIn("not empty", self.build(works=False, MUSTER_AGENT_X64=self.elf()))


if __name__ == "__main__":
    unittest.main()
