//! How one App is set up, as GitHub tells it: for `muster doctor`.
//!
//! What lives here: reading facts, each within the budget of optional work, and the one write that somebody may ask for (the
//! latest delivery, delivered again). What may not: what is good or bad about a fact.
//!
//! A fact that was not asked for is `None`: what it needs was refused before, and GitHub may ban an App that goes on.
//!
//! Invariant: nothing is asked twice because it failed, and no webhook secret, key or token is in a fact.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use muster_core::config::{self, GitHub, Hook, Owner};
use muster_core::ids::RunnerName;
use muster_core::ports::{GithubError, Listed};
use muster_core::release::{Release, Retirement};
use muster_core::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::Answer;
use crate::app::{App, Trouble};
use crate::budget::Purpose;
use crate::deliveries::{HookAnswer, Item, is_gone, tells_of_jobs};
use crate::github::{Options, RestGithub, told};
use crate::groups::RunnerGroup;
use crate::key::SetupError;
use crate::owner;
use crate::runners::RunnerPage;
use crate::transport::Ask;

/// Deliveries that are looked at.
const DELIVERIES: usize = 30;
/// GitHub's largest page.
const PAGE: usize = 100;
/// Releases whose end is asked for.
const RELEASES_MAX: usize = 5;
/// Pages of a list of repositories that are read.
const PAGES_MAX: usize = 10;

/// What somebody wants to know.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The runner groups that the configuration names.
    pub groups: BTreeSet<String>,
    /// Whether GitHub may be asked to deliver the latest delivery again. The only write.
    pub redeliver: bool,
}

/// A fact, why there is none, or nothing if it was not asked for.
pub type Fact<T> = Option<Result<T, GithubError>>;

/// How one App is set up.
#[derive(Debug)]
pub struct Checkup {
    /// The App, by the configuration.
    pub app: u64,
    /// How far our clock is ahead of GitHub's, in milliseconds. `None`: no answer has told.
    pub clock_ahead_ms: Option<i64>,
    /// The App as it sees itself: the proof that its key is good.
    pub identity: Result<AppFacts, GithubError>,
    /// Its installation on the owner. `None` in it: it is not installed there.
    pub installation: Fact<Option<InstallationFacts>>,
    /// The accounts that it is installed on, if that is not the owner.
    pub elsewhere: Vec<String>,
    /// The repositories that it may see, if they were chosen one by one.
    pub repositories: Fact<Repositories>,
    /// The webhooks that deliver jobs, or could: the App's own, or all of the owner's.
    pub webhooks: Fact<Vec<Webhook>>,
    /// What came of delivering again. `None`: nobody wanted that.
    pub redelivery: Option<Redelivery>,
    /// The runner releases: what is offered, and what runners have.
    pub releases: Fact<ReleaseFacts>,
    /// All runner groups; none where there can be none.
    pub groups: Fact<Vec<RunnerGroup>>,
    /// Of groups that were asked for: the repositories that were selected for them.
    pub selected: BTreeMap<i64, Result<Repositories, GithubError>>,
    /// What is left of the hour.
    pub rate: Fact<Rate>,
}

/// An App.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AppFacts {
    /// Its name.
    pub name: String,
    /// The permissions that it asks for: name and level.
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
    /// The events that it is subscribed to.
    #[serde(default)]
    pub events: Vec<String>,
}

/// An App's installation on the owner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InstallationFacts {
    /// Its number.
    pub id: u64,
    /// The account that it is on.
    pub account: Option<AccountFacts>,
    /// The permissions that it was given: name and level.
    #[serde(default)]
    pub permissions: BTreeMap<String, String>,
    /// Since when it is suspended, in GitHub's words.
    pub suspended_at: Option<String>,
    /// `all`, or `selected`.
    #[serde(default)]
    pub repository_selection: String,
}

/// An organization, a user, or an enterprise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccountFacts {
    /// Its number.
    pub id: u64,
    login: Option<String>,
    slug: Option<String>,
}

/// Runner releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// The newest one that GitHub offers.
    pub newest: Release,
    /// The runners that have connected, of the first page of the owner's, each with its release.
    pub running: Vec<(RunnerName, Release)>,
    /// When GitHub stops taking those that are not the newest, as far as it tells.
    pub retirements: BTreeMap<Release, Retirement>,
}

/// A list of repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repositories {
    /// The names of those that were read, as `owner/name`.
    pub read: Vec<String>,
    /// Whether these are all.
    pub whole: bool,
}

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    /// Its number. `None`: the App's own.
    pub id: Option<i64>,
    /// Where it delivers, as GitHub has it.
    pub url: String,
    /// `json` or `form`.
    pub content_type: String,
    /// Whether certificates go unchecked.
    pub insecure_ssl: bool,
    /// Whether it delivers. GitHub does not tell it of an App's own.
    pub active: Option<bool>,
    /// Whether it is subscribed to jobs.
    pub tells_of_jobs: bool,
    /// Its latest deliveries, the newest first. `None`: it is not one of ours to look at.
    pub deliveries: Fact<Vec<Delivered>>,
}

/// A delivery, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// When.
    pub at: Timestamp,
    /// Of which event.
    pub event: String,
    /// What the receiver answered, or GitHub's own code for an answer that did not come.
    pub status: i64,
}

/// What came of delivering the latest delivery again.
#[derive(Debug)]
pub enum Redelivery {
    /// There was nothing to deliver again.
    Nothing,
    /// An owner's webhook: Muster asks for no permission to write there.
    NotOurs,
    /// What the receiver answered.
    Answered(i64),
    /// No end of it was seen in time.
    Unanswered,
    /// GitHub could not be asked.
    Failed(GithubError),
}

/// What is left of the primary limit of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests an hour.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// When there are as many as the limit again, by our clock.
    pub reset: Timestamp,
}

#[derive(Deserialize)]
struct ElsewhereAnswer {
    account: Option<AccountFacts>,
}

#[derive(Deserialize)]
struct RepositoryPage {
    repositories: Vec<RepositoryAnswer>,
}

#[derive(Deserialize)]
struct RepositoryAnswer {
    full_name: String,
}

#[derive(Deserialize)]
struct RateAnswer {
    resources: ResourcesAnswer,
}

#[derive(Deserialize)]
struct ResourcesAnswer {
    core: CoreAnswer,
}

#[derive(Deserialize)]
struct CoreAnswer {
    limit: u64,
    remaining: u64,
    reset: i64,
}

/// Reads how an App of a configuration is set up. `key` is its private key in PEM. Must be called within a Tokio runtime.
///
/// # Errors
/// [`SetupError`]: GitHub cannot even be asked.
pub async fn checkup(
    section: &GitHub,
    app: &config::App,
    key: &[u8],
    options: Options,
    wanted: &Wanted,
) -> Result<Checkup, SetupError> {
    let section = GitHub { apps: vec![app.clone()], ..section.clone() };
    let github = RestGithub::new(&section, &[key.to_vec()], options)?;
    let app = github.apps.first().ok_or(SetupError::NoApp)?;
    Ok(github.look_at(app, wanted).await)
}

impl RestGithub {
    async fn look_at(&self, app: &App, wanted: &Wanted) -> Checkup {
        let identity: Result<AppFacts, GithubError> = as_app(app, "/app", "the App").await;
        let mut found = Checkup {
            app: app.id(),
            clock_ahead_ms: None,
            installation: None,
            elsewhere: Vec::new(),
            repositories: None,
            webhooks: None,
            redelivery: None,
            releases: None,
            groups: None,
            selected: BTreeMap::new(),
            rate: None,
            identity,
        };
        if let Ok(facts) = &found.identity {
            let subscribed = tells_of_jobs(&facts.events);
            if self.hook == Hook::App {
                found.webhooks = Some(self.app_webhook(app, subscribed).await);
                if wanted.redeliver {
                    found.redelivery = Some(self.deliver_again(app).await);
                }
            } else if wanted.redeliver {
                found.redelivery = Some(Redelivery::NotOurs);
            }
            let installation = installation(app).await;
            if let Ok(None) = &installation {
                found.elsewhere = elsewhere(app).await;
            }
            if let Ok(Some(facts)) = &installation
                && facts.suspended_at.is_none()
                && app.configured.is_none_or(|configured| configured == facts.id)
            {
                app.know(facts.id).await;
                self.look_inside(facts, wanted, &mut found).await;
            }
            found.installation = Some(installation);
        }
        found.clock_ahead_ms = app.ahead_ms();
        found
    }

    /// What only the installation sees.
    async fn look_inside(&self, facts: &InstallationFacts, wanted: &Wanted, found: &mut Checkup) {
        // First: with nothing left, all the others say no more than that.
        found.rate = Some(self.rate_left().await);
        if facts.repository_selection == "selected" {
            found.repositories = Some(self.repositories("/installation/repositories", Purpose::Optional).await);
        }
        if self.hook == Hook::Owner {
            found.webhooks = Some(self.owner_webhooks().await);
        }
        found.releases = Some(self.releases().await);
        if let Owner::Repository(_) = &*self.owner {
            return;
        }
        let groups = self.list_groups().await;
        for group in groups.iter().flatten() {
            // Those of an enterprise are open to organizations.
            let of_organization = matches!(&*self.owner, Owner::Organization(_));
            if of_organization
                && group.visibility == "selected"
                && wanted.groups.iter().any(|name| group.is_meant_by(name))
            {
                let path = format!("{}/actions/runner-groups/{}/repositories", owner::base(&self.owner), group.id);
                found.selected.insert(group.id, self.repositories(&path, Purpose::Work).await);
            }
        }
        found.groups = Some(groups);
    }

    async fn repositories(&self, path: &str, purpose: Purpose) -> Result<Repositories, GithubError> {
        let mut all = Repositories::default();
        for page in 1..=PAGES_MAX {
            let path = format!("{path}?per_page={PAGE}&page={page}");
            let answer = self.ask(Method::GET, &path, None, purpose).await;
            let page = read::<RepositoryPage>(answer, "the repositories")?.repositories;
            all.whole = page.len() < PAGE;
            all.read.extend(page.into_iter().map(|repository| repository.full_name));
            if all.whole {
                break;
            }
        }
        Ok(all)
    }

    async fn releases(&self) -> Result<ReleaseFacts, GithubError> {
        let none = || GithubError::Unknown("GitHub offers no runner release".to_owned());
        let newest = self.offered_releases().await?.first().copied().ok_or_else(none)?;
        let path = format!("{}?per_page={PAGE}", self.runners());
        let answer = self.ask(Method::GET, &path, None, Purpose::Aside).await;
        let runners = read::<RunnerPage>(answer, "the runners")?.runners.into_iter().map(Listed::from);
        let running: Vec<_> = runners.filter_map(|listed| Some((listed.name, listed.release?))).collect();
        let behind: BTreeSet<Release> =
            running.iter().map(|(_, release)| *release).filter(|one| *one < newest).collect();
        let mut retirements = BTreeMap::new();
        for release in behind.into_iter().take(RELEASES_MAX) {
            retirements.extend(self.end_of(release).await?.map(|told| (release, told)));
        }
        Ok(ReleaseFacts { newest, running, retirements })
    }

    async fn rate_left(&self) -> Result<Rate, GithubError> {
        const PATH: &str = "/rate_limit";
        // Either token tells it: they are the same installation's.
        let asked = match self.ask(Method::GET, PATH, None, Purpose::Work).await {
            Err(Trouble::Refused(_)) => self.read(PATH, None).await,
            asked => asked,
        };
        let answer = asked.map_err(told)?;
        let core = body::<RateAnswer>(&answer, "the rate limit")?.resources.core;
        let reset = answer.on_our_clock(Timestamp::from_unix_ms(core.reset.saturating_mul(1_000)));
        Ok(Rate { limit: core.limit, remaining: core.remaining, reset })
    }

    async fn app_webhook(&self, app: &App, tells_of_jobs: bool) -> Result<Vec<Webhook>, GithubError> {
        let answer = app.read_as_app("/app/hook/config").await.map_err(told)?;
        if is_gone(&answer) {
            return Ok(Vec::new());
        }
        let mut webhook = webhook(None, &read(Ok(answer), "the App's webhook")?, None, tells_of_jobs);
        webhook.deliveries = Some(latest(app).await.map(delivered));
        Ok(vec![webhook])
    }

    async fn owner_webhooks(&self) -> Result<Vec<Webhook>, GithubError> {
        let mut all = Vec::new();
        for HookAnswer { id, active, events, config } in self.all_hooks().await? {
            let mut webhook = webhook(Some(id), &config, Some(active), tells_of_jobs(&events));
            if webhook.tells_of_jobs && active {
                let path = format!("{}/hooks/{id}/deliveries?per_page={DELIVERIES}", owner::base(&self.owner));
                webhook.deliveries = Some(items(self.read(&path, None).await).map(delivered));
            }
            all.push(webhook);
        }
        Ok(all)
    }

    async fn deliver_again(&self, app: &App) -> Redelivery {
        match self.delivered_again(app).await {
            Ok(redelivery) => redelivery,
            Err(error) => Redelivery::Failed(error),
        }
    }

    /// Asks for one more attempt, and looks for its end.
    async fn delivered_again(&self, app: &App) -> Result<Redelivery, GithubError> {
        let before = latest(app).await?;
        let Some(newest) = before.first() else { return Ok(Redelivery::Nothing) };
        let path = format!("/app/hook/deliveries/{}/attempts", newest.id);
        let ask = Ask { method: Method::POST, path: &path, body: None, known: None };
        read::<Value>(app.optional_as_app(&ask).await, "the attempt to deliver again")?;
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < self.patience.clean_up {
            tokio::time::sleep(self.patience.look_again).await;
            let attempt = |item: &&Item| item.guid == newest.guid && before.iter().all(|known| known.id != item.id);
            if let Some(item) = latest(app).await?.iter().find(attempt) {
                return Ok(Redelivery::Answered(item.status_code));
            }
        }
        Ok(Redelivery::Unanswered)
    }
}

fn read<T: DeserializeOwned>(asked: Result<Answer, Trouble>, what: &str) -> Result<T, GithubError> {
    body(&asked.map_err(told)?, what)
}

/// An answer's body; whatever is no success is an error.
fn body<T: DeserializeOwned>(answer: &Answer, what: &str) -> Result<T, GithubError> {
    if !answer.status.is_success() {
        return Err(GithubError::Rejected(format!("{what} cannot be read ({})", answer.told())));
    }
    answer.json().map_err(|why| GithubError::Unknown(format!("{what}: {why}")))
}

async fn as_app<T: DeserializeOwned>(app: &App, path: &str, what: &str) -> Result<T, GithubError> {
    read(app.read_as_app(path).await, what)
}

/// The App's installation on the owner, if it has one there.
async fn installation(app: &App) -> Result<Option<InstallationFacts>, GithubError> {
    let answer = app.read_as_app(&format!("{}/installation", owner::base(&app.owner))).await.map_err(told)?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    read(Ok(answer), "the installation").map(Some)
}

/// The accounts that an App is installed on. That they cannot be read is no news: they only help.
async fn elsewhere(app: &App) -> Vec<String> {
    let path = format!("/app/installations?per_page={PAGE}");
    let all: Vec<ElsewhereAnswer> = as_app(app, &path, "the installations").await.unwrap_or_default();
    all.into_iter().filter_map(|one| one.account).filter_map(|account| account.login.or(account.slug)).collect()
}

/// The latest deliveries of an App's own webhook, the newest first.
async fn latest(app: &App) -> Result<Vec<Item>, GithubError> {
    items(app.read_as_app(&format!("/app/hook/deliveries?per_page={DELIVERIES}")).await)
}

fn items(asked: Result<Answer, Trouble>) -> Result<Vec<Item>, GithubError> {
    let items: Vec<Value> = read(asked, "the latest webhook deliveries")?;
    Ok(items.iter().filter_map(|item| Item::deserialize(item).ok()).collect())
}

fn delivered(items: Vec<Item>) -> Vec<Delivered> {
    let one = |item: Item| {
        let at = Timestamp::parse(&item.delivered_at)?;
        Some(Delivered { at, event: item.event, status: item.status_code })
    };
    items.into_iter().filter_map(one).collect()
}

fn webhook(id: Option<i64>, config: &Value, active: Option<bool>, tells_of_jobs: bool) -> Webhook {
    let text = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
    // GitHub describes it as a text or a number.
    let insecure_ssl = config["insecure_ssl"] == "1" || config["insecure_ssl"] == 1;
    let (url, content_type) = (text("url"), text("content_type"));
    Webhook { id, url, content_type, insecure_ssl, active, tells_of_jobs, deliveries: None }
}
