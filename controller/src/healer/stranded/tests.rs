//! Stranded jobs: which are, and what is done about their runs.

use futures_util::FutureExt;
use muster_core::ids::RunnerId;
use muster_core::job::{Completed, JobEvent, JobEvidence, RunnerRef, STALL_ROUNDS_MAX, Stall, Started};
use muster_core::ports::{Batch, Listed};
use muster_core::rerun::Outcome;

use super::*;
use crate::healer::tests::{Fleet, at, queued, told};
use crate::reconcile::tests::{config as two_classes, machine};

const RUN: RunId = RunId(10);
const GONE: u64 = 100;
/// The first look after that at which it is long enough, looks being five minutes apart.
const LONG: u64 = 2_100;

fn runner() -> RunnerName {
    RunnerName::new("linux-i-00000001-abcdef")
}

fn running() -> JobEvent {
    let runner = RunnerRef { id: Some(RunnerId(7)), name: runner() };
    told(1, "linux", "acme/api", JobEvidence::InProgress(Started { started_at: at(0), runner: Some(runner) }))
}

fn taken() -> Machine {
    let job = JobKey { job: JobId(1), attempt: 1 };
    Machine { job: Some(job), gone_at: Some(at(GONE)), ..machine(&two_classes(), 0, 1, at(0)) }
}

fn open(job: i64) -> (JobId, Option<Conclusion>) {
    (JobId(job), None)
}

impl Fleet {
    /// The one job of a run that goes on is in progress on a machine that the cloud took.
    fn stranded(self) -> Fleet {
        self.knows(&running(), 0);
        self.has(taken());
        self.records.lock().runs.insert(RUN, RunNow { attempt: 1, conclusion: None });
        self.records.lock().of_run = vec![open(1)];
        self
    }

    /// What was asked for so far, and what was cancelled.
    fn cancels(&mut self, seconds: impl IntoIterator<Item = u64>) -> Vec<(u64, bool)> {
        let looks = seconds.into_iter();
        looks.flat_map(|s| self.step_at(s).cancelled.into_iter().map(move |(_, force)| (s, force))).collect()
    }

    /// Looks every five minutes, up to then.
    fn cancelled_until(&mut self, seconds: u64) -> Vec<(u64, bool)> {
        self.cancels((0..=seconds).step_by(300))
    }

    fn found_at(&mut self, seconds: u64) -> usize {
        self.step_at(seconds).stranded_jobs.len()
    }

    fn refuses_cancel(&self, error: GithubError) {
        self.records.lock().refuse = Some(("cancel 10".to_owned(), error));
    }
}

#[test]
fn a_job_on_a_machine_that_is_gone_is_told_after_half_an_hour_and_left_to_people() {
    let mut fleet = Fleet::new().stranded();
    assert_eq!([1_800, LONG, LONG + 300].map(|seconds| fleet.found_at(seconds)), [0, 1, 1]);
    assert!(!fleet.records.lock().asked.iter().any(|word| word.starts_with("run") || word.contains("cancel")));
    let mut fleet = Fleet::new().stranded();
    fleet.has(Machine { gone_at: None, ..taken() });
    assert_eq!([1_800, LONG, 7_200].map(|seconds| fleet.found_at(seconds)), [0; 3], "its machine is there");
}

#[test]
fn its_run_is_cancelled_then_by_force_and_run_again_when_it_is_over() {
    let mut fleet = Fleet::rerunning().stranded();
    assert_eq!(fleet.cancelled_until(LONG + 1_800), [(LONG, false), (LONG + 600, true)]);
    // It ends as cancelled, with what needed the job: by nobody but us.
    fleet.records.lock().runs.insert(RUN, RunNow { attempt: 1, conclusion: Some(Conclusion::Cancelled) });
    fleet.records.lock().of_run = [1, 2].map(|job| (JobId(job), Some(Conclusion::Cancelled))).to_vec();
    let mut over = JobRecord::from_event(&running(), at(0));
    over.completed =
        Some(Completed { completed_at: at(5_000), conclusion: Conclusion::Cancelled, started_at: None, runner: None });
    let generation = fleet.store.generation().now_or_never().unwrap().unwrap();
    let batch = Batch { jobs: vec![over], ..Batch::default() };
    fleet.store.commit(&batch, generation).now_or_never().unwrap().unwrap();
    let healed = fleet.step_at(LONG + 2_100);
    assert_eq!(healed.stranded_jobs, []);
    assert_eq!(
        healed.reruns.iter().map(|rerun| (rerun.run, rerun.outcome)).collect::<Vec<_>>(),
        [(RUN, Outcome::Rerun)]
    );
}

/// What keeps a run from being cancelled, and how it comes about.
type Spoil<'a> = (&'a str, &'a dyn Fn(&Fleet));

#[test]
fn a_run_is_not_cancelled_for_what_else_is_or_was_in_it() {
    let spoil: [Spoil<'_>; 7] = [
        ("another job goes on", &|fleet| fleet.records.lock().of_run.push(open(2))),
        ("another job has failed", &|fleet| fleet.records.lock().of_run.push((JobId(2), Some(Conclusion::Failure)))),
        ("it is over", &|fleet| {
            fleet.records.lock().runs.insert(RUN, RunNow { attempt: 1, conclusion: Some(Conclusion::Failure) });
        }),
        ("it runs again", &|fleet| {
            fleet.records.lock().runs.insert(RUN, RunNow { attempt: 2, conclusion: None });
        }),
        ("nobody sees it", &|fleet| fleet.records.lock().runs.clear()),
        ("we have ended the machine", &|fleet| fleet.has(Machine { terminate_at: Some(at(1)), ..taken() })),
        ("a freeze", &|fleet| fleet.store.set_switch(Switch::Freeze).now_or_never().unwrap().unwrap()),
    ];
    for (why, spoils) in spoil {
        let mut fleet = Fleet::rerunning().stranded();
        spoils(&fleet);
        assert_eq!(fleet.cancelled_until(LONG + 1_800), [], "{why}");
        assert_eq!(fleet.found_at(LONG + 2_100), 1, "{why}: it is told all the same");
    }
}

#[test]
fn a_queued_job_that_no_runner_gets_is_told_if_a_dead_runner_of_its_pool_has_a_job_and_nothing_is_cancelled() {
    let dead = Listed { id: RunnerId(7), name: runner(), online: false, busy: true, release: None };
    let other = Listed { name: RunnerName::new("other-i-00000001-abcdef"), ..dead.clone() };
    for (listed, is_told) in [(vec![dead], 1), (vec![other], 0), (vec![], 0)] {
        let mut fleet = Fleet::rerunning();
        let mut job = JobRecord::from_event(&told(1, "linux", "acme/api", queued()), at(0));
        job.stall = Some(Stall { at: at(300), rounds: STALL_ROUNDS_MAX });
        let batch = Batch { jobs: vec![job], ..Batch::default() };
        fleet
            .store
            .commit(&batch, fleet.store.generation().now_or_never().unwrap().unwrap())
            .now_or_never()
            .unwrap()
            .unwrap();
        fleet.records.lock().listed = listed;
        fleet.records.lock().runs.insert(RUN, RunNow { attempt: 1, conclusion: None });
        fleet.records.lock().of_run = vec![open(1)];
        assert_eq!(fleet.cancelled_until(LONG + 1_800), []);
        assert_eq!(fleet.found_at(LONG + 2_100), is_told);
    }
}

#[test]
fn a_request_is_not_repeated_after_a_lost_answer_or_a_crash_and_is_after_a_refusal() {
    let mut fleet = Fleet::rerunning().stranded();
    fleet.refuses_cancel(GithubError::Unknown("a test".to_owned()));
    assert_eq!(fleet.cancelled_until(LONG), [(LONG, false)]);
    fleet.restart();
    assert_eq!(fleet.cancels([LONG + 300, LONG + 600]), [(LONG + 600, true)], "another process knows");
    for error in [GithubError::Rejected("403".to_owned()), GithubError::Limited { until: at(0) }] {
        let mut fleet = Fleet::rerunning().stranded();
        fleet.refuses_cancel(error);
        assert_eq!(fleet.cancelled_until(LONG + 300), [(LONG + 300, false)]);
    }
}
