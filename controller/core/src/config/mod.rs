//! The configuration: what `muster.toml` says, its validation, and what follows from it.
//!
//! What lives here: values, diagnostics, classes and shapes, bounds at an instant, label resolution. What may not: the
//! file system, the environment, a clock; the text, the time and the job are arguments.
//!
//! Invariant: a [`FleetConfig`] is valid. There is no way to have one with an error in it.

mod advice;
mod aws;
mod aws_reader;
mod bounds;
mod bounds_reader;
mod catalog;
mod class;
mod diagnostic;
mod fleet;
mod fleet_rules;
mod github;
mod github_reader;
mod instance_type;
mod label_sets;
pub mod limits;
mod logs;
mod market;
mod pattern;
mod pool;
mod pool_reader;
mod refusal;
mod resolve;
mod runner_options;
mod runner_reader;
mod schedule;
mod section;
mod shape;
mod size_reader;
mod syntax;
mod wording;

use std::sync::Arc;

pub use aws::{Account, Aws, Place};
pub use bounds::{Bounds, BoundsAt, Standby};
pub use class::Class;
pub use diagnostic::{Diagnostic, Parsed};
pub use fleet::{Fleet, Metrics, QueueTimeTarget};
pub use github::{API_URL_DEFAULT, App, GitHub, Hook, Owner, SecretRef};
pub use logs::{Logs, PREFIX_DEFAULT as LOGS_PREFIX_DEFAULT};
pub use market::{Arch, Dimension, Market, MarketPolicy, Os, StandbyState};
pub use pattern::{RepositoryPattern, TypePattern};
pub use pool::{Pool, Prices, Size};
pub use refusal::{Refusal, RefusalKind};
pub use resolve::Resolution;
pub use runner_options::{BadOption, RunnerOptions};
pub use schedule::{BoundsChange, Schedule, Window};
pub use shape::Shape;

use catalog::Catalog;
use diagnostic::Findings;
use fleet_rules::ReadPool;
use section::Section;

use crate::ids::{ClassId, PoolName, ShapeId};
use crate::time::Timestamp;

/// A valid configuration of one fleet.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The `[github]` section.
    pub github: GitHub,
    /// The `[fleet]` section.
    pub fleet: Fleet,
    /// The `[metrics]` section.
    pub metrics: Metrics,
    /// The `[aws]` section.
    pub aws: Aws,
    /// The `[logs]` section. `None`: no logs are kept.
    pub logs: Option<Logs>,
    pools: Vec<Pool>,
    catalog: Catalog,
}

impl FleetConfig {
    /// Reads a configuration from TOML. `file` only names it in diagnostics. Tells as many errors as it can in one go.
    /// Never panics.
    pub fn parse(file: &str, text: &str) -> Parsed {
        let mut findings = Findings::new(file, text);
        if text.len() > limits::CONFIG_BYTES_MAX {
            let message = format!("the file has {} bytes; at most {}", text.len(), limits::CONFIG_BYTES_MAX);
            findings.error("", message, "is this the right file?");
            return findings.into_parsed(None);
        }
        let config = syntax::read(text, &mut findings).and_then(|document| {
            findings.learn_places(document.get_ref());
            read(Section::new("", document.get_ref()), &mut findings)
        });
        if let Some(config) = config.as_ref().filter(|_| !findings.has_errors()) {
            advice::give(config, &mut findings);
        }
        findings.into_parsed(config)
    }

    /// All configured classes (pool x size x market), in the order of the file. Classes of raw instance types are not
    /// among them: they exist once a job names one.
    pub fn classes(&self) -> &[Arc<Class>] {
        &self.catalog.classes
    }

    /// The class with this id, also one of a raw instance type that its pool allows.
    pub fn class(&self, id: &ClassId) -> Option<Arc<Class>> {
        if let Some(class) = self.catalog.by_class.get(id) {
            return Some(class.clone());
        }
        let mut parts = id.as_str().split('/');
        let (pool, name, market) = (parts.next()?, parts.next()?, MarketPolicy::parse(parts.next()?)?);
        let pool = &self.pools[*self.catalog.by_pool.get(pool)?];
        let class = self.raw_class(pool, name, market).filter(|_| pool.markets.contains(&market))?;
        (class.id == *id).then_some(class)
    }

    /// All pools, in the order of the file.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// The pool of this name.
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        self.catalog.by_pool.get(name).map(|index| &self.pools[*index])
    }

    /// The shapes of all configured classes, by id.
    pub fn shapes(&self) -> impl Iterator<Item = &Arc<Shape>> {
        self.catalog.by_shape.values()
    }

    /// The shape with this id, also one of a raw instance type that a pool allows.
    pub fn shape(&self, id: &ShapeId) -> Option<Arc<Shape>> {
        if let Some(shape) = self.catalog.by_shape.get(id) {
            return Some(shape.clone());
        }
        // A raw shape's id holds its type: os-arch-market-TYPE-hash, and only bare-metal and flex types have a dash.
        self.pools.iter().filter(|pool| !pool.instance_type_labels.is_empty()).find_map(|pool| {
            pool.markets.iter().flat_map(|policy| policy.markets()).find_map(|market| {
                let start = format!("{}-{}-{market}-", pool.os, pool.arch);
                let (name, _) = id.as_str().strip_prefix(&start)?.rsplit_once('-')?;
                let shape = Shape::of(pool, &self.raw_size(pool, name)?, *market);
                (shape.id == *id).then(|| Arc::new(shape))
            })
        })
    }

    /// Every bound at `now`, and how long it stays so. Cheap without schedules: no time zone is touched.
    pub fn bounds_at(&self, now: Timestamp) -> BoundsAt {
        self.catalog.timetable.at(now)
    }

    /// Bounds of idle runners of a class at `now`. For many classes use [`FleetConfig::bounds_at`].
    pub fn idle_bounds(&self, class: &ClassId, now: Timestamp) -> Bounds {
        self.class(class).map_or(Bounds::NONE, |class| self.bounds_at(now).idle(&class))
    }

    /// Machines to keep on standby for a shape at `now`. For many shapes use [`FleetConfig::bounds_at`].
    pub fn standby_bounds(&self, shape: &ShapeId, now: Timestamp) -> Standby {
        self.bounds_at(now).standby(shape)
    }

    /// When a schedule next begins or ends after `now`, or sooner; never later. `None` if none ever does.
    pub fn next_schedule_change(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.bounds_at(now).until;
        (until < Timestamp::MAX).then_some(until)
    }
}

/// Reads the whole document. `None` if too little of it is usable; then there are errors.
fn read(mut document: Section<'_>, findings: &mut Findings) -> Option<FleetConfig> {
    let section = document.table("github", findings);
    let github =
        if section.is_some() || !document.has("github") { github_reader::read(section, findings) } else { None };
    let owner = github.as_ref().map(|github| &github.owner);
    let (fleet, zone) = fleet::read(document.table("fleet", findings), owner, findings);
    let metrics = fleet::read_metrics(document.table("metrics", findings), findings);
    let aws = aws_reader::read(document.table("aws", findings), findings);
    let logs = logs::read(document.table("logs", findings), findings);
    let sections = document.tables("pool", findings);
    if !document.has("pool") || document.is_empty("pool") {
        let remedy = "add [[pool]] with name, os, arch and a [pool.sizes.NAME]";
        findings.error("pool", "there is no pool, so no job is served", remedy);
    }
    let mut pools: Vec<ReadPool> = Vec::new();
    for section in sections {
        let path = section.path.clone();
        pools.extend(pool_reader::read(section, owner, findings).map(|pool| ReadPool { pool, path }));
    }
    document.finish(findings);
    fleet_rules::check(&mut pools, &aws, fleet.budget_usd_per_hour, findings);
    if findings.has_errors() {
        return None;
    }
    let pools: Vec<Pool> = pools.into_iter().map(|read| read.pool).collect();
    let catalog = Catalog::new(&pools, zone);
    Some(FleetConfig { github: github?, fleet, metrics, aws, logs, pools, catalog })
}
