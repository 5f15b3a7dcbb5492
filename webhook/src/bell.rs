//! Bells: "there is something new". They carry nothing, and a lost one costs only time.

pub use muster_core::ports::Bell;
use tokio::sync::Notify;

/// A bell within one process.
#[derive(Debug, Default)]
pub struct NotifyBell {
    notify: Notify,
}

impl NotifyBell {
    /// Waits for a ring. One that came while nobody waited counts.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }
}

impl Bell for NotifyBell {
    fn ring(&self) {
        self.notify.notify_one();
    }
}
