//! The configuration in force, replaced in flight.
//!
//! Invariant: there is always a valid one; a bad one is only remembered as a problem.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use muster_core::config::FleetConfig;

/// The last good configuration, and what is wrong with the latest one, if it was refused.
pub struct LiveConfig {
    current: ArcSwap<FleetConfig>,
    problem: ArcSwapOption<String>,
}

impl LiveConfig {
    /// Starts with a valid configuration.
    pub fn new(config: FleetConfig) -> LiveConfig {
        LiveConfig { current: ArcSwap::from_pointee(config), problem: ArcSwapOption::empty() }
    }

    /// Starts with a valid configuration that others hold too.
    pub fn from_arc(config: Arc<FleetConfig>) -> LiveConfig {
        LiveConfig { current: ArcSwap::new(config), problem: ArcSwapOption::empty() }
    }

    /// The configuration in force, for a moment. Hold it no longer than a request's own work.
    pub fn current(&self) -> Guard<Arc<FleetConfig>> {
        self.current.load()
    }

    /// The configuration in force, to keep.
    pub fn snapshot(&self) -> Arc<FleetConfig> {
        self.current.load_full()
    }

    /// A new valid configuration comes into force.
    pub fn replace(&self, config: Arc<FleetConfig>) {
        self.current.store(config);
        self.problem.store(None);
    }

    /// A new configuration was refused; the last good one stays in force. `why` names no secret.
    pub fn refuse(&self, why: String) {
        self.problem.store(Some(Arc::new(why)));
    }

    /// Why the latest configuration was refused.
    pub fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }
}
