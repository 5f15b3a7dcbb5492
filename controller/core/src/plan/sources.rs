//! Where machines come from: each shape's standby stock and zones, with their holds.
//!
//! Where the cloud has just asked for fewer requests, the next launch is a small one. EC2 counts instances as well as
//! requests, and gives out 2 a second (see the cloud adapter's budgets): a launch of a hundred would wait for a hundred
//! that others keep taking one by one.
//!
//! Invariant: what a plan takes from a source never exceeds what the source had when the plan began.

use std::sync::Arc;

use crate::config::Shape;
use crate::ids::Zone;
use crate::launch::{LaunchErrorKind, Offering};
use crate::machine::Origin;
use crate::money::HourlyPrice;
use crate::time::Timestamp;
use crate::world::{HOLD_THROTTLED, PROBE_EVERY, World};

/// What is asked for at most in one place after a throttled request: what EC2 gives out in the pause that follows it.
const AFTER_THROTTLE: u32 = 10;
const _: () = assert!(AFTER_THROTTLE as u64 == 2 * HOLD_THROTTLED.as_secs());

/// Until when, and why; `None` if it is not.
pub(super) type OnHold = Option<(Timestamp, LaunchErrorKind)>;

/// Where machines of one shape come from.
pub(super) struct Source {
    pub(super) shape: Arc<Shape>,
    pub(super) standby: u32,
    pub(super) standby_gate: Gate,
    /// How many may be launched at all, and until when no more if that is limited: its image is too old.
    pub(super) room: (u32, OnHold),
    /// In order of preference.
    pub(super) zones: Vec<InZone>,
}

/// A shape in a zone.
pub(super) struct InZone {
    pub(super) zone: Zone,
    /// What a machine costs there.
    pub(super) price: HourlyPrice,
    /// EC2 tells prices of the shape, and none for here: none of its types is offered here.
    pub(super) lacks: bool,
    /// How many are there.
    pub(super) load: u32,
    pub(super) gate: Gate,
}

/// What the cloud's last answer allows in one place.
pub(super) struct Gate {
    pub(super) hold: OnHold,
    /// How many this plan may still ask for.
    pub(super) room: u32,
}

impl Source {
    /// As it is now.
    pub(super) fn of(shape: &Arc<Shape>, world: &World, now: Timestamp) -> Source {
        let told = world.has_spot_prices(shape);
        let zones = world.zones().iter().map(|zone| InZone {
            zone: zone.clone(),
            price: world.price(shape, zone),
            lacks: told && world.spot_price(shape, zone).is_none(),
            load: world.zone_load(&shape.id, zone),
            gate: Gate::of(&Offering { shape: shape.id.clone(), zone: zone.clone(), market: shape.market }, world, now),
        });
        // Starts that are not answered yet are still in the stock that was told.
        let promised = world
            .launches()
            .filter(|launch| launch.purpose.origin == Origin::Standby && launch.purpose.shape == shape.id);
        let standby = match world.stock(&shape.id) {
            0 => 0,
            stock => stock.saturating_sub(promised.map(|launch| launch.count).sum()),
        };
        let room = match world.shape_hold(&shape.id, shape.market) {
            None => (u32::MAX, None),
            Some(hold) if hold.until > now => (0, Some((hold.until, hold.kind))),
            Some(hold) => (1, Some((now + PROBE_EVERY, hold.kind))),
        };
        let standby_gate = Gate::of(&Offering::standby(shape.id.clone(), shape.market), world, now);
        Source { shape: shape.clone(), standby, standby_gate, room, zones: zones.collect() }
    }

    /// The dearest of its zones.
    pub(super) fn dearest(&self) -> HourlyPrice {
        self.zones.iter().map(|there| there.price).max().unwrap_or_default()
    }
}

impl Gate {
    fn of(offering: &Offering, world: &World, now: Timestamp) -> Gate {
        let hold = world.hold(offering, now).map(|hold| (hold.until, hold.kind));
        let room = if world.was_throttled(offering, now) { AFTER_THROTTLE } else { u32::MAX };
        Gate { hold, room }
    }

    /// Until when nothing more is asked for here because the cloud wants fewer requests.
    pub(super) fn throttled(&self, now: Timestamp) -> OnHold {
        if self.room == 0 {
            return Some((now + HOLD_THROTTLED, LaunchErrorKind::Throttled));
        }
        self.hold.filter(|(_, kind)| *kind == LaunchErrorKind::Throttled)
    }

    /// So many are asked for.
    pub(super) fn pass(&mut self, count: u32) {
        self.room = self.room.saturating_sub(count);
    }
}
