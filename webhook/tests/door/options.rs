//! What a pool gives its runners: it comes with each runner configuration, and with nothing else.

use std::sync::Arc;

use muster_core::protocol::{AgentState, ReportRequest};
use muster_webhook::seal::KeyPair;
use serde_json::{Value, json};

use crate::world::{CONFIG, INSTANCE, NONCE, World, claim, config, session};

/// Goes on with the last pool.
const OPTIONS: &str = "[pool.runner]\nproxy = \"http://proxy:3128\"\nenvironment = { GOPROXY = \"https://a\" }\n";
const OTHERS: &str = "[pool.runner]\nproxy = \"http://other:3128\"\n";

fn told() -> Value {
    json!({ "max_job_hours": 6, "proxy": "http://proxy:3128", "environment": { "GOPROXY": "https://a" } })
}

fn world(options: &str) -> (World, KeyPair) {
    let world = World::with_config(&format!("{CONFIG}{options}"));
    world.launch(INSTANCE);
    (world, KeyPair::generate())
}

async fn claims(world: &World, keys: &KeyPair) -> Value {
    let answer = world.door.claims().claim(&claim(INSTANCE, NONCE, keys)).await.expect("a good claim");
    serde_json::to_value(answer).expect("JSON")
}

#[tokio::test]
async fn a_claims_answer_has_them_beside_the_configuration() {
    let (world, keys) = world(OPTIONS);
    let before = claims(&world, &keys).await;
    assert_eq!((before.get("sealed_config"), before.get("options")), (None, None));
    world.mint(INSTANCE, b"config").await;
    let answer = claims(&world, &keys).await;
    assert!(answer["sealed_config"].is_string());
    assert_eq!(answer["options"], told());
}

/// A machine may wait as ready for hours.
#[tokio::test]
async fn a_ready_machine_hears_what_holds_when_its_configuration_comes() {
    let (world, keys) = world(OPTIONS);
    let answer = world.door.claims().claim(&claim(INSTANCE, NONCE, &keys)).await.expect("a good claim");
    let mut says = ReportRequest { from: session(&answer, &keys), state: AgentState::Ready, wait_s: 0, seen_order: 0 };
    assert_eq!(world.door.reports().report(&says).await.expect("taken").options, None);
    world.config.replace(Arc::new(config(&format!("{CONFIG}{OTHERS}"))));
    world.mint(INSTANCE, b"config").await;
    let heard = serde_json::to_value(world.door.reports().report(&says).await.expect("taken")).expect("JSON");
    assert!(heard["sealed_config"].is_string());
    assert_eq!(heard["options"], json!({ "max_job_hours": 6, "proxy": "http://other:3128" }));
    // Later there is no configuration to start a runner with, and so nothing for it.
    says.state = AgentState::Listening;
    let heard = serde_json::to_value(world.door.reports().report(&says).await.expect("taken")).expect("JSON");
    assert_eq!(heard, json!({}));
}

#[tokio::test]
async fn a_pool_without_options_says_its_hours_alone() {
    let (world, keys) = world("");
    claims(&world, &keys).await;
    world.mint(INSTANCE, b"config").await;
    assert_eq!(claims(&world, &keys).await["options"], json!({ "max_job_hours": 6 }));
}

/// Without its pool nobody knows what its runner must have: a hook may be there for a reason.
#[tokio::test]
async fn a_machine_whose_pool_the_door_does_not_know_waits() {
    let (world, keys) = world(OPTIONS);
    claims(&world, &keys).await;
    world.mint(INSTANCE, b"config").await;
    let without = CONFIG.replace("name = \"linux\"", "name = \"renamed\"");
    world.config.replace(Arc::new(config(&without)));
    let answer = claims(&world, &keys).await;
    assert_eq!((answer.get("sealed_config"), answer.get("options")), (None, None));
    world.config.replace(Arc::new(config(&format!("{CONFIG}{OPTIONS}"))));
    assert_eq!(claims(&world, &keys).await["options"], told());
}
