//! One tick with all that belongs to it: the configuration in force, the logs, the metrics.
//!
//! What lives here: what every driver does around a tick. What may not: when the next one is due to come (the driver's).
//!
//! Invariant: a tick that fails is told once and costs nothing but time; the next one starts from the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::config::FleetConfig;
use muster_core::ids::InstanceId;
use muster_core::machine::MachinePhase;
use muster_core::plan::Policy;
use muster_core::ports::{Cloud, Github, Store};
use muster_core::time::Timestamp;
use muster_core::world::World;
use muster_webhook::clock::Clock;
use muster_webhook::live::LiveConfig;
use muster_webhook::pulse::Pulse;
use tracing::{error, info, warn};

use super::service::{Audience, TICK_AT_LEAST};
use crate::reconcile::{Probe, Reconciler, TickReport};
use crate::telemetry::Telemetry;

/// After a failure the scaler and the registrar pause for this long.
pub const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// What came of one tick, for whoever called for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// When to tick again even if nothing is heard until then.
    pub wake_at: Option<Timestamp>,
    /// Machines that have an order waiting for them.
    pub orders: Vec<InstanceId>,
    /// Whether machines wait for a configuration that they may have: the registrar should look.
    pub claims: bool,
}

/// A scaler and its surroundings.
pub struct Ticker<S, C, G, K> {
    reconciler: Reconciler<S, C, G, K>,
    clock: K,
    live: Arc<LiveConfig>,
    config: Arc<FleetConfig>,
    telemetry: Option<Telemetry>,
    pulse: Arc<Pulse>,
    /// Ticks that have failed in a row.
    failed: u32,
}

impl<S: Store, C: Cloud, G: Github, K: Clock + Clone> Ticker<S, C, G, K> {
    /// A scaler over these ports that has seen nothing yet.
    #[expect(clippy::too_many_arguments, reason = "each is a port of its own")]
    pub fn new(
        store: Arc<S>,
        cloud: Arc<C>,
        github: Arc<G>,
        clock: K,
        live: Arc<LiveConfig>,
        policy: Policy,
        telemetry: Option<Telemetry>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let config = live.snapshot();
        let reconciler = Reconciler::new(store, cloud, github, clock.clone(), config.clone(), policy);
        Ticker { reconciler, clock, live, config, telemetry, pulse, failed: 0 }
    }

    /// Drops what the last tick knew if somebody else has written since: for a driver that may have rested for long.
    pub async fn trust_only_if_latest(&mut self) {
        if let Err(error) = self.reconciler.trust_only_if_latest().await {
            // The tick will fail on the same, and say so.
            warn!(target: "muster::scaler", %error, "the ledger's generation");
        }
    }

    /// Ticks once, and takes the time that it needs.
    pub async fn tick(&mut self, probe: &mut impl Probe, audience: &mut impl Audience) -> Ticked {
        self.tick_until(Timestamp::MAX, probe, audience).await
    }

    /// Ticks once, to be done by `until`.
    pub async fn tick_until(
        &mut self,
        until: Timestamp,
        probe: &mut impl Probe,
        audience: &mut impl Audience,
    ) -> Ticked {
        let latest = self.live.snapshot();
        if !Arc::ptr_eq(&latest, &self.config) {
            info!(target: "muster::scaler", "a new configuration is in force");
            self.reconciler.set_config(latest.clone());
            self.config = latest;
        }
        let began = Instant::now();
        match self.reconciler.tick_until(until, probe).await {
            Ok(report) => {
                let took = began.elapsed();
                self.failed = 0;
                self.pulse.good(self.clock.now());
                log(&report);
                let mut claims = false;
                if let Some(world) = self.reconciler.world() {
                    claims = somebody_waits(world);
                    if let Some(telemetry) = &mut self.telemetry
                        && let Err(error) = telemetry.tick(&report, world, &self.config, took)
                    {
                        warn!(target: "muster::scaler", %error, "metrics");
                    }
                    audience.ticked(&report, world);
                }
                Ticked { wake_at: report.wake_at, orders: report.orders, claims }
            }
            Err(error) => {
                error!(target: "muster::scaler", %error, "the tick failed; the next one starts from the ledger");
                self.pulse.failed(error.to_string());
                let pause = pause_after(self.failed);
                self.failed += 1;
                Ticked { wake_at: Some(self.clock.now() + pause), ..Ticked::default() }
            }
        }
    }

    /// Writes what is left of the metrics.
    pub fn flush(&mut self) {
        if let Some(telemetry) = &mut self.telemetry
            && let Err(error) = telemetry.flush(self.clock.now())
        {
            warn!(target: "muster::scaler", %error, "metrics");
        }
    }
}

/// Whether a machine waits unregistered for a registration that it may have. A launch that was just recorded may have
/// claimed before.
fn somebody_waits(world: &World) -> bool {
    world.machines().any(|machine| {
        let waits =
            matches!(machine.phase(), MachinePhase::Booting(_) | MachinePhase::Ready(_) | MachinePhase::Between(_));
        machine.may_register() && waits
    })
}

fn log(report: &TickReport) {
    for step in &report.steps {
        info!(target: "muster::plan", action = %step.action, reason = %step.reason, kind = step.reason.kind());
    }
    for (class, count, wait) in &report.waits {
        info!(target: "muster::plan", %class, count, kind = wait.kind(), "waits: {wait}");
    }
    for violation in &report.violations {
        error!(target: "muster::plan", %violation, "struck out of the plan: this is a bug in Muster");
    }
    for (launch, refusal) in &report.refused {
        warn!(target: "muster::plan", launch = %launch.id, class = %launch.purpose.class, %refusal, "launch refused");
    }
    for trouble in &report.troubles {
        warn!(target: "muster::scaler", "{trouble}");
    }
}

/// How long to wait after a failure that followed so many others. What fails for long is told less and less often; a bell is
/// answered all the same.
fn pause_after(failed: u32) -> Duration {
    PAUSE_AFTER_FAILURE.saturating_mul(1 << failed.min(8)).min(TICK_AT_LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_long_is_tried_once_a_minute() {
        let pauses = [0, 1, 2, 4, 5, 100].map(|failed| pause_after(failed).as_secs());
        assert_eq!(pauses, [2, 4, 8, 32, 60, 60]);
    }
}
