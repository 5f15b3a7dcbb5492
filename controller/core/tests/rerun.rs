//! Which jobs count as interrupted, and when their run may be run again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::collections::{BTreeMap, BTreeSet};

use fixture::{about, at, config, hear, key, machine, purpose, queued, s};
use muster_core::config::FleetConfig;
use muster_core::ids::{JobId, RunId, RunnerName};
use muster_core::job::{Completed, Conclusion, JobEvent, JobEvidence, JobRecord};
use muster_core::machine::{Machine, Origin, Report};
use muster_core::plan::{Action, Policy, plan};
use muster_core::ports::Snapshot;
use muster_core::rerun::{
    InterruptedJob, JobNow, Outcome, REMEMBERED_FOR, REMEMBERED_MAX, RunNow, judge, judge_jobs, only_stranded, remember,
};
use muster_core::time::Timestamp;
use muster_core::world::World;

fn pools(reruns: u32) -> FleetConfig {
    let pools = include_str!("scenarios/linux.toml").replace("max_job_hours = 6", "max_job_hours = 6\nRERUNS");
    config(&format!("[fleet]\n{}", pools.replace("RERUNS", &format!("rerun_interrupted = {reruns}"))))
}

/// A machine that the cloud took at 100 from under the first job.
fn taken() -> Machine {
    let mut machine = machine(1, &purpose(&pools(1), "linux/cpu-2/spot", None, "a", Origin::Cold), "busy", at(-600));
    (machine.job, machine.gone_at) = (Some(key(1)), Some(at(100)));
    machine
}

/// The first job, ended then.
fn ended(at: Timestamp, conclusion: Conclusion) -> JobRecord {
    let completed = Completed { completed_at: at, conclusion, started_at: None, runner: None };
    let mut job = queued(1, about("acme/api", "linux"), at - s(700));
    let event = JobEvent { key: key(1), about: job.about.clone(), evidence: JobEvidence::Completed(completed) };
    job.merge(&JobRecord::from_event(&event, at));
    job
}

fn found(machine: &Machine, job: &JobRecord) -> bool {
    InterruptedJob::of(machine, job, &pools(1), at(200)).is_some()
}

#[test]
fn a_job_is_interrupted_if_its_machine_was_taken_and_nothing_else_ended_it() {
    let job = ended(at(110), Conclusion::Failure);
    assert!(found(&taken(), &job) && found(&taken(), &ended(at(90), Conclusion::Cancelled)));
    assert!(InterruptedJob::of(&taken(), &job, &pools(0), at(200)).is_none(), "its pool does not want it");
    for conclusion in [Conclusion::Success, Conclusion::Skipped, Conclusion::TimedOut] {
        assert!(!found(&taken(), &ended(at(110), conclusion)));
    }
    let reports = [Report::Done { ran_job: true }, Report::Drained, Report::Failed { why: "the disk is full".into() }];
    for report in reports {
        let mut told = taken();
        hear(&mut told, at(95), report.clone());
        assert!(!found(&told, &job), "{report:?}");
    }
    assert!(!found(&Machine { terminate_at: Some(at(90)), ..taken() }, &job), "we have ended it");
    assert!(!found(&Machine { gone_at: None, ..taken() }, &job));
    assert!(!found(&Machine { job: Some(key(2)), ..taken() }, &job));
    let job_of_its_own = ended(at(100 - 241), Conclusion::Failure);
    assert!(!found(&taken(), &job_of_its_own), "its agent could not tell, and has switched the machine off");
    assert!(!found(&taken(), &ended(at(106), Conclusion::Cancelled)), "somebody has cancelled it, its runner was gone");
    let warned = Machine { interrupted_at: Some(at(100)), ..taken() };
    assert!(found(&warned, &job) && found(&warned, &ended(at(95), Conclusion::Failure)));
    assert!(!found(&warned, &ended(at(94), Conclusion::Failure)), "it failed before the cloud said anything");
}

#[test]
fn a_machine_that_was_taken_is_remembered_until_its_job_is_over() {
    let config = pools(1);
    let forgets = |machine: Machine, job: JobRecord, now| {
        let snapshot = Snapshot { machines: vec![machine], jobs: vec![job], ..Snapshot::default() };
        let planned = plan(&World::from_snapshot(snapshot, &config), &config, Policy::Cold, now);
        planned.steps.iter().any(|step| matches!(step.action, Action::Forget { .. }))
    };
    let job = queued(1, about("acme/api", "linux"), at(-600));
    let later = at(100) + s(24 * 3_600);
    assert!(!forgets(taken(), job.clone(), at(101)) && !forgets(taken(), job.clone(), later));
    assert!(forgets(taken(), job.clone(), later + s(1)), "not for ever");
    assert!(forgets(taken(), queued(2, about("acme/api", "linux"), at(0)), at(101)), "it is over");
    assert!(forgets(Machine { terminate_at: Some(at(90)), ..taken() }, job, at(101)), "we have ended it");
}

#[test]
fn one_that_was_busy_is_remembered_until_github_has_had_time_to_name_its_job() {
    let forgets = |reruns, machine: Machine, now| {
        let config = pools(reruns);
        let snapshot = Snapshot { machines: vec![machine], ..Snapshot::default() };
        let planned = plan(&World::from_snapshot(snapshot, &config), &config, Policy::Cold, now);
        planned.steps.iter().any(|step| matches!(step.action, Action::Forget { .. }))
    };
    let unnamed = || Machine { job: None, ..taken() };
    let longest = at(100) + s(70 * 60);
    assert!(!forgets(1, unnamed(), longest) && forgets(1, unnamed(), longest + s(1)));
    assert!(forgets(0, unnamed(), at(101)), "nobody wants to know");
    assert!(forgets(1, Machine { terminate_at: Some(at(90)), ..unnamed() }, at(101)), "we have ended it");
    // GitHub names it after all: then it is forgotten, and what became of the job is looked at.
    assert!(forgets(1, taken(), at(101)));
}

#[test]
fn a_run_is_run_again_once_it_has_failed_and_within_its_limit() {
    let run = |attempt, conclusion| RunNow { attempt, conclusion };
    let failed = || Some(Conclusion::Failure);
    assert_eq!(judge(&run(1, None), 1, 1), Err(None));
    assert_eq!(judge(&run(1, failed()), 1, 1), Ok(()));
    assert_eq!(judge(&run(2, failed()), 1, 1), Err(Some(Outcome::Already)));
    assert_eq!(judge(&run(2, None), 1, 1), Err(Some(Outcome::Already)));
    assert_eq!(judge(&run(2, failed()), 2, 1), Err(Some(Outcome::Limit)));
    assert_eq!(judge(&run(2, failed()), 2, 2), Ok(()));
    assert_eq!(
        judge(&run(1, Some(Conclusion::Success)), 1, 1),
        Err(Some(Outcome::Succeeded)),
        "it goes on without the job"
    );
    assert_eq!(judge(&run(1, Some(Conclusion::Cancelled)), 1, 1), Ok(()), "its jobs tell who has cancelled it");
}

/// A job of a run, ended or on a runner.
fn job(n: i64, conclusion: Option<Conclusion>) -> JobNow {
    JobNow { job: JobId(n), conclusion, waits: false, runner: Some(RunnerName::new(format!("runner-{n}"))) }
}

#[test]
fn one_job_that_failed_by_itself_keeps_its_run_from_being_run_again() {
    let interrupted: BTreeSet<JobId> = [JobId(1), JobId(2)].into();
    let mut ended = vec![
        job(1, Some(Conclusion::Failure)),
        job(2, Some(Conclusion::Cancelled)),
        job(3, Some(Conclusion::Success)),
        job(4, Some(Conclusion::Skipped)),
        job(5, Some(Conclusion::Cancelled)),
    ];
    assert_eq!(judge_jobs(&ended, false, &interrupted), Ok(()));
    for conclusion in [Conclusion::Failure, Conclusion::TimedOut, Conclusion::from_word("new")] {
        ended.push(job(6, Some(conclusion)));
        assert_eq!(judge_jobs(&ended, false, &interrupted), Err(Outcome::FailedItself));
        ended.pop();
    }
    assert_eq!(judge_jobs(&ended, true, &interrupted), Err(Outcome::Cancelled), "job 5 was cancelled by somebody");
    ended.pop();
    assert_eq!(judge_jobs(&ended, true, &interrupted), Ok(()), "its runner was told to stop");
}

#[test]
fn a_run_is_cancelled_only_if_nothing_goes_on_in_it_but_stranded_jobs() {
    let on = |n: i64| (JobId(n), RunnerName::new(format!("runner-{n}")));
    let stranded: BTreeMap<JobId, RunnerName> = [on(1), on(2)].into();
    let held_up = vec![job(1, None), job(3, Some(Conclusion::Success)), job(4, Some(Conclusion::Cancelled))];
    assert!(only_stranded(&held_up, &stranded));
    for (other, why) in [(None, "it goes on"), (Some(Conclusion::Failure), "it would not be run again")] {
        let jobs: Vec<_> = held_up.iter().cloned().chain([job(5, other)]).collect();
        assert!(!only_stranded(&jobs, &stranded), "{why}");
    }
    assert!(!only_stranded(&held_up[1..], &stranded), "it is over");
    let waits = JobNow { waits: true, runner: None, ..job(1, None) };
    assert!(only_stranded(&[waits], &stranded), "no runner has it yet");
    let elsewhere = JobNow { runner: Some(RunnerName::new("runner-9")), ..job(1, None) };
    assert!(!only_stranded(&[elsewhere], &stranded), "it has begun on another runner");
    assert!(!only_stranded(&[JobNow { runner: None, ..job(1, None) }], &stranded), "it goes on, who knows where");
}

#[test]
fn interrupted_jobs_are_remembered_once_and_not_for_ever() {
    let one = InterruptedJob::of(&taken(), &ended(at(110), Conclusion::Failure), &pools(1), at(200)).unwrap();
    let mut known = Vec::new();
    remember(&mut known, vec![one.clone(), one.clone()], at(200));
    remember(&mut known, vec![one.clone()], at(201));
    assert_eq!(known, std::slice::from_ref(&one));
    let another = |n: usize, run| InterruptedJob { key: key(n as i64), run: RunId(run), ..one.clone() };
    // Two jobs of the oldest run, and then one too many.
    remember(&mut known, vec![another(2, one.run.0)], at(202));
    let many = (3..).take(REMEMBERED_MAX - 1).map(|n| another(n, 1_000_000 + n as i64));
    assert_eq!(remember(&mut known, many.collect(), at(203)), 2, "the oldest run goes, all of it");
    assert_eq!((known.len(), known[0].key), (REMEMBERED_MAX - 1, key(3)));
    remember(&mut known, vec![], at(200) + REMEMBERED_FOR);
    assert_eq!(known, []);
}
