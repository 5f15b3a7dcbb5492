//! From recorded and made-up payloads to events.

use std::time::Duration;

use muster_core::ids::{JobId, JobKey, RunnerId};
use muster_core::job::{Conclusion, JobEvent, JobEvidence, JobPhase, JobRecord};
use muster_core::time::Timestamp;
use muster_webhook::Secrets;
use muster_webhook::foreign::Sender;
use muster_webhook::payload::{Delivery, PayloadError, Says, parse};
use muster_webhook::signature::SignatureHeader;
use serde_json::{Value, json};

use crate::world::{RECORDED, SECRET, recorded, recorded_json, sign, start};

fn read(body: &[u8]) -> Result<Delivery, PayloadError> {
    let secrets = Secrets::new(&[SECRET]).expect("one secret");
    let signature = sign(SECRET, body);
    let signed = secrets.check(SignatureHeader::Sha256(signature.as_bytes()), body).expect("signed a line above");
    parse(signed, start())
}

fn event(body: &Value) -> JobEvent {
    match read(body.to_string().as_bytes()).expect("a good payload").says {
        Says::Job(event) => event,
        Says::UnknownAction(action) => panic!("{action}"),
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

#[test]
fn reads_every_recorded_delivery() {
    for name in RECORDED {
        let delivery = read(&recorded(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(matches!(delivery.says, Says::Job(_)), "{name}");
        assert_ne!(delivery.sender, Sender::default(), "{name} carries an organization or an installation");
    }
}

#[test]
fn a_completed_job_reads_whole() {
    let event = event(&recorded_json("completed.2"));
    assert_eq!(event.key, JobKey { job: JobId(289_782_451), attempt: 1 });
    assert_eq!(event.about.run.0, 2_202_229_078);
    assert_eq!(&*event.about.repository, "Codertocat/Hello-World");
    assert!(event.about.public);
    assert_eq!(event.about.labels.iter().map(|l| &**l).collect::<Vec<_>>(), ["ubuntu-latest"]);
    assert_eq!(event.about.workflow.as_deref(), Some("CodeQL"));
    assert_eq!(event.about.name.as_deref(), Some("linters"));
    let JobEvidence::Completed(completed) = event.evidence else { panic!("{:?}", event.evidence) };
    assert_eq!(completed.completed_at, at("2021-08-05T10:38:16Z"));
    assert_eq!(completed.started_at, Some(at("2021-08-05T10:34:58Z")));
    assert_eq!(completed.conclusion, Conclusion::Failure);
    let runner = completed.runner.unwrap();
    assert_eq!((runner.id, runner.name.as_str()), (Some(RunnerId(5)), "GitHub Actions 5"));
}

#[test]
fn a_payload_of_2021_without_attempt_reads() {
    let event = event(&recorded_json("in_progress.1"));
    assert_eq!(event.key, JobKey { job: JobId(2_832_853_555), attempt: 1 });
    assert!(matches!(event.evidence, JobEvidence::InProgress(s) if s.started_at == at("2021-06-15T19:22:27Z")));
}

#[test]
fn queued_is_runnable_only_if_its_status_says_so() {
    let waits = event(&recorded_json("queued.7"));
    assert_eq!(waits.evidence, JobEvidence::Waiting);
    let runnable = event(&recorded_json("queued.6"));
    let created_at = Some(at("2021-09-13T02:21:13Z"));
    assert_eq!(runnable.evidence, JobEvidence::Queued { created_at, approved_at: None });

    let mut body = recorded_json("queued.7");
    for (status, waiting) in
        [("waiting", true), ("pending", true), ("requested", true), ("queued", false), ("a_new_word", false)]
    {
        body["workflow_job"]["status"] = status.into();
        let evidence = event(&body).evidence;
        assert_eq!(evidence == JobEvidence::Waiting, waiting, "{status}");
        if let JobEvidence::Queued { approved_at, .. } = evidence {
            assert_eq!(approved_at, Some(at("2023-04-19T21:12:14Z")), "the deployment's instant");
        }
    }
}

#[test]
fn the_four_deliveries_of_one_job_merge_to_a_completed_one_in_any_order() {
    let of_job: Vec<JobEvent> = RECORDED.iter().map(|name| event(&recorded_json(name))).collect();
    let of_job: Vec<&JobEvent> = of_job.iter().filter(|e| e.key.job == JobId(289_782_451)).collect();
    assert_eq!(of_job.len(), 4);
    for rotation in 0..4 {
        let mut order = of_job.clone();
        order.rotate_left(rotation);
        let mut record = JobRecord::from_event(order[0], start());
        for event in &order[1..] {
            record.merge(&JobRecord::from_event(event, start()));
        }
        assert_eq!(record.phase(), JobPhase::Completed);
    }
}

#[test]
fn a_job_cancelled_in_the_queue_has_no_runner() {
    let mut body = recorded_json("completed.3");
    body["workflow_job"]["conclusion"] = "cancelled".into();
    for (id, name) in
        [(json!(null), json!(null)), (json!(0), json!("")), (json!(0), json!(null)), (json!(null), json!(""))]
    {
        body["workflow_job"]["runner_id"] = id;
        body["workflow_job"]["runner_name"] = name;
        let JobEvidence::Completed(completed) = event(&body).evidence else { panic!() };
        assert_eq!((completed.conclusion, completed.runner), (Conclusion::Cancelled, None));
    }
    for (id, name) in [(json!(7), json!(null)), (json!(0), json!("a runner"))] {
        body["workflow_job"]["runner_id"] = id;
        body["workflow_job"]["runner_name"] = name;
        let JobEvidence::Completed(completed) = event(&body).evidence else { panic!() };
        assert!(completed.runner.is_some());
    }
}

#[test]
fn a_missing_instant_loses_no_job() {
    let completed_at = |body: &Value| {
        let JobEvidence::Completed(completed) = event(body).evidence else { panic!("not completed") };
        (completed.completed_at, completed.conclusion)
    };
    let mut body = recorded_json("completed.3");
    body["workflow_job"]["conclusion"] = Value::Null;
    body["workflow_job"]["completed_at"] = "some day".into();
    assert_eq!(completed_at(&body), (at("2021-08-05T10:34:58Z"), Conclusion::Other("unknown".into())));
    body["workflow_job"]["started_at"] = Value::Null;
    assert_eq!(completed_at(&body).0, at("2021-08-05T10:33:58Z"));
    body["workflow_job"].as_object_mut().unwrap().remove("created_at");
    assert_eq!(completed_at(&body).0, start());

    let mut body = recorded_json("in_progress.5");
    body["workflow_job"].as_object_mut().unwrap().remove("started_at");
    let JobEvidence::InProgress(started) = event(&body).evidence else { panic!() };
    assert_eq!(started.started_at, at("2023-06-26T03:31:29Z"));
}

#[test]
fn the_same_payload_is_the_same_event_whenever_it_comes() {
    for name in RECORDED {
        let body = recorded(name);
        let secrets = Secrets::new(&[SECRET]).unwrap();
        let signature = sign(SECRET, &body);
        let at = |received_at| {
            let signed = secrets.check(SignatureHeader::Sha256(signature.as_bytes()), &body).unwrap();
            parse(signed, received_at).unwrap()
        };
        assert_eq!(at(start()), at(start() + Duration::from_secs(3600)), "{name}");
    }
}

#[test]
fn an_unknown_action_is_said_to_be_one() {
    let mut body = recorded_json("queued.6");
    body["action"] = "rebalanced".into();
    let says = read(body.to_string().as_bytes()).unwrap().says;
    assert_eq!(says, Says::UnknownAction("rebalanced".to_owned()));
}

#[test]
fn texts_with_escapes_read_too() {
    let mut body = recorded_json("queued.6");
    body["workflow_job"]["labels"] = json!(["self-hosted", "grün", "quote\"d", "a\nb"]);
    body["workflow_job"]["name"] = "build \u{1F980}\t\\".into();
    // serde_json escapes what it must; GitHub may escape more.
    let text = body.to_string().replace('ü', "\\u00fc");
    let Says::Job(event) = read(text.as_bytes()).unwrap().says else { panic!() };
    assert_eq!(
        event.about.labels.iter().map(|l| &**l).collect::<Vec<_>>(),
        ["self-hosted", "grün", "quote\"d", "a\nb"]
    );
    assert_eq!(event.about.name.as_deref(), Some("build \u{1F980}\t\\"));
}

fn at_path<'v>(body: &'v mut Value, path: &str) -> (&'v mut serde_json::Map<String, Value>, String) {
    let (outer, last) = path.rsplit_once('.').map_or((None, path), |(outer, last)| (Some(outer), last));
    let object = match outer {
        Some(outer) => &mut body[outer],
        None => body,
    };
    (object.as_object_mut().expect("an object"), last.to_owned())
}

#[test]
fn a_missing_field_is_named() {
    let required = [
        "action",
        "workflow_job",
        "workflow_job.id",
        "workflow_job.run_id",
        "workflow_job.status",
        "workflow_job.labels",
        "repository",
        "repository.full_name",
        "repository.private",
    ];
    for path in required {
        for null in [false, true] {
            let mut body = recorded_json("queued.6");
            let (object, name) = at_path(&mut body, path);
            match null {
                true => drop(object.insert(name, Value::Null)),
                false => drop(object.remove(&name)),
            }
            assert_eq!(read(body.to_string().as_bytes()), Err(PayloadError::Missing(path)));
        }
    }
    // Whatever else is left out, the delivery reads.
    let least = json!({
        "action": "queued",
        "workflow_job": { "id": 1, "run_id": 2, "status": "queued", "labels": [] },
        "repository": { "full_name": "a/b", "private": true },
    });
    assert_eq!(event(&least).evidence, JobEvidence::Queued { created_at: None, approved_at: None });
}

#[test]
fn a_field_of_another_type_is_named() {
    let wrong = [
        ("action", json!(7)),
        ("workflow_job", json!([])),
        ("workflow_job.id", json!("289782451")),
        ("workflow_job.id", json!(1.5)),
        ("workflow_job.id", json!(u64::MAX)),
        ("workflow_job.run_attempt", json!(-1)),
        ("workflow_job.status", json!({})),
        ("workflow_job.labels", json!("linux")),
        ("workflow_job.labels", json!(["linux", null])),
        ("workflow_job.created_at", json!(1_631_499_673)),
        ("workflow_job.runner_id", json!("5")),
        ("repository.private", json!("false")),
        ("repository.full_name", json!(["a", "b"])),
        ("installation.id", json!("1")),
    ];
    for (path, value) in wrong {
        let mut body = recorded_json("queued.6");
        let (object, name) = at_path(&mut body, path);
        object.insert(name, value.clone());
        match read(body.to_string().as_bytes()) {
            Err(PayloadError::WrongType { field, .. }) => assert_eq!(field, path, "{value}"),
            other => panic!("{path} = {value}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_json_is_said_not_to_be() {
    let whole = recorded("queued.6");
    let bodies: [&[u8]; 8] = [
        b"",
        b"payload=%7B%7D",
        b"{",
        b"{}x",
        b"\xff\xfe",
        b"{\"action\":\"\xff\"}",
        &whole[..whole.len() - 3],
        b"{} {}",
    ];
    for body in bodies {
        let error = read(body).unwrap_err();
        assert!(matches!(error, PayloadError::NotJson { .. }), "{:?}: {error}", String::from_utf8_lossy(body));
    }
    for body in [&b"[]"[..], b"7", b"null", b"\"x\""] {
        assert!(matches!(read(body), Err(PayloadError::WrongType { .. })), "{:?}", String::from_utf8_lossy(body));
    }
    let deep = format!("{{\"action\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(deep.as_bytes()).is_err());
}
