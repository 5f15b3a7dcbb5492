//! What one plan and its check cost, with up to 1,000 classes, 100,000 queued jobs and 100,000 runners.
//!
//! Half of the classes have work; machines are in every phase, offerings in one of three zones are on hold. Three worlds:
//! without a cap, with a budget that has room for a quarter of what is short (repositories take turns), and with the fleet
//! at its cap (everything waits, idle machines elsewhere make room).

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use muster_core::check::check;
use muster_core::config::{Class, FleetConfig};
use muster_core::ids::{Generation, InstanceId, JobId, JobKey, LaunchId, RunId, RunnerId, Zone};
use muster_core::job::{JobAbout, JobEvent, JobEvidence, JobRecord};
use muster_core::launch::{Hold, Launch, LaunchErrorKind, Offering};
use muster_core::machine::{Machine, MachineEvent, Origin, Purpose, Registration, Report, runner_name};
use muster_core::money::HourlyPrice;
use muster_core::plan::{Action, Plan, Policy, Step, plan};
use muster_core::ports::Snapshot;
use muster_core::time::Timestamp;
use muster_core::world::World;

const NOW: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);
const ZONES: [&str; 3] = ["a", "b", "c"];
const SIZES: usize = 5;
const MARKETS: [&str; 2] = ["spot-then-on-demand", "on-demand"];

#[derive(Clone, Copy)]
enum Cap {
    None,
    Turns,
    Full,
}

struct Scale {
    classes: usize,
    jobs: usize,
    runners: usize,
}

fn configuration(scale: &Scale, cap: Cap) -> FleetConfig {
    let mut text = String::from(
        "[github]\norganization = \"acme\"\nwebhook_secrets = [\"env:S\"]\n[[github.app]]\nid = 1\nprivate_key = \"env:K\"\n",
    );
    text.push_str(&match cap {
        Cap::None => "[fleet]\n".to_owned(),
        // A machine costs 0.1 to 0.5 USD. What runs is 0.3 each.
        Cap::Turns => format!("[fleet]\nbudget_usd_per_hour = {}\n", 0.3 * scale.runners as f64 * 1.2),
        Cap::Full => format!("[fleet]\nmax_runners = {}\n", scale.runners),
    });
    for pool in 0..scale.classes / (SIZES * MARKETS.len()) {
        text.push_str(&format!(
            "[[pool]]\nname = \"pool-{pool}\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"self-hosted\", \"pool-{pool}\"]\n\
             markets = [\"spot-then-on-demand\", \"on-demand\"]\ndefault_market = \"on-demand\"\ndefault_size = \"size-0\"\n\
             priority = {}\nidle = {{ min = 2, max = 20 }}\n",
            pool % 3
        ));
        for size in 0..SIZES {
            let price = 0.1 * (size + 1) as f64;
            text.push_str(&format!(
                "[pool.sizes.size-{size}]\nvcpus = {}\nmemory_gib = {}\nusd_per_hour = {{ on-demand = {price}, spot = {price} }}\n",
                size + 1,
                pool + 1
            ));
        }
    }
    let parsed = FleetConfig::parse("muster.toml", &text);
    parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors))
}

fn ago(seconds: usize) -> Timestamp {
    NOW - Duration::from_secs(seconds as u64)
}

fn purpose(class: &Class, n: usize) -> Purpose {
    let shape = &class.shapes[0];
    Purpose {
        pool: class.pool.clone(),
        class: class.id.clone(),
        shape: shape.id.clone(),
        account: shape.account.clone(),
        zone: Zone::new(ZONES[n % ZONES.len()]),
        market: shape.market,
        origin: Origin::Cold,
        price: HourlyPrice::from_usd(shape.usd_per_hour.unwrap_or(0.0)),
    }
}

/// Of ten machines six are busy, one idle, one boots, one registers, one is done.
fn machine(class: &Class, n: usize) -> Machine {
    let launch = Launch {
        id: LaunchId::new("before"),
        purpose: purpose(class, n),
        count: 1,
        may_register: true,
        intended_at: ago(400),
        reason: "".into(),
    };
    let mut machine = Machine::launched(InstanceId::new(format!("i-{n:08x}")), &launch, ago(300 + n % 100));
    let name = runner_name(&class.pool, &machine.instance, "s1");
    let story = [
        Report::Claimed,
        Report::Registered(Registration { id: RunnerId(1), name }),
        Report::Listening,
        Report::Busy,
        Report::Done { ran_job: true },
    ];
    let told = [4, 4, 4, 4, 4, 4, 3, 0, 2, 5][n % 10];
    for (step, report) in story.into_iter().take(told).enumerate() {
        let at = ago(200 + n % 90 - 10 * step);
        machine.hear(&MachineEvent { instance: machine.instance.clone(), session: 1, at, report });
    }
    if told >= 4 {
        machine.job = Some(JobKey { job: JobId(-1), attempt: 1 });
    }
    machine
}

fn job(class: &Class, n: usize) -> JobRecord {
    let about = JobAbout {
        run: RunId(1),
        repository: Arc::from(format!("acme/repository-{}", n % 500)),
        public: false,
        labels: class.labels.clone(),
        workflow: None,
        name: None,
    };
    let since = ago(n % 900);
    let key = JobKey { job: JobId(i64::try_from(n).unwrap_or(0)), attempt: 1 };
    let evidence = JobEvidence::Queued { created_at: Some(since), approved_at: None };
    JobRecord::from_event(&JobEvent { key, about, evidence }, since)
}

fn world(scale: &Scale, config: &FleetConfig) -> World {
    let at_work: Vec<&Arc<Class>> = config.classes().iter().step_by(2).collect();
    let shapes = config.shapes().step_by(2);
    let snapshot = Snapshot {
        ledger: "bench".to_owned(),
        generation: Generation(1),
        jobs: (0..scale.jobs).map(|n| job(at_work[n * 7 % at_work.len()], n)).collect(),
        // Not spread as the jobs are: some classes have too much, some too little.
        machines: (0..scale.runners).map(|n| machine(at_work[n / 10 * 13 % (at_work.len() * 2 / 3)], n)).collect(),
        holds: shapes
            .map(|shape| Hold {
                offering: Offering { shape: shape.id.clone(), zone: Zone::new("a"), market: shape.market },
                kind: LaunchErrorKind::Capacity,
                until: NOW + Duration::from_secs(60),
                strikes: 1,
            })
            .collect(),
        ..Snapshot::default()
    };
    let mut world = World::from_snapshot(snapshot, config);
    world.set_zones(ZONES.map(Zone::new).to_vec());
    world
}

fn machines_of(plan: &Plan) -> u32 {
    let count = |step: &Step| {
        if let Action::Launch(launch) = &step.action { launch.count } else { 0 }
    };
    plan.steps.iter().map(count).sum()
}

fn plan_and_check(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan+check");
    group.sample_size(20).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    for part in [100, 10, 1] {
        let scale = Scale { classes: 1_000 / part, jobs: 100_000 / part, runners: 100_000 / part };
        for (name, cap) in [("uncapped", Cap::None), ("turns", Cap::Turns), ("full", Cap::Full)] {
            let config = configuration(&scale, cap);
            let world = world(&scale, &config);
            let first = plan(&world, &config, Policy::Target, NOW);
            assert!(check(&first, &world, &config, NOW).is_empty());
            let launched = machines_of(&first);
            let waiting: u32 = first.waits.iter().map(|(_, count, _)| count).sum();
            eprintln!(
                "{name} at 1/{part}: {} steps, {launched} machines launched, {waiting} jobs wait",
                first.steps.len()
            );
            group.bench_with_input(BenchmarkId::new(name, format!("1/{part}")), &world, |b, world| {
                b.iter(|| {
                    let plan = plan(black_box(world), &config, Policy::Target, NOW);
                    check(&plan, world, &config, NOW).len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, plan_and_check);
criterion_main!(benches);
