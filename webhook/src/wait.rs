//! The long poll.
//!
//! Invariant: with a wait of 0 nothing is registered and no timer is touched: the future that asks is ready as soon as
//! the question is answered.

use std::time::Duration;

use muster_core::ids::InstanceId;
use muster_core::time::Timestamp;

use crate::clock::Clock;
use crate::format::WAIT_S_MAX;
use crate::wakers::{Waiter, Wakers};

/// One wait. It begins before the first question, so that a ring between question and wait counts.
pub(crate) struct Wait<'a, C> {
    clock: &'a C,
    until: Timestamp,
    waiter: Option<Waiter<'a>>,
}

impl<'a, C: Clock> Wait<'a, C> {
    /// A wait of `wait_s` for what concerns one machine, which ends [`WAIT_S_MAX`] after the request came, whatever was done
    /// for it meanwhile: whoever carries requests gives them a few seconds more and no longer.
    pub(crate) fn begin(
        clock: &'a C,
        wakers: &'a Wakers,
        instance: &InstanceId,
        wait_s: u32,
        came_at: Timestamp,
    ) -> Wait<'a, C> {
        let until = clock.now() + Duration::from_secs(wait_s.into());
        let until = until.min(came_at + Duration::from_secs(WAIT_S_MAX.into()));
        Wait { clock, until, waiter: (wait_s > 0).then(|| wakers.register(instance)) }
    }

    /// Waits until it is worth asking again; `false` if the time is over.
    pub(crate) async fn again(&mut self) -> bool {
        let Some(waiter) = &mut self.waiter else { return false };
        let left = self.until.since(self.clock.now());
        if left.is_zero() {
            return false;
        }
        let reread = left.min(waiter.reread());
        tokio::select! {
            () = waiter.rung() => {}
            () = self.clock.sleep(reread) => {}
        }
        true
    }
}
