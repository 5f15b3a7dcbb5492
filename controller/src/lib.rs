//! The shell of Muster: what gives the pure core its time, its ledger, its cloud and its GitHub, and the `muster` command.
//!
//! What lives here: the tick, the registrar, telemetry, the drivers (service, demo, simulation) and the command line. What
//! may not: a decision about machines; those are the planner's, in `muster-core`.

// The futures of the SDK and of our own parts are deep in one another.
#![recursion_limit = "256"]

#[cfg(feature = "aws")]
pub mod aws;
pub mod cli;
pub mod clock;
pub mod doctor;
pub mod drivers;
pub mod healer;
pub mod loaded;
#[cfg(feature = "aws")]
pub mod past;
pub mod reconcile;
pub mod registrar;
pub mod secret;
pub mod source;
pub mod story;
pub mod telemetry;
pub mod watch;
