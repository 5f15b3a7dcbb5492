//! A planted bug: the watch must see a cloud that launches twice.

use muster::drivers::simulate::Scenario;
use muster_core::plan::Policy;

use super::scenario::{assert_nothing_lost, assert_sound, hours, run, scenario, shipped};

fn asked_twice(forget_tokens: bool) -> Scenario {
    Scenario { lose_answers: true, forget_tokens, ..scenario(shipped(), hours(3, 5), Policy::Cold) }
}

#[test]
fn a_launch_asked_for_twice_under_one_token_happens_once() {
    let sound = run(&scenario(shipped(), hours(3, 5), Policy::Cold));
    let twice = run(&asked_twice(false));
    assert_sound(&twice);
    assert_eq!(twice.jobs.queued, sound.jobs.queued);
    assert!(twice.aws_requests >= sound.aws_requests + twice.launches.cold / 100, "nothing was asked for twice");
    assert_eq!(twice.launches.failed, 0);
}

#[test]
fn a_cloud_that_forgets_tokens_is_a_violation() {
    let summary = run(&asked_twice(true));
    let first = summary.violations.first().map(String::as_str).unwrap_or_default();
    assert!(first.contains(" double_launch: launch "), "{first:?}");
    let honest = run(&asked_twice(false));
    assert!(summary.launches.cold > honest.launches.cold, "{:?} {:?}", summary.launches, honest.launches);
    // Wasteful, but no job suffers.
    assert_nothing_lost(&summary);
}
