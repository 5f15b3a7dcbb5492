//! What the tests with real processes need of this machine, and how each gets it for itself.
//!
//! A test has a network namespace of its own, in which the metadata service has its real addresses and the firewall is only
//! the test's, and a mount namespace of its own, in which the runner has a user that this machine does not know.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, unshare};

/// The runner's user. Its number is another one in each test, since limits are counted for a number.
pub(crate) const USER: &str = "muster-story";
/// Tests that need root, namespaces, control groups and nftables run where this is set, and fail without these. Otherwise
/// they say loudly that they did nothing.
const REQUIRED: &str = "MUSTER_TEST_PRIVILEGED";
const TESTS_MAX: u32 = 100;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Runs a test in namespaces of its own, as root, on one thread, if that is asked for.
pub(crate) fn privileged<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    if std::env::var_os(REQUIRED).is_none() {
        eprintln!("!!! SKIPPED: this test needs root, and to be asked for by {REQUIRED}=1; nothing was tested");
        return;
    }
    if let Err(lacks) = enter() {
        panic!("{REQUIRED} is set, and this machine lacks {lacks}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test());
}

fn enter() -> Result<(), String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Err("root".to_owned());
    }
    has_groups()?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(|e| format!("namespaces: {e}"))?;
    run("ip", &["link", "set", "lo", "up"], "iproute2")?;
    run("ip", &["address", "add", "169.254.169.254/32", "dev", "lo"], "iproute2")?;
    run("ip", &["address", "add", "fd00:ec2::254/128", "dev", "lo", "nodad"], "iproute2, or IPv6")?;
    run("nft", &["add", "table", "inet", "muster_story"], "nftables")?;
    run("nft", &["delete", "table", "inet", "muster_story"], "nftables")?;
    run("mount", &["--make-rprivate", "/"], "a mount namespace")?;
    let uid = adds_user().map_err(|e| format!("a user of the test's own: {e}"))?;
    let account = muster_agent::host::account(USER).map_err(|e| e.to_string())?;
    if account.uid == uid { Ok(()) } else { Err(format!("a user with the number {uid}")) }
}

/// Version 2, with what freezes and what kills.
fn has_groups() -> Result<(), String> {
    let mount = muster_agent::host::cgroup2().map_err(|e| e.to_string())?;
    let group = mount.join(super::own_group()).join(format!("muster-test-{:?}", std::thread::current().id()));
    fs::create_dir(&group).map_err(|e| format!("a cgroup2 in which groups can be made: {e}"))?;
    let good = ["cgroup.freeze", "cgroup.kill"].iter().all(|file| group.join(file).exists());
    let _ = fs::remove_dir(&group);
    if good { Ok(()) } else { Err("a cgroup2 that freezes and kills (Linux 5.14)".to_owned()) }
}

fn run(program: &str, arguments: &[&str], what: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").stdin(Stdio::null());
    match command.output() {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr);
            Err(format!("`{program} {}` ({what}): {}", arguments.join(" "), said.trim()))
        }
        Err(e) => Err(format!("{program} ({what}): {e}")),
    }
}

/// Only this test's view of `/etc/passwd` has it. Its number.
fn adds_user() -> std::io::Result<u32> {
    let uid = 1_000_000 + std::process::id() * TESTS_MAX + NEXT.fetch_add(1, Ordering::Relaxed) % TESTS_MAX;
    let mut all = fs::read_to_string("/etc/passwd")?;
    all.push_str(&format!("{USER}:x:{uid}:{uid}::/nonexistent:/bin/sh\n"));
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(all.as_bytes())?;
    fs::set_permissions(file.path(), fs::metadata("/etc/passwd")?.permissions())?;
    let path = file.path().display().to_string();
    run("mount", &["--bind", &path, "/etc/passwd"], "a mount namespace").map_err(std::io::Error::other)?;
    Ok(uid)
}
