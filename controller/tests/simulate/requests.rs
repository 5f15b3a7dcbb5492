//! What a fleet asks GitHub beside registrations: no more than a fifth of the mints of 50,000 jobs a day, however many of its
//! runners are busy for hours. `bash tests/bench/github-requests` measures the whole at full size.

use std::time::Duration;

use muster::drivers::simulate::{Healing, Scenario};
use muster_core::plan::Policy;
use muster_sim::Cut;

use super::scenario::{Runs, assert_sound, run, scenario};

/// The fleet of this size whose requests are limited: at most 1.2 for each of its jobs.
const JOBS_A_DAY: f64 = 50_000.0;
const BESIDE_MINTS: f64 = 0.2;
/// More than fill the list's seven pages, from which on it is read at the same rate whatever its length.
const BUSY: u32 = 760;
const JOB: Duration = Duration::from_secs(17_280);
/// From one run to the next.
const EVERY_S: u32 = 8;

#[test]
fn long_jobs_cost_no_more_than_their_share_of_requests() {
    let load = (0..BUSY).fold(Runs::default(), |runs, n| {
        runs.run(n * EVERY_S, "self-hosted linux x64 cpu-2", None, &[("long", &[], JOB.as_secs_f64())])
    });
    let fleet = Scenario { healing: Healing::Always, ..scenario(load.trace(), Cut::WHOLE, Policy::Cold) };
    let summary = run(&fleet);
    assert_sound(&summary);
    let by = &summary.github_requests_by;
    assert_eq!(by["mint"], u64::from(BUSY), "one for each job: {by:?}");
    let beside = summary.github_requests - by["mint"];
    let days = (f64::from(BUSY * EVERY_S) + JOB.as_secs_f64()) / 86_400.0;
    let allowed = BESIDE_MINTS * JOBS_A_DAY * days;
    println!("{beside} requests beside mints in {days:.2} days, {allowed:.0} allowed: {by:?}");
    assert!((beside as f64) < allowed, "{beside} requests, {allowed} allowed: {by:?}");
    // It is for something: each of these is asked for.
    for word in ["registrations", "deliveries", "sweep", "repositories"] {
        assert!(by.get(word).is_some_and(|requests| *requests > 10), "{word}: {by:?}");
    }
    // The list says of a hundred runners at once that their jobs go on.
    assert!(by.get("job").is_none_or(|requests| *requests < u64::from(BUSY) / 4), "{by:?}");
}
