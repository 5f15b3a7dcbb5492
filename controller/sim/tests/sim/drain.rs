//! The drain with two keys, and the races in it.

use std::time::Duration;

use crate::world::{World, exact, single};
use muster_core::claim::Order;
use muster_core::ids::{InstanceId, RunnerId};
use muster_core::machine::Removal;
use muster_core::ports::MintRequest;
use muster_sim::{Claimed, Output, Profile};

const RUNNER: RunnerId = RunnerId(1_001);

/// A world with one idle runner from second 40 on, and a job at second 60.
fn idle(pick_up_s: u64) -> (World, InstanceId) {
    let profile = Profile { pick_up: Duration::from_secs(pick_up_s), ..exact() };
    let mut world = World::new(profile, &[single(1, 60.0, "job", 30.0)]);
    world.until(0.0);
    let instance = world.launch(1).remove(0);
    assert_eq!(world.until(45.0), ["40 claim 1", "40 listening"]);
    (world, instance)
}

#[test]
fn frozen_removed_and_killed() {
    let (mut world, instance) = idle(0);
    world.order(&instance, Order::Drain { number: 1 });
    assert_eq!(world.until(46.0), ["45 frozen { number: 1 }"]);
    assert_eq!(world.universe.remove(RUNNER).unwrap(), Removal::Gone);
    world.order(&instance, Order::Kill { number: 1 });
    // Frozen for five seconds first.
    assert_eq!(world.until(55.0), ["50 drained"]);
    world.universe.terminate(&[instance]);
    world.until(70.0);
    assert!(world.universe.watch().violations().is_empty());
    assert_eq!(world.universe.census().registrations, 0);
}

#[test]
fn a_job_in_the_window_refuses_the_removal_and_runs_after_the_thaw() {
    let (mut world, instance) = idle(2);
    world.until(50.0);
    world.order(&instance, Order::Drain { number: 1 });
    // The job comes while the listener is frozen. GitHub has given it to this runner; the listener hears nothing.
    assert_eq!(world.until(62.0), ["50 frozen { number: 1 }", "60 job queued"]);
    assert_eq!(world.universe.remove(RUNNER).unwrap(), Removal::Busy);
    world.order(&instance, Order::Thaw { number: 1 });
    assert_eq!(
        world.until(100.0),
        [
            "62 thawed { number: 1 }",
            "63 busy",
            "64 job in_progress",
            "94 done { ran_job: true }",
            "94 job completed success"
        ]
    );
    assert!(world.universe.watch().violations().is_empty());
}

#[test]
fn any_sign_of_a_job_refuses_the_drain() {
    let (mut world, instance) = idle(2);
    assert_eq!(world.until(61.5), ["60 job queued", "61 busy"]);
    world.order(&instance, Order::Drain { number: 1 });
    assert_eq!(world.until(62.0), ["61.5 thawed { number: 1 }", "62 job in_progress"]);
    world.order(&instance, Order::Kill { number: 1 });
    assert_eq!(world.until(100.0), ["92 done { ran_job: true }", "92 job completed success"]);
}

#[test]
fn without_an_answer_the_listener_runs_on() {
    let (mut world, instance) = idle(0);
    world.order(&instance, Order::Drain { number: 1 });
    world.order(&instance, Order::Drain { number: 1 });
    assert_eq!(
        world.until(70.0),
        ["45 frozen { number: 1 }", "60 job queued", "65 thawed { number: 1 }", "65 busy", "65 job in_progress"]
    );
    // A late answer changes nothing.
    world.order(&instance, Order::Kill { number: 1 });
    assert_eq!(world.until(100.0), ["95 done { ran_job: true }", "95 job completed success"]);
}

#[test]
fn a_thawed_listener_without_a_registration_ends_and_the_agent_claims_again() {
    let (mut world, instance) = idle(0);
    world.order(&instance, Order::Drain { number: 1 });
    assert_eq!(world.universe.remove(RUNNER).unwrap(), Removal::Gone);
    assert_eq!(world.universe.remove(RUNNER).unwrap(), Removal::Gone, "what does not exist is gone");
    world.until(64.0);
    assert_eq!(
        world.until(65.0),
        [
            "65 thawed { number: 1 }",
            "65 done { ran_job: false }",
            "65 claim 2",
            "65 listening",
            "65 busy",
            "65 job in_progress"
        ]
    );
    assert!(world.universe.watch().violations().is_empty(), "a second session may mint once more");
}

#[test]
fn a_drain_without_its_keys_is_seen() {
    // Killed without the removal, while GitHub has given it a job: the job waits a minute for another runner.
    let (mut world, instance) = idle(2);
    world.until(58.0);
    world.order(&instance, Order::Drain { number: 1 });
    world.until(60.0);
    world.order(&instance, Order::Kill { number: 1 });
    world.until(66.0);
    let violations = world.universe.watch().violations();
    assert!(violations.len() == 1 && violations[0].contains("killed"), "{violations:?}");
    world.launch(1);
    let lines = world.until(130.0);
    assert!(lines.contains(&"125 job in_progress".to_owned()), "{lines:?}");

    // Terminated while it listens, and while it runs.
    let (mut world, instance) = idle(0);
    world.universe.terminate(std::slice::from_ref(&instance));
    let violations = world.universe.watch().violations();
    assert!(violations[0].contains("ended_listening"), "{violations:?}");
    let (mut world, instance) = idle(0);
    world.until(65.0);
    world.universe.terminate(std::slice::from_ref(&instance));
    let summary = world.universe.summary("hand");
    assert_eq!(summary.jobs.killed, 1);
    assert!(summary.violations[0].contains("killed") && summary.jobs.adds_up());
}

#[test]
fn taken_by_the_cloud_is_interrupted_not_killed() {
    let (mut world, instance) = idle(0);
    world.until(65.0);
    world.universe.interrupt(&instance, Duration::from_secs(10));
    assert_eq!(world.until(80.0), ["65 interrupted", "75 job completed failure"]);
    let summary = world.universe.summary("hand");
    assert_eq!((summary.jobs.interrupted, summary.violations.len()), (1, 0));
}

#[test]
fn an_idle_listener_whose_registration_is_removed_claims_again_and_may_be_told_no() {
    let (mut world, instance) = idle(0);
    world.answer = false;
    world.universe.remove(RUNNER).unwrap();
    assert_eq!(world.until(46.0), ["45 done { ran_job: false }", "45 claim 2"]);
    world.universe.claimed(&instance, Claimed::Retry(Duration::from_secs(3)));
    assert_eq!(world.until(50.0), ["49 claim 2"]);
    world.universe.claimed(&instance, Claimed::Refused);
    assert_eq!(world.until(59.0), Vec::<String>::new());
    world.universe.terminate(&[instance]);
    assert!(world.universe.watch().violations().is_empty());
}

#[test]
fn names_limits_and_double_registrations() {
    let profile = Profile { github_points_per_minute: Some(20), ..exact() };
    let mut world = World::new(profile, &[single(1, 600.0, "job", 30.0)]);
    world.answer = false;
    world.until(0.0);
    let instance = world.launch(1).remove(0);
    world.until(40.0);
    let minted = world.mint(&instance, "aaa").unwrap();
    let error = world.mint(&instance, "aaa").err().unwrap().to_string();
    assert!(error.contains("409"), "{error}");
    world.mint(&instance, "bbb").unwrap();
    let kinds: Vec<String> = world.universe.watch().counts().keys().map(|rule| rule.as_word().to_owned()).collect();
    assert_eq!(kinds, ["two_registrations", "minted_twice"]);
    let none =
        MintRequest { name: muster_core::ids::RunnerName::new("x"), labels: [].into(), runner_group: "g".into() };
    assert!(world.universe.mint(&none).err().unwrap().to_string().contains("422"));
    // Four calls at five points each: the minute is used up.
    let error = world.universe.remove(minted.id).unwrap_err().to_string();
    assert!(error.contains("00:01:40"), "{error}");
    world.until(100.0);
    assert_eq!(world.universe.remove(minted.id).unwrap(), Removal::Gone);
    assert_eq!(world.universe.summary("hand").github_requests, 6);
    // A configuration of no registration is of no use.
    world.universe.claimed(&instance, Claimed::Config(minted.config));
    let to = world.at(101.0);
    let said = world.universe.step(to).unwrap();
    assert!(matches!(said, Some((_, Output::Report { .. }))), "{said:?}");
}
