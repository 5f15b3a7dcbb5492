//! What is known of a standby stock after a start from it was refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use fixture::{at, config, instance, launch, purpose};
use muster_core::config::Market;
use muster_core::launch::{LaunchError, LaunchErrorKind, LaunchReply, Offering};
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
fn any_other_refusal_says_that_there_is_no_more() {
    assert_eq!(left(2, Some(LaunchErrorKind::Capacity)), (0, None));
    assert_eq!(left(3, None), (2, None));
}
