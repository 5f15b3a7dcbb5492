//! Limits: obeyed, shared out among Apps, and told.

use std::time::Duration;

use futures_util::future::join_all;
use muster_core::ids::RunnerId;
use muster_core::ports::{Github, GithubError};
use muster_emf::EmfRecorder;
use muster_github::{AT_ONCE_MAX, POINTS_A_MINUTE};
use muster_tests::github::{Fault, What};
use serde_json::{Value, json};

use crate::bench::{Bench, limited, organization, request};

#[tokio::test]
async fn a_secondary_limit_stops_the_app_until_it_is_over() {
    let bench = Bench::new(organization());
    let minted = bench.mint("a").await.unwrap();
    bench.fake.fail(Fault::secondary("POST", "generate-jitconfig", Some(90)));
    let until = limited(bench.mint("b").await);
    let wait = until.since(bench.now()).as_secs();
    assert!((88..=90).contains(&wait), "{wait}");
    let before = bench.fake.seen().len();
    assert_eq!(limited(bench.mint("c").await), until);
    assert_eq!(limited(bench.github.remove(minted.id).await), until, "it holds for every request");
    assert_eq!(bench.fake.seen().len(), before, "GitHub is left alone");
    assert_eq!(bench.github.rates()[0].paused_until, Some(until));
    bench.advance(Duration::from_secs(91));
    bench.mint("b").await.unwrap();
    assert_eq!(bench.names(), ["a", "b"]);
}

#[tokio::test]
async fn a_limit_without_a_time_is_at_least_a_minute() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    for status in [403, 429] {
        bench.fake.fail(Fault::status(
            "POST",
            "generate-jitconfig",
            status,
            "You have exceeded a secondary rate limit",
        ));
        let wait = limited(bench.mint("b").await).since(bench.now());
        assert!(wait >= Duration::from_secs(59), "{wait:?}");
        bench.advance(wait + Duration::from_secs(1));
    }
}

#[tokio::test]
async fn an_empty_primary_limit_is_a_delay() {
    let mut setup = organization();
    setup.requests_an_hour = 3;
    let bench = Bench::new(setup);
    bench.mint("a").await.unwrap();
    bench.mint("b").await.unwrap();
    let left = bench.github.rates()[0];
    assert_eq!((left.limit, left.remaining), (Some(3), Some(0)));
    let until = limited(bench.mint("c").await);
    assert_eq!(Some(until), left.reset);
    assert!(until.since(bench.now()) > Duration::from_secs(3_500));
    assert_eq!(bench.fake.world().limits_hit(), 0, "it was not even tried");
    bench.advance(until.since(bench.now()) + Duration::from_secs(2));
    bench.mint("c").await.unwrap();
    assert_eq!(bench.github.rates()[0].remaining, Some(1), "the list of groups was old");
}

#[tokio::test]
async fn a_burst_stays_within_the_points_of_a_minute() {
    let bench = Bench::new(organization());
    let names: Vec<String> = (0..400).map(|n| format!("r-{n}")).collect();
    let mut waiting: Vec<&String> = names.iter().collect();
    let mut rounds = 0;
    while !waiting.is_empty() {
        rounds += 1;
        assert!(rounds < 10, "{} still wait", waiting.len());
        let mints = waiting.iter().map(|name| bench.mint(name));
        let outcomes = join_all(mints).await;
        let mut next = None;
        let mut left = Vec::new();
        for (name, outcome) in waiting.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                Err(GithubError::Limited { until }) => {
                    next = next.max(Some(until));
                    left.push(name);
                }
                Err(error) => panic!("{error}"),
            }
        }
        if let Some(until) = next {
            bench.advance(until.since(bench.now()) + Duration::from_millis(1));
        }
        waiting = left;
    }
    assert_eq!(bench.names().len(), 400);
    assert!(rounds >= 3, "{POINTS_A_MINUTE} points are some 170 mints, {AT_ONCE_MAX} at once");
    assert_eq!(bench.fake.world().limits_hit(), 0, "GitHub never had to say so");
}

#[tokio::test]
async fn two_apps_share_the_work() {
    let mut setup = organization();
    setup.apps = vec![1, 2];
    setup.requests_an_hour = 40;
    let bench = Bench::new(setup);
    for n in 0..60 {
        bench.mint(&format!("r-{n}")).await.unwrap();
    }
    let rates = bench.github.rates();
    assert_eq!(rates.iter().map(|rate| rate.app).collect::<Vec<u64>>(), [1, 2]);
    let left: Vec<u64> = rates.iter().map(|rate| rate.remaining.unwrap()).collect();
    assert_eq!(left.iter().sum::<u64>(), 80 - 60 - 1, "{left:?}");
    assert!(left[0].abs_diff(left[1]) <= 2, "{left:?}");
    for n in 60..79 {
        bench.mint(&format!("r-{n}")).await.unwrap();
    }
    limited(bench.mint("one too many").await);
    assert_eq!(bench.fake.world().limits_hit(), 0);
}

#[tokio::test]
async fn the_other_app_goes_on() {
    let mut setup = organization();
    setup.apps = vec![1, 2];
    let bench = Bench::new(setup);
    bench.fake.fail(Fault::secondary("POST", "generate-jitconfig", Some(60)));
    bench.mint("a").await.unwrap();
    assert_eq!(bench.count("POST", "generate-jitconfig"), 2, "nothing happened in the first one's name");
    let going_on = bench.github.rates().iter().find(|rate| rate.paused_until.is_none()).unwrap().app;
    bench.fake.world().refuse(going_on, true);
    let wait = limited(bench.mint("b").await).since(bench.now());
    assert!(wait <= Duration::from_secs(60), "the limited one will do it: {wait:?}");
    bench.advance(Duration::from_secs(61));
    bench.mint("b").await.unwrap();
    // But what may have happened in one's name is not sent in the other's.
    bench.fake.world().refuse(going_on, false);
    bench.advance(Duration::from_secs(61));
    bench.fake.fail(Fault::on("POST", "generate-jitconfig", What::LostBefore));
    let before = bench.count("POST", "generate-jitconfig");
    crate::bench::unknown(bench.mint("c").await);
    assert_eq!(bench.count("POST", "generate-jitconfig"), before + 1);
}

#[tokio::test]
async fn another_resources_numbers_are_not_taken_for_ours() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    let headers = [("x-ratelimit-limit", "30"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-resource", "search")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let body = json!({ "message": "Not Found" });
    bench.fake.fail(Fault::on("DELETE", "/runners/", What::Answer { status: 404, headers, body }));
    bench.github.remove(RunnerId(9)).await.unwrap();
    assert_eq!(bench.github.rates()[0].limit, Some(5_000));
    bench.github.mint(&request("b", "default")).await.unwrap();
}

#[tokio::test]
async fn what_is_left_is_a_metric_of_each_app() {
    let recorder = EmfRecorder::builder("Test").build().unwrap();
    let _heard = metrics::set_default_local_recorder(&recorder);
    let mut setup = organization();
    setup.requests_an_hour = 60;
    let bench = Bench::new(setup);
    bench.mint("a").await.unwrap();
    bench.mint("b").await.unwrap();
    let mut lines = Vec::new();
    assert!(recorder.flush(0, &mut lines).unwrap().is_complete());
    let line: Value = serde_json::from_slice(&lines).unwrap();
    let rate = bench.github.rates()[0];
    assert_eq!(line["GitHubRateRemaining"].as_f64(), rate.remaining.map(|left| left as f64), "{line}");
    assert_eq!(line["app"], rate.app.to_string());
    assert!(rate.remaining.is_some_and(|left| left < 60));
}
