//! Organization, enterprise, repository; github.com and Enterprise Server.

use muster_core::machine::Removal;
use muster_core::ports::Github;
use muster_tests::github::{FakeOwner, FakeSetup, Fault, What};

use crate::bench::{Bench, rejected, request, unknown};

async fn whole_life(setup: FakeSetup, base: &str) -> Bench {
    let bench = Bench::new(setup);
    let minted = bench.mint("a").await.unwrap();
    bench.fake.fail(Fault::on("POST", "generate-jitconfig", What::LostAfter));
    assert!(unknown(bench.mint("b").await).contains("is removed"));
    assert_eq!(bench.names(), ["a"]);
    assert_eq!(bench.github.remove(minted.id).await.unwrap(), Removal::Gone);
    assert_eq!(bench.count("POST", &format!("{base}/actions/runners/generate-jitconfig")), 2);
    assert_eq!(bench.count("GET", &format!("{base}/installation")), 1);
    assert_eq!(bench.github.installations().await.unwrap().len(), 1);
    bench
}

#[tokio::test]
async fn an_organization() {
    whole_life(FakeSetup::new(FakeOwner::Organization("acme".to_owned())), "/orgs/acme").await;
}

#[tokio::test]
async fn an_enterprise() {
    let bench = whole_life(FakeSetup::new(FakeOwner::Enterprise("acme-inc".to_owned())), "/enterprises/acme-inc").await;
    bench.github.mint(&request("c", "linux BUILDERS")).await.unwrap();
    assert_eq!(bench.fake.world().runners()[0].group, 2);
}

#[tokio::test]
async fn a_repository_has_no_groups() {
    let bench = whole_life(FakeSetup::new(FakeOwner::Repository("acme/api".to_owned())), "/repos/acme/api").await;
    assert_eq!(bench.count("GET", "runner-groups"), 0);
    let why = rejected(bench.github.mint(&request("c", "Linux builders")).await);
    assert!(why.contains("have no groups") && why.contains("runner_group = \"default\""), "{why}");
}

#[tokio::test]
async fn enterprise_server_has_its_api_below_a_path() {
    let mut setup = FakeSetup::new(FakeOwner::Organization("api".to_owned()));
    setup.base_path = "/api/v3".to_owned();
    whole_life(setup, "/orgs/api").await;
    // A base that paths happen to begin with.
    let mut setup = FakeSetup::new(FakeOwner::Organization("acme".to_owned()));
    setup.base_path = "/app".to_owned();
    whole_life(setup, "/orgs/acme").await;
}
