//! The JSON of a `workflow_job` delivery.
//!
//! What lives here: the fields that GitHub's published schema requires, and those that people read. What may not: a field
//! that says something the simulated world does not know.
//!
//! Invariant: every body validates against GitHub's schema for its action. A test says so.

use std::sync::Arc;

use muster_core::job::{Completed, Conclusion, JobEvidence, RunnerRef, Started};
use muster_core::time::Timestamp;
use serde_json::{Value, json};

use crate::chance::number_of;
use crate::webhook::{Installation, Webhook};

/// The name of the runner group that simulated runners are in, and its id.
const RUNNER_GROUP: (&str, i64) = ("default", 1);

/// The body.
pub(crate) fn workflow_job(webhook: &Webhook, installation: &Installation) -> Vec<u8> {
    let about = &webhook.event.about;
    let (owner, name) = about.repository.split_once('/').unwrap_or(("", &about.repository));
    let body = json!({
        "action": webhook.action(),
        "workflow_job": job(webhook),
        "repository": repository(owner, name, about.public, installation),
        "organization": organization(installation),
        "installation": {"id": installation.id, "node_id": node_id("Installation", installation.id)},
        "sender": account("octo-dev", "User"),
    });
    body.to_string().into_bytes()
}

/// Where a job stands, in the payload's terms.
struct Standing<'a> {
    status: &'static str,
    conclusion: Option<&'a str>,
    started_at: Timestamp,
    completed_at: Option<Timestamp>,
    runner: Option<&'a RunnerRef>,
    step: Option<(&'static str, Option<&'static str>)>,
}

fn standing(webhook: &Webhook) -> Standing<'_> {
    // Before a start GitHub sends the creation for `started_at`.
    let waiting = |status| Standing {
        status,
        conclusion: None,
        started_at: webhook.created_at,
        completed_at: None,
        runner: None,
        step: None,
    };
    match &webhook.event.evidence {
        JobEvidence::Queued { .. } => waiting("queued"),
        JobEvidence::Waiting => waiting("waiting"),
        JobEvidence::InProgress(Started { started_at, runner }) => Standing {
            status: "in_progress",
            conclusion: None,
            started_at: *started_at,
            completed_at: None,
            runner: runner.as_ref(),
            step: Some(("in_progress", None)),
        },
        JobEvidence::Completed(Completed { completed_at, conclusion, started_at, runner }) => Standing {
            status: "completed",
            conclusion: Some(conclusion.as_word()),
            started_at: started_at.unwrap_or(webhook.created_at),
            completed_at: Some(*completed_at),
            runner: runner.as_ref(),
            step: started_at.map(|_| ("completed", Some(step_conclusion(conclusion)))),
        },
    }
}

/// A step knows fewer words than a job.
fn step_conclusion(conclusion: &Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Success | Conclusion::Neutral => "success",
        Conclusion::Skipped => "skipped",
        Conclusion::Cancelled => "cancelled",
        Conclusion::ActionRequired | Conclusion::TimedOut | Conclusion::Failure | Conclusion::Other(_) => "failure",
    }
}

fn job(webhook: &Webhook) -> Value {
    let about = &webhook.event.about;
    let (id, run) = (webhook.event.key.job, about.run);
    let api = format!("https://api.github.com/repos/{}", about.repository);
    let page = format!("https://github.com/{}", about.repository);
    let standing = standing(webhook);
    let name: &str = about.name.as_deref().unwrap_or("job");
    let steps: Vec<Value> = standing
        .step
        .map(|(status, conclusion)| {
            json!({
                "name": "Set up job",
                "status": status,
                "conclusion": conclusion,
                "number": 1,
                "started_at": seconds(standing.started_at),
                "completed_at": standing.completed_at.map(seconds),
            })
        })
        .into_iter()
        .collect();
    json!({
        "id": id,
        "run_id": run,
        "workflow_name": about.workflow,
        "head_branch": "main",
        "run_url": format!("{api}/actions/runs/{run}"),
        "run_attempt": webhook.event.key.attempt,
        "node_id": node_id("CheckRun", id.0),
        "head_sha": head_sha(run.0),
        "url": format!("{api}/actions/jobs/{id}"),
        "html_url": format!("{page}/actions/runs/{run}/job/{id}"),
        "status": standing.status,
        "conclusion": standing.conclusion,
        "created_at": seconds(webhook.created_at),
        "started_at": seconds(standing.started_at),
        "completed_at": standing.completed_at.map(seconds),
        "name": name,
        "steps": steps,
        "check_run_url": format!("{api}/check-runs/{id}"),
        "labels": about.labels,
        "runner_id": standing.runner.and_then(|runner| runner.id),
        "runner_name": standing.runner.map(|runner| &runner.name),
        "runner_group_id": standing.runner.map(|_| RUNNER_GROUP.1),
        "runner_group_name": standing.runner.map(|_| RUNNER_GROUP.0),
    })
}

/// RFC 3339, whole seconds.
fn seconds(at: Timestamp) -> String {
    let whole = at.unix_ms().div_euclid(1_000) * 1_000;
    Timestamp::from_unix_ms(whole).to_string().replace(".000Z", "Z")
}

fn node_id(kind: &str, id: i64) -> String {
    format!("SIM_{kind}_{id}")
}

/// Something that looks like a commit, the same for all jobs of a run.
fn head_sha(run: i64) -> String {
    let word = |n: i64| number_of(&format!("{run}/{n}"));
    format!("{:016x}{:016x}{:08x}", word(0), word(1), word(2) & 0xffff_ffff)
}

/// A positive id for a name, within what JSON numbers hold exactly.
fn id_of(name: &str) -> i64 {
    i64::try_from(number_of(name) >> 24).unwrap_or(1)
}

fn account(login: &str, kind: &str) -> Value {
    let api = format!("https://api.github.com/users/{login}");
    let id = id_of(login);
    json!({
        "login": login,
        "id": id,
        "node_id": node_id(kind, id),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "gravatar_id": "",
        "url": api,
        "html_url": format!("https://github.com/{login}"),
        "followers_url": format!("{api}/followers"),
        "following_url": format!("{api}/following{{/other_user}}"),
        "gists_url": format!("{api}/gists{{/gist_id}}"),
        "starred_url": format!("{api}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{api}/subscriptions"),
        "organizations_url": format!("{api}/orgs"),
        "repos_url": format!("{api}/repos"),
        "events_url": format!("{api}/events{{/privacy}}"),
        "received_events_url": format!("{api}/received_events"),
        "type": kind,
        "site_admin": false,
    })
}

fn organization(installation: &Installation) -> Value {
    let login: &Arc<str> = &installation.organization;
    let api = format!("https://api.github.com/orgs/{login}");
    json!({
        "login": login,
        "id": installation.organization_id,
        "node_id": node_id("Organization", installation.organization_id),
        "url": api,
        "repos_url": format!("{api}/repos"),
        "events_url": format!("{api}/events"),
        "hooks_url": format!("{api}/hooks"),
        "issues_url": format!("{api}/issues"),
        "members_url": format!("{api}/members{{/member}}"),
        "public_members_url": format!("{api}/public_members{{/member}}"),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{}?v=4", installation.organization_id),
        "description": null,
    })
}

/// The addresses of a repository that only add a word to its own: field and word.
const ADDRESSES: [(&str, &str); 37] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

fn repository(owner: &str, name: &str, public: bool, installation: &Installation) -> Value {
    let full = format!("{owner}/{name}");
    let api = format!("https://api.github.com/repos/{full}");
    let id = id_of(&full);
    let mut owner_account = account(owner, "Organization");
    if owner == &*installation.organization {
        owner_account["id"] = installation.organization_id.into();
    }
    let mut repository = json!({
        "id": id,
        "node_id": node_id("Repository", id),
        "name": name,
        "full_name": full,
        "private": !public,
        "visibility": if public { "public" } else { "private" },
        "owner": owner_account,
        "html_url": format!("https://github.com/{full}"),
        "description": null,
        "fork": false,
        "clone_url": format!("https://github.com/{full}.git"),
        "git_url": format!("git://github.com/{full}.git"),
        "ssh_url": format!("git@github.com:{full}.git"),
        "svn_url": format!("https://github.com/{full}"),
        "homepage": null,
        "language": null,
        "license": null,
        "mirror_url": null,
        "default_branch": "main",
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "pushed_at": "2020-01-01T00:00:00Z",
        "size": 0,
        "forks": 0,
        "forks_count": 0,
        "watchers": 0,
        "watchers_count": 0,
        "stargazers_count": 0,
        "open_issues": 0,
        "open_issues_count": 0,
        "has_issues": true,
        "has_projects": true,
        "has_downloads": true,
        "has_wiki": true,
        "has_pages": false,
        "archived": false,
        "disabled": false,
        "topics": [],
    });
    for (field, word) in ADDRESSES {
        repository[field] = format!("{api}{word}").into();
    }
    repository
}
