//! What GitHub remembers of deliveries: the logs of an App's webhook and of an owner's.

use std::sync::Arc;
use std::time::Duration;

use muster_core::config::Hook;
use muster_core::ports::{FailedDelivery, Records};
use muster_github::LOG_PAGES_MAX;
use muster_tests::github::{FakeLog, Fault, What};
use serde_json::{Value, json};

use crate::bench::{Bench, limited, organization, rejected, unknown};
use crate::records::{APP, LOG, repository, second};

fn payload(action: &str) -> Value {
    json!({ "action": action, "workflow_job": { "id": 7 } })
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
