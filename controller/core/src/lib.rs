//! The pure heart of Muster.
//!
//! What lives here: identifiers and time, the configuration and its validation, label resolution, facts and their merge
//! into the ledger, the world a tick sees, the planner, the checker of plans, and the ports behind which everything
//! impure stands. What may not: a clock, a runtime, an SDK, the environment, a log line. Time, configuration and
//! randomness are arguments.
//!
//! Invariant: the same world, configuration and instant give the same plan, byte for byte.

pub mod bucket;
pub mod check;
pub mod claim;
pub mod config;
#[cfg(feature = "contract")]
pub mod contract;
pub mod fact;
pub mod hot;
pub mod identity;
pub mod ids;
pub mod job;
pub mod launch;
pub mod log_shelf;
pub mod machine;
pub mod metric;
pub mod money;
pub mod plan;
pub mod ports;
pub mod protocol;
pub mod release;
pub mod rerun;
pub mod stages;
pub mod time;
pub mod world;
