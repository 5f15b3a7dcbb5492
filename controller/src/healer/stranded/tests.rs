//! Stranded jobs: which are, and what is done about their runs.

use futures_util::FutureExt;
use muster_core::ids::{JobId, RunnerId};
use muster_core::job::{Completed, JobEvent, JobEvidence, RunnerRef, STALL_ROUNDS_MAX, Stall, Started};
use muster_core::ports::{Batch, Listed};
use muster_core::rerun::{JobNow, Outcome};

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

/// A job that goes on, on that runner.
fn on(job: i64, runner: &str) -> JobNow {
    JobNow { job: JobId(job), conclusion: None, waits: false, runner: Some(RunnerName::new(runner)) }
}

fn open(job: i64) -> JobNow {
    on(job, runner().as_str())
}

fn over(job: i64, conclusion: Conclusion) -> JobNow {
    JobNow { conclusion: Some(conclusion), ..open(job) }
}

/// Job and run of the same number, ten times that.
fn numbered(n: i64) -> JobEvent {
    told(n, "linux", "acme/api", queued())
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
    fleet.records.lock().of_run = [1, 2].map(|job| over(job, Conclusion::Cancelled)).to_vec();
    let mut ended = JobRecord::from_event(&running(), at(0));
    ended.completed =
        Some(Completed { completed_at: at(5_000), conclusion: Conclusion::Cancelled, started_at: None, runner: None });
    let generation = fleet.store.generation().now_or_never().unwrap().unwrap();
    let batch = Batch { jobs: vec![ended], ..Batch::default() };
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
    let spoil: [Spoil<'_>; 9] = [
        ("it runs elsewhere", &|fleet| fleet.records.lock().of_run = vec![on(1, "linux-i-00000009-abcdef")]),
        ("another of its workflow has begun", &|fleet| {
            fleet.records.lock().superseded.insert(RUN);
        }),
        ("another job goes on", &|fleet| fleet.records.lock().of_run.push(open(2))),
        ("another job has failed", &|fleet| fleet.records.lock().of_run.push(over(2, Conclusion::Failure))),
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

impl Fleet {
    /// Jobs that no runner gets, and dead runners of their pool with a job, which this GitHub lists.
    fn with_unservable(self, jobs: &[i64], dead: &[RunnerName]) -> Fleet {
        for job in jobs {
            let mut job = JobRecord::from_event(&numbered(*job), at(0));
            job.stall = Some(Stall { at: at(300), rounds: STALL_ROUNDS_MAX });
            self.records.lock().runs.insert(job.about.run, RunNow { attempt: 1, conclusion: None });
            self.commits(&Batch { jobs: vec![job], ..Batch::default() });
        }
        self.lists_dead(dead);
        self
    }

    fn lists_dead(&self, dead: &[RunnerName]) {
        let one = |(id, name): (i64, &RunnerName)| Listed {
            id: RunnerId(id),
            name: name.clone(),
            online: false,
            busy: true,
            release: None,
        };
        self.records.lock().listed = (7..).zip(dead).map(one).collect();
    }
}

fn waiting(job: i64) -> JobNow {
    JobNow { waits: true, runner: None, ..open(job) }
}

#[test]
fn the_run_of_a_queued_job_that_a_dead_runner_holds_is_cancelled_while_it_waits_at_github() {
    let other = RunnerName::new("other-i-00000001-abcdef");
    for (dead, told, cancelled) in [(vec![runner()], 1, true), (vec![other], 0, false), (vec![], 0, false)] {
        let mut fleet = Fleet::rerunning().with_unservable(&[1], &dead);
        fleet.records.lock().of_run = vec![waiting(1)];
        // The list is known at the second look, and half an hour later it is long enough.
        let expected = if cancelled { vec![(LONG, false), (LONG + 600, true)] } else { vec![] };
        assert_eq!(fleet.cancelled_until(LONG + 1_800), expected);
        assert_eq!(fleet.found_at(LONG + 2_100), told);
    }
    let mut fleet = Fleet::rerunning().with_unservable(&[1], &[runner()]);
    fleet.records.lock().of_run = vec![on(1, "linux-i-00000009-abcdef")];
    assert_eq!(fleet.cancelled_until(LONG + 1_800), [], "our ledger is behind: it runs by now");
}

#[test]
fn of_more_queued_jobs_than_dead_runners_none_is_known_to_be_held() {
    let mut fleet = Fleet::rerunning().with_unservable(&[1, 2], &[runner()]);
    fleet.records.lock().of_run = vec![waiting(1)];
    assert_eq!(fleet.cancelled_until(LONG + 1_800), []);
    assert_eq!(fleet.found_at(LONG + 2_100), 2, "they are told");
}

#[test]
fn half_an_hour_counts_for_one_runner_that_is_dead_in_every_list() {
    let mut fleet = Fleet::rerunning().with_unservable(&[1], &[]);
    let another = RunnerName::new("linux-i-00000002-abcdef");
    for seconds in (0..=4_200).step_by(300) {
        // Another one each time.
        fleet.lists_dead(&[if seconds % 600 == 0 { runner() } else { another.clone() }]);
        assert_eq!(fleet.found_at(seconds), 0, "{seconds}");
    }
    for refused_at in [None, Some(1_500)] {
        let mut fleet = Fleet::rerunning().with_unservable(&[1], &[]);
        for seconds in (0..=4_200).step_by(300) {
            // One stays, another comes before it in the order and goes.
            let first = RunnerName::new("linux-i-00000000-abcdef");
            fleet.lists_dead(&[first, runner()][usize::from(seconds % 600 == 0)..]);
            if refused_at == Some(seconds) {
                fleet.records.lock().refuse =
                    Some(("registrations".to_owned(), GithubError::Unknown("a test".to_owned())));
            }
            let long = LONG + refused_at.map_or(0, |at| at + 300);
            assert_eq!(fleet.found_at(seconds), usize::from(seconds >= long), "{seconds} {refused_at:?}");
        }
    }
}

#[test]
fn a_dead_runner_whose_job_is_known_holds_no_other() {
    let mut fleet = Fleet::rerunning().stranded().with_unservable(&[2], &[runner()]);
    fleet.records.lock().of_run = vec![open(1)];
    assert_eq!(fleet.cancelled_until(LONG), [(LONG, false)], "the one that it has");
    let told = fleet.step_at(LONG + 300).stranded_jobs;
    assert_eq!(told.iter().map(|stranded| stranded.job.key.job).collect::<Vec<_>>(), [JobId(1)]);
}

/// The plan gives such a job another round every half an hour.
#[test]
fn a_job_that_is_tried_once_more_is_stranded_all_the_same() {
    let mut fleet = Fleet::rerunning().with_unservable(&[1], &[runner()]);
    fleet.records.lock().of_run = vec![waiting(1)];
    let mut cancelled = Vec::new();
    for seconds in (0..=LONG).step_by(300) {
        let mut job = JobRecord::from_event(&numbered(1), at(0));
        let rounds = if seconds % 600 == 0 { STALL_ROUNDS_MAX } else { STALL_ROUNDS_MAX - 1 };
        job.stall = Some(Stall { at: at(seconds), rounds });
        fleet.commits(&Batch { jobs: vec![job], ..Batch::default() });
        cancelled.extend(fleet.step_at(seconds).cancelled.iter().map(|(_, force)| (seconds, *force)));
    }
    assert_eq!(cancelled, [(LONG, false)]);
}

#[test]
fn all_runs_get_their_turn_and_one_that_github_refuses_to_cancel_is_left_to_people() {
    let many: Vec<i64> = (1..=12).collect();
    let names: Vec<RunnerName> = many.iter().map(|n| RunnerName::new(format!("linux-i-{n:08x}-abcdef"))).collect();
    let mut fleet = Fleet::rerunning().with_unservable(&many, &names);
    // The first of them are held up by something else, which does not keep the others from being cancelled.
    fleet.records.lock().of_run = many[8..].iter().map(|job| waiting(*job)).collect();
    let _ = fleet.cancelled_until(LONG + 900);
    let asked = std::mem::take(&mut fleet.records.lock().asked);
    let looked: BTreeSet<&String> = asked.iter().filter(|word| word.starts_with("jobs of")).collect();
    assert_eq!(looked.len(), many.len(), "{looked:?}");

    let mut fleet = Fleet::rerunning().stranded();
    let mut tries = 0;
    for seconds in (0..=LONG + 7_200).step_by(300) {
        fleet.refuses_cancel(GithubError::Rejected("403".to_owned()));
        let told = fleet.step_at(seconds).troubles;
        tries += told.iter().filter(|why| why.contains("403")).count();
        assert_eq!(told.iter().any(|why| why.contains("left to people")), tries == 6 && !told.is_empty(), "{told:?}");
    }
    assert_eq!(tries, 6);
}

#[test]
fn after_a_lost_answer_or_a_crash_it_is_asked_again_ten_minutes_later_and_never_by_force_first() {
    let mut fleet = Fleet::rerunning().stranded();
    fleet.refuses_cancel(GithubError::Unknown("a test".to_owned()));
    assert_eq!(fleet.cancelled_until(LONG), []);
    assert_eq!(fleet.records.lock().asked.iter().filter(|word| *word == "cancel 10").count(), 1);
    // The intent is in the ledger: another process does not ask at once, and knows by whom the run was cancelled.
    fleet.restart();
    assert_eq!(cancelled(&*fleet.store).now_or_never().unwrap().unwrap().len(), 1);
    assert_eq!(fleet.cancels([LONG + 300, LONG + 600, LONG + 1_200]), [(LONG + 600, false), (LONG + 1_200, true)]);
    for error in [GithubError::Rejected("403".to_owned()), GithubError::Limited { until: at(0) }] {
        let mut fleet = Fleet::rerunning().stranded();
        fleet.refuses_cancel(error);
        assert_eq!(fleet.cancelled_until(LONG), []);
        assert_eq!(cancelled(&*fleet.store).now_or_never().unwrap().unwrap(), [], "nothing has happened");
        assert_eq!(fleet.cancels([LONG + 300]), [(LONG + 300, false)]);
    }
}
