//! What a function looks at between events: its configuration and secrets, and what follows from them.
//!
//! What lives here: wiring. When a look is due is `drivers/lambda/looks.rs`, what is good `loaded.rs` and `watch.rs`.

use std::sync::Arc;

use muster_core::config::FleetConfig;
use muster_core::ports::Store;
use muster_webhook::clock::SystemClock;

use crate::drivers::lambda::looks::{LOOK_EVERY, Look, Looks};
use crate::watch::ConfigWatch;

// A function that has rested must not go by a remembered secret.
const _: () = assert!(muster_aws::SECRET_AGE_MAX.as_secs() < LOOK_EVERY.as_secs());

/// A configuration that is watched, and who hears of a new one.
pub struct Watched<S> {
    watch: ConfigWatch,
    store: Arc<S>,
    changed: Box<dyn Fn(&FleetConfig) + Send + Sync>,
}

impl<S: Store + 'static> Watched<S> {
    /// Looks when events come; a new configuration is told to `changed`.
    pub fn looks(
        watch: ConfigWatch,
        store: Arc<S>,
        changed: impl Fn(&FleetConfig) + Send + Sync + 'static,
    ) -> Looks<Watched<S>, SystemClock> {
        Looks::after_first(Watched { watch, store, changed: Box::new(changed) }, SystemClock)
    }
}

impl<S: Store + 'static> Look for Watched<S> {
    async fn look(&mut self) {
        let before = self.watch.live().snapshot();
        self.watch.look(&*self.store).await;
        let now = self.watch.live().snapshot();
        if !Arc::ptr_eq(&before, &now) {
            (self.changed)(&now);
        }
    }
}
