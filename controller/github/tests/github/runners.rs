//! Registrations made and removed, while all is well or plainly refused.

use muster_core::ids::RunnerId;
use muster_core::machine::Removal;
use muster_core::ports::Github;
use muster_tests::github::Fault;

use crate::bench::{Bench, organization, rejected, request, unknown};

#[tokio::test]
async fn a_runner_is_registered_as_asked_and_removed() {
    let bench = Bench::new(organization());
    let minted = bench.github.mint(&request("linux-i-0123456789abcdef0-k3x9q2", "Linux builders")).await.unwrap();
    let runner = bench.fake.world().runners()[0].clone();
    assert_eq!(runner.id, minted.id.0);
    assert_eq!(runner.name, "linux-i-0123456789abcdef0-k3x9q2");
    assert_eq!(runner.labels, ["self-hosted", "linux", "x64"]);
    assert_eq!((runner.group, runner.work_folder.as_str()), (2, "_work"));
    assert_eq!(bench.fake.world().secrets().last().unwrap().as_bytes(), minted.config);
    assert_eq!(bench.github.remove(minted.id).await.unwrap(), Removal::Gone);
    assert!(bench.names().is_empty());
    assert_eq!(bench.github.remove(minted.id).await.unwrap(), Removal::Gone);
    assert_eq!(
        bench.fake.seen(),
        [
            "GET /orgs/acme/installation",
            "POST /app/installations/701/access_tokens",
            "GET /orgs/acme/actions/runner-groups?per_page=100&page=1",
            "POST /orgs/acme/actions/runners/generate-jitconfig",
            &format!("DELETE /orgs/acme/actions/runners/{}", minted.id),
            &format!("DELETE /orgs/acme/actions/runners/{}", minted.id),
        ]
    );
    let world = bench.fake.world();
    assert!(world.seen().iter().all(|seen| seen.version == "2022-11-28" && seen.user_agent.starts_with("muster/")));
}

#[tokio::test]
async fn a_thousand_jobs_need_a_thousand_requests_and_a_few() {
    let mut setup = organization();
    setup.requests_an_hour = 15_000;
    let bench = Bench::new(setup);
    for n in 0..170 {
        bench.mint(&format!("r-{n}")).await.unwrap();
    }
    assert_eq!(bench.names().len(), 170);
    assert_eq!(bench.fake.seen().len(), 170 + 3);
    assert_eq!(bench.github.rates()[0].requests, 170 + 3);
}

#[tokio::test]
async fn a_busy_runner_stays() {
    let bench = Bench::new(organization());
    let minted = bench.mint("a").await.unwrap();
    bench.fake.world().runner("a").unwrap().busy = true;
    assert_eq!(bench.github.remove(minted.id).await.unwrap(), Removal::Busy);
    assert_eq!(bench.names(), ["a"]);
}

#[tokio::test]
async fn a_404_is_believed_only_of_an_app_that_sees_the_runners() {
    let bench = Bench::new(organization());
    assert_eq!(bench.github.remove(RunnerId(5)).await.unwrap(), Removal::Gone);
    assert_eq!(bench.count("GET", "/actions/runners?per_page=1"), 1);
    assert_eq!(bench.github.remove(RunnerId(6)).await.unwrap(), Removal::Gone);
    assert_eq!(bench.count("GET", "/actions/runners?per_page=1"), 1, "it is remembered");

    let blind = Bench::new(organization());
    blind.fake.fail(Fault::status("DELETE", "/actions/runners", 404, "Not Found"));
    blind.fake.fail(Fault::status("GET", "/actions/runners", 404, "Not Found"));
    let why = rejected(blind.github.remove(RunnerId(5)).await);
    assert!(why.contains("organization acme") && why.contains("Self-hosted runners"), "{why}");
}

#[tokio::test]
async fn what_github_refuses_is_told_in_its_words_and_not_repeated() {
    let bench = Bench::new(organization());
    for (status, message) in [(422, "Labels must be unique"), (404, "Not Found")] {
        bench.fake.fail(Fault::status("POST", "generate-jitconfig", status, message));
        let why = rejected(bench.mint("a").await);
        assert!(why.contains(message) && why.contains("runner group \"default\"") && why.contains("acme"), "{why}");
    }
    assert_eq!(bench.count("POST", "generate-jitconfig"), 2);
    let too_long = "x".repeat(65);
    assert!(rejected(bench.mint(&too_long).await).contains("64 characters"));
}

#[tokio::test]
async fn a_name_that_is_taken_is_freed_unless_somebody_uses_it() {
    let bench = Bench::new(organization());
    let left = bench.fake.world().register("a", vec!["linux".to_owned()], 1, "_work").unwrap();
    let why = unknown(bench.mint("a").await);
    assert!(why.contains("existed already") && why.contains(&left.id.to_string()), "{why}");
    assert!(bench.names().is_empty());
    bench.mint("a").await.unwrap();
    bench.fake.world().runner("a").unwrap().online = true;
    let why = rejected(bench.mint("a").await);
    assert!(why.contains("is in use"), "{why}");
    assert_eq!(bench.names(), ["a"]);
    assert_eq!(bench.count("POST", "generate-jitconfig"), 3);
}
