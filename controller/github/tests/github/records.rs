//! What GitHub remembers: jobs, runs, repositories. Its logs of deliveries are in `deliveries`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{JobId, JobKey, RunId, RunnerId, RunnerName};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, RunnerRef, Started};
use muster_core::ports::{FailedDelivery, Github, GithubError, Records};
use muster_core::time::Timestamp;
use muster_github::{JOB_PAGES_MAX, OPTIONAL_POINTS, TAG_AGE_MAX};
use muster_tests::github::{FakeOwner, FakeSetup, Fault, What};
use serde_json::{Value, json};

use crate::bench::{Bench, limited, organization, rejected, unknown};

pub(crate) const APP: u64 = 12345;
pub(crate) const LOG: &str = "/app/hook/deliveries?";

pub(crate) fn repository() -> FakeSetup {
    FakeSetup::new(FakeOwner::Repository("acme/api".to_owned()))
}

/// GitHub's clock ticks in seconds, and so do the instants that it tells.
pub(crate) fn second(at: Duration) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(at.as_secs()).unwrap() * 1_000)
}

fn about(repository: &str) -> JobAbout {
    JobAbout {
        run: RunId(1),
        repository: Arc::from(repository),
        public: true,
        labels: Arc::from([]),
        workflow: None,
        name: None,
    }
}

impl Bench {
    pub(crate) async fn failed(&self) -> Result<Vec<FailedDelivery>, GithubError> {
        self.failed_since(Timestamp::EPOCH).await
    }

    pub(crate) async fn failed_since(&self, since: Timestamp) -> Result<Vec<FailedDelivery>, GithubError> {
        self.quiet(self.github.failed_since(since).await)
    }

    async fn waiting(&self, repository: &str) -> Result<Option<Vec<JobEvent>>, GithubError> {
        self.quiet(self.github.waiting(repository, &BTreeSet::new()).await)
    }

    /// The numbers of the jobs that are new in an answer.
    async fn waiting_jobs(&self, repository: &str) -> Option<Vec<i64>> {
        let events = self.waiting(repository).await.unwrap()?;
        Some(events.iter().map(|event| event.key.job.0).collect())
    }

    async fn one_job(&self, job: i64) -> Result<Option<JobEvent>, GithubError> {
        self.quiet(self.github.job(&about("acme/api"), JobId(job)).await)
    }

    async fn pushed(&self, since: Timestamp) -> Result<Vec<String>, GithubError> {
        let all = self.quiet(self.github.pushed_since(since).await)?;
        Ok(all.iter().map(|name| name.to_string()).collect())
    }

    pub(crate) fn statuses(&self, path: &str) -> Vec<u16> {
        let world = self.fake.world();
        world.seen().iter().filter(|seen| seen.path.contains(path)).map(|seen| seen.status.unwrap_or(0)).collect()
    }
}
#[tokio::test]
async fn a_job_is_what_github_has_of_it_now() {
    let bench = Bench::new(organization());
    let (run, job, created_at);
    {
        let mut world = bench.fake.world();
        run = world.add_run("acme/api", "CI");
        job = world.add_job(run, &["self-hosted", "linux"]);
        world.job(job).unwrap().attempt = 3;
        created_at = second(world.job(job).unwrap().created_at);
    }
    let queued = bench.one_job(job).await.unwrap().unwrap();
    assert_eq!(queued.key, JobKey { job: JobId(job), attempt: 3 });
    assert_eq!(queued.evidence, JobEvidence::Queued { created_at: Some(created_at), approved_at: None });
    let told = JobAbout {
        run: RunId(run),
        repository: Arc::from("acme/api"),
        public: true,
        labels: Arc::from([Arc::from("self-hosted"), Arc::from("linux")]),
        workflow: Some(Arc::from("CI")),
        name: Some(Arc::from(format!("job {job}"))),
    };
    assert_eq!(queued.about, told);
    for held in ["waiting", "pending", "requested"] {
        bench.fake.world().set_job_status(job, held);
        assert_eq!(bench.one_job(job).await.unwrap().unwrap().evidence, JobEvidence::Waiting, "{held}");
    }
    bench.advance(Duration::from_secs(30));
    bench.fake.world().set_job_status(job, "in_progress");
    let runner = Some(RunnerRef { id: Some(RunnerId(job + 1_000)), name: RunnerName::new(format!("runner-{job}")) });
    let started_at = second(bench.fake.world().job(job).unwrap().started_at);
    assert!(started_at > created_at);
    let started = bench.one_job(job).await.unwrap().unwrap().evidence;
    assert_eq!(started, JobEvidence::InProgress(Started { started_at, runner: runner.clone() }));
    bench.advance(Duration::from_secs(30));
    bench.fake.world().job(job).unwrap().conclusion = Some("timed_out".to_owned());
    bench.fake.world().set_job_status(job, "completed");
    let completed_at = second(bench.fake.world().job(job).unwrap().completed_at.unwrap());
    let conclusion = Conclusion::TimedOut;
    let completed = Completed { completed_at, conclusion, started_at: Some(started_at), runner };
    assert_eq!(bench.one_job(job).await.unwrap().unwrap().evidence, JobEvidence::Completed(completed));
}

#[tokio::test]
async fn a_job_that_is_told_of_badly_is_not_lost() {
    let bench = Bench::new(organization());
    let run = bench.fake.world().add_run("acme/api", "CI");
    let job = bench.fake.world().add_job(run, &["linux"]);
    let path = "/actions/jobs/";
    let changed = |pointer: &str, value: Value| {
        let pointer = pointer.to_owned();
        Fault::on("GET", path, What::Changed { pointer, value, described: false })
    };
    bench.fake.fail(changed("/status", json!("hibernating")));
    let event = bench.one_job(job).await.unwrap().unwrap();
    assert!(matches!(event.evidence, JobEvidence::Queued { created_at: Some(_), .. }), "an unknown word: {event:?}");
    bench.fake.fail(changed("/run_attempt", json!(null)));
    assert_eq!(bench.one_job(job).await.unwrap().unwrap().key.attempt, 1);
    bench.fake.fail(changed("/created_at", json!("soon")));
    let event = bench.one_job(job).await.unwrap().unwrap();
    assert_eq!(event.evidence, JobEvidence::Queued { created_at: None, approved_at: None });
    bench.fake.world().set_job_status(job, "completed");
    bench.fake.world().job(job).unwrap().runner = Some((0, String::new()));
    bench.fake.fail(changed("/conclusion", json!("stale")));
    let event = bench.one_job(job).await.unwrap().unwrap();
    let JobEvidence::Completed(completed) = event.evidence else { panic!("{event:?}") };
    assert_eq!((completed.conclusion, completed.runner), (Conclusion::Other("stale".into()), None));
    // What it belongs to must be there.
    bench.fake.fail(changed("/run_id", json!(null)));
    assert!(unknown(bench.one_job(job).await).contains(&format!("job {job} of acme/api")));
    for what in [What::LostBefore, What::LostAfter, What::Truncated] {
        bench.fake.fail(Fault::on("GET", path, what));
        unknown(bench.one_job(job).await);
    }
    bench.fake.fail(Fault::status("GET", path, 503, "Unavailable"));
    assert!(unknown(bench.one_job(job).await).contains("503"));
}

#[tokio::test]
async fn there_is_no_such_job() {
    let bench = Bench::new(organization());
    bench.fake.world().add_run("acme/api", "CI");
    assert_eq!(bench.one_job(1).await.unwrap(), None);
    let elsewhere = bench.github.job(&about("acme/nowhere"), JobId(1)).await.unwrap();
    assert_eq!(elsewhere, None);
    let before = bench.fake.seen().len();
    for bad in ["acme", "acme/api/..", "../api", "acme/", "acme/.."] {
        let why = rejected(bench.github.job(&about(bad), JobId(1)).await);
        assert!(why.contains("owner/name"), "{bad}: {why}");
        rejected(bench.github.waiting(bad, &BTreeSet::new()).await);
    }
    assert_eq!(bench.fake.seen().len(), before);
    assert_eq!(bench.github.job(&about("acme/a?b c"), JobId(1)).await.unwrap(), None);
    assert!(bench.fake.seen().last().unwrap().ends_with("/repos/acme/a%3Fb%20c/actions/jobs/1"));
}

// Repositories.

#[tokio::test]
async fn repositories_that_were_pushed_to_are_told() {
    let bench = Bench::new(organization());
    bench.fake.world().push("acme/old");
    bench.advance(Duration::from_secs(100));
    let since = second(bench.fake.world().now());
    {
        let mut world = bench.fake.world();
        world.push("acme/archived");
        world.archive("acme/archived");
        world.push("acme/first");
        world.push("acme/odd");
    }
    bench.advance(Duration::from_secs(10));
    bench.fake.world().push("acme/last");
    assert_eq!(bench.pushed(since).await.unwrap(), ["acme/last", "acme/odd", "acme/first"]);
    let odd = What::Changed { pointer: "/1/pushed_at".to_owned(), value: Value::Null, described: true };
    bench.fake.fail(Fault::on("GET", "/repos?", odd));
    assert_eq!(bench.pushed(since).await.unwrap(), ["acme/last", "acme/first"]);
    assert_eq!(bench.count("GET", "/orgs/acme/repos?sort=pushed&direction=desc&per_page=100"), 2);
    bench.fake.fail(Fault::on("GET", "/repos?", What::Truncated));
    unknown(bench.pushed(since).await);
    bench.fake.fail(Fault::status("GET", "/repos?", 404, "Not Found"));
    assert!(rejected(bench.pushed(since).await).contains("the repositories of acme"));
}

#[tokio::test]
async fn where_there_is_nothing_to_ask_nothing_is_asked() {
    let bench = Bench::new(repository());
    assert_eq!(bench.github.pushed_since(bench.now()).await.unwrap(), [Arc::from("acme/api")]);
    assert!(bench.fake.seen().is_empty());
    let bench = Bench::new(FakeSetup::new(FakeOwner::Enterprise("acme-inc".to_owned())));
    assert_eq!(bench.github.pushed_since(Timestamp::EPOCH).await.unwrap(), []);
    assert!(bench.fake.seen().is_empty());
}

#[tokio::test]
async fn jobs_that_wait_are_found_in_runs_that_wait_and_in_runs_that_run() {
    let bench = Bench::new(organization());
    let (first, second, waiting, another, queued);
    {
        let mut world = bench.fake.world();
        world.add_repository("acme/API", false);
        first = world.add_run("acme/api", "CI");
        queued = world.add_job(first, &["linux"]);
        second = world.add_run("acme/api", "Deploy");
        let running = world.add_job(second, &["linux"]);
        world.set_job_status(running, "in_progress");
        let over = world.add_job(second, &["linux"]);
        world.set_job_status(over, "completed");
        waiting = world.add_job(second, &["linux", "gpu"]);
        world.set_job_status(waiting, "waiting");
        another = world.add_job(second, &["linux"]);
        let over = world.add_run("acme/api", "Lint");
        let job = world.add_job(over, &["linux"]);
        world.set_job_status(job, "completed");
        let elsewhere = world.add_run("acme/web", "CI");
        world.add_job(elsewhere, &["linux"]);
    }
    let events = bench.waiting("acme/api").await.unwrap().unwrap();
    let told: Vec<(i64, i64)> = events.iter().map(|event| (event.about.run.0, event.key.job.0)).collect();
    assert_eq!(told, [(second, waiting), (second, another), (first, queued)]);
    assert_eq!(events[0].evidence, JobEvidence::Waiting);
    assert!(matches!(events[1].evidence, JobEvidence::Queued { created_at: Some(_), approved_at: None }));
    let about = &events[0].about;
    assert_eq!((&*about.repository, about.public), ("acme/API", true), "as GitHub writes it");
    assert_eq!(about.workflow.as_deref(), Some("Deploy"));
    assert_eq!(about.labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["linux", "gpu"]);
    assert_eq!(bench.count("GET", "/jobs?filter=latest"), 2, "of two runs");
    assert!(!bench.waiting("acme/web").await.unwrap().unwrap()[0].about.public);
    let unnamed = What::Changed { pointer: "/jobs/2/workflow_name".to_owned(), value: Value::Null, described: true };
    bench.fake.fail(Fault::on("GET", "/jobs?filter", unnamed));
    bench.advance(TAG_AGE_MAX);
    let events = bench.waiting("acme/api").await.unwrap().unwrap();
    assert_eq!(events[0].about.workflow.as_deref(), Some("Deploy"), "the run tells it too");
}

#[tokio::test]
async fn what_has_not_changed_costs_nothing() {
    let bench = Bench::new(organization());
    let run = bench.fake.world().add_run("acme/api", "CI");
    let job = bench.fake.world().add_job(run, &["linux"]);
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(vec![job]));
    let left = bench.github.rates()[0].remaining.unwrap();
    for _ in 0..10 {
        assert_eq!(bench.waiting_jobs("acme/api").await, None);
    }
    assert_eq!(bench.statuses("/actions/runs?")[2..], [304; 20]);
    assert_eq!(bench.github.rates()[0].remaining, Some(left));
    // What has changed is read, and only that.
    let more = bench.fake.world().add_run("acme/api", "CI");
    let another = bench.fake.world().add_job(more, &["linux"]);
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(vec![another, job]));
    assert_eq!(bench.statuses("/actions/runs?")[22..], [200, 304]);
    bench.fake.world().set_job_status(another, "in_progress");
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(vec![job]));
    // Other repositories have lists of their own.
    bench.fake.world().add_run("acme/web", "CI");
    assert_eq!(bench.waiting_jobs("acme/web").await, Some(Vec::new()));
    assert_eq!(bench.waiting_jobs("acme/api").await, None);
}

#[tokio::test]
async fn a_tag_is_not_believed_for_ever() {
    let bench = Bench::new(organization());
    let run = bench.fake.world().add_run("acme/api", "CI");
    let running = bench.fake.world().add_job(run, &["linux"]);
    bench.fake.world().set_job_status(running, "in_progress");
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(Vec::new()));
    // The run in the list is the same as before.
    let hidden = bench.fake.world().add_job(run, &["linux"]);
    bench.advance(TAG_AGE_MAX - Duration::from_secs(5));
    assert_eq!(bench.waiting_jobs("acme/api").await, None);
    bench.advance(Duration::from_secs(10));
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(vec![hidden]), "an answer that was known renews nothing");
}

#[tokio::test]
async fn a_tag_goes_back_to_the_app_that_it_was_told_to() {
    let mut setup = organization();
    setup.apps = vec![1, 2];
    let bench = Bench::new(setup);
    bench.fake.world().add_run("acme/api", "CI");
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(Vec::new()));
    for _ in 0..6 {
        bench.mint(&format!("r-{}", bench.names().len())).await.unwrap();
        assert_eq!(bench.waiting_jobs("acme/api").await, None);
    }
    assert!(bench.statuses("/actions/runs?")[2..].iter().all(|status| *status == 304));
}

#[tokio::test]
async fn jobs_are_read_on_every_page() {
    let bench = Bench::new(organization());
    let run = bench.fake.world().add_run("acme/api", "CI");
    let jobs: Vec<i64> = (0..230).map(|_| bench.fake.world().add_job(run, &["linux"])).collect();
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(jobs));
    assert_eq!(bench.count("GET", "/jobs?filter=latest&per_page=100&page="), 3);
}

#[tokio::test]
async fn a_list_that_is_too_long_is_read_in_parts_and_its_tag_is_not_kept() {
    let bench = Bench::new(organization());
    let mut jobs: Vec<i64> = Vec::new();
    for _ in 0..JOB_PAGES_MAX + 2 {
        let mut world = bench.fake.world();
        let run = world.add_run("acme/api", "CI");
        jobs.push(world.add_job(run, &["linux"]));
    }
    jobs.reverse();
    assert_eq!(bench.waiting_jobs("acme/api").await.unwrap(), jobs[..JOB_PAGES_MAX]);
    bench.advance(Duration::from_secs(70));
    let second = bench.waiting_jobs("acme/api").await.unwrap();
    assert_eq!(second[..2], jobs[JOB_PAGES_MAX..], "those that were left come first");
    assert_eq!(second[2..], jobs[..JOB_PAGES_MAX - 2]);
    assert!(bench.statuses("/actions/runs?").iter().all(|status| *status == 200));
    // Short enough again, it is remembered.
    for job in &jobs[..2] {
        bench.fake.world().set_job_status(*job, "completed");
    }
    bench.advance(Duration::from_secs(70));
    let mut third = bench.waiting_jobs("acme/api").await.unwrap();
    third.sort_unstable_by_key(|job| std::cmp::Reverse(*job));
    assert_eq!(third, jobs[2..]);
    assert_eq!(bench.waiting_jobs("acme/api").await, None);
}

#[tokio::test]
async fn a_run_that_was_read_in_part_is_read_again_from_its_beginning() {
    let bench = Bench::new(organization());
    let long = bench.fake.world().add_run("acme/api", "CI");
    let many: Vec<i64> = (0..150).map(|_| bench.fake.world().add_job(long, &["linux"])).collect();
    for _ in 0..JOB_PAGES_MAX - 1 {
        let mut world = bench.fake.world();
        let run = world.add_run("acme/api", "CI");
        world.add_job(run, &["linux"]);
    }
    let first = bench.waiting_jobs("acme/api").await.unwrap();
    assert_eq!(first[JOB_PAGES_MAX - 1..], many[..100]);
    bench.advance(Duration::from_secs(70));
    let second = bench.waiting_jobs("acme/api").await.unwrap();
    assert_eq!((second.len(), &second[..150]), (150 + JOB_PAGES_MAX - 2, &many[..]));
    bench.advance(Duration::from_secs(70));
    // The one that was left over, and the whole of the others.
    let third = bench.waiting_jobs("acme/api").await.unwrap();
    assert!(third.contains(&first[JOB_PAGES_MAX - 2]) && !second.contains(&first[JOB_PAGES_MAX - 2]));
}

#[tokio::test]
async fn what_was_not_read_to_its_end_is_read_again() {
    let bench = Bench::new(organization());
    let run = bench.fake.world().add_run("acme/api", "CI");
    let job = bench.fake.world().add_job(run, &["linux"]);
    for what in [What::LostBefore, What::LostAfter, What::Truncated] {
        for path in ["status=in_progress", "/jobs?filter"] {
            bench.fake.fail(Fault::on("GET", path, what.clone()));
            unknown(bench.waiting("acme/api").await);
        }
    }
    bench.fake.fail(Fault::status("GET", "/jobs?filter", 403, "Resource not accessible by integration"));
    rejected(bench.waiting("acme/api").await);
    // What of a list does not read is passed over.
    let odd = |pointer: &str| What::Changed { pointer: pointer.to_owned(), value: json!("odd"), described: false };
    bench.fake.fail(Fault::on("GET", "/jobs?filter", odd("/jobs/0/run_id")));
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(Vec::new()));
    bench.advance(TAG_AGE_MAX);
    bench.fake.fail(Fault::on("GET", "status=queued", odd("/workflow_runs/0/repository/private")));
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(Vec::new()));
    bench.advance(TAG_AGE_MAX);
    // A run that has gone meanwhile has no jobs.
    bench.fake.fail(Fault::status("GET", "/jobs?filter", 404, "Not Found"));
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(Vec::new()));
    bench.advance(TAG_AGE_MAX);
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(vec![job]));
}

#[tokio::test]
async fn a_repository_that_is_closed_to_us_is_no_trouble() {
    let bench = Bench::new(organization());
    let run = bench.fake.world().add_run("acme/api", "CI");
    let job = bench.fake.world().add_job(run, &["linux"]);
    assert_eq!(bench.waiting_jobs("acme/nowhere").await, None);
    assert_eq!(bench.waiting_jobs("other/api").await, None);
    bench.fake.world().close_repository("acme/api", true);
    assert_eq!(bench.waiting_jobs("acme/api").await, None);
    let why = rejected(bench.one_job(job).await);
    assert!(why.contains("blocked") && why.contains("\"Actions\": read-only"), "{why}");
    bench.fake.world().close_repository("acme/api", false);
    // The App is not left alone for that, neither for this nor for other work.
    assert_eq!(bench.waiting_jobs("acme/api").await, Some(vec![job]));
    bench.mint("a").await.unwrap();
}

// Tokens and budgets.

#[tokio::test]
async fn reading_has_a_token_of_its_own() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    bench.fake.world().add_run("acme/api", "CI");
    bench.waiting("acme/api").await.unwrap();
    bench.one_job(1).await.unwrap();
    bench.github.pushed_since(Timestamp::EPOCH).await.unwrap();
    let asked = bench.fake.world().asked_tokens().to_vec();
    let reading = json!({ "permissions": { "actions": "read", "metadata": "read" } });
    assert_eq!(asked, [json!({ "permissions": { "organization_self_hosted_runners": "write" } }), reading.clone()]);
    // It is renewed as the other one is, and replaced when it ends early.
    bench.advance(Duration::from_secs(51 * 60));
    bench.one_job(1).await.unwrap();
    bench.fake.world().revoke_tokens();
    bench.one_job(1).await.unwrap();
    assert_eq!(bench.fake.world().asked_tokens()[2..], [reading.clone(), reading]);

    let bench = Bench::new(repository());
    bench.one_job(1).await.unwrap();
    let reading = json!({ "permissions": { "actions": "read", "metadata": "read" }, "repositories": ["api"] });
    assert_eq!(bench.fake.world().asked_tokens(), [reading]);
}

#[tokio::test]
async fn who_may_not_read_may_still_register_and_the_other_way_round() {
    let bench = Bench::new(organization());
    bench.fake.world().withhold(APP, "actions", true);
    let why = rejected(bench.one_job(1).await);
    assert!(why.contains("not granted") && why.contains("repository permission \"Actions\": read-only"), "{why}");
    let before = bench.fake.seen().len();
    rejected(bench.one_job(1).await);
    assert_eq!(bench.fake.seen().len(), before, "GitHub is left alone for a while");
    bench.mint("a").await.unwrap();
    bench.fake.world().withhold(APP, "actions", false);
    bench.advance(Duration::from_secs(61));
    assert_eq!(bench.one_job(1).await.unwrap(), None);
    bench.fake.world().refuse(APP, true);
    rejected(bench.mint("b").await);
    assert_eq!(bench.one_job(1).await.unwrap(), None);
}

#[tokio::test]
async fn who_reads_a_repository_need_not_see_the_runners() {
    let bench = Bench::new(organization());
    bench.fake.world().add_run("acme/api", "CI");
    bench.waiting("acme/api").await.unwrap();
    bench.fake.fail(Fault::status("DELETE", "/actions/runners", 404, "Not Found"));
    bench.fake.fail(Fault::status("GET", "/actions/runners", 404, "Not Found"));
    let why = rejected(bench.github.remove(RunnerId(5)).await);
    assert!(why.contains("Self-hosted runners"), "{why}");
}

#[tokio::test]
async fn optional_work_stops_when_less_than_a_tenth_is_left() {
    let mut setup = organization();
    setup.requests_an_hour = 20;
    let bench = Bench::new(setup);
    bench.fake.world().add_run("acme/api", "CI");
    let mut jobs = 0;
    let until = loop {
        match bench.one_job(1).await {
            Ok(_) => jobs += 1,
            Err(GithubError::Limited { until }) => break until,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(jobs, 19, "with two left, which are a tenth, it still goes on");
    let left = bench.github.rates()[0];
    assert_eq!((left.remaining, left.reset), (Some(1), Some(until)));
    for outcome in [bench.waiting("acme/api").await.err(), bench.github.pushed_since(bench.now()).await.err()] {
        assert!(matches!(outcome, Some(GithubError::Limited { until: told }) if told == until));
    }
    // The log is read as the App, which has a limit of its own.
    bench.failed().await.unwrap();
    bench.github.remove(RunnerId(1)).await.unwrap_err();
    assert_eq!(bench.github.rates()[0].remaining, Some(0), "what is not optional goes down to nothing");
    assert_eq!(bench.fake.world().limits_hit(), 0);
}

#[tokio::test]
async fn a_mint_goes_on_where_optional_work_has_stopped() {
    let mut setup = organization();
    setup.requests_an_hour = 40;
    let bench = Bench::new(setup);
    bench.mint("first").await.unwrap();
    while bench.one_job(1).await.is_ok() {}
    assert_eq!(bench.github.rates()[0].remaining, Some(3));
    for name in ["a", "b", "c"] {
        limited(bench.one_job(1).await);
        bench.mint(name).await.unwrap();
    }
    assert_eq!(bench.fake.world().limits_hit(), 0);
}

#[tokio::test]
async fn what_the_app_asks_as_itself_has_a_limit_of_its_own() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    let left = bench.github.rates()[0].remaining;
    let reset = bench.now() + Duration::from_secs(600);
    let told = [("limit", 5_000), ("remaining", 499), ("reset", reset.unix_ms() / 1_000)];
    let headers = told.map(|(name, number)| (format!("x-ratelimit-{name}"), number.to_string())).to_vec();
    bench.fake.fail(Fault::on("GET", LOG, What::Answer { status: 200, headers, body: json!([]) }));
    assert_eq!(bench.failed().await.unwrap(), []);
    let wait = limited(bench.failed().await).since(bench.now());
    assert!(wait > Duration::from_secs(590) && wait <= Duration::from_secs(600), "{wait:?}");
    assert_eq!(bench.github.rates()[0].remaining, left);
    bench.one_job(1).await.unwrap();
    bench.mint("b").await.unwrap();
}

#[tokio::test]
async fn optional_work_has_a_tenth_of_a_minute() {
    let bench = Bench::new(organization());
    let mut read = 0;
    let until = loop {
        match bench.one_job(1).await {
            Ok(_) => read += 1,
            Err(GithubError::Limited { until }) => break until,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(read, OPTIONAL_POINTS);
    assert_eq!(limited(bench.failed().await), until, "logs have no other share");
    bench.mint("a").await.unwrap();
    bench.advance(until.since(bench.now()) + Duration::from_millis(1));
    bench.failed().await.unwrap();
}

#[tokio::test]
async fn a_limit_is_a_limit_for_reading_too() {
    let bench = Bench::new(organization());
    bench.fake.fail(Fault::secondary("GET", "/actions/jobs/", Some(45)));
    let until = limited(bench.one_job(1).await);
    let wait = until.since(bench.now());
    assert!(wait > Duration::from_secs(40) && wait <= Duration::from_secs(45), "{wait:?}");
    let before = bench.fake.seen().len();
    assert_eq!(limited(bench.failed().await), until);
    assert_eq!(limited(bench.waiting("acme/api").await), until);
    assert_eq!(bench.fake.seen().len(), before);
}

#[tokio::test]
async fn a_run_that_is_let_be_is_not_read_and_is_when_it_is_asked_for() {
    let bench = Bench::new(organization());
    let (one, other) = {
        let mut world = bench.fake.world();
        (world.add_run("acme/api", "ci"), world.add_run("acme/api", "ci"))
    };
    for run in [one, other] {
        bench.fake.world().add_job(run, &["linux"]);
    }
    let let_be = BTreeSet::from([RunId(one)]);
    let events = bench.quiet(bench.github.waiting("acme/api", &let_be).await).unwrap().unwrap();
    assert_eq!(events.iter().map(|event| event.about.run.0).collect::<Vec<_>>(), [other]);
    assert_eq!(bench.count("GET", &format!("/actions/runs/{one}/")), 0);
    // The lists are as they were, and it is read all the same.
    let events = bench.waiting("acme/api").await.unwrap().unwrap();
    assert_eq!(events.len(), 2);
}
