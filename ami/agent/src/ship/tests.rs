//! Shipping, to a door and a place for logs on loopback.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing;
use muster_core::ids::InstanceId;
use serde_json::{Value, json};

use super::*;

/// What the door grants of one log.
const GRANTED: u64 = 8;

/// What came to the door and to the place for logs, which is the same server.
#[derive(Default)]
struct Heard {
    asked: Mutex<Vec<Value>>,
    put: Mutex<Vec<(String, String)>>,
    /// How the door answers, if not with an address.
    refuses: Mutex<Option<StatusCode>>,
    /// Whether puts are refused.
    full: Mutex<bool>,
}

async fn ask(State(heard): State<Arc<Heard>>, headers: HeaderMap, Json(asked): Json<Value>) -> Response {
    heard.asked.lock().unwrap().push(asked.clone());
    if let Some(status) = *heard.refuses.lock().unwrap() {
        return status.into_response();
    }
    let base = format!("http://{}", headers["host"].to_str().unwrap());
    let bytes = asked["bytes"].as_u64().unwrap().min(GRANTED);
    let url = format!("{base}/logs/{}-{}?secret=1", asked["kind"].as_str().unwrap(), asked["number"]);
    let headers = json!({ "content-length": bytes.to_string(), "content-type": "text/plain", "if-none-match": "*" });
    Json(json!({ "url": url, "headers": headers, "bytes": bytes, "expires_s": 60 })).into_response()
}

async fn keep(State(heard): State<Arc<Heard>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert!(headers["if-none-match"] == "*" && headers["content-type"] == "text/plain");
    assert!(headers.get("authorization").is_none() && headers.get_all("content-length").iter().count() == 1);
    if *heard.full.lock().unwrap() {
        return StatusCode::FORBIDDEN;
    }
    let name = uri.path().trim_start_matches("/logs/").to_owned();
    heard.put.lock().unwrap().push((name, String::from_utf8(body.to_vec()).unwrap()));
    StatusCode::OK
}

async fn serve() -> (Arc<Heard>, Door) {
    let heard = Arc::new(Heard::default());
    let routes = Router::new().route("/runners/logs", routing::post(ask)).route("/logs/{name}", routing::put(keep));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = routes.with_state(heard.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (heard, Door::new(crate::http::metadata().unwrap(), &base))
}

fn from() -> SessionProof {
    SessionProof { instance: InstanceId::new("i-0123456789abcdef0"), session: 2, token: "ab".repeat(32) }
}

/// A runner's folder with these files in `_diag`.
fn runner(files: &[(&str, &str)]) -> tempfile::TempDir {
    let runner = tempfile::tempdir().unwrap();
    fs::create_dir(runner.path().join("_diag")).unwrap();
    for (name, text) in files {
        fs::write(runner.path().join("_diag").join(name), text).unwrap();
    }
    runner
}

fn logs(runner: &Path) -> Vec<Log> {
    find(&host::Diag::open(runner, nix::unistd::getuid().as_raw()).unwrap()).unwrap()
}

fn names(kept: &[(&str, &str)]) -> Vec<(String, String)> {
    kept.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn the_latest_logs_are_put_the_end_of_each() {
    let runner = runner(&[
        ("Runner_20261122-100000-utc.log", "first"),
        ("Runner_20261122-110000-utc.log", "second"),
        ("Runner_20261122-120000-utc.log", "third"),
        ("Runner_20261122-130000-utc.log", ""),
        ("Runner_20261122-140000-utc.log", "fourth"),
        ("Worker_20261122-120000-utc.log", "a long log, and its end"),
        ("Worker_20261122-120000-utc.txt", "no log"),
        ("pages_1.log", "a job's output"),
    ]);
    let (heard, door) = serve().await;
    assert_eq!(put(logs(runner.path()), &door, &from(), &Clock::default()).await, 4);
    let kept = [("worker-1", " its end"), ("runner-1", "fourth"), ("runner-2", "third"), ("runner-3", "second")];
    assert_eq!(*heard.put.lock().unwrap(), names(&kept));
    let asked = heard.asked.lock().unwrap();
    assert_eq!(asked[0]["bytes"], 23, "what there is, and the door says how much of it");
    assert_eq!((&asked[0]["session"], &asked[0]["token"]), (&json!(2), &json!("ab".repeat(32))));
}

/// What a job could put there so that root reads for it.
#[tokio::test]
async fn what_a_job_planted_is_not_sent() {
    let runner = runner(&[("Worker_1.log", "the log")]);
    let diag = runner.path().join("_diag");
    fs::write(runner.path().join("shadow"), "root's").unwrap();
    symlink(runner.path().join("shadow"), diag.join("Worker_2.log")).unwrap();
    symlink(runner.path(), diag.join("Worker_3.log")).unwrap();
    nix::unistd::mkfifo(&diag.join("Worker_4.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(diag.join("Worker_5.log")).unwrap();
    let (heard, door) = serve().await;
    assert_eq!(put(logs(runner.path()), &door, &from(), &Clock::default()).await, 1);
    assert_eq!(*heard.put.lock().unwrap(), names(&[("worker-1", "the log")]));

    // The whole folder in the place of another: nothing is even opened.
    fs::rename(&diag, runner.path().join("moved")).unwrap();
    symlink("/etc", &diag).unwrap();
    assert!(host::Diag::open(runner.path(), nix::unistd::getuid().as_raw()).is_err());
}

#[tokio::test]
async fn a_log_that_changes_meanwhile_is_sent_as_large_as_was_said_or_not_at_all() {
    let runner = runner(&[("Worker_1.log", "12345"), ("Worker_2.log", "67890")]);
    let found = logs(runner.path());
    fs::write(runner.path().join("_diag/Worker_1.log"), "1").unwrap();
    fs::write(runner.path().join("_diag/Worker_2.log"), "67890 and more").unwrap();
    let (heard, door) = serve().await;
    assert_eq!(put(found, &door, &from(), &Clock::default()).await, 1);
    assert_eq!(*heard.put.lock().unwrap(), names(&[("worker-1", " more")]));
}

#[tokio::test]
async fn a_fleet_that_keeps_none_is_asked_once_and_one_that_is_down_for_each() {
    let runner = runner(&[("Worker_1.log", "1"), ("Runner_1.log", "2")]);
    for (status, times) in [(404, 1), (401, 1), (503, 2)] {
        let (heard, door) = serve().await;
        *heard.refuses.lock().unwrap() = Some(StatusCode::from_u16(status).unwrap());
        assert_eq!(put(logs(runner.path()), &door, &from(), &Clock::default()).await, 0);
        assert_eq!((heard.asked.lock().unwrap().len(), heard.put.lock().unwrap().len()), (times, 0), "{status}");
    }
}

#[tokio::test]
async fn a_refused_put_hinders_nothing() {
    let runner = runner(&[("Worker_1.log", "1"), ("Runner_1.log", "2")]);
    let (heard, door) = serve().await;
    *heard.full.lock().unwrap() = true;
    assert_eq!(put(logs(runner.path()), &door, &from(), &Clock::default()).await, 0);
    assert_eq!(heard.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_address_is_never_less_safe_than_the_door_and_never_told() {
    let to =
        |url: &str| serde_json::from_value(json!({ "url": url, "headers": {}, "bytes": 1, "expires_s": 60 })).unwrap();
    let door = Door::new(crate::http::metadata().unwrap(), "https://door.acme.example");
    let refused = door.put(to("http://127.0.0.1:1/logs?secret=1"), Body::from("1")).await.unwrap_err();
    assert_eq!(refused, "the address is not https");
    let door = Door::new(crate::http::metadata().unwrap(), "http://127.0.0.1:1");
    let silent = door.put(to("http://127.0.0.1:1/logs?secret=1"), Body::from("1")).await.unwrap_err();
    assert!(!silent.contains("secret") && !silent.contains("127.0.0.1"), "{silent}");
}

#[tokio::test(start_paused = true)]
async fn it_is_given_up_in_time() {
    let begun = tokio::time::Instant::now();
    in_time(std::future::pending()).await;
    assert_eq!(begun.elapsed(), SHIP_WITHIN);
}
