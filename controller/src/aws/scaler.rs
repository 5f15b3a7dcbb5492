//! The scaler's function, put together.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use muster_core::plan::Policy;
use muster_webhook::clock::{Clock, SystemClock};
use muster_webhook::pulse::Pulse;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::watched::Watched;
use super::{Around, lines_on_stdout};
use crate::drivers::lambda::scaler::ScalerFunction;
use crate::drivers::lambda::{deadline, event, surroundings};
use crate::drivers::ticker::Ticker;
use crate::loaded::Duty;

/// Answers bells until Lambda ends the process.
///
/// # Errors
/// What keeps it from starting.
pub async fn run() -> anyhow::Result<()> {
    let around = Around::find().await;
    let lines = lines_on_stdout()?;
    let store = around.ledger().await?;
    let watch = around.watch(&*store, Duty::Scaler).await?;
    let live = watch.live().clone();
    let (cloud, github) = (around.cloud(live.clone()), around.github(live.clone()));
    let ticker = Ticker::new(
        store.clone(),
        Arc::new(cloud),
        Arc::new(github),
        SystemClock,
        live,
        Policy::Target,
        Some(lines),
        Arc::new(Pulse::starting(SystemClock.now())),
    );
    let function =
        ScalerFunction::new(ticker, SystemClock, around.bell(surroundings::CLAIMS_QUEUE_URL)?, around.wake()?);
    let function = Mutex::new(function);
    let looks = Watched::looks(watch, store, |_| {});
    let handler = |event: LambdaEvent<Box<RawValue>>| async {
        let (payload, context) = event.into_parts();
        looks.before_event().await;
        let bodies = event::bodies(payload.get());
        let hold = muster_aws::hold_back(bodies.iter().map(String::as_str), SystemClock.now());
        function.lock().await.call(hold, deadline(&context)).await;
        Ok::<_, Error>(())
    };
    lambda_runtime::run(service_fn(handler)).await.map_err(|error| anyhow::anyhow!(error))
}
