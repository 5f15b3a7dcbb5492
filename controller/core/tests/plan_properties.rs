//! What holds for every plan, whatever the world.
//!
//! Proves on random worlds that plans are repeatable, pass the checker, stay within every cap, end nobody's job, delay
//! and never discard demand, and are not made twice; and with a table of bad plans that each rule of the checker fires.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use fixture::{PHASES, about, at, config, hold, instance, key, launch, machine, purpose, queued};
use muster_core::check::check;
use muster_core::config::FleetConfig;
use muster_core::ids::{ClassId, Generation, LaunchId, PoolName, RunnerId, ShapeId, Zone};
use muster_core::job::{JobEvent, JobEvidence, JobRecord};
use muster_core::launch::{EVERY_ZONE, Launch};
use muster_core::machine::{Machine, MachinePhase, Market, Origin, Purpose, Removal};
use muster_core::money::HourlyPrice;
use muster_core::plan::{Action, Plan, Policy, Reason, Step, Wait, plan};
use muster_core::ports::{Batch, Snapshot, SpotPrice, Stock, Switch};
use muster_core::world::World;
use proptest::collection::vec;
use proptest::prelude::*;

const POOLS: &str = r#"
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["linux"]
markets = ["spot", "spot-then-on-demand"]
default_market = "spot"
default_size = "cpu-2"
max_runners = 12
idle = { min = 2, max = 4 }
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
usd_per_hour = { on-demand = 0.09, spot = 0.035 }
[pool.sizes.cpu-8]
instance_types = ["c7i.2xlarge"]
usd_per_hour = { on-demand = 0.36, spot = 0.14 }
[[pool]]
name = "windows"
os = "windows"
arch = "x64"
labels = ["windows"]
priority = 5
standby = { min = 1, max = 2 }
[pool.sizes.cpu-2]
instance_types = ["m7i.large"]
usd_per_hour = { on-demand = 0.18 }
"#;

static FLEETS: LazyLock<Vec<FleetConfig>> = LazyLock::new(|| {
    let fleets = ["", "max_runners = 10", "budget_usd_per_hour = 1.5", "max_runners = 20\nbudget_usd_per_hour = 2.0"];
    fleets.iter().map(|fleet| config(&format!("[fleet]\n{fleet}\n{POOLS}"))).collect()
});

const CLASSES: &[&str] = &[
    "linux/cpu-2/spot",
    "linux/cpu-8/spot-then-on-demand",
    "windows/cpu-2/on-demand",
    "linux/cpu-2/spot-then-on-demand",
];
const LABELS: &[&str] =
    &["linux", "linux,cpu-8,spot-then-on-demand", "windows", "linux,spot-then-on-demand", "linux,cpu-8", "gpu"];
const REPOSITORIES: &[&str] = &["acme/api", "acme/web", "acme/app"];
const ZONES: &[&str] = &["a", "b", "c"];

#[derive(Clone, Debug)]
struct Situation {
    fleet: usize,
    policy: Policy,
    switch: Switch,
    zones: usize,
    jobs: Vec<(usize, usize, i64)>,
    machines: Vec<(usize, usize, usize, i64, bool)>,
    launches: Vec<(usize, usize, u32)>,
    holds: Vec<(usize, usize, i64)>,
    stock: u32,
    prices: Vec<(usize, usize, u32)>,
}

fn situation() -> impl Strategy<Value = Situation> {
    let policy = prop_oneof![Just(Policy::Cold), (0..4u32).prop_map(Policy::Fixed), Just(Policy::Target)];
    let switch = prop_oneof![6 => Just(Switch::Run), 1 => Just(Switch::NoLaunch), 1 => Just(Switch::Freeze)];
    let since = prop_oneof![4 => -90..0i64, 2 => -700..0i64, 1 => -40_000..0i64];
    let machine = (0..CLASSES.len(), 0..PHASES.len(), 0..ZONES.len(), since, prop::bool::weighted(0.1));
    (
        (0..FLEETS.len(), policy, switch, 0..=ZONES.len()),
        vec((0..LABELS.len(), 0..REPOSITORIES.len(), -600..0i64), 0..20),
        vec(machine, 0..20),
        vec((0..CLASSES.len(), 0..ZONES.len(), 1..4u32), 0..3),
        vec((0..CLASSES.len(), 0..ZONES.len(), -60..60i64), 0..6),
        (0..3u32, vec((0..CLASSES.len(), 0..ZONES.len(), 1..9u32), 0..6)),
    )
        .prop_map(|((fleet, policy, switch, zones), jobs, machines, launches, holds, (stock, prices))| Situation {
            fleet,
            policy,
            switch,
            zones,
            jobs,
            machines,
            launches,
            holds,
            stock,
            prices,
        })
}

impl Situation {
    fn config(&self) -> &'static FleetConfig {
        &FLEETS[self.fleet]
    }

    fn world(&self) -> World {
        let config = self.config();
        let purpose_of = |class: usize, zone: usize| purpose(config, CLASSES[class], None, ZONES[zone], Origin::Cold);
        let jobs = (1..).zip(&self.jobs);
        let machines = (1..).zip(&self.machines);
        let launches = self.launches.iter().enumerate();
        let snapshot = Snapshot {
            ledger: "ledger".to_owned(),
            generation: Generation(9),
            switch: self.switch,
            jobs: jobs
                .map(|(n, (labels, repository, since))| {
                    queued(n, about(REPOSITORIES[*repository], LABELS[*labels]), at(*since))
                })
                .collect(),
            machines: machines
                .map(|(n, (class, phase, zone, since, warned))| {
                    let mut machine = machine(n, &purpose_of(*class, *zone), PHASES[*phase], at(*since));
                    machine.interrupted_at = warned.then_some(at(-1));
                    machine.job_over_at = machine.job.and(warned.then_some(at(*since)));
                    machine
                })
                .collect(),
            launches: launches
                .map(|(n, (class, zone, count))| launch(&format!("l{n}"), purpose_of(*class, *zone), *count, at(-5)))
                .collect(),
            holds: self.holds.iter().map(|(class, zone, until)| hold(&purpose_of(*class, *zone), at(*until))).collect(),
            ..Snapshot::default()
        };
        let mut world = World::from_snapshot(snapshot, config);
        world.set_zones(ZONES[..self.zones].iter().map(|zone| Zone::new(*zone)).collect());
        let standby = purpose(config, "windows/cpu-2/on-demand", None, "a", Origin::Standby).shape;
        world.set_stock(vec![Stock { shape: standby, ready: self.stock, size: None }]);
        let told = self.prices.iter().map(|(class, zone, twentieths)| {
            let Purpose { shape, zone, .. } = purpose_of(*class, *zone);
            SpotPrice { shape, zone, price: HourlyPrice::from_usd(f64::from(*twentieths) / 20.0) }
        });
        world.set_spot_prices(told.collect());
        world.expire_unmatched(at(0));
        world
    }

    fn plan(&self) -> Plan {
        plan(&self.world(), self.config(), self.policy, at(0))
    }
}

fn launches(plan: &Plan) -> impl Iterator<Item = (&Launch, &Reason)> {
    plan.steps
        .iter()
        .filter_map(|step| if let Action::Launch(launch) = &step.action { Some((launch, &step.reason)) } else { None })
}

fn intend(world: &mut World, plan: &Plan) {
    let mut batch = Batch::default();
    for step in &plan.steps {
        world.intend(&step.action, at(0), &mut batch);
    }
    world.set_generation(Generation(10));
}

/// Untaken jobs of each class that no machine is here or on its way for.
fn short(world: &World) -> BTreeMap<ClassId, u32> {
    let classes = world.classes().map(|(id, class)| (id.clone(), class.need().saturating_sub(class.supply())));
    classes.filter(|(_, short)| *short > 0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_same_world_has_the_same_plan(situation in situation()) {
        prop_assert_eq!(situation.plan(), situation.plan());
        prop_assert_eq!(situation.plan().to_string(), situation.plan().to_string());
    }

    #[test]
    fn every_plan_passes_the_checker(situation in situation()) {
        let plan = situation.plan();
        let violations = check(&plan, &situation.world(), situation.config(), at(0));
        prop_assert!(violations.is_empty(), "{:?}\n{}", violations, plan);
    }

    #[test]
    fn caps_hold(situation in situation()) {
        let (mut world, config, plan) = (situation.world(), situation.config(), situation.plan());
        let pools: Vec<&PoolName> = config.pools().iter().map(|pool| &pool.name).collect();
        let before: Vec<u32> = pools.iter().map(|pool| world.pool_totals(pool).machines).collect();
        let totals = world.totals();
        intend(&mut world, &plan);
        let fleet_max = config.fleet.max_runners.unwrap_or(u32::MAX);
        prop_assert!(world.totals().machines <= fleet_max.max(totals.machines));
        let budget = config.fleet.budget_usd_per_hour.map(HourlyPrice::from_usd);
        prop_assert!(budget.is_none_or(|budget| world.totals().price <= budget.max(totals.price)));
        for (pool, before) in pools.into_iter().zip(before) {
            let max = config.pool(pool).unwrap().max_runners.unwrap_or(u32::MAX);
            prop_assert!(world.pool_totals(pool).machines <= max.max(before), "{pool}");
        }
    }

    #[test]
    fn nobody_with_a_job_or_about_to_get_one_is_ended(situation in situation()) {
        let world = situation.world();
        for Step { action, reason } in situation.plan().steps {
            let Action::Terminate { instance } = action else { continue };
            let machine = world.machine(&instance).unwrap();
            prop_assert!(!matches!(machine.phase(), MachinePhase::Idle(_)), "{instance} is idle: {reason}");
            if let MachinePhase::Busy(since) = machine.phase() {
                let over = machine.job_over_at.is_some_and(|over| at(0).since(over).as_secs() > 600);
                prop_assert!(over || at(0).since(since).as_secs() > 6 * 3_600, "{instance} is busy: {reason}");
            }
        }
    }

    #[test]
    fn nobody_is_touched_twice(situation in situation()) {
        let plan = situation.plan();
        let mut touched = BTreeSet::new();
        for step in &plan.steps {
            let instance = match &step.action {
                Action::Launch(_) | Action::SetStandby { .. } | Action::Stall { .. } => continue,
                Action::Drain { instance, .. }
                | Action::Remove { instance, .. }
                | Action::Kill { instance, .. }
                | Action::Thaw { instance, .. }
                | Action::CloseDrain { instance }
                | Action::Terminate { instance }
                | Action::Register { instance }
                | Action::Forget { instance } => instance,
            };
            prop_assert!(touched.insert(instance.clone()), "{instance} twice in\n{plan}");
        }
    }

    #[test]
    fn demand_is_launched_or_waits_to_the_last_job(situation in situation()) {
        let (world, plan) = (situation.world(), situation.plan());
        let mut met: BTreeMap<ClassId, u32> = BTreeMap::new();
        for (launch, reason) in launches(&plan) {
            if let Reason::Demand { .. } = reason {
                *met.entry(launch.purpose.class.clone()).or_default() += launch.count;
            }
        }
        for (class, count, _) in &plan.waits {
            *met.entry(class.clone()).or_default() += count;
        }
        if situation.switch != Switch::Freeze {
            prop_assert_eq!(met, short(&world));
        }
    }

    #[test]
    fn untaken_jobs_keep_their_idle_runners(situation in situation()) {
        let world = situation.world();
        let mut drained: BTreeMap<ClassId, u32> = BTreeMap::new();
        for Step { action, reason } in situation.plan().steps {
            let replaced = matches!(reason, Reason::Interrupted | Reason::Stalled { .. });
            if let Action::Drain { instance, .. } = action && !replaced {
                *drained.entry(world.machine(&instance).unwrap().purpose.class.clone()).or_default() += 1;
            }
        }
        for (id, drained) in drained {
            let class = world.class(&id).unwrap();
            let idle = u32::try_from(class.idle.len()).unwrap();
            prop_assert!(idle - drained >= class.need().min(idle), "{id}");
        }
    }

    #[test]
    fn a_plan_made_again_at_once_adds_nothing(situation in situation()) {
        let (mut world, plan) = (situation.world(), situation.plan());
        intend(&mut world, &plan);
        let again = muster_core::plan::plan(&world, situation.config(), situation.policy, at(0));
        // What a plan gives up (a silent drain, a runner beside a stalled job, a machine that never came up) is the next
        // one's to replace.
        let gives_up = |step: &Step| matches!(
            step.reason,
            Reason::Stalled { .. } | Reason::NoAnswer | Reason::JobTooLong { .. } | Reason::Overstays { .. } | Reason::NeverClaimed | Reason::NeverListened | Reason::ClassRemoved
        );
        // Money that is put aside for one is the other's if the turns come in another order, now that some have machines.
        let saves = plan.waits.iter().any(|(_, _, wait)| matches!(wait, Wait::Budget));
        if !plan.steps.iter().any(gives_up) && !saves {
            // Standby stock is no intent: it is asked for until the cloud has taken it.
            let adds = |step: &&Step| matches!(
                step.action,
                Action::Launch(_) | Action::Drain { .. } | Action::Terminate { .. }
            );
            // A stall is looked into only once there is no surplus left; until then the plan wakes for it.
            let looked_into = |step: &&Step| matches!(step.reason, Reason::Stalled { .. }) && plan.wake_at.is_some();
            let added = again.steps.iter().filter(adds).filter(|step| !looked_into(step));
            let added: Vec<String> = added.map(|step| step.action.to_string()).collect();
            prop_assert!(added.is_empty(), "{added:?} after\n{plan}");
        }
    }

    #[test]
    fn something_to_wait_for_has_an_instant(situation in situation()) {
        let wake_at = situation.plan().wake_at;
        prop_assert!(wake_at.is_none_or(|at| at > fixture::at(0)), "{wake_at:?}");
    }

    #[test]
    fn none_fixed_is_cold(situation in situation()) {
        let (world, config) = (situation.world(), situation.config());
        let (cold, none) = (Policy::Cold, Policy::Fixed(0));
        prop_assert_eq!(plan(&world, config, cold, at(0)), plan(&world, config, none, at(0)));
    }
}

/// A fleet at work for bad plans: one machine in each phase, in the order of [`PHASES`], and room for 30 more.
fn at_work(switch: Switch) -> (FleetConfig, World) {
    let fleet = "[fleet]\nmax_runners = 52\nbudget_usd_per_hour = 6.0\n";
    let config = config(&format!("{fleet}{}", POOLS.replace("max_runners = 12", "max_runners = 40")));
    let home = purpose(&config, "linux/cpu-2/spot", None, "a", Origin::Cold);
    let machines = (1..).zip(PHASES).map(|(n, phase)| machine(n, &home, phase, at(-10)));
    let event = JobEvent { key: key(2), about: about("acme/api", "linux,cpu-2,spot"), evidence: JobEvidence::Waiting };
    let waiting = JobRecord::from_event(&event, at(-200));
    let snapshot = Snapshot {
        switch,
        machines: machines.collect(),
        jobs: vec![queued(1, about("acme/api", "linux,cpu-2,spot"), at(-200)), waiting],
        launches: vec![launch("open", home.clone(), 1, at(-1))],
        holds: vec![
            hold(&Purpose { zone: Zone::new("b"), ..home }, at(60)),
            hold(&Purpose { zone: Zone::new(EVERY_ZONE), ..outdated(&config) }, at(60)),
        ],
        ..Snapshot::default()
    };
    (config.clone(), World::from_snapshot(snapshot, &config))
}

/// What an image whose release GitHub no longer takes is launched for.
fn outdated(config: &FleetConfig) -> Purpose {
    purpose(config, "linux/cpu-2/spot-then-on-demand", Some(Market::OnDemand), "a", Origin::Cold)
}

fn problems(actions: Vec<Action>, switch: Switch) -> Vec<&'static str> {
    let (config, world) = at_work(switch);
    let steps = actions.into_iter().map(|action| Step { action, reason: Reason::Over }).collect();
    let plan = Plan { steps, ..Plan::default() };
    check(&plan, &world, &config, at(0)).into_iter().map(|violation| violation.problem).collect()
}

/// The number of the machine in this phase.
fn of(phase: &str) -> u32 {
    u32::try_from(PHASES.iter().position(|other| *other == phase).unwrap() + 1).unwrap()
}

fn launching(change: impl FnOnce(&mut Launch)) -> Vec<Action> {
    let (config, _) = at_work(Switch::Run);
    let mut good = launch("new", purpose(&config, "linux/cpu-2/spot", None, "a", Origin::Cold), 1, at(0));
    change(&mut good);
    vec![Action::Launch(good)]
}

fn bad_plans() -> Vec<(Vec<Action>, &'static str)> {
    let drain = |phase: &str, number| vec![Action::Drain { instance: instance(of(phase)), number }];
    let remove = |phase: &str| {
        let runner = RunnerId(i64::from(of(phase)) * 10 + 1);
        vec![Action::Remove { instance: instance(of(phase)), runner }]
    };
    let kill = |phase: &str, number| vec![Action::Kill { instance: instance(of(phase)), number }];
    let thaw = |phase: &str, number| vec![Action::Thaw { instance: instance(of(phase)), number }];
    let terminate = |phase: &str| vec![Action::Terminate { instance: instance(of(phase)) }];
    let twice = |actions: Vec<Action>| [actions.clone(), actions].concat();
    let (config, _) = at_work(Switch::Run);
    let dear = || purpose(&config, "windows/cpu-2/on-demand", None, "a", Origin::Cold);
    vec![
        (launching(|l| l.count = 0), "a launch is for 1 to 100 machines"),
        (twice(launching(|_| {})), "two launches under one client token"),
        (launching(|l| l.id = LaunchId::new("open")), "the client token was used before"),
        (launching(|l| l.purpose.class = ClassId::new("linux/none/spot")), "the class is not in the configuration"),
        (launching(|l| l.purpose.pool = PoolName::new("windows")), "the class belongs to another pool"),
        (launching(|l| l.purpose.shape = ShapeId::new("none")), "not a shape of that class"),
        (launching(|l| l.purpose.market = Market::OnDemand), "not the market of that shape"),
        (launching(|l| l.purpose.price = HourlyPrice::ZERO), "not the price of that shape"),
        (launching(|l| l.purpose.zone = Zone::new("b")), "the offering is on hold"),
        (launching(|l| l.purpose = outdated(&config)), "the shape's image is too old"),
        (launching(|l| l.count = 40), "above fleet.max_runners"),
        (launching(|l| (l.count, l.purpose) = (30, dear())), "above fleet.budget_usd_per_hour"),
        (launching(|l| l.count = 25), "above the pool's max_runners"),
        (drain("busy", 1), "only an idle runner is drained"),
        (drain("draining", 2), "only an idle runner is drained"),
        (drain("idle", 2), "a drain's number must be the next one"),
        (twice(drain("idle", 1)), "two steps of one plan for one machine"),
        (vec![Action::Drain { instance: instance(999), number: 1 }], "the machine is not in the ledger"),
        (remove("ready"), "it has no registration"),
        (
            vec![Action::Remove { instance: instance(of("frozen")), runner: RunnerId(1) }],
            "the registration is another one",
        ),
        (remove("frozen-removed"), "GitHub was asked before"),
        (remove("idle"), "the agent has not given its key"),
        (remove("busy"), "the agent has not given its key"),
        (remove("draining"), "the agent has not given its key"),
        (kill("idle", 1), "there is no drain"),
        (thaw("busy", 1), "there is no drain"),
        (kill("frozen-removed", 2), "the order belongs to another drain"),
        (thaw("frozen-refused", 2), "the order belongs to another drain"),
        (kill("frozen", 1), "GitHub has not confirmed that the registration is gone"),
        (kill("frozen-refused", 1), "GitHub has not confirmed that the registration is gone"),
        (vec![Action::CloseDrain { instance: instance(of("idle")) }], "there is no drain to give up"),
        (terminate("registering"), "it holds a registration"),
        (terminate("busy"), "it has a job"),
        (terminate("matched"), "it has a job"),
        (terminate("idle"), "it may be getting a job: an idle runner is drained first"),
        (terminate("draining"), "it may be getting a job: GitHub has not removed its registration"),
        (terminate("frozen"), "it may be getting a job: GitHub has not removed its registration"),
        (terminate("frozen-refused"), "it may be getting a job: GitHub has not removed its registration"),
        (terminate("killed"), "its agent has time to answer"),
        (terminate("gone"), "it is gone"),
        (vec![Action::Register { instance: instance(of("idle")) }], "only a machine without a registration registers"),
        (vec![Action::Forget { instance: instance(of("ending")) }], "only a machine that is gone is forgotten"),
        (vec![Action::Stall { job: key(9), round: 1 }], "the job is not in the ledger, or over"),
        (vec![Action::Stall { job: key(2), round: 1 }], "only a queued job can be stalled"),
        (vec![Action::Stall { job: key(1), round: 2 }], "a stall's round must be the next one"),
        (vec![Action::SetStandby { shape: ShapeId::new("none"), size: 1 }], "the shape is not in the configuration"),
    ]
}

#[test]
fn each_rule_of_the_checker_fires() {
    for (actions, problem) in bad_plans() {
        assert_eq!(problems(actions.clone(), Switch::Run), [problem], "{actions:?}");
    }
    assert_eq!(problems(launching(|_| {}), Switch::NoLaunch), ["the switch forbids launches"]);
    let (config, mut world) = at_work(Switch::NoLaunch);
    let shape = config.classes()[0].shapes[0].id.clone();
    let steps = vec![Step { action: Action::SetStandby { shape, size: 1 }, reason: Reason::StandbyBounds }];
    let violations = check(&Plan { steps, ..Plan::default() }, &world, &config, at(0));
    assert_eq!(violations[0].problem, "the switch forbids launches");
    let named = Machine { job: Some(key(1)), ..world.machine(&instance(of("registering"))).unwrap().clone() };
    let (instance, runner) = (named.instance.clone(), named.told.registered.as_ref().unwrap().1.id);
    world.put_machine(named);
    let steps = vec![Step { action: Action::Remove { instance, runner }, reason: Reason::NeverListened }];
    let violations = check(&Plan { steps, ..Plan::default() }, &world, &config, at(0));
    assert_eq!(violations[0].problem, "GitHub has named a job for it");
    assert_eq!(problems(launching(|_| {}), Switch::Freeze), ["the switch says freeze"]);
    assert_eq!(problems(launching(|_| {}), Switch::Run), [""; 0], "the good one is good");

    let (config, mut world) = at_work(Switch::Run);
    let late = machine(of("frozen"), &purpose(&config, "linux/cpu-2/spot", None, "a", Origin::Cold), "frozen", at(-16));
    let (instance, runner) = (late.instance.clone(), late.told.registered.as_ref().unwrap().1.id);
    world.put_machine(late);
    let steps = vec![Step { action: Action::Remove { instance, runner }, reason: Reason::Frozen }];
    let violations = check(&Plan { steps, ..Plan::default() }, &world, &config, at(0));
    assert_eq!(violations[0].problem, "its agent has thawed it by now");
    assert_eq!(violations[0].to_string(), "remove registration 101 of i-0000000a: its agent has thawed it by now");
}

/// GitHub's word that nobody listens stands in for the agent's key, once the agent has had its time.
#[test]
fn an_unseen_listeners_registration_is_removed_when_its_agent_does_not_answer() {
    let (config, world) = at_work(Switch::Run);
    let problems = |since: i64, change: &dyn Fn(&mut Machine)| {
        let home = purpose(&config, "linux/cpu-2/spot", None, "a", Origin::Cold);
        let mut world = world.clone();
        let mut silent = machine(of("draining"), &home, "draining", at(since));
        silent.told.unseen_at = Some(at(-300));
        change(&mut silent);
        let (instance, runner) = (silent.instance.clone(), silent.told.registered.as_ref().unwrap().1.id);
        world.put_machine(silent);
        let steps = vec![Step { action: Action::Remove { instance, runner }, reason: Reason::Unseen }];
        let violations = check(&Plan { steps, ..Plan::default() }, &world, &config, at(0));
        violations.into_iter().map(|violation| violation.problem).collect::<Vec<_>>()
    };
    assert_eq!(problems(-70, &|_| {}), [""; 0]);
    assert_eq!(problems(-30, &|_| {}), ["its agent has time to answer"]);
    assert_eq!(problems(-70, &|silent| silent.told.unseen_at = None), ["the agent has not given its key"]);
    let asked = |silent: &mut Machine| silent.drain.as_mut().unwrap().removal = Some(Removal::Busy);
    assert_eq!(problems(-70, &asked), ["GitHub was asked before"]);
    assert_eq!(problems(-70, &|silent| silent.job = Some(key(1))), ["GitHub has named a job for it"]);
}

#[test]
fn no_rule_of_the_checker_is_without_its_bad_plan() {
    let source = include_str!("../src/check.rs");
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let written: BTreeSet<&str> =
        code.split('"').skip(1).step_by(2).filter(|text| text.contains(' ') && !text.contains('{')).collect();
    let mut fired: BTreeSet<&str> = bad_plans().into_iter().map(|(_, problem)| problem).collect();
    fired.extend(["the switch forbids launches", "the switch says freeze", "its agent has thawed it by now"]);
    fired.extend(["GitHub has named a job for it"]);
    assert_eq!(written, fired);
}

#[test]
fn a_struck_out_launch_still_counts_for_the_next() {
    let both = [launching(|l| l.count = 24), launching(|l| l.id = LaunchId::new("other"))].concat();
    assert_eq!(problems(both, Switch::Run), ["above the pool's max_runners"; 2]);
}
