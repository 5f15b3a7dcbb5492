//! `GET /healthz`.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;

use crate::world::World;

async fn health(world: &World) -> (StatusCode, Value) {
    world
        .send(Request::get("/healthz").body(Body::empty()).expect("a request"))
        .await
}

#[tokio::test]
async fn says_its_version_or_what_is_wrong() {
    let world = World::new();
    let (status, body) = health(&world).await;
    assert_eq!(
        (status, body["version"].as_str()),
        (StatusCode::OK, Some(env!("CARGO_PKG_VERSION")))
    );

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
