//! The two figures that independent models of this system agree on, and the sums of a whole month.

use muster_sim::report::ClassSummary;
use muster_sim::{Cut, Limits, Profile, Settings, Summary, Trace};
use crate::toy::Toy;

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/traces/acme-four-weeks.jsonl.gz");

fn simulate(profile: Profile, keep: i64) -> Summary {
    let limits = Limits {
        surplus: Some(0),
        starved_after: Some(std::time::Duration::from_secs(600)),
        ..Limits::default()
    };
    let settings = Settings { profile, limits, ..Settings::default() };
    Toy::new(settings, &Trace::file(TRACE), Cut::WHOLE, keep).run()
}

fn small_spot(summary: &Summary) -> &ClassSummary {
    let is = |class: &&ClassSummary| class.class.join(" ") == "self-hosted linux x64 cpu-2 spot";
    summary.classes.iter().find(is).unwrap()
}

#[test]
fn the_ideal_month_has_the_known_queue_times() {
    let cold = simulate(Profile::ideal(), 0);
    let mean = small_spot(&cold).queue_time_s.mean.unwrap();
    assert!((mean - 47.8).abs() <= 2.0, "cold: {mean}");
    let fixed = simulate(Profile::ideal(), 8);
    let mean = small_spot(&fixed).queue_time_s.mean.unwrap();
    assert!((mean - 13.9).abs() <= 1.0, "fixed:8: {mean}");
    for summary in [&cold, &fixed] {
        assert!(summary.jobs.adds_up());
        assert_eq!((summary.jobs.lost, summary.jobs.killed), (0, 0));
        assert_eq!(summary.violations, Vec::<String>::new());
    }
}

/// The defaults' figures, printed: `cargo test -p muster-sim --release figures -- --nocapture`.
#[test]
fn the_month_with_the_default_profile_is_sound() {
    for keep in [0, 2] {
        let summary = simulate(Profile::default(), keep);
        assert!(summary.jobs.adds_up());
        assert_eq!((summary.jobs.lost, summary.jobs.killed), (0, 0));
        assert_eq!(summary.violations, Vec::<String>::new());
        let class = small_spot(&summary);
        println!("{} {:?} {:?} {:?}", summary.policy, class.queue_time_s, summary.cost_usd, summary.launches);
    }
}
