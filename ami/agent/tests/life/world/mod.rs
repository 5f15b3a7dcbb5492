//! Everything around an agent, on this machine: metadata service, door, scaler, GitHub and a runner; and the agent itself,
//! the real binary as a process of its own, as root, with a runner of another user in a control group.
//!
//! Each test has namespaces of its own: see [`privileged`].

pub(crate) mod door;
pub(crate) mod github;
pub(crate) mod identity;
pub(crate) mod imds;
mod privilege;
pub(crate) mod scaler;
pub(crate) mod shelf;
pub(crate) mod time;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use muster_agent::settings::{FASTER_VARIABLE, JOBS_SHORTER_VARIABLE, SHORTER_VARIABLE};
use muster_core::machine::Report;
use tempfile::TempDir;

use self::door::Served;
use self::github::Github;
use self::imds::{Imds, Said};
use self::privilege::USER;
pub(crate) use self::privilege::privileged;
use self::scaler::Scaler;
use self::time::Skewed;

/// How much faster the agent waits here: it ends a frozen runner after 83 ms. How long others may take stays as it is.
pub(crate) const FASTER: f64 = 60.0;
pub(crate) const DONE: Report = Report::Done { ran_job: true };
/// What a job waits for that ends when the story says so.
pub(crate) const UNTIL_GO: u64 = 600_000;
/// A test that waits longer for one thing has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const AGENT: &str = env!("CARGO_BIN_EXE_muster-agent");
/// Another agent to be tested, such as a release.
const OTHER_AGENT: &str = "MUSTER_TEST_AGENT";
const RUNNER: &str = env!("CARGO_BIN_EXE_runner-stand-in");

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Everything but agents.
pub(crate) struct World {
    pub(crate) github: Arc<Github>,
    pub(crate) door: Served,
    pub(crate) scaler: Arc<Scaler>,
    metadata_time: Skewed,
    pub(crate) audience: String,
}

/// What a machine is like.
#[derive(Clone, Debug)]
pub(crate) struct Like {
    pub(crate) registers: bool,
    pub(crate) target: Option<&'static str>,
    /// Whether the metadata service has its real address; else a port of loopback, and no firewall.
    pub(crate) real_address: bool,
    pub(crate) faster: f64,
    /// How much less patience it has with the door.
    pub(crate) shorter: f64,
    /// How much shorter a job's hours are.
    pub(crate) jobs_shorter: f64,
    /// Whether it has Docker.
    pub(crate) docker: bool,
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
            shorter: 1.0,
            jobs_shorter: 1.0,
            docker: false,
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
            // A claim before that is told to come again, after seconds that nothing makes shorter.
            while !self.scaler.has_written(&instance).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        install(folder.path());
        if like.docker {
            fs::create_dir(folder.path().join("docker")).expect("a folder");
        }
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
             console = {:?}\npower_off = [\"touch\", {:?}]\npool_dir = {:?}\ndocker_config = {:?}\n\
             docker_reload = [\"touch\", {:?}]\n{}\n",
            path("runner"),
            path("state"),
            path("console"),
            path("off"),
            path("pool"),
            path("docker/daemon.json"),
            path("docker/reloaded"),
            like.settings
        );
        fs::write(folder.path().join("agent.toml"), settings).expect("settings");
        fs::set_permissions(folder.path().join("agent.toml"), fs::Permissions::from_mode(0o600)).expect("permissions");
        fs::write(folder.path().join("console"), "").expect("a console");
        let mut agent = Agent {
            instance,
            imds,
            folder,
            cgroup,
            faster: like.faster,
            shorter: like.shorter,
            jobs_shorter: like.jobs_shorter,
            booted_at: Instant::now(),
            child: None,
        };
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

    /// Orders drains until one succeeds: a listener that reads something at that moment refuses. The orders.
    pub(crate) async fn drains(&self, agent: &mut Agent) -> Vec<u32> {
        let mut orders = Vec::new();
        while !self.reports(agent).contains(&Report::Drained) {
            let order = self.scaler.drain(&agent.instance);
            orders.push(order);
            let instance = agent.instance.clone();
            let ends = [Report::Thawed { order }, Report::Drained];
            agent
                .until("the drain's end", || self.scaler.reports(&instance).iter().any(|one| ends.contains(one)))
                .await;
        }
        orders
    }

    /// Orders drains until the runner is frozen; the order.
    pub(crate) async fn freezes(&self, agent: &mut Agent) -> u32 {
        loop {
            let order = self.scaler.drain(&agent.instance);
            let ends = [Report::Thawed { order }, Report::Frozen { order }];
            let instance = agent.instance.clone();
            agent.until("a freeze", || self.scaler.reports(&instance).iter().any(|one| ends.contains(one))).await;
            if self.reports(agent).contains(&Report::Frozen { order }) {
                return order;
            }
        }
    }

    pub(crate) fn down(&self, down: bool) {
        self.door.faults.down.store(down, Ordering::SeqCst);
    }
}

/// Why the agent has given up, as the ledger knows it.
pub(crate) fn failed(world: &World, agent: &Agent) -> Option<String> {
    world.scaler.machine(&agent.instance).failed.map(|(_, why)| why.to_string())
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
    shorter: f64,
    jobs_shorter: f64,
    /// When the agent was started the last time.
    pub(crate) booted_at: Instant,
    child: Option<Child>,
}

impl Agent {
    /// Starts the agent, as the machine's boot or its service manager does.
    pub(crate) fn boot(&mut self) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.folder.path().join("log")).expect("a log");
        let mut command = Command::new(std::env::var_os(OTHER_AGENT).unwrap_or_else(|| AGENT.into()));
        command.arg("run").env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("MUSTER_AGENT_SETTINGS", self.folder.path().join("agent.toml"));
        command.env(FASTER_VARIABLE, self.faster.to_string()).env(SHORTER_VARIABLE, self.shorter.to_string());
        command.env(JOBS_SHORTER_VARIABLE, self.jobs_shorter.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.booted_at = Instant::now();
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

    /// Ends all gaps of the runner's job, and the job.
    pub(crate) fn go(&self) {
        fs::write(self.path("runner/go"), "").expect("a file");
    }

    /// The runner's control group.
    pub(crate) fn group(&self) -> PathBuf {
        muster_agent::host::cgroup2().expect("mounted").join(own_group()).join(&self.cgroup)
    }

    /// The agent's process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The most memory that the agent has had resident (`VmHWM`), in kB.
    pub(crate) fn resident_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Names of the runner's processes.
    pub(crate) fn processes(&self) -> Vec<String> {
        let ids = fs::read_to_string(self.group().join("cgroup.procs")).unwrap_or_default();
        let name = |id: &str| fs::read_to_string(format!("/proc/{id}/comm")).map(|name| name.trim().to_owned());
        ids.lines().filter_map(|id| name(id).ok()).collect()
    }

    pub(crate) fn is_frozen(&self) -> bool {
        fs::read_to_string(self.group().join("cgroup.events")).is_ok_and(|events| events.contains("frozen 1"))
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
        self.imds.stop();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let group = self.group();
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
