//! Configurations for workload traces: one made from a trace's label sets, and any one opened to the copies of a trace.
//!
//! What lives here: what the simulator serves when it has no configuration, and its prices. What may not:
//! `muster.toml`.
//!
//! Invariant: one class per set, whose labels are exactly the set; but for the empty set, as no runner is without labels.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::aws::Aws;
use super::bounds::{Bounds, Standby};
use super::fleet::{Fleet, Metrics};
use super::github::{API_URL_DEFAULT, GitHub, Hook, Owner};
use super::limits::{JOB_HOURS_MAX, NAME_CHARS_MAX};
use super::market::{Arch, MarketPolicy, Os};
use super::pattern::RepositoryPattern;
use super::pool::{Pool, Prices, Size};
use super::runner_options::RunnerOptions;
use super::{FleetConfig, catalog::Catalog};
use crate::ids::PoolName;

const CPU_2: Prices = Prices { on_demand: Some(0.09), spot: Some(0.035), standby: Some(0.004) };
const CPU_8: Prices = Prices { on_demand: Some(0.36), spot: Some(0.14), standby: Some(0.012) };
const CPU_16: Prices = Prices { on_demand: Some(0.72), spot: Some(0.28), standby: Some(0.02) };
const WINDOWS: Prices = Prices { on_demand: Some(0.18), spot: Some(0.07), standby: Some(0.008) };
const MACOS: Prices = Prices { on_demand: Some(1.10), spot: None, standby: None };
/// The label of a class for jobs without labels: GitHub gives it to every self-hosted runner.
const SELF_HOSTED: &str = "self-hosted";
/// vCPUs of a machine whose size no label names.
const VCPUS_DEFAULT: u32 = 2;
/// vCPUs above which a `cpu-N` is no size.
const VCPUS_MAX: u32 = 10_000;

impl FleetConfig {
    /// A configuration made from the label sets of a workload trace: one class per set, with exactly its labels; any
    /// repository, public ones too; no bounds, no caps, no target. Sets that differ only by order, case or repeats are
    /// one. Classes are in the order of their number of labels, then of the sets, so that a set wins over those that
    /// contain it. Jobs without labels, which name only a runner group, get runners with the label `self-hosted`.
    ///
    /// What a set does not name: `linux` (an arm64 Mac with `macos`), `x64`, `cpu-2`, `on-demand`. Macs are always
    /// on-demand. US dollars an hour, on-demand / spot / standby: cpu-2 0.09/0.035/0.004, cpu-8 0.36/0.14/0.012, cpu-16
    /// 0.72/0.28/0.02, other cpu-N as N/2 times cpu-2; windows 0.18/0.07/0.008, with cpu-N N/2 times that; macos 1.10,
    /// whatever its size.
    pub fn for_label_sets(sets: &[Vec<String>]) -> FleetConfig {
        let mut seen = BTreeSet::new();
        let mut distinct: Vec<Vec<&str>> = Vec::new();
        for set in sets {
            if seen.insert(set.iter().map(|label| label.to_lowercase()).collect::<BTreeSet<_>>()) {
                let mut labels = BTreeSet::new();
                distinct.push(set.iter().map(String::as_str).filter(|l| labels.insert(l.to_lowercase())).collect());
            }
        }
        // The class of the empty set has one label, and comes behind a set of that one.
        distinct.sort_by_key(|set| (set.len().max(1), set.is_empty()));
        let mut names = BTreeSet::new();
        let pools: Vec<Pool> = distinct.iter().map(|labels| pool_of(labels, &mut names)).collect();
        let catalog = Catalog::new(&pools, TimeZone::UTC);
        FleetConfig {
            github: GitHub {
                owner: Owner::Organization("trace".to_owned()),
                organization_id: None,
                api_url: API_URL_DEFAULT.to_owned(),
                hook: Hook::default(),
                webhook_secrets: Vec::new(),
                apps: Vec::new(),
            },
            fleet: Fleet {
                name: "trace".to_owned(),
                max_runners: None,
                budget_usd_per_hour: None,
                queue_time_target: None,
                time_zone: "UTC".to_owned(),
            },
            metrics: Metrics::default(),
            aws: Aws::default(),
            logs: None,
            pools,
            catalog,
        }
    }

    /// This configuration for a trace that is overlaid with copies of itself, whose repositories are named `OWNER/NAME-2`
    /// to `OWNER/NAME-{copies}`: a pool that is open to a repository is open to its copies.
    #[must_use]
    pub fn open_to_copies(mut self, copies: u32) -> FleetConfig {
        for pool in &mut self.pools {
            let named = pool.repositories.iter().flat_map(|pattern| {
                let copy = move |number| RepositoryPattern::new(&format!("{pattern}-{number}"));
                (2..=copies).map(copy).filter(move |copy| !pattern.covers(copy))
            });
            let named: Vec<RepositoryPattern> = named.collect();
            pool.repositories.extend(named);
        }
        self
    }
}

fn pool_of(labels: &[&str], names: &mut BTreeSet<String>) -> Pool {
    let lower: Vec<String> = labels.iter().map(|label| label.to_lowercase()).collect();
    let find = |word: &str| lower.iter().any(|label| label == word);
    let os = Os::ALL.iter().copied().find(|os| find(os.as_str())).unwrap_or(Os::Linux);
    let by_default = if os == Os::Macos { Arch::Arm64 } else { Arch::X64 };
    let arch = Arch::ALL.iter().copied().find(|arch| find(arch.as_str())).unwrap_or(by_default);
    let named = MarketPolicy::ALL.iter().copied().find(|market| find(market.as_str()));
    let market = named.filter(|_| os != Os::Macos).unwrap_or(MarketPolicy::OnDemand);
    let cpus = lower.iter().find_map(|label| {
        let number = label.strip_prefix("cpu-")?;
        let good = number.chars().all(|c| c.is_ascii_digit());
        number.parse::<u32>().ok().filter(|n| good && (1..=VCPUS_MAX).contains(n))
    });
    let vcpus = cpus.unwrap_or(VCPUS_DEFAULT);
    let size = Size {
        name: format!("cpu-{vcpus}").into(),
        instance_types: Vec::new(),
        vcpus: Some(vcpus),
        memory_gib: None,
        gpus: None,
        image: None,
        usd_per_hour: prices(os, vcpus),
        idle: None,
    };
    let telling: Vec<&str> = lower.iter().map(String::as_str).filter(|label| *label != SELF_HOSTED).collect();
    let name = if telling.is_empty() { "any".to_owned() } else { telling.join("-") };
    Pool {
        name: PoolName::new(free_name(&name, names)),
        os,
        arch,
        labels: if labels.is_empty() { &[SELF_HOSTED] } else { labels }.iter().map(|l| Arc::from(*l)).collect(),
        adds_labels: false,
        account: None,
        runner_group: "default".into(),
        repositories: vec![RepositoryPattern::new("*")],
        public_repositories: true,
        priority: 0,
        sizes: vec![size],
        default_size: 0,
        markets: vec![market],
        default_market: market,
        instance_type_labels: Vec::new(),
        idle: Bounds::ANY,
        standby: Standby::NONE,
        max_runners: None,
        max_job_hours: JOB_HOURS_MAX,
        rerun_interrupted: 0,
        serves_group_jobs: labels.is_empty(),
        runner: RunnerOptions::default(),
        schedules: Vec::new(),
    }
}

fn prices(os: Os, vcpus: u32) -> Prices {
    let scaled = |prices: Prices| {
        let times = |price: Option<f64>| price.map(|price| price * f64::from(vcpus) / f64::from(VCPUS_DEFAULT));
        Prices { on_demand: times(prices.on_demand), spot: times(prices.spot), standby: times(prices.standby) }
    };
    match (os, vcpus) {
        (Os::Linux, 8) => CPU_8,
        (Os::Linux, 16) => CPU_16,
        (Os::Linux, _) => scaled(CPU_2),
        (Os::Windows, _) => scaled(WINDOWS),
        (Os::Macos, _) => MACOS,
    }
}

/// A pool's name that fits and that no other pool has.
fn free_name(wanted: &str, names: &mut BTreeSet<String>) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.' { c } else { '-' }
    };
    let wanted: String = wanted.chars().map(fit).take(NAME_CHARS_MAX).collect();
    let numbered = (2..).map(|n: u64| format!("{wanted}-{n}"));
    let mut candidates = std::iter::once(wanted.clone()).chain(numbered);
    let name = candidates.find(|name| !names.contains(name)).unwrap_or(wanted);
    names.insert(name.clone());
    name
}
