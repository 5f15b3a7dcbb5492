//! The fake does hold requests and answers against GitHub's description: what breaks it turns a test red.

use std::panic::{AssertUnwindSafe, catch_unwind};

use muster_tests::github::{FakeGithub, Fault, What};
use serde_json::{Value, json};

use crate::bench::{Bench, organization, unknown};

/// Sends a request that the adapter would not, and gives what was wrong with it.
async fn complaints(method: &str, path: &str, body: Option<Value>) -> Vec<String> {
    let fake = FakeGithub::start(organization());
    let method = method.parse::<reqwest::Method>().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, format!("{}{path}", fake.url()));
    request = request.header("user-agent", "test").header("x-github-api-version", "2022-11-28");
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    request.send().await.unwrap();
    fake.world().take_wrong()
}

#[tokio::test]
async fn a_wrong_field_in_a_request_is_found() {
    let path = "/orgs/acme/actions/runners/generate-jitconfig";
    let good = json!({ "name": "a", "runner_group_id": 1, "labels": ["linux"], "work_folder": "_work" });
    assert_eq!(complaints("POST", path, Some(good.clone())).await, Vec::<String>::new());
    let wrong = [
        ("runner_group_id", json!("1"), "is not of type \"integer\""),
        ("labels", json!([]), "[] has less than 1 item"),
        ("labels", json!([7]), "7 is not of type \"string\""),
        ("group", json!(1), "group is no field"),
        ("name", json!(null), "null is not of type \"string\""),
    ];
    for (field, value, why) in wrong {
        let mut body = good.clone();
        body[field] = value;
        let found = complaints("POST", path, Some(body)).await;
        assert!(found.iter().any(|found| found.contains(why)), "{field}: {found:?}");
    }
    let found = complaints("POST", path, None).await;
    assert!(found.iter().any(|found| found.contains("no body")), "{found:?}");
    let found = complaints("GET", "/orgs/acme/actions/runners?per_page=many&label=x", None).await;
    assert!(found.iter().any(|found| found.contains("\"many\"")), "{found:?}");
    assert!(found.iter().any(|found| found.contains("label is no parameter")), "{found:?}");
    let found = complaints("GET", "/orgs/acme/actions/runnerz", None).await;
    assert!(found.iter().any(|found| found.contains("no such operation")), "{found:?}");
}

#[tokio::test]
async fn a_wrong_field_in_an_answer_turns_the_test_red() {
    let bench = Bench::new(organization());
    let what = What::Changed { pointer: "/runner/id".to_owned(), value: json!("seven"), described: true };
    bench.fake.fail(Fault::on("POST", "generate-jitconfig", what));
    let why = unknown(bench.mint("a").await);
    assert!(why.contains("a field is missing or of another type"), "{why}");
    let Bench { fake, .. } = bench;
    let panicked = catch_unwind(AssertUnwindSafe(move || drop(fake))).expect_err("the test would be green");
    let said = panicked.downcast_ref::<String>().expect("a message");
    assert!(said.contains("generate-jitconfig") && said.contains("\"seven\" is not of type \"integer\""), "{said}");
}
