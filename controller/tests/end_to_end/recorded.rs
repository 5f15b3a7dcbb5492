//! The recorded deliveries through a running `muster serve`.
//!
//! All 40,320 orders are gone through in memory (`orders`); here it is all 24 orders of the deliveries of the one job that
//! has several, each with the others in between somewhere, and a fresh process for each.

use std::sync::Mutex;

use muster_tests::{Happening, JobDelivery, Recorded, recorded};
use serde_json::{Value, json};

use crate::fleet::{Fleet, SERVES_RECORDED, is_launch_for};
use crate::orders::{OFTEN, Shuffle, permutations};

/// How many processes serve at once: they wait most of the time.
const AT_ONCE: usize = 6;

fn marker() -> JobDelivery {
    JobDelivery {
        job: 77,
        repository: "octo-org/marker".to_owned(),
        public: false,
        labels: vec!["dc-03".to_owned()],
        created_at: "2026-11-22T10:00:00Z".to_owned(),
        happening: Happening::Queued,
    }
}

#[test]
fn every_order_ends_in_the_same_ledger() {
    let (ping, jobs): (Vec<Recorded>, Vec<Recorded>) = recorded().into_iter().partition(|one| one.event == "ping");
    let is_often = |one: &Recorded| one.body.contains(&OFTEN.to_string());
    let (often, once): (Vec<Recorded>, Vec<Recorded>) = jobs.into_iter().partition(is_often);
    assert_eq!((often.len(), once.len()), (4, 4));
    let mut shuffle = Shuffle::new(20_261_122);
    let orders = permutations(4).into_iter().map(|order| {
        let mut deliveries: Vec<Recorded> = once.iter().chain(&ping).cloned().collect();
        shuffle.shuffle(&mut deliveries);
        let places = shuffle.places(often.len(), often.len() + deliveries.len());
        for (place, which) in places.into_iter().zip(order) {
            deliveries.insert(place, often[which].clone());
        }
        deliveries
    });
    let orders = Mutex::new(orders.collect::<Vec<_>>());
    assert_eq!(orders.lock().unwrap().len(), 24);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(order) = orders.lock().unwrap().pop() else { return };
                    go_through(&order);
                }
            });
        }
    });
}

fn go_through(order: &[Recorded]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let names: Vec<&str> = order.iter().map(|one| one.name).collect();
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    runtime.block_on(async {
        for one in order {
            let (status, answer) = server.door.deliver(one.event, &one.body).await;
            let expected = if one.event == "ping" { 200 } else { 202 };
            assert_eq!(status, expected, "{} in {names:?}: {answer}", one.name);
        }
        // Facts are merged in the order in which they came: when the marker's machine is planned, all is merged.
        assert_eq!(server.door.tell(&marker()).await.0, 202);
    });
    server.logged("the launch for the marker", |line| is_launch_for(line, "gpu"));
    let log = server.log();
    let launched: Vec<&Value> = log.iter().filter(|line| is_launch_for(line, "k8s")).collect();
    assert!(launched.is_empty(), "{names:?}: a job that waits for approval is no demand: {launched:?}");
    check(&fleet.ledger(), &names);
    server.end();
    check(&fleet.ledger(), &names);
}

fn check(ledger: &[Value], order: &[&str]) {
    let told: Vec<Value> = ledger
        .iter()
        .filter(|entry| entry["job_id"] != marker().job)
        .map(|entry| json!([entry["job_id"], entry["phase"], entry["class"], entry["conclusion"], entry["reason"]]))
        .collect();
    let expected = [
        json!([289_782_451, "completed", "hosted-like/cpu-2/on-demand", "failure", null]),
        json!([2_832_853_555_i64, "running", "gpu/cpu-8/on-demand", null, null]),
        json!([12_877_621_891_i64, "waiting", "k8s/cpu-2/on-demand", null, null]),
        json!([14_541_957_942_i64, "running", "hosted-like/cpu-2/on-demand", null, null]),
    ];
    assert_eq!(told, expected, "{order:?}");
}

#[tokio::test]
async fn under_the_example_each_is_recorded_as_refused() {
    let fleet = Fleet::new(&std::fs::read_to_string(muster_tests::example_config()).unwrap());
    let server = fleet.serve();
    for one in recorded() {
        let (status, answer) = server.door.deliver(one.event, &one.body).await;
        if one.event == "ping" {
            assert_eq!((status, &answer["stored"]), (200, &json!(false)));
        } else {
            assert_eq!(
                (status, &answer["stored"], &answer["outcome"], &answer["class"]),
                (202, &json!(true), &json!("repository_not_allowed"), &Value::Null),
                "{}",
                one.name
            );
        }
    }
    let check = || {
        let ledger = fleet.ledger();
        assert_eq!(ledger.len(), 4);
        for entry in ledger {
            let told = (&entry["phase"], &entry["reason"], &entry["class"]);
            assert_eq!(told, (&json!("refused"), &json!("repository_not_allowed"), &Value::Null), "{entry}");
        }
    };
    check();
    let answer = server.end();
    check();
    let launches = crate::fleet::log_lines(&answer.err);
    let launches = launches.iter().filter(|line| is_launch_for(line, "hosted-like")).count();
    assert_eq!(launches, 0);
}

#[tokio::test]
async fn each_refusal_is_recorded_with_its_own_reason() {
    let open = SERVES_RECORDED.replace("public_repositories = true", "public_repositories = false");
    let fleet = Fleet::new(&open.replace(r#""gpu", "db-app""#, r#""db-app""#));
    let server = fleet.serve();
    for one in recorded() {
        server.door.deliver(one.event, &one.body).await;
    }
    let mut told: Vec<(Value, Value)> =
        fleet.ledger().iter().map(|entry| (entry["job_id"].clone(), entry["reason"].clone())).collect();
    told.sort_by_key(|(job, _)| job.as_i64());
    let expected = [
        (289_782_451_i64, "public_repository"),
        (2_832_853_555, "no_pool"),
        (12_877_621_891, "public_repository"),
        (14_541_957_942, "public_repository"),
    ];
    assert_eq!(told, expected.map(|(job, reason)| (json!(job), json!(reason))));
    server.end();
}
