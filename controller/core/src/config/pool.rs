//! Pools: what an admin configures.
//!
//! What lives here: the values of a `[[pool]]`. What may not: reading them (`pool_reader.rs`).
//!
//! Invariant: a pool has at least one size and one market, and its defaults are among them.

use std::sync::Arc;

use super::bounds::{Bounds, Standby};
use super::instance_type;
use super::market::{Arch, Market, MarketPolicy, Os};
use super::pattern::{RepositoryPattern, TypePattern};
use super::runner_options::RunnerOptions;
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
    /// The `[[aws.account]]` that its machines live in. `None`: the controller's own.
    pub account: Option<Arc<str>>,
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
    /// How often a run is run again at most after the cloud took machines from under its jobs; 0: never.
    pub rerun_interrupted: u32,
    /// Whether it serves jobs that name only a runner group, and so no labels.
    pub serves_group_jobs: bool,
    /// What it gives its runners beyond what their image has: `[pool.runner]`. With `max_job_hours` it is
    /// [`Pool::runner_options`].
    pub runner: RunnerOptions,
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

impl Pool {
    /// What the agents of its machines are told beside a runner configuration.
    pub fn runner_options(&self) -> RunnerOptions {
        RunnerOptions { max_job_hours: Some(self.max_job_hours), ..self.runner.clone() }
    }

    /// The name of its default size.
    pub(super) fn default_size(&self) -> &Size {
        &self.sizes[self.default_size]
    }

    /// Index of its default market in `markets`.
    pub(super) fn default_market(&self) -> usize {
        self.markets.iter().position(|market| *market == self.default_market).unwrap_or(0)
    }

    /// Whether any of its classes has machines of this market.
    pub(super) fn buys(&self, market: Market) -> bool {
        self.markets.iter().any(|policy| policy.allows(market))
    }

    /// Whether it is open to a repository.
    pub(super) fn is_open_to(&self, repository: &str) -> bool {
        self.repositories.iter().any(|pattern| pattern.matches(repository))
    }

    /// A raw instance type as a size, if its pattern and system allow it: with the default size's image, and with a
    /// price if there is one to be had.
    pub(super) fn raw_size(&self, name: &str) -> Option<Size> {
        let allowed = instance_type::is_like(name)
            && instance_type::suits(name, self.os, self.arch)
            && self.instance_type_labels.iter().any(|pattern| pattern.matches(name));
        if !allowed {
            return None;
        }
        let name: Arc<str> = name.to_ascii_lowercase().into();
        let mut size = Size {
            instance_types: vec![name.clone()],
            name,
            vcpus: None,
            memory_gib: None,
            gpus: None,
            image: self.default_size().image.clone(),
            usd_per_hour: Prices::default(),
            idle: None,
        };
        let same = |other: &&Size| other.instance_types == size.instance_types;
        let known = self.sizes.iter().find(same).map(|other| other.usd_per_hour);
        size.usd_per_hour = known.or_else(|| self.estimate(&size)).unwrap_or_default();
        Some(size)
    }

    /// Prices of a size by its vCPUs, at the highest price of a vCPU in the pool; spot costs at most as much as
    /// on-demand. `None` if either is unknown.
    pub(super) fn estimate(&self, size: &Size) -> Option<Prices> {
        let wanted = f64::from(size.vcpus_max()?);
        let scaled = |price: fn(&Prices) -> Option<f64>| {
            let per_vcpu = self
                .sizes
                .iter()
                .filter_map(|other| Some(price(&other.usd_per_hour)? / f64::from(other.vcpus_min()?.max(1))));
            per_vcpu.max_by(f64::total_cmp).map(|highest| highest * wanted)
        };
        let prices = Prices {
            on_demand: scaled(|prices| prices.on_demand),
            spot: scaled(|prices| prices.spot.or(prices.on_demand)),
            standby: scaled(|prices| prices.standby),
        };
        (prices != Prices::default()).then_some(prices)
    }
}

impl Size {
    fn vcpus_of_types(&self) -> impl Iterator<Item = u32> {
        self.instance_types.iter().filter_map(|name| instance_type::vcpus(name))
    }

    /// Most vCPUs a machine of this size may have, by what the admin said or the types' names.
    fn vcpus_max(&self) -> Option<u32> {
        self.vcpus.or_else(|| self.vcpus_of_types().max())
    }

    /// Fewest vCPUs a machine of this size may have.
    fn vcpus_min(&self) -> Option<u32> {
        self.vcpus.or_else(|| self.vcpus_of_types().min())
    }
}

impl Prices {
    /// The price in a market.
    pub fn of(&self, market: Market) -> Option<f64> {
        match market {
            Market::Spot => self.spot,
            Market::OnDemand => self.on_demand,
        }
    }
}
