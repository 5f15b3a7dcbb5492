//! Runner releases: what is known of an image, and what follows for launches.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::time::Duration;

use fixture::{at, config, hear, machine, purpose, s};
use muster_core::config::{FleetConfig, Market};
use muster_core::fact::{Fact, FactBody, ReleaseEvent};
use muster_core::launch::{LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::machine::{Machine, MachineEvent, Origin, Purpose, Report};
use muster_core::plan::{Action, Policy, plan};
use muster_core::ports::{Batch, Snapshot};
use muster_core::protocol::RUNNER_OUTDATED;
use muster_core::release::{JUDGED_FOR, Release, Releases, Retirement, WARN_AFTER};
use muster_core::time::Timestamp;
use muster_core::world::{HOLD_THROTTLED, Merged, PROBE_EVERY, World};

const DAY: i64 = 24 * 3_600;

fn pools() -> FleetConfig {
    config(&format!("[fleet]\n{}", include_str!("scenarios/linux.toml")))
}

fn spot(config: &FleetConfig) -> Purpose {
    purpose(config, "linux/cpu-2/spot", None, "a", Origin::Cold)
}

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

fn launched(n: u32, at: Timestamp) -> Machine {
    Machine { launched_at: at, ..machine(n, &spot(&pools()), "idle", at) }
}

#[test]
fn a_release_is_ordered_by_its_numbers_and_nothing_else_is_one() {
    assert!(release("2.99.10") < release("2.100.2") && release("2.100.2") < release("3.0.0"));
    assert_eq!(release("2.336.0").to_string(), "2.336.0");
    for text in ["", "2.336", "2.336.0.1", "v2.336.0", "2.336.x", "2.-3.0"] {
        assert!(text.parse::<Release>().is_err(), "{text:?}");
    }
}

#[test]
fn an_image_is_as_old_as_the_first_newer_release_that_was_offered() {
    let mut known = Releases::default();
    let (shape, first) = (spot(&pools()).shape, launched(1, at(0)));
    assert_eq!(known.standing(&shape, at(0)), None, "nothing was heard");
    known.offer(&[release("2.335.0"), release("2.335.0")], at(0));
    known.carry(&first, release("2.335.0"));
    assert_eq!(known.standing(&shape, at(5 * DAY)).unwrap().age, Duration::ZERO, "it is the newest");
    known.offer(&[release("2.336.0")], at(10 * DAY));
    known.offer(&[release("2.337.0")], at(25 * DAY));
    let standing = known.standing(&shape, at(30 * DAY) - s(1)).unwrap();
    assert_eq!((standing.release, standing.newest), (release("2.335.0"), release("2.337.0")));
    assert!(standing.age == WARN_AFTER - s(1) && !standing.is_old(), "{standing:?}");
    assert!(known.standing(&shape, at(30 * DAY)).unwrap().is_old());
    // The image was built anew, with a release between.
    known.carry(&launched(2, at(26 * DAY)), release("2.336.0"));
    assert_eq!(known.standing(&shape, at(30 * DAY)).unwrap().age, s(5 * 24 * 3_600));
    let text = serde_json::to_string(&known).unwrap();
    assert_eq!(serde_json::from_str::<Releases>(&text).unwrap(), known, "a note keeps it: {text}");
}

#[test]
fn the_machine_launched_last_speaks_for_the_image_and_says_it_once() {
    let mut known = Releases::default();
    let by = |known: &Releases| known.carried().next().unwrap().1.release;
    known.offer(&[release("2.336.0")], at(0));
    known.carry(&launched(2, at(100)), release("2.335.0"));
    known.carry(&launched(2, at(100)), release("2.336.0"));
    assert_eq!(by(&known), release("2.335.0"), "its runner has updated itself");
    known.carry(&launched(1, at(50)), release("2.336.0"));
    assert_eq!(by(&known), release("2.335.0"), "an older machine");
    known.carry(&launched(3, at(200)), release("2.334.0"));
    assert_eq!(by(&known), release("2.334.0"), "an image that was put back");
    assert_eq!(known.behind(), [release("2.334.0")]);
    known.forget_old(at(200) + JUDGED_FOR - s(1));
    assert_eq!(known.carried().count(), 1);
    known.forget_old(at(200) + JUDGED_FOR);
    assert_eq!((known.carried().count(), known.behind()), (0, vec![]));
}

#[test]
fn a_release_is_retired_at_the_earlier_of_its_two_ends() {
    let mut known = Releases::default();
    let shape = spot(&pools()).shape;
    known.offer(&[release("2.336.0")], at(0));
    known.carry(&launched(1, at(0)), release("2.335.0"));
    let told = Retirement { registration: Some(at(500)), runtime: Some(at(900)) };
    known.retire(release("2.335.0"), told);
    assert_eq!(known.standing(&shape, at(0)).unwrap().retires_at, Some(at(500)));
    let retired = |at| known.is_retired(release("2.335.0"), at);
    assert_eq!(
        (retired(at(499)), retired(at(500)), known.is_retired(release("2.336.0"), at(900))),
        (false, true, false)
    );
    known.carry(&launched(2, at(600)), release("2.336.0"));
    assert_eq!(known.standing(&shape, at(600)).unwrap().retires_at, None);
}

/// A world with jobs for three machines.
fn waiting(config: &FleetConfig) -> World {
    let jobs = (1..=3).map(|n| fixture::queued(n, fixture::about("acme/api", "linux"), at(0))).collect();
    let mut world = World::from_snapshot(Snapshot { jobs, ..Snapshot::default() }, config);
    world.set_zones(vec![muster_core::ids::Zone::new("a")]);
    world
}

fn told(config: &FleetConfig, taken: bool, at: Timestamp) -> Fact {
    let shape = spot(config).shape;
    let event = ReleaseEvent { shape, market: Market::Spot, at, release: release("2.335.0"), taken };
    Fact { received_at: at, body: FactBody::Release(event) }
}

/// How many machines a plan launches then; they are intended.
fn launches(world: &mut World, config: &FleetConfig, now: Timestamp) -> u32 {
    let (mut count, mut batch) = (0, Batch::default());
    let planned = plan(world, config, Policy::Cold, now);
    assert!(muster_core::check::check(&planned, world, config, now).is_empty(), "{planned}");
    for step in planned.steps {
        if let Action::Launch(launch) = &step.action {
            count += launch.count;
        }
        world.intend(&step.action, now, &mut batch);
    }
    world.set_generation(muster_core::ids::Generation(world.generation().0 + 1));
    count
}

#[test]
fn a_retired_image_is_launched_once_in_half_an_hour_until_a_newer_one_shows() {
    let config = pools();
    let (mut world, mut merged) = (waiting(&config), Merged::default());
    world.merge(&told(&config, false, at(10)), &config, &mut merged);
    assert_eq!((merged.holds.len(), merged.holds[0].kind), (1, LaunchErrorKind::Outdated));
    assert_eq!(launches(&mut world, &config, at(11)), 0);
    assert_eq!(launches(&mut world, &config, at(10) + PROBE_EVERY - s(1)), 0);
    let probed_at = at(10) + PROBE_EVERY;
    assert_eq!(launches(&mut world, &config, probed_at), 1);
    assert_eq!(launches(&mut world, &config, probed_at + s(1)), 0, "one is on its way");
    // Told twice, or late, it changes nothing.
    for at in [at(10), at(9)] {
        world.merge(&told(&config, false, at), &config, &mut merged);
        world.merge(&told(&config, true, at), &config, &mut merged);
    }
    assert_eq!((merged.holds.len(), launches(&mut world, &config, probed_at + s(2))), (1, 0));
    world.merge(&told(&config, true, probed_at + s(300)), &config, &mut merged);
    assert_eq!(launches(&mut world, &config, probed_at + s(301)), 2, "the rest");
    world.merge(&told(&config, false, probed_at + s(299)), &config, &mut merged);
    let shape = spot(&config).shape;
    assert_eq!(world.shape_hold(&shape, Market::Spot), None, "what was found last counts");
}

#[test]
fn a_probe_that_the_cloud_refuses_is_no_probe() {
    let config = pools();
    let (mut world, mut merged, mut batch) = (waiting(&config), Merged::default(), Batch::default());
    world.merge(&told(&config, false, at(10)), &config, &mut merged);
    let probed_at = at(10) + PROBE_EVERY;
    assert_eq!(launches(&mut world, &config, probed_at), 1);
    let probe = world.launches().next().unwrap().id.clone();
    let refused = LaunchError { kind: LaunchErrorKind::Throttled, message: "RequestLimitExceeded".into() };
    let reply = LaunchReply { instances: Vec::new(), error: Some(refused) };
    world.launch_answered(&probe, &reply, probed_at + s(1), &mut batch);
    let again = probed_at + s(1) + HOLD_THROTTLED;
    assert_eq!(launches(&mut world, &config, again), 1, "{:?}", batch.holds);
    let probe = world.launches().next().unwrap().id.clone();
    let reply = LaunchReply { instances: vec![fixture::instance(9)], error: None };
    world.launch_answered(&probe, &reply, again + s(1), &mut batch);
    assert_eq!(launches(&mut world, &config, again + PROBE_EVERY - s(1)), 0, "this one tells");
}

#[test]
fn an_agent_whose_runner_github_refuses_holds_its_shape() {
    let config = pools();
    let mut world = waiting(&config);
    let mut booted = machine(9, &spot(&config), "registering", at(0));
    hear(&mut booted, at(1), Report::Claimed);
    world.put_machine(booted);
    let said = |why: &str| {
        let event = MachineEvent {
            instance: fixture::instance(9),
            session: 1,
            at: at(20),
            report: Report::Failed { why: why.into() },
        };
        Fact { received_at: at(20), body: FactBody::Machine(event) }
    };
    let mut merged = Merged::default();
    let mut other = world.clone();
    other.merge(&said("the disk is full"), &config, &mut merged);
    assert!(merged.holds.is_empty() && launches(&mut other, &config, at(21)) == 3);
    world.merge(&said(&format!("{RUNNER_OUTDATED}: 2.300.0")), &config, &mut merged);
    assert_eq!((merged.holds.len(), launches(&mut world, &config, at(21))), (1, 0));
    world.merge(&said(&format!("{RUNNER_OUTDATED}: 2.300.0")), &config, &mut merged);
    assert_eq!(merged.holds.len(), 1);
}
