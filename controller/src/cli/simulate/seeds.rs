//! `muster simulate --seeds`: many seeds at once.
//!
//! Invariant: what is printed on standard output is in seed order and the same bytes, whatever the threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use muster_sim::Summary;
use serde_json::{Value, json};

use super::{Args, Days, bad, bail_usage, simulate, table};
use crate::cli::Found;
use crate::cli::output::{self, Failure};
use crate::drivers::simulate::{Scenario, SimulateError};

/// Runs the seeds from `from` to `to` on all cores.
pub(super) fn run(scenario: &Scenario, from: u64, to: u64, args: &Args) -> Result<Found, Failure> {
    let began = Instant::now();
    let count = usize::try_from(to - from + 1)?;
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = args.threads.map_or_else(cores, usize::from).min(count);
    let mut results: Vec<(usize, Result<Summary, SimulateError>)> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return done;
                }
                let scenario = Scenario { seed: from + index as u64, ..scenario.clone() };
                let mut days = Days::of(format!("seed {} ", scenario.seed), began);
                done.push((index, simulate(&scenario, &mut days)));
                let over = finished.fetch_add(1, Ordering::Relaxed) + 1;
                output::note(format_args!("seed {} done ({over} of {count})", scenario.seed));
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    if results.len() != count {
        bail_usage("a simulation thread died; run the seeds one by one to see which")?;
    }
    let (mut failed, mut jobs, mut worst): (Vec<u64>, u64, Option<Badness>) = (Vec::new(), 0, None);
    for (_, result) in results {
        let summary = result?;
        jobs += summary.jobs.queued;
        let badness = Badness::of(&summary);
        if badness.failed {
            failed.push(summary.seed);
        }
        if worst.is_none_or(|known| badness.is_worse_than(known)) {
            worst = Some(badness);
        }
        if args.json { output::json(&summary)? } else { table(&summary)? }
    }
    let wall = began.elapsed().as_secs_f64();
    output::note(format_args!("{jobs} jobs in {wall:.1} s: {:.0} simulated jobs a minute", jobs as f64 * 60.0 / wall));
    let total = json!({ "seeds": count, "failed": failed, "worst": worst.map(Badness::told) });
    if args.json {
        output::json(&total)?
    } else {
        output::line(format_args!("{total}"))?
    }
    Ok(if failed.is_empty() { Found::Good } else { Found::Bad })
}

/// How bad a seed went.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Badness {
    failed: bool,
    /// Jobs lost and killed, and rules broken.
    troubles: u64,
    longest_s: f64,
    seed: u64,
}

impl Badness {
    fn of(summary: &Summary) -> Badness {
        Badness {
            failed: bad(summary),
            troubles: summary.jobs.lost + summary.jobs.killed + summary.violations.len() as u64,
            longest_s: summary.queue_time_s.max.unwrap_or(0.0),
            seed: summary.seed,
        }
    }

    /// A seed that failed is worse than any that only kept a job waiting; of equals the first is the worst.
    fn is_worse_than(self, other: Badness) -> bool {
        let trouble = (self.failed, self.troubles).cmp(&(other.failed, other.troubles));
        trouble.then(self.longest_s.total_cmp(&other.longest_s)).is_gt()
    }

    fn told(self) -> Value {
        json!({ "queue_time_s": self.longest_s, "seed": self.seed })
    }
}

#[cfg(test)]
mod tests {
    use super::Badness;

    #[test]
    fn a_seed_that_failed_is_worse_than_one_that_waited_long() {
        let of = |seed, troubles, longest_s| Badness { failed: troubles > 0, troubles, longest_s, seed };
        let worst = |all: &[Badness]| {
            let worse = |known: Badness, new: &Badness| if new.is_worse_than(known) { *new } else { known };
            all[1..].iter().fold(all[0], worse).seed
        };
        assert_eq!(worst(&[of(1, 0, 5.0), of(2, 0, 9.0), of(3, 0, 9.0)]), 2);
        assert_eq!(worst(&[of(1, 0, 900.0), of(2, 1, 5.0), of(3, 0, 901.0)]), 2);
        assert_eq!(worst(&[of(1, 1, 900.0), of(2, 3, 5.0), of(3, 3, 6.0)]), 3);
    }
}
