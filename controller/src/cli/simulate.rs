//! `muster simulate`: a workload, replayed in virtual time.

mod seeds;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use muster_core::config::{FleetConfig, Os};
use muster_core::plan::Policy;
use muster_sim::trace::SCALE_MAX;
use muster_sim::{Cut, IDLE_REMOVAL_SEEN, ListenerFaults, Profile, Summary, Trace, Universe, WebhookFaults};
use muster_store::{MemoryOptions, MemoryStore};

use super::Found;
use super::output::{self, Failure};
use crate::drivers::simulate::{Healing, Scenario, SimulateError, Simulation, Watcher};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Policies:\n  cold     nothing idle, launch for queued jobs only (default without --config)\n  \
                        fixed:K  K idle in each class from its first queued job on\n  \
                        target   the configuration's bounds (default with --config)\n\n\
                        Example: muster simulate --trace tests/traces/acme-four-weeks.jsonl.gz --policy fixed:8 --json"
)]
pub(super) struct Args {
    /// The workload: .jsonl or .jsonl.gz
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// The configuration; without one, a class for each label set of the trace, without bounds
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The seed of all chance
    #[arg(long, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// Several seeds, both ends included
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    seeds: Option<(u64, u64)>,
    /// How many idle runners to keep: cold, fixed:K or target
    #[arg(long, value_parser = parse_policy)]
    policy: Option<Policy>,
    /// Faults to inject: only `none` so far
    #[arg(long, default_value = "none", value_name = "none|all|LIST")]
    faults: String,
    /// Only machines take time: no webhook delay, no mint, no pick-up, ticks at once
    #[arg(long)]
    ideal: bool,
    /// Overlay so many copies of the trace
    #[arg(long, default_value_t = 1, value_name = "K")]
    scale: u32,
    /// Only the first hours of the trace
    #[arg(long, value_name = "H", value_parser = clap::value_parser!(u64).range(1..=HOURS_MAX))]
    hours: Option<u64>,
    /// With --seeds: how many to run at once; default: as many as there are cores. The output is the same
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// The healer at work, though nothing fails: its requests are in the figures
    #[arg(long)]
    healer: bool,
    /// GitHub removes the registration of a runner that has been idle for 2 to 6 minutes, as it has been seen to do
    #[arg(long)]
    idle_removal: bool,
    /// JSON on standard output
    #[arg(long)]
    json: bool,
}

/// The longest part of a trace that can be asked for: ten years.
const HOURS_MAX: u64 = 87_600;
/// The most idle runners that `fixed:K` keeps in a class: GitHub lets 10,000 register in a runner group.
const FIXED_MAX: u32 = 10_000;
/// The most seeds of one call: their results are kept to be printed in order.
const SEEDS_MAX: u64 = 1_000_000;

fn parse_policy(text: &str) -> Result<Policy, String> {
    match text.split_once(':') {
        None if text == "cold" => Ok(Policy::Cold),
        None if text == "target" => Ok(Policy::Target),
        Some(("fixed", count)) => match count.parse() {
            Ok(count) if count <= FIXED_MAX => Ok(Policy::Fixed(count)),
            Ok(_) | Err(_) => Err(format!("{count:?} is no number of idle runners from 0 to {FIXED_MAX}")),
        },
        None | Some(_) => Err("write cold, fixed:K or target".to_owned()),
    }
}

fn word(policy: Policy) -> String {
    match policy {
        // Nothing idle in each class is what cold means.
        Policy::Cold | Policy::Fixed(0) => "cold".to_owned(),
        Policy::Fixed(idle) => format!("fixed:{idle}"),
        Policy::Target => "target".to_owned(),
    }
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match parsed {
        Some((from, to)) if from <= to && to - from < SEEDS_MAX => Ok((from, to)),
        Some((from, to)) if from <= to => Err(format!("more than {SEEDS_MAX} seeds at once")),
        Some(_) => Err("the first seed is above the last".to_owned()),
        None => Err("write A..B, such as 1..100".to_owned()),
    }
}

pub(super) fn run(args: Args) -> Result<Found, Failure> {
    if args.faults != "none" {
        return Err(anyhow!("--faults {}: this version injects no faults yet; use --faults none", args.faults).into());
    }
    let scenario = scenario(&args)?;
    match args.seeds {
        None => one(&scenario, args.json),
        Some((from, to)) => seeds::run(&scenario, from, to, &args),
    }
}

fn scenario(args: &Args) -> Result<Scenario, Failure> {
    let trace = Trace::file(&args.trace);
    let (config, default_policy) = match &args.config {
        Some(path) => (output::read_config(path)?.0.open_to_copies(args.scale.min(SCALE_MAX)), Policy::Target),
        None => {
            let sets = trace.survey()?.label_sets;
            let sets: Vec<Vec<String>> =
                sets.keys().map(|labels| labels.iter().map(ToString::to_string).collect()).collect();
            (FleetConfig::for_label_sets(&sets), Policy::Cold)
        }
    };
    let policy = args.policy.unwrap_or(default_policy);
    for shape in config.shapes().filter(|shape| shape.usd_per_hour.is_none()) {
        output::note(format_args!(
            "warning: shape {} has no price: its machines cost nothing in the figures; set `usd_per_hour` of its size",
            shape.id
        ));
    }
    for pool in config.pools().iter().filter(|pool| pool.standby.bounds.max > 0) {
        let size = &pool.sizes[pool.default_size];
        if size.usd_per_hour.standby.is_none() {
            output::note(format_args!(
                "warning: size {} of pool {} has no price on standby: its stopped machines cost nothing in the figures; set \
                 `standby` in its `usd_per_hour`",
                size.name, pool.name
            ));
        }
    }
    if config.shapes().any(|shape| shape.os == Os::Macos) {
        output::note(format_args!(
            "warning: macOS machines need dedicated hosts with a 24-hour minimum; their cost is not in the figures"
        ));
    }
    if args.hours == Some(0) {
        bail_usage("--hours 0 leaves nothing of the trace")?;
    }
    Ok(Scenario {
        trace,
        cut: Cut { scale: args.scale, to: args.hours.map(|hours| Duration::from_secs(hours * 3600)), ..Cut::WHOLE },
        config: Arc::new(config),
        policy,
        policy_word: word(policy),
        seed: args.seed,
        profile: Profile {
            idle_removal: args.idle_removal.then_some(IDLE_REMOVAL_SEEN),
            ..if args.ideal { Profile::ideal() } else { Profile::default() }
        },
        lose_answers: false,
        webhooks: WebhookFaults::default(),
        listeners: ListenerFaults::default(),
        healing: if args.healer { Healing::Always } else { Healing::default() },
        forget_tokens: false,
    })
}

fn bail_usage(why: &str) -> Result<(), Failure> {
    let bailed = || -> anyhow::Result<()> { bail!("{why}") };
    Ok(bailed()?)
}

/// Writes a line for each simulated day.
struct Days {
    /// What each line begins with.
    of: String,
    seen: u64,
    began: Instant,
}

impl Days {
    fn of(of: String, began: Instant) -> Days {
        Days { of, seen: 0, began }
    }
}

impl Watcher for Days {
    fn day(&mut self, day: u64, universe: &Universe) {
        let census = universe.census();
        let over = universe.jobs_queued().saturating_sub(census.jobs);
        let _ = writeln!(
            io::stderr(),
            "{}day {day:>3}: {:>6} jobs over, {:>4} open, {:>4} machines; {} violations; {:.1} s on the wall",
            self.of,
            over.saturating_sub(self.seen),
            census.jobs,
            census.instances,
            universe.watch().counts().values().sum::<u64>(),
            self.began.elapsed().as_secs_f64(),
        );
        self.seen = over;
    }
}

fn simulate(scenario: &Scenario, watcher: &mut impl Watcher) -> Result<Summary, SimulateError> {
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    Simulation::new(scenario.clone(), store)?.run(&mut (), watcher)
}

fn bad(summary: &Summary) -> bool {
    summary.jobs.lost > 0 || summary.jobs.killed > 0 || !summary.violations.is_empty() || !summary.jobs.adds_up()
}

fn one(scenario: &Scenario, json: bool) -> Result<Found, Failure> {
    let began = Instant::now();
    let summary = simulate(scenario, &mut Days::of(String::new(), began))?;
    let wall = began.elapsed().as_secs_f64();
    let memory = memory_most().map_or_else(String::new, |kb| format!("; {kb} kB of memory at most"));
    output::note(format_args!(
        "{} jobs in {wall:.1} s: {:.0} simulated jobs a minute{memory}",
        summary.jobs.queued,
        summary.jobs.queued as f64 * 60.0 / wall.max(1e-3)
    ));
    if json {
        output::json(&summary)?
    } else {
        table(&summary)?
    }
    Ok(if bad(&summary) { Found::Bad } else { Found::Good })
}

/// The most memory that this process has had resident so far, in kB, where the system tells: on Linux.
fn memory_most() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn table(summary: &Summary) -> Result<(), Failure> {
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    output::line(format_args!("seed {} policy {}", summary.seed, summary.policy))?;
    output::line(format_args!(
        "{:<44} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9}",
        "class", "jobs", "mean s", "p50 s", "p95 s", "max s", "USD", "idle USD"
    ))?;
    let rows = summary.classes.iter().map(|class| (class.class.join(","), class));
    for (name, class) in rows {
        let time = &class.queue_time_s;
        output::line(format_args!(
            "{name:<44} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9.2} {:>9.2}",
            class.jobs.queued,
            seconds(time.mean),
            seconds(time.p50),
            seconds(time.p95),
            seconds(time.max),
            class.cost_usd.total,
            class.cost_usd.idle
        ))?;
    }
    let (jobs, time) = (&summary.jobs, &summary.queue_time_s);
    output::line(format_args!(
        "{:<44} {:>7} {:>7} {:>7} {:>7} {:>7} {:>9.2} {:>9.2}",
        "all",
        jobs.queued,
        seconds(time.mean),
        seconds(time.p50),
        seconds(time.p95),
        seconds(time.max),
        summary.cost_usd.total,
        summary.cost_usd.idle
    ))?;
    output::line(format_args!(
        "completed {}, cancelled {}, killed {}, interrupted {}, lost {}, expired {}, skipped {}",
        jobs.completed, jobs.cancelled, jobs.killed, jobs.interrupted, jobs.lost, jobs.expired, jobs.skipped
    ))?;
    output::line(format_args!(
        "launches: {} cold, {} from standby, {} failed; requests: {} to GitHub, {} to AWS",
        summary.launches.cold,
        summary.launches.standby,
        summary.launches.failed,
        summary.github_requests,
        summary.aws_requests
    ))?;
    for violation in &summary.violations {
        output::line(format_args!("violation: {violation}"))?;
    }
    Ok(())
}
