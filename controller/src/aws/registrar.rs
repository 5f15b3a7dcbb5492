//! The registrar's function, put together; and the healer's, which is the same program: both hold the App key.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use muster_webhook::clock::SystemClock;
use muster_webhook::intake::Intake;
use muster_webhook::seal::HpkeSealer;
use serde_json::value::RawValue;
use tracing::info;

use super::watched::Watched;
use super::{Around, lines_on_stdout};
use crate::drivers::lambda::healer::HealerFunction;
use crate::drivers::lambda::registrar::RegistrarFunction;
use crate::drivers::lambda::surroundings::Does;
use crate::drivers::lambda::{deadline, surroundings};
use crate::healer::Healer;
use crate::loaded::Duty;
use crate::registrar::Registrar;

/// Does what its surroundings say until Lambda ends the process.
///
/// # Errors
/// What keeps it from starting.
pub async fn run() -> anyhow::Result<()> {
    let around = Around::find().await;
    match around.vars.does()? {
        Does::Claims => mint(around).await,
        Does::Healing => heal(around).await,
    }
}

async fn heal(around: Around) -> anyhow::Result<()> {
    let lines = lines_on_stdout()?;
    let store = around.ledger_as_it_is()?;
    let watch = around.watch(&*store, Duty::Reader).await?;
    let live = watch.live().clone();
    let github = Arc::new(around.github(live.clone()));
    let bell = Arc::new(around.bell(surroundings::BELL_QUEUE_URL)?);
    let healer = Healer::new(store.clone(), github, SystemClock, Intake::new(store.clone(), live, bell.clone()));
    let function = HealerFunction::new(healer, SystemClock, bell, Some(lines));
    let looks = Watched::looks(watch, store, |_| {});
    let (function, looks) = (&function, &looks);
    let handler = |event: LambdaEvent<Box<RawValue>>| async move {
        looks.before_event().await;
        function.call(deadline(&event.context)).await;
        Ok::<_, Error>(())
    };
    lambda_runtime::run(service_fn(handler)).await.map_err(|error| anyhow::anyhow!(error))
}

async fn mint(around: Around) -> anyhow::Result<()> {
    let lines = lines_on_stdout()?;
    let store = around.ledger_as_it_is()?;
    let watch = around.watch(&*store, Duty::Reader).await?;
    let live = watch.live().clone();
    let github = Arc::new(around.github(live.clone()));
    let registrar = Registrar::new(store.clone(), github, SystemClock, HpkeSealer);
    let bell = around.bell(surroundings::BELL_QUEUE_URL)?;
    let function = RegistrarFunction::new(registrar, SystemClock, bell, Some(lines));
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
