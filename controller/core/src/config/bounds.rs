//! How many machines to keep: bounds, and what they are at an instant.
//!
//! What lives here: bounds and the table of what schedules make of them. What may not: reading schedules' text.
//!
//! Invariant: a [`BoundsAt`] is right for every instant in `from..until`, so that a tick computes it at most once.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::class::Class;
use super::market::StandbyState;
use super::schedule::{BoundsChange, Schedule};
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
    /// Perhaps no longer right from here on: a schedule begins or ends. [`Timestamp::MAX`] if none ever does.
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

/// The pools' schedules, ready to be asked: whose bounds they change, and when.
#[derive(Clone, Debug)]
pub(super) struct Timetable {
    zone: TimeZone,
    /// Standby of every shape that ever has some, outside all schedules. In order of the pools.
    standby: Vec<(ShapeId, Standby)>,
    pools: Vec<ScheduledPool>,
    /// `standby` summed by shape: the answer while no schedule applies.
    unscheduled: BTreeMap<ShapeId, Standby>,
}

/// A pool with schedules.
#[derive(Clone, Debug)]
struct ScheduledPool {
    class: ClassId,
    idle: Bounds,
    /// Index in [`Timetable::standby`].
    standby: Option<usize>,
    schedules: Vec<Schedule>,
}

impl Timetable {
    pub(super) fn new(zone: TimeZone) -> Timetable {
        Timetable { zone, standby: Vec::new(), pools: Vec::new(), unscheduled: BTreeMap::new() }
    }

    /// Adds a pool: its default class, and the shape it keeps on standby.
    pub(super) fn add(&mut self, class: &Class, standby: Option<(&ShapeId, Standby)>, schedules: &[Schedule]) {
        let place = standby.map(|(shape, standby)| {
            self.standby.push((shape.clone(), standby));
            self.standby.len() - 1
        });
        self.unscheduled = sum(&self.standby);
        if !schedules.is_empty() {
            let schedules = schedules.to_vec();
            self.pools.push(ScheduledPool { class: class.id.clone(), idle: class.idle, standby: place, schedules });
        }
    }

    pub(super) fn at(&self, now: Timestamp) -> BoundsAt {
        let mut idle = BTreeMap::new();
        let mut until = Timestamp::MAX;
        if self.pools.is_empty() {
            return BoundsAt { from: now, until, idle, standby: self.unscheduled.clone() };
        }
        let mut standby = self.standby.clone();
        for pool in &self.pools {
            let mut bounds = pool.idle;
            for schedule in &pool.schedules {
                let (spans, horizon) = schedule.when.spans_near(now, &self.zone);
                let applies = |t: Timestamp| spans.iter().any(|(start, end)| *start <= t && t < *end);
                let now_applies = applies(now);
                if !schedule.when.is_constant() {
                    let edges = spans.iter().flat_map(|(start, end)| [*start, *end]);
                    let changes = edges.filter(|edge| now < *edge && *edge < horizon && applies(*edge) != now_applies);
                    until = until.min(changes.min().unwrap_or(horizon));
                }
                if now_applies {
                    bounds = bounds.changed(schedule.idle);
                    if let Some((_, standby)) = pool.standby.and_then(|place| standby.get_mut(place)) {
                        standby.bounds = standby.bounds.changed(schedule.standby);
                    }
                }
            }
            if bounds != pool.idle {
                idle.insert(pool.class.clone(), bounds);
            }
        }
        BoundsAt { from: now, until, idle, standby: sum(&standby) }
    }
}

impl Bounds {
    /// These bounds with what a schedule changes. A lower bound above the upper one lifts it.
    pub(super) fn changed(self, change: BoundsChange) -> Bounds {
        let min = change.min.unwrap_or(self.min);
        Bounds { min, max: change.max.unwrap_or(self.max).max(min) }
    }
}

/// Adds up pools that keep the same shape; shapes that need none are left out.
fn sum(parts: &[(ShapeId, Standby)]) -> BTreeMap<ShapeId, Standby> {
    let mut sums: BTreeMap<ShapeId, Standby> = BTreeMap::new();
    for (shape, part) in parts.iter().filter(|(_, part)| part.bounds.max > 0) {
        let entry = sums.entry(shape.clone()).or_insert(Standby { bounds: Bounds::NONE, state: part.state });
        entry.bounds.min = entry.bounds.min.saturating_add(part.bounds.min);
        entry.bounds.max = entry.bounds.max.saturating_add(part.bounds.max);
    }
    sums
}
