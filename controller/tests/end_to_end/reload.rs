//! Configuration and secrets that change while the door is open.

use std::fs;
use std::time::{Duration, Instant};

use muster_tests::until;
use serde_json::{Value, json};

use crate::agent::unclaimed;
use crate::fleet::{Door, Fleet, SECRET, SERVES_RECORDED, SOON, is_launch_for, said};
use crate::http::job;

/// Asks until the answer is as it should be.
async fn becomes<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < SOON, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn entry(fleet: &Fleet, job: i64) -> Value {
    fleet.job(job).expect("the job is in the ledger")
}

#[tokio::test]
async fn a_job_refused_before_is_demand_after_and_a_bad_configuration_changes_nothing() {
    let (without, _) = SERVES_RECORDED.split_once("[[pool]]\nname = \"gpu\"").unwrap();
    let fleet = Fleet::new(without);
    let server = fleet.serve();
    let (_, answer) = server.door.tell(&job(1, &["gpu"])).await;
    assert_eq!(answer["outcome"], "no_pool");
    let refused = entry(&fleet, 1);
    assert_eq!((&refused["phase"], &refused["reason"]), (&json!("refused"), &json!("no_pool")));

    fleet.write_config(SERVES_RECORDED);
    server.logged("the launch for the job that was refused", |line| is_launch_for(line, "gpu"));
    assert_eq!(unclaimed(&fleet, 1).await.len(), 1, "the cloud knows the new pool too");
    let served = entry(&fleet, 1);
    assert_eq!(
        (&served["phase"], &served["reason"], &served["class"]),
        (&json!("queued"), &Value::Null, &json!("gpu/cpu-8/on-demand"))
    );

    let bad = SERVES_RECORDED.replace("max_runners = 8", "max_runnerz = 8");
    fleet.write_config(&bad);
    let sick = becomes("/healthz tells of the bad configuration", async || {
        Some(server.door.health().await).filter(|(status, _)| *status == 503).map(|(_, answer)| answer)
    })
    .await;
    let error = sick["error"].as_str().unwrap_or_default();
    let line = 1 + bad.lines().position(|line| line.contains("max_runnerz")).unwrap();
    assert!(error.contains("max_runnerz") && error.contains(&format!("muster.toml:{line}")), "{error}");
    assert!(sick["remedy"].is_string(), "{sick}");
    let (status, answer) = server.door.tell(&job(2, &["gpu"])).await;
    assert_eq!((status, &answer["class"]), (202, &json!("gpu/cpu-8/on-demand")), "the last good one stays in force");
    assert_eq!(entry(&fleet, 2)["phase"], "queued");
    // A process that starts now must not begin with what is bad, nor with what it remembers: somebody has to look.
    fleet.write_config(SERVES_RECORDED);
    becomes("/healthz is well again", async || (server.door.health().await.0 == 200).then_some(())).await;
    let log = server.log();
    let told = log.iter().filter(|line| line["target"] == "muster::config" && line["level"] == "ERROR").count();
    assert_eq!(told, 1, "a bad configuration is told once, not at every look");
    server.end();
}

#[tokio::test]
async fn secrets_rotate_without_a_restart() {
    let (old, new, newer) = (SECRET, "second-planted-secret-8c2e", "third-planted-secret-b07a");
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    let status =
        async |door: &Door, secret: &str| said(door.delivery("workflow_job", &job(1, &["gpu"]).body(), secret)).await.0;
    let good = async |secret: &str| (status(&server.door, secret).await == 202).then_some(());
    let bad = async |secret: &str| (status(&server.door, secret).await == 401).then_some(());
    good(old).await.expect("the first secret is good");
    bad(new).await.expect("another one is not");
    // Old and new.
    fs::write(fleet.file("webhook.next"), format!("{new}\n")).unwrap();
    let both = SERVES_RECORDED.replace(r#"["file:webhook.secret"]"#, r#"["file:webhook.next", "file:webhook.secret"]"#);
    fleet.write_config(&both);
    becomes("the new secret is good", async || good(new).await).await;
    good(old).await.expect("and the old one still is");
    // Only the file changes.
    fleet.replace("webhook.secret", newer);
    becomes("what the file says now is good", async || good(newer).await).await;
    bad(old).await.expect("and what it said before no longer is");
    good(new).await.expect("the other one has not changed");
    // Only the new one.
    fleet.write_config(&SERVES_RECORDED.replace("webhook.secret", "webhook.next"));
    becomes("the other secret is refused", async || bad(newer).await).await;
    good(new).await.expect("the new secret is good alone");
    // A file that is empty for a moment changes nothing.
    fleet.replace("webhook.next", "\n");
    until("the log tells of the empty file", SOON, || {
        let empty =
            |line: &Value| line["target"] == "muster::config" && line.to_string().contains("webhook.next is empty");
        server.log().iter().any(empty).then_some(())
    });
    good(new).await.expect("the last good secrets stay in force");
    server.end();
}

/// GitHub does not send a delivery again by itself: a mistake elsewhere in the file must not refuse the new secret.
#[tokio::test]
async fn a_secret_rotates_while_the_file_or_the_other_secret_is_bad() {
    let (other, new, newer) = ("second-planted-secret-8c2e", "third-planted-secret-b07a", "fourth-planted-secret-11d9");
    let both = SERVES_RECORDED.replace(r#"["file:webhook.secret"]"#, r#"["file:webhook.secret", "file:webhook.next"]"#);
    let fleet = Fleet::new(&both);
    fs::write(fleet.file("webhook.next"), other).unwrap();
    let server = fleet.serve();
    let status =
        async |secret: &str| said(server.door.delivery("workflow_job", &job(1, &["gpu"]).body(), secret)).await.0;
    let good = async |secret: &str| (status(secret).await == 202).then_some(());
    let sick = async || Some(server.door.health().await).filter(|(status, _)| *status == 503).map(|(_, told)| told);

    fleet.write_config(&both.replace("max_runners = 8", "max_runnerz = 8"));
    let told = becomes("the bad file is told", sick).await;
    assert!(told["error"].as_str().unwrap().contains("max_runnerz"), "{told}");
    fleet.replace("webhook.secret", new);
    becomes("the new secret is good beside a bad file", async || good(new).await).await;
    assert_eq!(status(SECRET).await, 401, "and the old one is not");

    fleet.write_config(&both);
    fs::remove_file(fleet.file("webhook.next")).unwrap();
    becomes("the missing secret is told", async || {
        sick().await.filter(|told| told["error"].as_str().unwrap().contains("webhook.next"))
    })
    .await;
    fleet.replace("webhook.secret", newer);
    becomes("a secret rotates while the other is gone", async || good(newer).await).await;
    good(other).await.expect("the last value of the one that is gone is good");
    fs::write(fleet.file("webhook.next"), other).unwrap();
    becomes("/healthz is well again", async || (server.door.health().await.0 == 200).then_some(())).await;
    server.end();
}
