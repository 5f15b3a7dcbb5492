//! What somebody has set on GitHub's pages: what Apps ask for and were given, their webhooks, and what runner groups are
//! open to.
//!
//! What lives here: the state, how tests change it, and the answers about it. What may not: runners and jobs.
//!
//! Invariant: an installation has no permission that its App does not ask for.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::reading::{repository, url};
use super::records::{FakeLog, Repository};
use super::routes::{Ask, Reply, error, user};
use super::world::{FakeOwner, World};

/// A webhook's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeHook {
    /// Where it delivers.
    pub url: String,
    /// `json` or `form`.
    pub content_type: String,
    /// `0`, or `1` for no check of certificates.
    pub insecure_ssl: String,
}

impl Default for FakeHook {
    fn default() -> FakeHook {
        FakeHook {
            url: "https://muster.example/webhook".to_owned(),
            content_type: "json".to_owned(),
            insecure_ssl: "0".to_owned(),
        }
    }
}

impl FakeHook {
    pub(super) fn config(&self) -> Value {
        json!({
            "url": self.url, "content_type": self.content_type, "insecure_ssl": self.insecure_ssl, "secret": "********",
        })
    }
}

/// A runner group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeGroup {
    pub(super) id: i64,
    pub(super) name: String,
    /// `all`, `private` or `selected`.
    pub visibility: String,
    /// The repositories that it is open to where they are selected.
    pub repositories: Vec<String>,
    /// Whether public repositories may use it.
    pub public: bool,
    /// The workflows that it is restricted to, if it is.
    pub workflows: Option<Vec<String>>,
}

impl FakeGroup {
    pub(super) fn new(id: i64, name: &str) -> FakeGroup {
        let (name, visibility) = (name.to_owned(), "all".to_owned());
        FakeGroup { id, name, visibility, repositories: Vec::new(), public: false, workflows: None }
    }

    pub(super) fn told(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "default": self.id == 1, "visibility": self.visibility,
            "allows_public_repositories": self.public, "runners_url": url("/runners"),
            "restricted_to_workflows": self.workflows.is_some(),
            "selected_workflows": self.workflows.clone().unwrap_or_default(),
        })
    }
}

/// What is set for one App.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) suspended: bool,
    pub(super) events: Vec<String>,
    pub(super) hook: FakeHook,
    /// Permissions that it does not ask for.
    unrequested: BTreeSet<String>,
    /// The repositories that were chosen at its installation. `None`: all.
    chosen: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            suspended: false,
            events: vec!["workflow_job".to_owned()],
            hook: FakeHook::default(),
            unrequested: BTreeSet::new(),
            chosen: None,
        }
    }
}

impl Settings {
    pub(super) fn selection(&self) -> &'static str {
        if self.chosen.is_some() { "selected" } else { "all" }
    }
}

impl World {
    fn settings(&mut self, app: u64) -> &mut Settings {
        &mut self.apps.get_mut(&app).expect("an App of the fake").settings
    }

    /// Suspends an App's installation, or takes it up again.
    pub fn suspend(&mut self, app: u64, suspended: bool) {
        self.settings(app).suspended = suspended;
    }

    /// Sets the events that an App is subscribed to.
    pub fn set_events(&mut self, app: u64, events: &[&str]) {
        self.settings(app).events = events.iter().map(|event| (*event).to_owned()).collect();
    }

    /// The settings of an App's own webhook, to change.
    pub fn app_hook(&mut self, app: u64) -> &mut FakeHook {
        &mut self.settings(app).hook
    }

    /// The settings of one of the owner's webhooks, to change.
    pub fn hook(&mut self, hook: i64) -> Option<&mut FakeHook> {
        self.records.hooks.iter_mut().find(|known| known.id == hook).map(|known| &mut known.settings)
    }

    /// Takes a permission out of what an App asks for, and so out of what it was given.
    pub fn unrequest(&mut self, app: u64, permission: &str) {
        self.settings(app).unrequested.insert(permission.to_owned());
        self.withhold(app, permission, true);
    }

    /// Chooses the repositories that an App is installed on.
    pub fn choose_repositories(&mut self, app: u64, repositories: &[&str]) {
        self.settings(app).chosen = Some(repositories.iter().map(|name| (*name).to_owned()).collect());
    }

    /// A runner group, to change.
    pub fn group(&mut self, name: &str) -> Option<&mut FakeGroup> {
        self.groups.iter_mut().find(|group| group.name == name)
    }

    /// Uses up so many requests of an App's hour.
    pub fn spend(&mut self, app: u64, requests: u64) {
        if let Some(installed) = self.apps.get_mut(&app) {
            installed.used += requests;
        }
    }
}

/// Whether an operation costs nothing of the primary limit.
pub(super) fn is_free(operation: &super::openapi::Operation) -> bool {
    operation.template == "/rate_limit"
}

/// What Muster's documentation tells to ask for.
fn wanted(world: &World) -> Vec<(&'static str, &'static str)> {
    let mut wanted = vec![("metadata", "read"), ("actions", "read")];
    match world.setup.owner {
        FakeOwner::Organization(_) => {
            wanted.extend([("organization_self_hosted_runners", "write"), ("organization_hooks", "read")]);
        }
        FakeOwner::Repository(_) => wanted.extend([("administration", "write"), ("repository_hooks", "read")]),
        // GitHub's description has no name for those of an enterprise.
        FakeOwner::Enterprise(_) => {}
    }
    wanted
}

fn without(world: &World, gone: impl Fn(&str) -> bool) -> Value {
    let left = wanted(world).into_iter().filter(|(name, _)| !gone(name));
    Value::Object(left.map(|(name, level)| (name.to_owned(), json!(level))).collect::<Map<_, _>>())
}

/// What an App was given.
pub(super) fn granted(world: &World, app: u64) -> Value {
    let installed = &world.apps[&app];
    let for_runners = |name: &str| matches!(name, "organization_self_hosted_runners" | "administration");
    without(world, |name| installed.withheld.contains(name) || (installed.refused && for_runners(name)))
}

/// An App, as it sees itself.
pub(super) fn app(world: &World, app: u64) -> Value {
    let (settings, at) = (&world.apps[&app].settings, "2026-01-01T00:00:00Z");
    let login = match &world.setup.owner {
        FakeOwner::Organization(name) | FakeOwner::Enterprise(name) | FakeOwner::Repository(name) => name,
    };
    json!({
        "id": app, "slug": "muster", "node_id": format!("A_{app}"), "owner": user(login, "Organization"),
        "name": "Muster", "description": null, "external_url": url("/x"), "html_url": url("/apps/muster"),
        "created_at": at, "updated_at": at, "events": settings.events, "installations_count": 1,
        "permissions": without(world, |name| settings.unrequested.contains(name)),
    })
}

pub(super) fn app_hook(world: &World, app: u64) -> Reply {
    if world.records.hookless.contains(&app) {
        return error(404, "Not Found");
    }
    (200, Some(world.apps[&app].settings.hook.config()))
}

/// Another attempt, which has its end at once or never.
pub(super) fn deliver_again(world: &mut World, app: u64, ask: &Ask<'_>) -> Reply {
    let id = ask.path("delivery_id").parse().unwrap_or(0);
    let known = |one: &super::records::Delivery| one.id == id && one.log == FakeLog::App(app);
    if !world.records.deliveries.iter().any(known) {
        return error(404, "Not Found");
    }
    if let Some(status) = world.records.receiver {
        world.redeliver(id, status);
    }
    (202, Some(json!({})))
}

pub(super) fn rate_limit(world: &World, app: u64) -> Reply {
    let (installed, limit) = (&world.apps[&app], world.setup.requests_an_hour);
    let rate = json!({
        "limit": limit, "used": installed.used, "remaining": limit.saturating_sub(installed.used),
        "reset": installed.reset.as_secs(),
    });
    (200, Some(json!({ "resources": { "core": rate, "search": rate }, "rate": rate })))
}

fn page(world: &World, ask: &Ask<'_>, names: &[String], told: impl Fn(&Repository) -> Value) -> Value {
    let all: Vec<Value> = names.iter().filter_map(|name| world.records.repository(name)).map(told).collect();
    json!({ "total_count": all.len(), "repositories": ask.page(all) })
}

pub(super) fn repositories_of_group(world: &World, ask: &Ask<'_>) -> Reply {
    match world.groups.iter().find(|group| group.id.to_string() == ask.path("runner_group_id")) {
        Some(group) => (200, Some(page(world, ask, &group.repositories, repository))),
        None => error(404, "Not Found"),
    }
}

pub(super) fn chosen_repositories(world: &World, app: u64, ask: &Ask<'_>) -> Reply {
    let all = || world.records.repositories.iter().map(|repository| repository.name.clone()).collect();
    let settings = &world.apps[&app].settings;
    let mut answer = page(world, ask, &settings.chosen.clone().unwrap_or_else(all), whole_repository);
    answer["repository_selection"] = json!(settings.selection());
    (200, Some(answer))
}

/// A repository with what a short one leaves out.
fn whole_repository(one: &Repository) -> Value {
    let mut value = repository(one);
    for name in ["forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count", "watchers"] {
        value[name] = json!(0);
    }
    value["watchers_count"] = json!(0);
    for name in ["has_downloads", "has_issues", "has_pages", "has_projects", "has_wiki"] {
        value[name] = json!(false);
    }
    for name in ["clone_url", "git_url", "mirror_url", "ssh_url", "svn_url"] {
        value[name] = json!(url("/r"));
    }
    for name in ["homepage", "language", "license"] {
        value[name] = Value::Null;
    }
    value["created_at"] = value["pushed_at"].clone();
    value["updated_at"] = value["pushed_at"].clone();
    value["default_branch"] = json!("main");
    value
}
