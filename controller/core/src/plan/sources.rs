//! Where machines come from: each shape's standby stock and zones, with their holds.
//!
//! Where an account has just been asked for fewer requests, the next launch there is a small one. EC2 counts instances as
//! well as requests, and gives out 2 a second (see the cloud adapter's budgets): a launch of a hundred would wait for a
//! hundred that others keep taking one by one.
//!
//! Invariant: what a plan takes from a source never exceeds what the source had when the plan began.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{FleetConfig, Shape};
use crate::ids::Zone;
use crate::launch::{LaunchErrorKind, Offering};
use crate::machine::Origin;
use crate::money::HourlyPrice;
use crate::time::Timestamp;
use crate::world::{HOLD_THROTTLED, PROBE_EVERY, World};

/// What is asked of an account at most after a throttled request: what EC2 gives out in the pause that follows it.
const AFTER_THROTTLE: u32 = 10;
const _: () = assert!(AFTER_THROTTLE as u64 == 2 * HOLD_THROTTLED.as_secs());
/// A start from standby that was throttled so often in a row is not waited for any longer: a cold one is slow, and comes.
const STANDBY_TRIES_MAX: u32 = 2;

/// Until when, and why; `None` if it is not.
pub(super) type OnHold = Option<(Timestamp, LaunchErrorKind)>;

/// Where machines of one shape come from.
pub(super) struct Source {
    pub(super) shape: Arc<Shape>,
    pub(super) standby: u32,
    /// A start from standby was throttled, and the next one is worth the wait.
    pub(super) standby_hold: OnHold,
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
    pub(super) hold: OnHold,
}

impl Source {
    /// As it is now.
    pub(super) fn of(shape: &Arc<Shape>, world: &World, now: Timestamp) -> Source {
        let told = world.has_spot_prices(shape);
        let zones = world.zones().iter().map(|zone| {
            let offering = Offering { shape: shape.id.clone(), zone: zone.clone(), market: shape.market };
            InZone {
                zone: zone.clone(),
                price: world.price(shape, zone),
                lacks: told && world.spot_price(shape, zone).is_none(),
                load: world.zone_load(&shape.id, zone),
                hold: world.hold(&offering, now).map(|hold| (hold.until, hold.kind)),
            }
        });
        // Starts that are not answered yet are still in the stock that was told.
        let promised = world
            .launches()
            .filter(|launch| launch.purpose.origin == Origin::Standby && launch.purpose.shape == shape.id);
        let mut standby = match world.stock(&shape.id) {
            0 => 0,
            stock => stock.saturating_sub(promised.map(|launch| launch.count).sum()),
        };
        let room = match world.shape_hold(&shape.id, shape.market) {
            None => (u32::MAX, None),
            Some(hold) if hold.until > now => (0, Some((hold.until, hold.kind))),
            Some(hold) => (1, Some((now + PROBE_EVERY, hold.kind))),
        };
        let mut standby_hold = None;
        match world.hold(&Offering::standby(shape.id.clone(), shape.market), now) {
            Some(hold) if hold.strikes < STANDBY_TRIES_MAX => standby_hold = Some((hold.until, hold.kind)),
            Some(_) => standby = 0,
            None => {}
        }
        Source { shape: shape.clone(), standby, standby_hold, room, zones: zones.collect() }
    }

    /// The dearest of its zones.
    pub(super) fn dearest(&self) -> HourlyPrice {
        self.zones.iter().map(|there| there.price).max().unwrap_or_default()
    }

    /// Until when nothing is asked for in any zone because the cloud wants fewer requests.
    pub(super) fn throttled(&self) -> OnHold {
        let holds = self.zones.iter().filter_map(|there| there.hold);
        holds.filter(|(_, kind)| *kind == LaunchErrorKind::Throttled).max()
    }
}

/// How many may still be asked of accounts that have just asked for fewer requests: EC2 counts launches and starts apart.
pub(super) struct Throttles(BTreeMap<(Option<Arc<str>>, Origin), u32>);

impl Throttles {
    /// As it is when the plan begins.
    pub(super) fn of(world: &World, config: &FleetConfig, now: Timestamp) -> Throttles {
        let places = world.throttled_lately(now).filter_map(|offering| {
            let account = config.shape(&offering.shape)?.account.clone();
            Some(((account, if offering.is_standby() { Origin::Standby } else { Origin::Cold }), AFTER_THROTTLE))
        });
        Throttles(places.collect())
    }

    /// How many of a shape.
    pub(super) fn room(&self, shape: &Shape, origin: Origin) -> u32 {
        if self.0.is_empty() {
            return u32::MAX;
        }
        self.0.get(&(shape.account.clone(), origin)).copied().unwrap_or(u32::MAX)
    }

    /// So many of a shape are asked for.
    pub(super) fn pass(&mut self, shape: &Shape, origin: Origin, count: u32) {
        if let Some(room) = self.0.get_mut(&(shape.account.clone(), origin)) {
            *room = room.saturating_sub(count);
        }
    }

    /// Until when nothing more is asked for, if the room is used up.
    pub(super) fn used_up(&self, shape: &Shape, origin: Origin, now: Timestamp) -> OnHold {
        (self.room(shape, origin) == 0).then_some((now + HOLD_THROTTLED, LaunchErrorKind::Throttled))
    }
}
