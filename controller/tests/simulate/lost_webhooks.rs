//! Webhooks that are lost, doubled, late; a door that is down: every job runs all the same, and is found in time.

use std::sync::Arc;
use std::time::Duration;

use muster::drivers::simulate::{Healing, Scenario, Simulation};
use muster::healer::{HEAL_EVERY, Healed, SWEEP_EVERY};
use muster_core::plan::Policy;
use muster_sim::{Summary, WebhookFaults};
use muster_store::{MemoryOptions, MemoryStore};

use super::scenario::{assert_nothing_lost, assert_sound, hours, run, scenario, shipped};

/// An hour on the third morning, when a release is due.
const DOOR_DOWN: (Duration, Duration) = (Duration::from_secs((2 * 24 + 9) * 3_600), Duration::from_secs(3_600));
/// A minute's look comes within a second of its minute.
const SLACK: Duration = Duration::from_secs(1);

fn faults() -> WebhookFaults {
    WebhookFaults { lost: 0.3, unlogged: 0.1, twice: 0.1, late: 0.1, door_down: None }
}

fn healed(scenario: &Scenario) -> (Summary, Healed) {
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let mut simulation = Simulation::new(scenario.clone(), store).unwrap();
    let summary = simulation.run(&mut (), &mut ()).unwrap();
    (summary, simulation.healed().clone())
}

#[test]
fn a_week_of_lost_webhooks_runs_every_job() {
    let well = scenario(shipped(), hours(0, 7 * 24), Policy::Cold);
    let ill = Scenario { webhooks: WebhookFaults { door_down: Some(DOOR_DOWN), ..faults() }, ..well.clone() };
    let (expected, (summary, healed)) = (run(&well), healed(&ill));
    assert_nothing_lost(&summary);
    // A job whose start or end nobody heard of counts as demand until it is asked for: machines stand by for it in vain.
    let other = summary.violations.iter().filter(|told| !told.contains(" surplus: "));
    let other: Vec<&String> = other.filter(|told| !told.starts_with("and ")).take(3).collect();
    assert!(other.is_empty(), "{other:?}");
    let dearer = summary.cost_usd.total / expected.cost_usd.total;
    assert!(dearer < 1.2, "{dearer}");
    // A run that is cancelled while a job of it waits longer queues fewer of them.
    assert!(summary.jobs.queued.abs_diff(expected.jobs.queued) * 100 < expected.jobs.queued);
    // Thirty deliveries are read in a look, and more failed while the door was down.
    let in_parts = u32::try_from(healed.troubles.len()).unwrap();
    assert!(
        in_parts < 6 && healed.troubles.iter().all(|why| why.contains("for the next look")),
        "{:?}",
        healed.troubles
    );
    let share = |found: usize| found as f64 / summary.jobs.queued as f64;
    assert!(share(healed.deliveries.len()) > 0.15, "{} of {:?}", healed.deliveries.len(), summary.jobs);
    assert!(share(healed.swept.len()) > 0.01, "{} of {:?}", healed.swept.len(), summary.jobs);
    // The added time is bounded by the cadence; for what failed while the door was down, from its return on.
    let down = DOOR_DOWN.1 + HEAL_EVERY * (1 + in_parts) + SLACK;
    let (logged, unlogged) = (HEAL_EVERY + SLACK, SWEEP_EVERY + HEAL_EVERY + SLACK);
    let late = |found: &[(muster_core::ids::JobKey, Duration)], bound: Duration| {
        let beyond: Vec<Duration> = found.iter().map(|(_, late)| *late).filter(|late| *late > bound).collect();
        assert!(beyond.iter().all(|late| *late <= down + bound), "{beyond:?}");
        beyond.len()
    };
    let (of_logged, of_unlogged) = (late(&healed.deliveries, logged), late(&healed.swept, unlogged));
    assert!(of_logged > 0, "nothing failed while the door was down");
    assert!(of_logged + of_unlogged < healed.deliveries.len() / 5, "{of_logged} and {of_unlogged}");
}

/// With a part of them lost, machines that were launched for others pick up what nobody heard of. With all of them lost there
/// is nothing but the healer.
#[test]
fn of_a_deaf_fleet_every_job_runs_and_without_the_healer_none() {
    let webhooks = WebhookFaults { lost: 1.0, unlogged: 0.1, ..WebhookFaults::default() };
    let deaf = Scenario { webhooks, ..scenario(shipped(), hours(8, 9), Policy::Cold) };
    let (summary, healed) = healed(&deaf);
    assert_nothing_lost(&summary);
    assert!(healed.deliveries.len() > 5 * healed.swept.len() && !healed.swept.is_empty(), "{healed:?}");
    let alone = run(&Scenario { healing: Healing::Never, ..deaf });
    assert_eq!((alone.jobs.completed, alone.jobs.lost), (0, alone.jobs.queued - alone.jobs.cancelled));
    assert!(alone.jobs.lost > 0);
}

/// It is at work only where something can fail: results without faults stay as they were.
#[test]
fn nothing_is_healed_where_nothing_fails() {
    let scenario = scenario(shipped(), hours(8, 12), Policy::Cold);
    let (summary, healed) = healed(&scenario);
    assert_sound(&summary);
    assert_eq!(healed, Healed::default());
}

#[test]
fn the_same_seed_loses_the_same_webhooks() {
    let scenario = Scenario { webhooks: faults(), ..scenario(shipped(), hours(8, 20), Policy::Cold) };
    let (first, second) = (healed(&scenario), healed(&scenario));
    assert_eq!(first, second);
    assert!(!first.1.deliveries.is_empty() && !first.1.swept.is_empty());
}
