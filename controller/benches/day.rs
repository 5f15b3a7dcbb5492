//! A simulated day whose calls go over the wire: the production scaler, registrar and door in virtual time, the ledger in
//! DynamoDB, and whatever the simulated cloud is asked is asked of `AwsCloud` as well. Then an hour of an empty fleet.
//!
//! What lives here: the day. What may not: the counting, which is done at the wire (`tests/bench/calls.py` starts this with
//! emulators around it, and says when to go on).
//!
//! When machines come, claim, run jobs and end is the simulated world's; AWS's answers are held against its, and what
//! differs is told at the end.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use muster::clock::VirtualClock;
use muster::drivers::simulate::{Asked, Echo, Healing, Scenario, Simulation};
use muster::reconcile::{Probe, Reconciler, Step, TickError};
use muster_aws::{AwsCloud, DynamoLedger, SdkConfig, Stack};
use muster_core::claim::ClaimRow;
use muster_core::config::FleetConfig;
use muster_core::fact::Fact;
use muster_core::ids::{Generation, InstanceId, JobId, JobKey, ShapeId, Zone};
use muster_core::job::JobRecord;
use muster_core::machine::Machine;
use muster_core::plan::Policy;
use muster_core::ports::{Batch, Cloud, NewFact, Put, Snapshot, Store, StoreError, Switch};
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;
use muster_sim::{Cut, ListenerFaults, Profile, START, Trace, WebhookFaults, ZONES};
use muster_webhook::clock::Clock;
use serde_json::json;
use tokio::runtime::Runtime;

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
/// Of the idle hour.
const MINUTES: u32 = 60;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: `bash tests/bench/calls` starts this"))
}

/// The ledger over the wire, ready at once: virtual time stands still meanwhile. It counts what comes in.
struct Blocking {
    ledger: DynamoLedger,
    runtime: Arc<Runtime>,
    facts: AtomicUsize,
    claims: AtomicUsize,
    minted: AtomicUsize,
}

impl Blocking {
    fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    fn count(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Store for Blocking {
    async fn put_fact(&self, fact: &Fact) -> Result<Put, StoreError> {
        self.count(&self.facts);
        self.wait(self.ledger.put_fact(fact))
    }
    async fn new_facts(&self, max: usize) -> Result<Vec<NewFact>, StoreError> {
        self.wait(self.ledger.new_facts(max))
    }
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.wait(self.ledger.load())
    }
    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<JobRecord>, StoreError> {
        self.wait(self.ledger.jobs(keys))
    }
    async fn commit(&self, batch: &Batch, expected: Generation) -> Result<Generation, StoreError> {
        self.wait(self.ledger.commit(batch, expected))
    }
    async fn generation(&self) -> Result<Generation, StoreError> {
        self.wait(self.ledger.generation())
    }
    async fn switch(&self) -> Result<Switch, StoreError> {
        self.wait(self.ledger.switch())
    }
    async fn set_switch(&self, switch: Switch) -> Result<(), StoreError> {
        self.wait(self.ledger.set_switch(switch))
    }
    async fn machine(&self, instance: &InstanceId) -> Result<Option<Machine>, StoreError> {
        self.wait(self.ledger.machine(instance))
    }
    async fn claim(&self, instance: &InstanceId) -> Result<Option<ClaimRow>, StoreError> {
        self.wait(self.ledger.claim(instance))
    }
    async fn put_claim(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        self.count(&self.claims);
        self.wait(self.ledger.put_claim(row))
    }
    async fn attach_config(&self, row: &ClaimRow) -> Result<bool, StoreError> {
        self.count(&self.minted);
        self.wait(self.ledger.attach_config(row))
    }
    async fn drop_config(&self, instance: &InstanceId, session: u32) -> Result<(), StoreError> {
        self.wait(self.ledger.drop_config(instance, session))
    }
    async fn unminted(&self) -> Result<Vec<ClaimRow>, StoreError> {
        self.wait(self.ledger.unminted())
    }
    async fn order(&self, instance: &InstanceId) -> Result<Option<Numbered>, StoreError> {
        self.wait(self.ledger.order(instance))
    }
    async fn touch_lease(&self, instance: &InstanceId, at: Timestamp) -> Result<(), StoreError> {
        self.wait(self.ledger.touch_lease(instance, at))
    }
    async fn use_once(&self, key: &str, until: Timestamp) -> Result<bool, StoreError> {
        self.wait(self.ledger.use_once(key, until))
    }
    async fn config(&self) -> Result<Option<String>, StoreError> {
        self.wait(self.ledger.config())
    }
    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        self.wait(self.ledger.put_config(text))
    }
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.wait(self.ledger.note(name))
    }
    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.wait(self.ledger.put_note(name, text))
    }
    async fn history(&self, job: JobId) -> Result<Vec<Fact>, StoreError> {
        self.wait(self.ledger.history(job))
    }
}

/// AWS's side of the simulated cloud: the same questions, about instances of its own.
struct Aws {
    cloud: AwsCloud,
    runtime: Arc<Runtime>,
    clock: Arc<OnceLock<VirtualClock>>,
    emulation: String,
    http: reqwest::Client,
    zones: Vec<Zone>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// AWS's instance for each of the simulated world's.
    instances: BTreeMap<InstanceId, InstanceId>,
    /// How far the emulation's clock is.
    at: Option<Timestamp>,
    /// Where the two clouds differ.
    differ: Vec<String>,
}

impl Aws {
    /// Lets the emulation's time go on to ours.
    fn catch_up(&self, state: &mut State) {
        let now = time(&self.clock);
        let seconds = now.since(state.at.unwrap_or(START)).as_secs_f64();
        state.at = Some(now);
        if seconds > 0.0 {
            let url = format!("{}/_emulation/advance", self.emulation);
            let sent = self.http.post(url).json(&json!({ "seconds": seconds })).send();
            self.runtime.block_on(sent).unwrap().error_for_status().unwrap();
        }
    }
}

impl Echo for Aws {
    fn asked(&self, what: &Asked<'_>) {
        let mut state = self.state.lock().unwrap();
        self.catch_up(&mut state);
        let there = |of: &[(InstanceId, ShapeId)]| -> Vec<(InstanceId, ShapeId)> {
            let known = &state.instances;
            of.iter().filter_map(|(instance, shape)| Some((known.get(instance)?.clone(), shape.clone()))).collect()
        };
        let wrong = match what {
            Asked::Launch { launch, known, reply } => {
                let mut same = (*launch).clone();
                let zone = ZONES.iter().position(|name| *name == launch.purpose.zone.as_str()).unwrap();
                same.purpose.zone = self.zones[zone % self.zones.len()].clone();
                let known: Vec<_> =
                    known.iter().filter_map(|instance| state.instances.get(instance).cloned()).collect();
                let answer = self.runtime.block_on(self.cloud.launch(&same, &known));
                match (&answer, reply) {
                    (Ok(aws), Ok(simulated)) if aws.instances.len() == simulated.instances.len() => {
                        let pairs = simulated.instances.iter().cloned().zip(aws.instances.iter().cloned());
                        state.instances.extend(pairs);
                        None
                    }
                    _ => Some(format!("launch {}: {answer:?}, simulated: {reply:?}", launch.id)),
                }
            }
            Asked::Terminate(of) => {
                let ended = self.runtime.block_on(self.cloud.terminate(&there(of)));
                match ended {
                    Ok(ended) if ended.failed.is_empty() => None,
                    other => Some(format!("terminate: {other:?}")),
                }
            }
            Asked::Silence(of) => failed("silence", self.runtime.block_on(self.cloud.silence(&there(of)))),
            Asked::Release(of) => failed("release", self.runtime.block_on(self.cloud.release(&there(of)))),
            Asked::Instances(of) => match self.runtime.block_on(self.cloud.instances(&there(of))) {
                Ok(sighting) if sighting.troubles.is_empty() && sighting.absent.is_empty() => None,
                other => Some(format!("instances: {other:?}")),
            },
            Asked::SetStandby(shape, size) => failed(
                "standby",
                self.runtime.block_on(self.cloud.set_standby(shape, *size)).map(|()| Vec::<()>::new()),
            ),
            Asked::Zones => failed("zones", self.runtime.block_on(self.cloud.zones()).map(|_| Vec::<()>::new())),
            Asked::SpotPrices => {
                failed("prices", self.runtime.block_on(self.cloud.spot_prices()).map(|_| Vec::<()>::new()))
            }
            Asked::Standby => failed("standby", self.runtime.block_on(self.cloud.standby()).map(|_| Vec::<()>::new())),
        };
        state.differ.extend(wrong.map(|wrong| format!("{} {wrong}", time(&self.clock))));
    }
}

fn failed<T: std::fmt::Debug, E: std::fmt::Debug>(what: &str, answer: Result<Vec<T>, E>) -> Option<String> {
    match answer {
        Ok(failed) if failed.is_empty() => None,
        other => Some(format!("{what}: {other:?}")),
    }
}

fn time(clock: &OnceLock<VirtualClock>) -> Timestamp {
    clock.get().map_or(START, Clock::now)
}

/// A clock that is moved by hand, while an answer of the wire is waited for on the wall's.
#[derive(Clone)]
struct ByHand(VirtualClock);

impl Clock for ByHand {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// Counts ticks.
struct Ticks(usize);

impl Probe for Ticks {
    fn reached(&mut self, step: Step) -> Result<(), TickError> {
        self.0 += usize::from(step == Step::Loaded);
        Ok(())
    }
}

/// Says what was done, and waits until somebody has counted.
fn pause(told: &serde_json::Value) {
    println!("{told}");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

fn ledger(sdk: &SdkConfig, runtime: &Arc<Runtime>, table: &str) -> Arc<Blocking> {
    let opened = runtime.block_on(DynamoLedger::open(muster_aws::dynamo(sdk), table, "0badcafe")).unwrap();
    Arc::new(Blocking {
        ledger: opened,
        runtime: runtime.clone(),
        facts: AtomicUsize::new(0),
        claims: AtomicUsize::new(0),
        minted: AtomicUsize::new(0),
    })
}

fn main() {
    let runtime = Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let sdk = runtime.block_on(muster_aws::aws_config(None));
    let path = PathBuf::from(variable("MUSTER_BENCH_CONFIG"));
    let parsed = FleetConfig::parse("muster.toml", &std::fs::read_to_string(path).unwrap());
    let config = Arc::new(parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors)));
    let stack = Stack::read(|name| std::env::var(name).ok());
    let clock: Arc<OnceLock<VirtualClock>> = Arc::default();
    let cloud = |clock: &Arc<OnceLock<VirtualClock>>| {
        let (config, clock) = (config.clone(), clock.clone());
        AwsCloud::new(sdk.clone(), stack.clone(), Arc::new(move || config.clone()), Arc::new(move || time(&clock)))
    };
    let zones = runtime.block_on(cloud(&clock).zones()).unwrap();
    let aws = Arc::new(Aws {
        cloud: cloud(&clock),
        runtime: runtime.clone(),
        clock: clock.clone(),
        emulation: variable("MUSTER_BENCH_EMULATION"),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        zones,
        state: Mutex::default(),
    });
    pause(&json!({ "phase": "ready" }));

    let day: u64 = variable("MUSTER_BENCH_DAY").parse().unwrap();
    let from = DAY * u32::try_from(day).unwrap();
    let hours: u64 = variable("MUSTER_BENCH_HOURS").parse().unwrap();
    let scenario = Scenario {
        trace: Trace::file(variable("MUSTER_BENCH_TRACE")),
        cut: Cut::window(from, from + Duration::from_secs(3_600 * hours)),
        config: config.clone(),
        policy: Policy::Target,
        policy_word: "target".to_owned(),
        seed: 1,
        profile: Profile::default(),
        lose_answers: false,
        webhooks: WebhookFaults::default(),
        listeners: ListenerFaults::default(),
        healing: Healing::default(),
        forget_tokens: false,
    };
    let store = ledger(&sdk, &runtime, &variable("MUSTER_BENCH_TABLE"));
    let mut simulation = Simulation::heard_by(scenario, store.clone(), Some(aws.clone())).unwrap();
    clock.set(simulation.clock().clone()).unwrap();
    let mut ticks = Ticks(0);
    let summary = simulation.run(&mut ticks, &mut ()).unwrap();
    let counted = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let state = aws.state.lock().unwrap();
    pause(&json!({
        "phase": "day",
        "hours": time(&clock).since(START).as_secs_f64() / 3_600.0,
        "jobs": summary.jobs,
        "launches": summary.launches,
        "github_requests": summary.github_requests,
        "violations": summary.violations,
        "ticks": ticks.0,
        "facts": counted(&store.facts),
        "claims": counted(&store.claims),
        "minted": counted(&store.minted),
        "instances": state.instances.len(),
        "differ": state.differ,
    }));
    drop(state);

    // An hour of a fleet without machines and jobs, in a process that has just started: a tick each minute.
    let hour = VirtualClock::at(time(&clock));
    let cloud = Arc::new(cloud(&Arc::new(OnceLock::from(hour.clone()))));
    let table = variable("MUSTER_BENCH_IDLE_TABLE");
    let idle = runtime.block_on(DynamoLedger::open(muster_aws::dynamo(&sdk), &table, "0badcaff")).unwrap();
    let github = Arc::new(simulation.universe().github());
    let mut scaler = Reconciler::new(Arc::new(idle), cloud, github, ByHand(hour.clone()), config, Policy::Cold);
    runtime.block_on(async {
        for _ in 0..MINUTES {
            scaler.trust_only_if_latest().await.unwrap();
            let report = scaler.tick(&mut ()).await.unwrap();
            assert!(report.steps.is_empty(), "{report:?}");
            hour.set(hour.now() + MINUTE);
        }
    });
    pause(&json!({ "phase": "idle", "ticks": MINUTES }));
}
