//! What tests need that look at Muster from outside: deliveries, a running `muster`, and waiting with a deadline.
//!
//! What lives here: nothing that knows how Muster works inside; it depends on none of its crates, so that every one of them
//! can use it in its tests. What may not: a test. Those that start the real program are in `controller/tests`, because
//! Cargo builds a package's binary for the tests of that package and tells only them where it is.
//!
//! Invariant: what was started is ended, also when a test fails.

mod delivery;
#[cfg(feature = "github")]
pub mod github;
mod program;
mod recorded;
mod wait;

pub use delivery::{Happening, JobDelivery, sign};
pub use program::{Answer, Program, Running};
pub use recorded::{Recorded, example_config, recorded};
pub use wait::until;
