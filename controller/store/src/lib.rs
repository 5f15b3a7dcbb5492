//! The ledger, in two forms behind one port: [`SqliteStore`], one file that survives crashes, and [`MemoryStore`], for
//! the simulator and for tests.
//!
//! What lives here: storing and reading back what [`muster_core`] defines, retention, and the contract that every ledger
//! passes (feature `contract`), and what ledgers of other crates share with these. What may not: merging of facts into decisions, a clock, a log line. Time is an argument.
//!
//! Invariant: the two forms answer every sequence of calls alike; a property test says so.

#[cfg(feature = "contract")]
pub mod contract;
mod memory;
mod read;
mod retention;
mod sqlite;
mod upkeep;

pub use memory::{MemoryOptions, MemoryStore};
pub use read::{job_of, read_fact};
pub use retention::{JOB_RETENTION, cutoff, over_since};
pub use sqlite::{Durability, OpenError, SCHEMA_VERSION, SqliteOptions, SqliteStore};
pub use upkeep::{Counts, Pruned, SetAside, Upkeep};
