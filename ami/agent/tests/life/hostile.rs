//! Jobs that mean harm, as the runner's user with an image's tools, beside the real agent.
//!
//! What the script (`hostile.sh`) gets hold of is searched for what the tests have planted. That it would find something if
//! there were something to find is shown twice: without the firewall, and as root.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use muster_agent::identity::{RoleCredentials, prove};
use muster_core::machine::Report;
use muster_core::protocol::{ClaimAnswer, ClaimRequest};
use muster_seal::{KeyPair, SealPurpose};
use serde_json::Value;

use crate::world::github::Job;
use crate::world::imds::{Imds, key_of, secret_of, session_token_of};
use crate::world::{Agent, DONE, Like, UNTIL_GO, World, failed, privileged};

/// What is the job's own, or shows nothing by its exit code: what it got is searched all the same.
const MAY_SUCCEED: [&str; 6] = [
    "everybodys-arguments",
    "everybodys-environment",
    "own-descriptors",
    "folder",
    "firewall-flushed-as-root-of-namespaces",
    "output",
];
/// Tools that an image may lack.
const OPTIONAL: [&str; 5] = ["sudo", "su", "debugger", "trace", "power-off"];

/// A script, and what it was told.
struct Script {
    folder: PathBuf,
}

impl Script {
    /// In this folder, for the agent's job or for root.
    fn write(folder: &Path, agent: &Agent, text: &str, known: &str) -> Script {
        fs::create_dir(folder).expect("a new folder");
        let script = Script { folder: folder.to_owned() };
        let path = |name: &str| folder.join(name).display().to_string();
        let all = format!(
            "AGENT={}\nFOLDER={}\nGROUP={}\nLOOT={}\nTRIED={}\n{known}\n",
            agent.id(),
            agent.folder.path().display(),
            agent.group().display(),
            path("loot"),
            path("tried"),
        );
        fs::write(folder.join("known"), all).expect("a file");
        fs::write(script.path(), text).expect("a file");
        script
    }

    fn of_the_job(agent: &Agent, text: &str, known: &str) -> Script {
        let script = Script::write(&agent.path("runner/job"), agent, text, known);
        let owner = fs::metadata(agent.path("runner")).expect("it is installed");
        let (uid, gid) = (owner.uid(), owner.gid());
        assert_ne!(uid, 0);
        chown(&script.folder, Some(uid), Some(gid)).expect("root");
        script
    }

    fn path(&self) -> PathBuf {
        self.folder.join("hostile.sh")
    }

    fn job(&self) -> Job {
        Job { script: Some(self.path().display().to_string()), ..Job::default() }
    }

    fn says(&self, line: &str) -> bool {
        fs::read_to_string(self.folder.join("tried")).unwrap_or_default().lines().any(|said| said == line)
    }

    /// What was tried, and how it ended.
    fn tried(&self) -> BTreeMap<String, i32> {
        let text = fs::read_to_string(self.folder.join("tried")).expect("the script has begun");
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.filter_map(|(name, code)| Some((name.to_owned(), code.parse().ok()?))).collect()
    }

    fn loot(&self) -> Vec<u8> {
        fs::read(self.folder.join("loot")).expect("the script has begun")
    }
}

fn has(loot: &[u8], secret: &str) -> bool {
    loot.windows(secret.len()).any(|part| part == secret.as_bytes())
}

/// What nobody but root may get hold of.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn of(agent: &Agent) -> Secrets {
        let kept = fs::read(agent.path("state/session.json")).expect("it has a session");
        let kept: Value = serde_json::from_slice(&kept).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Secrets(vec![
            ("the role's secret key", secret_of(&agent.instance)),
            ("the role's session token", session_token_of(&agent.instance)),
            ("the agent's token", text(&kept["session"]["token"])),
            ("the claim's private key", text(&kept["private_key"])),
            ("the claim's nonce", text(&kept["nonce"])),
        ])
    }

    fn in_loot(&self, loot: &[u8]) -> Vec<&'static str> {
        self.0.iter().filter(|(_, secret)| has(loot, secret)).map(|(what, _)| *what).collect()
    }
}

/// Another machine of the fleet, which has claimed and got its configuration.
struct Other {
    instance: String,
    config: String,
    token: String,
}

impl Other {
    async fn claims(world: &World) -> Other {
        let instance = format!("i-{:017x}", std::process::id());
        world.scaler.launch(&instance, true);
        let credentials = RoleCredentials::new(&key_of(&instance), &secret_of(&instance), &session_token_of(&instance));
        let keys = KeyPair::generate();
        let request = ClaimRequest {
            proof: prove(&credentials, "eu-central-1", &world.audience, SystemTime::now()).expect("it can be signed"),
            former: None,
            nonce: "0123456789abcdef0123456789abcdef".to_owned(),
            public_key: keys.public_hex(),
            wait_s: 0,
            agent: None,
        };
        let url = format!("http://{}/runners/claim", world.door.address);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        loop {
            let answer = client.post(&url).json(&request).send().await.expect("the door answers");
            let answer: Option<ClaimAnswer> = answer.json().await.ok();
            if let Some((answer, sealed)) = answer.and_then(|answer| Some((answer.clone(), answer.sealed_config?))) {
                let open = |purpose, text: &str| {
                    let opened = keys.open(purpose, &answer.instance, answer.session, text);
                    String::from_utf8(opened.expect("it is sealed to these keys")).expect("a text")
                };
                let config = open(SealPurpose::RunnerConfig, &sealed);
                return Other { instance, config, token: open(SealPurpose::Session, &answer.sealed_session) };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn known(&self, world: &World, own: &str) -> String {
        format!(
            "OWN={own}\nKEY_OF_OWN={}\nOTHER={}\nKEY_OF_OTHER={}\nDOOR={}",
            key_of(own),
            self.instance,
            key_of(&self.instance),
            world.door.address
        )
    }
}

/// The metadata service's address of version 6 too.
async fn metadata_by_6(agent: &Agent) -> Arc<Imds> {
    let at: SocketAddr = "[fd00:ec2::254]:80".parse().expect("an address");
    let said = agent.imds.said().clone();
    Imds::serve(at, said, crate::world::time::Skewed::default()).await.0
}

const TEXT: &str = include_str!("hostile.sh");

#[test]
fn a_hostile_job_gets_nothing() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        let by_6 = metadata_by_6(&agent).await;
        world.listens(&mut agent).await;
        let other = Other::claims(&world).await;
        let known = other.known(&world, &agent.instance);
        let script = Script::of_the_job(&agent, TEXT, &format!("{known}\nHARM=1"));
        world.github.queue(script.job());
        agent.until("all harm", || script.says("harm done")).await;
        let secrets = Secrets::of(&agent);

        // Lines of the listener that the job wrote do not make its machine an idle one.
        let order = world.scaler.drain(&agent.instance);
        world.hears(&mut agent, &Report::Thawed { order }).await;
        assert!(!world.reports(&agent).contains(&Report::Frozen { order }));
        agent.go();
        world.hears(&mut agent, &DONE).await;
        let group = agent.group();
        agent.ends().await;
        let left = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        assert_eq!(left, "", "something has outlived the job");

        let loot = script.loot();
        assert_eq!(secrets.in_loot(&loot), Vec::<&str>::new());
        assert!(!has(&loot, &other.config) && !has(&loot, &other.token), "what is another machine's");
        let tried = script.tried();
        assert!(tried.len() > 35, "{tried:?}");
        for (name, code) in &tried {
            let missing = *code == 127 && !OPTIONAL.contains(&&**name);
            let got = matches!(code, 0 | 124) && !MAY_SUCCEED.contains(&&**name);
            assert!(!missing && !got, "{name}: exit code {code}\n{}", String::from_utf8_lossy(&loot));
        }
        assert_eq!((agent.imds.said().bare, by_6.said().served), (0, 0), "the metadata service was reached");
        let sessions = [&agent.instance, &other.instance].map(|each| world.scaler.machine(each).session);
        assert_eq!((sessions, world.github.minted()), ([1, 1], 2), "there is a further configuration");
    });
}

#[test]
fn the_same_job_reaches_the_metadata_service_without_the_firewall() {
    privileged(|| async {
        let world = World::new().await;
        let like = Like { settings: "firewall = false".to_owned(), ..Like::default() };
        let mut agent = world.machine_like(like).await;
        let by_6 = metadata_by_6(&agent).await;
        world.listens(&mut agent).await;
        let other = Other::claims(&world).await;
        let script = Script::of_the_job(&agent, TEXT, &other.known(&world, &agent.instance));
        world.github.queue(script.job());
        world.hears(&mut agent, &DONE).await;
        let secrets = Secrets::of(&agent);
        assert_eq!(secrets.in_loot(&script.loot()), ["the role's secret key", "the role's session token"]);
        assert!(by_6.said().served > 0);
        agent.ends().await;
    });
}

#[test]
fn the_same_script_as_root_gets_everything() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        let by_6 = metadata_by_6(&agent).await;
        world.listens(&mut agent).await;
        let other = Other::claims(&world).await;
        world.github.queue(Job { takes: UNTIL_GO, ..Job::default() });
        world.hears(&mut agent, &Report::Busy).await;
        let folder = tempfile::tempdir().unwrap();
        let known = other.known(&world, &agent.instance);
        let script = Script::write(&folder.path().join("job"), &agent, TEXT, &known);
        // Beside the world, which goes on on this thread.
        let mut sh = tokio::process::Command::new("/bin/sh");
        sh.arg(script.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        assert!(sh.status().await.unwrap().success());
        let secrets = Secrets::of(&agent);
        let loot = script.loot();
        assert_eq!(secrets.in_loot(&loot).len(), secrets.0.len(), "{:?}", script.tried());
        let tried = script.tried();
        for name in ["metadata", "memory", "session", "settings", "signal", "report-OWN"] {
            assert_eq!(tried.get(name), Some(&0), "{name}: {tried:?}");
        }
        // Even so, nothing of another machine's, and no second session.
        assert!(!has(&loot, &other.config) && !has(&loot, &other.token));
        for name in ["claim-OWN", "claim-later-OWN", "report-OTHER", "claim-OTHER", "claim-later-OTHER"] {
            assert_ne!(tried.get(name), Some(&0), "{name}: {tried:?}");
        }
        assert!(by_6.said().served > 0);
        agent.go();
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.minted(), 2);
    });
}

#[test]
fn a_job_that_kills_all_it_can_ends_its_machine() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        let script = Script::of_the_job(&agent, "kill -KILL -1\n", "");
        world.github.queue(script.job());
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books().killed, 1);
        assert!(agent.console().contains("the machine ends"), "{}", agent.console());
    });
}

#[test]
fn a_job_that_stops_its_listener_ends_at_its_limit() {
    privileged(|| async {
        let world = World::new().await;
        // Some seven seconds of its pool's six hours.
        let like = Like { jobs_shorter: 3_000.0, ..Like::default() };
        let mut agent = world.machine_like(like).await;
        world.listens(&mut agent).await;
        let text = ". \"$(dirname \"$0\")/known\"\nfor one in $(cat \"$GROUP/cgroup.procs\"); do\n\
                    [ \"$one\" = $$ ] || kill -STOP \"$one\"\ndone\n";
        let script = Script::of_the_job(&agent, text, "");
        world.github.queue(script.job());
        world.hears(&mut agent, &Report::Busy).await;
        agent.ends().await;
        let why = failed(&world, &agent).expect("it has failed");
        assert!(why.contains("max_job_hours"), "{why}");
        assert_eq!(fs::read_to_string(agent.group().join("cgroup.procs")).unwrap_or_default(), "");
    });
}

#[test]
fn a_job_that_forks_without_end_is_stopped_at_its_number() {
    const MAX: usize = 100;
    privileged(|| async {
        let world = World::new().await;
        let like = Like { settings: format!("processes_max = {MAX}"), ..Like::default() };
        let mut agent = world.machine_like(like).await;
        world.listens(&mut agent).await;
        // It would be 300; what cannot be started is not, and the rest stays.
        let text = "(for i in $(seq 300); do sleep 600 & done) 2>/dev/null &\n\
                    while [ ! -e go ]; do :; done\n";
        let script = Script::of_the_job(&agent, text, "");
        world.github.queue(script.job());
        world.hears(&mut agent, &Report::Busy).await;
        let (mut most, group) = (0, agent.group());
        agent
            .until("as many as there may be", || {
                let now = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines().count();
                most = most.max(now);
                most >= MAX - 5
            })
            .await;
        for _ in 0..3 {
            let order = world.scaler.drain(&agent.instance);
            world.hears(&mut agent, &Report::Thawed { order }).await;
            most = most.max(agent.processes().len());
        }
        assert!(most <= MAX, "{most}");
        agent.go();
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default(), "");
    });
}
