//! The model's answers about what it remembers: logs of deliveries, webhooks, repositories, runs and jobs.
//!
//! Invariant: nothing here changes the model.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::records::{Delivery, FakeJob, FakeLog, Hook, Repository, Run};
use super::routes::{Ask, Reply, error, user};
use super::world::{FakeOwner, World};

/// Runs that a search lists, whatever it counts.
const SEARCH_MAX: usize = 1_000;
/// Before the number in a cursor.
const CURSOR: &str = "v1_";

pub(super) fn url(rest: &str) -> String {
    format!("https://api.github.com{rest}")
}

fn text(at: Duration) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Both ends of a span in GitHub's search syntax, in seconds.
fn instants(span: &str) -> Option<(u64, u64)> {
    let second = |text: &str| u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_second()).ok();
    let (from, to) = span.split_once("..")?;
    Some((second(from)?, second(to)?))
}

/// What names an answer to an App. Another App's name for it is another one.
pub(super) fn tag(app: u64, body: &Value) -> String {
    let hash = hex::encode(Sha256::digest(format!("{app} {body}")));
    format!("W/\"{hash}\"")
}

/// The `Link` of a page of deliveries, if there are more. It names GitHub's own host, which the fake is not.
pub(super) fn link(page: &Value, ask: &Ask<'_>) -> Option<String> {
    if !ask.operation.template.ends_with("/deliveries") {
        return None;
    }
    let page = page.as_array().filter(|page| page.len() == ask.number("per_page", 30).clamp(1, 100))?;
    let next = page.last()?["id"].as_i64()? - 1;
    Some(format!("<{}>; rel=\"next\"", url(&format!("/app/hook/deliveries?per_page=100&cursor={CURSOR}{next}"))))
}

pub(super) fn of_app(world: &World, app: u64, ask: &Ask<'_>) -> Reply {
    if world.records.hookless.contains(&app) {
        return error(404, "Not Found");
    }
    deliveries(world, FakeLog::App(app), ask)
}

/// About an organization, or a repository that is the owner.
pub(super) fn of_owner(world: &World, rest: &str, ask: &Ask<'_>) -> Reply {
    match rest {
        "/repos" => repositories(world, ask),
        "/hooks" => (200, Some(json!(ask.page(world.records.hooks.iter().map(|one| hook(world, one)).collect())))),
        "/hooks/{hook_id}/deliveries" | "/hooks/{hook_id}/deliveries/{delivery_id}" => {
            let id = ask.path("hook_id").parse().unwrap_or(0);
            if world.records.hooks.iter().any(|hook| hook.id == id) {
                deliveries(world, FakeLog::Hook(id), ask)
            } else {
                error(404, "Not Found")
            }
        }
        _ => (501, Some(json!({ "message": "the fake does not model this" }))),
    }
}

fn deliveries(world: &World, log: FakeLog, ask: &Ask<'_>) -> Reply {
    let of_log = || world.records.deliveries.iter().filter(|delivery| delivery.log == log);
    if let Ok(id) = ask.path("delivery_id").parse::<i64>() {
        return match of_log().find(|delivery| delivery.id == id) {
            Some(found) => (200, Some(whole_delivery(found))),
            None => error(404, "Not Found"),
        };
    }
    let Ok(from) = ask.text("cursor").map_or(Ok(i64::MAX), |text| text.trim_start_matches(CURSOR).parse()) else {
        return error(400, "Invalid cursor");
    };
    // The ranges are GitHub's.
    let range = match ask.text("status").as_deref() {
        Some("failure") => 400..=599,
        Some("success") => 200..=399,
        Some(_) | None => 0..=999,
    };
    let mut all: Vec<&Delivery> =
        of_log().filter(|delivery| delivery.id <= from && range.contains(&delivery.status_code)).collect();
    all.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
    (200, Some(json!(ask.page(all.into_iter().map(delivery).collect()))))
}

fn delivery(delivery: &Delivery) -> Value {
    let status = if (200..300).contains(&delivery.status_code) { "OK" } else { "failed to connect to host" };
    json!({
        "id": delivery.id, "guid": delivery.guid, "delivered_at": text(delivery.at), "redelivery": delivery.redelivery,
        "duration": 0.27, "status": status, "status_code": delivery.status_code, "event": delivery.event,
        "action": delivery.payload.get("action").cloned().unwrap_or(Value::Null), "installation_id": 701,
        "repository_id": null, "throttled_at": null,
    })
}

fn whole_delivery(one: &Delivery) -> Value {
    let mut value = delivery(one);
    value["url"] = json!("https://muster.example/webhook");
    value["request"] = json!({
        "headers": { "X-GitHub-Delivery": one.guid, "X-Hub-Signature-256": "sha256=planted" }, "payload": one.payload,
    });
    value["response"] = json!({ "headers": null, "payload": null });
    value
}

fn hook(world: &World, hook: &Hook) -> Value {
    let at = "2026-01-01T00:00:00Z";
    let mut value = json!({
        "id": hook.id, "type": "Organization", "name": "web", "active": hook.active, "events": hook.events,
        "config": hook.settings.config(),
        "url": url("/h"), "ping_url": url("/p"), "deliveries_url": url("/d"), "created_at": at, "updated_at": at,
    });
    if let FakeOwner::Repository(_) = world.setup.owner {
        value["type"] = json!("Repository");
        value["test_url"] = json!(url("/t"));
        value["last_response"] = json!({ "code": null, "status": "unused", "message": null });
    }
    value
}

fn repositories(world: &World, ask: &Ask<'_>) -> Reply {
    let mut all: Vec<&Repository> = world.records.repositories.iter().collect();
    if ask.text("sort").as_deref() == Some("pushed") {
        all.sort_by_key(|repository| repository.pushed_at);
    }
    if ask.text("sort").as_deref() == Some("created") {
        all.sort_by_key(|repository| repository.id);
    }
    if ask.text("direction").as_deref() == Some("desc") {
        all.reverse();
    }
    (200, Some(json!(ask.page(all.into_iter().map(repository).collect()))))
}

/// About the runs and jobs of a repository.
pub(super) fn of_repository(world: &World, ask: &Ask<'_>) -> Reply {
    let name = format!("{}/{}", ask.path("owner"), ask.path("repo"));
    let visible = match &world.setup.owner {
        FakeOwner::Organization(login) => ask.path("owner").eq_ignore_ascii_case(login),
        FakeOwner::Repository(own) => own.eq_ignore_ascii_case(&name),
        FakeOwner::Enterprise(_) => false,
    };
    let Some(found) = world.records.repository(&name).filter(|_| visible) else { return error(404, "Not Found") };
    if found.closed {
        return error(403, "Repository access blocked");
    }
    let runs = || world.records.runs.iter().filter(|run| run.repository == found.name);
    match (ask.method, ask.operation.template.trim_start_matches("/repos/{owner}/{repo}/actions")) {
        ("GET", "/runs") => {
            let status = ask.text("status");
            let mut all: Vec<&Run> = runs()
                .filter(|run| status.as_ref().is_none_or(|status| world.records.status(run.id) == status))
                .collect();
            if let Some(branch) = ask.text("branch") {
                all.retain(|run| run.branch.as_deref() == Some(branch.as_str()));
            }
            if let Some(event) = ask.text("event") {
                all.retain(|run| run.event == event);
            }
            if let Some(span) = ask.text("created") {
                let Some((from, to)) = instants(&span) else { return error(422, "created is no span of time") };
                all.retain(|run| (from..=to).contains(&run.at.as_secs()));
            }
            all.sort_by_key(|run| std::cmp::Reverse(run.id));
            let total = all.len();
            if ["created", "branch", "event"].iter().any(|name| ask.text(name).is_some()) || status.is_some() {
                all.truncate(SEARCH_MAX);
            }
            let page: Vec<Value> = ask.page(all).into_iter().map(|one| run(world, found, one)).collect();
            (200, Some(json!({ "total_count": total, "workflow_runs": page })))
        }
        ("GET", "/runs/{run_id}") => match runs().find(|run| run.id.to_string() == ask.path("run_id")) {
            Some(one) => (200, Some(run(world, found, one))),
            None => error(404, "Not Found"),
        },
        ("GET", "/runs/{run_id}/attempts/{attempt_number}/jobs") => {
            let Some(run) = runs().find(|run| run.id.to_string() == ask.path("run_id")) else {
                return error(404, "Not Found");
            };
            let wanted = |job: &&FakeJob| job.run == run.id && job.attempt.to_string() == ask.path("attempt_number");
            let all: Vec<&FakeJob> = world.records.jobs.iter().filter(wanted).collect();
            let total = all.len();
            let page: Vec<Value> = ask.page(all).into_iter().map(|one| job(one, run)).collect();
            (200, Some(json!({ "total_count": total, "jobs": page })))
        }
        ("GET", "/runs/{run_id}/jobs") => {
            let Some(run) = runs().find(|run| run.id.to_string() == ask.path("run_id")) else {
                return error(404, "Not Found");
            };
            let all: Vec<&FakeJob> = match ask.text("filter").as_deref() {
                Some("all") => world.records.jobs.iter().filter(|job| job.run == run.id).collect(),
                Some(_) | None => world.records.latest(run.id).collect(),
            };
            let total = all.len();
            let page: Vec<Value> = ask.page(all).into_iter().map(|one| job(one, run)).collect();
            (200, Some(json!({ "total_count": total, "jobs": page })))
        }
        ("GET", "/jobs/{job_id}") => {
            let wanted = world.records.jobs.iter().find(|job| job.id.to_string() == ask.path("job_id"));
            match wanted.and_then(|job| Some((job, runs().find(|run| run.id == job.run)?))) {
                Some((one, run)) => (200, Some(job(one, run))),
                None => error(404, "Not Found"),
            }
        }
        _ => (501, Some(json!({ "message": "the fake does not model this" }))),
    }
}

pub(super) fn repository(one: &Repository) -> Value {
    let (login, name) = one.name.split_once('/').unwrap_or((&one.name, ""));
    let mut value = json!({
        "id": one.id, "node_id": format!("R_{}", one.id), "name": name, "full_name": one.name, "private": one.private,
        "owner": user(login, "Organization"), "description": null, "fork": false, "archived": one.archived,
        "disabled": false, "pushed_at": text(one.pushed_at), "html_url": url("/r"), "url": url("/r"),
    });
    let urls = [
        "archive",
        "assignees",
        "blobs",
        "branches",
        "collaborators",
        "comments",
        "commits",
        "compare",
        "contents",
        "contributors",
        "deployments",
        "downloads",
        "events",
        "forks",
        "git_commits",
        "git_refs",
        "git_tags",
        "hooks",
        "issue_comment",
        "issue_events",
        "issues",
        "keys",
        "labels",
        "languages",
        "merges",
        "milestones",
        "notifications",
        "pulls",
        "releases",
        "stargazers",
        "statuses",
        "subscribers",
        "subscription",
        "tags",
        "teams",
        "trees",
    ];
    for name in urls {
        value[format!("{name}_url")] = json!(url("/r"));
    }
    value
}

/// How a run ended, by its jobs.
fn conclusion(world: &World, run: &Run) -> &'static str {
    let any = |word: &str| world.records.latest(run.id).any(|job| job.conclusion.as_deref() == Some(word));
    match run.cancelled {
        true => "cancelled",
        false if any("failure") || any("timed_out") => "failure",
        false if any("cancelled") => "cancelled",
        false => "success",
    }
}

fn run(world: &World, of: &Repository, run: &Run) -> Value {
    let status = world.records.status(run.id);
    let mut value = json!({
        "id": run.id, "node_id": format!("WFR_{}", run.id), "name": run.workflow, "head_branch": run.branch,
        "run_number": world.records.run_number(run), "run_attempt": run.attempt, "display_title": "a push", "event": run.event, "status": status,
        "conclusion": (status == "completed").then(|| conclusion(world, run)),
        "head_sha": "0".repeat(40),
        "path": ".github/workflows/ci.yml", "workflow_id": world.records.workflow_number(run), "url": url("/w"), "html_url": url("/w"),
        "created_at": text(run.at), "updated_at": text(run.at), "head_commit": null, "pull_requests": [],
        "repository": repository(of), "head_repository": repository(of),
    });
    for name in ["jobs", "logs", "check_suite", "cancel", "rerun", "artifacts", "workflow"] {
        value[format!("{name}_url")] = json!(url("/w"));
    }
    value
}

fn job(job: &FakeJob, run: &Run) -> Value {
    json!({
        "id": job.id, "node_id": format!("CR_{}", job.id), "run_id": job.run, "run_url": url("/w"),
        "run_attempt": job.attempt, "head_sha": "0".repeat(40), "head_branch": run.branch, "name": job.name,
        "workflow_name": run.workflow, "url": url("/j"), "html_url": url("/j"), "check_run_url": url("/c"),
        "status": job.status, "conclusion": job.conclusion, "created_at": text(job.created_at),
        "started_at": text(job.started_at), "completed_at": job.completed_at.map(text), "labels": job.labels,
        "steps": [], "runner_id": job.runner.as_ref().map(|(id, _)| id),
        "runner_name": job.runner.as_ref().map(|(_, name)| name), "runner_group_id": null, "runner_group_name": null,
    })
}
