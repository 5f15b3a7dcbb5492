//! The process dies between any two steps and is started anew from its SQLite file, while the world outside goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use muster::drivers::simulate::{Scenario, SimulateError, Simulation};
use muster::reconcile::{Probe, Step, StopAt, TickError};
use muster_core::plan::Policy;
use muster_core::ports::Store;
use muster_sim::{Cut, Rule, Summary, Trace};
use muster_store::{Durability, SqliteOptions, SqliteStore};

use super::mortal::{Life, Mortal};
use super::scenario::{Runs, assert_nothing_lost, assert_sound, config, scenario};

/// Jobs that need each other, a burst above a cap, a run cancelled while it waits, one while it boots and one while it
/// runs, and quiet in between, so that what is left over is drained.
fn load() -> Trace {
    const SMALL: &str = "self-hosted linux x64 small";
    const BIG: &str = "self-hosted linux x64 big";
    Runs::default()
        .run(0, SMALL, None, &[("build", &[], 40.0), ("test", &["build"], 30.0), ("lint", &["build"], 20.0)])
        .run(5, BIG, None, &[("a", &[], 50.0), ("b", &["a"], 10.0)])
        .run(20, SMALL, Some(3.0), &[("x", &[], 60.0), ("y", &[], 60.0), ("z", &["x", "y"], 9.0)])
        .run(40, BIG, Some(30.0), &[("x", &[], 60.0), ("y", &[], 60.0)])
        .run(300, SMALL, None, &[("p", &[], 20.0), ("q", &[], 25.0), ("r", &[], 30.0), ("s", &[], 35.0)])
        .run(301, BIG, Some(100.0), &[("p", &[], 500.0), ("q", &["p"], 5.0)])
        .run(900, SMALL, None, &[("last", &[], 15.0), ("very last", &["last"], 5.0)])
        .trace()
}

/// A smaller load, for the many more points between two calls of the ledger.
fn small_load() -> Trace {
    const SMALL: &str = "self-hosted linux x64 small";
    const BIG: &str = "self-hosted linux x64 big";
    Runs::default()
        .run(0, SMALL, None, &[("build", &[], 30.0), ("test", &["build"], 20.0)])
        .run(10, BIG, Some(40.0), &[("x", &[], 60.0)])
        .run(30, SMALL, Some(3.0), &[("y", &[], 60.0)])
        .run(200, SMALL, None, &[("p", &[], 20.0), ("q", &[], 25.0)])
        .trace()
}

/// Caps that bind, idle bounds and standby stock, so that every kind of effect occurs.
const BOUNDED: &str = r#"
[github]
organization = "acme"
webhook_secrets = ["env:S"]
[fleet]
max_runners = 4
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["self-hosted", "linux", "x64"]
default_size = "small"
idle = { min = 1, max = 1 }
standby = { min = 1, max = 1, state = "stopped" }
[pool.sizes.small]
vcpus = 2
usd_per_hour = { on-demand = 0.09, standby = 0.004 }
[pool.sizes.big]
vcpus = 8
usd_per_hour = { on-demand = 0.36, standby = 0.012 }
"#;

fn unbounded() -> Scenario {
    scenario(load(), Cut::WHOLE, Policy::Cold)
}

fn bounded() -> Scenario {
    Scenario { config: config(BOUNDED), policy: Policy::Target, ..unbounded() }
}

fn open(ledger: &Path) -> SqliteStore {
    let options = SqliteOptions { durability: Durability::ProcessEnd, ledger: Some("00000000".to_owned()) };
    SqliteStore::open_direct(ledger, &options).unwrap()
}

/// Runs on a ledger file of its own. Whenever the process dies, another one is started; `next` says how each one lives.
fn live_and_die<S: Store + 'static, P: Probe>(
    scenario: &Scenario,
    mut next: impl FnMut(SqliteStore) -> (Arc<S>, P),
) -> (Summary, u64) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.db");
    let (store, mut probe) = next(open(&ledger));
    let mut simulation = Simulation::new(scenario.clone(), store).unwrap();
    let mut deaths = 0;
    loop {
        match simulation.run(&mut probe, &mut ()) {
            Ok(summary) => return (summary, deaths),
            Err(SimulateError::Stopped(_) | SimulateError::Store(_)) => {}
            Err(error) => panic!("{error}"),
        }
        deaths += 1;
        let outside = simulation.crash();
        // The dead process has let go of the file, or this would fail.
        let (store, fresh) = next(open(&ledger));
        probe = fresh;
        simulation = outside.start(store);
    }
}

/// Lets every step pass, and notes which there were.
#[derive(Default)]
struct Seen {
    points: u64,
    steps: BTreeSet<Step>,
}

impl Probe for &mut Seen {
    fn reached(&mut self, step: Step) -> Result<(), TickError> {
        self.points += 1;
        self.steps.insert(step);
        Ok(())
    }
}

fn undisturbed(scenario: &Scenario) -> (Summary, Seen) {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let store = Arc::new(open(&folder.path().join("ledger.db")));
    let summary = Simulation::new(scenario.clone(), store).unwrap().run(&mut &mut seen, &mut ()).unwrap();
    assert_sound(&summary);
    (summary, seen)
}

/// Does `work` for every number below `count`, on all cores.
fn for_each(count: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

/// Machines started, from standby or cold.
fn started(summary: &Summary) -> u64 {
    summary.launches.cold + summary.launches.standby
}

/// The scaler dies at every point between its steps, once in each run.
fn die_everywhere(name: &str, scenario: &Scenario) {
    let (calm, seen) = undisturbed(scenario);
    for_each(seen.points, |point| {
        let mut first = true;
        let (summary, deaths) = live_and_die(scenario, |store| {
            let left = if std::mem::take(&mut first) { point } else { u64::MAX };
            (Arc::new(store), StopAt { left })
        });
        let context = format!("{name}, cut point {point}");
        assert_eq!(deaths, 1, "{context}");
        assert_eq!(summary.violations, [""; 0], "{context}");
        assert_eq!(summary.jobs.queued, calm.jobs.queued, "{context}");
        assert_eq!((summary.jobs.lost, summary.jobs.killed), (0, 0), "{context}");
        // A cancellation may now come before or after its launch; beyond that no machine more is started.
        let most = started(&calm) + calm.jobs.cancelled;
        assert!(started(&summary) <= most, "{context}: {} machines, {most} at most", started(&summary));
        assert_nothing_lost(&summary);
    });
    println!("{name}: the scaler died at each of {} cut points, of the kinds {:?}", seen.points, seen.steps);
}

#[test]
fn no_cut_point_of_the_scaler_costs_a_job_without_bounds() {
    die_everywhere("without bounds", &unbounded());
}

#[test]
fn no_cut_point_of_the_scaler_costs_a_job_with_bounds() {
    die_everywhere("with caps, idle bounds and standby", &bounded());
}

#[test]
fn the_load_makes_every_kind_of_step_occur() {
    let (summary, seen) = undisturbed(&bounded());
    let all = [
        Step::Loaded,
        Step::Merged,
        Step::Observed,
        Step::Planned,
        Step::Committed,
        Step::BeforeEffect,
        Step::AfterEffect,
        Step::Recorded,
    ];
    assert_eq!(seen.steps, BTreeSet::from(all));
    assert!(summary.launches.cold > 0 && summary.launches.standby > 0, "{:?}", summary.launches);
    assert!(summary.jobs.cancelled > 0 && summary.jobs.completed > 0, "{:?}", summary.jobs);
}

/// A short sequence of numbers that looks random, from a seed.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    }
}

#[test]
fn a_scaler_that_dies_again_and_again_loses_nothing() {
    const LIVES: u64 = 24;
    let deaths_of_all = AtomicU64::new(0);
    for_each(LIVES, |seed| {
        let scenario = Scenario { seed, ..if seed % 2 == 0 { bounded() } else { unbounded() } };
        let mut number = numbers(seed + 1);
        let (summary, deaths) = live_and_die(&scenario, |store| (Arc::new(store), StopAt { left: 4 + number(120) }));
        assert_eq!(summary.violations, [""; 0], "seed {seed}");
        assert_nothing_lost(&summary);
        deaths_of_all.fetch_add(deaths, Ordering::Relaxed);
    });
    println!("{} deaths in {LIVES} runs", deaths_of_all.into_inner());
}

/// What a death between a mint and its record leaves behind: a registration that nobody can use, because its
/// configuration is lost, beside a second one.
fn is_orphan(violation: &str) -> bool {
    [Rule::TwoRegistrations, Rule::MintedTwice].iter().any(|rule| violation.contains(rule.as_word()))
}

/// Scaler, registrar and door die at every call of the ledger, so between any two of the acts of each. No lookup by name
/// is in the port to GitHub yet: a registration whose mint was not recorded is seen by nobody and left to GitHub's own
/// clean-up. No job can reach it, which is why it costs none.
#[test]
fn no_call_of_the_ledger_is_a_bad_moment_to_die() {
    let scenario = Scenario { trace: small_load(), ..bounded() };
    let calm = Life::of(u64::MAX);
    let (summary, _) = live_and_die(&scenario, |inner| (Arc::new(Mortal { inner, life: calm.clone() }), ()));
    assert_sound(&summary);
    let calls = calm.lived.load(Ordering::Relaxed);
    let orphans = AtomicU64::new(0);
    for_each(calls, |point| {
        let mut first = true;
        let (summary, deaths) = live_and_die(&scenario, |inner| {
            let calls = if std::mem::take(&mut first) { point } else { u64::MAX };
            (Arc::new(Mortal { inner, life: Life::of(calls) }), ())
        });
        assert_eq!(deaths, 1, "call {point}");
        let (orphaned, broken): (Vec<_>, Vec<_>) =
            summary.violations.iter().partition(|violation| is_orphan(violation));
        assert_eq!(broken, [""; 0], "call {point}");
        orphans.fetch_add(u64::from(!orphaned.is_empty()), Ordering::Relaxed);
        assert_nothing_lost(&summary);
    });
    println!(
        "the process died at each of {calls} calls; {} of them left an orphaned registration",
        orphans.into_inner()
    );
}
