//! One line for each accepted event, and no secret anywhere.

use std::fs;

use muster_core::protocol::AgentState;
use muster_tests::recorded;
use serde_json::{Value, json};

use crate::agent::{Agent, unclaimed};
use crate::fleet::{Fleet, SECRET, SERVES_RECORDED, log_lines, said};
use crate::http::job;

#[tokio::test]
async fn each_accepted_event_is_one_line() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    let mut accepted = Vec::new();
    for one in recorded() {
        let (status, answer) = server.door.deliver(one.event, &one.body).await;
        if status == 202 {
            let payload: Value = serde_json::from_str(&one.body).unwrap();
            accepted.push((payload, answer));
        }
    }
    let refused = job(5, &["nobody-has-this"]);
    accepted.push((refused.payload(), server.door.tell(&refused).await.1));
    assert_eq!(said(server.door.delivery("workflow_job", "{}", SECRET)).await.0, 400);
    assert_eq!(said(server.door.delivery("workflow_job", &refused.body(), "guessed")).await.0, 401);
    let log = log_lines(&server.end().err);
    let events: Vec<&Value> = log.iter().filter(|line| line["target"] == "muster::event").collect();
    assert_eq!(events.len(), accepted.len(), "{events:#?}");
    for (line, (payload, answer)) in events.iter().zip(&accepted) {
        let fields = &line["fields"];
        let job = &payload["workflow_job"];
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].is_string(), "{line}");
        assert_eq!(fields["job"], job["id"]);
        assert_eq!(fields["run"], job["run_id"]);
        assert_eq!(fields["attempt"], job["run_attempt"].as_u64().unwrap_or(1));
        assert_eq!(fields["repository"], payload["repository"]["full_name"]);
        assert_eq!(fields["outcome"], answer["outcome"]);
        assert_eq!(fields["duplicate"], answer["duplicate"]);
        let labels: Vec<&str> = job["labels"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(fields["labels"], labels.join(","));
        for (named, given) in [("class", &answer["class"]), ("reason", &answer["reason"])] {
            assert_eq!(fields.get(named).unwrap_or(&Value::Null), given, "{line}");
        }
    }
}

#[tokio::test]
async fn no_secret_is_left_anywhere() {
    let fleet =
        Fleet::new(SERVES_RECORDED).with("MUSTER_LOG", "info,muster=trace,muster_webhook=trace,muster_sim=trace");
    let key = "-----BEGIN RSA PRIVATE KEY----- planted-app-key-93a1";
    fs::write(fleet.file("app.pem"), key).unwrap();
    let server = fleet.serve();
    let (status, _) = server.door.tell(&job(1, &["gpu"])).await;
    assert_eq!(status, 202);
    let instance = unclaimed(&fleet, 1).await.remove(0);
    let agent = Agent::claim(&server.door, &instance).await;
    // Answered when the server ends, or never.
    let poll = tokio::spawn(agent.report(&server.door, AgentState::Listening).send());
    let (status, answer) = said(agent.report(&server.door, AgentState::Busy)).await;
    assert_eq!((status, answer), (200, json!({})));
    let mut wrong = agent.proof.clone();
    wrong.token = "f".repeat(64);
    let stranger = Agent { proof: wrong, config: Vec::new() };
    assert_eq!(said(stranger.report(&server.door, AgentState::Busy)).await.0, 401);
    assert_eq!(said(server.door.delivery("workflow_job", "{", SECRET)).await.0, 400);
    assert_eq!(agent.proof.token.len(), 64);
    let config = String::from_utf8(agent.config.clone()).unwrap();
    assert!(config.len() > 8, "{config}");
    let answer = server.end();
    poll.abort();

    let mut places = vec![
        ("standard output".to_owned(), answer.out.into_bytes()),
        ("standard error".to_owned(), answer.err.into_bytes()),
    ];
    for file in fs::read_dir(fleet.folder()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !["webhook.secret", "app.pem", "muster.toml"].contains(&name.as_str()) {
            places.push((name, fs::read(&path).unwrap()));
        }
    }
    for expected in ["emf.jsonl", "muster.sqlite", "standard error"] {
        let found =
            places.iter().find(|(name, _)| name == expected).unwrap_or_else(|| panic!("there is no {expected}"));
        assert!(!found.1.is_empty(), "{expected} is empty");
    }
    let raw_token = hex::decode(&agent.proof.token).unwrap();
    let secrets: [(&str, &[u8]); 5] = [
        ("the webhook secret", SECRET.as_bytes()),
        ("the App's key", b"planted-app-key-93a1"),
        ("the session token", agent.proof.token.as_bytes()),
        ("the session token's bytes", &raw_token),
        ("the runner configuration", config.as_bytes()),
    ];
    for (place, bytes) in &places {
        for (what, secret) in &secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == *secret), "{what} is in {place}");
        }
    }
}
