//! `muster demo`: the whole path, and what its metric lines say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use muster_core::metric;
use muster_core::time::Timestamp;
use serde_json::{Value, json};

use crate::fleet::muster;
use crate::gauges::{ByClass, History, Waiting};
use crate::shape::{Kind, has, is_summary};
use crate::workload;

const SCHEMA: &str = include_str!("../../emf/tests/emf/schema.json");

/// A metric line: its metrics' values, and everything else.
struct Line {
    root: Value,
    metrics: BTreeMap<String, Vec<f64>>,
}

impl Line {
    fn one(&self, metric: &str) -> Option<f64> {
        let values = self.metrics.get(metric)?;
        assert_eq!(values.len(), 1, "{metric} in {}", self.root);
        values.first().copied()
    }
}

/// Values with how often each came, or plain ones.
fn values(value: &Value) -> Vec<f64> {
    let numbers = |list: &Value| list.as_array().map(|all| all.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
    match (value.as_f64(), numbers(value), numbers(&value["Values"]), numbers(&value["Counts"])) {
        (Some(one), ..) => vec![one],
        (None, Some(many), ..) => many,
        (None, None, Some(values), Some(counts)) => {
            // Sums are what is asked of them.
            values.into_iter().zip(counts).map(|(value, count)| value * count).collect()
        }
        _ => panic!("not a metric's value: {value}"),
    }
}

fn read_lines(text: &str) -> Vec<Line> {
    let schema = jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap();
    let read = |line: &str| {
        let root: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Err(error) = schema.validate(&root) {
            panic!("{error} at {} in {line}", error.instance_path());
        }
        let mut metrics = BTreeMap::new();
        for directive in root["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(directive["Namespace"], metric::NAMESPACE);
            for definition in directive["Metrics"].as_array().unwrap() {
                let name = definition["Name"].as_str().unwrap();
                metrics.insert(name.to_owned(), values(&root[name]));
            }
        }
        Line { root, metrics }
    };
    text.lines().map(read).collect()
}

pub(crate) fn ms(at: &Value) -> Option<i64> {
    at.as_str().map(|text| Timestamp::parse(text).unwrap_or_else(|| panic!("{text} is no instant")).unix_ms())
}

#[test]
fn the_whole_path_and_its_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut fates = workload::write(&folder.path().join("trace.jsonl"));
    fates.completed += exhaust(&folder.path().join("trace.jsonl"));
    // The demo keeps its ledger in a folder for temporary files: ours.
    let program = muster().with("TMPDIR", folder.path().display().to_string());
    let answer = program.run(&[
        "demo",
        "--json",
        "--speed",
        "240",
        "--trace",
        &path("trace.jsonl"),
        "--emf",
        &path("emf.jsonl"),
    ]);
    assert_eq!(answer.code, Some(0), "{}", answer.err);
    let summary = answer.json();
    is_summary(&summary);
    has(&summary, &[("http", Kind::Object)]);
    has(&summary["http"], &[("webhook", Kind::Whole), ("claim", Kind::Whole), ("report", Kind::Whole)]);
    let http = |route: &str| summary["http"][route].as_u64().unwrap();
    let jobs = |fate: &str| summary["jobs"][fate].as_u64().unwrap();
    assert_eq!(summary["violations"], json!([]));
    assert_eq!((jobs("lost"), jobs("killed"), jobs("expired"), jobs("interrupted")), (0, 0, 0, 0));
    assert_eq!(
        (jobs("completed"), jobs("cancelled"), jobs("skipped")),
        (fates.completed, fates.cancelled, fates.skipped)
    );
    // Queued and completed for each, and started for each that ran.
    assert!(http("webhook") >= 2 * jobs("queued") + jobs("completed"), "{}", summary["http"]);
    assert!(http("claim") >= jobs("completed") && http("report") >= 3 * jobs("completed"), "{}", summary["http"]);

    let kept = demo_ledger(folder.path());
    let ledger = program.run(&["ledger", "--json", "--db", &kept.display().to_string()]);
    assert_eq!(ledger.code, Some(0), "{}", ledger.err);
    let ledger = ledger.json_lines();
    let queued = ledger.iter().filter(|entry| entry["demanded_at"].is_string()).count() as u64;
    assert_eq!(queued, fates.queued());
    assert!(ledger.iter().all(|entry| entry["phase"] == "completed"), "{ledger:#?}");

    let lines = read_lines(&fs::read_to_string(folder.path().join("emf.jsonl")).unwrap());
    every_metric_occurs(&lines);
    counters_agree(&lines, &ledger);
    queue_times_agree(&lines, &ledger);
    stages_sum_up(&lines);
    gauges_follow_from_their_lines(&lines);
    pool_exhausted_agrees(&lines, History::read(&kept, &ledger));
}

/// Adds more jobs for Macs than the example allows machines, all at once; they last longer than the boots differ. One has
/// to wait while nothing boots or idles for it.
fn exhaust(trace: &Path) -> u64 {
    let labels = ["self-hosted", "macos", "arm64"];
    let jobs: Vec<Value> = (0..=MACS_MAX)
        .map(|number| json!({ "name": format!("mac {number}"), "labels": labels, "duration_s": 120 }))
        .collect();
    let text = fs::read_to_string(trace).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    let at = &serde_json::from_str::<Value>(first).unwrap()["t"];
    let run = json!({ "run_id": 1, "t": at, "repo": "acme/ios", "workflow": "ci", "event": "push", "jobs": jobs });
    fs::write(trace, format!("{first}\n{run}\n{rest}")).unwrap();
    MACS_MAX + 1
}

/// The `max_runners` of the example's pool of Macs.
const MACS_MAX: u64 = 20;

/// The one ledger that the demo has left behind.
pub(crate) fn demo_ledger(folder: &Path) -> PathBuf {
    let kept = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("muster.sqlite"));
    let kept: Vec<PathBuf> = kept.filter(|ledger| ledger.exists()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0].clone()
}

fn every_metric_occurs(lines: &[Line]) {
    let occur: BTreeSet<&str> = lines.iter().flat_map(|line| line.metrics.keys().map(String::as_str)).collect();
    for metric in metric::ALL {
        assert!(metric.needs_cloud || occur.contains(metric.name), "{} is nowhere", metric.name);
    }
    for name in occur {
        assert!(metric::ALL.iter().any(|metric| metric.name == name), "{name} is not in the list of metrics");
    }
}

fn counters_agree(lines: &[Line], ledger: &[Value]) {
    let sum = |metric: &str| lines.iter().filter_map(|line| line.metrics.get(metric)).flatten().sum::<f64>();
    let count = |key: &str| ledger.iter().filter(|entry| entry[key].is_string()).count() as f64;
    assert_eq!(sum(metric::JOBS_QUEUED), count("demanded_at"));
    assert_eq!(sum(metric::JOBS_STARTED), count("started_at"));
    assert_eq!(sum(metric::JOBS_COMPLETED), count("completed_at"));
    assert_eq!(sum(metric::PLAN_VIOLATIONS), 0.0);
}

/// Each job that started has one line with its queue time, which follows from the line and from the ledger.
fn queue_times_agree(lines: &[Line], ledger: &[Value]) {
    let mut by_job: BTreeMap<i64, &Line> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.metrics.contains_key(metric::QUEUE_TIME)) {
        let job = line.root["job_id"].as_i64().expect("a line with a queue time names its job");
        assert!(by_job.insert(job, line).is_none(), "job {job} has two queue times");
    }
    let mut started = 0;
    for entry in ledger {
        let job = entry["job_id"].as_i64().unwrap();
        let (Some(demanded_at), Some(started_at)) = (ms(&entry["demanded_at"]), ms(&entry["started_at"])) else {
            assert!(!by_job.contains_key(&job), "job {job} has a queue time and never started: {entry}");
            continue;
        };
        started += 1;
        let line = by_job.get(&job).unwrap_or_else(|| panic!("no line has the queue time of {entry}"));
        let properties = (line.root["demanded_at"].as_i64(), line.root["started_at"].as_i64());
        assert_eq!(properties, (Some(demanded_at), Some(started_at)), "{} and {entry}", line.root);
        let expected = (started_at - demanded_at).max(0) as f64 / 1_000.0;
        let told = line.one(metric::QUEUE_TIME).unwrap();
        assert!((told - expected).abs() < 1e-6, "{told} s, not {expected} s: {}", line.root);
    }
    assert!(started > 0 && started == by_job.len(), "{started} jobs started, {} have a queue time", by_job.len());
}

/// A job's stages explain its queue time, but for the fraction of a second that GitHub's instants do not tell.
fn stages_sum_up(lines: &[Line]) {
    let stages = [
        metric::WEBHOOK_DELAY,
        metric::DECISION_DELAY,
        metric::LAUNCH_DELAY,
        metric::BOOT_DELAY,
        metric::REGISTER_DELAY,
        metric::PICKUP_DELAY,
    ];
    for line in lines {
        let Some(whole) = line.one(metric::QUEUE_TIME) else { continue };
        let sum: f64 = stages.iter().filter_map(|stage| line.one(stage)).sum();
        assert!((sum - whole).abs() < 1e-6, "the stages sum up to {sum} s: {}", line.root);
    }
}

/// A pool is exhausted if jobs of one of its classes wait, by the ledger's log, and nothing is here or on its way for them.
fn pool_exhausted_agrees(lines: &[Line], mut history: History) {
    let gauges: Vec<&Line> = lines.iter().filter(|line| line.metrics.contains_key(metric::POOL_EXHAUSTED)).collect();
    let now = |line: &Line| line.root["_aws"]["Timestamp"].as_i64().unwrap();
    let told = |line: &Line| -> ByClass {
        let classes = line.root["classes"].as_object().unwrap().iter();
        let count = |class: &Value, key: &str| class[key].as_u64().unwrap();
        let waiting = classes.map(|(class, told)| {
            let oldest_at = told["oldest_at"].as_i64();
            (class.clone(), Waiting { queued: count(told, "queued"), taken: count(told, "taken"), oldest_at })
        });
        waiting.filter(|(_, waiting)| *waiting != Waiting::default()).collect()
    };
    let mut seen = BTreeMap::new();
    for tick in gauges.chunk_by(|one, other| now(one) == now(other)) {
        let of = |line: &Line, all: &ByClass| -> ByClass {
            let pool = format!("{}/", line.root["Pool"].as_str().unwrap());
            all.iter().filter(|(class, _)| class.starts_with(&pool)).map(|(c, w)| (c.clone(), *w)).collect()
        };
        let agree = |all: &ByClass| tick.iter().all(|line| of(line, all) == told(line));
        let Some(moment) = history.at(now(tick[0]), agree) else {
            panic!("the ledger's log never said so: {:?}", tick.iter().map(|line| &line.root).collect::<Vec<_>>())
        };
        for line in tick {
            let waiting = of(line, &moment.waiting);
            let exhausted = waiting.iter().any(|(class, waiting)| {
                let told = &line.root["classes"][class];
                let here: u64 = ["idle", "booting", "ready"].iter().map(|key| told[key].as_u64().unwrap()).sum();
                waiting.queued > waiting.taken && here == 0
            });
            assert_eq!(line.one(metric::POOL_EXHAUSTED), Some(f64::from(u8::from(exhausted))), "{}", line.root);
            *seen.entry((exhausted, !waiting.is_empty())).or_insert(0) += 1;
        }
    }
    // Exhausted; not so with jobs that wait; and with none.
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [(false, false), (false, true), (true, true)], "{seen:?}");
}

/// A line's gauges follow from what it says of its classes.
fn gauges_follow_from_their_lines(lines: &[Line]) {
    let mut seen = BTreeSet::new();
    for line in lines {
        let Some(told) = line.one(metric::POOL_EXHAUSTED) else { continue };
        let classes = line.root["classes"].as_object().expect("a line with gauges says what they follow from");
        let count = |class: &Value, key: &str| class[key].as_u64().unwrap_or_else(|| panic!("{key} in {class}"));
        let exhausted = classes.values().any(|class| {
            let here: u64 = ["idle", "booting", "ready"].iter().map(|key| count(class, key)).sum();
            count(class, "queued") > count(class, "taken") && here == 0
        });
        assert_eq!(told, f64::from(u8::from(exhausted)), "{}", line.root);
        let sum = |key: &str| classes.values().map(|class| count(class, key)).sum::<u64>() as f64;
        assert_eq!(line.one(metric::RUNNERS_IDLE), Some(sum("idle")));
        assert_eq!(line.one(metric::RUNNERS_BUSY), Some(sum("busy")));
        assert_eq!(line.one(metric::RUNNERS_BOOTING), Some(sum("booting")));
        assert_eq!(line.one(metric::RUNNERS_READY), Some(sum("ready")));
        let depth: f64 = [metric::RUNNERS_IDLE, metric::RUNNERS_READY, metric::RUNNERS_STANDBY]
            .iter()
            .filter_map(|metric| line.one(metric))
            .sum();
        assert_eq!(line.one(metric::POOL_DEPTH), Some(depth), "{}", line.root);
        let now = line.root["_aws"]["Timestamp"].as_i64().unwrap();
        let oldest = classes.values().filter_map(|class| class["oldest_at"].as_i64()).min();
        let age = oldest.map_or(0.0, |oldest| (now - oldest).max(0) as f64 / 1_000.0);
        let told_age = line.one(metric::OLDEST_QUEUED_JOB).unwrap();
        assert!((told_age - age).abs() < 1e-6, "{told_age} s, not {age} s: {}", line.root);
        seen.insert(exhausted);
    }
    assert!(seen.contains(&false), "there are no gauges");
    // The example keeps two machines of its first pool on standby at this hour.
    let linux = lines.iter().filter(|line| line.root["Pool"] == "linux");
    let standby = linux.filter_map(|line| line.one(metric::RUNNERS_STANDBY)).fold(0.0, f64::max);
    assert_eq!(standby, 2.0);
}
