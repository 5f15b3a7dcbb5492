//! From what ticks report to CloudWatch lines.
//!
//! What lives here: which metric is written when, with which dimensions and properties. What may not: the format
//! (`muster-emf`), and names (`muster_core::metric`).
//!
//! A job's start is a line of its own, with its queue time and its stages as metrics and the job, the run and the
//! repository as plain properties: searchable, and free. A pool's gauges are a line each, with what they were computed
//! from. Counters go through the `metrics` facade and are written at each flush.
//!
//! Invariant: a line can be recomputed from its own properties.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, histogram};
use muster_core::config::{Class, Dimension, FleetConfig};
use muster_core::ids::{ClassId, PoolName};
use muster_core::job::JobRecord;
use muster_core::machine::Market;
use muster_core::metric::{self, NAMESPACE, dimension};
use muster_core::rerun;
use muster_core::stages::Stages;
use muster_core::time::Timestamp;
use muster_core::world::World;
use muster_emf::{ConfigError, Document, DocumentError, EmfRecorder, Unit};

use crate::healer::Healed;
use crate::reconcile::{JobNews, TickReport};
use pool::PoolGauges;

/// How often gauges and counters are written: CloudWatch's standard resolution.
pub const FLUSH_EVERY: Duration = Duration::from_secs(60);

/// Where lines go.
pub type Sink = Arc<Mutex<dyn Write + Send>>;

/// A recorder with Muster's dimensions and units: install it as the process's `metrics` recorder.
///
/// # Errors
/// [`ConfigError`] never, unless a constant here is wrong.
pub fn recorder() -> Result<EmfRecorder, ConfigError> {
    let all_and_by_reason = [vec![], vec![dimension::REASON]];
    EmfRecorder::builder(NAMESPACE)
        .dimensions(dimension::ALL)
        .dimension_sets(metric::WEBHOOKS_REJECTED, all_and_by_reason)
        .build()
}

/// Tells the `metrics` facade the units of all our metrics.
pub fn describe() {
    for metric in metric::ALL {
        let unit = match metric.unit {
            metric::Unit::Seconds => metrics::Unit::Seconds,
            metric::Unit::Count | metric::Unit::None => metrics::Unit::Count,
        };
        metrics::describe_histogram!(metric.name, unit, metric.about);
        metrics::describe_counter!(metric.name, unit, metric.about);
    }
}

/// Writes metrics.
pub struct Telemetry {
    recorder: EmfRecorder,
    sink: Sink,
    flushed_at: Option<Timestamp>,
    /// The pools whose latest line says so.
    exhausted: BTreeSet<PoolName>,
}

/// A line could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A bug in a constant.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The sink failed.
    #[error("metric lines cannot be written: {0}")]
    Write(#[from] io::Error),
    /// Several lines of one tick, each by itself.
    #[error("{lost} metric lines are lost, the first of them because: {first}")]
    Several {
        /// How many.
        lost: usize,
        /// What happened to the first.
        first: Box<TelemetryError>,
    },
}

/// What became of the lines of a tick: each is tried, whatever happened to those before it.
#[derive(Default)]
struct Losses {
    lost: usize,
    first: Option<TelemetryError>,
}

impl Losses {
    fn note(&mut self, outcome: Result<(), TelemetryError>) {
        if let Err(error) = outcome {
            self.lost += 1;
            self.first.get_or_insert(error);
        }
    }

    fn told(self) -> Result<(), TelemetryError> {
        match (self.first, self.lost) {
            (None, _) => Ok(()),
            (Some(only), 1) => Err(only),
            (Some(first), lost) => Err(TelemetryError::Several { lost, first: Box::new(first) }),
        }
    }
}

impl Telemetry {
    /// Writes what `recorder` has gathered, and its own lines, to `sink`.
    pub fn new(recorder: EmfRecorder, sink: Sink) -> Telemetry {
        Telemetry { recorder, sink, flushed_at: None, exhausted: BTreeSet::new() }
    }

    /// Takes in what a tick did. `took` is how long it took on the clock that is told to people.
    ///
    /// # Errors
    /// [`TelemetryError`]; the fleet goes on without, and so do all other lines.
    pub fn tick(
        &mut self,
        report: &TickReport,
        world: &World,
        config: &FleetConfig,
        took: Duration,
    ) -> Result<(), TelemetryError> {
        histogram!(metric::TICK_DURATION).record(took.as_secs_f64());
        // A counter that stays at 0 is never written; this one must be there to be trusted, so every tick has a value.
        histogram!(metric::PLAN_VIOLATIONS).record(report.violations.len() as f64);
        counter!(metric::FACTS_SET_ASIDE).increment(report.set_aside as u64);
        counter!(metric::MACHINES_UNKNOWN).increment(report.unknown as u64);
        for (launch, error) in &report.refused {
            let pool = launch.purpose.pool.to_string();
            counter!(metric::LAUNCH_FAILURES, dimension::POOL => pool, dimension::REASON => error.kind.as_word())
                .increment(1);
        }
        if report.not_remembered > 0 {
            let jobs = report.not_remembered as u64;
            counter!(metric::JOBS_RERUN, dimension::OUTCOME => rerun::FORGOTTEN).increment(jobs);
        }
        for (pool, idle) in &report.removed {
            histogram!(metric::IDLE_REGISTRATION_LIFE, dimension::POOL => pool.to_string()).record(idle.as_secs_f64());
        }
        let mut losses = Losses::default();
        for news in &report.news {
            losses.note(self.news(news, &config.metrics.dimensions, report.now));
        }
        let due = self.flushed_at.is_none_or(|at| report.now.since(at) >= FLUSH_EVERY);
        self.pools(world, config, report.now, due, &mut losses);
        if due {
            losses.note(self.flush(report.now));
        }
        losses.told()
    }

    /// Counts what was healed. It is written with the next flush.
    pub fn healed(healed: &Healed) {
        let reasons =
            [("delivery", healed.deliveries.len()), ("sweep", healed.swept.len()), ("silent", healed.silent.len())];
        for (reason, count) in reasons.into_iter().filter(|(_, count)| *count > 0) {
            counter!(metric::WEBHOOKS_HEALED, dimension::REASON => reason).increment(count as u64);
        }
        for rerun in &healed.reruns {
            let outcome = rerun.outcome.as_word();
            counter!(metric::JOBS_RERUN, dimension::OUTCOME => outcome).increment(rerun.jobs.len() as u64);
        }
        histogram!(metric::JOBS_STRANDED).record(healed.stranded_jobs.len() as f64);
        for (pool, age) in &healed.ages {
            let pool = pool.to_string();
            histogram!(metric::RUNNER_VERSION_AGE, dimension::POOL => pool).record(age.as_secs_f64());
        }
        for (_, late) in healed.deliveries.iter().chain(&healed.swept) {
            histogram!(metric::HEAL_DELAY).record(late.as_secs_f64());
        }
    }

    /// Writes all counters now.
    ///
    /// # Errors
    /// [`TelemetryError::Write`]; nothing is lost, the next flush goes on.
    pub fn flush(&mut self, now: Timestamp) -> Result<(), TelemetryError> {
        self.flushed_at = Some(now);
        // A counter without an increase is not written, and an alarm on a metric without data says nothing.
        histogram!(metric::FACTS_SET_ASIDE).record(0.0);
        histogram!(metric::WEBHOOKS_REJECTED).record(0.0);
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let at = u64::try_from(now.unix_ms()).unwrap_or(0);
        let told =
            self.recorder.flush(at, &mut *sink).map_err(|error| TelemetryError::Write(io::Error::other(error)))?;
        if !told.is_complete() {
            tracing::warn!(target: "muster::telemetry", ?told, "values were refused");
        }
        Ok(sink.flush()?)
    }

    fn news(&self, news: &JobNews, opted_in: &[Dimension], now: Timestamp) -> Result<(), TelemetryError> {
        match news {
            JobNews::Queued { class } => {
                counter!(metric::JOBS_QUEUED, dimension::POOL => class.pool.to_string()).increment(1);
            }
            JobNews::Completed { class, conclusion, started: _ } => {
                let pool = class.pool.to_string();
                let outcome = known(conclusion.as_word()).to_owned();
                counter!(metric::JOBS_COMPLETED, dimension::POOL => pool, dimension::OUTCOME => outcome).increment(1);
            }
            JobNews::Interrupted(purpose) => {
                let pool = purpose.pool.to_string();
                counter!(metric::SPOT_INTERRUPTIONS, dimension::POOL => pool).increment(1);
            }
            JobNews::Started { class, market } => {
                let pool = class.pool.to_string();
                let market = market_word(*market);
                counter!(metric::JOBS_STARTED, dimension::POOL => pool, dimension::MARKET => market).increment(1);
            }
            JobNews::Timed { class, market, job, stages } => {
                self.write(&queue_time_line(class, market_word(*market), job, stages, opted_in, now)?)?;
            }
        }
        Ok(())
    }

    /// A line for each pool: when it is due, and whenever a pool becomes exhausted or recovers.
    fn pools(&mut self, world: &World, config: &FleetConfig, now: Timestamp, due: bool, losses: &mut Losses) {
        // A pool recovers too if its last class is gone from the world, or the pool from the configuration.
        let exhausted = self.exhausted.iter().map(|pool| (pool.clone(), PoolGauges::default()));
        let mut pools: BTreeMap<PoolName, PoolGauges> = exhausted.collect();
        if due {
            for pool in config.pools() {
                pools.insert(pool.name.clone(), PoolGauges::default());
            }
        }
        for (id, state) in world.classes() {
            let Some(class) = config.class(id) else { continue };
            let gauges = pools.entry(class.pool.clone()).or_default();
            gauges.add(id, state);
        }
        // Classes share shapes, and a shape of a class without demand may have stock: so by shape.
        for (shape, count) in world.stocks() {
            let owner = config.classes().iter().find(|class| class.shapes.iter().any(|of| of.id == *shape));
            if let Some(gauges) = owner.and_then(|class| pools.get_mut(&class.pool)) {
                gauges.standby += count;
            }
        }
        for (pool, mut gauges) in pools {
            gauges.price = world.pool_totals(&pool).price;
            let changed =
                if gauges.exhausted { self.exhausted.insert(pool.clone()) } else { self.exhausted.remove(&pool) };
            if due || changed {
                let line = gauges.line(&pool, now).map_err(TelemetryError::from);
                losses.note(line.and_then(|line| self.write(&line)));
            }
        }
    }

    fn write(&self, line: &Document) -> Result<(), TelemetryError> {
        let rendered = line.render()?;
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        for line in rendered.lines {
            writeln!(sink, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn document(now: Timestamp) -> Result<Document, DocumentError> {
    Document::new(NAMESPACE, u64::try_from(now.unix_ms()).unwrap_or(0))
}

/// The value of a dimension that somebody else names: CloudWatch takes none that is blank.
fn known(text: &str) -> &str {
    if text.trim().is_empty() { "unknown" } else { text }
}

fn market_word(market: Option<Market>) -> &'static str {
    market.map_or("elsewhere", Market::as_str)
}

/// The line of a job's queue time.
fn queue_time_line(
    class: &Class,
    market: &'static str,
    job: &JobRecord,
    stages: &Stages,
    opted_in: &[Dimension],
    now: Timestamp,
) -> Result<Document, DocumentError> {
    let mut line = document(now)?;
    line.dimension(dimension::POOL, class.pool.as_str())?
        .dimension(dimension::MARKET, market)?
        .dimension_set([dimension::POOL, dimension::MARKET])?
        .dimension_set([dimension::POOL])?;
    for dimension in opted_in {
        opt_in(&mut line, *dimension, job)?;
    }
    for (name, stage) in stage_metrics(stages) {
        if let Some(stage) = stage {
            line.metric(name, Unit::Seconds, [stage.as_secs_f64()])?;
        }
    }
    describe_job(&mut line, job, &class.id)?;
    Ok(line)
}

fn stage_metrics(stages: &Stages) -> [(&'static str, Option<Duration>); 7] {
    [
        (metric::QUEUE_TIME, stages.queue_time),
        (metric::WEBHOOK_DELAY, stages.webhook),
        (metric::DECISION_DELAY, stages.decision),
        (metric::LAUNCH_DELAY, stages.launch),
        (metric::BOOT_DELAY, stages.boot),
        (metric::REGISTER_DELAY, stages.register),
        (metric::PICKUP_DELAY, stages.pickup),
    ]
}

/// Adds a dimension that the admin has opted in to, and a set of it with the pool: a metric of its own for each value.
fn opt_in(line: &mut Document, dimension: Dimension, job: &JobRecord) -> Result<(), DocumentError> {
    let told = |text: Option<&str>| known(text.unwrap_or_default()).to_owned();
    let (name, value) = match dimension {
        Dimension::Status => ("Status", "in_progress".to_owned()),
        Dimension::Event => ("Event", "workflow_job".to_owned()),
        Dimension::Repository => ("Repository", told(Some(&job.about.repository))),
        Dimension::Workflow => ("Workflow", told(job.about.workflow.as_deref())),
        Dimension::JobName => ("JobName", told(job.about.name.as_deref())),
    };
    line.dimension(name, &value)?.dimension_set([dimension::POOL, name])?;
    Ok(())
}

fn describe_job(line: &mut Document, job: &JobRecord, class: &ClassId) -> Result<(), DocumentError> {
    line.property("class", class.as_str())?
        .property("job_id", job.key.job.0)?
        .property("attempt", job.key.attempt)?
        .property("run_id", job.about.run.0)?
        .property("repository", &*job.about.repository)?
        .property("workflow", job.about.workflow.as_deref())?
        .property("job_name", job.about.name.as_deref())?
        .property("runner", job.runner().map(|runner| runner.name.as_str()))?
        .property("demanded_at", job.demanded_at().map(Timestamp::unix_ms))?
        .property("started_at", job.started_at().map(Timestamp::unix_ms))?;
    Ok(())
}
