//! The cloud: tokens, bounds, standby, and what it all costs.

use std::time::Duration;

use crate::world::{World, exact, single};
use muster_core::ids::InstanceId;
use muster_core::machine::Origin;
use muster_core::money::HourlyPrice;
use muster_core::ports::{InstanceState, Stock};
use muster_sim::{Delay, Limits, Profile, Settings};

#[test]
fn a_repeated_launch_returns_the_same_machines() {
    let mut world = World::new(exact(), &[single(1, 0.0, "job", 5.0)]);
    world.until(0.0);
    let launch = world.intent(3);
    let first = world.launch_intent(&launch).unwrap();
    let again = world.launch_intent(&launch).unwrap();
    assert_eq!(first, again);
    assert_eq!(world.universe.census().instances, 3);
    let mut other = launch.clone();
    other.count = 4;
    assert!(world.universe.launch(&other).unwrap_err().to_string().contains("IdempotentParameterMismatch"));
    assert!(world.universe.watch().violations().is_empty());
    let states = world.universe.instances();
    assert!(states.iter().all(|(_, state)| *state == InstanceState::Live) && states.len() == 3);
    world.universe.terminate(&first.instances[..1]);
    world.universe.terminate(&first.instances[..1]);
    world.universe.terminate(&[InstanceId::new("i-of-nobody")]);
    let gone: Vec<_> = world.universe.instances().into_iter().filter(|(_, s)| *s == InstanceState::Gone).collect();
    assert_eq!(gone, [(first.instances[0].clone(), InstanceState::Gone)]);
}

#[test]
fn a_later_world_gives_out_no_id_of_an_earlier_one() {
    let ids = |first_number| {
        let settings = Settings { profile: exact(), first_number, ..Settings::default() };
        let mut world = World::with(settings, &[single(1, 0.0, "job", 5.0)]);
        world.until(0.0);
        let instances = world.launch(3);
        let runners: Vec<_> = instances.iter().map(|id| world.mint(id, "s1").unwrap().id).collect();
        (instances, runners)
    };
    let (before, after) = (ids(1_793_577_600_000), ids(1_793_577_660_000));
    assert!(before.0.iter().all(|id| !after.0.contains(id)), "{before:?} {after:?}");
    assert!(before.1.iter().all(|id| !after.1.contains(id)), "{before:?} {after:?}");
}

#[test]
fn the_watch_sees_a_double_launch() {
    let settings = Settings { profile: exact(), forget_tokens: true, ..Settings::default() };
    let mut world = World::with(settings, &[single(1, 0.0, "job", 5.0)]);
    world.until(0.0);
    let launch = world.intent(1);
    world.launch_intent(&launch).unwrap();
    world.launch_intent(&launch).unwrap();
    let violations = world.universe.summary("hand").violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0], "2026-11-02T00:00:00.000Z double_launch: launch launch-1: 2 machines, 1 committed");
    let uncommitted = world.intent(1);
    world.universe.launch(&uncommitted).unwrap();
    assert!(world.universe.watch().violations()[1].contains("uncommitted_launch"));
}

#[test]
fn the_watch_sees_every_bound() {
    let mut world = World::new(exact(), &[single(1, 0.0, "job", 5.0)]);
    let pool = world.class().pool;
    let limits = Limits {
        max_runners: Some(3),
        budget: Some(HourlyPrice::from_usd(0.36)),
        pools: [(pool, 5)].into(),
        surplus: Some(1),
        starved_after: None,
    };
    world.universe.set_limits(limits);
    world.universe.set_target_of_all(0);
    world.until(0.0);
    let count =
        |world: &World| world.universe.watch().counts().iter().map(|(r, n)| (r.as_word(), *n)).collect::<Vec<_>>();
    let first = world.launch(2);
    assert_eq!(count(&world), [], "one job queued, one more is within the slack");
    world.launch(1);
    assert_eq!(count(&world), [("surplus", 1)]);
    world.launch(1);
    assert_eq!(count(&world), [("above_max_runners", 1), ("surplus", 2)]);
    world.launch(2);
    let all = [("above_max_runners", 2), ("above_pool_max", 1), ("above_budget", 1), ("surplus", 3)];
    assert_eq!(count(&world), all);
    // Below the bounds again, nothing more is said.
    world.until(30.0);
    let rest: Vec<InstanceId> = world.universe.instances().into_iter().map(|(id, _)| id).collect();
    world.universe.terminate(&rest);
    world.universe.terminate(&first);
    world.launch(1);
    assert_eq!(count(&world), all);
}

#[test]
fn money_is_booked_by_the_definitions() {
    // One machine at 0.09 USD an hour: 40 s boot, idle from 40 to 60, busy from 60 to 90, idle to 100.
    let mut world = World::new(exact(), &[single(1, 60.0, "job", 30.0), single(2, 500.0, "last", 100.0)]);
    world.until(0.0);
    let instance = world.launch(1);
    world.until(100.0);
    world.universe.terminate(&instance);
    let second = 0.09 / 3_600.0;
    let usd = |seconds: f64| (seconds * second * 1e6).round() / 1e6;
    let cost = world.universe.summary("hand").cost_usd;
    assert_eq!((cost.boot, cost.busy, cost.idle), (usd(40.0), usd(30.0), usd(30.0)));
    // A machine that is ended after 10 s of booting costs a minute.
    let short = world.launch(1);
    world.until(110.0);
    world.universe.terminate(&short);
    let cost = world.universe.summary("hand").cost_usd;
    assert_eq!((cost.boot, cost.busy, cost.idle), (usd(50.0), usd(30.0), usd(80.0)));
    // The books end with the last job (second 600), though the machine lives on and another starts.
    world.launch(1);
    world.until(700.0);
    assert!(world.universe.finished());
    world.launch(1);
    world.until(9_000.0);
    let summary = world.universe.summary("hand");
    let cost = summary.cost_usd;
    assert_eq!((cost.boot, cost.busy, cost.idle), (usd(90.0), usd(130.0), usd(80.0 + 350.0)));
    assert!((cost.total - (cost.boot + cost.busy + cost.idle)).abs() < 1e-9);
    assert_eq!(summary.classes[0].cost_usd, cost);
    assert_eq!(summary.classes[0].price_usd_per_hour, 0.09);
}

#[test]
fn standby_machines_are_stopped_started_and_replaced() {
    let profile = Profile { standby_start: Delay::Fixed(Duration::from_secs(25)), ..exact() };
    let mut world = World::new(profile, &[single(1, 1_000.0, "job", 30.0)]);
    world.until(0.0);
    let shape = world.class().shapes[0].clone();
    world.universe.set_standby(&shape, 2).unwrap();
    let told = |ready, size| [Stock { shape: shape.clone(), ready, size: Some(size) }];
    assert_eq!(world.universe.standby(), told(0, 2));
    world.until(100.0);
    assert_eq!(world.universe.standby(), told(2, 2));
    assert_eq!(world.universe.census().instances, 0, "standby does not count as launched");
    let mut launch = world.intent(3);
    launch.purpose.origin = Origin::Standby;
    let reply = world.launch_intent(&launch).unwrap();
    assert_eq!((reply.instances.len(), reply.error.is_some()), (2, true));
    assert_eq!(world.until(130.0)[..2], ["125 claim 1", "125 listening"]);
    world.until(200.0);
    assert_eq!(world.universe.standby(), told(2, 2), "the pool fills itself up");
    world.universe.set_standby(&shape, 0).unwrap();
    assert_eq!(world.universe.standby(), told(0, 0));
    world.universe.terminate(&reply.instances);
    world.until(999.0);
    let summary = world.universe.summary("hand");
    assert_eq!((summary.launches.standby, summary.launches.cold, summary.launches.failed), (2, 0, 1));
    // Stopped: twice 60 s, then twice 60 s, at 0.004 USD an hour.
    let stopped = 4.0 * 60.0 * 0.004 / 3_600.0;
    assert!((summary.cost_usd.standby - stopped).abs() < 1e-6, "{}", summary.cost_usd.standby);
}
