//! What a whole tick costs, with up to 1,000 classes, 100,000 queued jobs and 100,000 runners: merge of what is new, plan,
//! check, commits on the ledger in memory, effects on a cloud that answers at once.
//!
//! Half of the classes have work; the fleet is at its cap, so that repositories take turns and everything else waits. In
//! every tick some machines end, as many are launched in their place, and jobs come, start and go: the world stays as it
//! is, and no tick is empty.

#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use muster::clock::VirtualClock;
use muster::reconcile::Reconciler;
use muster_core::config::{Class, FleetConfig};
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{Generation, InstanceId, JobId, JobKey, LaunchId, RunId, RunnerId, ShapeId, Zone};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, JobRecord, RunnerRef, Started};
use muster_core::launch::{Launch, LaunchReply};
use muster_core::machine::{Machine, MachineEvent, Origin, Purpose, Registration, Removal, Report, runner_name};
use muster_core::money::HourlyPrice;
use muster_core::plan::Policy;
use muster_core::ports::{
    Batch, Cloud, CloudError, Ended, Github, GithubError, MintRequest, Minted, Sighting, SpotPrice, Stock, Store,
    StoreError,
};
use muster_core::time::Timestamp;
use muster_store::MemoryStore;

const NOW: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);
const SIZES: usize = 5;
/// Machines that end, machines that start and jobs that come and go in one tick, at full size. A smaller world has fewer.
const TURNOVER: usize = 100;

#[derive(Clone, Copy)]
struct Scale {
    classes: usize,
    jobs: usize,
    runners: usize,
}

fn configuration(scale: Scale) -> FleetConfig {
    let mut text = format!(
        "[github]\norganization = \"acme\"\nwebhook_secrets = [\"env:S\"]\n[fleet]\nmax_runners = {}\n",
        scale.runners
    );
    for pool in 0..scale.classes / SIZES {
        text.push_str(&format!(
            "[[pool]]\nname = \"pool-{pool}\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"self-hosted\", \"pool-{pool}\"]\n\
             default_size = \"size-0\"\npriority = {}\n",
            pool % 3
        ));
        for size in 0..SIZES {
            let price = 0.1 * (size + 1) as f64;
            text.push_str(&format!(
                "[pool.sizes.size-{size}]\nvcpus = {}\nmemory_gib = {}\nusd_per_hour = {{ on-demand = {price} }}\n",
                size + 1,
                pool + 1
            ));
        }
    }
    let parsed = FleetConfig::parse("muster.toml", &text);
    parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors))
}

/// A cloud that has everything and answers at once, and remembers what it was asked to launch.
#[derive(Default)]
struct Ready {
    launched: Mutex<(u64, Vec<(InstanceId, Purpose)>)>,
}

impl Cloud for Ready {
    async fn launch(&self, launch: &Launch, _known: &[InstanceId]) -> Result<LaunchReply, CloudError> {
        let mut launched = self.launched.lock().unwrap();
        let mut instances = Vec::new();
        for _ in 0..launch.count {
            launched.0 += 1;
            let instance = InstanceId::new(format!("i-f{:08x}", launched.0));
            launched.1.push((instance.clone(), launch.purpose.clone()));
            instances.push(instance);
        }
        Ok(LaunchReply { instances, error: None })
    }
    async fn release(&self, _instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        Ok(Vec::new())
    }
    async fn terminate(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Ended, CloudError> {
        Ok(Ended { gone: instances.iter().map(|(instance, _)| instance.clone()).collect(), failed: Vec::new() })
    }
    async fn silence(&self, _instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        Ok(Vec::new())
    }
    async fn instances(&self, known: &[(InstanceId, ShapeId)]) -> Result<Sighting, CloudError> {
        let absent = known.iter().map(|(instance, _)| instance.clone()).collect();
        Ok(Sighting { absent, ..Sighting::default() })
    }
    async fn set_standby(&self, _shape: &ShapeId, _size: u32) -> Result<(), CloudError> {
        Ok(())
    }
    async fn zones(&self) -> Result<Vec<Zone>, CloudError> {
        Ok(["a", "b", "c"].map(Zone::new).to_vec())
    }
    async fn standby(&self) -> Result<Vec<Stock>, CloudError> {
        Ok(Vec::new())
    }
    async fn spot_prices(&self) -> Result<Vec<SpotPrice>, CloudError> {
        Ok(Vec::new())
    }
}

impl Github for Ready {
    async fn mint(&self, _request: &MintRequest) -> Result<Minted, GithubError> {
        Err(GithubError::Rejected("nobody mints here".to_owned()))
    }
    async fn remove(&self, _runner: RunnerId) -> Result<Removal, GithubError> {
        Ok(Removal::Gone)
    }
}

fn ago(seconds: usize) -> Timestamp {
    NOW - Duration::from_secs(seconds as u64)
}

fn about(class: &Class, n: i64) -> JobAbout {
    JobAbout {
        run: RunId(1),
        repository: Arc::from(format!("acme/repository-{}", n % 500)),
        public: false,
        labels: class.labels.clone(),
        workflow: None,
        name: None,
    }
}

fn key(n: i64) -> JobKey {
    JobKey { job: JobId(n), attempt: 1 }
}

fn machine(class: &Class, n: usize) -> Machine {
    let shape = &class.shapes[0];
    let purpose = Purpose {
        pool: class.pool.clone(),
        class: class.id.clone(),
        shape: shape.id.clone(),
        account: shape.account.clone(),
        zone: Zone::new(["a", "b", "c"][n % 3]),
        market: shape.market,
        origin: Origin::Cold,
        price: HourlyPrice::from_usd(shape.usd_per_hour.unwrap_or(0.0)),
    };
    let launch = Launch {
        id: LaunchId::new("before"),
        purpose,
        count: 1,
        may_register: true,
        intended_at: ago(400),
        reason: "".into(),
    };
    Machine::launched(InstanceId::new(format!("i-{n:08x}")), &launch, ago(300 + n % 100))
}

fn registration(pool: &muster_core::ids::PoolName, instance: &InstanceId) -> Registration {
    Registration { id: RunnerId(1), name: runner_name(pool, instance, "s1") }
}

/// A ledger, its scaler, and what goes on around them.
struct Bench {
    store: Arc<MemoryStore>,
    cloud: Arc<Ready>,
    scaler: Reconciler<MemoryStore, Ready, Ready, VirtualClock>,
    classes: Vec<Arc<Class>>,
    turnover: usize,
    /// Machines with their jobs, the oldest first.
    busy: VecDeque<(InstanceId, Arc<Class>, i64)>,
    /// Queued jobs, the oldest first.
    queued: VecDeque<(i64, Arc<Class>)>,
    next_job: i64,
}

impl Bench {
    fn new(scale: Scale) -> Bench {
        let config = Arc::new(configuration(scale));
        let store = Arc::new(MemoryStore::default());
        let cloud = Arc::new(Ready::default());
        let clock = VirtualClock::at(NOW);
        let scaler =
            Reconciler::new(store.clone(), cloud.clone(), cloud.clone(), clock, config.clone(), Policy::Target);
        let classes: Vec<Arc<Class>> = config.classes().iter().step_by(2).cloned().collect();
        let turnover = (TURNOVER * scale.runners / 100_000).max(1);
        let mut bench = Bench {
            store,
            cloud,
            scaler,
            classes,
            turnover,
            busy: VecDeque::new(),
            queued: VecDeque::new(),
            next_job: 1,
        };
        bench.fill(scale);
        // The first ticks load the ledger and settle what the made-up world leaves open.
        for _ in 0..5 {
            bench.happen();
            bench.tick();
        }
        bench
    }

    /// Of ten machines eight are busy, one boots, one is claimed.
    fn fill(&mut self, scale: Scale) {
        let mut batch = Batch::default();
        for n in 0..scale.runners {
            let class = self.classes[n % self.classes.len()].clone();
            let mut machine = machine(&class, n);
            let registration = registration(&class.pool, &machine.instance);
            let story = [Report::Claimed, Report::Registered(registration.clone()), Report::Listening, Report::Busy];
            let told = [4, 4, 4, 4, 4, 4, 4, 4, 1, 0][n % 10];
            for (step, report) in story.into_iter().take(told).enumerate() {
                let at = ago(200 - 10 * step);
                machine.hear(&MachineEvent { instance: machine.instance.clone(), session: 1, at, report });
            }
            if told == 4 {
                let job = self.next_job;
                self.next_job += 1;
                machine.job = Some(key(job));
                batch.jobs.push(JobRecord::from_event(&in_progress(&class, job, &registration), NOW));
                self.busy.push_back((machine.instance.clone(), class, job));
            }
            batch.machines.push(machine);
        }
        for n in 0..scale.jobs {
            let class = self.classes[n * 7 % self.classes.len()].clone();
            let job = self.next_job;
            self.next_job += 1;
            batch.jobs.push(JobRecord::from_event(&queued(&class, job), NOW));
            self.queued.push_back((job, class));
        }
        self.wait(self.store.commit(&batch, Generation::default()));
    }

    fn wait<T>(&self, future: impl Future<Output = Result<T, StoreError>>) -> T {
        future.now_or_never().unwrap().unwrap()
    }

    fn put(&self, body: FactBody) {
        self.wait(self.store.put_fact(&Fact { received_at: NOW, body }));
    }

    fn say(&self, instance: &InstanceId, report: Report) {
        self.put(FactBody::Machine(MachineEvent { instance: instance.clone(), session: 1, at: NOW, report }));
    }

    /// What is new since the last tick.
    fn happen(&mut self) {
        let launched = std::mem::take(&mut self.cloud.launched.lock().unwrap().1);
        for (instance, purpose) in launched {
            let class = self.classes.iter().find(|class| class.id == purpose.class).unwrap().clone();
            let registration = registration(&purpose.pool, &instance);
            self.say(&instance, Report::Claimed);
            self.say(&instance, Report::Registered(registration.clone()));
            self.say(&instance, Report::Listening);
            self.say(&instance, Report::Busy);
            // It takes the oldest job of its class.
            let oldest = self.queued.iter().position(|(_, of)| of.id == class.id);
            if let Some((job, _)) = oldest.and_then(|oldest| self.queued.remove(oldest)) {
                self.put(FactBody::Job(in_progress(&class, job, &registration)));
                self.busy.push_back((instance, class, job));
            }
        }
        for _ in 0..self.turnover {
            let Some((instance, class, job)) = self.busy.pop_front() else { break };
            self.say(&instance, Report::Done { ran_job: true });
            let evidence = JobEvidence::Completed(Completed {
                completed_at: NOW,
                conclusion: Conclusion::Success,
                started_at: None,
                runner: None,
            });
            self.put(FactBody::Job(JobEvent { key: key(job), about: about(&class, job), evidence }));
            let class = self.classes[usize::try_from(self.next_job).unwrap() * 7 % self.classes.len()].clone();
            self.put(FactBody::Job(queued(&class, self.next_job)));
            self.queued.push_back((self.next_job, class));
            self.next_job += 1;
        }
    }

    fn tick(&mut self) -> usize {
        let report = self.scaler.tick(&mut ()).now_or_never().unwrap().unwrap();
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        report.steps.len()
    }
}

fn queued(class: &Class, n: i64) -> JobEvent {
    let created = ago(usize::try_from(n).unwrap() % 900);
    let evidence = JobEvidence::Queued { created_at: Some(created), approved_at: None };
    JobEvent { key: key(n), about: about(class, n), evidence }
}

fn in_progress(class: &Class, n: i64, registration: &Registration) -> JobEvent {
    let runner = RunnerRef { id: Some(registration.id), name: registration.name.clone() };
    let evidence = JobEvidence::InProgress(Started { started_at: ago(150), runner: Some(runner) });
    JobEvent { key: key(n), about: about(class, n), evidence }
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("tick");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    for part in [100, 10, 1] {
        let scale = Scale { classes: 1_000 / part, jobs: 100_000 / part, runners: 100_000 / part };
        let mut bench = Bench::new(scale);
        group.bench_function(BenchmarkId::from_parameter(format!("1/{part}")), |b| {
            b.iter_custom(|ticks| {
                let mut spent = Duration::ZERO;
                for _ in 0..ticks {
                    bench.happen();
                    let began = Instant::now();
                    let steps = bench.tick();
                    spent += began.elapsed();
                    assert!(steps > 0, "an empty tick");
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(tick, benches);
criterion_main!(tick);
