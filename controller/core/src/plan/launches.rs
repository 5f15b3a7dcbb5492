//! Launches: what is short, under the caps, from the best place.
//!
//! Invariant: what is launched and not terminated, this plan's launches included, stays within `fleet.max_runners`, the
//! pool's `max_runners` and the budget. A cap delays, it never discards: what does not fit is in the plan's waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::demand::Wants;
use super::fairness;
use super::reason::{Reason, Wait};
use super::sources::{InZone, OnHold, Source, Throttles};
use super::{Action, Plan};
use crate::config::{Class, FleetConfig, Market, Shape};
use crate::ids::{ClassId, LaunchId, PoolName, ShapeId};
use crate::launch::{LAUNCH_MAX, Launch};
use crate::machine::{Origin, Purpose};
use crate::money::HourlyPrice;
use crate::ports::Switch;
use crate::time::Timestamp;
use crate::world::{World, count};

/// A class that is short of more machines than this gets them from several zones.
const SPREAD_ABOVE: u32 = LAUNCH_MAX / 4;

/// A pool's room under its cap.
#[derive(Clone, Copy)]
struct PoolRoom {
    left: u32,
    max: u32,
}

/// What a class draws from: its pool, and its sources in order of preference. Places in the launcher's tables.
#[derive(Clone)]
struct Site {
    pool: usize,
    sources: Arc<[usize]>,
    /// The same, on-demand first.
    steady: Arc<[usize]>,
}

/// Where one machine would come from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    source: usize,
    zone: usize,
    origin: Origin,
}

/// Machines of one launch in the making.
struct Draft {
    class: Arc<Class>,
    place: Place,
    count: u32,
    reason: Reason,
}

/// The search for machines. Names are looked up once; under a cap every job is a search of its own.
struct Launcher<'a> {
    world: &'a World,
    config: &'a FleetConfig,
    now: Timestamp,
    fleet_room: u32,
    budget: Option<HourlyPrice>,
    pools: Vec<PoolRoom>,
    pool_by_name: BTreeMap<PoolName, usize>,
    sources: Vec<Source>,
    source_by_shape: BTreeMap<ShapeId, usize>,
    throttles: Throttles,
    /// By the place of the class in the wants.
    sites: BTreeMap<usize, Site>,
    /// Likewise: how many machines are still to be on-demand where that can be had, for jobs that are run again.
    steady: BTreeMap<usize, u32>,
    drafts: Vec<Draft>,
    open: BTreeMap<(usize, Place), usize>,
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

/// Launches what is short; returns what a cap keeps waiting. `hot_room` is how many may be made hot for idle targets.
pub(super) fn launch(
    plan: &mut Plan,
    world: &World,
    config: &FleetConfig,
    wants: &[Wants],
    hot_room: u32,
    now: Timestamp,
) -> Vec<Unmet> {
    let mut launcher = Launcher::new(world, config, now);
    let short: u32 = wants.iter().map(Wants::short).sum();
    if world.switch() == Switch::NoLaunch {
        let waiting = wants.iter().filter(|w| w.short() > 0);
        plan.waits.extend(waiting.map(|w| (w.class.id.clone(), w.short(), Wait::NoLaunch)));
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
    let unmet: Vec<Unmet> =
        waits.filter_map(|(index, (count, wait))| unmet(&wants[*index].class, *count, wait)).collect();
    // Queued demand outranks every idle target. A pool's cap is the matter of that pool alone, and it is full.
    if unmet.iter().all(|unmet| unmet.pool.is_some()) {
        for (index, want) in wants.iter().enumerate() {
            launcher.keep_idle(index, want, want.short_of_target());
        }
    }
    launcher.finish(plan, wants, hot_room);
    unmet
}

/// What ending an idle machine of another class would help, and which.
fn unmet(class: &Class, count: u32, wait: &Wait) -> Option<Unmet> {
    let pool = match wait {
        Wait::FleetCap { .. } | Wait::Budget => None,
        Wait::PoolCap { .. } => Some(class.pool.clone()),
        Wait::Held { .. } | Wait::NoLaunch | Wait::Frozen | Wait::NoZones => return None,
    };
    Some(Unmet { class: class.id.clone(), pool, count })
}

impl<'a> Launcher<'a> {
    fn new(world: &'a World, config: &'a FleetConfig, now: Timestamp) -> Launcher<'a> {
        let totals = world.totals();
        let max_runners = config.fleet.max_runners;
        let budget = config.fleet.budget_usd_per_hour;
        Launcher {
            world,
            config,
            now,
            fleet_room: max_runners.map_or(u32::MAX, |max| max.saturating_sub(totals.machines)),
            budget: budget.map(|usd| HourlyPrice::from_usd(usd) - totals.price),
            pools: Vec::new(),
            pool_by_name: BTreeMap::new(),
            sources: Vec::new(),
            source_by_shape: BTreeMap::new(),
            throttles: Throttles::of(world, config, now),
            sites: BTreeMap::new(),
            steady: BTreeMap::new(),
            drafts: Vec::new(),
            open: BTreeMap::new(),
            waits: BTreeMap::new(),
        }
    }

    /// Whether all that is short fits under every cap, so that nobody has to take turns.
    fn roomy(&mut self, wants: &[Wants], short: u32) -> bool {
        let mut dear = HourlyPrice::ZERO;
        let mut pools: BTreeMap<usize, u32> = BTreeMap::new();
        for (index, want) in wants.iter().enumerate().filter(|(_, want)| want.short() > 0) {
            let site = self.site(index, want);
            let prices = site.sources.iter().map(|source| self.sources[*source].dearest());
            dear = dear + prices.max().unwrap_or_default().times(want.short());
            *pools.entry(site.pool).or_default() += want.short();
        }
        self.fleet_room >= short
            && self.budget.is_none_or(|budget| budget >= dear)
            && pools.into_iter().all(|(pool, short)| self.pools[pool].left >= short)
    }

    fn site(&mut self, index: usize, want: &Wants) -> Site {
        if let Some(site) = self.sites.get(&index) {
            return site.clone();
        }
        let pool = self.pool(&want.class.pool);
        let sources: Arc<[usize]> = want.class.shapes.iter().map(|shape| self.source(shape)).collect();
        let again = self.run_again(want);
        let mut steady = sources.to_vec();
        steady.sort_by_key(|source| self.sources[*source].shape.market != Market::OnDemand);
        self.steady.entry(index).or_insert(again);
        let site = Site { pool, sources, steady: steady.into() };
        self.sites.insert(index, site.clone());
        site
    }

    /// Queued jobs of a class that are run again, where the pool has asked for that, for which no on-demand machine is here or
    /// on its way.
    fn run_again(&self, want: &Wants) -> u32 {
        let asked = self.config.pool(&want.class.pool).is_some_and(|pool| pool.rerun_interrupted > 0);
        let Some(state) = self.world.class(&want.class.id).filter(|_| asked) else { return 0 };
        let again = count(state.queued.keys().filter(|(_, job)| job.attempt > 1).count());
        if again == 0 {
            return 0;
        }
        let is_steady = |purpose: &Purpose| purpose.market == Market::OnDemand;
        let of_class = |launch: &&Launch| launch.purpose.class == want.class.id && is_steady(&launch.purpose);
        let launching: u32 = self.world.launches().filter(of_class).map(|launch| launch.count).sum();
        let machines = state.supplies().filter_map(|instance| self.world.machine(instance));
        let here = count(machines.filter(|machine| is_steady(&machine.purpose)).count());
        again.saturating_sub(launching + here)
    }

    fn pool(&mut self, name: &PoolName) -> usize {
        if let Some(pool) = self.pool_by_name.get(name) {
            return *pool;
        }
        let max = self.config.pool(name).and_then(|pool| pool.max_runners).unwrap_or(u32::MAX);
        let left = max.saturating_sub(self.world.pool_totals(name).machines);
        self.pools.push(PoolRoom { left, max });
        self.pool_by_name.insert(name.clone(), self.pools.len() - 1);
        self.pools.len() - 1
    }

    fn source(&mut self, shape: &Arc<Shape>) -> usize {
        if let Some(source) = self.source_by_shape.get(&shape.id) {
            return *source;
        }
        self.sources.push(Source::of(shape, self.world, self.now));
        self.source_by_shape.insert(shape.id.clone(), self.sources.len() - 1);
        self.sources.len() - 1
    }

    /// Launches `count` machines for queued jobs of a class, or notes why they wait.
    fn serve(&mut self, index: usize, want: &Wants, count: u32) {
        let reason = Reason::Demand { queued: want.queued, taken: want.taken, supply: want.supply };
        if let Some((left, wait)) = self.take(index, want, count, &reason) {
            self.waits.entry(index).or_insert((0, wait)).0 += left;
        }
    }

    /// Launches `count` machines for the idle target; what does not fit is no one's loss.
    fn keep_idle(&mut self, index: usize, want: &Wants, count: u32) {
        let reason = Reason::IdleTarget { target: want.target, spare: want.spare() };
        // The bias is for jobs.
        self.steady.insert(index, 0);
        let _ = self.take(index, want, count, &reason);
    }

    /// Takes up to `count` machines; what is left over, and why.
    fn take(&mut self, index: usize, want: &Wants, mut count: u32, reason: &Reason) -> Option<(u32, Wait)> {
        if count == 0 {
            return None;
        }
        let site = self.site(index, want);
        // A burst is spread over the zones in equal parts rather than sent to one.
        let zones = u32::try_from(self.world.zones().len().max(1)).unwrap_or(1);
        let part = if count > SPREAD_ABOVE { count.div_ceil(zones) } else { count };
        while count > 0 {
            let PoolRoom { left, max } = self.pools[site.pool];
            if left == 0 {
                return Some((count, Wait::PoolCap { max }));
            }
            if self.fleet_room == 0 {
                return Some((count, Wait::FleetCap { max: self.config.fleet.max_runners.unwrap_or(u32::MAX) }));
            }
            let steady = self.steady.get(&index).copied().unwrap_or(0);
            let place = match self.place(if steady > 0 { &site.steady } else { &site.sources }) {
                Ok(place) => place,
                // It is a bias and no more: what can be had is taken.
                Err(_) if steady > 0 => {
                    self.steady.insert(index, 0);
                    continue;
                }
                Err(wait) => return Some((count, wait)),
            };
            let source = &self.sources[place.source];
            let price = source.zones[place.zone].price;
            let affordable = self.budget.map_or(u32::MAX, |budget| budget.fits(price));
            if affordable == 0 && steady > 0 {
                // Likewise what can be paid for.
                self.steady.insert(index, 0);
                continue;
            }
            if affordable == 0 {
                // What is left is put aside for it, or those behind would spend every cent that comes free. But not for a
                // machine that no budget of this size can ever pay.
                let whole = self.config.fleet.budget_usd_per_hour.map(HourlyPrice::from_usd);
                if whole.is_some_and(|whole| whole >= price) {
                    self.budget = Some(HourlyPrice::ZERO);
                }
                return Some((count, Wait::Budget));
            }
            let there = match place.origin {
                Origin::Cold => u32::MAX,
                Origin::Standby => source.standby,
            };
            let there = there.min(source.room.0).min(if steady > 0 { steady } else { u32::MAX });
            let there = there.min(self.throttles.room(&source.shape, place.origin));
            let now = part.min(count).min(left).min(self.fleet_room).min(affordable).min(there);
            self.draft(index, &want.class, site.pool, place, now, reason);
            self.steady.insert(index, steady.saturating_sub(now));
            count -= now;
        }
        None
    }

    /// The best place for one more machine: shapes by preference; of each first its standby stock, then the zone that has
    /// the fewest of them and no hold, the cheaper one of equals, as long as there is the money for it. Where the cloud asked
    /// for fewer requests it is not asked elsewhere instead: that is no want of capacity, and lasts for seconds.
    fn place(&self, sources: &[usize]) -> Result<Place, Wait> {
        let mut held: OnHold = None;
        for source in sources.iter().copied() {
            let Source { shape, standby, standby_hold, room, zones } = &self.sources[source];
            if room.0 == 0 {
                held = held.into_iter().chain(room.1).min();
                continue;
            }
            if shape.market == Market::OnDemand && *standby > 0 && !zones.is_empty() {
                return match standby_hold.or(self.throttles.used_up(shape, Origin::Standby, self.now)) {
                    Some((until, kind)) => Err(Wait::Held { until, kind }),
                    None => Ok(Place { source, zone: 0, origin: Origin::Standby }),
                };
            }
            let throttled = self.sources[source].throttled();
            if let Some((until, kind)) = throttled.or(self.throttles.used_up(shape, Origin::Cold, self.now)) {
                return Err(Wait::Held { until, kind });
            }
            let free = zones.iter().enumerate().filter(|(_, there)| there.hold.is_none());
            let rank = |there: &InZone| match self.budget.is_none_or(|left| left >= there.price) {
                true => (false, there.lacks, there.load, there.price),
                // Money that is put aside is put aside for the cheapest.
                false => (true, there.lacks, 0, there.price),
            };
            if let Some((zone, _)) = free.min_by_key(|(_, there)| rank(there)) {
                return Ok(Place { source, zone, origin: Origin::Cold });
            }
            let first = zones.iter().filter_map(|there| there.hold).min();
            held = held.into_iter().chain(first).min();
        }
        Err(held.map_or(Wait::NoZones, |(until, kind)| Wait::Held { until, kind }))
    }

    fn draft(&mut self, index: usize, class: &Arc<Class>, pool: usize, place: Place, count: u32, reason: &Reason) {
        let source = &mut self.sources[place.source];
        let price = source.zones[place.zone].price;
        source.room.0 = source.room.0.saturating_sub(count);
        self.fleet_room -= count;
        self.pools[pool].left -= count;
        self.budget = self.budget.map(|budget| budget - price.times(count));
        match place.origin {
            Origin::Standby => source.standby -= count,
            Origin::Cold => source.zones[place.zone].load += count,
        }
        self.throttles.pass(&source.shape, place.origin, count);
        match self.open.get(&(index, place)) {
            Some(draft) if self.drafts[*draft].reason == *reason => self.drafts[*draft].count += count,
            Some(_) | None => {
                self.open.insert((index, place), self.drafts.len());
                self.drafts.push(Draft { class: class.clone(), place, count, reason: reason.clone() });
            }
        }
    }

    /// Turns the drafts into launches of at most [`LAUNCH_MAX`], named after ledger, generation and place in the plan.
    fn finish(self, plan: &mut Plan, wants: &[Wants], mut hot_room: u32) {
        let mut number = 0;
        for draft in self.drafts {
            let source = &self.sources[draft.place.source];
            let there = &source.zones[draft.place.zone];
            let mut left = draft.count;
            while left > 0 {
                let for_a_job = !matches!(draft.reason, Reason::IdleTarget { .. });
                // What is launched for a job registers as soon as it can; what is launched to wait, while it may be hot.
                let may_register = for_a_job || hot_room > 0;
                let most = if may_register && !for_a_job { hot_room.min(LAUNCH_MAX) } else { LAUNCH_MAX };
                let count = left.min(most);
                left -= count;
                if !for_a_job {
                    hot_room = hot_room.saturating_sub(count);
                }
                let id = LaunchId::new(format!("{}-{}-{number}", self.world.ledger(), self.world.generation()));
                number += 1;
                let purpose = Purpose {
                    pool: draft.class.pool.clone(),
                    class: draft.class.id.clone(),
                    shape: source.shape.id.clone(),
                    account: source.shape.account.clone(),
                    zone: there.zone.clone(),
                    market: source.shape.market,
                    origin: draft.place.origin,
                    price: there.price,
                };
                let reason: Arc<str> = draft.reason.to_string().into();
                let launch = Launch { id, purpose, count, may_register, intended_at: self.now, reason };
                plan.act(Action::Launch(launch), draft.reason.clone());
            }
        }
        for (index, (count, wait)) in self.waits {
            if let Wait::Held { until, .. } = wait {
                plan.wake(until);
            }
            plan.waits.push((wants[index].class.id.clone(), count, wait));
        }
    }
}
