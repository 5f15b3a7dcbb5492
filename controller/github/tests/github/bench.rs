//! A fake GitHub, the adapter in front of it, and one clock for both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_core::config::{App, GitHub, Hook, Owner, SecretRef};
use muster_core::ids::RunnerName;
use muster_core::ports::{Github, GithubError, MintRequest, Minted};
use muster_core::time::Timestamp;
use muster_github::{Options, Patience, RestGithub};
use muster_tests::github::{FakeGithub, FakeOwner, FakeSetup};

/// Short, so that a test of waiting is short; and long enough for a machine that compiles beside it.
pub(crate) const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(10),
    clean_up: Duration::from_secs(10),
    look_again: Duration::from_millis(5),
};

pub(crate) struct Bench {
    pub(crate) fake: FakeGithub,
    pub(crate) github: RestGithub,
    ahead_ms: Arc<AtomicU64>,
}

pub(crate) fn organization() -> FakeSetup {
    FakeSetup::new(FakeOwner::Organization("acme".to_owned()))
}

pub(crate) fn section(fake: &FakeGithub, owner: Owner, apps: &[u64]) -> GitHub {
    let app = |id: &u64| App { id: *id, installation_id: None, private_key: SecretRef::File(format!("{id}.pem")) };
    GitHub {
        owner,
        organization_id: None,
        api_url: fake.url().to_owned(),
        hook: Hook::App,
        webhook_secrets: Vec::new(),
        apps: apps.iter().map(app).collect(),
    }
}

pub(crate) fn owner(setup: &FakeSetup) -> Owner {
    match setup.owner.clone() {
        FakeOwner::Organization(login) => Owner::Organization(login),
        FakeOwner::Enterprise(slug) => Owner::Enterprise(slug),
        FakeOwner::Repository(name) => Owner::Repository(name),
    }
}

pub(crate) fn request(name: &str, group: &str) -> MintRequest {
    let labels = ["self-hosted", "linux", "x64"].map(Arc::from);
    MintRequest { name: RunnerName::new(name), labels: Arc::from(labels), runner_group: Arc::from(group) }
}

impl Bench {
    pub(crate) fn new(setup: FakeSetup) -> Bench {
        Bench::patient(setup, PATIENCE)
    }

    pub(crate) fn patient(setup: FakeSetup, patience: Patience) -> Bench {
        Bench::made(setup, patience, |_| {})
    }

    /// With another configuration.
    pub(crate) fn with(setup: FakeSetup, change: impl FnOnce(&mut GitHub)) -> Bench {
        Bench::made(setup, PATIENCE, change)
    }

    fn made(setup: FakeSetup, patience: Patience, change: impl FnOnce(&mut GitHub)) -> Bench {
        let (owner, apps) = (owner(&setup), setup.apps.clone());
        let fake = FakeGithub::start(setup);
        let mut section = section(&fake, owner, &apps);
        change(&mut section);
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let (ahead, system) = (ahead_ms.clone(), Options::default().clock);
        let clock = Arc::new(move || system() + Duration::from_millis(ahead.load(Ordering::Relaxed)));
        let keys: Vec<Vec<u8>> = apps.iter().map(|app| fake.key(*app)).collect();
        let github = RestGithub::new(&section, &keys, Options { patience, clock, ..Options::default() }).unwrap();
        Bench { fake, github, ahead_ms }
    }

    /// Time passes, here and there.
    pub(crate) fn advance(&self, span: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::Relaxed);
        self.fake.world().advance(span);
    }

    pub(crate) fn now(&self) -> Timestamp {
        (Options::default().clock)() + Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }

    pub(crate) async fn mint(&self, name: &str) -> Result<Minted, GithubError> {
        self.quiet(self.github.mint(&request(name, "default")).await)
    }

    /// Whatever came out shows no secret.
    pub(crate) fn quiet<T>(&self, outcome: Result<T, GithubError>) -> Result<T, GithubError> {
        let mut said = format!("{:?}", self.github);
        if let Err(error) = &outcome {
            said += &format!("{error} {error:?}");
        }
        for secret in self.fake.world().secrets() {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(!said.contains("PRIVATE") && !said.contains("eyJ") && !said.contains("planted"), "{said}");
        outcome
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.fake.world().runners().iter().map(|runner| runner.name.clone()).collect()
    }

    /// How many requests of a method whose path contains this came.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let world = self.fake.world();
        world.seen().iter().filter(|seen| seen.method == method && seen.path.contains(path)).count()
    }
}

/// What was rejected, in words.
pub(crate) fn rejected<T>(outcome: Result<T, GithubError>) -> String {
    match outcome {
        Err(GithubError::Rejected(why)) => why,
        Err(other) => panic!("not rejected: {other}"),
        Ok(_) => panic!("it was done"),
    }
}

/// What became unknown, in words.
pub(crate) fn unknown<T>(outcome: Result<T, GithubError>) -> String {
    match outcome {
        Err(GithubError::Unknown(why)) => why,
        Err(other) => panic!("not unknown: {other}"),
        Ok(_) => panic!("it was done"),
    }
}

/// Until when to wait.
pub(crate) fn limited<T>(outcome: Result<T, GithubError>) -> Timestamp {
    match outcome {
        Err(GithubError::Limited { until }) => until,
        Err(other) => panic!("not limited: {other}"),
        Ok(_) => panic!("it was done"),
    }
}
