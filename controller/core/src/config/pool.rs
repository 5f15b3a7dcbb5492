//! Pools: what an admin configures.
//!
//! What lives here: the values of a `[[pool]]`. What may not: reading them (`pool_reader.rs`).
//!
//! Invariant: a pool has at least one size and one market, and its defaults are among them.

use std::sync::Arc;

use super::bounds::{Bounds, Standby};
use super::market::{Arch, MarketPolicy, Os};
use super::pattern::{RepositoryPattern, TypePattern};
use super::schedule::Schedule;
use crate::ids::PoolName;

/// A `[[pool]]`.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Operating system.
    pub os: Os,
    /// Architecture.
    pub arch: Arch,
    /// Labels that all its runners carry.
    pub labels: Vec<Arc<str>>,
    /// Whether its classes add the size's name and the market label to `labels`. False only for classes made from a
    /// trace, whose labels are exactly the trace's.
    pub adds_labels: bool,
    /// Runner group that its runners register in.
    pub runner_group: Arc<str>,
    /// Repositories it is open to.
    pub repositories: Vec<RepositoryPattern>,
    /// Whether it is open to public repositories.
    pub public_repositories: bool,
    /// Higher is served first, and wins where two pools have the labels.
    pub priority: i32,
    /// Its sizes, in the order of the file; at least one.
    pub sizes: Vec<Size>,
    /// Index of the default size in `sizes`.
    pub default_size: usize,
    /// Its market labels, in the order of the file; at least one.
    pub markets: Vec<MarketPolicy>,
    /// The market of a job that names none; one of `markets`.
    pub default_market: MarketPolicy,
    /// Raw instance types that jobs may name.
    pub instance_type_labels: Vec<TypePattern>,
    /// Bounds of idle runners of its default class.
    pub idle: Bounds,
    /// Warm pool of the on-demand shape of its default size.
    pub standby: Standby,
    /// Cap on its instances, booting included, standby excluded. `None`: only the fleet's.
    pub max_runners: Option<u32>,
    /// After so many hours a job's machine is ended.
    pub max_job_hours: u32,
    /// Whether it serves jobs that name only a runner group, and so no labels.
    pub serves_group_jobs: bool,
    /// Its schedules, in the order of the file; where two apply the later one wins.
    pub schedules: Vec<Schedule>,
}

/// A `[pool.sizes.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    /// Its name, which is also the label that jobs name it by.
    pub name: Arc<str>,
    /// Instance types, best first. Empty if the hardware is asked for by its attributes.
    pub instance_types: Vec<Arc<str>>,
    /// vCPUs.
    pub vcpus: Option<u32>,
    /// Memory in GiB.
    pub memory_gib: Option<f64>,
    /// GPUs.
    pub gpus: Option<u32>,
    /// Image; `None`: the stack's.
    pub image: Option<Arc<str>>,
    /// Hourly prices.
    pub usd_per_hour: Prices,
    /// Bounds of idle runners of this size in the default market. `None`: the pool's if it is the default size, else
    /// any.
    pub idle: Option<Bounds>,
}

/// Hourly prices of a size, in US dollars. `None`: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prices {
    /// On-Demand.
    pub on_demand: Option<f64>,
    /// Spot.
    pub spot: Option<f64>,
    /// Stopped in a warm pool.
    pub standby: Option<f64>,
}
