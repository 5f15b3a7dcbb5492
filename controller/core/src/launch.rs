//! Launches: the intent to have machines, and what the cloud made of it.
//!
//! Invariant: a launch is committed before it is asked for, its id is the client token of the request, and until its
//! outcome is recorded it counts as if all of its machines existed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, LaunchId, ShapeId, Zone};
use crate::machine::{Market, Origin, Purpose};
use crate::time::Timestamp;

/// The most machines one request may ask for (`LaunchInstances`, `RequestedCapacity`).
pub const LAUNCH_MAX: u32 = 100;

/// One intent to launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Its name, and the client token of the request.
    pub id: LaunchId,
    /// What the machines are for.
    pub purpose: Purpose,
    /// How many; 1 to [`LAUNCH_MAX`].
    pub count: u32,
    /// Whether the machines may mint when they claim, or wait *ready*.
    pub may_register: bool,
    /// When it was committed.
    pub intended_at: Timestamp,
    /// Why, for people.
    pub reason: Arc<str>,
}

/// Why the cloud refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchErrorKind {
    /// No capacity there now: hold that offering and try elsewhere.
    Capacity,
    /// A quota of the account: an alarm, and a long wait.
    Quota,
    /// Too many requests: a short wait.
    Throttled,
    /// The request itself is wrong: the shape stops until someone mends it.
    Configuration,
    /// GitHub no longer takes the runner release on the image: the shape stops until a newer image shows. Nothing that a
    /// cloud says: see `World::shape_hold`.
    Outdated,
    /// A word that we do not know.
    Unknown,
}

impl LaunchErrorKind {
    /// The metric dimension value.
    pub fn as_word(self) -> &'static str {
        match self {
            LaunchErrorKind::Capacity => "capacity",
            LaunchErrorKind::Quota => "quota",
            LaunchErrorKind::Throttled => "throttled",
            LaunchErrorKind::Configuration => "configuration",
            LaunchErrorKind::Outdated => "outdated",
            LaunchErrorKind::Unknown => "unknown",
        }
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchError {
    /// What to do about it.
    pub kind: LaunchErrorKind,
    /// The cloud's words.
    pub message: Arc<str>,
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_word(), self.message)
    }
}

/// How the cloud answered a launch: partial success is normal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchReply {
    /// What was launched.
    pub instances: Vec<InstanceId>,
    /// Why the rest was not.
    pub error: Option<LaunchError>,
}

/// What capacity memory is kept about: one shape in one zone, bought one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offering {
    /// The hardware.
    pub shape: ShapeId,
    /// The zone.
    pub zone: Zone,
    /// The market.
    pub market: Market,
}

/// Stands for every zone. No zone of the cloud is called so.
pub const EVERY_ZONE: &str = "*";
/// Stands for the standby stock, wherever its machines are. No zone of the cloud is called so.
pub const STANDBY: &str = "standby";

impl Offering {
    /// A shape wherever it is.
    pub fn everywhere(shape: ShapeId, market: Market) -> Offering {
        Offering { shape, zone: Zone::new(EVERY_ZONE), market }
    }

    /// A shape's standby stock.
    pub fn standby(shape: ShapeId, market: Market) -> Offering {
        Offering { shape, zone: Zone::new(STANDBY), market }
    }

    /// What a launch draws from.
    pub fn of(purpose: &Purpose) -> Offering {
        let (shape, market) = (purpose.shape.clone(), purpose.market);
        match purpose.origin {
            Origin::Cold => Offering { shape, zone: purpose.zone.clone(), market },
            Origin::Standby => Offering::standby(shape, market),
        }
    }

    /// Whether it is a standby stock.
    pub fn is_standby(&self) -> bool {
        self.zone.as_str() == STANDBY
    }

    /// Whether it is in one zone of the cloud.
    pub fn is_in_a_zone(&self) -> bool {
        ![EVERY_ZONE, STANDBY].contains(&self.zone.as_str())
    }
}

/// A hold is kept so long after its end: what follows it depends on what it was (its strikes, a throttled request, an image that
/// is too old).
pub const HOLD_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// "Not there, not now": set by a refusal, honoured by the planner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Where.
    pub offering: Offering,
    /// Why.
    pub kind: LaunchErrorKind,
    /// Until when the planner looks elsewhere.
    pub until: Timestamp,
    /// How many refusals in a row: the hold grows with them.
    pub strikes: u32,
}
