//! Who waits for what concerns one machine, and how they are woken.
//!
//! Invariant: a waiter registers before it reads the store, so that a ring between the two is not lost; an entry lives
//! no longer than its last waiter.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_core::ids::InstanceId;
use tokio::sync::watch;

/// How many machines may be waited for at once through notices. Beyond it waiters only re-read the store.
pub const WAITED_FOR_MAX: usize = 20_000;
/// How often a waiter reads the store again where rings may come from another process.
pub const REREAD: Duration = Duration::from_secs(1);
/// How often where every ring is in this process: only against what was not foreseen.
pub const REREAD_RELIABLE: Duration = Duration::from_secs(10);

const _: () = assert!(REREAD.as_millis() < REREAD_RELIABLE.as_millis());

/// The doorbells of the machines that are being waited for.
pub struct Wakers {
    waiting: Mutex<HashMap<InstanceId, watch::Sender<()>>>,
    reread: Duration,
}

impl Wakers {
    /// For a process in which orders and configurations are also written: every change is rung here.
    pub fn in_process() -> Wakers {
        Wakers { waiting: Mutex::default(), reread: REREAD_RELIABLE }
    }

    /// For a door whose scaler and registrar run elsewhere: waiters read the store every second.
    pub fn across_processes() -> Wakers {
        Wakers { waiting: Mutex::default(), reread: REREAD }
    }

    /// There is an order or a configuration for this machine.
    pub fn ring(&self, instance: &InstanceId) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = waiting.get(instance) {
            bell.send_replace(());
        }
    }

    /// How many machines are being waited for.
    pub fn waited_for(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn register(&self, instance: &InstanceId) -> Waiter<'_> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = match waiting.get(instance) {
            Some(bell) => bell.clone(),
            None => {
                let bell = watch::Sender::new(());
                if waiting.len() < WAITED_FOR_MAX {
                    waiting.insert(instance.clone(), bell.clone());
                }
                bell
            }
        };
        Waiter { wakers: self, instance: instance.clone(), heard: bell.subscribe(), bell }
    }
}

/// One who waits. Dropping it leaves no trace.
pub(crate) struct Waiter<'a> {
    wakers: &'a Wakers,
    instance: InstanceId,
    bell: watch::Sender<()>,
    heard: watch::Receiver<()>,
}

impl Waiter<'_> {
    /// Waits for a ring since the last one that was heard, or since the registration.
    pub(crate) async fn rung(&mut self) {
        // The only error is that the bell is gone, and we hold it ourselves.
        let _ = self.heard.changed().await;
    }

    /// How long to wait for a ring at most.
    pub(crate) fn reread(&self) -> Duration {
        self.wakers.reread
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.wakers.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Others come only under this lock: if we are the last to listen, nobody is about to.
        let last = self.bell.receiver_count() <= 1;
        if last && waiting.get(&self.instance).is_some_and(|bell| bell.same_channel(&self.bell)) {
            waiting.remove(&self.instance);
        }
    }
}
