//! Machines of a standby stock that are warm.

use axum::http::StatusCode;
use muster_core::fact::{FactBody, Prewarmed};
use muster_core::ids::{InstanceId, ShapeId};
use muster_webhook::ClaimError;
use muster_webhook::seal::KeyPair;
use serde_json::{Value, json};

use crate::world::{DETAIL, INSTANCE, NONCE, World, claim, start};

const SHAPE: &str = "linux-x64-on-demand-c7i.large+2-1a2b3c4d";

fn says(proof: Value) -> Value {
    json!({ "proof": proof, "shape": SHAPE })
}

async fn tell(world: &World, body: &Value) -> (StatusCode, Value) {
    world.post("/runners/prewarmed", body).await
}

/// The ledger does not know it: nobody has launched it.
#[tokio::test]
async fn a_machine_without_a_session_says_that_it_is_warm() {
    let world = World::new();
    let proof = json!({ "word": "please", "instance": INSTANCE });
    for _ in 0..2 {
        assert_eq!(tell(&world, &says(proof.clone())).await, (StatusCode::OK, json!({})));
    }
    let told = world.facts();
    assert_eq!(told.len(), 1, "once");
    let (instance, shape) = (InstanceId::new(INSTANCE), ShapeId::new(SHAPE));
    assert_eq!(told[0].body, FactBody::Prewarmed(Prewarmed { instance, shape, at: start() }));
    assert_eq!((world.bell.rings(), world.registrar.rings()), (1, 0), "the scaler's bell alone");
}

/// Whoever has listened in cannot open a session with it.
#[tokio::test]
async fn its_proof_opens_no_session_afterwards() {
    let world = World::new();
    world.launch(INSTANCE);
    let request = claim(INSTANCE, NONCE, &KeyPair::generate());
    assert_eq!(tell(&world, &says(json!(request.proof))).await.0, StatusCode::OK);
    let claimed = world.door.claims().claim(&request).await;
    assert!(matches!(&claimed, Err(ClaimError::NotProven(why)) if why.contains("used before")), "{claimed:?}");
}

#[tokio::test]
async fn who_cannot_prove_it_is_refused_and_nothing_is_stored() {
    let world = World::new();
    let good = json!({ "word": "please", "instance": INSTANCE });
    for (body, status, says) in [
        (says(json!({ "word": "now", "instance": INSTANCE })), StatusCode::UNAUTHORIZED, "not proven"),
        (says(json!({})), StatusCode::UNAUTHORIZED, "not proven"),
        (says(json!({ "word": "later", "instance": INSTANCE })), StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (json!({ "proof": good, "shape": "" }), StatusCode::BAD_REQUEST, "`shape`"),
        (json!({ "proof": good, "shape": "a shape" }), StatusCode::BAD_REQUEST, "`shape`"),
        (json!({ "proof": good, "shape": "x".repeat(257) }), StatusCode::BAD_REQUEST, "`shape`"),
        (json!({ "proof": { "word": "x".repeat(4_097) }, "shape": SHAPE }), StatusCode::BAD_REQUEST, "`proof`"),
        (json!({ "proof": good }), StatusCode::BAD_REQUEST, "`shape` is missing"),
        (json!({ "shape": SHAPE }), StatusCode::BAD_REQUEST, "`proof` is missing"),
    ] {
        let (answered, told) = tell(&world, &body).await;
        assert_eq!(answered, status, "{body}: {told}");
        assert!(told["error"].as_str().unwrap().contains(says), "{body}: {told}");
        assert!(told["remedy"].is_string() && !told.to_string().contains(DETAIL), "{told}");
    }
    assert_eq!((world.facts(), world.bell.rings()), (Vec::new(), 0));
}
