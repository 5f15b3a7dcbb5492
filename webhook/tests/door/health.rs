//! `GET /healthz`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use muster_webhook::Serves;
use serde_json::Value;
use tower::ServiceExt;

use crate::world::{World, delivery, recorded};

async fn health(world: &World) -> (StatusCode, Value) {
    world.send(Request::get("/healthz").body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn says_its_version_or_what_is_wrong() {
    let world = World::new();
    let (status, body) = health(&world).await;
    assert_eq!((status, body["version"].as_str()), (StatusCode::OK, Some(env!("CARGO_PKG_VERSION"))));

    world.store.down.store(true, Ordering::Relaxed);
    world.config.refuse("muster.toml line 3: no such key".to_owned());
    let (status, body) = health(&world).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("ledger") && error.contains("line 3"), "{error}");

    world.store.down.store(false, Ordering::Relaxed);
    world.config.replace(world.config.snapshot());
    assert_eq!(health(&world).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_ledger_that_reads_and_cannot_be_written_is_wrong_too() {
    let world = World::new();
    let body = recorded("queued.6");
    world.store.full.store(true, Ordering::Relaxed);
    assert_eq!(world.send(delivery(&body).body_of()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, told) = health(&world).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(told["error"].as_str().unwrap().contains("the disk is full"), "{told}");

    // It has recovered before the next delivery comes: the door finds out by itself.
    world.store.full.store(false, Ordering::Relaxed);
    assert_eq!(health(&world).await.0, StatusCode::OK);
}

/// The disk has room for a small row, and none for a fact.
#[tokio::test]
async fn a_ledger_that_takes_small_rows_only_is_wrong_too() {
    let world = World::new();
    let body = recorded("queued.6");
    world.store.taken_from.store(100, Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(world.send(delivery(&body).body_of()).await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health(&world).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
    world.store.taken_from.store(0, Ordering::Relaxed);
    assert_eq!(health(&world).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_door_for_one_has_no_way_in_for_the_other() {
    for (serves, served, not_served) in [
        (Serves::Github, &["/webhook"][..], &["/runners/claim", "/runners/report", "/runners/logs"][..]),
        (Serves::Agents, &["/runners/claim", "/runners/report", "/runners/logs"], &["/webhook"]),
        (Serves::All, &["/webhook", "/runners/claim", "/runners/report", "/runners/logs"], &[]),
    ] {
        let router = Arc::into_inner(World::new().door).expect("the only one").router_for(serves);
        let status = async |path: &str| {
            let request = if path == "/healthz" { Request::get(path) } else { Request::post(path) };
            router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer").status()
        };
        assert_eq!(status("/healthz").await, StatusCode::OK, "{serves:?}");
        for path in served {
            assert_ne!(status(path).await, StatusCode::NOT_FOUND, "{serves:?} {path}");
        }
        for path in not_served {
            assert_eq!(status(path).await, StatusCode::NOT_FOUND, "{serves:?} {path}");
        }
    }
}
