//! The door's answers, over TCP.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use muster_tests::{Happening, JobDelivery, recorded, sign};
use serde_json::{Value, json};

use crate::fleet::{Fleet, SECRET, SERVES_RECORDED, said};

pub(crate) fn job(job: i64, labels: &[&str]) -> JobDelivery {
    JobDelivery {
        job,
        repository: "octo-org/api".to_owned(),
        public: false,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        created_at: "2026-11-22T10:00:00Z".to_owned(),
        happening: Happening::Queued,
    }
}

/// What must hold of every error.
fn is_error(case: &str, expected: u16, (status, body): (u16, Value), says: &str) {
    assert_eq!(status, expected, "{case}: {body}");
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    assert!(!text("error").is_empty() && !text("remedy").is_empty(), "{case}: {body}");
    let all = format!("{} {}", text("error"), text("remedy"));
    assert!(all.contains(says), "{case} should say {says:?}: {all}");
}

#[tokio::test]
async fn every_answer_of_the_table() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    let door = &server.door;
    let good = job(41, &["ubuntu-latest"]).body();
    let signed = |body: &str| door.delivery("workflow_job", body, SECRET);
    let unsigned = |body: &str| door.post("/webhook").header("x-github-event", "workflow_job").body(body.to_owned());

    // 202: stored, and stored though refused.
    let (status, answer) = said(signed(&good)).await;
    assert_eq!((status, &answer["stored"], &answer["outcome"]), (202, &json!(true), &json!("class")));
    let (status, answer) = said(signed(&good)).await;
    assert_eq!((status, &answer["duplicate"]), (202, &json!(true)));
    let (status, answer) = door.tell(&job(42, &["nobody-has-this"])).await;
    assert_eq!((status, &answer["outcome"]), (202, &json!("no_pool")));
    assert!(answer["reason"].as_str().is_some_and(|why| why.contains("nobody-has-this")), "{answer}");
    // 200: ignored.
    let ping = recorded().remove(0);
    for (event, body) in [("ping", ping.body.as_str()), ("push", "{}"), ("workflow_run", "not even JSON")] {
        let (status, answer) = door.deliver(event, body).await;
        assert_eq!((status, &answer["stored"], &answer["ignored"]), (200, &json!(false), &json!(true)), "{event}");
    }
    // 400: not JSON, or a field missing, which is named.
    is_error("not JSON", 400, door.deliver("workflow_job", "{\"action\": ").await, "not JSON");
    let payload = job(43, &["ubuntu-latest"]).payload();
    for pointer in [
        "/action",
        "/workflow_job/id",
        "/workflow_job/run_id",
        "/workflow_job/status",
        "/workflow_job/labels",
        "/repository/full_name",
        "/repository/private",
    ] {
        let mut lacks = payload.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { &mut lacks } else { lacks.pointer_mut(parent).unwrap() };
        parent.as_object_mut().unwrap().remove(key).unwrap();
        let name = pointer[1..].replace('/', ".");
        is_error(pointer, 400, door.deliver("workflow_job", &lacks.to_string()).await, &format!("`{name}`"));
    }
    // 401: whatever else is wrong.
    is_error("no signature", 401, said(unsigned(&good)).await, "absent");
    let sha1 = "sha1=0000000000000000000000000000000000000000";
    is_error("SHA-1 only", 401, said(unsigned(&good).header("x-hub-signature", sha1)).await, "SHA-1");
    let sign_as = |value: String| unsigned(&good).header("x-hub-signature-256", value);
    is_error("malformed", 401, said(sign_as("sha256=abc".to_owned())).await, "hex");
    is_error("another secret", 401, said(sign_as(sign(b"guessed", good.as_bytes()))).await, "wrong");
    is_error("other bytes", 401, said(sign_as(sign(SECRET.as_bytes(), b"{}"))).await, "wrong");
    let wrong = door.delivery("workflow_job", "]", "guessed");
    is_error("not JSON, not signed", 401, said(wrong).await, "wrong");
    // 413, signed or not.
    let large = " ".repeat(10_000_001);
    is_error("too large", 413, said(signed(&large)).await, "10000000");
    is_error("too large, not signed", 413, said(unsigned(&large)).await, "10000000");
    let full = format!("{good}{}", " ".repeat(10_000_000 - good.len()));
    assert_eq!(said(signed(&full)).await.0, 202, "just within the limit");
    // 415: which setting to change.
    let form = format!("payload={good}");
    let form = door
        .post("/webhook")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-github-event", "workflow_job")
        .header("x-hub-signature-256", sign(SECRET.as_bytes(), form.as_bytes()))
        .body(form);
    is_error("a form", 415, said(form).await, "content type");
    // 404 and 405.
    is_error("no such path", 404, said(door.get("/metrics")).await, "/webhook");
    is_error("no such path", 404, said(door.post("/webhook/")).await, "/webhook");
    is_error("GET /webhook", 405, said(door.get("/webhook")).await, "POST");
    is_error("POST /healthz", 405, said(door.post("/healthz")).await, "GET");
    is_error("a bad claim", 400, said(door.post("/runners/claim").body("{}")).await, "protocol");
    is_error("a bad report", 400, said(door.post("/runners/report").body("[")).await, "protocol");
    // And through all of this it is well.
    let (status, answer) = door.health().await;
    assert_eq!((status, &answer["version"]), (200, &json!(env!("CARGO_PKG_VERSION"))));
    // Nothing but what was answered with 202 is in the ledger.
    let mut jobs: Vec<Value> = fleet.ledger().iter().map(|entry| entry["job_id"].clone()).collect();
    jobs.sort_by_key(Value::as_i64);
    assert_eq!(jobs, [json!(41), json!(42)]);
    server.end();
}

/// GitHub hangs up after ten seconds, and proxies half-close: what was sent whole is stored, told, and answered if anybody
/// still listens.
#[test]
fn a_client_that_has_said_all_and_leaves_is_heard() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    let send = |number: i64| {
        let body = job(number, &["gpu"]).body();
        let signature = sign(SECRET.as_bytes(), body.as_bytes());
        let head = format!(
            "POST /webhook HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\nX-GitHub-Event: workflow_job\r\n\
             X-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(server.door.address()).unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        stream
    };
    let mut half = send(1);
    half.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    for number in 2..20 {
        drop(send(number));
    }
    for number in 1..20 {
        server.logged("the event", |line| line["target"] == "muster::event" && line["fields"]["job"] == number);
    }
    server.end();
}
