//! `muster demo`: the main job in under two minutes, without an account.

use std::path::PathBuf;

use super::Found;
use super::output::{self, Failure};
use crate::drivers::demo::{self, Options, Outcome};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The workload, of which the busiest hour is shown; the shipped one by default
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Simulated seconds in a second on the wall
    #[arg(long, default_value_t = 60.0, value_parser = parse_speed)]
    speed: f64,
    /// The door's port on 127.0.0.1; any free one by default
    #[arg(long, default_value_t = 0, value_name = "N")]
    port: u16,
    /// Where CloudWatch metric lines go; by default beside the ledger
    #[arg(long, value_name = "FILE")]
    emf: Option<PathBuf>,
    /// JSON on standard output
    #[arg(long)]
    json: bool,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (1.0..=1000.0).contains(&speed) => Ok(speed),
        Ok(_) | Err(_) => Err("a number from 1 to 1000".to_owned()),
    }
}

pub(super) fn run(args: Args) -> Result<Found, Failure> {
    let options = Options { trace: args.trace, speed: args.speed, port: args.port, emf: args.emf };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(demo::run(&options))?;
    runtime.shutdown_background();
    if args.json {
        output::json(&outcome)?
    } else {
        tell(&outcome)?
    }
    if let Some(trouble) = &outcome.emf_trouble {
        output::note(format_args!(
            "muster: metric lines are missing from {}: {trouble}; name another file with --emf",
            outcome.emf.display()
        ));
    }
    let summary = &outcome.summary;
    let bad = summary.jobs.lost > 0
        || summary.jobs.killed > 0
        || !summary.violations.is_empty()
        || outcome.webhooks_refused > 0
        || outcome.scores.violations > 0
        || outcome.emf_trouble.is_some()
        || !summary.jobs.adds_up();
    Ok(if bad { Found::Bad } else { Found::Good })
}

fn tell(outcome: &Outcome) -> Result<(), Failure> {
    let summary = &outcome.summary;
    let (jobs, time, cost) = (&summary.jobs, &summary.queue_time_s, &summary.cost_usd);
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} s"));
    let machines = summary.launches.cold + summary.launches.standby;
    output::line(format_args!("What you saw, in {:.0} s:", outcome.wall.as_secs_f64()))?;
    output::line(format_args!(
        "  {} signed webhooks came in over HTTP, and {} jobs with them; {} ran to their end, {} were cancelled by their run",
        outcome.http.webhook, jobs.queued, jobs.completed, jobs.cancelled
    ))?;
    output::line(format_args!(
        "  {machines} machines were launched in {} ticks, and their agents spoke up over HTTP: {} claims, {} reports",
        outcome.scores.ticks, outcome.http.claim, outcome.http.report
    ))?;
    let (left, ended) = (outcome.machines_left, machines.saturating_sub(outcome.machines_left as u64));
    let why = if left == outcome.machines_kept { "stand by, as the configuration wants" } else { "are not gone yet" };
    output::line(format_args!("  {ended} of the machines have ended; {left} {why}"))?;
    output::line(format_args!(
        "  queue time: p50 {}, p95 {}, p99 {}, max {}",
        seconds(time.p50),
        seconds(time.p95),
        seconds(time.p99),
        seconds(time.max)
    ))?;
    output::line(format_args!(
        "  cost: {:.2} USD, of which {:.2} for running jobs, {:.2} for booting, {:.2} for waiting",
        cost.total,
        cost.busy,
        cost.boot,
        cost.idle + cost.standby
    ))?;
    output::line(format_args!(
        "  jobs lost: {}, busy runners killed: {}, rules broken: {}",
        jobs.lost,
        jobs.killed,
        summary.violations.len()
    ))?;
    for violation in &summary.violations {
        output::line(format_args!("    {violation}"))?;
    }
    if outcome.webhooks_refused > 0 {
        output::line(format_args!(
            "  webhooks that the door did not take: {} (see the log)",
            outcome.webhooks_refused
        ))?;
    }
    if outcome.slowed {
        output::line(format_args!(
            "  this host could not keep up at the speed asked for, so the clock was slowed down"
        ))?;
    }
    output::line(format_args!(
        "Cloud, GitHub and agents were simulated; door, ledger, planner and metrics were the real ones."
    ))?;
    output::line(format_args!("Look closer:"))?;
    output::line(format_args!("  muster ledger --db {}", outcome.ledger.display()))?;
    output::line(format_args!("  muster explain --db {} --job ID", outcome.ledger.display()))?;
    output::line(format_args!("  CloudWatch metric lines: {}", outcome.emf.display()))?;
    output::line(format_args!("  log, one line for every accepted event: {}", outcome.log.display()))
}
