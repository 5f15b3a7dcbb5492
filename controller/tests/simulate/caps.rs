//! At a cap: room is used as soon as it is there, turns go on from plan to plan, and a dear job gets its turn.

use std::fmt::Write;

use muster::drivers::simulate::Scenario;
use muster_core::plan::Policy;
use muster_sim::report::ClassSummary;
use muster_sim::{Cut, Profile, Summary, Trace};

use super::scenario::{assert_sound, config, run, scenario};

/// A fleet with this line in `[fleet]`, and these pools.
fn fleet(line: &str, pools: &str) -> String {
    format!("[github]\norganization = \"acme\"\nwebhook_secrets = [\"env:S\"]\n[fleet]\n{line}\n{pools}")
}

/// A pool of these sizes and hourly prices.
fn pool(name: &str, more: &str, sizes: &[(&str, f64)]) -> String {
    let mut text = format!(
        "[[pool]]\nname = \"{name}\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"self-hosted\", \"linux\"]\n\
         default_size = \"{}\"\n{more}\n",
        sizes[0].0
    );
    for (size, price) in sizes {
        let vcpus = if *price < 0.1 { 2 } else { 8 };
        write!(text, "[pool.sizes.{size}]\nvcpus = {vcpus}\nusd_per_hour = {{ on-demand = {price} }}\n").unwrap();
    }
    text
}

/// `count` runs of one job each, a run at each second from `from`.
fn jobs(text: &mut String, from: u32, count: u32, repository: &str, size: &str, seconds: f64) {
    for number in 0..count {
        let run = serde_json::json!({
            "run_id": text.len() + 1, "t": from + number, "repo": repository, "workflow": "ci", "event": "push",
            "jobs": [{"name": "job", "needs": [], "labels": ["self-hosted", "linux", size], "duration_s": seconds}],
        });
        writeln!(text, "{run}").unwrap();
    }
}

fn under(text: &str, jobs: &str) -> Scenario {
    let trace = Trace::bytes("handmade", jobs.as_bytes().to_vec());
    Scenario { config: config(text), ..scenario(trace, Cut::WHOLE, Policy::Target) }
}

fn size<'a>(summary: &'a Summary, name: &str) -> &'a ClassSummary {
    let found = summary.classes.iter().find(|class| class.class.iter().any(|label| **label == *name));
    found.unwrap_or_else(|| panic!("nothing of {name}"))
}

fn longest(class: &ClassSummary) -> f64 {
    class.queue_time_s.max.unwrap()
}

/// The plan that ends a machine was made before its room was there, and nothing else may be heard for hours.
#[test]
fn the_last_room_is_used_at_once() {
    let mut two = String::new();
    jobs(&mut two, 0, 2, "acme/a", "cpu-2", 2.0);
    for (cap, of_pool) in [("max_runners = 1", ""), ("budget_usd_per_hour = 0.1", ""), ("", "max_runners = 1")] {
        let text = fleet(cap, &pool("linux", of_pool, &[("cpu-2", 0.09)]));
        for seed in 1..=20 {
            for profile in [Profile::ideal(), Profile::default()] {
                let summary = run(&Scenario { seed, profile, ..under(&text, &two) });
                assert_sound(&summary);
                assert!(
                    longest(&summary.classes[0]) < 600.0,
                    "{cap}{of_pool}, seed {seed}: {:?}",
                    summary.queue_time_s
                );
            }
        }
    }
}

/// Four machines for sixty jobs of one repository and, later, two of another: these get the next two that come free.
#[test]
fn who_comes_later_with_little_need_not_wait_for_all_the_others() {
    let mut text = String::new();
    jobs(&mut text, 0, 60, "acme/many", "cpu-2", 60.0);
    jobs(&mut text, 70, 2, "acme/few", "cpu-8", 60.0);
    let fleet = fleet("max_runners = 4", &pool("linux", "", &[("cpu-2", 0.09), ("cpu-8", 0.36)]));
    let summary = run(&under(&fleet, &text));
    assert_sound(&summary);
    let (few, many) = (longest(size(&summary, "cpu-8")), longest(size(&summary, "cpu-2")));
    assert!(few * 4.0 < many, "{few} s and {many} s");
}

/// A budget for four cheap machines or one dear one: the dear job is first by priority and gets its money together.
#[test]
fn a_dear_job_is_not_starved_by_cheap_ones() {
    let mut text = String::new();
    jobs(&mut text, 0, 80, "acme/cheap", "cpu-2", 60.0);
    jobs(&mut text, 90, 1, "acme/dear", "big", 60.0);
    let dear = pool("dear", "priority = 100", &[("big", 0.36)]);
    let cheap = pool("cheap", "", &[("cpu-2", 0.09)]);
    let summary = run(&under(&fleet("budget_usd_per_hour = 0.40", &(dear + &cheap)), &text));
    assert_sound(&summary);
    let (dear, cheap) = (longest(size(&summary, "big")), longest(size(&summary, "cpu-2")));
    assert!(dear * 4.0 < cheap, "{dear} s and {cheap} s");
}

/// A machine that the whole budget could not pay holds nobody up.
#[test]
fn what_no_budget_can_pay_holds_nobody_up() {
    let mut text = String::new();
    jobs(&mut text, 0, 1, "acme/dear", "big", 60.0);
    jobs(&mut text, 5, 8, "acme/cheap", "cpu-2", 60.0);
    let pools = pool("dear", "priority = 100", &[("big", 0.50)]) + &pool("cheap", "", &[("cpu-2", 0.09)]);
    let summary = run(&under(&fleet("budget_usd_per_hour = 0.40", &pools), &text));
    assert_eq!((size(&summary, "cpu-2").jobs.completed, size(&summary, "big").jobs.lost), (8, 1));
    assert!(longest(size(&summary, "cpu-2")) < 1_000.0, "{:?}", summary.queue_time_s);
}
