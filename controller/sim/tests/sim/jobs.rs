//! Jobs: what waits for what, who gets which, how cancellation and GitHub's limit end them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::world::{LINUX, World, exact, job, run, single};
use muster_core::ids::{ClassId, ShapeId, Zone};
use muster_sim::{Catalog, ClassInfo, Limits, Output, Profile, Service, Settings, ShapeInfo, ZONES};

#[test]
fn a_job_is_queued_when_all_entries_of_its_needs_are_complete() {
    let jobs = [
        job("build 1", "build", &[], LINUX, 10.0),
        job("build 2", "build", &[], LINUX, 30.0),
        job("lint", "lint", &[], LINUX, 5.0),
        job("test", "test", &["build", "lint"], LINUX, 7.5),
    ];
    let mut world = World::new(exact(), &[run(1, 100.0, None, &jobs)]);
    world.until(60.0);
    world.launch(4);
    let lines = world.until(200.0);
    let webhooks: Vec<&str> =
        lines.iter().map(String::as_str).filter(|l| l.contains("queued") || l.contains("completed")).collect();
    assert_eq!(
        webhooks,
        [
            "100 build 1 queued",
            "100 build 2 queued",
            "100 lint queued",
            "105 lint completed success",
            "110 build 1 completed success",
            "130 build 2 completed success",
            "130 test queued",
            "137.5 test completed success",
        ]
    );
    let summary = world.universe.summary("hand");
    assert_eq!((summary.jobs.queued, summary.jobs.completed), (4, 4));
    assert_eq!(summary.queue_time_s.max, Some(0.0));
    assert!(world.universe.finished());
}

#[test]
fn jobs_that_one_end_frees_are_queued_and_served_in_the_order_of_the_run() {
    let jobs = [
        job("build", "build", &[], LINUX, 10.0),
        job("first", "test", &["build"], LINUX, 5.0),
        job("second", "lint", &["build"], LINUX, 5.0),
        job("third", "docs", &["build"], LINUX, 5.0),
    ];
    let mut world = World::new(exact(), &[run(1, 100.0, None, &jobs)]);
    world.until(0.0);
    world.launch(1);
    let mut lines = world.until(111.0);
    assert_eq!(lines.split_off(lines.len() - 3), ["110 first queued", "110 second queued", "110 third queued"]);
    let mut started = Vec::new();
    for minute in 2..=4_u32 {
        world.launch(1);
        let lines = world.until(60.0 * f64::from(minute) + 50.0);
        started.extend(lines.into_iter().filter_map(|line| line.strip_suffix(" in_progress").map(ToOwned::to_owned)));
    }
    let names: Vec<&str> = started.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(names, ["first", "second", "third"]);
}

#[test]
fn a_cancelled_run_ends_each_job_as_it_stands() {
    let jobs = [
        job("runs", "a", &[], LINUX, 500.0),
        job("waits", "b", &[], LINUX, 500.0),
        job("never", "c", &["a"], LINUX, 500.0),
    ];
    let mut world = World::new(exact(), &[run(1, 0.0, Some(70.0), &jobs)]);
    world.until(0.0);
    world.launch(1);
    let lines = world.until(100.0);
    let ends: Vec<&str> =
        lines.iter().map(String::as_str).filter(|l| l.contains("completed") || l.contains("done")).collect();
    assert_eq!(
        ends,
        [
            "70 done { ran_job: true }",
            "70 runs completed cancelled",
            "70 never completed skipped unrun",
            "70 waits completed cancelled unrun"
        ]
    );
    let summary = world.universe.summary("hand");
    assert_eq!((summary.jobs.queued, summary.jobs.cancelled, summary.jobs.skipped), (2, 2, 1));
    assert!(summary.jobs.adds_up());
    // The running job waited for the boot; the other never started.
    assert_eq!(summary.queue_time_s.max, Some(40.0));
}

#[test]
fn a_cancelled_job_that_no_listener_has_heard_of_leaves_the_runner_idle() {
    let profile = Profile { pick_up: Duration::from_secs(10), ..exact() };
    let first = run(1, 50.0, Some(3.0), &[job("gone", "gone", &[], LINUX, 5.0)]);
    let mut world = World::new(profile.clone(), &[first, single(2, 60.0, "next", 5.0)]);
    world.until(0.0);
    world.launch(1);
    let lines = world.until(100.0);
    assert_eq!(
        lines[2..],
        [
            "50 gone queued",
            "53 gone completed cancelled unrun",
            "60 next queued",
            "65 busy",
            "70 next in_progress",
            "75 done { ran_job: true }",
            "75 next completed success"
        ]
    );
    // Cancelled 2 s after the listener heard: the job starts and stops at once, and the runner is used up.
    let heard = run(1, 50.0, Some(7.0), &[job("gone", "gone", &[], LINUX, 5.0)]);
    let mut world = World::new(profile, &[heard]);
    world.until(0.0);
    world.launch(1);
    let lines = world.until(100.0);
    assert_eq!(lines[3..], ["55 busy", "57 done { ran_job: true }", "57 gone completed cancelled"]);
    assert!(world.universe.summary("hand").jobs.adds_up());
}

#[test]
fn waiting_jobs_go_out_first_in_first_out_and_any_idle_runner_gets_one() {
    let lines: Vec<String> = (0..8).map(|n| single(n, f64::from(n), &format!("j{n}"), 1_000.0)).collect();
    let mut world = World::new(exact(), &lines);
    world.until(10.0);
    world.launch(8);
    let starts: Vec<String> = world.until(60.0).into_iter().filter(|l| l.contains("in_progress")).collect();
    let order: Vec<&str> = starts.iter().map(|l| l.split(' ').nth(1).unwrap()).collect();
    assert_eq!(order, ["j0", "j1", "j2", "j3", "j4", "j5", "j6", "j7"]);

    // Of ten idle runners a job gets any: over seeds, most of them occur.
    let mut got = BTreeSet::new();
    for seed in 0..40 {
        let settings = Settings { profile: exact(), seed, ..Settings::default() };
        let mut world = World::with(settings, &[single(1, 100.0, "one", 10.0)]);
        world.until(0.0);
        let instances = world.launch(10);
        world.until(99.0);
        world.answer = false;
        let to = world.at(100.0);
        while let Some((_, output)) = world.universe.step(to).unwrap() {
            if let Output::Report { instance, .. } = output {
                got.insert(instances.iter().position(|i| *i == instance).unwrap());
            }
        }
    }
    assert!(got.len() >= 8, "{got:?}");
}

#[test]
fn a_runner_gets_only_jobs_that_its_labels_cover() {
    let other = run(1, 0.0, None, &[job("large", "large", &[], r#"["linux","cpu-8"]"#, 5.0)]);
    let few = run(2, 1.0, None, &[job("few", "few", &[], r#"["Linux"]"#, 5.0)]);
    let exactly = single(3, 2.0, "exact", 5.0);
    let mut world = World::new(exact(), &[other, few, exactly]);
    world.until(10.0);
    assert_eq!(world.class().labels.join(" "), "linux cpu-2");
    world.launch(3);
    let starts: Vec<String> = world.until(200.0).into_iter().filter(|l| l.contains("in_progress")).collect();
    assert_eq!(starts, ["50 few in_progress", "50 exact in_progress"]);
}

#[test]
fn github_gives_a_job_up_after_a_day() {
    let limits = Limits { starved_after: Some(Duration::from_secs(600)), ..Limits::default() };
    let settings = Settings { profile: exact(), limits, ..Settings::default() };
    let jobs = [job("waits", "waits", &[], LINUX, 5.0), job("after", "after", &["waits"], LINUX, 5.0)];
    let lines = [run(1, 10.0, None, &jobs), single(2, 20.0, "hopeless", 5.0)];
    let mut world = World::with(settings, &lines);
    world.until(15.0);
    let shape = world.class().shapes[0].clone();
    for zone in ZONES {
        world.universe.set_capacity(&shape, &Zone::new(zone), false);
    }
    let launch = world.intent(3);
    let reply = world.launch_intent(&launch).unwrap();
    assert!(reply.instances.is_empty() && reply.error.is_some());
    let lines = world.until(86_500.0);
    assert_eq!(
        lines,
        [
            "20 hopeless queued",
            "86410 waits completed cancelled unrun",
            "86410 after completed skipped unrun",
            "86420 hopeless completed cancelled unrun"
        ]
    );
    let summary = world.universe.summary("hand");
    assert_eq!((summary.jobs.lost, summary.jobs.expired, summary.jobs.skipped), (1, 1, 1));
    assert_eq!(summary.launches.failed, 3);
    assert!(summary.jobs.adds_up() && world.universe.finished());
}

#[test]
fn a_job_that_nobody_helps_is_starved() {
    let limits = Limits { starved_after: Some(Duration::from_secs(600)), max_runners: Some(1), ..Limits::default() };
    let settings = Settings { profile: exact(), limits, ..Settings::default() };
    let mut world = World::with(settings, &[single(1, 0.0, "waits", 5.0), single(2, 0.0, "too", 5.0)]);
    world.until(1_300.0);
    assert_eq!(world.universe.watch().violations().len(), 4, "{:?}", world.universe.watch().violations());
    // At the maximum nothing can be done, and what is on its way is help.
    world.launch(1);
    world.until(1_345.0);
    let before = world.universe.watch().violations().len();
    world.until(1_351.0);
    assert_eq!(world.universe.watch().violations().len(), before);
    world.until(3_000.0);
    assert_eq!(world.universe.watch().violations().len(), before, "the machine that ran still fills the fleet");
}

/// Labels `hosted` are GitHub's, all others nobody's.
struct Stranger;

impl Catalog for Stranger {
    fn serve(&self, labels: &[Arc<str>], _repository: &str, _public: bool) -> Service {
        if labels.iter().any(|label| &**label == "hosted") { Service::Hosted } else { Service::Nobody }
    }

    fn class(&self, _id: &ClassId) -> Option<ClassInfo> {
        None
    }

    fn shape(&self, _id: &ShapeId) -> Option<ShapeInfo> {
        None
    }
}

#[test]
fn jobs_of_others_are_run_by_github_or_by_nobody() {
    let jobs = [
        job("theirs", "theirs", &[], r#"["hosted"]"#, 20.0),
        job("nobody's", "nobody", &["theirs"], r#"["exotic"]"#, 5.0),
    ];
    let limits = Limits { starved_after: Some(Duration::from_secs(600)), ..Limits::default() };
    let settings = Settings { profile: exact(), limits, ..Settings::default() };
    let mut world = World::with(settings, &[run(1, 0.0, None, &jobs)]);
    world.universe.set_catalog(Stranger);
    assert_eq!(
        world.until(100_000.0),
        [
            "0 theirs queued",
            "10 theirs in_progress",
            "30 theirs completed success unrun",
            "30 nobody's queued",
            "86430 nobody's completed cancelled unrun"
        ]
    );
    let summary = world.universe.summary("hand");
    assert_eq!((summary.jobs.queued, summary.jobs.lost, summary.violations.len()), (1, 1, 0));
    assert_eq!(summary.classes[0].class, ["exotic".into()]);
}
