//! The trace that ships with the project: windows of it under all policies and bounds, and once all of it.

use std::sync::Arc;

use muster::drivers::simulate::{Scenario, Simulation};
use muster_core::ids::Zone;
use muster_core::plan::Policy;
use muster_sim::report::ClassSummary;
use muster_sim::{Cut, Profile, Summary, ZONES};
use muster_store::{MemoryOptions, MemoryStore};

use super::scenario::{
    Runs, assert_close, assert_sound, config, hours, run, scenario, shipped, unbounded, uncancelled,
};

/// A configuration for the six label sets of the trace, with these bounds of the fleet, of every pool, and of Linux.
fn fleet(fleet: &str, pool: &str, linux: &str) -> String {
    let prices = |on_demand: f64, spot: f64, standby: f64| {
        format!("usd_per_hour = {{ on-demand = {on_demand}, spot = {spot}, standby = {standby} }}")
    };
    let both = r#"markets = ["spot", "on-demand", "spot-then-on-demand"]
default_market = "on-demand""#;
    let (two, eight) = (prices(0.09, 0.035, 0.004), prices(0.36, 0.14, 0.012));
    let (sixteen, windows) = (prices(0.72, 0.28, 0.02), prices(0.18, 0.07, 0.008));
    format!(
        r#"
[github]
organization = "acme"
webhook_secrets = ["env:S"]
[fleet]
{fleet}
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["self-hosted", "linux", "x64"]
default_size = "cpu-2"
{both}
{pool}
{linux}
[pool.sizes.cpu-2]
vcpus = 2
{two}
[pool.sizes.cpu-8]
vcpus = 8
{eight}
[pool.sizes.cpu-16]
vcpus = 16
{sixteen}
[[pool]]
name = "arm"
os = "linux"
arch = "arm64"
labels = ["self-hosted", "linux", "arm64"]
{both}
{pool}
[pool.sizes.cpu-2]
vcpus = 2
{two}
[[pool]]
name = "windows"
os = "windows"
arch = "x64"
labels = ["self-hosted", "windows", "x64"]
{pool}
[pool.sizes.cpu-2]
vcpus = 2
{windows}
[[pool]]
name = "macos"
os = "macos"
arch = "arm64"
labels = ["self-hosted", "macos", "arm64"]
{pool}
[pool.sizes.m2]
vcpus = 8
usd_per_hour = {{ on-demand = 1.10 }}
"#
    )
}

/// A part of the trace under a configuration.
fn under(text: &str, cut: Cut) -> Scenario {
    Scenario { config: config(text), ..scenario(shipped(), cut, Policy::Target) }
}

fn small_spot(summary: &Summary) -> &ClassSummary {
    let labels = ["self-hosted", "linux", "x64", "cpu-2", "spot"];
    let found =
        summary.classes.iter().find(|class| labels.iter().all(|label| class.class.iter().any(|l| **l == **label)));
    found.unwrap()
}

fn mean(summary: &Summary) -> f64 {
    summary.queue_time_s.mean.unwrap()
}

#[test]
fn four_weeks_lose_nothing_and_two_models_agree() {
    let ideal = |policy| Scenario { profile: Profile::ideal(), ..scenario(shipped(), Cut::WHOLE, policy) };
    let (cold, warm) = std::thread::scope(|scope| {
        let warm = scope.spawn(|| run(&ideal(Policy::Fixed(8))));
        (run(&ideal(Policy::Cold)), warm.join().unwrap())
    });
    for summary in [&cold, &warm] {
        assert_sound(summary);
        let Summary { jobs, .. } = summary;
        assert_eq!(jobs.queued + jobs.skipped, 36_940, "all jobs of the trace: {jobs:?}");
        assert_eq!(summary.classes.len(), 6);
    }
    let means = [&cold, &warm].map(|summary| small_spot(summary).queue_time_s.mean.unwrap());
    // An independent model of the same system: 47.8 s cold, 13.9 s with eight idle.
    assert!((means[0] - 47.8).abs() <= 2.0 && (means[1] - 13.9).abs() <= 1.0, "{means:?}");
    println!("linux x64 cpu-2 spot waits {} s on average cold, {} s with eight idle", means[0], means[1]);
}

#[test]
fn under_every_policy_a_busy_week_is_sound() {
    for policy in [Policy::Cold, Policy::Fixed(2), Policy::Fixed(8)] {
        let summary = run(&scenario(shipped(), hours(24, 96), policy));
        assert_sound(&summary);
        assert!(summary.jobs.completed > 3_000, "{:?}", summary.jobs);
    }
}

#[test]
fn idle_machines_shorten_the_wait_and_cost() {
    let of = |policy| run(&scenario(shipped(), hours(24, 60), policy));
    let (cold, two, eight) = (of(Policy::Cold), of(Policy::Fixed(2)), of(Policy::Fixed(8)));
    assert!(mean(&cold) > mean(&two) && mean(&two) > mean(&eight));
    assert!(cold.cost_usd.idle < two.cost_usd.idle && two.cost_usd.idle < eight.cost_usd.idle);
}

#[test]
fn a_seed_run_twice_gives_the_same_bytes() {
    let text = |seed, policy| {
        let scenario = Scenario { seed, ..scenario(shipped(), hours(30, 54), policy) };
        serde_json::to_string(&run(&scenario)).unwrap()
    };
    for policy in [Policy::Cold, Policy::Fixed(3)] {
        assert_eq!(text(7, policy), text(7, policy));
        assert_ne!(text(7, policy), text(8, policy));
    }
    let bounded = Scenario { seed: 7, ..under(&fleet("max_runners = 40", "idle = { min = 1 }", ""), hours(30, 54)) };
    assert_eq!(run(&bounded), run(&bounded));
}

#[test]
fn running_jobs_cost_the_same_under_every_policy() {
    let calm = uncancelled(&shipped(), hours(24, 72));
    let summaries = [Policy::Cold, Policy::Fixed(0), Policy::Fixed(2), Policy::Fixed(8)]
        .map(|policy| run(&scenario(calm.clone(), Cut::WHOLE, policy)));
    let [first, ..] = &summaries;
    assert_eq!(first.jobs.cancelled, 0);
    for summary in &summaries {
        assert_sound(summary);
        assert_eq!(summary.jobs, first.jobs);
        for (class, expected) in summary.classes.iter().zip(&first.classes) {
            assert_eq!(class.class, expected.class);
            assert_close(class.cost_usd.busy, expected.cost_usd.busy);
        }
    }
    let bounded = fleet("", "idle = { min = 3 }", "");
    let target = run(&Scenario { config: config(&bounded), ..scenario(calm, Cut::WHOLE, Policy::Target) });
    assert_sound(&target);
    assert_close(target.cost_usd.busy, first.cost_usd.busy);
}

#[test]
fn under_a_cap_jobs_wait_and_none_is_lost() {
    let cut = hours(30, 42);
    let free = run(&under(&fleet("", "", ""), cut));
    assert_sound(&free);
    let longest = |summary: &Summary| summary.queue_time_s.max.unwrap();
    for (name, text) in [
        ("the fleet's", fleet("max_runners = 25", "", "")),
        ("the budget", fleet("budget_usd_per_hour = 6.0", "", "")),
        ("the pool's", fleet("", "max_runners = 10", "")),
        (
            "all three",
            fleet("max_runners = 40\nbudget_usd_per_hour = 12.0", "max_runners = 16\nidle = { min = 2 }", ""),
        ),
    ] {
        let capped = run(&under(&text, cut));
        assert_sound(&capped);
        assert!(longest(&capped) > longest(&free) + 60.0, "{name} cap did not bind: {:?}", capped.queue_time_s);
        println!("{name} cap: the longest wait is {:.0} s instead of {:.0} s", longest(&capped), longest(&free));
    }
}

#[test]
fn standby_machines_start_before_cold_ones() {
    let cut = hours(24, 60);
    let policy = |linux: &str| run(&under(&fleet("", "", linux), cut));
    let (without, with) = (policy(""), policy(r#"standby = { min = 6, max = 6, state = "stopped" }"#));
    for summary in [&without, &with] {
        assert_sound(summary);
    }
    assert_eq!((without.launches.standby, without.cost_usd.standby), (0, 0.0));
    assert!(with.launches.standby > 50 && with.cost_usd.standby > 0.0, "{:?} {:?}", with.launches, with.cost_usd);
    assert!(with.launches.cold < without.launches.cold, "{:?} {:?}", with.launches, without.launches);
    assert!(mean(&with) < mean(&without), "a standby start is shorter than a cold one");
}

#[test]
fn schedules_keep_machines_idle_by_day_alone() {
    let days = hours(0, 48);
    let schedule = |when: &str| {
        let linux = format!("[[pool.schedule]]\nwhen = \"{when}\"\nidle = {{ min = 6 }}");
        let text = fleet("time_zone = \"Europe/Berlin\"", "", "").replacen(
            "[[pool]]\nname = \"arm\"",
            &format!("{linux}\n[[pool]]\nname = \"arm\""),
            1,
        );
        run(&under(&text, days))
    };
    let (never, by_day, always) = (schedule("sun 03:00-04:00"), schedule("mon-fri 07:00-19:00"), schedule("daily"));
    for summary in [&never, &by_day, &always] {
        assert_sound(summary);
    }
    assert!(never.cost_usd.idle < by_day.cost_usd.idle && by_day.cost_usd.idle < always.cost_usd.idle);
    assert!(mean(&by_day) < mean(&never));
}

#[test]
fn without_spot_capacity_a_job_that_may_runs_on_demand() {
    let labels = "self-hosted linux x64 cpu-2 spot-then-on-demand";
    let trace = (0..40).fold(Runs::default(), |runs, n| runs.run(n * 30, labels, None, &[("job", &[], 120.0)])).trace();
    let on = |there: bool| {
        let scenario =
            Scenario { config: config(&fleet("", "", "")), ..scenario(trace.clone(), Cut::WHOLE, Policy::Cold) };
        let class = scenario.config.classes().iter().find(|class| class.labels.contains(&"spot-then-on-demand".into()));
        let spot = class.unwrap().shapes[0].id.clone();
        let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
        let mut simulation = Simulation::new(scenario, store).unwrap();
        for zone in ZONES {
            simulation.universe().lock().set_capacity(&spot, &Zone::new(zone), there);
        }
        simulation.run(&mut (), &mut ()).unwrap()
    };
    let (spot, on_demand) = (on(true), on(false));
    assert_sound(&spot);
    assert_sound(&on_demand);
    assert_eq!(spot.launches.failed, 0);
    assert!(on_demand.launches.failed > 0);
    assert_eq!((spot.jobs.completed, on_demand.jobs.completed), (40, 40));
    assert_close(spot.cost_usd.busy, 40.0 * 120.0 / 3600.0 * 0.035);
    assert_close(on_demand.cost_usd.busy, 40.0 * 120.0 / 3600.0 * 0.09);
}

#[test]
fn overlaid_copies_are_so_many_times_the_jobs() {
    let calm = uncancelled(&shipped(), hours(30, 42));
    let once = run(&scenario(calm.clone(), Cut::WHOLE, Policy::Cold));
    let thrice = run(&scenario(calm, Cut { scale: 3, ..Cut::WHOLE }, Policy::Cold));
    assert_sound(&thrice);
    assert_eq!(thrice.jobs.queued, once.jobs.queued * 3);
    assert_close(thrice.cost_usd.busy, once.cost_usd.busy * 3.0);
}

#[test]
fn the_example_configuration_serves_the_trace() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../muster.example.toml")).unwrap();
    let summary = run(&under(&text, hours(0, 60)));
    assert_sound(&summary);
    assert!(summary.launches.standby > 0 && summary.cost_usd.standby > 0.0, "{:?}", summary.launches);
    let cold = run(&scenario(shipped(), hours(0, 60), Policy::Cold));
    assert!(mean(&summary) < mean(&cold), "{} {}", mean(&summary), mean(&cold));
    assert_eq!(unbounded(&shipped()).classes().len(), summary.classes.len());
}
