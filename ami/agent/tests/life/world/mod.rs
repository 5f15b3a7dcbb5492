//! Everything around an agent, on this machine: metadata service, door, scaler, GitHub and a runner; and the agent itself,
//! the real binary as a process of its own, as root, with a runner of another user in a control group.
//!
//! Each test has a network namespace of its own, so that the metadata service has its real address and the firewall is only
//! the test's. That, the user, the control group and nftables need root: see [`privileged`].

pub(crate) mod door;
pub(crate) mod github;
pub(crate) mod identity;
pub(crate) mod imds;
pub(crate) mod scaler;
pub(crate) mod time;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use muster_core::machine::Report;
use tempfile::TempDir;

use self::door::Served;
use self::github::Github;
use self::imds::{Imds, Said};
use self::scaler::Scaler;
use self::time::Skewed;

/// How much faster the agent's limits are here. Its thaw comes after a third of a second, its kill after 83 ms.
pub(crate) const FASTER: f64 = 60.0;
/// A test that waits longer for one thing has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The runner's user: it exists on every Linux, and is nobody.
pub(crate) const USER: &str = "nobody";
/// Tests that need root, a network namespace, control groups and nftables run where this is set, and fail without these.
/// Otherwise they say loudly that they did nothing: their limits are short, and a machine that builds beside them misses some.
const REQUIRED: &str = "MUSTER_TEST_PRIVILEGED";
const AGENT: &str = env!("CARGO_BIN_EXE_muster-agent");
const RUNNER: &str = env!("CARGO_BIN_EXE_runner-stand-in");

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Runs a test in a network namespace of its own, as root, on one thread, if that is asked for.
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
    muster_agent::host::cgroup2().map_err(|e| e.to_string())?;
    muster_agent::host::account(USER).map_err(|e| e.to_string())?;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| format!("a network namespace: {e}"))?;
    for arguments in [vec!["link", "set", "lo", "up"], vec!["addr", "add", "169.254.169.254/32", "dev", "lo"]] {
        let ip = Command::new("ip").args(&arguments).status();
        if !ip.is_ok_and(|status| status.success()) {
            return Err(format!("`ip {}` (iproute2)", arguments.join(" ")));
        }
    }
    match Command::new("nft").arg("list").arg("ruleset").env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output() {
        Ok(out) if out.status.success() => Ok(()),
        _ => Err("nftables".to_owned()),
    }
}

/// Everything but agents.
pub(crate) struct World {
    pub(crate) github: Arc<Github>,
    pub(crate) door: Served,
    pub(crate) scaler: Arc<Scaler>,
    metadata_time: Skewed,
    audience: String,
}

/// What a machine is like.
#[derive(Clone, Debug)]
pub(crate) struct Like {
    pub(crate) registers: bool,
    pub(crate) target: Option<&'static str>,
    /// Whether the metadata service has its real address; else a port of loopback, and no firewall.
    pub(crate) real_address: bool,
    pub(crate) faster: f64,
    /// More settings.
    pub(crate) settings: String,
    /// Whether the ledger knows it.
    pub(crate) known: bool,
}

impl Default for Like {
    fn default() -> Like {
        Like {
            registers: true,
            target: Some("InService"),
            real_address: true,
            faster: FASTER,
            settings: String::new(),
            known: true,
        }
    }
}

impl World {
    pub(crate) async fn new() -> World {
        World::ahead_by(Duration::ZERO).await
    }

    /// A world whose clocks are ahead of this machine's.
    pub(crate) async fn ahead_by(ahead: Duration) -> World {
        let time = Skewed { ahead };
        let audience = "https://door.acme.example".to_owned();
        let door = door::serve(time, &audience).await;
        let github = Github::serve();
        let scaler = Scaler::begin(door.store.clone(), door.wakers.clone(), github.clone());
        World { github, door, scaler, metadata_time: time, audience }
    }

    /// The metadata service's own clock.
    pub(crate) fn metadata_is_ahead_by(&mut self, ahead: Duration) {
        self.metadata_time = Skewed { ahead };
    }

    pub(crate) async fn machine(&self) -> Agent {
        self.machine_like(Like::default()).await
    }

    pub(crate) async fn machine_like(&self, like: Like) -> Agent {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("i-{:08x}{number:09x}", std::process::id());
        if like.known {
            self.scaler.launch(&instance, like.registers);
        }
        let folder = tempfile::tempdir().expect("a folder");
        install(folder.path());
        let user_data = serde_json::json!({
            "door": format!("http://{}", self.door.address), "audience": self.audience, "fleet": "test", "shape": "a-shape",
        });
        let said = Said {
            user_data: user_data.to_string(),
            instance: instance.clone(),
            target: like.target.map(str::to_owned),
            ..Said::default()
        };
        let at: SocketAddr =
            if like.real_address { "169.254.169.254:80" } else { "127.0.0.1:0" }.parse().expect("an address");
        let (imds, address) = Imds::serve(at, said, self.metadata_time).await;
        let metadata = if like.real_address {
            String::new()
        } else {
            format!("metadata = \"http://{address}\"\nfirewall = false\n")
        };
        let cgroup = format!("muster-test-{}-{number}", std::process::id());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let settings = format!(
            "{metadata}runner_user = \"{USER}\"\ncgroup = \"{cgroup}\"\nrunner_dir = {:?}\nstate_dir = {:?}\n\
             console = {:?}\npower_off = [\"touch\", {:?}]\n{}\n",
            path("runner"),
            path("state"),
            path("console"),
            path("off"),
            like.settings
        );
        fs::write(folder.path().join("agent.toml"), settings).expect("settings");
        fs::write(folder.path().join("console"), "").expect("a console");
        let mut agent = Agent { instance, imds, folder, cgroup, faster: like.faster, child: None };
        agent.boot();
        agent
    }

    pub(crate) fn reports(&self, agent: &Agent) -> Vec<Report> {
        self.scaler.reports(&agent.instance)
    }

    /// Waits for a report.
    pub(crate) async fn hears(&self, agent: &mut Agent, report: &Report) {
        let instance = agent.instance.clone();
        agent.until(&format!("{report:?}"), || self.scaler.reports(&instance).contains(report)).await;
    }

    /// Waits until the runner listens, for the agent and for GitHub; its registration.
    pub(crate) async fn listens(&self, agent: &mut Agent) -> u64 {
        self.hears(agent, &Report::Listening).await;
        self.scaler.registration(&agent.instance).expect("it is registered")
    }

    pub(crate) fn down(&self, down: bool) {
        self.door.faults.down.store(down, Ordering::SeqCst);
    }
}

/// A runner's folder, as an image has it.
fn install(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("permissions");
    let account = muster_agent::host::account(USER).expect("a user");
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).expect("root");
    for name in ["runner", "runner/bin", "runner/_diag"] {
        fs::create_dir(folder.join(name)).expect("a folder");
        own(&folder.join(name));
    }
    for name in ["Runner.Listener", "Runner.Worker"] {
        let path = folder.join("runner/bin").join(name);
        fs::copy(RUNNER, &path).expect("a runner");
        own(&path);
    }
}

/// An agent and its machine.
pub(crate) struct Agent {
    pub(crate) instance: String,
    pub(crate) imds: Arc<Imds>,
    pub(crate) folder: TempDir,
    pub(crate) cgroup: String,
    faster: f64,
    child: Option<Child>,
}

impl Agent {
    /// Starts the agent, as the machine's boot or its service manager does.
    pub(crate) fn boot(&mut self) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.folder.path().join("log")).expect("a log");
        let mut command = Command::new(AGENT);
        command.arg("run").env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("MUSTER_AGENT_SETTINGS", self.folder.path().join("agent.toml"));
        command.env("MUSTER_AGENT_TEST_FASTER", self.faster.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("the agent"));
    }

    /// A crash of the agent, which systemd would answer with a restart.
    pub(crate) fn crash(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn console(&self) -> String {
        fs::read_to_string(self.path("console")).unwrap_or_default()
    }

    /// Whether the machine's end was ordered.
    pub(crate) fn is_off(&self) -> bool {
        self.path("off").exists()
    }

    /// Names of the runner's processes.
    pub(crate) fn processes(&self) -> Vec<String> {
        let group = muster_agent::host::cgroup2().expect("mounted").join(own_group()).join(&self.cgroup);
        let ids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let name = |id: &str| fs::read_to_string(format!("/proc/{id}/comm")).map(|name| name.trim().to_owned());
        ids.lines().filter_map(|id| name(id).ok()).collect()
    }

    pub(crate) fn is_frozen(&self) -> bool {
        let group = muster_agent::host::cgroup2().expect("mounted").join(own_group()).join(&self.cgroup);
        fs::read_to_string(group.join("cgroup.events")).is_ok_and(|events| events.contains("frozen 1"))
    }

    /// Waits until something holds. The agent must live, or have ended the machine.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("it is ours"));
            let bad = ended.is_some_and(|status| !status.success());
            assert!(!bad && Instant::now() < end, "waiting for {what}; {ended:?}; its journal:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for the machine's end.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("it is ours") {
                assert!(status.success() && self.is_off(), "{status}; its journal:\n{}", self.log());
                return status;
            }
            if Instant::now() >= end {
                self.child = Some(child);
                panic!("waiting for the machine's end; its journal:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn own_group() -> String {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned()
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let group = muster_agent::host::cgroup2().map(|mount| mount.join(own_group()).join(&self.cgroup));
        if let Ok(group) = group {
            let _ = fs::write(group.join("cgroup.kill"), "1");
            // The last of them may take a moment.
            for _ in 0..100 {
                if !group.exists() || fs::remove_dir(&group).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
