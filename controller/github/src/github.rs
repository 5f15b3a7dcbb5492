//! The port: GitHub's REST interface behind one or more Apps.
//!
//! What lives here: setting it up, and which App asks. What is asked lives in `runners.rs` and `groups.rs`, and for reading
//! what GitHub remembers in `deliveries.rs`, `jobs.rs` and `registrations.rs`.
//!
//! Invariant: a request that may have taken effect in one App's name is not sent in another's.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use muster_core::config::{GitHub, Hook, Owner};
use muster_core::ids::{JobId, RunId, RunnerId};
use muster_core::job::{JobAbout, JobEvent};
use muster_core::machine::Removal;
use muster_core::ports::{FailedDelivery, Github, GithubError, Listed, MintRequest, Minted, Records, Reruns};
use muster_core::release::{Release, Retirement};
use muster_core::rerun::{JobNow, RunNow};
use muster_core::time::Timestamp;
use serde_json::Value;

use crate::answer::Answer;
use crate::app::{App, Trouble};
use crate::budget::{Purpose, RateLeft};
use crate::deliveries::Logs;
use crate::groups::Groups;
use crate::jobs::Lists;
use crate::key::SetupError;
use crate::registrations::Pages;
use crate::transport::{Ask, Patience, Transport};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the surroundings bring.
#[derive(Clone)]
pub struct Options {
    /// Deadlines.
    pub patience: Patience,
    /// Certificates, in PEM, that are trusted besides the system's: for a GitHub Enterprise Server or a proxy with a
    /// private authority. (`SSL_CERT_FILE` in the environment names a file instead of the system's.)
    pub further_ca: Option<Vec<u8>>,
    /// The time, for budgets and tokens. A JWT is always made by the system's clock.
    pub clock: Clock,
    /// Requests that are sent at most, those for tokens included. `None`: as many as GitHub allows.
    pub requests_max: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        };
        Options { patience: Patience::default(), further_ca: None, clock: Arc::new(clock), requests_max: None }
    }
}

/// An App's installation on the fleet's owner: whose deliveries count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The App.
    pub app: u64,
    /// Its installation.
    pub installation: u64,
    /// The account that it is installed on: an organization's, a user's or an enterprise's number.
    pub account: Option<u64>,
}

/// GitHub's REST interface for the runners of one owner.
///
/// A future of [`Github::mint`] must be polled to its end: dropped on the way, a registration may stay behind that nobody
/// removes before GitHub does, a day later.
pub struct RestGithub {
    pub(crate) owner: Arc<Owner>,
    pub(crate) hook: Hook,
    pub(crate) apps: Vec<App>,
    pub(crate) groups: Groups,
    pub(crate) logs: Logs,
    pub(crate) lists: Lists,
    pub(crate) pages: Pages,
    pub(crate) patience: Patience,
    pub(crate) clock: Clock,
}

impl fmt::Debug for RestGithub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestGithub").field("owner", &self.owner).field("rates", &self.rates()).finish_non_exhaustive()
    }
}

impl RestGithub {
    /// GitHub for a configured fleet. `keys` are the Apps' private keys in PEM, read from where the configuration says, in
    /// the order of its Apps. Nothing is asked yet. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`]: something is wrong that only a person can mend.
    pub fn new(section: &GitHub, keys: &[Vec<u8>], options: Options) -> Result<RestGithub, SetupError> {
        if section.apps.is_empty() {
            return Err(SetupError::NoApp);
        }
        if keys.len() != section.apps.len() {
            return Err(SetupError::Keys { keys: keys.len(), apps: section.apps.len() });
        }
        let Options { patience, further_ca, clock, requests_max } = options;
        let (owner, hook) = (Arc::new(section.owner.clone()), section.hook);
        let transport = Transport::new(&section.api_url, further_ca.as_deref(), patience, clock.clone())?;
        let transport = Arc::new(transport.within(requests_max));
        let make =
            |(app, key): (_, &Vec<u8>)| App::new(app, key, (owner.clone(), hook), transport.clone(), clock.clone());
        let apps = section.apps.iter().zip(keys).map(make).collect::<Result<Vec<App>, SetupError>>()?;
        let (groups, logs, lists, pages) = Default::default();
        Ok(RestGithub { owner, hook, apps, groups, logs, lists, pages, patience, clock })
    }

    /// What each App may still ask, in the order of the configuration.
    pub fn rates(&self) -> Vec<RateLeft> {
        self.apps.iter().map(App::view).collect()
    }

    /// Whether as many requests were sent as there may be: whatever is asked now fails, and nothing is sent.
    pub fn is_spent(&self) -> bool {
        self.apps.first().is_some_and(App::is_spent)
    }

    /// The Apps' installations on the owner, asked anew.
    ///
    /// # Errors
    /// [`GithubError`], the first.
    pub async fn installations(&self) -> Result<Vec<Installed>, GithubError> {
        let mut all = Vec::new();
        for app in &self.apps {
            let (installation, account) = app.installation().await.map_err(told)?;
            all.push(Installed { app: app.id(), installation, account });
        }
        Ok(all)
    }

    /// Asks in the name of the App that has most left; in another's, if nothing happened in that one's.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        purpose: Purpose,
    ) -> Result<Answer, Trouble> {
        self.ask_of(&Ask { method, path, body, known: None }, purpose, None).await
    }

    /// Reads what GitHub remembers. `known` is the tag of the answer that is known, and the App that it was told to: a tag is
    /// worth something only to whom it was told.
    pub(crate) async fn read(&self, path: &str, known: Option<(&str, u64)>) -> Result<Answer, Trouble> {
        let ask = Ask { known: known.map(|(tag, _)| tag), ..Ask::get(path) };
        self.ask_of(&ask, Purpose::Optional, known.map(|(_, app)| app)).await
    }

    pub(crate) async fn ask_of(&self, ask: &Ask<'_>, purpose: Purpose, rather: Option<u64>) -> Result<Answer, Trouble> {
        let order = |app: &App| (Some(app.id()) != rather, Reverse(app.left()));
        let mut apps: Vec<_> = self.apps.iter().map(|app| (order(app), app)).collect();
        // Stable: among equals the first of the configuration.
        apps.sort_by_key(|(order, _)| *order);
        let mut first: Option<Trouble> = None;
        let mut limited: Option<Timestamp> = None;
        for (_, app) in apps {
            match app.call(ask, purpose).await {
                Err(Trouble::Limited(until)) => limited = Some(limited.map_or(until, |other| other.min(until))),
                Err(trouble @ (Trouble::Refused(_) | Trouble::Unsent(_))) => first = first.or(Some(trouble)),
                Err(trouble @ Trouble::Unknown(_)) => return Err(trouble),
                Ok(answer) => return Ok(answer),
            }
        }
        // A limit passes by itself.
        let none = || Trouble::Refused("there is no App".to_owned());
        Err(limited.map(Trouble::Limited).or(first).unwrap_or_else(none))
    }
}

/// A trouble in the port's words.
pub(crate) fn told(trouble: Trouble) -> GithubError {
    match trouble {
        Trouble::Limited(until) => GithubError::Limited { until },
        Trouble::Refused(why) => GithubError::Rejected(why),
        Trouble::Unsent(why) => GithubError::Unknown(format!("{why}; nothing was sent")),
        Trouble::Unknown(why) => GithubError::Unknown(why),
    }
}

impl Github for RestGithub {
    async fn mint(&self, request: &MintRequest) -> Result<Minted, GithubError> {
        self.mint_runner(request).await
    }

    async fn remove(&self, runner: RunnerId) -> Result<Removal, GithubError> {
        self.remove_runner(runner).await
    }
}

impl Reruns for RestGithub {
    async fn run(&self, repository: &str, run: RunId) -> Result<Option<RunNow>, GithubError> {
        self.read_run(repository, run).await
    }

    async fn run_jobs(&self, repository: &str, run: RunId, attempt: u32) -> Result<Vec<JobNow>, GithubError> {
        self.read_run_jobs(repository, run, attempt).await
    }

    async fn is_superseded(&self, repository: &str, run: RunId) -> Result<bool, GithubError> {
        self.has_later_run(repository, run).await
    }

    async fn rerun_failed(&self, repository: &str, run: RunId) -> Result<(), GithubError> {
        self.run_again(repository, run).await
    }

    async fn cancel(&self, repository: &str, run: RunId, force: bool) -> Result<(), GithubError> {
        self.cancel_run(repository, run, force).await
    }
}

impl Records for RestGithub {
    async fn failed_since(&self, since: Timestamp) -> Result<Vec<FailedDelivery>, GithubError> {
        self.failed_deliveries(since).await
    }

    async fn payload(&self, of: &FailedDelivery) -> Result<Option<Vec<u8>>, GithubError> {
        self.delivered_payload(of).await
    }

    async fn job(&self, about: &JobAbout, job: JobId) -> Result<Option<JobEvent>, GithubError> {
        self.read_job(about, job).await
    }

    async fn pushed_since(&self, since: Timestamp) -> Result<Vec<Arc<str>>, GithubError> {
        self.pushed_repositories(since).await
    }

    async fn waiting(&self, repository: &str, let_be: &BTreeSet<RunId>) -> Result<Option<Vec<JobEvent>>, GithubError> {
        self.waiting_jobs(repository, let_be).await
    }

    async fn registrations(&self) -> Result<Vec<Listed>, GithubError> {
        self.list_registrations().await
    }

    async fn offered(&self) -> Result<Vec<Release>, GithubError> {
        self.offered_releases().await
    }

    async fn retirement(&self, of: Release) -> Result<Option<Retirement>, GithubError> {
        self.end_of(of).await
    }
}
