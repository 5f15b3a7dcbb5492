//! What the fake GitHub knows: Apps, installations, tokens, runner groups, runners, and what each installation may still
//! ask. What it remembers of jobs and webhooks lives in `records.rs`.
//!
//! Invariant: two runners of the owner never have one name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use serde_json::Value;

use super::fault::Fault;
use super::identity::AppKey;
use super::records::Records;
use super::releases::Releases;
use super::settings::{FakeGroup, Settings};

/// GitHub's secondary limits.
const POINTS_A_MINUTE: u32 = 900;
const AT_ONCE_MAX: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// An installation token's life.
const TOKEN_LIFE: Duration = HOUR;

/// Whose runners there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FakeOwner {
    /// An organization's login.
    Organization(String),
    /// An enterprise's slug.
    Enterprise(String),
    /// A repository, `owner/name`.
    Repository(String),
}

/// How a fake starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeSetup {
    /// Whose runners there are.
    pub owner: FakeOwner,
    /// The Apps, each installed on the owner.
    pub apps: Vec<u64>,
    /// What paths begin with: empty, or `/api/v3` as in GitHub Enterprise Server.
    pub base_path: String,
    /// Names of runner groups besides `Default`.
    pub groups: Vec<String>,
    /// Letters of an installation token. GitHub's grow over the years.
    pub token_letters: usize,
    /// Requests an hour for each installation.
    pub requests_an_hour: u64,
}

impl FakeSetup {
    /// One App on one owner, as github.com has it.
    pub fn new(owner: FakeOwner) -> FakeSetup {
        FakeSetup {
            owner,
            apps: vec![12345],
            base_path: String::new(),
            groups: vec!["Linux builders".to_owned()],
            token_letters: 40,
            requests_an_hour: 5_000,
        }
    }
}

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeRunner {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its group's number.
    pub group: i64,
    /// Where it works.
    pub work_folder: String,
    /// Whether a listener has it.
    pub online: bool,
    /// Whether it has a job.
    pub busy: bool,
    /// The release of its listener, once one has connected.
    pub version: Option<String>,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path, with the query.
    pub path: String,
    /// The App in whose name; none without a good token.
    pub app: Option<u64>,
    /// What was answered; none if nothing was.
    pub status: Option<u16>,
    /// Its `User-Agent`.
    pub user_agent: String,
    /// Its `X-GitHub-Api-Version`.
    pub version: String,
}

/// An App on the owner.
#[derive(Clone)]
pub(super) struct Installed {
    pub(super) key: AppKey,
    pub(super) installation: u64,
    pub(super) refused: bool,
    /// Permissions that it was not given.
    pub(super) withheld: BTreeSet<String>,
    pub(super) settings: Settings,
    pub(super) used: u64,
    pub(super) reset: Duration,
    points: VecDeque<(Duration, u32)>,
    at_once: u32,
}

/// An installation token.
pub(super) struct Token {
    pub(super) app: u64,
    pub(super) until: Duration,
    /// What it was asked for. Nothing: all that the App has.
    pub(super) permissions: Value,
}

/// The whole state. Tests change it under the lock of the fake.
pub struct World {
    pub(super) setup: FakeSetup,
    pub(super) apps: BTreeMap<u64, Installed>,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) asked: Vec<Value>,
    pub(super) groups: Vec<FakeGroup>,
    pub(super) runners: Vec<FakeRunner>,
    pub(super) records: Records,
    pub(super) releases: Releases,
    pub(super) faults: Vec<Fault>,
    pub(super) seen: Vec<Seen>,
    pub(super) wrong: Vec<String>,
    pub(super) secrets: Vec<String>,
    pub(super) limits_hit: u32,
    next: i64,
    ahead: Duration,
}

impl World {
    pub(super) fn new(setup: FakeSetup) -> World {
        let mut apps = BTreeMap::new();
        for (installation, app) in (701..).zip(&setup.apps) {
            let reset = since_epoch() + HOUR;
            let installed = Installed {
                key: AppKey::fresh(),
                installation,
                refused: false,
                withheld: BTreeSet::new(),
                settings: Settings::default(),
                used: 0,
                reset,
                points: VecDeque::new(),
                at_once: 0,
            };
            apps.insert(*app, installed);
        }
        let mut groups = vec![FakeGroup::new(1, "Default")];
        for (name, id) in setup.groups.iter().zip(2..) {
            groups.push(FakeGroup::new(id, name));
        }
        let own = match &setup.owner {
            FakeOwner::Repository(name) => Some(name.clone()),
            FakeOwner::Organization(_) | FakeOwner::Enterprise(_) => None,
        };
        let mut world = World {
            setup,
            apps,
            tokens: BTreeMap::new(),
            asked: Vec::new(),
            groups,
            runners: Vec::new(),
            records: Records::default(),
            releases: Releases::default(),
            faults: Vec::new(),
            seen: Vec::new(),
            wrong: Vec::new(),
            secrets: Vec::new(),
            limits_hit: 0,
            next: 20,
            ahead: Duration::ZERO,
        };
        if let Some(name) = own {
            world.add_repository(&name, true);
        }
        world
    }

    /// GitHub's clock, since the epoch.
    pub fn now(&self) -> Duration {
        since_epoch() + self.ahead
    }

    pub(super) fn system_clock() -> Duration {
        since_epoch()
    }

    /// Moves GitHub's clock.
    pub fn advance(&mut self, span: Duration) {
        self.ahead += span;
    }

    /// Ends all tokens at once, before their time.
    pub fn revoke_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Takes an App's permission to deal with runners, or gives it back.
    pub fn refuse(&mut self, app: u64, refused: bool) {
        if let Some(installed) = self.apps.get_mut(&app) {
            installed.refused = refused;
        }
    }

    /// Takes a permission out of what an App was given, so that no token has it, or puts it back.
    pub fn withhold(&mut self, app: u64, permission: &str, withheld: bool) {
        if let Some(installed) = self.apps.get_mut(&app) {
            if withheld {
                installed.withheld.insert(permission.to_owned());
            } else {
                installed.withheld.remove(permission);
            }
        }
    }

    /// What tokens were asked for, oldest first: the bodies of the requests.
    pub fn asked_tokens(&self) -> &[Value] {
        &self.asked
    }

    /// Gives an App another private key; the former one counts no more, nor do its tokens.
    pub fn rotate_key(&mut self, app: u64) {
        if let Some(installed) = self.apps.get_mut(&app) {
            installed.key = AppKey::fresh();
            self.tokens.retain(|_, token| token.app != app);
        }
    }

    /// Removes a runner group.
    pub fn remove_group(&mut self, name: &str) {
        self.groups.retain(|group| group.name != name);
    }

    /// Makes a runner group.
    pub fn add_group(&mut self, name: &str) -> i64 {
        let id = self.number();
        self.groups.push(FakeGroup::new(id, name));
        id
    }

    /// The registrations.
    pub fn runners(&self) -> &[FakeRunner] {
        &self.runners
    }

    /// One registration, to change.
    pub fn runner(&mut self, name: &str) -> Option<&mut FakeRunner> {
        self.runners.iter_mut().find(|runner| runner.name == name)
    }

    /// A number that nothing has yet.
    pub fn number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    /// Registers a runner. `None`: there is one of that name.
    pub fn register(&mut self, name: &str, labels: Vec<String>, group: i64, work_folder: &str) -> Option<FakeRunner> {
        if self.runners.iter().any(|runner| runner.name == name) {
            return None;
        }
        let (id, name, work_folder) = (self.number(), name.to_owned(), work_folder.to_owned());
        let runner = FakeRunner { id, name, labels, group, work_folder, online: false, busy: false, version: None };
        self.runners.push(runner.clone());
        Some(runner)
    }

    pub(super) fn fresh_token(&mut self, app: u64, permissions: Value) -> (String, Duration) {
        let letters: Vec<u8> = (0..self.setup.token_letters)
            .map(|_| b"0123456789abcdefghijklmnopqrstuv"[SysRng.try_next_u32().unwrap_or(0) as usize % 32])
            .collect();
        let token = format!("ghs_{}", String::from_utf8_lossy(&letters));
        let until = self.now() + TOKEN_LIFE;
        self.tokens.insert(token.clone(), Token { app, until, permissions });
        self.secrets.push(token.clone());
        (token, until)
    }

    /// Counts a request of an installation. The error is the limit that it is over.
    pub(super) fn count(&mut self, app: u64, method: &str) -> Result<(), &'static str> {
        let (now, most) = (self.now(), self.setup.requests_an_hour);
        let Some(installed) = self.apps.get_mut(&app) else { return Ok(()) };
        if now >= installed.reset {
            (installed.used, installed.reset) = (0, now + HOUR);
        }
        while installed.points.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= MINUTE) {
            installed.points.pop_front();
        }
        let points = if method == "GET" { 1 } else { 5 };
        let spent: u32 = installed.points.iter().map(|(_, points)| points).sum();
        let over = if installed.used >= most {
            Some("API rate limit exceeded for the installation.")
        } else if spent + points > POINTS_A_MINUTE || installed.at_once >= AT_ONCE_MAX {
            Some("You have exceeded a secondary rate limit.")
        } else {
            None
        };
        installed.at_once += 1;
        if let Some(over) = over {
            self.limits_hit += 1;
            return Err(over);
        }
        installed.used += 1;
        installed.points.push_back((now, points));
        Ok(())
    }

    /// Takes back what the primary limit was charged: the answer was known.
    pub(super) fn uncount(&mut self, app: u64) {
        if let Some(installed) = self.apps.get_mut(&app) {
            installed.used = installed.used.saturating_sub(1);
        }
    }

    pub(super) fn ended(&mut self, app: u64) {
        if let Some(installed) = self.apps.get_mut(&app) {
            installed.at_once -= 1;
        }
    }

    /// What GitHub says about the primary limit in its headers.
    pub(super) fn rate(&self, app: u64) -> Vec<(&'static str, String)> {
        let most = self.setup.requests_an_hour;
        let Some(installed) = self.apps.get(&app) else { return Vec::new() };
        vec![
            ("x-ratelimit-limit", most.to_string()),
            ("x-ratelimit-remaining", most.saturating_sub(installed.used).to_string()),
            ("x-ratelimit-used", installed.used.to_string()),
            ("x-ratelimit-reset", installed.reset.as_secs().to_string()),
            ("x-ratelimit-resource", "core".to_owned()),
        ]
    }

    /// Every token and configuration that was ever given out.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// The requests that came, oldest first.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// How often a limit was exceeded, which a good client never does.
    pub fn limits_hit(&self) -> u32 {
        self.limits_hit
    }

    /// Takes what was wrong with requests and answers so far, so that the fake no longer complains.
    pub fn take_wrong(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wrong)
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
