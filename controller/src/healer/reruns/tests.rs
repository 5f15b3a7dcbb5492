//! Re-runs: when GitHub is asked, and that nothing is asked twice.

use futures_util::FutureExt;
use muster_core::ids::PoolName;
use muster_core::job::Conclusion;
use muster_core::rerun::{JobNow, RunNow};
use muster_store::MemoryStore;

use super::*;
use crate::healer::tests::{Fleet, at, queued, told as event};

const RUN: RunId = RunId(10);

fn job(n: i64, attempt: u32) -> InterruptedJob {
    let (key, repository, pool) = (JobKey { job: JobId(n), attempt }, "acme/api".into(), PoolName::new("linux"));
    InterruptedJob { key, run: RUN, repository, pool, at: at(0) }
}

fn ended(job: i64, conclusion: Conclusion) -> JobNow {
    JobNow { job: JobId(job), conclusion: Some(conclusion), waits: false, runner: None }
}

fn failed(job: i64) -> JobNow {
    ended(job, Conclusion::Failure)
}

impl Fleet {
    /// Jobs 1 and 2 of a run lost their machines, and the run has failed.
    fn interrupted() -> Fleet {
        let fleet = Fleet::rerunning();
        fleet.puts_down(&[job(1, 1), job(2, 1)]);
        fleet.records.lock().runs.insert(RUN, RunNow { attempt: 1, conclusion: Some(Conclusion::Failure) });
        fleet.records.lock().of_run = vec![failed(1), failed(2)];
        fleet
    }

    fn puts_down(&self, jobs: &[InterruptedJob]) {
        let text = serde_json::to_string(jobs).unwrap();
        self.store.put_note(rerun::NOTE, &text).now_or_never().unwrap().unwrap();
    }

    fn outcomes(&mut self, seconds: u64) -> Vec<(usize, Outcome)> {
        self.step_at(seconds).reruns.into_iter().map(|rerun| (rerun.jobs.len(), rerun.outcome)).collect()
    }

    fn asked_of_runs(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.records.lock().asked);
        asked
            .into_iter()
            .filter(|word| ["run", "jobs of", "later", "rerun"].iter().any(|one| word.starts_with(one)))
            .collect()
    }

    fn refuses(&self, word: &str, error: GithubError) {
        self.records.lock().refuse = Some((word.to_owned(), error));
    }
}

fn noted(store: &MemoryStore) -> String {
    store.note(NOTE).now_or_never().unwrap().unwrap().unwrap_or_default()
}

#[test]
fn one_request_runs_all_interrupted_jobs_of_a_run_again() {
    let mut fleet = Fleet::interrupted();
    assert_eq!(fleet.outcomes(0), [(2, Outcome::Rerun)]);
    assert_eq!(fleet.asked_of_runs(), ["run 10", "jobs of 10 #1", "later than 10", "rerun 10"]);
    for seconds in [60, 3_600] {
        assert_eq!(fleet.outcomes(seconds), []);
    }
    fleet.restart();
    assert_eq!((fleet.outcomes(7_200), fleet.asked_of_runs()), (vec![], vec![]), "another process knows");
}

#[test]
fn github_is_not_asked_while_the_ledger_has_a_job_of_the_run_that_goes_on() {
    let mut fleet = Fleet::interrupted();
    fleet.knows(&event(1, "linux", "acme/api", queued()), 0);
    assert_eq!((fleet.outcomes(0), fleet.asked_of_runs()), (vec![], vec![]));
}

#[test]
fn a_run_that_is_not_over_is_looked_at_again_less_and_less_often() {
    let mut fleet = Fleet::interrupted();
    fleet.records.lock().runs.get_mut(&RUN).unwrap().conclusion = None;
    let mut looked_at = Vec::new();
    for seconds in (0..1_800).step_by(60) {
        fleet.step_at(seconds);
        looked_at.extend((fleet.asked_of_runs() == ["run 10"]).then_some(seconds));
    }
    assert_eq!(looked_at, [0, 60, 180, 420, 900]);
    fleet.records.lock().runs.get_mut(&RUN).unwrap().conclusion = Some(Conclusion::Failure);
    assert_eq!(fleet.outcomes(1_800), [(2, Outcome::Rerun)]);
}

#[test]
fn what_is_not_to_be_run_again_is_told_once() {
    let run = |attempt, conclusion| RunNow { attempt, conclusion: Some(conclusion) };
    let rows = [
        (run(2, Conclusion::Failure), 1, Outcome::Already),
        (run(2, Conclusion::Failure), 2, Outcome::Limit),
        (run(1, Conclusion::Success), 1, Outcome::Succeeded),
    ];
    for (now, attempt, outcome) in rows {
        let mut fleet = Fleet::interrupted();
        fleet.puts_down(&[job(1, attempt)]);
        fleet.records.lock().runs.insert(RUN, now);
        assert_eq!((fleet.outcomes(0), fleet.outcomes(3_600)), (vec![(1, outcome)], vec![]));
        assert_eq!(fleet.asked_of_runs(), ["run 10"], "{outcome:?}");
    }
    let mut fleet = Fleet::interrupted();
    fleet.records.lock().of_run.push(failed(3));
    assert_eq!(fleet.outcomes(0), [(2, Outcome::FailedItself)]);
    assert_eq!(fleet.asked_of_runs(), ["run 10", "jobs of 10 #1"]);
    let mut fleet = Fleet::interrupted();
    fleet.records.lock().runs.insert(RUN, run(1, Conclusion::Cancelled));
    fleet.records.lock().of_run.push(ended(3, Conclusion::Cancelled));
    assert_eq!(fleet.outcomes(0), [(2, Outcome::Cancelled)]);
    let mut fleet = Fleet::interrupted();
    fleet.records.lock().superseded.insert(RUN);
    assert_eq!((fleet.outcomes(0), fleet.outcomes(3_600)), (vec![(2, Outcome::Superseded)], vec![]));
    assert_eq!(fleet.asked_of_runs(), ["run 10", "jobs of 10 #1", "later than 10"], "it may end the later one");
    let mut fleet = Fleet::interrupted();
    fleet.records.lock().runs.clear();
    assert_eq!([0, 60, 180, 420].map(|seconds| fleet.outcomes(seconds).len()), [0; 4], "it may be shown again");
    assert_eq!(fleet.outcomes(900), [(2, Outcome::Refused)]);
}

#[test]
fn a_run_is_judged_again_when_another_of_its_jobs_is_found_to_be_interrupted() {
    let mut fleet = Fleet::interrupted();
    fleet.puts_down(&[job(1, 1)]);
    assert_eq!((fleet.outcomes(0), fleet.outcomes(60)), (vec![(1, Outcome::FailedItself)], vec![]));
    fleet.puts_down(&[job(1, 1), job(2, 1)]);
    fleet.restart();
    assert_eq!((fleet.outcomes(120), fleet.outcomes(180)), (vec![(2, Outcome::Rerun)], vec![]));
}

#[test]
fn after_a_lost_answer_the_attempt_is_looked_at_and_nothing_is_asked_twice() {
    let mut fleet = Fleet::interrupted();
    fleet.refuses("rerun 10", GithubError::Unknown("a test".to_owned()));
    assert_eq!(fleet.outcomes(0), []);
    assert_eq!(fleet.outcomes(60), [(2, Outcome::Rerun)]);
    assert_eq!(fleet.asked_of_runs(), ["run 10", "jobs of 10 #1", "later than 10", "rerun 10", "run 10"]);
}

#[test]
fn a_process_that_died_after_the_request_does_not_repeat_it() {
    let mut fleet = Fleet::interrupted();
    fleet.refuses("rerun 10", GithubError::Unknown("a test".to_owned()));
    // The intent is in the ledger before the request: this is what a crash right after it leaves.
    fleet.step_at(0);
    assert!(noted(&fleet.store).contains("asked_at"), "{}", noted(&fleet.store));
    fleet.restart();
    assert_eq!(fleet.outcomes(120), [(2, Outcome::Rerun)]);
    assert_eq!(fleet.asked_of_runs().iter().filter(|word| *word == "rerun 10").count(), 1);
}

#[test]
fn what_github_refuses_is_given_up_after_some_tries_and_no_answer_is_no_try() {
    let mut fleet = Fleet::interrupted();
    let mut told = Vec::new();
    for n in 0..20_u64 {
        let (word, error) = match n {
            n if n >= 10 => ("rerun 10", GithubError::Rejected("403".to_owned())),
            n if n % 2 == 0 => ("rerun 10", GithubError::Limited { until: at(0) }),
            // GitHub is down.
            _ => ("run 10", GithubError::Unknown("nothing was sent".to_owned())),
        };
        fleet.refuses(word, error);
        told.extend(fleet.outcomes(n * 1_000));
    }
    assert_eq!(told, [(2, Outcome::Refused)]);
    assert_eq!(fleet.asked_of_runs().iter().filter(|word| *word == "rerun 10").count(), 10);
}

#[test]
fn without_a_pool_that_wants_it_nothing_is_read_and_a_freeze_asks_for_nothing() {
    let mut fleet = Fleet::new();
    fleet.puts_down(&[job(1, 1)]);
    assert_eq!((fleet.outcomes(0), fleet.asked_of_runs()), (vec![], vec![]));
    let mut fleet = Fleet::interrupted();
    fleet.store.set_switch(Switch::Freeze).now_or_never().unwrap().unwrap();
    assert_eq!((fleet.outcomes(0), fleet.asked_of_runs()), (vec![], vec![]));
    fleet.store.set_switch(Switch::Run).now_or_never().unwrap().unwrap();
    assert_eq!(fleet.outcomes(60), [(2, Outcome::Rerun)]);
}
