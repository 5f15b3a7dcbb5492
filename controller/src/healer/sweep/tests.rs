//! Sweeps of a GitHub that remembers what a test tells it.

use muster_core::ids::RunId;
use muster_core::job::Started;

use super::*;
use crate::healer::tests::{Fleet, at, keys, queued, told};

/// A repository never seen before, whose webhook is in no log.
#[test]
fn a_sweep_finds_what_waits_where_something_was_pushed() {
    let mut fleet = Fleet::new();
    {
        let mut memory = fleet.records.lock();
        memory.pushed = vec!["acme/new".into(), "acme/quiet".into()];
        let jobs = vec![told(1, "linux", "acme/new", queued()), told(2, "gpu-of-others", "acme/new", queued())];
        memory.waiting.insert("acme/new".into(), jobs);
    }
    let healed = fleet.step_at(0);
    assert_eq!(healed.swept, [(keys(&[1])[0], Duration::ZERO)], "what no class serves is none of our business");
    assert_eq!(fleet.facts().len(), 1);
    fleet.asked();
    fleet.step_at(60);
    assert_eq!(fleet.asked(), ["log"], "it is not time");
    assert_eq!(fleet.step_at(300).swept, [], "it is known");
    assert_eq!(fleet.asked(), ["log", "pushed", "waiting acme/new", "waiting acme/quiet"]);
}

#[test]
fn repositories_take_turns() {
    let mut fleet = Fleet::new();
    fleet.records.lock().pushed = (0..70).map(|n| format!("acme/{n:02}").into()).collect();
    let mut asked = |seconds| {
        fleet.step_at(seconds);
        let asked = fleet.asked();
        asked.iter().filter_map(|word| word.strip_prefix("waiting acme/").map(str::to_owned)).collect::<Vec<_>>()
    };
    let turns: Vec<Vec<String>> = (0..5).map(|turn| asked(turn * 300)).collect();
    assert!(turns.iter().all(|turn| turn.len() == REPOSITORIES_MAX));
    let all = turns.concat();
    assert_eq!((all[0].as_str(), all[69].as_str(), all[70].as_str()), ("00", "69", "00"));
}

#[test]
fn a_run_whose_webhooks_arrive_is_not_looked_into_and_a_silent_one_is_every_quarter_of_an_hour() {
    let mut fleet = Fleet::new();
    fleet.knows(&told(1, "linux", "acme/api", queued()), 0);
    fleet.records.lock().waiting.insert("acme/api".into(), Vec::new());
    let run = told(1, "linux", "acme/api", queued()).about.run;
    let mut looked_at = Vec::new();
    for seconds in (0..=3_000).step_by(300) {
        fleet.step_at(seconds);
        if !fleet.records.lock().let_be.contains(&run) {
            looked_at.push(seconds);
        }
    }
    assert_eq!(looked_at, [300, 1_200, 2_100, 3_000]);
    // Something is heard of it again.
    let started = JobEvidence::InProgress(Started { started_at: at(3_100), runner: None });
    fleet.knows(&told(1, "linux", "acme/api", started), 3_100);
    let mut looked = |seconds| {
        fleet.step_at(seconds);
        !fleet.records.lock().let_be.contains(&run)
    };
    assert_eq!([looked(3_300), looked(3_600), looked(3_900)], [true, false, false]);
}

/// Thousands of long jobs are silent for hours: the sweep looks into as many as the bucket allows, each in its turn.
#[test]
fn silent_runs_are_looked_into_in_turn_as_far_as_the_requests_go() {
    let runs = 400;
    let mut fleet = Fleet::new();
    for job in 1..=runs {
        fleet.knows(&told(job, "linux", "acme/api", queued()), 0);
    }
    fleet.records.lock().waiting.insert("acme/api".into(), Vec::new());
    let all: BTreeSet<RunId> = (1..=runs).map(|job| told(job, "linux", "acme/api", queued()).about.run).collect();
    let (mut looks, mut lists) = (Vec::new(), 0);
    for seconds in (300..=86_400).step_by(300) {
        fleet.step_at(seconds);
        if fleet.asked().contains(&"waiting acme/api".to_owned()) {
            lists += 1;
            looks.extend(all.difference(&fleet.records.lock().let_be).copied());
        }
    }
    let seen: BTreeSet<RunId> = looks.iter().copied().collect();
    assert_eq!(seen, all, "each has its turn");
    let first: BTreeSet<RunId> = looks[..all.len()].iter().copied().collect();
    assert_eq!(first, all, "none twice before each was once");
    let requests = u64::from(LISTS) * lists + looks.len() as u64;
    let allowed = u64::from(SAVED_MAX) + 288 * u64::from(A_STEP);
    assert!(requests <= allowed && requests * 10 > allowed * 9, "{requests} of {allowed}");
}
