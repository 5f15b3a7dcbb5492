//! The scaler as a function.
//!
//! A call is a batch of bells. It ticks, and goes on ticking while the next tick is due in a moment: the handshake of a
//! drain takes several, a second apart. What is due later comes back by the wake queue and the door.
//!
//! Invariant: a call never fails its batch. A tick that failed is told, and a wake message brings the next one. No tick
//! waits for a cloud or a GitHub that hangs until Lambda ends the call.

use std::time::Duration;

use muster_core::ports::{Cloud, Github, Store};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;

use super::{LaterBell, RemoteBell};
use crate::drivers::service::{TICK_AT_LEAST, TICK_GAP};
use crate::drivers::ticker::Ticker;

/// A tick that is due within this long is waited for.
pub const LINGER: Duration = Duration::from_secs(3);
/// A call stops waiting for further ticks after this long: other bells are waiting.
pub const LINGER_MAX: Duration = Duration::from_secs(10);
/// A tick is not begun with less than this left before Lambda's deadline: a launch may take as long.
pub const TICK_NEEDS: Duration = Duration::from_secs(15);

/// The scaler, between calls.
pub struct ScalerFunction<S, C, G, K, B, L> {
    ticker: Ticker<S, C, G, K>,
    clock: K,
    claims_bell: B,
    wake: L,
}

impl<S, C, G, K, B, L> ScalerFunction<S, C, G, K, B, L>
where
    S: Store,
    C: Cloud,
    G: Github,
    K: Clock + Clone,
    B: RemoteBell,
    L: LaterBell,
{
    /// A scaler that rings `claims_bell` for the registrar and comes back through `wake`.
    pub fn new(ticker: Ticker<S, C, G, K>, clock: K, claims_bell: B, wake: L) -> Self {
        ScalerFunction { ticker, clock, claims_bell, wake }
    }

    /// Takes in a batch of bells whose slots have ended once `hold` is over: a fact whose bell was taken for one of them is
    /// in the ledger by then.
    pub async fn call(&mut self, hold: Duration, deadline: Timestamp) {
        let began = self.clock.now();
        if !hold.is_zero() {
            self.clock.sleep(hold).await;
        }
        self.ticker.trust_only_if_latest().await;
        loop {
            let ticked = self.ticker.tick_until(deadline, &mut (), &mut ()).await;
            if ticked.claims {
                self.claims_bell.ring();
                self.claims_bell.send().await;
            }
            let now = self.clock.now();
            // The schedule brings the next tick by then.
            let Some(wake_at) = ticked.wake_at.filter(|at| at.since(now) < TICK_AT_LEAST) else { break };
            let nap = wake_at.since(now).max(TICK_GAP);
            let lingers = nap <= LINGER && (now + nap).since(began) <= LINGER_MAX;
            if lingers && deadline.since(now + nap) >= TICK_NEEDS {
                self.clock.sleep(nap).await;
            } else {
                self.wake.after(nap).await;
                break;
            }
        }
        self.ticker.flush();
    }
}
