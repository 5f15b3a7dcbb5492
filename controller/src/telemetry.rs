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

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, histogram};
use muster_core::config::{Class, Dimension, FleetConfig};
use muster_core::ids::{ClassId, PoolName};
use muster_core::job::JobRecord;
use muster_core::machine::Market;
use muster_core::metric::{self, NAMESPACE, dimension};
use muster_core::money::HourlyPrice;
use muster_core::stages::Stages;
use muster_core::time::Timestamp;
use muster_core::world::{ClassWorld, World};
use muster_emf::{ConfigError, Document, DocumentError, EmfRecorder, Unit};
use serde_json::json;

use crate::reconcile::{JobNews, TickReport};

/// How often gauges and counters are written: CloudWatch's standard resolution.
pub const FLUSH_EVERY: Duration = Duration::from_secs(60);

/// Where lines go.
pub type Sink = Arc<Mutex<dyn Write + Send>>;

/// A recorder with Muster's dimensions and units: install it as the process's `metrics` recorder.
///
/// # Errors
/// [`ConfigError`] never, unless a constant here is wrong.
pub fn recorder() -> Result<EmfRecorder, ConfigError> {
    EmfRecorder::builder(NAMESPACE).dimensions(dimension::ALL).build()
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
    exhausted: BTreeMap<PoolName, bool>,
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
}

/// What a pool's gauges are computed from.
#[derive(Default)]
struct PoolGauges {
    idle: usize,
    busy: usize,
    booting: usize,
    ready: usize,
    standby: u32,
    oldest: Option<Timestamp>,
    exhausted: bool,
    price: HourlyPrice,
    classes: serde_json::Map<String, serde_json::Value>,
}

impl Telemetry {
    /// Writes what `recorder` has gathered, and its own lines, to `sink`.
    pub fn new(recorder: EmfRecorder, sink: Sink) -> Telemetry {
        Telemetry { recorder, sink, flushed_at: None, exhausted: BTreeMap::new() }
    }

    /// Takes in what a tick did. `took` is how long it took on the clock that is told to people.
    ///
    /// # Errors
    /// [`TelemetryError`]; the fleet goes on without.
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
        for (launch, error) in &report.refused {
            let pool = launch.purpose.pool.to_string();
            counter!(metric::LAUNCH_FAILURES, dimension::POOL => pool, dimension::REASON => error.kind.as_word())
                .increment(1);
        }
        for news in &report.news {
            self.news(news, &config.metrics.dimensions, report.now)?;
        }
        let due = self.flushed_at.is_none_or(|at| report.now.since(at) >= FLUSH_EVERY);
        self.pools(world, config, report.now, due)?;
        if due { self.flush(report.now) } else { Ok(()) }
    }

    /// Writes all counters now.
    ///
    /// # Errors
    /// [`TelemetryError::Write`]; nothing is lost, the next flush goes on.
    pub fn flush(&mut self, now: Timestamp) -> Result<(), TelemetryError> {
        self.flushed_at = Some(now);
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
                let outcome = conclusion.to_string();
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
    fn pools(&mut self, world: &World, config: &FleetConfig, now: Timestamp, due: bool) -> Result<(), TelemetryError> {
        let mut pools: BTreeMap<PoolName, PoolGauges> = BTreeMap::new();
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
            let was = self.exhausted.insert(pool.clone(), gauges.exhausted).unwrap_or(false);
            if due || was != gauges.exhausted {
                self.write(&gauges.line(&pool, now)?)?;
            }
        }
        Ok(())
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

impl PoolGauges {
    fn add(&mut self, id: &ClassId, state: &ClassWorld) {
        let booting = state.booting.len() + state.registering.len() + state.launching as usize;
        let (idle, ready, need) = (state.idle.len(), state.ready.len(), state.need());
        self.idle += idle;
        self.busy += state.busy.len();
        self.booting += booting;
        self.ready += ready;
        let exhausted = need > 0 && idle + booting + ready == 0;
        self.exhausted |= exhausted;
        let oldest = state.queued.first_key_value().map(|((at, _), _)| *at);
        self.oldest = [self.oldest, oldest].into_iter().flatten().min();
        if !state.is_empty() {
            let told = json!({
                "queued": state.queued.len(), "taken": state.unmatched.len(), "idle": idle, "booting": booting,
                "ready": ready, "busy": state.busy.len(), "oldest_at": oldest.map(Timestamp::unix_ms),
            });
            self.classes.insert(id.to_string(), told);
        }
    }

    fn line(self, pool: &PoolName, now: Timestamp) -> Result<Document, DocumentError> {
        let mut line = document(now)?;
        line.dimension(dimension::POOL, pool.as_str())?.dimension_set([dimension::POOL])?;
        let standby = f64::from(self.standby);
        let oldest = self.oldest.map_or(0.0, |at| now.since(at).as_secs_f64());
        let gauges = [
            (metric::RUNNERS_IDLE, Unit::Count, self.idle as f64),
            (metric::RUNNERS_BUSY, Unit::Count, self.busy as f64),
            (metric::RUNNERS_BOOTING, Unit::Count, self.booting as f64),
            (metric::RUNNERS_READY, Unit::Count, self.ready as f64),
            (metric::RUNNERS_STANDBY, Unit::Count, standby),
            (metric::POOL_DEPTH, Unit::Count, (self.idle + self.ready) as f64 + standby),
            (metric::POOL_EXHAUSTED, Unit::Count, f64::from(u8::from(self.exhausted))),
            (metric::OLDEST_QUEUED_JOB, Unit::Seconds, oldest),
            (metric::ESTIMATED_COST, Unit::None, self.price.usd()),
        ];
        for (name, unit, value) in gauges {
            line.metric(name, unit, [value])?;
        }
        line.property("classes", serde_json::Value::Object(self.classes))?;
        Ok(line)
    }
}

fn document(now: Timestamp) -> Result<Document, DocumentError> {
    Document::new(NAMESPACE, u64::try_from(now.unix_ms()).unwrap_or(0))
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
    let told = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
    let (name, value) = match dimension {
        Dimension::Status => ("Status", "in_progress".to_owned()),
        Dimension::Event => ("Event", "workflow_job".to_owned()),
        Dimension::Repository => ("Repository", job.about.repository.to_string()),
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
