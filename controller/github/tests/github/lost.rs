//! Answers that do not come, come late, or do not read.

use std::net::TcpListener;
use std::time::Duration;

use muster_core::ids::RunnerId;
use muster_core::ports::Github;
use muster_github::{Options, Patience, RestGithub};
use muster_tests::github::{FakeGithub, Fault, What};
use serde_json::json;

use crate::bench::{Bench, PATIENCE, organization, owner, section, unknown};

#[tokio::test]
async fn a_lost_reply_leaves_nothing_behind_and_is_not_repeated() {
    let bench = Bench::new(organization());
    bench.mint("first").await.unwrap();
    for (what, left) in [(What::LostAfter, true), (What::LostBefore, false), (What::Truncated, true)] {
        let before = bench.count("POST", "generate-jitconfig");
        bench.fake.fail(Fault::on("POST", "generate-jitconfig", what.clone()));
        let why = unknown(bench.mint("a").await);
        assert_eq!(why.contains("is removed"), left, "{what:?}: {why}");
        assert_eq!(bench.names(), ["first"], "{what:?}");
        assert_eq!(bench.count("POST", "generate-jitconfig"), before + 1, "{what:?}");
    }
    bench.mint("a").await.unwrap();
}

#[tokio::test]
async fn a_burst_of_5xx_costs_one_post_each() {
    let bench = Bench::new(organization());
    for status in [500, 502, 503, 504] {
        bench.fake.fail(Fault::status("POST", "generate-jitconfig", status, "Server Error"));
        let why = unknown(bench.mint("a").await);
        assert!(why.contains(&status.to_string()) && why.contains("no registration a was there"), "{why}");
    }
    assert_eq!(bench.count("POST", "generate-jitconfig"), 4);
    // It was done all the same.
    let mut html = Fault::on("POST", "generate-jitconfig", What::LostAfter);
    bench.fake.fail(html.clone());
    html = Fault::status("GET", "runners?name=", 502, "Bad Gateway");
    bench.fake.fail(html.times(2));
    let why = unknown(bench.mint("b").await);
    assert!(why.contains("is removed"), "the third look finds it: {why}");
    assert!(bench.names().is_empty());
}

#[tokio::test]
async fn what_cannot_be_cleaned_up_is_said() {
    let bench = Bench::new(organization());
    bench.fake.fail(Fault::on("POST", "generate-jitconfig", What::LostAfter));
    bench.fake.fail(Fault::status("GET", "runners?name=", 503, "Unavailable").times(100));
    let why = unknown(bench.mint("a").await);
    assert!(why.contains("a registration a may be left") && why.contains("503"), "{why}");
    assert_eq!(bench.names(), ["a"]);
}

#[tokio::test]
async fn a_slow_answer_is_given_up_and_what_it_made_is_removed() {
    let patience = Patience { answer: Duration::from_millis(700), ..PATIENCE };
    let bench = Bench::patient(organization(), patience);
    bench.mint("first").await.unwrap();
    bench.fake.fail(Fault::on("POST", "generate-jitconfig", What::Slow(Duration::from_secs(3))));
    let why = unknown(bench.mint("a").await);
    assert!(why.contains("nothing within 700ms") && why.contains("is removed"), "{why}");
    assert_eq!(bench.names(), ["first"]);
}

#[tokio::test]
async fn cleaning_up_has_an_end() {
    let patience = Patience { clean_up: Duration::from_millis(50), look_again: Duration::from_secs(60), ..PATIENCE };
    let bench = Bench::patient(organization(), patience);
    bench.fake.fail(Fault::on("POST", "generate-jitconfig", What::LostBefore));
    let why = unknown(bench.mint("a").await);
    assert!(why.contains("not removed within 50ms"), "{why}");
}

#[tokio::test]
async fn nothing_is_cleaned_up_when_nothing_was_sent() {
    let setup = organization();
    let (owner, apps) = (owner(&setup), setup.apps.clone());
    let fake = FakeGithub::start(setup);
    let keys = [fake.key(apps[0])];
    let mut section = section(&fake, owner, &apps);
    // A port that nobody listens on.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    section.api_url = format!("http://{free}");
    let options = Options { patience: PATIENCE, ..Options::default() };
    let github = RestGithub::new(&section, &keys, options).unwrap();
    let why = unknown(github.mint(&crate::bench::request("a", "default")).await);
    assert!(why.contains("no connection") && why.contains("nothing was sent"), "{why}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn removing_without_an_answer_is_unknown() {
    let bench = Bench::new(organization());
    let minted = bench.mint("a").await.unwrap();
    bench.fake.fail(Fault::on("DELETE", "/runners/", What::LostAfter));
    unknown(bench.quiet(bench.github.remove(minted.id).await));
    bench.fake.fail(Fault::status("DELETE", "/runners/", 500, "Server Error"));
    unknown(bench.quiet(bench.github.remove(RunnerId(1)).await));
}

#[tokio::test]
async fn words_that_github_will_have_one_day_are_no_trouble() {
    let bench = Bench::new(organization());
    let changed = |pointer: &str, value| {
        let pointer = pointer.to_owned();
        What::Changed { pointer, value: json!(value), described: false }
    };
    bench.fake.fail(Fault::on("POST", "access_tokens", changed("/repository_selection", "most")));
    bench.fake.fail(Fault::on("GET", "runner-groups", changed("/runner_groups/0/visibility", "some")));
    bench.fake.fail(Fault::on("POST", "generate-jitconfig", changed("/runner/labels/0/type", "inherited")));
    bench.mint("a").await.unwrap();
    // A status that is not known is not `offline`: the runner is left alone.
    bench.fake.fail(Fault::on("GET", "runners?name=", changed("/runners/0/status", "hibernating")));
    let why = crate::bench::rejected(bench.mint("a").await);
    assert!(why.contains("is in use"), "{why}");
}
