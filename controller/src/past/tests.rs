//! Pulls against the fake GitHub: what becomes of a small organization's past, and that no interruption shows in it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use muster_core::config::{App, GitHub, Hook, Owner, SecretRef};
use muster_github::{Clock, OPTIONAL_POINTS, Options};
use muster_sim::Trace;
use muster_tests::github::{FakeGithub, FakeOwner, FakeSetup, Fault, What};

use super::*;

const APP: u64 = 12345;
const LINUX: &[&str] = &["self-hosted", "linux", "x64"];
const HOSTED: &[&str] = &["ubuntu-latest"];
const DAYS: u32 = 7;

struct Ward {
    fake: FakeGithub,
    folder: tempfile::TempDir,
    ahead_ms: Arc<AtomicU64>,
    owner: Owner,
    /// When the pull begins.
    now: Timestamp,
}

/// What a call came to.
struct Called {
    stop: Option<Stop>,
    pull: Pull,
    totals: Option<Totals>,
    requests: u64,
}

impl Ward {
    fn of(owner: Owner) -> Ward {
        let told = match &owner {
            Owner::Organization(login) => FakeOwner::Organization(login.clone()),
            Owner::Enterprise(slug) => FakeOwner::Enterprise(slug.clone()),
            Owner::Repository(name) => FakeOwner::Repository(name.clone()),
        };
        let fake = FakeGithub::start(FakeSetup::new(told));
        let now = (Options::default().clock)();
        Ward { fake, folder: tempfile::tempdir().unwrap(), ahead_ms: Arc::default(), owner, now }
    }

    fn acme() -> Ward {
        Ward::of(Owner::Organization("acme".to_owned()))
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An instant so many seconds after the window's start, since the epoch.
    fn at(&self, seconds: u64) -> Duration {
        let (from, _) = Pull::new(self.wanted(), self.now).span();
        from.since(Timestamp::EPOCH) + Duration::from_secs(seconds)
    }

    fn wanted(&self) -> Wanted {
        let owner = match &self.owner {
            Owner::Organization(name) | Owner::Enterprise(name) | Owner::Repository(name) => name.clone(),
        };
        Wanted { owner, api_url: self.fake.url().to_owned(), days: DAYS, unpushed: false }
    }

    /// A run so many seconds after the window's start.
    fn run(&self, repository: &str, seconds: u64, cancelled: bool) -> i64 {
        let at = self.at(seconds);
        let mut world = self.fake.world();
        let run = world.add_run(repository, "ci");
        world.set_run(run, at, cancelled);
        run
    }

    /// A job of a run that began so many seconds after the window's start, and had a runner for so long.
    fn job(&self, run: i64, labels: &[&str], (began, took): (u64, u64), conclusion: &str) -> i64 {
        let (started_at, completed_at) = (self.at(began), self.at(began + took));
        let mut world = self.fake.world();
        let id = world.add_job(run, labels);
        let job = world.job(id).unwrap();
        (job.started_at, job.completed_at) = (started_at, Some(completed_at));
        (job.status, job.conclusion) = ("completed".to_owned(), Some(conclusion.to_owned()));
        job.runner = Some((id + 1_000, format!("runner-{id}")));
        id
    }

    /// One that never had a runner.
    fn idle_job(&self, run: i64, conclusion: &str) {
        let id = self.job(run, LINUX, (0, 0), conclusion);
        self.fake.world().job(id).unwrap().runner = None;
    }

    async fn call(&self, out: &str, requests_max: u64, shown: Shown) -> Result<Called, PullError> {
        self.call_for(self.wanted(), out, requests_max, shown).await
    }

    async fn call_for(&self, wanted: Wanted, out: &str, most: u64, shown: Shown) -> Result<Called, PullError> {
        let app = App { id: APP, installation_id: None, private_key: SecretRef::File("app.pem".to_owned()) };
        let section = GitHub {
            owner: self.owner.clone(),
            organization_id: None,
            api_url: self.fake.url().to_owned(),
            hook: Hook::App,
            webhook_secrets: Vec::new(),
            apps: vec![app],
        };
        let (system, ahead) = (Options::default().clock, self.ahead_ms.clone());
        let clock: Clock = Arc::new(move || system() + Duration::from_millis(ahead.load(Ordering::Relaxed)));
        let options = Options { requests_max: Some(most), clock: clock.clone(), ..Options::default() };
        let github = RestGithub::new(&section, &[self.fake.key(APP)], options).unwrap();
        let files = Files::of(&self.out(out));
        let before = self.fake.world().seen().len();
        let mut pull = files.begin(wanted, self.now)?;
        let stop = pull.run(&github, &files, || clock(), async |pause| self.advance(pause)).await?;
        let requests = u64::try_from(self.fake.world().seen().len() - before).unwrap();
        assert_eq!(requests, github.rates().iter().map(|rate| rate.requests).sum::<u64>());
        assert_eq!(self.fake.world().limits_hit(), 0);
        let totals = if stop.is_none() { Some(files.finish(&pull, shown)?) } else { None };
        Ok(Called { stop, pull, totals, requests })
    }

    /// All of it in one call.
    async fn whole(&self, out: &str, shown: Shown) -> Called {
        let called = self.call(out, 3_000, shown).await.unwrap();
        assert!(called.stop.is_none(), "{:?}", called.stop);
        called
    }

    fn advance(&self, span: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::Relaxed);
        self.fake.world().advance(span);
    }

    fn text(&self, out: &str) -> String {
        std::fs::read_to_string(self.out(out)).unwrap()
    }

    /// A small organization's week.
    fn small() -> Ward {
        let ward = Ward::acme();
        ward.fake.world().add_repository("acme/web", false);
        let late = ward.run("acme/api", 5_000, false);
        ward.job(late, LINUX, (5_010, 90), "success");
        for _ in 0..104 {
            ward.job(late, HOSTED, (5_020, 30), "failure");
        }
        let early = ward.run("acme/api", 100, false);
        ward.job(early, LINUX, (130, 600), "success");
        ward.idle_job(early, "skipped");
        let cancelled = ward.run("acme/web", 3_600, true);
        ward.job(cancelled, LINUX, (3_620, 40), "cancelled");
        ward.idle_job(cancelled, "cancelled");
        let nothing = ward.run("acme/web", 4_000, false);
        ward.idle_job(nothing, "skipped");
        // Before the window, after it, and not over yet.
        for seconds in [u64::from(DAYS) * 86_400, 7_200] {
            let run = ward.run("acme/web", seconds, false);
            ward.job(run, LINUX, (seconds, 10), "success");
        }
        let before = ward.run("acme/web", 0, false);
        let at = ward.at(0) - Duration::from_secs(1);
        ward.fake.world().set_run(before, at, false);
        let open = ward.run("acme/web", 7_300, false);
        ward.fake.world().add_job(open, LINUX);
        ward
    }
}

#[tokio::test]
async fn a_small_organizations_week_becomes_a_trace() {
    let ward = Ward::small();
    let called = ward.whole("week.jsonl", Shown::default()).await;
    assert_eq!(called.totals, Some(Totals { runs: 4, jobs: 108 }));
    assert_eq!((called.pull.told().repositories, called.pull.told().unfinished), (2, 1));
    let trace = Trace::file(ward.out("week.jsonl"));
    let survey = trace.survey().unwrap();
    assert_eq!((survey.runs, survey.jobs), (4, 108));
    assert_eq!(survey.label_sets.values().copied().collect::<Vec<_>>(), [4, 104]);
    let runs: Vec<_> = trace.runs().unwrap().map(Result::unwrap).collect();
    // Simulations begin on a Monday, 00:00 UTC, and so does the trace.
    let (from, _) = called.pull.span();
    let lead = runs[0].at - Duration::from_secs(100);
    assert_eq!(from.since(muster_sim::START).as_secs() % (7 * 86_400), lead.as_secs());
    let told: Vec<_> = runs
        .iter()
        .map(|run| ((run.at - lead).as_secs(), &*run.repository, run.public, run.cancel_after.map(|at| at.as_secs())))
        .collect();
    let wanted = [
        (100, "acme/api", false, None),
        (3_600, "acme/web", true, Some(60)),
        (5_000, "acme/api", false, None),
        (7_200, "acme/web", true, None),
    ];
    assert_eq!(told, wanted);
    assert_eq!((&*runs[0].workflow, &*runs[0].event), ("ci", "push"));
    assert_eq!((runs[0].jobs.len(), runs[0].jobs[0].duration), (1, Duration::from_secs(600)));
    assert!(runs.iter().flat_map(|run| &run.jobs).all(|job| job.needs.is_empty()));
    let mut left: Vec<_> =
        std::fs::read_dir(ward.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["week.jsonl"], "nothing is left beside it");
    let again = ward.call("week.jsonl", 3_000, Shown::default()).await;
    assert!(matches!(again, Err(PullError::Exists(_))), "a trace is not written over");
}

#[tokio::test]
async fn a_packed_one_is_the_same() {
    let ward = Ward::small();
    ward.whole("week.jsonl", Shown::default()).await;
    ward.whole("week.jsonl.gz", Shown::default()).await;
    let runs = |name: &str| Trace::file(ward.out(name)).runs().unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(runs("week.jsonl"), runs("week.jsonl.gz"));
    assert!(std::fs::read(ward.out("week.jsonl.gz")).unwrap().starts_with(&[0x1f, 0x8b]));
}

#[tokio::test]
async fn no_interruption_shows_and_no_budget_is_exceeded() {
    let ward = Ward::small();
    let whole = ward.whole("whole.jsonl", Shown::default()).await;
    // The token, the repositories, a page of runs for each, and the jobs of five runs, one of which has two pages.
    assert_eq!(whole.requests, 2 + 1 + 2 + 6);
    for most in 3..=whole.requests {
        let (name, mut calls) = (format!("at-most-{most}.jsonl"), 0);
        loop {
            calls += 1;
            let called = ward.call(&name, most, Shown::default()).await.unwrap();
            assert!(called.requests <= most);
            ward.advance(Duration::from_secs(61));
            let Some(stop) = called.stop else { break };
            assert!(matches!(stop, Stop::Spent) && called.requests == most, "{stop:?} {}", called.requests);
            // What a process has written that was killed before it said so.
            let part = std::fs::OpenOptions::new().append(true).open(ward.out(&format!("{name}.part")));
            if let Ok(mut part) = part {
                part.write_all(b"{\"run_id\":1").unwrap();
            }
        }
        // A call's token takes two of its requests.
        assert_eq!(calls, (whole.requests - 2).div_ceil(most - 2), "{most}");
        assert_eq!(ward.text(&name), ward.text("whole.jsonl"), "{most}");
    }
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_is_told_and_skipped() {
    let ward = Ward::small();
    ward.fake.world().close_repository("acme/web", true);
    let called = ward.whole("week.jsonl", Shown::default()).await;
    let told = called.pull.told();
    assert_eq!((told.repositories, told.skipped.len()), (1, 1));
    assert_eq!(told.skipped[0].repository, "acme/web");
    assert!(told.skipped[0].why.contains("blocked"), "{:?}", told.skipped);
    assert_eq!(called.totals, Some(Totals { runs: 2, jobs: 106 }));
}

#[tokio::test]
async fn repositories_without_a_push_are_looked_into_if_asked_for() {
    let ward = Ward::acme();
    let run = ward.run("acme/nightly", 60, false);
    ward.job(run, LINUX, (70, 5), "success");
    let long_ago = ward.at(0) - Duration::from_secs(1);
    ward.fake.world().set_pushed("acme/nightly", long_ago);
    assert_eq!(ward.whole("pushed.jsonl", Shown::default()).await.totals, Some(Totals::default()));
    let wanted = Wanted { unpushed: true, ..ward.wanted() };
    let called = ward.call_for(wanted, "all.jsonl", 100, Shown::default()).await.unwrap();
    assert_eq!(called.totals, Some(Totals { runs: 1, jobs: 1 }));
}

#[tokio::test]
async fn pages_go_on_and_the_pace_is_kept() {
    let ward = Ward::acme();
    for n in 0..130 {
        let run = ward.run("acme/api", 60 * n, false);
        ward.job(run, LINUX, (60 * n + 5, 20), "success");
    }
    let called = ward.whole("week.jsonl", Shown::default()).await;
    assert_eq!(called.totals, Some(Totals { runs: 130, jobs: 130 }));
    assert_eq!(called.requests, 2 + 1 + 2 + 130);
    let rests = called.requests / u64::from(OPTIONAL_POINTS);
    assert!(rests >= 1 && ward.ahead_ms.load(Ordering::Relaxed) <= rests * 63_000);
}

#[tokio::test]
async fn a_span_with_more_runs_than_a_search_lists_is_cut() {
    let ward = Ward::acme();
    for n in 0..1_100 {
        ward.run("acme/api", 100 * n, false);
    }
    for seconds in [0, u64::from(DAYS) * 86_400 - 1] {
        let run = ward.run("acme/api", seconds, false);
        ward.job(run, LINUX, (seconds, 20), "success");
    }
    let called = ward.whole("week.jsonl", Shown::default()).await;
    assert_eq!(called.totals, Some(Totals { runs: 2, jobs: 2 }), "the first second and the last one are in it");
    assert_eq!((called.pull.told().unfinished, called.pull.told().unlisted), (1_100, 0));
}

#[tokio::test]
async fn of_more_runs_in_one_second_the_rest_is_told() {
    let ward = Ward::acme();
    for _ in 0..1_003 {
        ward.run("acme/api", 7, false);
    }
    let called = ward.whole("week.jsonl", Shown::default()).await;
    assert_eq!((called.pull.told().unfinished, called.pull.told().unlisted), (1_000, 3));
}

#[tokio::test]
async fn names_can_be_hidden_and_hosted_jobs_left_out() {
    let ward = Ward::small();
    let shown = Shown { anonymous: true, self_hosted_only: true };
    let called = ward.whole("week.jsonl", shown).await;
    assert_eq!(called.totals, Some(Totals { runs: 4, jobs: 4 }));
    let text = ward.text("week.jsonl");
    for name in ["acme", "api", "web", "\"ci\"", "job 2", "ubuntu"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    let runs: Vec<_> = Trace::file(ward.out("week.jsonl")).runs().unwrap().map(Result::unwrap).collect();
    assert_eq!(runs.iter().map(|run| run.id.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(runs[0].repository, runs[2].repository);
    assert_ne!(runs[0].repository, runs[1].repository);
    ward.whole("again.jsonl", shown).await;
    assert_eq!(ward.text("again.jsonl"), text);
}

#[tokio::test]
async fn githubs_limit_ends_a_call_and_the_last_tenth_of_it_is_left() {
    let ward = Ward::small();
    ward.fake.world().spend(APP, 4_495);
    let called = ward.call("week.jsonl", 3_000, Shown::default()).await.unwrap();
    let Some(Stop::Limited(until)) = called.stop else { panic!("{:?}", called.stop) };
    // Of 5,000 the last 500: one more answer tells that they are reached. Tokens count elsewhere.
    assert_eq!(called.requests, 2 + 6);
    ward.advance(until.since((Options::default().clock)()) + Duration::from_secs(1));
    let called = ward.call("week.jsonl", 3_000, Shown::default()).await.unwrap();
    assert_eq!(called.totals, Some(Totals { runs: 4, jobs: 108 }));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_more_of_them_lose_nothing() {
    let ward = Ward::small();
    let whole = ward.whole("whole.jsonl", Shown::default()).await;
    for (n, lost) in (0..).zip([What::LostAfter, What::Truncated]) {
        let name = format!("lost-{n}.jsonl");
        ward.fake.fail(Fault::on("GET", "/jobs", lost.clone()).times(TRIES - 1).after(1));
        let called = ward.whole(&name, Shown::default()).await;
        assert_eq!(called.requests, whole.requests + u64::from(TRIES) - 1);
        assert_eq!(ward.text(&name), ward.text("whole.jsonl"));
        let name = format!("gone-{n}.jsonl");
        ward.fake.fail(Fault::on("GET", "/jobs", lost).times(TRIES).after(1));
        let called = ward.call(&name, 3_000, Shown::default()).await.unwrap();
        assert!(matches!(called.stop, Some(Stop::Trouble(GithubError::Unknown(_)))), "{:?}", called.stop);
        ward.whole(&name, Shown::default()).await;
        assert_eq!(ward.text(&name), ward.text("whole.jsonl"));
    }
}

#[tokio::test]
async fn a_refusal_is_told_and_not_asked_again() {
    let ward = Ward::small();
    ward.fake.world().withhold(APP, "actions", true);
    let called = ward.call("week.jsonl", 3, Shown::default()).await.unwrap();
    let Some(Stop::Trouble(GithubError::Rejected(why))) = &called.stop else { panic!("{:?}", called.stop) };
    assert!(why.contains("\"Actions\": read-only"), "{why}");
    assert_eq!(called.requests, 2);
}

#[tokio::test]
async fn only_the_same_pull_goes_on() {
    let ward = Ward::small();
    ward.call("week.jsonl", 4, Shown::default()).await.unwrap();
    let wanted = Wanted { days: DAYS + 1, ..ward.wanted() };
    let other = ward.call_for(wanted, "week.jsonl", 100, Shown::default()).await;
    assert!(matches!(other, Err(PullError::Another { .. })));
    ward.call("week.jsonl", 6, Shown::default()).await.unwrap();
    std::fs::remove_file(ward.out("week.jsonl.part")).unwrap();
    let gone = ward.call("week.jsonl", 100, Shown::default()).await;
    assert!(matches!(gone, Err(PullError::Broken { .. })));
    std::fs::write(ward.out("week.jsonl.state.json"), "{").unwrap();
    let broken = ward.call("week.jsonl", 100, Shown::default()).await;
    assert!(matches!(broken, Err(PullError::Broken { .. })));
}

#[tokio::test]
async fn a_repositorys_own_past_is_read_without_a_list() {
    let ward = Ward::of(Owner::Repository("acme/api".to_owned()));
    let run = ward.run("acme/api", 60, false);
    ward.job(run, LINUX, (70, 5), "success");
    let called = ward.whole("week.jsonl", Shown::default()).await;
    assert_eq!((called.totals, called.requests), (Some(Totals { runs: 1, jobs: 1 }), 2 + 1 + 1));
}
