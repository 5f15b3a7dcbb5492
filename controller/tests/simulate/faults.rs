//! Seeds under faults: each fault strikes, none costs a job, everything heals; and each rule of the audit can be broken.

use std::collections::BTreeSet;
use std::time::Duration;

use muster::drivers::simulate::faults::{Planted, Trial, run, run_planted};
use muster::drivers::simulate::{Faulty, Healing, Scenario};
use muster_core::plan::Policy;
use muster_sim::{Cut, Fault, WebhookFaults};

use super::scenario::{hours, scenario, shipped};

/// A morning of the second day, with these faults in all of it.
fn morning(seed: u64, on: impl IntoIterator<Item = Fault>) -> Scenario {
    under(seed, on, hours(32, 36))
}

fn under(seed: u64, on: impl IntoIterator<Item = Fault>, cut: Cut) -> Scenario {
    let lasts = cut.to.unwrap_or_default().saturating_sub(cut.from);
    Scenario { seed, faults: Faulty { on: on.into_iter().collect(), lasts }, ..scenario(shipped(), cut, Policy::Cold) }
}

#[track_caller]
fn assert_survived(trial: &Trial) {
    let (summary, faults) = (&trial.summary, &trial.faults);
    assert_eq!(summary.violations, [""; 0], "seed {}", summary.seed);
    assert_eq!((summary.jobs.lost, summary.jobs.killed), (0, 0), "seed {}", summary.seed);
    assert!(summary.jobs.queued > 0 && summary.jobs.adds_up(), "{:?}", summary.jobs);
    assert!(faults.served_after_s.is_some() && faults.healed_after_s.is_some(), "{faults:?}");
}

/// What a seed broke, by the rules' words.
fn broken(trial: &Trial) -> BTreeSet<&str> {
    trial.summary.violations.iter().filter_map(|told| told.split(' ').nth(1)?.strip_suffix(':')).collect()
}

/// An outage strikes some seeds only.
fn first_struck(fault: Fault) -> Trial {
    let trials = (1..=30).map(|seed| run(&morning(seed, [fault]), false).unwrap());
    let mut struck = trials.filter(|trial| trial.faults.injected.get(fault.as_word()).is_some_and(|count| *count > 0));
    struck.next().unwrap_or_else(|| panic!("{fault} strikes in none of 30 mornings"))
}

#[test]
fn each_fault_strikes_and_is_survived_alone() {
    for fault in Fault::ALL {
        let trial = first_struck(fault);
        let words: Vec<&str> = trial.faults.injected.keys().copied().collect();
        assert_eq!(words, [fault.as_word()], "no other strikes");
        println!("{fault}: {:?}, seed {}", trial.faults, trial.summary.seed);
        assert_survived(&trial);
    }
}

#[test]
fn all_faults_together_are_survived() {
    for seed in 1..=6 {
        assert_survived(&run(&under(seed, Fault::ALL, hours(24, 48)), false).unwrap());
    }
}

#[test]
fn a_seed_under_faults_gives_the_same_twice() {
    let told = |write_down| {
        let trial = run(&morning(3, Fault::ALL), write_down).unwrap();
        (serde_json::to_string(&trial.summary).unwrap(), trial.faults, trial.chronicle)
    };
    let (first, second) = (told(true), told(true));
    assert_eq!(first, second);
    assert!(!first.2.is_empty());
    let (summary, faults, chronicle) = told(false);
    assert_eq!(((summary, faults), chronicle), ((first.0, first.1), vec![]), "a chronicle changes nothing");
}

#[test]
fn without_faults_a_trial_is_an_ordinary_simulation() {
    let trial = run(&morning(1, []), false).unwrap();
    assert_survived(&trial);
    assert_eq!((trial.faults.injected.len(), trial.faults.deaths, trial.summary.jobs.interrupted), (0, 0, 0));
}

#[test]
fn a_fact_that_is_acknowledged_and_not_stored_is_found() {
    let trial = run_planted(&morning(1, []), true, Some(Planted::SwallowsFacts(40))).unwrap();
    assert!(broken(&trial).contains("fact_lost"), "{:?}", trial.summary.violations);
    let last = trial.chronicle.last().unwrap();
    assert!(last.contains("VIOLATION fact_lost"), "the chronicle ends with the first violation: {last}");
}

#[test]
fn what_nobody_heals_is_found() {
    let faults = [Fault::WebhookLost, Fault::HangsIdle, Fault::DiesIdle];
    let never = Scenario { healing: Healing::Never, ..under(1, faults, hours(24, 48)) };
    let trial = run(&never, false).unwrap();
    let found = broken(&trial);
    for rule in ["not_healed", "empty_registration"] {
        assert!(found.contains(rule), "{rule} is not among {found:?}");
    }
    assert_eq!(trial.faults.healed_after_s, None);
    // With every webhook lost there is not even a machine that was launched for another job.
    let webhooks = WebhookFaults { lost: 1.0, ..WebhookFaults::default() };
    let deaf = run(&Scenario { healing: Healing::Never, webhooks, ..morning(1, []) }, false).unwrap();
    assert!(broken(&deaf).contains("not_served"), "{:?}", deaf.summary.violations);
}

#[test]
fn idle_machines_that_are_kept_are_at_rest() {
    let kept = Scenario { policy: Policy::Fixed(1), ..morning(1, [Fault::HangsIdle, Fault::CloudReplyLost]) };
    assert_survived(&run(&kept, false).unwrap());
}

#[test]
fn requests_beyond_githubs_limit_are_found() {
    // Six hundred machines at once, and no bucket for their registrations.
    let mut hasty = Scenario { policy: Policy::Fixed(100), ..under(1, [], hours(32, 33)) };
    hasty.profile.mint_bucket = None;
    let trial = run(&hasty, false).unwrap();
    assert!(broken(&trial).contains("over_limit"), "{:?}", trial.summary.violations);
}

/// A cloud that forgets client tokens is harmless until an answer is lost.
#[test]
fn a_lost_answer_shows_a_cloud_that_forgets_tokens() {
    let forgetful = Scenario { forget_tokens: true, ..morning(1, [Fault::CloudReplyLost]) };
    let trial = run(&forgetful, false).unwrap();
    assert!(broken(&trial).contains("double_launch"), "{:?}", trial.summary.violations);
    assert!(trial.faults.injected["cloud-reply-lost"] > 0);
}

/// Nothing strikes after the faults' time: what is left has a calm world to heal in.
#[test]
fn faults_end_when_they_are_said_to() {
    let short = Faulty { on: BTreeSet::from(Fault::ALL), lasts: Duration::ZERO };
    let trial = run(&Scenario { faults: short, ..morning(1, []) }, false).unwrap();
    assert_eq!(trial.faults.injected.len(), 0);
    assert_survived(&trial);
}
