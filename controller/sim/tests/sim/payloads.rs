//! Everything that the simulated GitHub sends validates against GitHub's published schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{JobId, JobKey, RunId, RunnerId, RunnerName};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, RunnerRef, Started};
use muster_core::time::Timestamp;
use muster_sim::{Cut, Installation, Output, Profile, Settings, Trace, Webhook};
use serde_json::{Value, json};

use crate::toy::Toy;

const SCHEMAS: &str = include_str!("../../../../tests/schemas/github-webhook-schemas.json");
const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/traces/acme-four-weeks.jsonl.gz");

struct Schemas(BTreeMap<&'static str, jsonschema::Validator>);

impl Schemas {
    fn new() -> Schemas {
        let all: Value = serde_json::from_str(SCHEMAS).unwrap();
        let of = |name: &str| {
            let root = json!({
                "$ref": format!("#/components/schemas/webhook-workflow-job-{name}"),
                "components": all["components"],
            });
            jsonschema::options().should_validate_formats(true).build(&root).unwrap()
        };
        Schemas(BTreeMap::from([
            ("queued", of("queued")),
            ("waiting", of("waiting")),
            ("in_progress", of("in-progress")),
            ("completed", of("completed")),
        ]))
    }

    fn check(&self, webhook: &Webhook) -> Value {
        let delivery = webhook.to_delivery(&Installation::default());
        let body: Value = serde_json::from_slice(&delivery.body).unwrap();
        let errors: Vec<String> =
            self.0[webhook.action()].iter_errors(&body).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{} {errors:?}\n{body:#}", webhook.action());
        body
    }
}

#[test]
fn every_delivery_of_busy_minutes_validates() {
    let schemas = Schemas::new();
    let trace = Trace::file(TRACE);
    let (from, _) = trace.survey().unwrap().busiest_hour().unwrap();
    let to = from + Duration::from_secs(600);
    let settings = Settings { profile: Profile::default(), ..Settings::default() };
    let mut toy = Toy::new(settings, &trace, Cut::window(from, to), 0);
    toy.log = Some(Vec::new());
    toy.run();
    let mut kinds = BTreeSet::new();
    let mut guids = BTreeSet::new();
    let mut count = 0;
    for (_, output) in toy.log.unwrap() {
        let Output::Webhook(webhook) = output else { continue };
        count += 1;
        assert!(guids.insert(webhook.guid));
        let body = schemas.check(&webhook);
        let job = &body["workflow_job"];
        kinds.insert(format!("{} {} {}", body["action"], job["conclusion"], !job["runner_name"].is_null()));
        assert_eq!(body["repository"]["private"], true);
        assert_eq!(body["organization"]["login"], "acme");
        assert_eq!(job["labels"].as_array().unwrap().len(), webhook.event.about.labels.len());
    }
    assert!(count > 300, "{count}");
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert!(kinds.contains(&r#""queued" null false"#), "{kinds:?}");
    assert!(kinds.contains(&r#""in_progress" null true"#), "{kinds:?}");
    assert!(kinds.contains(&r#""completed" "success" true"#), "{kinds:?}");
}

#[test]
fn every_kind_of_delivery_validates() {
    let schemas = Schemas::new();
    let at = |ms| Timestamp::from_unix_ms(1_793_577_600_000 + ms);
    let runner = RunnerRef { id: Some(RunnerId(7)), name: RunnerName::new("linux-i-0123456789abcdef0-abc123") };
    let over = |conclusion, started: Option<i64>, runner| {
        JobEvidence::Completed(Completed { completed_at: at(90_000), conclusion, started_at: started.map(at), runner })
    };
    let kinds = [
        JobEvidence::Queued { created_at: Some(at(1_500)), approved_at: None },
        JobEvidence::Waiting,
        JobEvidence::InProgress(Started { started_at: at(50_999), runner: Some(runner.clone()) }),
        over(Conclusion::Success, Some(50_000), Some(runner.clone())),
        over(Conclusion::Failure, Some(50_000), Some(runner.clone())),
        over(Conclusion::Cancelled, Some(50_000), Some(runner)),
        over(Conclusion::Cancelled, None, None),
        over(Conclusion::Skipped, None, None),
    ];
    for evidence in kinds {
        for public in [false, true] {
            let about = JobAbout {
                run: RunId(1_000_000),
                repository: "acme/api".into(),
                public,
                labels: ["self-hosted".into(), "linux".into()].into(),
                workflow: Some("CI".into()),
                name: Some(Arc::from("test \"quoted\" \u{2713}")),
            };
            let key = JobKey { job: JobId(58_000_000_001), attempt: 1 };
            let event = JobEvent { key, about, evidence: evidence.clone() };
            let webhook = Webhook { guid: 5, event, created_at: at(1_500) };
            let body = schemas.check(&webhook);
            assert_eq!(body["repository"]["private"], !public);
            // Whole seconds, rounded down.
            assert_eq!(body["workflow_job"]["created_at"], "2026-11-02T00:00:01Z");
            assert_eq!(body["workflow_job"]["run_attempt"], 1);
            if let JobEvidence::InProgress(_) = evidence {
                assert_eq!(body["workflow_job"]["started_at"], "2026-11-02T00:00:50Z");
                assert_eq!(body["workflow_job"]["runner_id"], 7);
            }
            let delivery = webhook.to_delivery(&Installation::default());
            let headers: BTreeMap<_, _> = delivery.headers().into_iter().collect();
            assert_eq!(headers["x-github-event"], "workflow_job");
            assert_eq!(headers["x-github-delivery"].len(), 36);
        }
    }
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    let schemas = Schemas::new();
    let body = json!({"action": "queued", "workflow_job": {}});
    assert!(schemas.0.values().all(|schema| !schema.is_valid(&body)));
}

#[test]
fn a_delivery_is_as_short_as_it_can_be() {
    let event = JobEvent {
        key: JobKey { job: JobId(1), attempt: 1 },
        about: JobAbout {
            run: RunId(1),
            repository: "acme/api".into(),
            public: false,
            labels: [].into(),
            workflow: None,
            name: None,
        },
        evidence: JobEvidence::Queued { created_at: None, approved_at: None },
    };
    let webhook = Webhook { guid: 1, event, created_at: Timestamp::EPOCH + Duration::from_secs(1) };
    let body = Schemas::new().check(&webhook);
    assert!(body.to_string().len() < 16_384);
}
