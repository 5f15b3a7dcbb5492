//! The two figures that independent models of this system agree on, and the sums of a whole month.

use crate::toy::Toy;
use std::time::Duration;

use muster_sim::report::ClassSummary;
use muster_sim::{Cut, Limits, Profile, Settings, Summary, Trace};

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/traces/acme-four-weeks.jsonl.gz");

fn simulate(profile: Profile, keep: i64, cut: Cut) -> Summary {
    let limits = Limits { surplus: Some(0), starved_after: Some(Duration::from_secs(600)), ..Limits::default() };
    let settings = Settings { profile, limits, ..Settings::default() };
    Toy::new(settings, &Trace::file(TRACE), cut, keep).run()
}

fn small_spot(summary: &Summary) -> &ClassSummary {
    let is = |class: &&ClassSummary| class.class.join(" ") == "self-hosted linux x64 cpu-2 spot";
    summary.classes.iter().find(is).expect("the trace has that class")
}

#[test]
fn the_ideal_month_has_the_known_queue_times() {
    let cold = simulate(Profile::ideal(), 0, Cut::WHOLE);
    let mean = small_spot(&cold).queue_time_s.mean.unwrap();
    assert!((mean - 47.8).abs() <= 2.0, "cold: {mean}");
    let fixed = simulate(Profile::ideal(), 8, Cut::WHOLE);
    let mean = small_spot(&fixed).queue_time_s.mean.unwrap();
    assert!((mean - 13.9).abs() <= 1.0, "fixed:8: {mean}");
    for summary in [&cold, &fixed] {
        assert!(summary.jobs.adds_up());
        assert_eq!((summary.jobs.lost, summary.jobs.killed), (0, 0));
        assert_eq!(summary.violations, Vec::<String>::new());
    }
}

#[test]
fn three_days_with_the_default_profile_is_sound() {
    let days = Cut::window(Duration::ZERO, Duration::from_secs(3 * 86_400));
    for keep in [0, 2] {
        let summary = simulate(Profile::default(), keep, days);
        assert!(summary.jobs.adds_up());
        assert_eq!((summary.jobs.lost, summary.jobs.killed), (0, 0));
        assert_eq!(summary.violations, Vec::<String>::new());
        // Webhook delay, tick, mint and pick-up add about four seconds to what machines take.
        let mean = small_spot(&summary).queue_time_s.mean.unwrap();
        let expected = if keep == 0 { 49.0..54.0 } else { 30.0..45.0 };
        assert!(expected.contains(&mean), "{}: {mean}", summary.policy);
    }
}
