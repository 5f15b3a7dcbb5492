//! The door as a function.
//!
//! Invariant: the answer goes out after what it promises: the fact is in the ledger, and its bell has been sent or its loss
//! logged. A bell does not wait for the answer.

use std::sync::Arc;

use axum::Router;
use lambda_http::{Adapter, Context, LambdaEvent, Service};
use muster_core::fact::{Fact, FactBody};
use muster_core::ports::{Store, StoreError};
use muster_webhook::bell::Bell;
use muster_webhook::clock::Clock;
use muster_webhook::cloud_events::{self, Heard};
use serde_json::Value;
use thiserror::Error;
use tracing::{debug, info, warn};

use super::event::{self, DoorEvent};
use super::{Lines, PromptBell, RemoteBell, ringing};
use crate::telemetry::Telemetry;

/// The door cannot take in what it was called with. Lambda shows the text and, if the caller was EventBridge or a queue,
/// calls again.
#[derive(Debug, Error)]
pub enum DoorError {
    /// The event is none of ours.
    #[error("{0}")]
    Event(String),
    /// The ledger failed: the event must come again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer could not be made.
    #[error("the answer could not be written: {0}")]
    Answer(String),
}

/// The door, between calls.
pub struct DoorFunction<S, K, B> {
    router: Router,
    store: Arc<S>,
    clock: K,
    bell: Arc<PromptBell<B>>,
    claims_bell: Arc<PromptBell<B>>,
    lines: Lines,
}

impl<S: Store, K: Clock, B: RemoteBell> DoorFunction<S, K, B> {
    /// A door with these routes, which ring these bells.
    pub fn new(
        router: Router,
        store: Arc<S>,
        clock: K,
        bell: Arc<PromptBell<B>>,
        claims_bell: Arc<PromptBell<B>>,
        lines: Option<Telemetry>,
    ) -> Self {
        DoorFunction { router, store, clock, bell, claims_bell, lines: Lines::new(lines) }
    }

    /// Takes in one event, and gives the answer that Lambda hands on.
    ///
    /// # Errors
    /// [`DoorError`], for an event that should come again or that nobody should have sent. A request always has an answer.
    pub async fn call(&self, json: &str, context: Context) -> Result<Value, DoorError> {
        let event = event::door(json).map_err(DoorError::Event)?;
        // Nothing runs once this function has answered.
        let outcome = ringing([&self.bell, &self.claims_bell], self.answer(event, json, context)).await;
        self.lines.flush(self.clock.now());
        outcome
    }

    async fn answer(&self, event: DoorEvent, json: &str, context: Context) -> Result<Value, DoorError> {
        match event {
            DoorEvent::Http(request) => {
                let request = LambdaEvent::new(*request, context);
                let answer = match Adapter::from(self.router.clone()).call(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                serde_json::to_value(answer).map_err(|error| DoorError::Answer(error.to_string()))
            }
            DoorEvent::Ring => {
                self.bell.ring();
                Ok(Value::Null)
            }
            DoorEvent::Cloud => self.hear(json).await.map(|()| Value::Null),
        }
    }

    /// Stores what the cloud says of our instances and groups.
    async fn hear(&self, json: &str) -> Result<(), DoorError> {
        let body = match cloud_events::read(json) {
            Ok(Heard::Instance(event)) => {
                // EventBridge tells of every instance of the account. One that we have launched a moment ago and not
                // recorded yet is heard of again: from its agent, or by its absence from the list.
                if self.store.machine(&event.instance).await?.is_none() {
                    debug!(target: "muster::door", instance = %event.instance, "an event about a stranger");
                    return Ok(());
                }
                info!(target: "muster::door", instance = %event.instance, kind = ?event.kind, "the cloud tells of an instance");
                FactBody::Cloud(event)
            }
            // The rule lets groups of our names through only.
            Ok(Heard::Group(event)) => {
                info!(target: "muster::door", group = %event.group, kind = ?event.kind, "the cloud tells of a group");
                FactBody::Group(event)
            }
            Ok(Heard::Nothing) => return Ok(()),
            Err(error) => {
                // It would read no better the second time.
                warn!(target: "muster::door", %error, "an event of the cloud says nothing");
                return Ok(());
            }
        };
        self.store.put_fact(&Fact { received_at: self.clock.now(), body }).await?;
        self.bell.ring();
        Ok(())
    }
}
