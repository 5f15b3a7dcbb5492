//! Schedules: when other bounds hold.
//!
//! What lives here: windows of the week in the fleet's time zone. What may not: the clock.
//!
//! Invariant: each window of each day is one span of real time, also on days with a clock change.

use super::market::StandbyState;

/// A `[[pool.schedule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The text of `when`.
    pub when: String,
    /// What it changes of the idle bounds.
    pub idle: BoundsChange,
    /// What it changes of the standby bounds.
    pub standby: BoundsChange,
    /// What it changes of the standby state; always `None`, a state belongs to the group.
    pub state: Option<StandbyState>,
}

/// New values for one or both bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundsChange {
    /// The new lower bound, if any.
    pub min: Option<u32>,
    /// The new upper bound, if any.
    pub max: Option<u32>,
}
