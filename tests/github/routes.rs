//! The model's answers, by operation of GitHub's description.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::identity::claimed_app;
use super::openapi::{Operation, unescaped};
use super::reading;
use super::releases;
use super::settings;
use super::world::{FakeOwner, FakeRunner, World};

/// Status and body; no body is none at all.
pub(super) type Reply = (u16, Option<Value>);

/// A request, as far as the model reads it.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) operation: &'a Operation,
    pub(super) query: &'a str,
    pub(super) body: &'a Value,
    /// Of the token. None: all that the App has.
    pub(super) permissions: Option<Value>,
}

impl Ask<'_> {
    pub(super) fn number(&self, name: &str, default: usize) -> usize {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(given, _)| *given == name).map(|(_, value)| unescaped(value))
    }

    pub(super) fn path(&self, name: &str) -> &str {
        self.operation.path.get(name).map_or("", String::as_str)
    }

    /// Whether the token has a permission.
    fn may(&self, permission: &str) -> bool {
        let level = self.permissions.as_ref().map(|all| all[permission].as_str().unwrap_or("none"));
        level.is_none_or(|level| level == "write" || (level == "read" && self.method == "GET"))
    }

    /// A page of a list.
    pub(super) fn page<T>(&self, all: Vec<T>) -> Vec<T> {
        let size = self.number("per_page", 30).clamp(1, 100);
        all.into_iter().skip((self.number("page", 1).max(1) - 1) * size).take(size).collect()
    }
}

pub(super) fn error(status: u16, message: &str) -> Reply {
    (status, Some(json!({ "message": message, "documentation_url": "https://docs.github.com/rest" })))
}

/// Whether the App itself asks, with a JWT, and not an installation.
pub(super) fn is_for_apps(operation: &Operation) -> bool {
    operation.template.starts_with("/app") || operation.template.ends_with("/installation")
}

/// The App that a JWT proves. JWTs are made by the system's clock, wherever a test has moved GitHub's.
pub(super) fn app_of_jwt(world: &World, jwt: &str) -> Result<u64, String> {
    let app = claimed_app(jwt).ok_or("A JSON web token could not be decoded")?;
    let installed = world.apps.get(&app).ok_or("Integration not found")?;
    installed.key.check(app, jwt, World::system_clock())?;
    Ok(app)
}

/// The App whose installation has this token.
pub(super) fn app_of_token(world: &World, token: &str) -> Option<u64> {
    world.tokens.get(token).filter(|token| token.until > world.now()).map(|token| token.app)
}

/// What a token may, as far as it was asked for less than all.
pub(super) fn permissions(world: &World, token: &str) -> Option<Value> {
    let all = world.tokens.get(token)?.permissions.clone();
    all.as_object().is_some_and(|all| !all.is_empty()).then_some(all)
}

/// The permission that an operation needs. GitHub's description has none for enterprises.
fn needed(template: &str) -> Option<&'static str> {
    let organization = template.starts_with("/orgs/");
    if template.contains("/actions/runner") {
        match organization {
            true => Some("organization_self_hosted_runners"),
            false => template.starts_with("/repos/").then_some("administration"),
        }
    } else if template.contains("/hooks") {
        Some(if organization { "organization_hooks" } else { "repository_hooks" })
    } else if template.contains("/actions/") {
        Some("actions")
    } else if template == "/rate_limit" {
        None
    } else {
        Some("metadata")
    }
}

/// Does what is asked.
pub(super) fn reply(world: &mut World, app: u64, ask: &Ask<'_>) -> Reply {
    if is_for_apps(ask.operation) {
        return for_apps(world, app, ask);
    }
    let for_runners = ask.operation.template.contains("/actions/runner");
    let refused = for_runners && world.apps.get(&app).is_none_or(|installed| installed.refused);
    if refused || needed(&ask.operation.template).is_some_and(|permission| !ask.may(permission)) {
        return error(403, "Resource not accessible by integration");
    }
    if let Some(verb) = ask.operation.template.strip_prefix("/repos/{owner}/{repo}/actions/runs/{run_id}/") {
        let run = ask.path("run_id").parse().unwrap_or(0);
        let done = |outcome, status, refusal| match outcome {
            Ok(()) => (status, Some(json!({}))),
            Err(why) => error(refusal, why),
        };
        match verb {
            "rerun-failed-jobs" => return done(world.rerun_failed(run), 201, 403),
            "cancel" | "force-cancel" => return done(world.cancel_run(run, verb == "force-cancel"), 202, 409),
            _ => {}
        }
    }
    if ask.operation.template.starts_with("/repos/{owner}/{repo}/actions/") && !for_runners {
        return reading::of_repository(world, ask);
    }
    match (ask.method, ask.operation.template.as_str()) {
        ("GET", "/rate_limit") => return settings::rate_limit(world, app),
        ("GET", "/installation/repositories") => return settings::chosen_repositories(world, app, ask),
        _ => {}
    }
    if !is_owner(world, ask) {
        return error(404, "Not Found");
    }
    let under = ["/orgs/{org}", "/enterprises/{enterprise}", "/repos/{owner}/{repo}"];
    let rest = under.iter().find_map(|prefix| ask.operation.template.strip_prefix(prefix)).unwrap_or("");
    match (ask.method, rest) {
        ("GET", "/actions/runner-groups") => groups(world, ask),
        ("GET", "/actions/runner-groups/{runner_group_id}/repositories") => settings::repositories_of_group(world, ask),
        ("GET", "/actions/runners") => runners(world, ask),
        ("POST", "/actions/runners/generate-jitconfig") => mint(world, ask),
        ("GET" | "DELETE", "/actions/runners/{runner_id}") => one_runner(world, ask),
        ("GET", "/actions/runners/downloads") => releases::downloads(world),
        ("GET", "/actions/runners/deprecations/{version}") => releases::deprecation(world, ask),
        ("GET", rest) => reading::of_owner(world, rest, ask),
        _ => (501, Some(json!({ "message": "the fake does not model this" }))),
    }
}

pub(super) fn is_owner(world: &World, ask: &Ask<'_>) -> bool {
    let template = &ask.operation.template;
    match &world.setup.owner {
        FakeOwner::Organization(login) => template.starts_with("/orgs/") && ask.path("org").eq_ignore_ascii_case(login),
        FakeOwner::Enterprise(slug) => template.starts_with("/enterprises/") && ask.path("enterprise") == slug,
        FakeOwner::Repository(name) => {
            template.starts_with("/repos/")
                && format!("{}/{}", ask.path("owner"), ask.path("repo")).eq_ignore_ascii_case(name)
        }
    }
}

fn for_apps(world: &mut World, app: u64, ask: &Ask<'_>) -> Reply {
    let Some(installation) = world.apps.get(&app).map(|installed| installed.installation) else {
        return error(404, "Integration not found");
    };
    match (ask.method, ask.operation.template.as_str()) {
        ("GET", "/app/installations") => {
            let mut one = installed(world, app, installation);
            // GitHub's description of the list wants of an account all that a user has and all that an enterprise has.
            if let Some(login) = one["account"]["login"].as_str().map(str::to_owned) {
                for name in ["name", "slug"] {
                    one["account"][name] = json!(login);
                }
                for name in ["created_at", "updated_at"] {
                    one["account"][name] = one[name].clone();
                }
            }
            (200, Some(json!(ask.page(vec![one]))))
        }
        ("GET", template) if template.ends_with("/installation") => {
            if is_owner(world, ask) {
                (200, Some(installed(world, app, installation)))
            } else {
                error(404, "Not Found")
            }
        }
        ("POST", "/app/installations/{installation_id}/access_tokens") => {
            if ask.path("installation_id") != installation.to_string() {
                return error(404, "Not Found");
            }
            world.asked.push(ask.body.clone());
            if world.apps.get(&app).is_some_and(|installed| installed.settings.suspended) {
                return error(403, "This installation has been suspended");
            }
            let withheld = world.apps.get(&app).map(|installed| installed.withheld.clone()).unwrap_or_default();
            let wanted = ask.body["permissions"].as_object();
            if wanted.is_some_and(|wanted| wanted.keys().any(|permission| withheld.contains(permission))) {
                return error(422, "The permissions requested are not granted to this installation.");
            }
            let (token, until) = world.fresh_token(app, ask.body["permissions"].clone());
            let until = jiff::Timestamp::from_second(i64::try_from(until.as_secs()).unwrap_or(0));
            let until = until.unwrap_or_default().to_string();
            let permissions = ask.body.get("permissions").cloned().unwrap_or(json!({ "metadata": "read" }));
            let body = json!({
                "token": token, "expires_at": until, "permissions": permissions, "repository_selection": "all",
            });
            (201, Some(body))
        }
        ("GET", "/app/hook/deliveries" | "/app/hook/deliveries/{delivery_id}") => reading::of_app(world, app, ask),
        ("GET", "/app") => (200, Some(settings::app(world, app))),
        ("GET", "/app/hook/config") => settings::app_hook(world, app),
        ("POST", "/app/hook/deliveries/{delivery_id}/attempts") => settings::deliver_again(world, app, ask),
        _ => (501, Some(json!({ "message": "the fake does not model this" }))),
    }
}

fn installed(world: &World, app: u64, installation: u64) -> Value {
    let at = "2026-01-01T00:00:00Z";
    let settings = &world.apps[&app].settings;
    let url = |rest: &str| format!("https://api.github.com{rest}");
    let (account, target) = match &world.setup.owner {
        FakeOwner::Organization(login) => (user(login, "Organization"), "Organization"),
        FakeOwner::Repository(name) => (user(name.split('/').next().unwrap_or(name), "User"), "User"),
        FakeOwner::Enterprise(slug) => {
            let account = json!({
                "id": 99, "node_id": "E_99", "name": slug, "slug": slug, "html_url": url("/e"), "avatar_url": url("/a"),
                "created_at": at, "updated_at": at,
            });
            (account, "Enterprise")
        }
    };
    json!({
        "id": installation, "app_id": app, "app_slug": "muster", "target_id": account["id"], "target_type": target,
        "account": account, "single_file_name": null, "repository_selection": settings.selection(), "events": settings.events,
        "permissions": settings::granted(world, app), "access_tokens_url": url("/t"), "html_url": url("/h"),
        "repositories_url": url("/r"), "created_at": at, "updated_at": at, "suspended_by": null,
        "suspended_at": settings.suspended.then_some(at),
    })
}

pub(super) fn user(login: &str, kind: &str) -> Value {
    let url = format!("https://api.github.com/users/{login}");
    let mut user = json!({
        "id": 99, "node_id": "U_99", "login": login, "type": kind, "site_admin": false, "gravatar_id": "",
    });
    let urls = [
        "avatar",
        "events",
        "followers",
        "following",
        "gists",
        "html",
        "organizations",
        "received_events",
        "repos",
        "starred",
        "subscriptions",
    ];
    for name in urls {
        user[format!("{name}_url")] = json!(url);
    }
    user["url"] = json!(url);
    user
}

fn groups(world: &World, ask: &Ask<'_>) -> Reply {
    let inherited = matches!(world.setup.owner, FakeOwner::Organization(_));
    let all = world.groups.iter().map(|group| {
        let mut value = group.told();
        if inherited {
            value["inherited"] = json!(false);
        }
        value
    });
    (200, Some(json!({ "total_count": world.groups.len(), "runner_groups": ask.page(all.collect()) })))
}

fn runner(runner: &FakeRunner) -> Value {
    let labels: Vec<Value> =
        runner.labels.iter().zip(1..).map(|(name, id)| json!({ "id": id, "name": name, "type": "custom" })).collect();
    json!({
        "id": runner.id, "name": runner.name, "os": if runner.online { "linux" } else { "unknown" },
        "status": if runner.online { "online" } else { "offline" }, "busy": runner.busy, "labels": labels,
        "runner_group_id": runner.group, "version": runner.version,
    })
}

fn runners(world: &World, ask: &Ask<'_>) -> Reply {
    let name = ask.text("name");
    let chosen = world.runners.iter().filter(|runner| name.as_ref().is_none_or(|name| runner.name == *name));
    let all: Vec<Value> = chosen.map(runner).collect();
    (200, Some(json!({ "total_count": all.len(), "runners": ask.page(all) })))
}

fn mint(world: &mut World, ask: &Ask<'_>) -> Reply {
    let invalid = |message: &str| {
        let body =
            json!({ "message": message, "documentation_url": "https://docs.github.com/rest", "errors": [message] });
        (422, Some(body))
    };
    let name = ask.body["name"].as_str().unwrap_or("").to_owned();
    if name.is_empty() || name.chars().count() > 64 {
        return invalid("Name must have 1 to 64 characters");
    }
    let group = ask.body["runner_group_id"].as_i64().unwrap_or(0);
    if !world.groups.iter().any(|known| known.id == group) {
        return error(404, "Runner group not found");
    }
    let labels: Vec<String> = match ask.body["labels"].as_array() {
        Some(labels) => labels.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => Vec::new(),
    };
    if labels.is_empty() || labels.len() > 100 {
        return invalid("Labels must be 1 to 100");
    }
    let folder = ask.body["work_folder"].as_str().unwrap_or("_work").to_owned();
    let Some(registered) = world.register(&name, labels, group, &folder) else {
        return error(409, &format!("Already exists - A runner with the name {name} already exists."));
    };
    let config = json!({ ".runner": STANDARD.encode(&name), ".credentials": format!("planted-{}", registered.id) });
    let config = STANDARD.encode(config.to_string());
    world.secrets.push(config.clone());
    (201, Some(json!({ "runner": runner(&registered), "encoded_jit_config": config })))
}

fn one_runner(world: &mut World, ask: &Ask<'_>) -> Reply {
    let id: i64 = ask.path("runner_id").parse().unwrap_or(0);
    let Some(found) = world.runners.iter().find(|runner| runner.id == id) else {
        return error(404, "Not Found");
    };
    if ask.method == "GET" {
        return (200, Some(runner(found)));
    }
    if found.busy {
        let message = format!("Bad request - Runner \"{}\" is still running a job\"", found.name);
        return (422, Some(json!({ "message": message, "documentation_url": "https://docs.github.com/rest" })));
    }
    world.runners.retain(|runner| runner.id != id);
    (204, None)
}
