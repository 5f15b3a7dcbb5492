//! The scaler's function, put together.

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use muster_core::plan::Policy;
use muster_webhook::clock::{Clock, SystemClock};
use muster_webhook::pulse::Pulse;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::settings::{Keeper, Settings};
use super::{Around, lines_on_stdout};
use crate::drivers::lambda::scaler::ScalerFunction;
use crate::drivers::lambda::{deadline, event, surroundings};
use crate::drivers::ticker::Ticker;

/// Answers bells until Lambda ends the process.
///
/// # Errors
/// What keeps it from starting.
pub async fn run() -> anyhow::Result<()> {
    let around = Around::find().await;
    let store = around.ledger().await?;
    let settings = Settings::open(&around, &*store, Keeper::Keeps).await?;
    let live = settings.live.clone();
    let (cloud, github) = (around.cloud(live.clone()), around.github(live.clone()));
    let ticker = Ticker::new(
        store.clone(),
        Arc::new(cloud),
        Arc::new(github),
        SystemClock,
        live,
        Policy::Target,
        Some(lines_on_stdout()?),
        Arc::new(Pulse::starting(SystemClock.now())),
    );
    let function =
        ScalerFunction::new(ticker, SystemClock, around.bell(surroundings::CLAIMS_QUEUE_URL)?, around.wake()?);
    let state = Mutex::new((function, settings));
    let handler = |event: LambdaEvent<Box<RawValue>>| async {
        let (payload, context) = event.into_parts();
        let mut state = state.lock().await;
        let (function, settings) = &mut *state;
        settings.look(&*store).await;
        let bodies = event::bodies(payload.get());
        let hold = muster_aws::hold_back(bodies.iter().map(String::as_str), SystemClock.now());
        function.call(hold, deadline(&context)).await;
        Ok::<_, Error>(())
    };
    lambda_runtime::run(service_fn(handler)).await.map_err(|error| anyhow::anyhow!(error))
}
