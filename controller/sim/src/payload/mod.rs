//! The JSON of a `workflow_job` delivery.
//!
//! What lives here: the fields that GitHub's published schema requires, and those that people read. What may not: a field
//! that says something the simulated world does not know.
//!
//! Invariant: every body validates against GitHub's schema for its action. A test says so.

mod owner;

use muster_core::job::{Completed, Conclusion, JobEvidence, RunnerRef, Started};
use muster_core::time::Timestamp;
use serde_json::{Value, json};

use self::owner::{account, organization, repository};
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
