//! Launches: what is short, under the caps, from the best place.
//!
//! Invariant: what is launched and not terminated, this plan's launches included, stays within `fleet.max_runners`, the
//! pool's `max_runners` and the budget. A cap delays, it never discards: what does not fit is in the plan's waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::demand::Wants;
use super::fairness;
use super::reason::{Reason, Wait};
use super::{Action, Plan};
use crate::config::{Class, FleetConfig, Market, Shape};
use crate::ids::{ClassId, LaunchId, PoolName, ShapeId, Zone};
use crate::launch::{LAUNCH_MAX, Launch, Offering};
use crate::machine::{Origin, Purpose};
use crate::money::HourlyPrice;
use crate::ports::Switch;
use crate::time::Timestamp;
use crate::world::World;

/// A class that is short of more machines than this gets them from several zones.
const SPREAD_ABOVE: u32 = LAUNCH_MAX / 4;

/// Where one machine would come from.
struct Place {
    shape: Arc<Shape>,
    zone: Zone,
    origin: Origin,
    price: HourlyPrice,
}

/// Machines of one launch in the making.
struct Draft {
    class: Arc<Class>,
    place: Place,
    count: u32,
    reason: Reason,
}

struct Launcher<'a> {
    world: &'a World,
    config: &'a FleetConfig,
    now: Timestamp,
    fleet_room: u32,
    budget: Option<HourlyPrice>,
    pool_room: BTreeMap<PoolName, (u32, u32)>,
    stock: BTreeMap<ShapeId, u32>,
    load: BTreeMap<(ShapeId, Zone), u32>,
    drafts: Vec<Draft>,
    open: BTreeMap<(ClassId, Origin, ShapeId, Zone), usize>,
    waits: BTreeMap<usize, (u32, Wait)>,
}

/// Jobs of a class that a cap keeps waiting.
pub(super) struct Unmet {
    /// Whose.
    pub(super) class: ClassId,
    /// The pool whose cap it is; `None` for the fleet's.
    pub(super) pool: Option<PoolName>,
    /// How many.
    pub(super) count: u32,
}

/// Launches what is short; returns what a cap keeps waiting.
pub(super) fn launch(
    plan: &mut Plan,
    world: &World,
    config: &FleetConfig,
    wants: &[Wants],
    now: Timestamp,
) -> Vec<Unmet> {
    let mut launcher = Launcher::new(world, config, now);
    let short: u32 = wants.iter().map(Wants::short).sum();
    if world.switch() == Switch::NoLaunch {
        let waiting = wants.iter().filter(|w| w.short() > 0);
        plan.waits
            .extend(waiting.map(|w| (w.class.id.clone(), w.short(), Wait::NoLaunch)));
        return Vec::new();
    }
    if short > 0 {
        if launcher.roomy(wants, short) {
            for (index, want) in wants.iter().enumerate() {
                launcher.serve(index, want, want.short());
            }
        } else {
            for index in fairness::turns(world, wants) {
                launcher.serve(index, &wants[index], 1);
            }
        }
    }
    let waits = launcher.waits.iter();
    let unmet: Vec<Unmet> = waits
        .filter_map(|(index, (count, wait))| unmet(&wants[*index].class, *count, wait))
        .collect();
    // Queued demand outranks every idle target. A pool's cap is the matter of that pool alone, and it is full.
    if unmet.iter().all(|unmet| unmet.pool.is_some()) {
        for want in wants {
            launcher.keep_idle(want, want.short_of_target());
        }
    }
    launcher.finish(plan, wants);
    unmet
}

/// What ending an idle machine of another class would help, and which.
fn unmet(class: &Class, count: u32, wait: &Wait) -> Option<Unmet> {
    let pool = match wait {
        Wait::FleetCap { .. } | Wait::Budget => None,
        Wait::PoolCap { .. } => Some(class.pool.clone()),
        Wait::Held { .. } | Wait::NoLaunch | Wait::NoZones => return None,
    };
    Some(Unmet {
        class: class.id.clone(),
        pool,
        count,
    })
}

impl<'a> Launcher<'a> {
    fn new(world: &'a World, config: &'a FleetConfig, now: Timestamp) -> Launcher<'a> {
        let totals = world.totals();
        let room = |max: Option<u32>, used: u32| max.map_or(u32::MAX, |max| max.saturating_sub(used));
        Launcher {
            world,
            config,
            now,
            fleet_room: room(config.fleet.max_runners, totals.machines),
            budget: config
                .fleet
                .budget_usd_per_hour
                .map(|usd| HourlyPrice::from_usd(usd) - totals.price),
            pool_room: BTreeMap::new(),
            stock: world.stocks().map(|(shape, count)| (shape.clone(), count)).collect(),
            load: BTreeMap::new(),
            drafts: Vec::new(),
            open: BTreeMap::new(),
            waits: BTreeMap::new(),
        }
    }

    /// Whether all that is short fits under every cap, so that nobody has to take turns.
    fn roomy(&mut self, wants: &[Wants], short: u32) -> bool {
        let mut dear = HourlyPrice::ZERO;
        let mut pools: BTreeMap<PoolName, u32> = BTreeMap::new();
        for want in wants.iter().filter(|want| want.short() > 0) {
            let price = want
                .class
                .shapes
                .iter()
                .map(|shape| price_of(shape))
                .max()
                .unwrap_or_default();
            dear = dear + price.times(want.short());
            *pools.entry(want.class.pool.clone()).or_default() += want.short();
        }
        self.fleet_room >= short
            && self.budget.is_none_or(|budget| budget >= dear)
            && pools.into_iter().all(|(pool, short)| self.pool_room(&pool).0 >= short)
    }

    fn pool_room(&mut self, pool: &PoolName) -> &mut (u32, u32) {
        let (world, config) = (self.world, self.config);
        self.pool_room.entry(pool.clone()).or_insert_with(|| {
            let max = config.pool(pool).and_then(|pool| pool.max_runners).unwrap_or(u32::MAX);
            (max.saturating_sub(world.pool_totals(pool).machines), max)
        })
    }

    /// Launches `count` machines for queued jobs of a class, or notes why they wait.
    fn serve(&mut self, index: usize, want: &Wants, count: u32) {
        let reason = Reason::Demand {
            queued: want.queued,
            taken: want.taken,
            supply: want.supply,
        };
        let left = self.take(&want.class, count, &reason);
        if let Some((left, wait)) = left {
            let entry = self.waits.entry(index).or_insert((0, wait));
            entry.0 += left;
        }
    }

    /// Launches `count` machines for the idle target; what does not fit is no one's loss.
    fn keep_idle(&mut self, want: &Wants, count: u32) {
        let reason = Reason::IdleTarget {
            target: want.target,
            spare: want.spare(),
        };
        let _ = self.take(&want.class, count, &reason);
    }

    /// Takes up to `count` machines; what is left over, and why.
    fn take(&mut self, class: &Arc<Class>, mut count: u32, reason: &Reason) -> Option<(u32, Wait)> {
        // A burst is spread over the zones in equal parts rather than sent to one.
        let zones = u32::try_from(self.world.zones().len().max(1)).unwrap_or(1);
        let part = if count > SPREAD_ABOVE {
            count.div_ceil(zones)
        } else {
            count
        };
        while count > 0 {
            let (pool_room, max) = *self.pool_room(&class.pool);
            if pool_room == 0 {
                return Some((count, Wait::PoolCap { max }));
            }
            if self.fleet_room == 0 {
                return Some((
                    count,
                    Wait::FleetCap {
                        max: self.config.fleet.max_runners.unwrap_or(u32::MAX),
                    },
                ));
            }
            let place = match self.place(class) {
                Ok(place) => place,
                Err(wait) => return Some((count, wait)),
            };
            let affordable = self.budget.map_or(u32::MAX, |budget| budget.fits(place.price));
            if affordable == 0 {
                return Some((count, Wait::Budget));
            }
            let stocked = match place.origin {
                Origin::Cold => u32::MAX,
                Origin::Standby => self.stock.get(&place.shape.id).copied().unwrap_or(0),
            };
            let now = part
                .min(count)
                .min(pool_room)
                .min(self.fleet_room)
                .min(affordable)
                .min(stocked);
            self.draft(class, place, now, reason);
            count -= now;
        }
        None
    }

    /// The best place for one more machine: shapes by preference; of each first its standby stock, then the zone that has
    /// the fewest of them and no hold.
    fn place(&self, class: &Class) -> Result<Place, Wait> {
        let mut held_until: Option<Timestamp> = None;
        for shape in class.shapes.iter() {
            let price = price_of(shape);
            let zones = self.world.zones();
            if let Some(zone) = zones.first()
                && shape.market == Market::OnDemand
                && self.stock.get(&shape.id).is_some_and(|stock| *stock > 0)
            {
                return Ok(Place {
                    shape: shape.clone(),
                    zone: zone.clone(),
                    origin: Origin::Standby,
                    price,
                });
            }
            let mut best: Option<(u32, &Zone)> = None;
            for zone in zones {
                let offering = Offering {
                    shape: shape.id.clone(),
                    zone: zone.clone(),
                    market: shape.market,
                };
                if let Some(hold) = self.world.hold(&offering, self.now) {
                    held_until = Some(held_until.map_or(hold.until, |known| known.min(hold.until)));
                    continue;
                }
                let load = self.load.get(&(shape.id.clone(), zone.clone())).copied().unwrap_or(0)
                    + self.world.zone_load(&shape.id, zone);
                if best.is_none_or(|(least, _)| load < least) {
                    best = Some((load, zone));
                }
            }
            if let Some((_, zone)) = best {
                return Ok(Place {
                    shape: shape.clone(),
                    zone: zone.clone(),
                    origin: Origin::Cold,
                    price,
                });
            }
        }
        Err(held_until.map_or(Wait::NoZones, |until| Wait::Held { until }))
    }

    fn draft(&mut self, class: &Arc<Class>, place: Place, count: u32, reason: &Reason) {
        let shape = place.shape.id.clone();
        self.fleet_room -= count.min(self.fleet_room);
        self.pool_room(&class.pool).0 -= count;
        self.budget = self.budget.map(|budget| budget - place.price.times(count));
        match place.origin {
            Origin::Standby => {
                if let Some(stock) = self.stock.get_mut(&shape) {
                    *stock -= count;
                }
            }
            Origin::Cold => *self.load.entry((shape.clone(), place.zone.clone())).or_default() += count,
        }
        let key = (class.id.clone(), place.origin, shape, place.zone.clone());
        match self.open.get(&key) {
            Some(draft) if self.drafts[*draft].reason == *reason => self.drafts[*draft].count += count,
            Some(_) | None => {
                self.open.insert(key, self.drafts.len());
                self.drafts.push(Draft {
                    class: class.clone(),
                    place,
                    count,
                    reason: reason.clone(),
                });
            }
        }
    }

    /// Turns the drafts into launches of at most [`LAUNCH_MAX`], named after ledger, generation and place in the plan.
    fn finish(self, plan: &mut Plan, wants: &[Wants]) {
        let mut number = 0;
        for draft in self.drafts {
            let mut left = draft.count;
            while left > 0 {
                let count = left.min(LAUNCH_MAX);
                left -= count;
                let id = LaunchId::new(format!("{}-{}-{number}", self.world.ledger(), self.world.generation()));
                number += 1;
                let purpose = Purpose {
                    pool: draft.class.pool.clone(),
                    class: draft.class.id.clone(),
                    shape: draft.place.shape.id.clone(),
                    zone: draft.place.zone.clone(),
                    market: draft.place.shape.market,
                    origin: draft.place.origin,
                    price: draft.place.price,
                };
                let reason: Arc<str> = draft.reason.to_string().into();
                let launch = Launch {
                    id,
                    purpose,
                    count,
                    may_register: true,
                    intended_at: self.now,
                    reason,
                };
                plan.act(Action::Launch(launch), draft.reason.clone());
            }
        }
        for (index, (count, wait)) in self.waits {
            if let Wait::Held { until } = wait {
                plan.wake(until);
            }
            plan.waits.push((wants[index].class.id.clone(), count, wait));
        }
    }
}

fn price_of(shape: &Shape) -> HourlyPrice {
    HourlyPrice::from_usd(shape.usd_per_hour.unwrap_or(0.0))
}
