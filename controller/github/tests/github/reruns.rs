//! Workflow runs: read, and run again.

use muster_core::ids::{JobId, RunId, RunnerName};
use muster_core::job::Conclusion;
use muster_core::ports::{Github, Reruns};
use muster_core::rerun::{JobNow, RunNow};
use muster_tests::github::Fault;

use crate::bench::{Bench, limited, organization, rejected, request, unknown};

const REPOSITORY: &str = "acme/api";

/// A run with so many jobs, all of them over, the first of them badly.
fn failed(jobs: usize) -> (Bench, RunId, Vec<JobId>) {
    let bench = Bench::new(organization());
    let mut world = bench.fake.world();
    let run = world.add_run(REPOSITORY, "ci");
    let jobs: Vec<i64> = (0..jobs).map(|_| world.add_job(run, &["linux"])).collect();
    world.job(jobs[0]).unwrap().conclusion = Some("failure".to_owned());
    for job in &jobs {
        world.set_job_status(*job, "completed");
    }
    drop(world);
    (bench, RunId(run), jobs.into_iter().map(JobId).collect())
}

impl Bench {
    fn posts(&self) -> usize {
        self.fake.world().seen().iter().filter(|seen| seen.path.ends_with("/rerun-failed-jobs")).count()
    }
}

#[tokio::test]
async fn a_run_is_read_run_again_and_read_at_its_next_attempt() {
    let (bench, run, jobs) = failed(3);
    let over = RunNow { attempt: 1, conclusion: Some(Conclusion::Failure) };
    assert_eq!(bench.github.run(REPOSITORY, run).await.unwrap(), Some(over));
    let ended = bench.github.run_jobs(REPOSITORY, run, 1).await.unwrap();
    let told = ended.iter().map(|job| (job.job, job.conclusion.clone().unwrap(), job.waits));
    let well = Conclusion::Success;
    assert!(told.eq([(jobs[0], Conclusion::Failure, false), (jobs[1], well.clone(), false), (jobs[2], well, false)]));
    bench.github.rerun_failed(REPOSITORY, run).await.unwrap();
    let goes_on = RunNow { attempt: 2, conclusion: None };
    assert_eq!(bench.github.run(REPOSITORY, run).await.unwrap(), Some(goes_on));
    let again = bench.github.run_jobs(REPOSITORY, run, 2).await.unwrap();
    assert!(again.len() == 1 && again[0].conclusion.is_none() && again[0].waits, "the one that is run again waits");
    assert!(rejected(bench.github.rerun_failed(REPOSITORY, run).await).contains("may not be over"));
    let asked = bench.fake.world().asked_tokens().to_vec();
    let writes = asked.iter().filter(|body| body["permissions"]["actions"] == "write");
    assert!(
        writes.clone().count() == 1 && writes.clone().all(|body| body["permissions"].as_object().unwrap().len() == 2)
    );
}

#[tokio::test]
async fn all_pages_of_jobs_are_read() {
    let (bench, run, jobs) = failed(230);
    assert_eq!(bench.github.run_jobs(REPOSITORY, run, 1).await.unwrap().len(), jobs.len());
}

#[tokio::test]
async fn without_the_permission_nothing_is_run_again_and_runners_are_registered_as_before() {
    let (bench, run, _) = failed(1);
    bench.fake.world().withhold(12345, "actions", true);
    assert!(rejected(bench.github.rerun_failed(REPOSITORY, run).await).contains("\"Actions\": read and write"));
    assert_eq!(bench.posts(), 0);
    bench.github.mint(&request("linux-i-00000001-abcdef", "Linux builders")).await.unwrap();
}

#[tokio::test]
async fn a_request_whose_answer_is_lost_is_not_repeated() {
    let (bench, run, _) = failed(1);
    bench.fake.fail(Fault::status("POST", "rerun-failed-jobs", 502, "Bad gateway"));
    unknown(bench.github.rerun_failed(REPOSITORY, run).await);
    assert_eq!(bench.posts(), 1);
    bench.fake.fail(Fault::secondary("POST", "rerun-failed-jobs", Some(60)));
    limited(bench.github.rerun_failed(REPOSITORY, run).await);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_known() {
    let (bench, run, _) = failed(1);
    assert_eq!(bench.github.run(REPOSITORY, RunId(1)).await.unwrap(), None);
    bench.fake.fail(Fault::status("GET", "attempts/1/jobs", 404, "Not Found"));
    rejected(bench.github.run_jobs(REPOSITORY, run, 1).await);
    bench.fake.fail(Fault::status("GET", "/actions/runs/", 502, "Bad gateway"));
    unknown(bench.github.run(REPOSITORY, run).await);
}

#[tokio::test]
async fn a_run_that_a_dead_runner_holds_up_is_cancelled_and_ends_by_force() {
    let bench = Bench::new(organization());
    let (run, job) = {
        let mut world = bench.fake.world();
        let run = world.add_run(REPOSITORY, "ci");
        let job = world.add_job(run, &["linux"]);
        world.set_job_status(job, "in_progress");
        world.job(job).unwrap().deaf = true;
        world.job(job).unwrap().runner = Some((7, "linux-i-00000001-abcdef".to_owned()));
        (RunId(run), JobId(job))
    };
    let open = RunNow { attempt: 1, conclusion: None };
    let on = JobNow { job, conclusion: None, waits: false, runner: Some(RunnerName::new("linux-i-00000001-abcdef")) };
    assert_eq!(bench.github.run_jobs(REPOSITORY, run, 1).await.unwrap(), [on]);
    bench.github.cancel(REPOSITORY, run, false).await.unwrap();
    assert_eq!(bench.github.run(REPOSITORY, run).await.unwrap(), Some(open), "its runner does not answer");
    bench.fake.fail(Fault::status("POST", "force-cancel", 502, "Bad gateway"));
    unknown(bench.github.cancel(REPOSITORY, run, true).await);
    bench.github.cancel(REPOSITORY, run, true).await.unwrap();
    let over = RunNow { attempt: 1, conclusion: Some(Conclusion::Cancelled) };
    assert_eq!(bench.github.run(REPOSITORY, run).await.unwrap(), Some(over));
    assert!(rejected(bench.github.cancel(REPOSITORY, run, true).await).contains("it may be over"));
    bench.github.rerun_failed(REPOSITORY, run).await.unwrap();
}

#[tokio::test]
async fn a_run_is_superseded_by_a_later_one_of_its_workflow_on_its_branch() {
    let (bench, _, _) = failed(1);
    let run = RunId(bench.fake.world().add_run(REPOSITORY, "ci"));
    let superseded = || bench.github.is_superseded(REPOSITORY, run);
    assert!(!superseded().await.unwrap());
    bench.fake.world().add_run(REPOSITORY, "deploy");
    let elsewhere = bench.fake.world().add_run(REPOSITORY, "ci");
    bench.fake.world().set_branch(elsewhere, Some("fix/a b&c"), "pull_request");
    assert!(!superseded().await.unwrap(), "another workflow, and another branch");
    assert!(!bench.github.is_superseded(REPOSITORY, RunId(elsewhere)).await.unwrap(), "a branch with a name like that");
    bench.fake.fail(Fault::status("GET", "branch=main", 502, "Bad gateway"));
    unknown(superseded().await);
    bench.fake.world().add_run(REPOSITORY, "ci");
    assert!(superseded().await.unwrap());
}

/// A release of an older version over a newer one.
#[tokio::test]
async fn what_is_no_branchs_own_is_superseded_wherever_a_later_run_is() {
    let (bench, _, _) = failed(1);
    let run_of = |branch: &str, event: &str| {
        let run = bench.fake.world().add_run(REPOSITORY, "release");
        bench.fake.world().set_branch(run, Some(branch), event);
        RunId(run)
    };
    for (event, superseded) in [("push", true), ("release", true), ("schedule", true), ("pull_request", false)] {
        let (earlier, later) = (run_of(&format!("v1.0-{event}"), event), run_of(&format!("v1.1-{event}"), event));
        assert_eq!(bench.github.is_superseded(REPOSITORY, earlier).await.unwrap(), superseded, "{event}");
        assert!(!bench.github.is_superseded(REPOSITORY, later).await.unwrap(), "{event}");
    }
    let (_, second) = (run_of("topic", "push"), run_of("topic", "push"));
    run_of("another", "push");
    assert!(!bench.github.is_superseded(REPOSITORY, second).await.unwrap(), "a branch in use has a group of its own");
}

#[tokio::test]
async fn what_is_not_known_of_a_run_may_supersede_it() {
    let (bench, run, _) = failed(1);
    for _ in 0..100 {
        bench.fake.world().add_run(REPOSITORY, "another");
    }
    assert!(bench.github.is_superseded(REPOSITORY, run).await.unwrap(), "it is on no page that was read");
    bench.fake.world().set_branch(run.0, None, "push");
    assert!(bench.github.is_superseded(REPOSITORY, run).await.unwrap(), "it is on no branch");
    assert!(bench.github.is_superseded(REPOSITORY, RunId(1)).await.unwrap(), "there is no such run");
}
