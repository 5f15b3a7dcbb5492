//! What the demo shows: the busiest hour of a trace, and the configuration that serves it.
//!
//! Invariant: the configuration serves every job of the hour, and is not another one than the example without saying so.

use anyhow::{Context, bail};
use muster_core::config::FleetConfig;
use muster_sim::{Cut, Survey, Trace};

use super::{Options, fallback};

/// The configuration that ships with the project and that the demo runs under.
pub const EXAMPLE_CONFIG: &str = include_str!("../../../../muster.example.toml");
/// The trace that ships with the project.
const SHIPPED_TRACE: &[u8] = include_bytes!("../../../../tests/traces/acme-four-weeks.jsonl.gz");

/// The load, and what serves it.
pub(super) struct Load {
    pub(super) trace: Trace,
    pub(super) cut: Cut,
    pub(super) jobs: u64,
    pub(super) config: FleetConfig,
    /// What the ledger keeps, so that it can tell classes.
    pub(super) config_text: Option<String>,
    /// What people should know before the show.
    pub(super) announcement: Option<String>,
}

impl Load {
    pub(super) fn of(options: &Options) -> anyhow::Result<Load> {
        let trace = match &options.trace {
            Some(path) => Trace::file(path),
            None => Trace::shipped("the shipped trace", SHIPPED_TRACE),
        };
        let whole = trace.survey()?;
        let (from, to) = match whole.busiest_hour() {
            Some(hour) if whole.jobs > 0 => hour,
            Some(_) | None => bail!("{} has no jobs, so there is nothing to show; choose another trace", trace.name()),
        };
        let cut = Cut::window(from, to);
        let survey = Survey::of(trace.load(cut)?)?;
        let example = FleetConfig::parse("muster.example.toml", EXAMPLE_CONFIG).config.context("the example")?;
        let jobs = survey.jobs;
        let Some(refusal) = refusal(&trace, cut, &example)? else {
            let config_text = Some(EXAMPLE_CONFIG.to_owned());
            return Ok(Load { trace, cut, jobs, config: example, config_text, announcement: None });
        };
        let sets: Vec<Vec<String>> =
            survey.label_sets.keys().map(|set| set.iter().map(ToString::to_string).collect()).collect();
        let generated = match fallback::text(&sets).and_then(|text| Some((fallback::read(&text)?, text))) {
            Some((config, text)) if self::refusal(&trace, cut, &config)?.is_none() => Some((config, text)),
            Some(_) | None => None,
        };
        let mut said = format!("The example configuration does not serve this trace: {refusal}. ");
        said.push_str("The demo runs without bounds and caps, with a pool for each set of labels instead");
        let (config, config_text) = match generated {
            Some((config, text)) => (config, Some(text)),
            None => {
                said.push_str("; no muster.toml can say these, so the ledger will not name classes");
                (FleetConfig::for_label_sets(&sets), None)
            }
        };
        said.push('.');
        Ok(Load { trace, cut, jobs, config, config_text, announcement: Some(said) })
    }
}

/// Why the configuration does not serve some job of the load; `None` if it serves all.
fn refusal(trace: &Trace, cut: Cut, config: &FleetConfig) -> anyhow::Result<Option<String>> {
    for run in trace.load(cut)? {
        let run = run?;
        for job in &run.jobs {
            let resolution = config.resolve(&job.labels, &run.repository, run.public);
            if let Some(refusal) = resolution.refusal() {
                let labels = job.labels.join(", ");
                return Ok(Some(format!(
                    "a job of {} with the labels [{labels}] is refused ({})",
                    run.repository,
                    refusal.kind()
                )));
            }
        }
    }
    Ok(None)
}
