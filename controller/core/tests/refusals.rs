//! What is known of a place after a launch there was refused, or delivered.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use fixture::{at, config, hold, instance, launch, purpose};
use muster_core::config::Market;
use muster_core::ids::LaunchId;
use muster_core::launch::{Hold, LaunchError, LaunchErrorKind, LaunchReply, Offering};
use muster_core::machine::Origin;
use muster_core::ports::{Batch, Snapshot, Stock};
use muster_core::world::{HOLD_THROTTLED, World};

/// How many of five are known to be left after a start of three that gave `came`, and until when no other is asked for.
fn left(came: u32, refusal: Option<LaunchErrorKind>) -> (u32, Option<i64>) {
    let config = config(&format!("[fleet]\n{}", include_str!("scenarios/linux.toml")));
    let purpose = purpose(&config, "linux/cpu-2/on-demand", Some(Market::OnDemand), "a", Origin::Standby);
    let shape = purpose.shape.clone();
    let mut world = World::from_snapshot(Snapshot::default(), &config);
    world.set_stock(vec![Stock { shape: shape.clone(), ready: 5, size: Some(5) }]);
    let start = launch("start", purpose, 3, at(0));
    let (id, offering) = (start.id.clone(), Offering::standby(shape.clone(), Market::OnDemand));
    assert_eq!(Offering::of(&start.purpose), offering);
    world.put_launch(start);
    let error = refusal.map(|kind| LaunchError { kind, message: "a word of the cloud".into() });
    let mut batch = Batch::default();
    world.launch_answered(&id, &LaunchReply { instances: (0..came).map(instance).collect(), error }, at(1), &mut batch);
    let held = world.hold(&offering, at(1)).map(|hold| hold.until);
    assert_eq!(batch.holds.iter().map(|hold| hold.until).next(), held, "what is held is stored");
    (world.stock(&shape), held.map(|until| (until.unix_ms() - at(1).unix_ms()) / 1_000))
}

#[test]
fn a_throttled_start_says_nothing_about_the_stock() {
    let pause = i64::try_from(HOLD_THROTTLED.as_secs()).unwrap();
    assert_eq!(left(0, Some(LaunchErrorKind::Throttled)), (5, Some(pause)));
    assert_eq!(left(1, Some(LaunchErrorKind::Throttled)), (4, Some(pause)));
}

#[test]
fn a_start_that_is_put_off_twice_in_a_row_is_not_waited_for() {
    let config = config(&format!("[fleet]\n{}", include_str!("scenarios/linux.toml")));
    let purpose = purpose(&config, "linux/cpu-2/on-demand", Some(Market::OnDemand), "a", Origin::Standby);
    let mut world = World::from_snapshot(Snapshot::default(), &config);
    let mut strikes = |seconds: i64| {
        world.put_launch(launch("start", purpose.clone(), 1, at(seconds)));
        let error = Some(LaunchError { kind: LaunchErrorKind::Throttled, message: "not now".into() });
        let reply = LaunchReply { instances: Vec::new(), error };
        world.launch_answered(&LaunchId::new("start"), &reply, at(seconds), &mut Batch::default());
        world.hold(&Offering::of(&purpose), at(seconds)).unwrap().strikes
    };
    assert_eq!([strikes(0), strikes(6), strikes(12), strikes(3_600)], [1, 2, 3, 1]);
}

#[test]
fn any_other_refusal_says_that_there_is_no_more() {
    assert_eq!(left(2, Some(LaunchErrorKind::Capacity)), (0, None));
    assert_eq!(left(3, None), (2, None));
}

/// What is held after answers to launches of one offering in one tick: refusals, or `None` for machines.
fn held_after(answers: &[Option<LaunchErrorKind>]) -> Option<(LaunchErrorKind, i64)> {
    let config = config(&format!("[fleet]\n{}", include_str!("scenarios/linux.toml")));
    let purpose = purpose(&config, "linux/cpu-2/spot", Some(Market::Spot), "a", Origin::Cold);
    let mut world = World::from_snapshot(Snapshot::default(), &config);
    for number in 0..answers.len() {
        world.put_launch(launch(&format!("launch-{number}"), purpose.clone(), 1, at(0)));
    }
    for (number, refusal) in answers.iter().enumerate() {
        let error = refusal.map(|kind| LaunchError { kind, message: "a word of the cloud".into() });
        let came = if error.is_some() { Vec::new() } else { vec![instance(u32::try_from(number).unwrap())] };
        let id = LaunchId::new(format!("launch-{number}"));
        world.launch_answered(&id, &LaunchReply { instances: came, error }, at(1), &mut Batch::default());
    }
    let hold = world.hold(&Offering::of(&purpose), at(1))?;
    Some((hold.kind, (hold.until.unix_ms() - at(1).unix_ms()) / 1_000))
}

#[test]
fn what_one_launch_was_told_is_not_undone_by_another_of_the_same_tick() {
    use LaunchErrorKind::{Capacity, Throttled};
    assert_eq!(held_after(&[Some(Capacity), Some(Throttled)]), Some((Capacity, 180)));
    assert_eq!(held_after(&[Some(Throttled), Some(Capacity)]), Some((Capacity, 180)));
    assert_eq!(held_after(&[Some(Capacity), None]), Some((Capacity, 180)));
    assert_eq!(held_after(&[None, Some(Throttled)]), Some((Throttled, 5)));
}

#[test]
fn a_launch_that_delivers_ends_what_was_held_before_and_a_restart_knows_as_little() {
    let config = config(&format!("[fleet]\n{}", include_str!("scenarios/linux.toml")));
    let purpose = purpose(&config, "linux/cpu-2/spot", Some(Market::Spot), "a", Origin::Cold);
    let mut world = World::from_snapshot(Snapshot::default(), &config);
    world.put_hold(Hold { kind: LaunchErrorKind::Throttled, ..hold(&purpose, at(5)) });
    assert_eq!(world.throttled_lately(at(6)).count(), 1);
    world.put_launch(launch("next", purpose, 1, at(6)));
    let mut batch = Batch::default();
    let reply = LaunchReply { instances: vec![instance(1)], error: None };
    world.launch_answered(&LaunchId::new("next"), &reply, at(7), &mut batch);
    let again = World::from_snapshot(Snapshot { holds: batch.holds, ..Snapshot::default() }, &config);
    assert_eq!((world.throttled_lately(at(7)).count(), again.throttled_lately(at(7)).count()), (0, 0));
}
