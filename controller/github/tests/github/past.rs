//! An owner's past, page by page, and the count of requests that ends it.

use std::time::Duration;

use muster_core::ports::GithubError;
use muster_core::time::Timestamp;
use muster_github::{Options, PAST_PAGE, PastRead, RestGithub};
use muster_tests::github::{FakeGithub, FakeOwner, FakeSetup, World};

use crate::bench::{Bench, PATIENCE, organization, owner, rejected, section};

const AT: Duration = Duration::from_secs(1_795_428_000);

fn second(at: Duration) -> Timestamp {
    Timestamp::EPOCH + at
}

/// A run with a job that had a runner for a minute.
fn run(world: &mut World, at: Duration) -> i64 {
    let run = world.add_run("acme/api", "ci");
    world.set_run(run, at, false);
    let id = world.add_job(run, &["linux"]);
    world.set_job_status(id, "in_progress");
    world.set_job_status(id, "completed");
    let job = world.job(id).unwrap();
    (job.started_at, job.completed_at) = (at, Some(at + Duration::from_secs(60)));
    run
}

#[tokio::test]
async fn both_ends_of_a_span_are_in_it_and_a_full_page_is_not_the_last() {
    let bench = Bench::new(organization());
    for n in 0..=u64::try_from(PAST_PAGE).unwrap() + 1 {
        run(&mut bench.fake.world(), AT + Duration::from_secs(n));
    }
    let last = AT + Duration::from_secs(u64::try_from(PAST_PAGE).unwrap());
    let span = (second(AT), second(last));
    let mut times = Vec::new();
    for (page, (length, is_last)) in (1..).zip([(PAST_PAGE, false), (1, true)]) {
        let read = bench.quiet(bench.github.past_runs("acme/api", span, page).await).unwrap();
        let PastRead::Page(read) = read else { panic!("{read:?}") };
        assert_eq!((read.items.len(), read.last, read.total), (length, is_last, PAST_PAGE + 1));
        times.extend(read.items.iter().map(|run| run.created_at));
    }
    assert_eq!((times.iter().min(), times.iter().max()), (Some(&span.0), Some(&span.1)));
}

#[tokio::test]
async fn what_is_gone_is_closed_and_a_bad_name_asks_nothing() {
    let bench = Bench::new(organization());
    bench.fake.world().add_repository("acme/api", true);
    let span = (second(AT), second(AT));
    for read in [
        bench.github.past_jobs("acme/api", 7, 1).await.map(|read| matches!(read, PastRead::Closed(_))),
        bench.github.past_runs("acme/none", span, 1).await.map(|read| matches!(read, PastRead::Closed(_))),
    ] {
        assert!(bench.quiet(read).unwrap());
    }
    let asked = bench.fake.seen().len();
    rejected(bench.github.past_runs("acme/..", span, 1).await);
    assert_eq!(bench.fake.seen().len(), asked);
}

#[tokio::test]
async fn an_enterprises_repositories_are_not_known() {
    let bench = Bench::new(FakeSetup::new(FakeOwner::Enterprise("acme".to_owned())));
    assert!(rejected(bench.github.past_repositories(1).await).contains("organizations are not known"));
    assert_eq!(bench.fake.seen().len(), 0);
}

#[tokio::test]
async fn no_more_requests_leave_than_there_may_be_those_for_tokens_included() {
    for most in 0..5 {
        let setup = organization();
        let (owner, apps) = (owner(&setup), setup.apps.clone());
        let fake = FakeGithub::start(setup);
        run(&mut fake.world(), AT);
        let keys: Vec<Vec<u8>> = apps.iter().map(|app| fake.key(*app)).collect();
        let options = Options { requests_max: Some(most), patience: PATIENCE, ..Options::default() };
        let github = RestGithub::new(&section(&fake, owner, &apps), &keys, options).unwrap();
        let mut read = 0;
        let error = loop {
            match github.past_repositories(1).await {
                Ok(_) => read += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, GithubError::Unknown(why) if why.contains("nothing was sent")), "{error}");
        assert!(github.is_spent());
        // Two are for the token.
        let sent = u64::try_from(fake.seen().len()).unwrap();
        assert_eq!((sent, read), (most, most.saturating_sub(2)));
    }
}
