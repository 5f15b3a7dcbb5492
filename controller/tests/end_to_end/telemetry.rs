//! Metric lines of `muster serve` that the demo does not come by for certain.

use std::fs;
use std::time::{Duration, Instant};

use muster_store::{SqliteStore, Upkeep};
use muster_tests::{Happening, JobDelivery, until};
use muster_webhook::clock::{Clock, SystemClock};
use serde_json::Value;

use crate::fleet::{Fleet, SERVES_RECORDED, SOON};
use crate::http::job;

fn lines(fleet: &Fleet) -> Vec<Value> {
    let text = fs::read_to_string(fleet.file("emf.jsonl")).unwrap_or_default();
    // The last one may be half written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until a tick has merged all that was told.
async fn merged(fleet: &Fleet) {
    let store = SqliteStore::open_read_only(&fleet.file("muster.sqlite")).unwrap();
    let began = Instant::now();
    while store.counts().await.unwrap().facts_new > 0 {
        assert!(began.elapsed() < SOON, "no tick has merged the facts");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// GitHub promises no order. A `queued` that is merged after `in_progress` must not cost the job its queue time.
#[tokio::test]
async fn the_queue_time_is_told_once_whatever_comes_first() {
    let fleet = Fleet::new(SERVES_RECORDED);
    let server = fleet.serve();
    // Not long ago: a delivery that comes very late counts from when it came.
    let created = SystemClock.now() - Duration::from_secs(100);
    let queued = |number| JobDelivery { created_at: created.to_string(), ..job(number, &["gpu"]) };
    let started = |number| {
        let at = (created + Duration::from_secs(42)).to_string();
        JobDelivery { happening: Happening::Started { at, runner: format!("elsewhere-{number}") }, ..queued(number) }
    };
    let of = |number: i64| lines(&fleet).into_iter().filter(|line| line["job_id"] == number).collect::<Vec<_>>();
    // The start first, and a tick in between.
    server.door.tell(&started(1)).await;
    merged(&fleet).await;
    server.door.tell(&queued(1)).await;
    // In order, with a tick in between; and both ways within one tick or two.
    server.door.tell(&queued(2)).await;
    server.door.tell(&started(3)).await;
    server.door.tell(&queued(3)).await;
    until("the late start's second line", SOON, || {
        (of(3).iter().any(|line| line["QueueTime"].is_number())).then_some(())
    });
    server.door.tell(&started(2)).await;
    server.door.tell(&started(4)).await;
    merged(&fleet).await;
    // Said again, it is not told again.
    server.door.tell(&queued(2)).await;
    server.door.tell(&started(2)).await;
    server.end();
    for number in 1..=3 {
        let told: Vec<Value> =
            of(number).iter().map(|line| line["QueueTime"].clone()).filter(|told| !told.is_null()).collect();
        assert_eq!(told, [42.0], "job {number}");
    }
    assert!(of(4).is_empty(), "nobody knows when job 4 was queued");
    let sum = |metric: &str| {
        let one =
            |value: &Value| value.as_f64().or_else(|| Some(value.as_array()?.iter().filter_map(Value::as_f64).sum()));
        lines(&fleet).iter().filter_map(|line| one(&line[metric])).sum::<f64>()
    };
    assert_eq!((sum("JobsQueued"), sum("JobsStarted")), (3.0, 4.0));
}
