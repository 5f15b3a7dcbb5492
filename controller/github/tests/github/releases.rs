//! Runner releases: those on runners, the one that is offered, and when one ends.

use muster_core::ports::{Github, Records};
use muster_core::release::{Release, Retirement};
use muster_core::time::Timestamp;
use muster_tests::github::{FakeOwner, FakeSetup, Fault};

use crate::bench::{Bench, limited, organization, rejected, request, unknown};

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_list_tells_the_release_of_a_runner_once_it_has_connected() {
    let bench = Bench::new(organization());
    for name in ["new", "connected", "strange"] {
        bench.fake.world().register(name, vec!["linux".to_owned()], 1, "_work").unwrap();
    }
    bench.fake.world().runner("connected").unwrap().version = Some("2.335.1".to_owned());
    bench.fake.world().runner("strange").unwrap().version = Some("nightly".to_owned());
    let listed = bench.github.registrations().await.unwrap();
    let told: Vec<_> = listed.iter().map(|listed| (listed.name.as_str(), listed.release)).collect();
    assert_eq!(told, [("new", None), ("connected", Some(release("2.335.1"))), ("strange", None)]);
}

#[tokio::test]
async fn every_owner_is_offered_a_release_and_only_some_are_told_of_an_end() {
    for owner in [
        FakeOwner::Organization("acme".to_owned()),
        FakeOwner::Enterprise("acme".to_owned()),
        FakeOwner::Repository("acme/api".to_owned()),
    ] {
        let bench = Bench::new(FakeSetup::new(owner));
        assert_eq!(bench.github.offered().await.unwrap(), [release("2.336.0")]);
        bench.fake.world().offer_release("2.337.1");
        assert_eq!(bench.github.offered().await.unwrap(), [release("2.337.1")]);
        assert_eq!(bench.github.retirement(release("2.335.0")).await.unwrap(), None, "github.com");
        bench.fake.world().end_release("2.335.0", None, Some("2026-12-01T00:00:00Z"));
        let told = bench.github.retirement(release("2.335.0")).await.unwrap();
        let runtime = Timestamp::parse("2026-12-01T00:00:00Z");
        assert_eq!(told, Some(Retirement { registration: None, runtime }));
        assert_eq!(bench.github.retirement(release("2.336.0")).await.unwrap(), Some(Retirement::default()));
    }
}

#[tokio::test]
async fn a_refusal_of_these_is_about_nothing_else() {
    let bench = Bench::new(organization());
    bench.fake.fail(Fault::status("GET", "deprecations", 403, "Resource not accessible by integration"));
    bench.fake.fail(Fault::status("GET", "downloads", 403, "Resource not accessible by integration"));
    assert_eq!(bench.github.retirement(release("2.335.0")).await.unwrap(), None);
    assert!(rejected(bench.github.offered().await).contains("downloads"));
    bench.github.mint(&request("linux-i-00000001-abcdef", "Linux builders")).await.unwrap();
}

#[tokio::test]
async fn what_is_not_answered_is_not_known() {
    let bench = Bench::new(organization());
    bench.fake.fail(Fault::status("GET", "deprecations", 502, "Bad gateway"));
    unknown(bench.github.retirement(release("2.335.0")).await);
    bench.fake.world().offer_release("next");
    assert!(unknown(bench.github.offered().await).contains("release"));
    bench.fake.fail(Fault::secondary("GET", "downloads", Some(60)));
    limited(bench.github.offered().await);
}
