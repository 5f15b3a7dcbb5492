//! What a pool gives its runners, from `muster.toml` through the door and the agent to a job.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use muster_core::machine::Report;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::github::{Books, Job};
use crate::world::{Agent, DONE, Like, UNTIL_GO, World, failed, privileged};

const AUTHORITY: &str = include_str!("../../../../tests/configs/authority.pem");
/// Six hours, which the pool grants, are six seconds then; what agents grant by themselves is longer than a story waits.
const HURRY: f64 = 3_600.0;

/// An image's folder of scripts, that jobs can read.
struct Scripts(TempDir);

impl Scripts {
    fn new() -> Scripts {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let scripts = Scripts(folder);
        // The runner's folder is where all of them run.
        scripts.add("started", "env > env-of-hook; id -u > hook-ran-as\n");
        scripts.add("completed", "touch completed\n");
        scripts.add("job", "env > env-of-job; cat \"$SSL_CERT_FILE\" > authorities\n");
        scripts
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.sh"))
    }

    fn add(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a script");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o644)).expect("permissions");
    }

    fn job(&self) -> Job {
        Job { script: Some(self.path("job").display().to_string()), ..Job::default() }
    }

    /// The machine's one job, and its variables.
    async fn runs_on(&self, world: &World, agent: &mut Agent) -> BTreeMap<String, String> {
        world.github.queue(self.job());
        world.hears(agent, &DONE).await;
        agent.ends().await;
        variables(agent, "env-of-job")
    }
}

fn variables(agent: &Agent, file: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(agent.path("runner").join(file)).expect("a script has run");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn proxy(port: u16) -> String {
    format!("[pool.runner]\nproxy = \"http://proxy.example:{port}\"\n")
}

#[test]
fn what_a_pool_gives_reaches_its_hooks_and_jobs() {
    privileged(|| async {
        let (world, scripts) = (World::new().await, Scripts::new());
        world.door.configure(&format!(
            "[pool.runner]\nhook_job_started = {:?}\nhook_job_completed = {:?}\nproxy = \"http://proxy.example:3128\"\n\
             no_proxy = [\".acme.example\"]\nextra_ca = '''\n{AUTHORITY}'''\ndocker_data_root = \"/data/docker\"\n\
             environment = {{ GOPROXY = \"https://mirror.example/go\" }}\n",
            scripts.path("started"),
            scripts.path("completed"),
        ));
        let mut agent = world.machine_like(Like { docker: true, ..Like::default() }).await;
        world.listens(&mut agent).await;
        let daemon: Value = serde_json::from_slice(&fs::read(agent.path("docker/daemon.json")).unwrap()).unwrap();
        assert_eq!(daemon["data-root"], json!("/data/docker"));
        assert!(agent.path("docker/reloaded").exists());

        let job = scripts.runs_on(&world, &mut agent).await;
        for seen in [&job, &variables(&agent, "env-of-hook")] {
            assert_eq!(seen["https_proxy"], "http://proxy.example:3128");
            assert!(seen["no_proxy"].ends_with(",.acme.example"), "{}", seen["no_proxy"]);
            assert_eq!(seen["GOPROXY"], "https://mirror.example/go");
        }
        assert!(agent.path("runner/completed").exists());
        let ran_as = fs::read_to_string(agent.path("runner/hook-ran-as")).unwrap();
        assert!(ran_as.trim().parse::<u32>().unwrap() > 0, "a hook is the job's user's");
        let authorities = fs::read_to_string(agent.path("runner/authorities")).unwrap();
        assert!(authorities.ends_with(AUTHORITY) && authorities.len() > AUTHORITY.len());
        assert_eq!(fs::read_to_string(&job["NODE_EXTRA_CA_CERTS"]).unwrap(), AUTHORITY);
        assert_eq!(world.github.books(), Books { queued: 1, acquired: 1, done: 1, ..Books::default() });
    });
}

#[test]
fn a_job_ends_at_its_pools_limit() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { jobs_shorter: HURRY, ..Like::default() }).await;
        world.listens(&mut agent).await;
        world.github.queue(Job { takes: UNTIL_GO, ..Job::default() });
        world.hears(&mut agent, &Report::Busy).await;
        agent.ends().await;
        assert!(failed(&world, &agent).expect("it has failed").contains("max_job_hours"));
        assert_eq!(world.github.books().killed, 1);
    });
}

#[test]
fn a_job_does_not_end_at_its_images_limit() {
    privileged(|| async {
        let world = World::new().await;
        // A third of a second.
        let settings = "max_job_hours = 0.0001".to_owned();
        let mut agent = world.machine_like(Like { settings, ..Like::default() }).await;
        world.listens(&mut agent).await;
        world.github.queue(Job { takes: 2_000, ..Job::default() });
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books().killed, 0);
    });
}

#[test]
fn an_agent_that_is_started_again_knows_its_pools_limit() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { jobs_shorter: HURRY, ..Like::default() }).await;
        world.listens(&mut agent).await;
        world.github.queue(Job { takes: UNTIL_GO, ..Job::default() });
        world.hears(&mut agent, &Report::Busy).await;
        agent.crash();
        agent.boot();
        agent.ends().await;
        assert!(failed(&world, &agent).expect("it has failed").contains("max_job_hours"));
    });
}

#[test]
fn a_machine_without_its_pools_hook_takes_no_job() {
    privileged(|| async {
        let world = World::new().await;
        world.door.configure("[pool.runner]\nhook_job_started = \"/nowhere/started.sh\"\n");
        let mut agent = world.machine().await;
        world.github.queue(Job::default());
        agent.ends().await;
        let why = failed(&world, &agent).expect("it has failed");
        assert!(why.contains("`runner.hook_job_started` of the pool: /nowhere/started.sh"), "{why}");
        assert!(agent.console().contains("put the script into the image"), "{}", agent.console());
        assert_eq!(world.github.books().acquired, 0);
    });
}

#[test]
fn what_held_when_a_runner_was_configured_holds_to_its_end() {
    privileged(|| async {
        let (world, scripts) = (World::new().await, Scripts::new());
        world.door.configure(&proxy(1));
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        world.door.configure(&proxy(2));
        assert_eq!(scripts.runs_on(&world, &mut agent).await["http_proxy"], "http://proxy.example:1");
        drop(agent);
        let mut next = world.machine().await;
        world.listens(&mut next).await;
        assert_eq!(scripts.runs_on(&world, &mut next).await["http_proxy"], "http://proxy.example:2");
    });
}

#[test]
fn a_ready_machine_has_what_holds_when_it_registers() {
    privileged(|| async {
        let (world, scripts) = (World::new().await, Scripts::new());
        world.door.configure(&proxy(1));
        let mut agent = world.machine_like(Like { registers: false, ..Like::default() }).await;
        world.hears(&mut agent, &Report::Claimed).await;
        world.door.configure(&proxy(2));
        world.scaler.register(&agent.instance);
        world.listens(&mut agent).await;
        assert_eq!(scripts.runs_on(&world, &mut agent).await["http_proxy"], "http://proxy.example:2");
    });
}

#[test]
fn with_a_door_that_knows_of_no_options_all_is_as_the_image_has_it() {
    privileged(|| async {
        let (world, scripts) = (World::new().await, Scripts::new());
        world.door.faults.old.store(true, Ordering::SeqCst);
        world.door.configure(&proxy(1));
        let settings = format!(
            "hook_job_started = {:?}\n[environment]\nhttp_proxy = \"http://image.example:1\"",
            scripts.path("started")
        );
        let mut agent = world.machine_like(Like { settings, ..Like::default() }).await;
        world.listens(&mut agent).await;
        assert_eq!(scripts.runs_on(&world, &mut agent).await["http_proxy"], "http://image.example:1");
        assert!(agent.path("runner/env-of-hook").exists() && !agent.path("pool").exists());

        drop(agent);
        // And its own limit for jobs.
        let settings = "max_job_hours = 0.0005".to_owned();
        let mut other = world.machine_like(Like { settings, ..Like::default() }).await;
        world.listens(&mut other).await;
        world.github.queue(Job { takes: UNTIL_GO, ..Job::default() });
        other.ends().await;
        assert!(failed(&world, &other).expect("it has failed").contains("max_job_hours"));
    });
}
