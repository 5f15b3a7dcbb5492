//! `muster simulate --faults`: each seed draws a day of the trace, runs it under faults, and has to heal afterwards.
//!
//! Invariant: what is printed on standard output is in seed order and the same bytes, whatever the threads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use muster_sim::{Cut, Fault, Summary, day_of};
use serde::Serialize;
use serde_json::json;

use super::{Args, bad, output, seeds, table};
use crate::cli::Found;
use crate::cli::output::Failure;
use crate::drivers::simulate::faults::{self, Faults, Trial};
use crate::drivers::simulate::{Faulty, Scenario};

/// The part of the trace that a seed gets unless told otherwise.
const HOURS: u64 = 24;
const DAY_S: u64 = 86_400;

/// The faults that were asked for.
#[derive(Clone, Debug)]
pub(super) struct Chosen(pub(super) BTreeSet<Fault>);

/// Reads `none`, `all` or words with commas between.
pub(super) fn parse(text: &str) -> Result<Chosen, String> {
    match text {
        "none" => return Ok(Chosen(BTreeSet::new())),
        "all" => return Ok(Chosen(BTreeSet::from(Fault::ALL))),
        _ => {}
    }
    let unknown = |word: &str| {
        let words: Vec<&str> = Fault::ALL.into_iter().map(Fault::as_word).collect();
        format!("there is no fault {word:?}; write none, all, or some of {}", words.join(","))
    };
    let found: Result<BTreeSet<Fault>, String> =
        text.split(',').map(|word| Fault::of(word).ok_or_else(|| unknown(word))).collect();
    found.map(Chosen)
}

/// One seed's line.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    faults: &'a Faults,
}

/// Runs the seeds that are asked for.
pub(super) fn run(scenario: &Scenario, args: &Args) -> Result<Found, Failure> {
    let began = Instant::now();
    let days = scenario.trace.survey()?.last.as_secs() / DAY_S + 1;
    let of = |seed: u64| of_seed(scenario, args, seed, days);
    let span = args.seeds.unwrap_or((args.seed, args.seed));
    let trials = seeds::for_each(span, args.threads, |seed| faults::run(&of(seed), false))?;
    for trial in &trials {
        if args.json {
            output::json(&Told { summary: &trial.summary, faults: &trial.faults })?;
        } else if args.seeds.is_none() {
            table(&trial.summary)?;
        }
    }
    let failed: Vec<u64> = trials.iter().filter(|trial| failed(trial)).map(|trial| trial.summary.seed).collect();
    if let Some(seed) = failed.first() {
        explain(&of(*seed), args)?;
    }
    let jobs: u64 = trials.iter().map(|trial| trial.summary.jobs.queued).sum();
    let wall = began.elapsed().as_secs_f64();
    output::note(format_args!("{jobs} jobs in {wall:.1} s: {:.0} simulated jobs a minute", jobs as f64 * 60.0 / wall));
    let report = report(&trials, &failed);
    if !args.json {
        output::line(format_args!("{report:#}"))?;
    } else if args.seeds.is_some() {
        output::json(&report)?;
    }
    Ok(if failed.is_empty() { Found::Good } else { Found::Bad })
}

/// What a seed runs: so many hours from the midnight that it draws, with faults in all of them.
fn of_seed(scenario: &Scenario, args: &Args, seed: u64, days: u64) -> Scenario {
    let hours = Duration::from_secs(args.hours.unwrap_or(HOURS) * 3_600);
    let from = Duration::from_secs(day_of(seed, days) * DAY_S);
    let cut = Cut { from, to: Some(from + hours), ..scenario.cut };
    Scenario { seed, cut, faults: Faulty { on: args.faults.0.clone(), lasts: hours }, ..scenario.clone() }
}

fn failed(trial: &Trial) -> bool {
    bad(&trial.summary)
}

/// The command that repeats a failure, and what happened in the last minutes before it.
fn explain(scenario: &Scenario, args: &Args) -> Result<(), Failure> {
    let trial = faults::run(scenario, true)?;
    for line in &trial.chronicle {
        output::note(format_args!("{line}"));
    }
    for violation in trial.summary.violations.iter().take(20) {
        output::note(format_args!("violation: {violation}"));
    }
    let words: Vec<&str> = args.faults.0.iter().map(|fault| fault.as_word()).collect();
    let words = if words.len() == Fault::ALL.len() { "all".to_owned() } else { words.join(",") };
    let config = args.config.as_ref().map_or_else(String::new, |path| format!(" --config {}", path.display()));
    output::note(format_args!(
        "seed {} failed: {} lost, {} killed, {} violations. Repeat it: muster simulate --trace {}{config} --policy {} --scale {} \
         --hours {} --faults {words} --seed {}",
        scenario.seed,
        trial.summary.jobs.lost,
        trial.summary.jobs.killed,
        trial.summary.violations.len(),
        args.trace.display(),
        scenario.policy_word,
        args.scale,
        args.hours.unwrap_or(HOURS),
        scenario.seed,
    ));
    Ok(())
}

/// What was injected into all seeds, and the worst of what came of it.
fn report(trials: &[Trial], failed: &[u64]) -> serde_json::Value {
    let mut injected: BTreeMap<&str, u64> = BTreeMap::new();
    for trial in trials {
        for (fault, count) in &trial.faults.injected {
            *injected.entry(fault).or_default() += count;
        }
    }
    let worst = |of: fn(&Trial) -> Option<f64>| {
        let all = trials.iter().filter_map(|trial| Some((of(trial)?, trial.summary.seed)));
        let worst = all.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        worst.map(|(seconds, seed)| json!({ "s": seconds, "seed": seed }))
    };
    let sum = |of: fn(&Summary) -> u64| trials.iter().map(|trial| of(&trial.summary)).sum::<u64>();
    json!({
        "seeds": trials.len(),
        "failed": failed,
        "jobs": {
            "queued": sum(|summary| summary.jobs.queued),
            "completed": sum(|summary| summary.jobs.completed),
            "cancelled": sum(|summary| summary.jobs.cancelled),
            "interrupted": sum(|summary| summary.jobs.interrupted),
            "killed": sum(|summary| summary.jobs.killed),
            "lost": sum(|summary| summary.jobs.lost),
            "expired": sum(|summary| summary.jobs.expired),
        },
        "injected": injected,
        "deaths": trials.iter().map(|trial| trial.faults.deaths).sum::<u64>(),
        "worst": {
            "queue_time": worst(|trial| trial.summary.queue_time_s.max),
            "served_after": worst(|trial| trial.faults.served_after_s),
            "healed_after": worst(|trial| trial.faults.healed_after_s),
        },
        "bounds": { "served_s": faults::SERVED_MAX.as_secs(), "healed_s": faults::REST_MAX.as_secs() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_chosen_by_word() {
        assert_eq!(parse("none").unwrap().0.len(), 0);
        assert_eq!(parse("all").unwrap().0.len(), Fault::ALL.len());
        let two = BTreeSet::from([Fault::DoorDown, Fault::WebhookLost]);
        assert_eq!(parse("webhook-lost,door-down").unwrap().0, two);
        assert!(parse("webhook-lost,earthquake").unwrap_err().contains("no fault \"earthquake\""));
    }
}
