//! How many machines to keep: bounds, and what they are at an instant.
//!
//! What lives here: bounds and the table of what schedules make of them. What may not: reading schedules' text.
//!
//! Invariant: a [`BoundsAt`] is right for every instant in `from..until`, so that a tick computes it at most once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::market::StandbyState;
use crate::ids::{ClassId, ShapeId};
use crate::time::Timestamp;

/// A lower and an upper bound, both inclusive, in machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// At least so many.
    pub min: u32,
    /// At most so many; `u32::MAX` means no limit.
    pub max: u32,
}

impl Bounds {
    /// No bounds at all: from none to any number.
    pub const ANY: Bounds = Bounds { min: 0, max: u32::MAX };
    /// None, ever.
    pub const NONE: Bounds = Bounds { min: 0, max: 0 };
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds::ANY
    }
}

/// Machines kept in a warm pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    /// How many.
    pub bounds: Bounds,
    /// In which state.
    pub state: StandbyState,
}

impl Standby {
    /// No warm pool.
    pub const NONE: Standby = Standby { bounds: Bounds::NONE, state: StandbyState::Stopped };
}

/// Every bound at one instant, and how long it stays so. Compute it with [`super::FleetConfig::bounds_at`], keep it
/// while [`BoundsAt::covers`] says so.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundsAt {
    /// Right from here on.
    pub from: Timestamp,
    /// No longer right from here on. [`Timestamp::MAX`] without schedules.
    pub until: Timestamp,
    pub(super) idle: BTreeMap<ClassId, Bounds>,
    pub(super) standby: BTreeMap<ShapeId, Standby>,
}

impl BoundsAt {
    /// Whether the table is right at `now`.
    pub fn covers(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// Bounds of idle runners of `class`.
    pub fn idle(&self, class: &Class) -> Bounds {
        if self.idle.is_empty() { class.idle } else { self.idle.get(&class.id).copied().unwrap_or(class.idle) }
    }

    /// Machines to keep on standby for `shape`. Pools with the same shape add up.
    pub fn standby(&self, shape: &ShapeId) -> Standby {
        self.standby.get(shape).copied().unwrap_or(Standby::NONE)
    }

    /// The shapes with a warm pool.
    pub fn standby_shapes(&self) -> impl Iterator<Item = (&ShapeId, &Standby)> {
        self.standby.iter()
    }
}
