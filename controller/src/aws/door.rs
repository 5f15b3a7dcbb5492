//! The door's function, put together.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use muster_aws::StsIdentity;
use muster_webhook::clock::SystemClock;
use muster_webhook::seal::HpkeSealer;
use muster_webhook::signature::Secrets;
use muster_webhook::wakers::Wakers;
use muster_webhook::{Door, DoorParts};
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tracing::error;

use super::settings::{Keeper, Settings};
use super::{Around, lines_on_stdout};
use crate::drivers::lambda::PromptBell;
use crate::drivers::lambda::door::DoorFunction;
use crate::drivers::lambda::surroundings;

/// Answers events until Lambda ends the process.
///
/// # Errors
/// What keeps it from starting.
pub async fn run() -> anyhow::Result<()> {
    let around = Around::find().await;
    let store = around.ledger_as_it_is()?;
    let settings = Settings::open(&around, &*store, Keeper::Reads).await?;
    let secrets = Arc::new(Secrets::new(&settings.webhook_secrets().await?)?);
    let identity = Arc::new(around.identity(&settings.live.current())?);
    let bell = Arc::new(PromptBell::new(around.bell(surroundings::BELL_QUEUE_URL)?));
    let claims_bell = Arc::new(PromptBell::new(around.bell(surroundings::CLAIMS_QUEUE_URL)?));
    let parts = DoorParts {
        store: store.clone(),
        identity: identity.clone(),
        clock: Arc::new(SystemClock),
        secrets: secrets.clone(),
        config: settings.live.clone(),
        sealer: Arc::new(HpkeSealer),
        bell: bell.clone(),
        registrar: claims_bell.clone(),
        wakers: Arc::new(Wakers::across_processes()),
        pulse: None,
    };
    let router = Door::new(parts).router();
    let door = DoorFunction::new(router, store.clone(), SystemClock, bell, claims_bell, Some(lines_on_stdout()?));
    let settings = Mutex::new(settings);
    let handler = |event: LambdaEvent<Box<RawValue>>| async {
        let (payload, context) = event.into_parts();
        // Beside the request: it goes by what was in force when it came.
        let look = async {
            let mut settings = settings.lock().await;
            let before = settings.live.snapshot();
            settings.look(&*store).await;
            settings.rotate(&secrets).await;
            if !Arc::ptr_eq(&before, &settings.live.snapshot()) {
                trust(&identity, &around, &settings);
            }
        };
        let (answer, ()) = tokio::join!(door.call(payload.get(), context), look);
        answer.map_err(|error| {
            error!(target: "muster::door", %error, "an event was not taken in");
            Error::from(error)
        })
    };
    lambda_runtime::run(service_fn(handler)).await.map_err(|error| anyhow::anyhow!(error))
}

/// A new configuration may trust other roles.
fn trust(identity: &StsIdentity, around: &Around, settings: &Settings) {
    match around.roles(&settings.live.current()) {
        Ok(roles) => identity.trust(roles),
        Err(error) => error!(target: "muster::door", %error, "the roles of machines stay as they were"),
    }
}
