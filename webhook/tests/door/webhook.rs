//! The table of answers of `POST /webhook`, and what they leave in the ledger.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use muster_core::fact::FactBody;
use muster_core::ids::JobId;
use serde_json::Value;

use crate::world::{CONFIG, RECORDED, SECRET, World, config, delivery, recorded, recorded_json, sign};

#[tokio::test]
async fn every_recorded_delivery_is_stored_once() {
    let world = World::new();
    for name in RECORDED {
        let (status, body) = world.deliver(recorded(name)).await;
        // `queued.7` is of a job that waits, and `waiting.8` says nothing else.
        let known = name == "waiting.8";
        assert_eq!((status, &body["stored"], &body["duplicate"]), (StatusCode::ACCEPTED, &true.into(), &known.into()));
    }
    assert_eq!(world.facts().len(), RECORDED.len() - 1);
    assert!(world.bell.rings() > 0);
    for name in RECORDED {
        let (status, body) = world.deliver(recorded(name)).await;
        assert_eq!((status, &body["duplicate"]), (StatusCode::ACCEPTED, &true.into()));
    }
    assert_eq!(world.facts().len(), RECORDED.len() - 1);
}

#[tokio::test]
async fn the_answer_says_which_class_serves_the_job() {
    let world = World::new();
    let (_, body) = world.deliver(recorded("queued.6")).await;
    assert_eq!(body["outcome"], "class");
    assert_eq!(body["class"], "hosted-like/cpu-2/on-demand");
    assert_eq!(body["job_id"], 289_782_451);
    assert_eq!(body["attempt"], 1);
    assert_eq!(body["reason"], Value::Null);
}

#[tokio::test]
async fn a_refused_job_is_stored_and_the_answer_says_why() {
    let world = World::new();
    let (status, body) = world.deliver(recorded("in_progress.1")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!((&body["stored"], &body["outcome"], &body["class"]), (&true.into(), &"no_pool".into(), &Value::Null));
    assert!(body["reason"].as_str().is_some_and(|why| why.contains("gpu")), "{body}");
    let facts = world.facts();
    assert!(matches!(&facts[0].body, FactBody::Job(event) if event.key.job == JobId(2_832_853_555)));
}

#[tokio::test]
async fn a_new_configuration_counts_at_once() {
    let world = World::new();
    let serves = CONFIG.replace(r#"["self-hosted", "k8s"]"#, r#"["gpu", "db-app", "dc-03"]"#);
    let serves =
        serves.replace("repositories = [\"*\"]\n[pool", "repositories = [\"*\"]\npublic_repositories = true\n[pool");
    world.config.replace(config(&serves).into());
    let (_, body) = world.deliver(recorded("in_progress.1")).await;
    assert_eq!(body["outcome"], "class");
}

#[tokio::test]
async fn other_events_are_ignored_unread() {
    let world = World::new();
    for (event, body) in [("ping", r#"{"zen":"x"}"#), ("push", "not even json"), ("workflow_run", "{}")] {
        let (status, answer) = world.send(delivery(body).header("x-github-event", event).body_of()).await;
        assert_eq!((status, &answer["stored"]), (StatusCode::OK, &false.into()), "{event}");
    }
    let mut unknown = recorded_json("queued.6");
    unknown["action"] = "rebalanced".into();
    let (status, answer) = world.deliver(unknown.to_string()).await;
    assert_eq!((status, &answer["outcome"]), (StatusCode::OK, &"action".into()));
    assert!(world.facts().is_empty());
    assert_eq!(world.bell.rings(), 0);
}

#[tokio::test]
async fn a_delivery_without_a_good_signature_is_401_whatever_else_is_wrong() {
    let world = World::new();
    let good = recorded("queued.6");
    let signature = "x-hub-signature-256";
    let sha1 = "sha1=0000000000000000000000000000000000000000";
    let cases = [
        ("absent", delivery(&good).header(signature, "")),
        ("sha1 only", delivery(&good).header(signature, "").header("x-hub-signature", sha1)),
        ("malformed", delivery(&good).header(signature, "sha256=abc")),
        ("wrong", delivery(&good).header(signature, &sign(b"another", &good))),
        ("other bytes", delivery(&good).header(signature, &sign(SECRET, b"{}"))),
        ("wrong and a form", delivery("payload=x").header(signature, &sign(b"x", b"")).header("content-type", FORM)),
        ("wrong and no JSON", delivery("]").header(signature, &sign(b"x", b""))),
        ("wrong and no event", delivery(&good).header(signature, "").header("x-github-event", "")),
    ];
    for (case, delivery) in cases {
        let (status, body) = world.send(delivery.body_of()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{case}");
        assert!(body["error"].is_string() && body["remedy"].is_string(), "{case}: {body}");
    }
    let mut twice = delivery(&good).body_of();
    let one_more = twice.headers()[signature].clone();
    twice.headers_mut().append(signature, one_more);
    assert_eq!(world.send(twice).await.0, StatusCode::UNAUTHORIZED);
    assert!(world.facts().is_empty());
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn a_signed_form_is_told_which_setting_to_change() {
    let world = World::new();
    for form in [FORM, "Application/X-WWW-Form-Urlencoded; charset=utf-8"] {
        for event in ["workflow_job", "ping"] {
            let sent = delivery("payload=%7B%7D").header("content-type", form).header("x-github-event", event);
            let (status, body) = world.send(sent.body_of()).await;
            assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert!(body["remedy"].as_str().is_some_and(|r| r.contains("content type to application/json")), "{body}");
        }
    }
    // Other content types do not matter.
    let sent = delivery(recorded("queued.6")).header("content-type", "");
    assert_eq!(world.send(sent.body_of()).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_does_not_read_is_400_and_names_it() {
    let world = World::new();
    let mut no_id = recorded_json("queued.6");
    no_id["workflow_job"].as_object_mut().unwrap().remove("id");
    let mut labels = recorded_json("queued.6");
    labels["workflow_job"]["labels"] = "linux".into();
    let cases = [
        (no_id.to_string(), "workflow_job.id"),
        (labels.to_string(), "workflow_job.labels"),
        ("not json".to_owned(), "not JSON"),
        ("{}".to_owned(), "action"),
    ];
    for (body, names) in cases {
        let (status, answer) = world.deliver(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["error"].as_str().is_some_and(|e| e.contains(names)), "{answer}");
    }
    let (status, answer) = world.send(delivery("{}").header("x-github-event", "").body_of()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["error"].as_str().is_some_and(|e| e.contains("X-GitHub-Event")), "{answer}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_read() {
    let world = World::new();
    let (status, body) = world.deliver(vec![b' '; 10_000_001]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(body["error"].as_str().is_some_and(|e| e.contains("10000000")), "{body}");
    assert_eq!(world.deliver(vec![b' '; 26_000_000]).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    let mut at_limit = recorded("queued.6");
    at_limit.resize(10_000_000, b' ');
    assert_eq!(world.deliver(at_limit).await.0, StatusCode::ACCEPTED);
    let status = world.post("/runners/claim", &"x".repeat(70_000).into()).await.0;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_in_pieces_is_the_same_body() {
    let world = World::new();
    let whole = recorded("queued.6");
    let pieces: Vec<_> = whole.chunks(1_000).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
    let mut sent = delivery(&whole).body_of();
    *sent.body_mut() = Body::from_stream(Pieces(pieces.into_iter()));
    assert_eq!(world.send(sent).await.0, StatusCode::ACCEPTED);
}

/// An iterator as a stream.
struct Pieces(std::vec::IntoIter<Result<Vec<u8>, std::io::Error>>);

impl futures_util::Stream for Pieces {
    type Item = Result<Vec<u8>, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn without_the_ledger_it_is_503_and_nothing_is_said_to_be_stored() {
    let world = World::new();
    world.store.down.store(true, Ordering::Relaxed);
    let response = world.answer(delivery(recorded("queued.6")).body_of()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(world.bell.rings(), 0);
    world.store.down.store(false, Ordering::Relaxed);
    assert_eq!(world.deliver(recorded("queued.6")).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn deliveries_of_strangers_are_ignored_and_counted() {
    let with = |organization: Option<u64>, installation: Option<u64>| {
        let mut text = CONFIG.to_owned();
        if let Some(id) = organization {
            text = text.replace("[github]\n", &format!("[github]\norganization_id = {id}\n"));
        }
        if let Some(id) = installation {
            text = text.replace("\nid = 1\n", &format!("\nid = 1\ninstallation_id = {id}\n"));
        }
        text
    };
    // `completed.2` is of organization 38302899 and names no installation; `queued.6` is of installation 3456996 and
    // names no organization.
    let cases = [
        (None, None, "completed.2", None),
        (Some(38_302_899), None, "completed.2", None),
        (Some(38_302_899), Some(3_456_996), "completed.2", None),
        (Some(38_302_899), Some(3_456_996), "queued.6", None),
        (None, Some(3_456_996), "queued.6", None),
        (Some(1), None, "completed.2", Some("foreign_organization")),
        (Some(1), Some(3_456_996), "completed.2", Some("foreign_organization")),
        (None, Some(2), "queued.6", Some("foreign_installation")),
        (Some(38_302_899), Some(2), "queued.6", Some("foreign_installation")),
        (None, Some(3_456_996), "completed.2", Some("no_known_id")),
        (Some(38_302_899), None, "queued.6", Some("no_known_id")),
    ];
    for (organization, installation, name, foreign) in cases {
        let case = format!("{organization:?} {installation:?} {name}");
        let world = World::with_config(&with(organization, installation));
        let (status, body) = world.deliver(recorded(name)).await;
        match foreign {
            None => assert_eq!(status, StatusCode::ACCEPTED, "{case}"),
            Some(kind) => {
                assert_eq!(
                    (status, &body["outcome"], &body["stored"]),
                    (StatusCode::OK, &kind.into(), &false.into()),
                    "{case}"
                );
                assert!(world.facts().is_empty(), "{case}");
            }
        }
    }
}

#[tokio::test]
async fn secrets_rotate_without_a_restart() {
    let world = World::new();
    let body = recorded("queued.6");
    let by = |secret: &[u8]| delivery(&body).header("x-hub-signature-256", &sign(secret, &body)).body_of();
    assert_eq!(world.send(by(b"next")).await.0, StatusCode::UNAUTHORIZED);
    world.secrets.rotate(&[b"next", SECRET]).unwrap();
    assert_eq!(world.send(by(b"next")).await.0, StatusCode::ACCEPTED);
    assert_eq!(world.send(by(SECRET)).await.0, StatusCode::ACCEPTED);
    world.secrets.rotate(&[b"next"]).unwrap();
    assert_eq!(world.send(by(SECRET)).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_answered_in_json() {
    let world = World::new();
    let ask = |method: &str, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    for (method, path, status) in [
        ("GET", "/", StatusCode::NOT_FOUND),
        ("POST", "/webhooks", StatusCode::NOT_FOUND),
        ("GET", "/webhook", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/healthz", StatusCode::METHOD_NOT_ALLOWED),
        ("PUT", "/runners/claim", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (found, body) = world.send(ask(method, path)).await;
        assert_eq!(found, status, "{method} {path}");
        assert!(body["error"].is_string() && body["remedy"].is_string());
    }
}
