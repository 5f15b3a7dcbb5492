//! Metric lines as a sink gets them, from made-up ticks.

use std::collections::BTreeSet;

use muster_core::ids::{JobId, JobKey, RunId};
use muster_core::job::{JobAbout, JobEvent, JobEvidence, Started};
use muster_core::ports::Snapshot;
use muster_core::world::Merged;
use serde_json::Value;

use super::*;
use crate::reconcile::JobNews;

const CONFIG: &str = r#"
[github]
organization = "acme"
webhook_secrets = ["env:S"]
[[github.app]]
id = 1
private_key = "env:K"
[metrics]
dimensions = ["repository", "workflow", "job_name"]
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
repositories = ["*"]
[pool.sizes.cpu-2]
vcpus = 2
"#;
const START: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);

/// A sink that can be read, and that refuses its first lines.
#[derive(Clone, Default)]
struct Paper {
    text: Arc<Mutex<Vec<u8>>>,
    refuses: Arc<Mutex<u32>>,
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut refuses = self.refuses.lock().unwrap();
        if *refuses > 0 {
            *refuses -= 1;
            return Err(io::Error::other("no room"));
        }
        self.text.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Desk {
    config: FleetConfig,
    world: World,
    paper: Paper,
    recorder: EmfRecorder,
    telemetry: Telemetry,
}

impl Desk {
    fn new() -> Desk {
        let config = FleetConfig::parse("muster.toml", CONFIG).config.unwrap();
        let world = World::from_snapshot(Snapshot::default(), &config);
        let (paper, recorder) = (Paper::default(), recorder().unwrap());
        let telemetry = Telemetry::new(recorder.clone(), Arc::new(Mutex::new(paper.clone())));
        Desk { config, world, paper, recorder, telemetry }
    }

    /// A tick so many seconds after the start, and the lines that it wrote.
    fn tick(&mut self, second: u64, news: Vec<JobNews>) -> (Result<(), TelemetryError>, Vec<Value>) {
        let report = TickReport { now: START + Duration::from_secs(second), news, ..TickReport::default() };
        let Desk { telemetry, world, config, .. } = self;
        let told = metrics::with_local_recorder(&self.recorder, || {
            telemetry.tick(&report, world, config, Duration::from_millis(3))
        });
        let text = std::mem::take(&mut *self.paper.text.lock().unwrap());
        let lines = String::from_utf8(text).unwrap();
        (told, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn event(&self, id: i64, evidence: JobEvidence) -> JobEvent {
        let about = JobAbout {
            run: RunId(1),
            repository: "acme/api".into(),
            public: false,
            labels: Arc::from(["self-hosted".into(), "linux".into()]),
            workflow: Some(" ".into()),
            name: Some("".into()),
        };
        JobEvent { key: JobKey { job: JobId(id), attempt: 1 }, about, evidence }
    }

    fn hear(&mut self, id: i64, evidence: JobEvidence) {
        let body = muster_core::fact::FactBody::Job(self.event(id, evidence));
        self.world.merge(&muster_core::fact::Fact { received_at: START, body }, &self.config, &mut Merged::default());
    }

    fn timed(&self, id: i64) -> JobNews {
        let queued = self.event(id, JobEvidence::Queued { created_at: Some(START), approved_at: None });
        let started_at = START + Duration::from_secs(42);
        let started = self.event(id, JobEvidence::InProgress(Started { started_at, runner: None }));
        let mut job = JobRecord::from_event(&queued, START);
        job.merge(&JobRecord::from_event(&started, started_at));
        let class = self.config.classes()[0].clone();
        JobNews::Timed { class, market: None, stages: Stages::of(&job, None), job: Box::new(job) }
    }
}

/// The sum of a metric's values over lines that have it with exactly these dimensions.
fn sum(lines: &[Value], name: &str, dimensions: &[&str]) -> Option<f64> {
    let has = |line: &&Value| {
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        directives.iter().any(|directive| {
            directive["Metrics"].as_array().unwrap().iter().any(|metric| metric["Name"] == name)
                && directive["Dimensions"].as_array().unwrap().iter().any(|set| *set == serde_json::json!(dimensions))
        })
    };
    let values = |line: &Value| match line[name].as_array() {
        Some(all) => all.iter().filter_map(Value::as_f64).sum::<f64>(),
        None => line[name].as_f64().unwrap(),
    };
    let lines: Vec<&Value> = lines.iter().filter(has).collect();
    (!lines.is_empty()).then(|| lines.into_iter().map(values).sum())
}

#[test]
fn a_line_that_cannot_be_written_costs_no_other_line() {
    let mut desk = Desk::new();
    let news = (1..=4).map(|id| desk.timed(id)).collect();
    *desk.paper.refuses.lock().unwrap() = 2;
    let (told, lines) = desk.tick(60, news);
    let complaint = told.unwrap_err().to_string();
    assert!(complaint.starts_with("2 metric lines are lost") && complaint.ends_with("no room"), "{complaint}");
    let jobs: Vec<i64> = lines.iter().filter_map(|line| line["job_id"].as_i64()).collect();
    assert_eq!(jobs, [3, 4]);
    assert!(lines.iter().any(|line| line["PoolDepth"].is_number()), "the gauges are there");
    assert!(lines.iter().any(|line| !line["TickDuration"].is_null()), "the counters are there");
}

#[test]
fn what_somebody_named_with_blanks_is_an_unknown_dimension() {
    let mut desk = Desk::new();
    let news = vec![desk.timed(1)];
    let (told, lines) = desk.tick(60, news);
    told.unwrap();
    let line = lines.iter().find(|line| line["job_id"] == 1).unwrap();
    assert_eq!(
        (&line["Workflow"], &line["JobName"], &line["Repository"]),
        (&"unknown".into(), &"unknown".into(), &"acme/api".into())
    );
    let class = desk.config.classes()[0].clone();
    let conclusion = muster_core::job::Conclusion::from_word("");
    let (_, lines) = desk.tick(120, vec![JobNews::Completed { class, conclusion, started: true }]);
    let line = lines.iter().find(|line| !line["JobsCompleted"].is_null()).expect("counted all the same");
    assert_eq!(line["Outcome"], "unknown");
}

#[test]
fn a_pool_recovers_at_once_even_if_its_classes_are_gone() {
    let mut desk = Desk::new();
    desk.hear(1, JobEvidence::Queued { created_at: Some(START), approved_at: None });
    let exhausted = |lines: &[Value]| -> Vec<Value> {
        lines.iter().map(|line| line["PoolExhausted"].clone()).filter(|told| !told.is_null()).collect()
    };
    assert_eq!(exhausted(&desk.tick(60, Vec::new()).1), [1.0]);
    assert_eq!(exhausted(&desk.tick(61, Vec::new()).1), [Value::Null; 0], "nothing is new, and it is not due");
    desk.world = World::from_snapshot(Snapshot::default(), &desk.config);
    assert_eq!(exhausted(&desk.tick(62, Vec::new()).1), [0.0]);
    assert_eq!(exhausted(&desk.tick(63, Vec::new()).1), [Value::Null; 0]);
    // The same, and the pool is gone from the configuration too.
    desk.hear(2, JobEvidence::Queued { created_at: Some(START), approved_at: None });
    assert_eq!(exhausted(&desk.tick(64, Vec::new()).1), [1.0]);
    desk.config = FleetConfig::parse("f", &CONFIG.replace("name = \"linux\"", "name = \"other\"")).config.unwrap();
    let (_, lines) = desk.tick(65, Vec::new());
    assert_eq!((exhausted(&lines), &lines[0]["Pool"]), (vec![0.0.into()], &"linux".into()));
}

#[test]
fn what_alarms_look_at_has_data_at_every_flush() {
    let mut desk = Desk::new();
    for minute in 1..=3 {
        let (told, lines) = desk.tick(60 * minute, Vec::new());
        told.unwrap();
        for metric in [metric::FACTS_SET_ASIDE, metric::WEBHOOKS_REJECTED, metric::PLAN_VIOLATIONS] {
            assert_eq!(sum(&lines, metric, &[]), Some(0.0), "{metric}");
        }
    }
    metrics::with_local_recorder(&desk.recorder, || {
        counter!(metric::WEBHOOKS_REJECTED, dimension::REASON => "not_json").increment(2);
        counter!(metric::FACTS_SET_ASIDE).increment(5);
    });
    let (_, lines) = desk.tick(240, Vec::new());
    assert_eq!(sum(&lines, metric::WEBHOOKS_REJECTED, &[]), Some(2.0), "all together");
    assert_eq!(sum(&lines, metric::WEBHOOKS_REJECTED, &[dimension::REASON]), Some(2.0));
    assert_eq!(sum(&lines, metric::FACTS_SET_ASIDE, &[]), Some(5.0));
    let pools: BTreeSet<_> = lines.iter().filter_map(|line| line["Pool"].as_str()).collect();
    assert_eq!(pools, BTreeSet::from(["linux"]));
}
