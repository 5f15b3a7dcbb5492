//! What other processes tell and ask the fake, under `/_fake/`: the same that tests in Rust do with [`World`].
//!
//! `POST /_fake/faults` takes a fault; `POST /_fake/runner` takes `{"name", "online"?, "busy"?}`; `POST /_fake/advance`
//! takes `{"seconds"}`; `POST /_fake/revoke` ends all tokens; `POST /_fake/delivery` logs a delivery that failed, from
//! `{"app", "payload"}`; `POST /_fake/run` takes `{"repository", "workflow"}`; `POST /_fake/job` takes `{"run", "labels"}`, or
//! `{"id", "status"}` of one that is there; `POST /_fake/push` takes `{"repository"}`; `GET /_fake/state` gives runners,
//! requests, how often a limit was hit, what broke the description, and every secret that was given out. What gets a number is answered with its `id`.

use std::time::Duration;

use serde_json::{Value, json};

use super::fault::Fault;
use super::world::World;

/// Does what another process says. `None`: it makes no sense.
pub(super) fn control(world: &mut World, method: &str, what: &str, body: &Value) -> Option<Value> {
    match (method, what) {
        ("POST", "faults") => world.faults.push(Fault::from_json(body)?),
        ("POST", "runner") => {
            let runner = world.runner(body["name"].as_str()?)?;
            runner.online = body["online"].as_bool().unwrap_or(runner.online);
            runner.busy = body["busy"].as_bool().unwrap_or(runner.busy);
        }
        ("POST", "advance") => world.advance(Duration::from_secs(body["seconds"].as_u64()?)),
        ("POST", "revoke") => world.revoke_tokens(),
        ("POST", "delivery") => {
            let id = world.fail_delivery(body["app"].as_u64()?, body["payload"].clone());
            return Some(json!({ "id": id }));
        }
        ("POST", "run") => {
            let id = world.add_run(body["repository"].as_str()?, body["workflow"].as_str()?);
            return Some(json!({ "id": id }));
        }
        ("POST", "job") => match (body["id"].as_i64(), body["run"].as_i64()) {
            (Some(id), _) => world.set_job_status(id, body["status"].as_str()?),
            (None, run) => {
                let labels: Vec<&str> = body["labels"].as_array()?.iter().filter_map(Value::as_str).collect();
                return Some(json!({ "id": world.add_job(run?, &labels) }));
            }
        },
        ("POST", "push") => world.push(body["repository"].as_str()?),
        ("GET", "state") => {
            let runners = world.runners.iter().map(|runner| {
                json!({
                    "id": runner.id, "name": runner.name, "labels": runner.labels, "group": runner.group,
                    "online": runner.online, "busy": runner.busy,
                })
            });
            let seen = world.seen.iter().map(
                |seen| json!({ "method": seen.method, "path": seen.path, "app": seen.app, "status": seen.status }),
            );
            return Some(json!({
                "runners": runners.collect::<Vec<_>>(), "requests": seen.collect::<Vec<_>>(),
                "limits_hit": world.limits_hit, "wrong": world.wrong, "secrets": world.secrets(),
            }));
        }
        _ => return None,
    }
    Some(json!({ "ok": true }))
}
