//! Scenarios that the tests share, and what must hold of every summary.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster::drivers::simulate::{Healing, Scenario, Simulation};
use muster_core::config::FleetConfig;
use muster_core::plan::Policy;
use muster_sim::{Cut, ListenerFaults, Profile, Summary, Trace, WebhookFaults};
use muster_store::{MemoryOptions, MemoryStore};

/// The trace that ships with the project.
pub(crate) fn shipped() -> Trace {
    Trace::file(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/traces/acme-four-weeks.jsonl.gz"))
}

/// The hours of a trace from `from` to `to`.
pub(crate) fn hours(from: u64, to: u64) -> Cut {
    Cut::window(Duration::from_secs(from * 3_600), Duration::from_secs(to * 3_600))
}

/// A configuration without bounds: a class for each label set of the trace.
pub(crate) fn unbounded(trace: &Trace) -> Arc<FleetConfig> {
    let sets = trace.survey().unwrap().label_sets;
    let sets: Vec<Vec<String>> = sets.keys().map(|labels| labels.iter().map(ToString::to_string).collect()).collect();
    Arc::new(FleetConfig::for_label_sets(&sets))
}

pub(crate) fn config(text: &str) -> Arc<FleetConfig> {
    let parsed = FleetConfig::parse("muster.toml", text);
    assert_eq!(parsed.errors, [], "{text}");
    Arc::new(parsed.config.unwrap())
}

pub(crate) fn scenario(trace: Trace, cut: Cut, policy: Policy) -> Scenario {
    Scenario {
        config: unbounded(&trace),
        trace,
        cut,
        policy,
        policy_word: format!("{policy:?}"),
        seed: 1,
        profile: Profile::default(),
        lose_answers: false,
        webhooks: WebhookFaults::default(),
        listeners: ListenerFaults::default(),
        healing: Healing::default(),
        forget_tokens: false,
    }
}

pub(crate) fn run(scenario: &Scenario) -> Summary {
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    Simulation::new(scenario.clone(), store).unwrap().run(&mut (), &mut ()).unwrap()
}

/// Nothing lost, nothing killed, no rule broken, and all sums right, of each class and of all.
#[track_caller]
pub(crate) fn assert_sound(summary: &Summary) {
    assert_eq!(summary.violations, [""; 0]);
    assert_nothing_lost(summary);
}

/// The same but for broken rules.
#[track_caller]
pub(crate) fn assert_nothing_lost(summary: &Summary) {
    let jobs = &summary.jobs;
    assert_eq!((jobs.lost, jobs.killed, jobs.expired, jobs.interrupted), (0, 0, 0, 0));
    assert!(jobs.queued > 0 && jobs.adds_up(), "{jobs:?}");
    let classes = &summary.classes;
    assert!(classes.iter().all(|class| class.jobs.adds_up()));
    assert_eq!(classes.iter().map(|class| class.jobs.queued).sum::<u64>(), jobs.queued);
    assert_eq!(classes.iter().map(|class| class.jobs.completed).sum::<u64>(), jobs.completed);
    assert_eq!(classes.iter().map(|class| class.jobs.cancelled).sum::<u64>(), jobs.cancelled);
    assert_eq!(classes.iter().map(|class| class.launches.cold).sum::<u64>(), summary.launches.cold);
    assert_eq!(classes.iter().map(|class| class.launches.standby).sum::<u64>(), summary.launches.standby);
    let costs = classes.iter().map(|class| class.cost_usd).chain([summary.cost_usd]);
    for cost in costs {
        assert_close(cost.busy + cost.boot + cost.idle + cost.standby, cost.total);
    }
    assert_close(classes.iter().map(|class| class.cost_usd.total).sum(), summary.cost_usd.total);
}

/// Equal up to the rounding of a report: six decimals, of a few dozen numbers.
#[track_caller]
pub(crate) fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-4, "{a} is not {b}");
}

/// A job of a handmade trace: name, needs, seconds.
pub(crate) type Job<'a> = (&'a str, &'a [&'a str], f64);

/// A handmade trace.
#[derive(Default)]
pub(crate) struct Runs(String, u32);

impl Runs {
    /// Adds a run at `t` seconds, cancelled `cancel_after` seconds later if that is said.
    pub(crate) fn run(mut self, t: u32, labels: &str, cancel_after: Option<f64>, jobs: &[Job<'_>]) -> Runs {
        self.1 += 1;
        let labels: Vec<&str> = labels.split(' ').collect();
        let jobs: Vec<_> = jobs
            .iter()
            .map(|(name, needs, duration)| {
                serde_json::json!({"name": name, "needs": needs, "labels": labels, "duration_s": duration})
            })
            .collect();
        let run = serde_json::json!({
            "run_id": self.1, "t": t, "repo": format!("acme/r{}", self.1 % 3), "workflow": "ci", "event": "push",
            "cancel_after_s": cancel_after, "jobs": jobs,
        });
        writeln!(self.0, "{run}").unwrap();
        self
    }

    pub(crate) fn trace(self) -> Trace {
        Trace::bytes("handmade", self.0.into_bytes())
    }
}

/// The same load, and no run is cancelled.
pub(crate) fn uncancelled(trace: &Trace, cut: Cut) -> Trace {
    let mut text = String::new();
    for run in trace.load(cut).unwrap() {
        let run = run.unwrap();
        let jobs: Vec<_> = run
            .jobs
            .iter()
            .map(|job| {
                let needs: Vec<String> = job.needs.iter().map(ToString::to_string).collect();
                serde_json::json!({
                    "name": &*job.name, "job": job.group.to_string(), "needs": needs,
                    "labels": job.labels.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "duration_s": job.duration.as_secs_f64(),
                })
            })
            .collect();
        let run = serde_json::json!({
            "run_id": run.id.0, "t": run.at.as_secs_f64(), "repo": &*run.repository, "workflow": &*run.workflow,
            "event": &*run.event, "jobs": jobs,
        });
        writeln!(text, "{run}").unwrap();
    }
    Trace::bytes("uncancelled", text.into_bytes())
}
