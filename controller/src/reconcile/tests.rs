//! What the simulated world does not do to a tick: answers that hang, refuse a repeat, or come after the facts have changed.

use std::collections::VecDeque;
use std::future::{Future, pending, ready};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use futures_util::FutureExt;
use muster_core::claim::{ClaimRow, Order};
use muster_core::fact::{
    CloudEvent, CloudEventKind, Fact, FactBody, GroupEvent, GroupEventKind, Prewarmed, ReleaseEvent,
};
use muster_core::ids::{InstanceId, RunnerId, ShapeId, Zone};
use muster_core::launch::{LaunchReply, Offering};
use muster_core::machine::{
    Drain, Machine, MachineEvent, MachinePhase, Origin, Purpose, Registration, Removal, Report, runner_name,
};
use muster_core::money::HourlyPrice;
use muster_core::ports::{Ended, InstanceState, MintRequest, Minted, Sighting, SpotPrice, Stock};
use muster_core::protocol::Numbered;
use muster_store::MemoryStore;

use super::*;
use crate::clock::VirtualClock;

const START: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);

pub(crate) fn config() -> Arc<FleetConfig> {
    let text = r#"
        [github]
        organization = "acme"
        webhook_secrets = ["env:SECRET"]
        [[github.app]]
        id = 1
        private_key = "env:KEY"
        [[pool]]
        name = "linux"
        os = "linux"
        arch = "x64"
        labels = ["linux"]
        default_size = "cpu-2"
        [pool.sizes.cpu-2]
        instance_types = ["c7i.large"]
        [pool.sizes.cpu-4]
        instance_types = ["c7i.xlarge"]
    "#;
    Arc::new(FleetConfig::parse("test.toml", text).config.unwrap())
}

/// A launch for the nth class.
pub(crate) fn launch(config: &FleetConfig, class: usize, id: &str, at: Timestamp) -> Launch {
    let class = &config.classes()[class];
    let shape = &class.shapes[0];
    let purpose = Purpose {
        pool: class.pool.clone(),
        class: class.id.clone(),
        shape: shape.id.clone(),
        account: shape.account.clone(),
        zone: Zone::new("a"),
        market: shape.market,
        origin: Origin::Cold,
        price: HourlyPrice::ZERO,
    };
    Launch { id: LaunchId::new(id), purpose, count: 1, may_register: true, intended_at: at, reason: "a test".into() }
}

/// The nth machine, launched at `at`.
pub(crate) fn machine(config: &FleetConfig, class: usize, n: u32, at: Timestamp) -> Machine {
    Machine::launched(InstanceId::new(format!("i-{n:08x}")), &launch(config, class, "before", at), at)
}

pub(crate) fn registration(machine: &Machine) -> Registration {
    Registration { id: RunnerId(7), name: runner_name(&machine.purpose.pool, &machine.instance, "suffix") }
}

pub(crate) fn claim(machine: &Machine, at: Timestamp) -> ClaimRow {
    ClaimRow {
        instance: machine.instance.clone(),
        session: 1,
        nonce: "nonce".to_owned(),
        public_key: "key".to_owned(),
        sealed_session: "sealed".to_owned(),
        token_sha256: "hash".to_owned(),
        claimed_at: at,
        former: None,
        registration: None,
        sealed_config: None,
    }
}

pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().unwrap()
}

/// Writes machines and launches as a former scaler would have.
pub(crate) fn write(store: &MemoryStore, machines: Vec<Machine>, launches: Vec<Launch>) {
    let generation = at_once(store.generation()).unwrap();
    at_once(store.commit(&Batch { machines, launches, ..Batch::default() }, generation)).unwrap();
}

/// A cloud and a GitHub that do as they are told.
#[derive(Default)]
struct Outside {
    clock: VirtualClock,
    /// How long the list of zones takes.
    zones_take: Mutex<Duration>,
    hangs: AtomicBool,
    replies: Mutex<VecDeque<Result<LaunchReply, CloudError>>>,
    live: Mutex<Vec<InstanceId>>,
    launched: Mutex<Vec<LaunchId>>,
    terminated: Mutex<Vec<InstanceId>>,
    silenced: Mutex<Vec<InstanceId>>,
    released: Mutex<Vec<InstanceId>>,
    release_fails: Mutex<Option<CloudError>>,
    /// How often spot prices were asked for.
    priced: AtomicU32,
    known: Mutex<Vec<InstanceId>>,
    silence_fails: Mutex<Option<CloudError>>,
    /// The one whose metadata service stays on.
    silence_spares: Mutex<Option<InstanceId>>,
    /// The list of what is not live cannot be read.
    blind: AtomicBool,
    removed: Mutex<Vec<RunnerId>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap()
}

impl Cloud for Outside {
    async fn release(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        lock(&self.released).extend(instances.iter().map(|(instance, _)| instance.clone()));
        lock(&self.release_fails).take().map_or(Ok(Vec::new()), Err)
    }

    async fn launch(&self, launch: &Launch, known: &[InstanceId]) -> Result<LaunchReply, CloudError> {
        lock(&self.known).extend(known.iter().cloned());
        lock(&self.launched).push(launch.id.clone());
        lock(&self.replies).pop_front().unwrap()
    }

    fn terminate(&self, instances: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Ended, CloudError>> + Send {
        lock(&self.terminated).extend(instances.iter().map(|(instance, _)| instance.clone()));
        ready(Ok(Ended::default()))
    }

    async fn silence(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        lock(&self.silenced).extend(instances.iter().map(|(instance, _)| instance.clone()));
        if let Some(instance) = lock(&self.silence_spares).clone() {
            return Ok(vec![(instance, CloudError::Rejected("a test".to_owned()))]);
        }
        lock(&self.silence_fails).take().map_or(Ok(Vec::new()), Err)
    }

    async fn instances(&self, known: &[(InstanceId, ShapeId)]) -> Result<Sighting, CloudError> {
        let live = lock(&self.live).clone();
        let absent = known.iter().map(|(instance, _)| instance).filter(|instance| !live.contains(instance));
        let absent = if self.blind.load(Ordering::Relaxed) { Vec::new() } else { absent.cloned().collect() };
        Ok(Sighting {
            seen: live.into_iter().map(|instance| (instance, InstanceState::Live)).collect(),
            absent,
            troubles: Vec::new(),
        })
    }

    fn shape_of(&self, group: &str) -> Option<ShapeId> {
        Some(ShapeId::new(group))
    }

    async fn set_standby(&self, _shape: &ShapeId, _size: u32) -> Result<(), CloudError> {
        Ok(())
    }

    async fn zones(&self) -> Result<Vec<Zone>, CloudError> {
        if self.hangs.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        self.clock.set(self.clock.now() + *lock(&self.zones_take));
        Ok(vec![Zone::new("a")])
    }

    async fn standby(&self) -> Result<Vec<Stock>, CloudError> {
        Ok(Vec::new())
    }

    async fn spot_prices(&self) -> Result<Vec<SpotPrice>, CloudError> {
        self.priced.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }
}

impl Github for Outside {
    async fn mint(&self, _request: &MintRequest) -> Result<Minted, GithubError> {
        Err(GithubError::Rejected("a test".to_owned()))
    }

    async fn remove(&self, runner: RunnerId) -> Result<Removal, GithubError> {
        lock(&self.removed).push(runner);
        Ok(Removal::Gone)
    }
}

struct Fleet {
    clock: VirtualClock,
    store: Arc<MemoryStore>,
    outside: Arc<Outside>,
    scaler: Reconciler<MemoryStore, Outside, Outside, VirtualClock>,
}

impl Fleet {
    fn with(machines: Vec<Machine>, launches: Vec<Launch>) -> Fleet {
        let clock = VirtualClock::at(START);
        let store = Arc::new(MemoryStore::default());
        let live = machines.iter().map(|machine| machine.instance.clone()).collect();
        write(&store, machines, launches);
        let outside = Arc::new(Outside { clock: clock.clone(), live: Mutex::new(live), ..Outside::default() });
        let scaler =
            Reconciler::new(store.clone(), outside.clone(), outside.clone(), clock.clone(), config(), Policy::Cold);
        Fleet { clock, store, outside, scaler }
    }

    fn tick_at(&mut self, seconds: u64) -> TickReport {
        self.clock.set(START + Duration::from_secs(seconds));
        at_once(self.scaler.tick(&mut ())).unwrap()
    }

    fn answer(&self, reply: Result<LaunchReply, CloudError>) {
        lock(&self.outside.replies).push_back(reply);
    }

    fn open_launches(&self) -> usize {
        at_once(self.store.load()).unwrap().launches.len()
    }

    fn stored(&self, machine: &Machine) -> Machine {
        at_once(self.store.machine(&machine.instance)).unwrap().unwrap()
    }
}

#[test]
fn a_refused_repeat_does_not_prove_that_nothing_was_launched() {
    let mut fleet = Fleet::with(vec![], vec![launch(&config(), 0, "old", START)]);
    fleet.answer(Err(CloudError::Unknown("a test".to_owned())));
    fleet.tick_at(1);
    fleet.answer(Err(CloudError::Throttled("a test".to_owned())));
    fleet.tick_at(12);
    fleet.answer(Err(CloudError::Rejected("a test".to_owned())));
    fleet.tick_at(23);
    assert_eq!(fleet.open_launches(), 1);
    fleet.answer(Ok(LaunchReply { instances: vec![InstanceId::new("i-00000001")], error: None }));
    fleet.tick_at(34);
    assert_eq!(fleet.open_launches(), 0);
    assert_eq!(lock(&fleet.outside.launched).len(), 4);
    assert_eq!(fleet.scaler.world().unwrap().machines().count(), 1);
}

#[test]
fn a_launch_that_is_refused_for_long_is_over() {
    let mut fleet = Fleet::with(vec![], vec![launch(&config(), 0, "old", START)]);
    fleet.answer(Err(CloudError::Rejected("a test".to_owned())));
    fleet.tick_at(UNCERTAIN_MAX.as_secs() + 1);
    assert_eq!(fleet.open_launches(), 0);
}

#[test]
fn nothing_is_asked_for_again_while_the_switch_forbids_launches() {
    for switch in [Switch::NoLaunch, Switch::Freeze] {
        let mut fleet = Fleet::with(vec![], vec![launch(&config(), 0, "old", START)]);
        at_once(fleet.store.set_switch(switch)).unwrap();
        fleet.tick_at(1);
        assert_eq!((lock(&fleet.outside.launched).len(), fleet.open_launches()), (0, 1));
    }
}

#[test]
fn a_call_without_an_answer_does_not_hold_the_tick() {
    let mut fleet = Fleet::with(vec![], vec![]);
    fleet.outside.hangs.store(true, Ordering::Relaxed);
    let report = fleet.tick_at(0);
    assert!(report.troubles.iter().any(|trouble| trouble.starts_with("listing zones")), "{:?}", report.troubles);
}

#[test]
fn a_registration_is_not_removed_once_its_agent_thaws() {
    for (zones_take, removed) in [(5, 1), (14, 0)] {
        let mut machine = machine(&config(), 0, 1, START);
        let registration = registration(&machine);
        for report in
            [Report::Claimed, Report::Registered(registration), Report::Listening, Report::Frozen { order: 1 }]
        {
            machine.hear(&MachineEvent { instance: machine.instance.clone(), session: 1, at: START, report });
        }
        machine.drain = Some(Drain { order: 1, ordered_at: START, removal: None, answered: false, closed_at: None });
        let mut fleet = Fleet::with(vec![machine], vec![]);
        *lock(&fleet.outside.zones_take) = Duration::from_secs(zones_take);
        fleet.tick_at(2);
        assert_eq!(lock(&fleet.outside.removed).len(), removed, "{zones_take}");
    }
}

#[test]
fn a_machine_that_was_registered_in_the_meantime_is_not_ended() {
    let (late, unclaimed) = (machine(&config(), 0, 1, START), machine(&config(), 0, 2, START));
    let mut fleet = Fleet::with(vec![late.clone(), unclaimed.clone()], vec![]);
    fleet.tick_at(0);
    let over = BOOT_MAX.as_secs() + 1;
    // The registrar has attached the configuration, and the fact of it is not in the ledger.
    let row = claim(&late, START);
    assert!(at_once(fleet.store.put_claim(&row)).unwrap());
    let registration = Some(registration(&late));
    let row = ClaimRow { registration, sealed_config: Some("sealed".to_owned()), ..row };
    assert!(at_once(fleet.store.attach_config(&row)).unwrap());
    let report = fleet.tick_at(over);
    assert_eq!(*lock(&fleet.outside.terminated), std::slice::from_ref(&unclaimed.instance));
    assert!(report.wake_at.is_some_and(|at| at <= START + Duration::from_secs(over + 1)), "{:?}", report.wake_at);
    assert_eq!(fleet.stored(&late).terminate_at, None);
    fleet.tick_at(over + 1);
    assert!(matches!(fleet.stored(&late).phase(), MachinePhase::Registering(_)));
}

#[test]
fn silence_before_the_first_tick_ends_nothing() {
    let mut fleet = Fleet::with(vec![machine(&config(), 0, 1, START - Duration::from_secs(86_400))], vec![]);
    fleet.tick_at(0);
    assert_eq!(lock(&fleet.outside.terminated).len(), 0);
    fleet.tick_at(BOOT_MAX.as_secs() + 1);
    assert_eq!(lock(&fleet.outside.terminated).len(), 1);
}

#[test]
fn the_metadata_service_of_a_registered_machine_is_turned_off_until_that_succeeded() {
    let (mut registered, booting) = (machine(&config(), 0, 1, START), machine(&config(), 0, 2, START));
    for report in [Report::Claimed, Report::Registered(registration(&registered))] {
        registered.hear(&MachineEvent { instance: registered.instance.clone(), session: 1, at: START, report });
    }
    let mut fleet = Fleet::with(vec![registered.clone(), booting], vec![]);
    *lock(&fleet.outside.silence_fails) = Some(CloudError::Throttled("a test".to_owned()));
    let report = fleet.tick_at(1);
    assert!(report.troubles.iter().any(|trouble| trouble.contains("metadata service")), "{:?}", report.troubles);
    for seconds in 2..5 {
        fleet.tick_at(seconds);
    }
    let only = registered.instance;
    assert_eq!(*lock(&fleet.outside.silenced), [only.clone(), only], "once more after the failure, then not again");
}

#[test]
fn a_frozen_fleet_keeps_its_metadata_service() {
    let mut registered = machine(&config(), 0, 1, START);
    for report in [Report::Claimed, Report::Registered(registration(&registered))] {
        registered.hear(&MachineEvent { instance: registered.instance.clone(), session: 1, at: START, report });
    }
    let mut fleet = Fleet::with(vec![registered], vec![]);
    at_once(fleet.store.set_switch(Switch::Freeze)).unwrap();
    fleet.tick_at(1);
    assert_eq!(lock(&fleet.outside.silenced).len(), 0);
}

/// "Gone" needs lists that were read: those that failed neither prove it nor start the count anew.
#[test]
fn a_list_that_cannot_be_read_proves_nothing() {
    let machine = machine(&config(), 0, 1, START);
    let mut fleet = Fleet::with(vec![machine.clone()], vec![]);
    lock(&fleet.outside.live).clear();
    let every = OBSERVE_EVERY.as_secs();
    let from = NEWBORN.as_secs();
    fleet.tick_at(from);
    fleet.outside.blind.store(true, Ordering::Relaxed);
    for tick in 1..=5 {
        fleet.tick_at(from + tick * every);
    }
    assert_eq!(fleet.stored(&machine).gone_at, None, "one list without it, and five that were not read");
    fleet.outside.blind.store(false, Ordering::Relaxed);
    fleet.tick_at(from + 6 * every);
    assert_eq!(fleet.stored(&machine).gone_at, None, "the second list without it");
    fleet.tick_at(from + 7 * every);
    let world = fleet.scaler.world().unwrap();
    assert!(world.machines().all(|machine| !machine.is_live()), "the third");
}

#[test]
fn one_machine_whose_metadata_service_stays_on_does_not_keep_others_from_being_done() {
    let mut machines: Vec<_> = (1..=2).map(|n| machine(&config(), 0, n, START)).collect();
    for machine in &mut machines {
        for report in [Report::Claimed, Report::Registered(registration(machine))] {
            machine.hear(&MachineEvent { instance: machine.instance.clone(), session: 1, at: START, report });
        }
    }
    let (stubborn, other) = (machines[0].instance.clone(), machines[1].instance.clone());
    let mut fleet = Fleet::with(machines, vec![]);
    *lock(&fleet.outside.silence_spares) = Some(stubborn.clone());
    fleet.tick_at(1);
    fleet.tick_at(2);
    assert_eq!(*lock(&fleet.outside.silenced), [stubborn.clone(), other, stubborn], "only the one is tried again");
}

#[test]
fn a_machine_from_standby_is_let_go_on_when_it_claims() {
    let mut standby = machine(&config(), 0, 1, START);
    standby.purpose.origin = Origin::Standby;
    let mut fleet = Fleet::with(vec![standby.clone(), machine(&config(), 0, 2, START)], vec![]);
    fleet.tick_at(1);
    assert_eq!(*lock(&fleet.outside.released), []);
    let event = MachineEvent { instance: standby.instance.clone(), session: 1, at: START, report: Report::Claimed };
    let fact = Fact { received_at: START, body: FactBody::Machine(event) };
    at_once(fleet.store.put_fact(&fact)).unwrap();
    for seconds in 2..5 {
        fleet.tick_at(seconds);
    }
    assert_eq!(*lock(&fleet.outside.released), [standby.instance], "once");
}

/// They are in no ledger: nobody has launched them yet.
#[test]
fn a_machine_that_is_warm_is_let_go_on_into_its_stock() {
    let mut fleet = Fleet::with(vec![], vec![]);
    let warm = |n: u32, at: Timestamp| {
        let (instance, shape) = (InstanceId::new(format!("i-{n:08x}")), config().shapes().next().unwrap().id.clone());
        Fact { received_at: at, body: FactBody::Prewarmed(Prewarmed { instance, shape, at }) }
    };
    let at = |seconds: u64| START + Duration::from_secs(seconds);
    at_once(fleet.store.put_fact(&warm(1, at(0)))).unwrap();
    *lock(&fleet.outside.release_fails) = Some(CloudError::Throttled("a test".to_owned()));
    fleet.tick_at(1);
    fleet.tick_at(2);
    fleet.tick_at(3);
    let asked = lock(&fleet.outside.released).clone();
    assert_eq!(asked, vec![InstanceId::new("i-00000001"); 2], "until it has succeeded once");
    // There is no such shape, and so no stock.
    let nowhere = Prewarmed { instance: InstanceId::new("i-00000003"), shape: ShapeId::new("a-shape"), at: at(3) };
    at_once(fleet.store.put_fact(&Fact { received_at: at(3), body: FactBody::Prewarmed(nowhere) })).unwrap();
    fleet.tick_at(4);
    assert_eq!(lock(&fleet.outside.released).len(), 2);
    // Its group let this one go on long ago.
    at_once(fleet.store.put_fact(&warm(2, at(3)))).unwrap();
    fleet.tick_at(303);
    assert_eq!(lock(&fleet.outside.released).len(), 2);
}

#[test]
fn spot_prices_are_read_every_ten_minutes() {
    let mut fleet = Fleet::with(vec![machine(&config(), 0, 1, START)], vec![]);
    for seconds in (0..=1_200).step_by(60) {
        fleet.tick_at(seconds);
    }
    assert_eq!(fleet.outside.priced.load(Ordering::Relaxed), 2, "not with the first look: jobs wait for that");
}

#[test]
fn a_launch_names_what_the_ledger_knows_of_its_shape() {
    let open = launch(&config(), 0, "open", START);
    let (same, other) = (machine(&config(), 0, 1, START), machine(&config(), 1, 2, START));
    let mut fleet = Fleet::with(vec![same.clone(), other], vec![open]);
    fleet.answer(Err(CloudError::Unknown("a test".to_owned())));
    fleet.tick_at(1);
    assert_eq!(*lock(&fleet.outside.known), [same.instance]);
}

/// A fleet that is busy has launches open: that hides as many machines as they are for, and no more.
#[test]
fn machines_that_the_ledger_does_not_know_are_counted_beside_open_launches() {
    let mut fleet = Fleet::with(vec![], vec![launch(&config(), 0, "open", START)]);
    for (running, unknown) in [(1, 0), (2, 2)] {
        *lock(&fleet.outside.live) = (0..running).map(|n| InstanceId::new(format!("i-{n:08x}"))).collect();
        fleet.answer(Err(CloudError::Unknown("a test".to_owned())));
        let report = fleet.tick_at(running * OBSERVE_IDLE_EVERY.as_secs());
        assert_eq!(report.unknown, unknown, "{:?}", report.troubles);
    }
}

/// A launch that the cloud does in its own time is asked for every ten seconds; what is told of its group comes between.
#[test]
fn a_launch_is_asked_for_at_once_when_its_group_is_told_of() {
    let open = launch(&config(), 0, "open", START);
    let (shape, id) = (open.purpose.shape.as_str().to_owned(), open.id.clone());
    let mut fleet = Fleet::with(vec![], vec![open]);
    let asked = |fleet: &Fleet| lock(&fleet.outside.launched).iter().filter(|asked| **asked == id).count();
    let told = |group: &str, at: Timestamp, kind: GroupEventKind| {
        let event = GroupEvent { group: group.into(), at, kind };
        Fact { received_at: at, body: FactBody::Group(event) }
    };
    let failed = |activity: &str| GroupEventKind::LaunchFailed { activity: activity.into(), why: "no room".into() };
    let left = GroupEventKind::LeftStandby { instance: InstanceId::new("i-00000001") };
    let soon = START + Duration::from_secs(1);
    let facts = [
        (told(&shape, soon, failed("one")), 1, "it failed"),
        (told(&shape, soon, left), 1, "a machine has left the stock"),
        (told("another", soon, failed("two")), 0, "another group"),
        (told(&shape, START - Duration::from_secs(1), failed("three")), 0, "before the launch"),
    ];
    fleet.answer(Err(CloudError::Unknown("a test".to_owned())));
    fleet.tick_at(1);
    let mut before = asked(&fleet);
    for (seconds, (fact, times, why)) in (2..).zip(facts) {
        for _told in 0..2 {
            at_once(fleet.store.put_fact(&fact)).unwrap();
        }
        fleet.answer(Err(CloudError::Unknown("a test".to_owned())));
        let report = fleet.tick_at(seconds);
        assert_eq!(asked(&fleet) - before, times, "{why}");
        before = asked(&fleet);
        let says = report.troubles.iter().any(|trouble| trouble.contains("no room"));
        assert_eq!(says, why != "a machine has left the stock", "{why}: {:?}", report.troubles);
    }
}

/// With the metadata service off an agent hears of it from nobody else.
#[test]
fn a_machine_with_a_job_is_told_that_the_cloud_will_take_it() {
    let listening = |n: u32| {
        let mut machine = machine(&config(), 0, n, START);
        machine.session = 1;
        machine.told.registered = Some((START, registration(&machine)));
        machine.told.listening_at = Some(START);
        machine
    };
    let mut busy = listening(1);
    busy.told.busy_at = Some(START);
    let idle = listening(2);
    let mut fleet = Fleet::with(vec![busy.clone(), idle.clone()], vec![]);
    let order = |fleet: &Fleet, machine: &Machine| at_once(fleet.store.order(&machine.instance)).unwrap();
    for (seconds, told) in [(1, true), (2, false)] {
        let at = START + Duration::from_secs(seconds);
        for machine in [&busy, &idle] {
            let event = CloudEvent { instance: machine.instance.clone(), at, kind: CloudEventKind::InterruptionNotice };
            at_once(fleet.store.put_fact(&Fact { received_at: at, body: FactBody::Cloud(event) })).unwrap();
        }
        let report = fleet.tick_at(seconds);
        assert_eq!(report.orders.contains(&busy.instance), told, "it is told once, at {seconds}");
    }
    assert_eq!(order(&fleet, &busy), Some(Numbered { seq: 1, order: Order::Interruption }));
    assert!(matches!(order(&fleet, &idle), Some(Numbered { order: Order::Drain { .. }, .. })), "it has no job to save");
}

/// Its group may count it as a member for ever: Auto Scaling replaces nothing here, and EC2 forgets what ended within an hour.
#[test]
fn what_is_left_of_a_machine_that_is_not_listed_any_more_is_ended() {
    let lost = machine(&config(), 0, 1, START);
    let mut fleet = Fleet::with(vec![lost.clone()], vec![]);
    lock(&fleet.outside.live).clear();
    let mut ended_at = Vec::new();
    for seconds in (0..=900).step_by(60) {
        fleet.tick_at(seconds);
        if !std::mem::take(&mut *lock(&fleet.outside.terminated)).is_empty() {
            ended_at.push(seconds);
        }
    }
    assert_eq!(ended_at, [NEWBORN.as_secs()], "once, as soon as it is concluded to be gone");
    assert!(at_once(fleet.store.load()).unwrap().machines.is_empty(), "it is forgotten");
}

#[test]
fn that_an_image_is_too_old_is_kept_for_the_next_scaler() {
    let purpose = machine(&config(), 0, 1, START).purpose;
    let mut fleet = Fleet::with(vec![], vec![]);
    let (shape, market, release) = (purpose.shape.clone(), purpose.market, "2.335.0".parse().unwrap());
    let event = ReleaseEvent { shape, market, at: START, release, taken: false };
    at_once(fleet.store.put_fact(&Fact { received_at: START, body: FactBody::Release(event) })).unwrap();
    fleet.tick_at(1);
    let holds = at_once(fleet.store.load()).unwrap().holds;
    assert_eq!(holds.len(), 1);
    assert_eq!(holds[0].offering, Offering::everywhere(purpose.shape, purpose.market));
}
