//! The registrar as a function: mints while somebody waits and there is time.
//!
//! Invariant: a call never fails its batch. Whoever still waits at its end is found by the next call: the scaler rings for
//! them at every tick.

use std::time::Duration;

use muster_core::ports::{Github, Store};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::live::LiveConfig;
use muster_webhook::seal::Sealer;
use tracing::warn;

use super::{Lines, RemoteBell};
use crate::registrar::{Minting, Registrar};
use crate::telemetry::Telemetry;

/// A mint is not begun with less than this left before Lambda's deadline: GitHub may take 10 s and longer.
pub const MINT_NEEDS: Duration = Duration::from_secs(15);

/// The registrar, between calls.
pub struct RegistrarFunction<S, G, K, L, B> {
    registrar: Registrar<S, G, K, L>,
    clock: K,
    bell: B,
    lines: Lines,
}

impl<S: Store, G: Github, K: Clock, L: Sealer, B: RemoteBell> RegistrarFunction<S, G, K, L, B> {
    /// A registrar that rings `bell` for the scaler, and writes its metrics to `lines`.
    pub fn new(registrar: Registrar<S, G, K, L>, clock: K, bell: B, lines: Option<Telemetry>) -> Self {
        RegistrarFunction { registrar, clock, bell, lines: Lines::new(lines) }
    }

    /// Mints until nobody waits, GitHub asks to wait for long, or time is short. Says how many got a configuration.
    pub async fn call(&self, live: &LiveConfig, deadline: Timestamp) -> usize {
        let mut minted = 0;
        while deadline.since(self.clock.now()) >= MINT_NEEDS {
            match self.registrar.step(&live.snapshot()).await {
                Ok(Minting::Minted(instances)) => minted += instances.len(),
                Ok(Minting::Nothing) => break,
                Ok(Minting::Wait(until)) => {
                    let nap = until.since(self.clock.now());
                    if deadline.since(self.clock.now() + nap) < MINT_NEEDS {
                        break;
                    }
                    self.clock.sleep(nap).await;
                }
                Err(error) => {
                    warn!(target: "muster::registrar", %error, "no configuration was minted; the claim stands");
                    break;
                }
            }
        }
        if minted > 0 {
            self.bell.ring();
            self.bell.send().await;
        }
        self.lines.flush(self.clock.now());
        minted
    }
}
