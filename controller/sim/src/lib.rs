//! The simulator: a cloud, a GitHub, agents and the load of a trace, in memory.
//!
//! What lives here: the truth of a made-up world and its handles, the load, the accounting, and a watch that knows the
//! rules. What may not: a decision of the scaler (production's reconciler makes those), a clock, a thread, a socket. The
//! driver owns time: it asks when something happens next, and says how far to go.
//!
//! Invariant: the same seed, load and sequence of calls give the same bytes.

pub mod trace;

mod agenda;
mod books;
pub mod catalog;
pub mod chance;
mod classes;
mod cloud;
mod handles;
mod hub;
mod identity;
mod labels;
mod listeners;
mod lost;
mod payload;
pub mod profile;
pub mod report;
mod rule;
mod universe;
mod watch;
mod webhook;
mod work;

pub use books::BILLED_MIN;
pub use catalog::{Catalog, ClassInfo, PriceList, Service, ShapeInfo};
pub use cloud::ZONES;
pub use handles::{Clock, SharedUniverse, SimCloud, SimGithub};
pub use identity::{PROOF_AGE_MAX, SimIdentity};
pub use listeners::ListenerFaults;
pub use lost::WebhookFaults;
pub use profile::{Delay, IDLE_REMOVAL_SEEN, Profile};
pub use report::Summary;
pub use rule::Rule;
pub use trace::{Cut, Load, Run, Survey, Trace, TraceError};
pub use universe::{
    Census, Claimed, FROZEN_MIN, HOSTED_START, Output, QUEUE_LIMIT, REQUEUE_AFTER, START, Settings, THAW_AFTER,
    Universe,
};
pub use watch::{Limits, VIOLATIONS_MAX, Watch};
pub use webhook::{Delivery, Installation, Webhook};
