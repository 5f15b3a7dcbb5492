//! What GitHub remembers: logs of deliveries, jobs, runs, repositories.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_core::config::Hook;
use muster_core::ids::{JobId, JobKey, RunId, RunnerId, RunnerName};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, RunnerRef, Started};
use muster_core::ports::{FailedDelivery, Github, GithubError, Records};
use muster_core::time::Timestamp;
use muster_github::{JOB_PAGES_MAX, LOG_PAGES_MAX, OPTIONAL_POINTS, TAG_AGE_MAX};
use muster_tests::github::{FakeLog, FakeOwner, FakeSetup, Fault, What};
use serde_json::{Value, json};

use crate::bench::{Bench, limited, organization, rejected, unknown};

const APP: u64 = 12345;
const LOG: &str = "/app/hook/deliveries?";

fn repository() -> FakeSetup {
    FakeSetup::new(FakeOwner::Repository("acme/api".to_owned()))
}

fn payload(action: &str) -> Value {
    json!({ "action": action, "workflow_job": { "id": 7 } })
}

/// GitHub's clock ticks in seconds, and so do the instants that it tells.
fn second(at: Duration) -> Timestamp {
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

fn places(failed: &[FailedDelivery]) -> Vec<String> {
    failed.iter().map(|one| one.place.to_string()).collect()
}

fn of_app(deliveries: impl IntoIterator<Item = i64>) -> Vec<String> {
    deliveries.into_iter().map(|id| format!("app/{APP}/{id}")).collect()
}

fn of_hook(hook: i64, deliveries: impl IntoIterator<Item = i64>) -> Vec<String> {
    deliveries.into_iter().map(|id| format!("hook/{hook}/{id}")).collect()
}

impl Bench {
    async fn failed(&self) -> Result<Vec<FailedDelivery>, GithubError> {
        self.failed_since(Timestamp::EPOCH).await
    }

    async fn failed_since(&self, since: Timestamp) -> Result<Vec<FailedDelivery>, GithubError> {
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

    fn statuses(&self, path: &str) -> Vec<u16> {
        let world = self.fake.world();
        world.seen().iter().filter(|seen| seen.path.contains(path)).map(|seen| seen.status.unwrap_or(0)).collect()
    }
}

// Logs of deliveries.

#[tokio::test]
async fn what_failed_is_listed_from_the_earliest_on() {
    let bench = Bench::new(organization());
    let (early, late, now);
    {
        let mut world = bench.fake.world();
        early = world.fail_delivery(APP, payload("queued"));
        world.deliver(FakeLog::App(APP), "workflow_job", payload("queued"), 202);
        world.deliver(FakeLog::App(APP), "push", payload("queued"), 502);
        late = world.deliver(FakeLog::App(APP), "workflow_job", payload("completed"), 404);
        now = second(world.now());
    }
    let failed = bench.failed().await.unwrap();
    assert_eq!(places(&failed), of_app([early, late]));
    assert_eq!((&*failed[0].guid, &*failed[0].action), (&*format!("guid-{early}"), "queued"));
    assert!(now.since(failed[0].delivered_at) <= Duration::from_secs(1) && failed[0].delivered_at <= now);
    assert_eq!(&*failed[1].action, "completed");
    // It is read as the App: no installation is looked up and no token is made.
    assert_eq!(bench.fake.seen(), ["GET /app/hook/deliveries?status=failure&per_page=100"]);
}

#[tokio::test]
async fn only_what_is_late_enough_is_listed() {
    let bench = Bench::new(organization());
    bench.fake.world().fail_delivery(APP, payload("queued"));
    bench.advance(Duration::from_secs(100));
    let since = second(bench.fake.world().now());
    let late = bench.fake.world().fail_delivery(APP, payload("queued"));
    assert_eq!(places(&bench.failed_since(since).await.unwrap()), of_app([late]));
    assert_eq!(bench.failed_since(since + Duration::from_secs(60)).await.unwrap(), []);
}

#[tokio::test]
async fn another_attempt_has_the_same_guid() {
    let bench = Bench::new(organization());
    let first = bench.fake.world().fail_delivery(APP, payload("queued"));
    let again = bench.fake.world().redeliver(first, 500).unwrap();
    let failed = bench.failed().await.unwrap();
    assert_eq!(places(&failed), of_app([first, again]));
    assert_eq!(failed[0].guid, failed[1].guid);
}

#[tokio::test]
async fn every_page_is_read_and_no_foreign_host_asked() {
    let bench = Bench::new(organization());
    let ids: Vec<i64> = (0..250).map(|_| bench.fake.world().fail_delivery(APP, payload("queued"))).collect();
    // The fake's links name api.github.com, where no test may go.
    assert_eq!(places(&bench.failed().await.unwrap()), of_app(ids.clone()));
    assert_eq!(bench.count("GET", LOG), 3);
    assert_eq!(bench.count("GET", "&cursor=v1_"), 2);

    let elsewhere = format!("<https://evil.example/steal?cursor=v1_{}>; rel=\"next\"", ids[1]);
    let headers = vec![("link".to_owned(), elsewhere)];
    bench.fake.fail(Fault::on("GET", LOG, What::Answer { status: 200, headers, body: json!([{ "odd": true }]) }));
    assert_eq!(places(&bench.failed().await.unwrap()), of_app([ids[0], ids[1]]), "only the cursor is taken");
    bench.fake.world().take_wrong();
}

#[tokio::test]
async fn reading_ends_where_the_past_begins() {
    let bench = Bench::new(organization());
    for _ in 0..150 {
        bench.fake.world().fail_delivery(APP, payload("queued"));
    }
    bench.advance(Duration::from_secs(100));
    let since = second(bench.fake.world().now());
    let ids: Vec<i64> = (0..120).map(|_| bench.fake.world().fail_delivery(APP, payload("queued"))).collect();
    assert_eq!(places(&bench.failed_since(since).await.unwrap()), of_app(ids));
    assert_eq!(bench.count("GET", LOG), 2, "the third page is older");
}

#[tokio::test]
async fn a_log_that_is_too_long_is_read_on_and_nothing_is_lost() {
    let bench = Bench::new(organization());
    let ids: Vec<i64> =
        (0..LOG_PAGES_MAX * 100 + 150).map(|_| bench.fake.world().fail_delivery(APP, payload("queued"))).collect();
    let until = limited(bench.failed().await);
    assert_eq!(bench.count("GET", LOG), LOG_PAGES_MAX, "and nothing is given: the earliest are not read yet");
    bench.advance(until.since(bench.now()) + Duration::from_secs(1));
    let newer = bench.fake.world().fail_delivery(APP, payload("queued"));
    assert_eq!(places(&bench.failed().await.unwrap()), of_app(ids.clone()), "what came meanwhile is for the next time");
    assert_eq!(bench.count("GET", LOG), LOG_PAGES_MAX + 2, "it went on where it was");
    // Begun anew, it is too long again.
    bench.advance(Duration::from_secs(70));
    let since = second(bench.fake.world().now());
    bench.advance(Duration::from_secs(10));
    let newest = bench.fake.world().fail_delivery(APP, payload("queued"));
    assert_eq!(places(&bench.failed_since(since).await.unwrap()), of_app([newest]));
    limited(bench.failed().await);
    bench.advance(Duration::from_secs(70));
    let whole = places(&bench.failed().await.unwrap());
    assert_eq!(whole, of_app(ids.into_iter().chain([newer, newest])));
}

#[tokio::test]
async fn a_log_that_was_left_is_read_anew_for_an_earlier_time() {
    let mut setup = organization();
    setup.apps = vec![1, 2];
    let bench = Bench::new(setup);
    let old = bench.fake.world().fail_delivery(1, payload("queued"));
    bench.advance(Duration::from_secs(100));
    let since = second(bench.fake.world().now());
    let new = bench.fake.world().fail_delivery(2, payload("queued"));
    // The second App's log cannot be read, when that of the first has come down to the later time.
    bench.fake.fail(Fault::status("GET", LOG, 500, "Server Error").after(1));
    unknown(bench.failed_since(since).await);
    let failed = bench.failed().await.unwrap();
    assert_eq!(places(&failed), [format!("app/1/{old}"), format!("app/2/{new}")]);
    // And for a later time nothing earlier is given.
    bench.fake.fail(Fault::status("GET", LOG, 500, "Server Error").after(1));
    unknown(bench.failed().await);
    assert_eq!(places(&bench.failed_since(since).await.unwrap()), [format!("app/2/{new}")]);
}

#[tokio::test]
async fn of_several_logs_no_more_is_given_than_all_of_them_tell() {
    let mut setup = organization();
    setup.apps = vec![1, 2];
    let bench = Bench::new(setup);
    let old = bench.fake.world().fail_delivery(1, payload("queued"));
    bench.fake.fail(Fault::status("GET", LOG, 500, "Server Error").after(1));
    unknown(bench.failed().await);
    bench.advance(Duration::from_secs(100));
    let later = bench.fake.world().fail_delivery(1, payload("queued"));
    bench.advance(Duration::from_secs(100));
    let latest = bench.fake.world().fail_delivery(2, payload("queued"));
    // The first log was read before. Whoever goes on from the latest of what is given would pass over what came later there.
    assert_eq!(places(&bench.failed().await.unwrap()), [format!("app/1/{old}")]);
    bench.advance(Duration::from_secs(10));
    let last = bench.fake.world().fail_delivery(1, payload("queued"));
    let all = [format!("app/1/{old}"), format!("app/1/{later}"), format!("app/2/{latest}"), format!("app/1/{last}")];
    assert_eq!(places(&bench.failed().await.unwrap()), all);
}

#[tokio::test]
async fn a_cursor_that_has_grown_old_begins_anew() {
    let bench = Bench::new(organization());
    let ids: Vec<i64> = (0..120).map(|_| bench.fake.world().fail_delivery(APP, payload("queued"))).collect();
    let old = format!("&cursor=v1_{}", ids[20] - 1);
    bench.fake.fail(Fault::status("GET", &old, 422, "Invalid cursor").times(2));
    let why = rejected(bench.failed().await);
    assert!(why.contains("Invalid cursor") && why.contains("app/12345"), "{why}");
    let more = bench.fake.world().fail_delivery(APP, payload("queued"));
    assert_eq!(places(&bench.failed().await.unwrap()), of_app(ids.into_iter().chain([more])));
}

#[tokio::test]
async fn an_app_need_not_have_a_webhook() {
    let mut setup = organization();
    setup.apps = vec![1, 2];
    let bench = Bench::new(setup);
    assert_eq!(bench.failed().await.unwrap(), []);
    bench.fake.world().remove_app_hook(1);
    let id = bench.fake.world().fail_delivery(2, payload("queued"));
    assert_eq!(places(&bench.failed().await.unwrap()), [format!("app/2/{id}")]);
    assert_eq!(bench.statuses(LOG), [200, 200, 404, 200]);
}

#[tokio::test]
async fn what_does_not_read_is_passed_over() {
    let bench = Bench::new(organization());
    let ids: Vec<i64> = (0..4).map(|_| bench.fake.world().fail_delivery(APP, payload("queued"))).collect();
    let changed = |pointer: &str, value| {
        let pointer = pointer.to_owned();
        Fault::on("GET", LOG, What::Changed { pointer, value, described: false })
    };
    for (pointer, value) in [("/1/delivered_at", json!("soon")), ("/1/id", json!("seven")), ("/1", json!(null))] {
        bench.fake.fail(changed(pointer, value));
        assert_eq!(places(&bench.failed().await.unwrap()), of_app([ids[0], ids[1], ids[3]]), "{pointer}");
    }
    // A word or a field that GitHub has added is no trouble.
    for (pointer, value) in
        [("/1/status", json!("postponed")), ("/1/duration", json!({ "s": 1 })), ("/1/action", json!(null))]
    {
        bench.fake.fail(changed(pointer, value));
        assert_eq!(bench.failed().await.unwrap().len(), 4, "{pointer}");
    }
    bench.fake.fail(changed("/1/status_code", json!(0)));
    assert_eq!(bench.failed().await.unwrap().len(), 4, "a code outside the successes is a failure");
    bench.fake.fail(changed("/1/status_code", json!(204)));
    assert_eq!(bench.failed().await.unwrap().len(), 3, "whatever the filter of an older server does");
}

#[tokio::test]
async fn a_log_without_an_answer_is_unknown_and_asked_again() {
    let bench = Bench::new(organization());
    let id = bench.fake.world().fail_delivery(APP, payload("queued"));
    for what in [What::LostBefore, What::LostAfter, What::Truncated] {
        bench.fake.fail(Fault::on("GET", LOG, what.clone()));
        let why = unknown(bench.failed().await);
        assert!(!why.contains("installation token"), "{what:?}: {why}");
        assert_eq!(places(&bench.failed().await.unwrap()), of_app([id]), "{what:?}");
    }
    bench.fake.fail(Fault::status("GET", LOG, 502, "Bad Gateway"));
    assert!(unknown(bench.failed().await).contains("502"));
    bench.fake.fail(Fault::status("GET", LOG, 401, "Bad credentials"));
    assert!(rejected(bench.failed().await).contains("private_key"));
    bench.fake.fail(Fault::secondary("GET", LOG, Some(30)));
    let wait = limited(bench.failed().await).since(bench.now());
    assert!(wait > Duration::from_secs(25) && wait <= Duration::from_secs(30), "{wait:?}");
}

#[tokio::test]
async fn the_owners_webhooks_have_logs_of_their_own() {
    let base = "/orgs/acme/hooks";
    let bench = Bench::with(organization(), |section| section.hook = Hook::Owner);
    let (hook, failed);
    {
        let mut world = bench.fake.world();
        world.add_hook(&["workflow_job"], false);
        world.add_hook(&["push", "workflow_run"], true);
        hook = world.add_hook(&["push", "workflow_job"], true);
        let every = world.add_hook(&["*"], true);
        world.fail_delivery(APP, payload("queued"));
        let mut ids = Vec::new();
        // An answer that is no success is a failure, whatever GitHub's filter would say of it.
        for code in [302, 502] {
            world.deliver(FakeLog::Hook(hook), "workflow_job", payload("queued"), 202);
            world.deliver(FakeLog::Hook(hook), "push", payload("queued"), 500);
            ids.extend(of_hook(hook, [world.deliver(FakeLog::Hook(hook), "workflow_job", payload("queued"), code)]));
        }
        ids.extend(of_hook(every, [world.deliver(FakeLog::Hook(every), "workflow_job", payload("queued"), 500)]));
        failed = ids;
    }
    let listed = bench.failed().await.unwrap();
    assert_eq!(places(&listed), failed);
    assert_eq!(bench.count("GET", &format!("{base}/")), 2, "two tell of jobs");
    let bytes = bench.quiet(bench.github.payload(&listed[0]).await).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), payload("queued"));
    assert_eq!(bench.count("GET", &format!("{base}/{hook}/deliveries/")), 1);
    let permissions = json!({ "actions": "read", "metadata": "read", "organization_hooks": "read" });
    assert_eq!(bench.fake.world().asked_tokens(), [json!({ "permissions": permissions })]);
    // A webhook that has gone has no log.
    bench.fake.fail(Fault::status("GET", &format!("{base}/{hook}/deliveries"), 404, "Not Found"));
    assert_eq!(places(&bench.failed().await.unwrap()), failed[2..]);
    bench.fake.fail(Fault::status("GET", &format!("{base}?"), 403, "Resource not accessible by integration"));
    let why = rejected(bench.failed().await);
    assert!(why.contains("\"Webhooks\": read-only") && why.contains("organization acme"), "{why}");
}

#[tokio::test]
async fn a_repositorys_webhook_has_a_log() {
    let bench = Bench::with(repository(), |section| section.hook = Hook::Owner);
    let hook = bench.fake.world().add_hook(&["workflow_job"], true);
    let ids: Vec<i64> = (0..130)
        .map(|_| bench.fake.world().deliver(FakeLog::Hook(hook), "workflow_job", payload("queued"), 502))
        .collect();
    assert_eq!(places(&bench.failed().await.unwrap()), of_hook(hook, ids));
    assert_eq!(bench.count("GET", &format!("/repos/acme/api/hooks/{hook}/deliveries?")), 2);
    let permissions = json!({ "actions": "read", "metadata": "read", "repository_hooks": "read" });
    assert_eq!(bench.fake.world().asked_tokens(), [json!({ "permissions": permissions, "repositories": ["api"] })]);
}

// Payloads.

#[tokio::test]
async fn a_payload_is_read_from_the_log_as_it_was_sent() {
    let bench = Bench::new(organization());
    let sent = json!({ "action": "queued", "workflow_job": { "id": 9_007_199_254_740_993_i64, "name": "é \"x\"" } });
    bench.fake.world().fail_delivery(APP, sent.clone());
    let failed = bench.failed().await.unwrap();
    let bytes = bench.quiet(bench.github.payload(&failed[0]).await).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), sent);
    for what in [What::LostAfter, What::Truncated] {
        bench.fake.fail(Fault::on("GET", "/app/hook/deliveries/", what));
        unknown(bench.quiet(bench.github.payload(&failed[0]).await));
    }
    let null = What::Changed { pointer: "/request/payload".to_owned(), value: Value::Null, described: true };
    bench.fake.fail(Fault::on("GET", "/app/hook/deliveries/", null));
    assert_eq!(bench.github.payload(&failed[0]).await.unwrap(), None);
}

#[tokio::test]
async fn a_payload_that_the_log_has_no_more_is_none() {
    let bench = Bench::new(organization());
    let id = bench.fake.world().fail_delivery(APP, payload("queued"));
    let failed = bench.failed().await.unwrap().remove(0);
    bench.fake.world().forget_delivery(id);
    assert_eq!(bench.github.payload(&failed).await.unwrap(), None);
    let body = json!({ "message": "Gone" });
    bench.fake.fail(Fault::on("GET", "/app/hook/", What::Answer { status: 410, headers: Vec::new(), body }));
    assert_eq!(bench.github.payload(&failed).await.unwrap(), None);
    bench.fake.world().take_wrong();
    let before = bench.fake.seen().len();
    let at = |place: &str| FailedDelivery { place: Arc::from(place), ..failed.clone() };
    assert_eq!(bench.github.payload(&at("app/999/1")).await.unwrap(), None, "an App that is not configured any more");
    for bad in ["", "app/12345/../../x", "file/1/2", "app/12345/1/2"] {
        assert!(rejected(bench.github.payload(&at(bad)).await).contains("is no place"), "{bad}");
    }
    assert_eq!(bench.fake.seen().len(), before);
}

#[tokio::test]
async fn a_payload_is_read_in_the_name_of_the_app_whose_log_it_is_in() {
    let mut setup = organization();
    setup.apps = vec![1, 2];
    let bench = Bench::new(setup);
    bench.fake.world().fail_delivery(2, payload("waiting"));
    let failed = bench.failed().await.unwrap();
    assert!(bench.github.payload(&failed[0]).await.unwrap().is_some());
    let world = bench.fake.world();
    assert_eq!(world.seen().last().unwrap().app, Some(2));
}

// One job.

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

// Jobs that wait.

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
