//! The recorded deliveries in every order, in memory: the door's logic, the store and the tick, without process and socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use muster::clock::VirtualClock;
use muster::drivers::catalog::ConfigCatalog;
use muster::reconcile::{Reconciler, TickReport};
use muster_core::config::FleetConfig;
use muster_core::job::{JobPhase, JobRecord};
use muster_core::plan::{Action, Policy};
use muster_core::time::Timestamp;
use muster_sim::{Settings, SharedUniverse, SimCloud, SimGithub, Universe};
use muster_store::{MemoryOptions, MemoryStore, Upkeep};
use muster_tests::{Recorded, recorded, sign};
use muster_webhook::bell::NotifyBell;
use muster_webhook::delivery::DeliveryHeaders;
use muster_webhook::signature::{Secrets, SignatureHeader};
use muster_webhook::webhook::Outcome;
use muster_webhook::{LiveConfig, Webhooks};

use crate::fleet::{SECRET, SERVES_RECORDED};

/// The job that four of the recorded deliveries are about.
pub(crate) const OFTEN: i64 = 289_782_451;
const WAITS: i64 = 12_877_621_891;
const SHUFFLES: usize = 200;

/// All orders of `0..count`.
pub(crate) fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(count - 1);
    let insert = |shorter: &Vec<usize>, place: usize| {
        let mut longer = shorter.clone();
        longer.insert(place, count - 1);
        longer
    };
    shorter.iter().flat_map(|shorter| (0..count).map(move |place| insert(shorter, place))).collect()
}

/// Chance that is the same in every run (xorshift).
pub(crate) struct Shuffle(u64);

impl Shuffle {
    pub(crate) fn new(seed: u64) -> Shuffle {
        Shuffle(seed.max(1))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }

    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }

    /// `count` distinct places below `bound`, in order.
    pub(crate) fn places(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut places = BTreeSet::new();
        while places.len() < count {
            places.insert(self.below(bound));
        }
        places.into_iter().collect()
    }
}

/// A scaler and its ledger, and nothing that waits.
struct Bench {
    store: Arc<MemoryStore>,
    clock: VirtualClock,
    scaler: Reconciler<MemoryStore, SimCloud, SimGithub, VirtualClock>,
    config: Arc<FleetConfig>,
}

fn start() -> Timestamp {
    Timestamp::parse("2026-11-22T10:00:00Z").unwrap()
}

impl Bench {
    fn new(config: &Arc<FleetConfig>) -> Bench {
        let store = Arc::new(MemoryStore::new(MemoryOptions { keep_history: true, ..MemoryOptions::default() }));
        let settings = Settings { start: start(), ..Settings::default() };
        let universe = SharedUniverse::new(Universe::new(settings, std::iter::empty(), ConfigCatalog(config.clone())));
        let clock = VirtualClock::at(start());
        let (cloud, github) = (Arc::new(universe.cloud()), Arc::new(universe.github()));
        let scaler = Reconciler::new(store.clone(), cloud, github, clock.clone(), config.clone(), Policy::Target);
        Bench { store, clock, scaler, config: config.clone() }
    }

    fn door(&self) -> Webhooks<MemoryStore, VirtualClock> {
        let secrets = Arc::new(Secrets::new(&[SECRET]).unwrap());
        let live = Arc::new(LiveConfig::from_arc(self.config.clone()));
        let bell = Arc::new(NotifyBell::default());
        Webhooks::new(self.store.clone(), Arc::new(self.clock.clone()), secrets, live, bell)
    }

    fn tick(&mut self) -> TickReport {
        let report = self.scaler.tick(&mut ()).now_or_never().expect("ready at once").unwrap();
        assert!(report.violations.is_empty() && report.set_aside == 0, "{report:?}");
        for step in &report.steps {
            if let Action::Launch(launch) = &step.action {
                assert_ne!(launch.purpose.pool.as_str(), "k8s", "a job that waits is no demand");
            }
        }
        report
    }

    fn check(&self, order: &[usize]) {
        let ledger = self.store.ledger().now_or_never().expect("ready at once").unwrap();
        let told: BTreeMap<i64, (JobPhase, Option<String>)> =
            ledger.iter().map(|record| (record.key.job.0, (record.phase(), conclusion(record)))).collect();
        let failure = Some("failure".to_owned());
        let expected = BTreeMap::from([
            (OFTEN, (JobPhase::Completed, failure)),
            (14_541_957_942, (JobPhase::Running, None)),
            (2_832_853_555, (JobPhase::Running, None)),
            (WAITS, (JobPhase::Waiting, None)),
        ]);
        assert_eq!(told, expected, "{order:?}");
        let world = self.scaler.world().unwrap();
        for (class, state) in world.classes() {
            assert!(state.queued.is_empty(), "{order:?}: {class} still has demand");
        }
    }
}

fn conclusion(record: &JobRecord) -> Option<String> {
    Some(record.completed.as_ref()?.conclusion.to_string())
}

fn config() -> Arc<FleetConfig> {
    Arc::new(FleetConfig::parse("test", SERVES_RECORDED).config.unwrap())
}

/// The recorded deliveries about jobs, with their signatures.
fn signed() -> Vec<(Recorded, String)> {
    let jobs = recorded().into_iter().filter(|one| one.event == "workflow_job");
    jobs.map(|one| (one.clone(), sign(SECRET.as_bytes(), one.body.as_bytes()))).collect()
}

/// When the scaler ticks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ticks {
    AfterEach,
    AtTheEnd,
}

/// Takes the deliveries in through the door's logic.
fn go_through(order: &[usize], jobs: &[(Recorded, String)], config: &Arc<FleetConfig>, ticks: Ticks) {
    let mut bench = Bench::new(config);
    let door = bench.door();
    for (second, which) in order.iter().enumerate() {
        bench.clock.set(start() + Duration::from_secs(second as u64 + 1));
        let (delivery, signature) = &jobs[*which];
        let headers = DeliveryHeaders {
            signature: SignatureHeader::Sha256(signature.as_bytes()),
            event: Some(delivery.event),
            delivery: None,
            form_encoded: false,
        };
        let outcome = door.receive(&headers, delivery.body.as_bytes()).now_or_never().expect("ready at once").unwrap();
        let Outcome::Stored(stored) = outcome else { panic!("{outcome:?}") };
        assert!(stored.resolution.class().is_some(), "{}: {:?}", delivery.name, stored.resolution);
        if ticks == Ticks::AfterEach {
            bench.tick();
        }
    }
    if ticks == Ticks::AtTheEnd {
        let report = bench.tick();
        assert!(report.steps.is_empty(), "{order:?}: nothing of this is demand: {:?}", report.steps);
    }
    bench.check(order);
}

#[test]
fn all_40320_orders_end_in_the_same_ledger() {
    let (jobs, config) = (signed(), config());
    let orders = permutations(jobs.len());
    assert_eq!(orders.len(), 40_320);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in orders.chunks(orders.len().div_ceil(threads)) {
            let (jobs, config) = (&jobs, &config);
            scope.spawn(move || part.iter().for_each(|order| go_through(order, jobs, config, Ticks::AtTheEnd)));
        }
    });
}

/// What the scaler does in between must not matter either: it may have launched for a job that is over by now.
#[test]
fn so_do_orders_with_a_tick_after_each_delivery() {
    let (jobs, config) = (signed(), config());
    let of = |job: i64| -> Vec<usize> {
        (0..jobs.len()).filter(|which| jobs[*which].0.body.contains(&job.to_string())).collect()
    };
    let (often, waits) = (of(OFTEN), of(WAITS));
    assert_eq!((jobs.len(), often.len(), waits.len()), (8, 4, 2));
    let rest: Vec<usize> = (0..jobs.len()).filter(|which| !often.contains(which) && !waits.contains(which)).collect();
    let mut orders: Vec<Vec<usize>> = Vec::new();
    for four in permutations(4) {
        for two in permutations(2) {
            let four = four.iter().map(|index| often[*index]);
            orders.push(four.chain(two.iter().map(|index| waits[*index])).chain(rest.iter().copied()).collect());
        }
    }
    let mut shuffle = Shuffle::new(40_320);
    for _ in 0..SHUFFLES {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        shuffle.shuffle(&mut order);
        orders.push(order);
    }
    for order in &orders {
        go_through(order, &jobs, &config, Ticks::AfterEach);
    }
}
