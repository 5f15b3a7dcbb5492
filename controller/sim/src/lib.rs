//! The simulator: a cloud, a GitHub, agents and the load of a trace, in memory.
//!
//! What lives here: the truth of a made-up world and its handles, the load, the accounting, and a watch that knows the
//! rules. What may not: a decision of the scaler (production's reconciler makes those), a clock, a thread, a socket. The
//! driver owns time: it asks when something happens next, and says how far to go.
//!
//! Invariant: the same seed, load and sequence of calls give the same bytes.

pub mod trace;
