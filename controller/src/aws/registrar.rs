//! The registrar's function, put together.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use muster_webhook::clock::SystemClock;
use muster_webhook::seal::HpkeSealer;
use serde_json::value::RawValue;
use tracing::info;

use super::Around;
use super::watched::Watched;
use crate::drivers::lambda::registrar::RegistrarFunction;
use crate::drivers::lambda::{deadline, surroundings};
use crate::loaded::Duty;
use crate::registrar::Registrar;

/// Mints until Lambda ends the process.
///
/// # Errors
/// What keeps it from starting.
pub async fn run() -> anyhow::Result<()> {
    let around = Around::find().await;
    let store = around.ledger_as_it_is()?;
    let watch = around.watch(&*store, Duty::Reader).await?;
    let live = watch.live().clone();
    let github = Arc::new(around.github(live.clone()));
    let registrar = Registrar::new(store.clone(), github, SystemClock, HpkeSealer);
    let function = RegistrarFunction::new(registrar, SystemClock, around.bell(surroundings::BELL_QUEUE_URL)?);
    let looks = Watched::looks(watch, store, |_| {});
    let handler = |event: LambdaEvent<Box<RawValue>>| async {
        let (_, context) = event.into_parts();
        looks.before_event().await;
        let minted = function.call(&live, deadline(&context)).await;
        info!(target: "muster::registrar", minted, "claims looked at");
        Ok::<_, Error>(())
    };
    lambda_runtime::run(service_fn(handler)).await.map_err(|error| anyhow::anyhow!(error))
}
