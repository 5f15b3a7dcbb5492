//! The healer as a function: one step for each event of the schedule.
//!
//! Invariant: a call never fails: what was not found in this minute is looked for in the next.

use std::sync::Arc;
use std::time::Duration;

use muster_core::ports::{Github, Records, Reruns, Store};
use muster_webhook::clock::Clock;
use tokio::sync::Mutex;
use tracing::info;

use super::{Lines, RemoteBell};
use crate::healer::Healer;
use crate::telemetry::Telemetry;
use muster_core::time::Timestamp;

/// Nothing is begun with less than this left before Lambda's deadline: GitHub may take 10 s, and the ledger what is left.
const LAST_CALL_NEEDS: Duration = Duration::from_secs(15);

/// The healer, between calls.
pub struct HealerFunction<S, R, K, B> {
    healer: Mutex<Healer<S, R, K>>,
    clock: K,
    bell: Arc<B>,
    lines: Lines,
}

impl<S: Store, R: Records + Github + Reruns, K: Clock, B: RemoteBell> HealerFunction<S, R, K, B> {
    /// A healer whose intake rings `bell`, and which writes its metrics to `lines`.
    pub fn new(healer: Healer<S, R, K>, clock: K, bell: Arc<B>, lines: Option<Telemetry>) -> Self {
        HealerFunction { healer: Mutex::new(healer), clock, bell, lines: Lines::new(lines) }
    }

    /// Heals once, within what Lambda's deadline leaves. What was found rings for the scaler.
    pub async fn call(&self, deadline: Timestamp) {
        let healed = self.healer.lock().await.step_until(deadline - LAST_CALL_NEEDS).await;
        healed.tell();
        let found = healed.deliveries.len() + healed.swept.len() + healed.silent.len();
        info!(target: "muster::healer", found, troubles = healed.troubles.len(), "looked at what GitHub remembers");
        self.bell.send().await;
        self.lines.flush(self.clock.now());
    }
}
