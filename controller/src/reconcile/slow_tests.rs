//! A cloud that takes its time, or gives no answer at all: what a tick does meanwhile, and when it ends.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use muster_core::ids::{InstanceId, RunnerId, ShapeId, Zone};
use muster_core::launch::LaunchReply;
use muster_core::machine::{Machine, MachineEvent, Origin, Removal, Report};
use muster_core::ports::{Ended, InstanceState, MintRequest, Minted, Sighting, SpotPrice, Stock};
use muster_store::MemoryStore;

use super::tests::{at_once, config, launch, machine, registration, write};
use super::*;

const START: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);
/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_secs(100_000);
/// What Lambda gives a call of the scaler.
const CALL: Duration = Duration::from_secs(30);

/// Time that passes when everybody waits.
#[derive(Clone)]
struct Patient(Arc<Mutex<(Timestamp, Vec<Sleeper>)>>);

/// Until when, and who is to be woken.
type Sleeper = (Timestamp, Waker);

impl Patient {
    fn new() -> Patient {
        Patient(Arc::new(Mutex::new((START, Vec::new()))))
    }

    fn set(&self, now: Timestamp) {
        lock(&self.0).0 = now;
    }

    /// Runs `work` to its end, moving time on to the next sleeper whenever nothing else can go on.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return done;
            }
            let woken: Vec<Waker> = {
                let (now, sleepers) = &mut *lock(&self.0);
                *now = sleepers.iter().map(|(until, _)| *until).min().expect("somebody sleeps");
                let at = *now;
                sleepers.extract_if(.., |(until, _)| *until <= at).map(|(_, waker)| waker).collect()
            };
            woken.into_iter().for_each(Waker::wake);
        }
    }
}

impl Clock for Patient {
    fn now(&self) -> Timestamp {
        lock(&self.0).0
    }

    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send {
        let (clock, until) = (self.clone(), self.now() + span);
        poll_fn(move |context| {
            let (now, sleepers) = &mut *lock(&clock.0);
            if *now >= until {
                return Poll::Ready(());
            }
            sleepers.push((until, context.waker().clone()));
            Poll::Pending
        })
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap()
}

/// A cloud and a GitHub of which each verb takes as long as it is told to.
struct Slow {
    clock: Patient,
    takes: Mutex<BTreeMap<&'static str, Duration>>,
    /// What was begun, and when.
    begun: Mutex<Vec<(&'static str, Timestamp)>>,
    /// Machines whose metadata service stays on.
    stubborn: Mutex<Vec<InstanceId>>,
    silenced: Mutex<Vec<Vec<InstanceId>>>,
}

impl Slow {
    async fn take(&self, verb: &'static str) {
        lock(&self.begun).push((verb, self.clock.now()));
        let takes = lock(&self.takes).get(verb).copied();
        if let Some(takes) = takes {
            self.clock.sleep(takes).await;
        }
    }

    fn begun(&self, verb: &str) -> Vec<Duration> {
        lock(&self.begun).iter().filter(|(begun, _)| *begun == verb).map(|(_, at)| at.since(START)).collect()
    }
}

impl Cloud for Slow {
    async fn launch(&self, launch: &Launch, _known: &[InstanceId]) -> Result<LaunchReply, CloudError> {
        self.take("launch").await;
        Ok(LaunchReply { instances: vec![InstanceId::new(format!("i-{}", launch.id))], error: None })
    }

    async fn release(&self, _instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        Ok(Vec::new())
    }

    async fn terminate(&self, _instances: &[(InstanceId, ShapeId)]) -> Result<Ended, CloudError> {
        self.take("terminate").await;
        Ok(Ended::default())
    }

    async fn silence(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        let ids: Vec<InstanceId> = instances.iter().map(|(instance, _)| instance.clone()).collect();
        let stubborn = lock(&self.stubborn).clone();
        let failed = ids.iter().filter(|id| stubborn.contains(id)).cloned();
        let failed = failed.map(|id| (id, CloudError::Throttled("a test".to_owned()))).collect();
        lock(&self.silenced).push(ids);
        Ok(failed)
    }

    async fn instances(&self, known: &[(InstanceId, ShapeId)]) -> Result<Sighting, CloudError> {
        self.take("instances").await;
        let seen = known.iter().map(|(instance, _)| (instance.clone(), InstanceState::Live)).collect();
        Ok(Sighting { seen, ..Sighting::default() })
    }

    async fn set_standby(&self, _shape: &ShapeId, _size: u32) -> Result<(), CloudError> {
        Ok(())
    }

    async fn zones(&self) -> Result<Vec<Zone>, CloudError> {
        self.take("zones").await;
        Ok(vec![Zone::new("a")])
    }

    async fn standby(&self) -> Result<Vec<Stock>, CloudError> {
        self.take("standby").await;
        Ok(Vec::new())
    }

    async fn spot_prices(&self) -> Result<Vec<SpotPrice>, CloudError> {
        Ok(Vec::new())
    }
}

impl Github for Slow {
    async fn mint(&self, _request: &MintRequest) -> Result<Minted, GithubError> {
        Err(GithubError::Rejected("a test".to_owned()))
    }

    async fn remove(&self, _runner: RunnerId) -> Result<Removal, GithubError> {
        Ok(Removal::Gone)
    }
}

struct Fleet {
    clock: Patient,
    store: Arc<MemoryStore>,
    slow: Arc<Slow>,
    scaler: Reconciler<MemoryStore, Slow, Slow, Patient>,
}

impl Fleet {
    fn with(machines: Vec<Machine>, launches: Vec<Launch>, takes: &[(&'static str, Duration)]) -> Fleet {
        let clock = Patient::new();
        let store = Arc::new(MemoryStore::default());
        write(&store, machines, launches);
        let slow = Arc::new(Slow {
            clock: clock.clone(),
            takes: Mutex::new(takes.iter().copied().collect()),
            begun: Mutex::default(),
            stubborn: Mutex::default(),
            silenced: Mutex::default(),
        });
        let scaler = Reconciler::new(store.clone(), slow.clone(), slow.clone(), clock.clone(), config(), Policy::Cold);
        Fleet { clock, store, slow, scaler }
    }

    /// One tick of a function that is called now; when it was over, counted from its call.
    fn tick(&mut self) -> (TickReport, Duration) {
        let began = self.clock.now();
        let report = self.clock.run(self.scaler.tick_until(began + CALL, &mut ())).unwrap();
        (report, self.clock.now().since(began))
    }
}

fn told(report: &TickReport, words: &str) -> bool {
    report.troubles.iter().any(|trouble| trouble.contains(words))
}

#[test]
fn looks_are_taken_side_by_side_and_a_hanging_one_is_given_up() {
    let hangs = [("zones", FOREVER), ("standby", FOREVER), ("instances", FOREVER)];
    let mut fleet = Fleet::with(vec![machine(&config(), 0, 1, START)], vec![], &hangs);
    let (report, took) = fleet.tick();
    assert_eq!(took, LOOK_MAX);
    for what in ["listing zones", "listing standby stock", "listing instances"] {
        assert!(told(&report, what), "{what}: {:?}", report.troubles);
    }
}

#[test]
fn a_tick_is_over_in_time_whatever_hangs_and_an_open_launch_stays_open() {
    let hangs = [("zones", FOREVER), ("standby", FOREVER), ("instances", FOREVER), ("launch", FOREVER)];
    let mut fleet = Fleet::with(vec![], vec![launch(&config(), 0, "open", START)], &hangs);
    let (report, took) = fleet.tick();
    assert!(took <= CALL - RECORD_WITHIN, "{took:?}");
    assert!(told(&report, "launch open"), "{:?}", report.troubles);
    assert_eq!(fleet.slow.begun("launch").len(), 1);
    assert_eq!(at_once(fleet.store.load()).unwrap().launches.len(), 1, "it counts, and is asked for again");
}

#[test]
fn nothing_is_begun_when_the_time_is_up() {
    let mut fleet = Fleet::with(vec![], vec![launch(&config(), 0, "open", START)], &[("zones", LOOK_MAX)]);
    let until = START + LOOK_MAX + BEGIN_WITH - Duration::from_secs(1);
    let report = fleet.clock.run(fleet.scaler.tick_until(until, &mut ())).unwrap();
    assert_eq!(fleet.slow.begun("launch"), [] as [Duration; 0], "{:?}", report.troubles);
    assert_eq!(at_once(fleet.store.load()).unwrap().launches.len(), 1);
}

/// A machine that never booted is ended while a launch waits for its answer.
#[test]
fn endings_do_not_wait_for_launches() {
    let (dead, later) = (machine(&config(), 0, 1, START), BOOT_MAX + Duration::from_secs(1));
    let open = launch(&config(), 0, "open", START + later);
    let mut fleet = Fleet::with(vec![dead], vec![], &[("launch", FOREVER)]);
    fleet.tick();
    write(&fleet.store, vec![], vec![open]);
    fleet.clock.set(START + later);
    fleet.clock.run(fleet.scaler.trust_only_if_latest()).unwrap();
    let (report, _) = fleet.tick();
    assert_eq!((fleet.slow.begun("terminate"), fleet.slow.begun("launch")), (vec![later], vec![later]));
    assert_eq!(report.steps.len(), 1, "{:?}", report.troubles);
}

#[test]
fn a_fleet_without_machines_is_listed_now_and_then() {
    let mut fleet = Fleet::with(vec![], vec![], &[]);
    let mut wakes = 0;
    while fleet.clock.now() < START + OBSERVE_IDLE_EVERY.mul_f64(2.5) {
        let (report, _) = fleet.tick();
        fleet.clock.set(report.wake_at.expect("it comes back by itself"));
        wakes += 1;
    }
    assert_eq!(fleet.slow.begun("instances").len(), 3);
    assert!(wakes <= 4, "an idle fleet is let be: {wakes}");
}

#[test]
fn machines_for_which_it_fails_do_not_keep_the_others_from_their_turn() {
    let many = u32::try_from(SILENCED_MAX).unwrap() + 5;
    let mut machines: Vec<Machine> = (1..=many).map(|n| machine(&config(), 0, n, START)).collect();
    for machine in &mut machines {
        for report in [Report::Claimed, Report::Registered(registration(machine))] {
            machine.hear(&MachineEvent { instance: machine.instance.clone(), session: 1, at: START, report });
        }
    }
    let first: Vec<InstanceId> = machines[..SILENCED_MAX].iter().map(|machine| machine.instance.clone()).collect();
    let last: Vec<InstanceId> = machines[SILENCED_MAX..].iter().map(|machine| machine.instance.clone()).collect();
    let mut fleet = Fleet::with(machines, vec![], &[]);
    *lock(&fleet.slow.stubborn) = first.clone();
    for second in 0..3 {
        fleet.clock.set(START + Duration::from_secs(second));
        fleet.tick();
    }
    let turns = lock(&fleet.slow.silenced).clone();
    assert_eq!(turns[0], first);
    assert_eq!(turns[1][..last.len()], last[..]);
    assert_eq!(turns[1].len(), SILENCED_MAX);
    assert!(last.iter().all(|done| !turns[2].contains(done)), "they are done");
}

/// A kill is ordered by the tick after GitHub's answer, and its agent thaws after 20 s.
#[test]
fn a_slow_launch_is_not_waited_for_longer_than_others_can_wait() {
    let mut fleet =
        Fleet::with(vec![], vec![launch(&config(), 0, "open", START)], &[("launch", Duration::from_secs(19))]);
    let (report, took) = fleet.tick();
    assert_eq!(took, execute::LAUNCH_WAIT, "{:?}", report.troubles);
    let wake = report.wake_at.expect("it is asked for again");
    fleet.clock.set(wake);
    fleet.tick();
    assert_eq!(fleet.slow.begun("launch"), [Duration::ZERO, took + ASK_AGAIN]);
}

#[test]
fn a_first_look_that_fails_is_repeated_soon() {
    let mut fleet = Fleet::with(vec![], vec![], &[("zones", FOREVER)]);
    fleet.tick();
    lock(&fleet.slow.takes).clear();
    let began = fleet.clock.now();
    fleet.clock.set(began + observe::LOOK_AGAIN);
    fleet.tick();
    assert_eq!(fleet.scaler.world().unwrap().zones().len(), 1);
}

#[test]
fn a_frozen_fleet_is_not_looked_at_where_looking_tidies_up() {
    let mut fleet = Fleet::with(vec![machine(&config(), 0, 1, START)], vec![], &[]);
    at_once(fleet.store.set_switch(Switch::Freeze)).unwrap();
    fleet.tick();
    assert_eq!((fleet.slow.begun("instances").len(), fleet.slow.begun("zones").len()), (0, 1));
}

/// Another scaler has written since the intent: a launch has its token, a raise has none.
#[test]
fn a_raise_is_not_begun_on_a_stale_commit() {
    for (origin, asked) in [(Origin::Cold, 1), (Origin::Standby, 0)] {
        let mut open = launch(&config(), 0, "open", START);
        open.purpose.origin = origin;
        let mut fleet = Fleet::with(vec![], vec![open], &[("zones", Duration::from_secs(6))]);
        fleet.tick();
        assert_eq!(fleet.slow.begun("launch").len(), asked, "{origin:?}");
        assert_eq!(at_once(fleet.store.load()).unwrap().launches.len(), 1 - asked);
    }
}
