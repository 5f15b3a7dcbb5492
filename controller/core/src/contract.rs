//! The contract of the cloud's port: what every [`Cloud`] must do, as cases that run against any of them. With the
//! feature `contract`.
//!
//! What lives here: cases that only use the port. What may not: anything about one kind of cloud, except what a [`Stage`]
//! says.
//!
//! Invariant: a case that the simulator passes and an emulation of AWS does not is the simulator's mistake.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use crate::ids::{InstanceId, LaunchId, ShapeId, Zone};
use crate::launch::{LAUNCH_MAX, Launch, LaunchErrorKind};
use crate::machine::Market;
use crate::money::HourlyPrice;
use crate::ports::{Cloud, CloudError, InstanceState, Sighting, Stock};

/// A cloud with nothing in it, and a hand on what surrounds it.
pub trait Stage {
    /// The cloud.
    type Cloud: Cloud;
    /// The cloud.
    fn cloud(&self) -> &Self::Cloud;
    /// A launch of so many machines, good in all its parts, under an id that was never used.
    fn launch(&self, count: u32) -> Launch;
    /// A shape that can stand by.
    fn standing(&self) -> ShapeId;
    /// Lets time pass: what was begun is through afterwards.
    fn pass(&self, span: Duration) -> impl Future<Output = ()>;
    /// Takes away the capacity of what [`Stage::launch`] asks for, or gives it back.
    fn set_capacity(&self, there: bool) -> impl Future<Output = ()>;
    /// Brings machines, and lets them start. A stage whose cloud lacks the call that launches brings them otherwise, and
    /// takes part in the cases that are not about it.
    fn machines(&self, count: u32) -> impl Future<Output = (Launch, Vec<InstanceId>)> {
        async move {
            let launch = self.launch(count);
            let reply = good(self.cloud().launch(&launch, &[]).await);
            assert_eq!((reply.instances.len(), reply.error), (count as usize, None));
            self.pass(A_WHILE).await;
            (launch, reply.instances)
        }
    }
}

/// Long enough for a stock to fill, its machines warmed.
const UNTIL_WARM: Duration = Duration::from_secs(900);
/// Long enough for an instance to start, or to end.
const A_WHILE: Duration = Duration::from_secs(60);

/// Makes a `#[test]` of every case, or of those after `only`. `stage` is an expression that makes a [`Stage`]; `drive` runs a
/// future to its end.
#[macro_export]
macro_rules! cloud_contract {
    (stage: $stage:expr, drive: $drive:path) => {
        $crate::cloud_contract! { @cases $stage, $drive;
            a_launch_under_the_same_id_is_the_same_launch,
            an_id_stands_for_one_launch,
            a_launch_that_cannot_be_is_rejected,
            no_capacity_is_an_answer_and_stays_one,
            what_was_launched_is_seen_and_what_was_not_is_absent,
            an_end_is_told_and_may_be_repeated,
            what_nobody_launched_is_neither_ended_nor_a_failure,
            a_metadata_service_can_be_turned_off_twice,
            zones_are_told_once_each,
            a_stock_is_brought_to_its_size_and_told,
            a_stock_that_cannot_be_is_rejected_and_none_is_no_stock,
            spot_prices_are_told_once_for_each_shape_and_zone,
        }
    };
    (stage: $stage:expr, drive: $drive:path, only: [$($case:ident,)+]) => {
        $crate::cloud_contract! { @cases $stage, $drive; $($case,)+ }
    };
    (@cases $stage:expr, $drive:path; $($case:ident,)+) => {
        $(#[test]
        fn $case() {
            let stage = $stage;
            $drive($crate::contract::$case(&stage));
        })+
    };
}

#[track_caller]
fn good<T>(answer: Result<T, CloudError>) -> T {
    match answer {
        Ok(value) => value,
        Err(error) => panic!("the cloud failed: {error}"),
    }
}

fn named(launch: &Launch, instances: &[InstanceId]) -> Vec<(InstanceId, ShapeId)> {
    instances.iter().map(|instance| (instance.clone(), launch.purpose.shape.clone())).collect()
}

fn state_of(sighting: &Sighting, instance: &InstanceId) -> Option<InstanceState> {
    sighting.seen.iter().find(|(seen, _)| seen == instance).map(|(_, state)| *state)
}

/// A repeat under the same id, at once or later, launches nothing.
pub async fn a_launch_under_the_same_id_is_the_same_launch(stage: &impl Stage) {
    let (launch, first) = stage.machines(3).await;
    let again = good(stage.cloud().launch(&launch, &[]).await);
    assert_eq!(again.instances.iter().collect::<BTreeSet<_>>(), first.iter().collect::<BTreeSet<_>>());
    assert_eq!(again.error, None);
    let sighting = good(stage.cloud().instances(&[]).await);
    assert_eq!(sighting.seen.len(), 3, "{sighting:?}");
    let (_, second) = stage.machines(1).await;
    assert!(!first.contains(&second[0]));
}

/// Under a used id, anything else is refused.
pub async fn an_id_stands_for_one_launch(stage: &impl Stage) {
    let (launch, _) = stage.machines(2).await;
    let other = Launch { count: 3, ..launch };
    let refused = stage.cloud().launch(&other, &[]).await;
    assert!(matches!(refused, Err(CloudError::Rejected(_))), "{refused:?}");
    assert_eq!(good(stage.cloud().instances(&[]).await).seen.len(), 2);
}

/// What can never be right is rejected, with words.
pub async fn a_launch_that_cannot_be_is_rejected(stage: &impl Stage) {
    let launch = stage.launch(1);
    let with = |change: &dyn Fn(&mut Launch)| {
        let mut launch = stage.launch(1);
        change(&mut launch);
        launch
    };
    let other = match launch.purpose.market {
        Market::Spot => Market::OnDemand,
        Market::OnDemand => Market::Spot,
    };
    for (wrong, word) in [
        (with(&|launch| launch.count = 0), "0 instances"),
        (with(&|launch| launch.count = LAUNCH_MAX + 1), "101 instances"),
        (with(&|launch| launch.purpose.shape = ShapeId::new("linux-x64-spot-none-00000000")), "no shape"),
        (with(&|launch| launch.purpose.zone = Zone::new("nowhere-1a")), "nowhere-1a"),
        (with(&|launch| launch.purpose.market = other), "not "),
    ] {
        match stage.cloud().launch(&wrong, &[]).await {
            Err(CloudError::Rejected(why)) => assert!(why.contains(word), "{word}: {why}"),
            answer => panic!("{word}: {answer:?}"),
        }
    }
    assert_eq!(good(stage.cloud().instances(&[]).await).seen, []);
}

/// A want of capacity is an answer of the right kind. The same launch has the same answer later: only a new one tries
/// anew.
pub async fn no_capacity_is_an_answer_and_stays_one(stage: &impl Stage) {
    // The group is there before.
    let (_, _) = stage.machines(1).await;
    stage.set_capacity(false).await;
    let launch = stage.launch(2);
    let reply = good(stage.cloud().launch(&launch, &[]).await);
    assert_eq!(reply.instances, []);
    assert_eq!(reply.error.map(|error| error.kind), Some(LaunchErrorKind::Capacity));
    stage.set_capacity(true).await;
    let again = good(stage.cloud().launch(&launch, &[]).await);
    assert_eq!((again.instances, again.error.map(|error| error.kind)), (vec![], Some(LaunchErrorKind::Capacity)));
    stage.machines(2).await;
}

/// Instances are told as live, and ids that are not there as absent, if they were asked about.
pub async fn what_was_launched_is_seen_and_what_was_not_is_absent(stage: &impl Stage) {
    let (launch, instances) = stage.machines(2).await;
    let nobody = InstanceId::new("i-00000000000000bad");
    let mut known = named(&launch, &instances[..1]);
    known.extend(named(&launch, std::slice::from_ref(&nobody)));
    let sighting = good(stage.cloud().instances(&known).await);
    for instance in &instances {
        assert_eq!(state_of(&sighting, instance), Some(InstanceState::Live));
    }
    assert_eq!((sighting.absent, sighting.troubles), (vec![nobody], vec![]));
}

/// An instance that was ended is told as gone, by the list and by a second end.
pub async fn an_end_is_told_and_may_be_repeated(stage: &impl Stage) {
    let (launch, instances) = stage.machines(3).await;
    let ended = named(&launch, &instances[..2]);
    let failed = good(stage.cloud().terminate(&ended).await).failed;
    assert!(failed.is_empty(), "{failed:?}");
    stage.pass(A_WHILE).await;
    let sighting = good(stage.cloud().instances(&named(&launch, &instances)).await);
    let states: Vec<_> = instances.iter().map(|instance| state_of(&sighting, instance)).collect();
    use InstanceState::{Gone, Live};
    assert_eq!(states, [Some(Gone), Some(Gone), Some(Live)]);
    let again = good(stage.cloud().terminate(&ended).await);
    assert_eq!(again.gone.iter().collect::<BTreeSet<_>>(), instances[..2].iter().collect());
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    let one = good(stage.cloud().terminate(&named(&launch, &instances[2..])).await);
    assert!(one.failed.is_empty(), "{:?}", one.failed);
    stage.pass(A_WHILE).await;
    let sighting = good(stage.cloud().instances(&named(&launch, &instances)).await);
    assert!(sighting.seen.iter().all(|(_, state)| *state == Gone), "{sighting:?}");
    assert_eq!(sighting.troubles, Vec::<String>::new());
}

/// Of an id that nobody launched nothing is known: that it cannot be ended proves nothing.
pub async fn what_nobody_launched_is_neither_ended_nor_a_failure(stage: &impl Stage) {
    let launch = stage.launch(1);
    let ended = good(stage.cloud().terminate(&named(&launch, &[InstanceId::new("i-00000000000000bad")])).await);
    assert_eq!(ended.gone, []);
    assert!(ended.failed.is_empty(), "{:?}", ended.failed);
}

/// Silence is idempotent, and nothing to do for what is not there.
pub async fn a_metadata_service_can_be_turned_off_twice(stage: &impl Stage) {
    let (launch, mut instances) = stage.machines(2).await;
    instances.push(InstanceId::new("i-00000000000000bad"));
    for _ in 0..2 {
        let failed = good(stage.cloud().silence(&named(&launch, &instances)).await);
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// There are zones, each told once, and a launch can be in any of them.
pub async fn zones_are_told_once_each(stage: &impl Stage) {
    let zones = good(stage.cloud().zones().await);
    assert!(!zones.is_empty());
    assert_eq!(zones.iter().collect::<BTreeSet<_>>().len(), zones.len());
    for (number, zone) in zones.into_iter().enumerate() {
        let mut launch = stage.launch(1);
        launch.id = LaunchId::new(format!("{}-in-{number}", launch.id));
        launch.purpose.zone = zone;
        assert_eq!(good(stage.cloud().launch(&launch, &[]).await).instances.len(), 1);
    }
}

/// A stock fills to its size, is asked for twice with nothing more, is told with its size, and goes.
pub async fn a_stock_is_brought_to_its_size_and_told(stage: &impl Stage) {
    let shape = stage.standing();
    for size in [2, 3, 1, 0] {
        for _ in 0..2 {
            good(stage.cloud().set_standby(&shape, size).await);
        }
        stage.pass(UNTIL_WARM).await;
        let told = good(stage.cloud().standby().await);
        assert_eq!(told, [Stock { shape: shape.clone(), ready: size, size: Some(size) }]);
        let seen = good(stage.cloud().instances(&[]).await).seen;
        let live = seen.iter().filter(|(_, state)| *state == InstanceState::Live);
        assert_eq!(live.count(), 0, "stock is no machine of the ledger's: {seen:?}");
    }
}

/// A shape that there is not can have no stock, and that it has none is no failure.
pub async fn a_stock_that_cannot_be_is_rejected_and_none_is_no_stock(stage: &impl Stage) {
    let nowhere = ShapeId::new("linux-x64-on-demand-none-00000000");
    match stage.cloud().set_standby(&nowhere, 1).await {
        Err(CloudError::Rejected(why)) => assert!(why.contains("no shape"), "{why}"),
        answer => panic!("{answer:?}"),
    }
    good(stage.cloud().set_standby(&nowhere, 0).await);
    assert_eq!(good(stage.cloud().standby().await), []);
}

/// Prices are more than nothing, of zones that there are, and told once. A cloud may tell none.
pub async fn spot_prices_are_told_once_for_each_shape_and_zone(stage: &impl Stage) {
    let (prices, zones) = (good(stage.cloud().spot_prices().await), good(stage.cloud().zones().await));
    let places: BTreeSet<_> = prices.iter().map(|told| (&told.shape, &told.zone)).collect();
    assert_eq!(places.len(), prices.len(), "{prices:?}");
    assert!(prices.iter().all(|told| told.price > HourlyPrice::ZERO && told.shape != stage.standing()), "{prices:?}");
    assert!(prices.is_empty() || prices.iter().any(|told| zones.contains(&told.zone)), "{prices:?}");
}
