//! The world: everything a tick knows, arranged for the planner.
//!
//! What lives here: live jobs, machines, unsettled launches, holds, stock, and per class the counts and queues that
//! follow from them. What may not: decisions.
//!
//! Invariant: every index here can be recomputed from jobs, machines and launches alone, and a property test does. They
//! are kept up with each change because a plan must cost what has changed and not what exists.

mod class;
mod index;
mod intend;
mod merge;
mod release;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use class::count;
pub use class::{ClassWorld, Since};
pub use index::UNMATCHED_MAX;
use intend::THROTTLE_REMEMBERED;
pub use intend::{Effect, HOLD_CONFIGURATION_MAX, HOLD_FIRST, HOLD_MAX, HOLD_THROTTLED};
pub use merge::{Merged, News};
pub use release::PROBE_EVERY;

use crate::config::{Class, FleetConfig, Market, Resolution, Shape};
use crate::hot::HotRoom;
use crate::ids::{ClassId, Generation, InstanceId, JobKey, LaunchId, PoolName, RunnerName, ShapeId, Zone};
use crate::job::JobRecord;
use crate::launch::{Hold, Launch, LaunchErrorKind, Offering};
use crate::machine::Machine;
use crate::money::HourlyPrice;
use crate::ports::{Snapshot, SpotPrice, Stock, Switch};
use crate::time::Timestamp;

/// A job that is not over, and who serves it.
#[derive(Clone, Debug)]
pub struct LiveJob {
    /// What was told of it.
    pub record: JobRecord,
    /// Its class, or why it has none.
    pub served: Resolution,
}

/// What is launched and not terminated, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Machines, those of unsettled launches included.
    pub machines: u32,
    /// The sum of their hourly prices.
    pub price: HourlyPrice,
}

/// Everything a tick knows.
#[derive(Clone, Debug, Default)]
pub struct World {
    ledger: Arc<str>,
    generation: Generation,
    switch: Switch,
    zones: Vec<Zone>,
    hot_room: Option<HotRoom>,
    jobs: BTreeMap<JobKey, LiveJob>,
    machines: BTreeMap<InstanceId, Machine>,
    launches: BTreeMap<LaunchId, Launch>,
    holds: BTreeMap<Offering, Hold>,
    stock: BTreeMap<ShapeId, u32>,
    stock_wanted: BTreeMap<ShapeId, u32>,
    spot_prices: BTreeMap<ShapeId, BTreeMap<Zone, HourlyPrice>>,
    classes: BTreeMap<ClassId, ClassWorld>,
    pools: BTreeMap<PoolName, Totals>,
    zone_load: BTreeMap<(ShapeId, Zone), u32>,
    /// Running jobs by repository.
    running: BTreeMap<Arc<str>, u32>,
    /// Runners that live jobs name.
    runners: BTreeSet<(RunnerName, JobKey)>,
    totals: Totals,
    /// Words of runners that are older are not believed any more.
    believed_from: Timestamp,
    watched_from: Timestamp,
    unservable: BTreeSet<(Timestamp, JobKey)>,
    frozen: BTreeSet<Since>,
    ended: BTreeSet<Since>,
    ending: BTreeSet<Since>,
    gone: BTreeSet<Since>,
}

impl World {
    /// A world from what the ledger holds, seen with this configuration.
    pub fn from_snapshot(snapshot: Snapshot, config: &FleetConfig) -> World {
        let mut world = World {
            ledger: snapshot.ledger.into(),
            generation: snapshot.generation,
            switch: snapshot.switch,
            ..World::default()
        };
        for launch in snapshot.launches {
            world.put_launch(launch);
        }
        for machine in snapshot.machines {
            world.put_machine(machine);
        }
        for hold in snapshot.holds {
            world.holds.insert(hold.offering.clone(), hold);
        }
        for record in snapshot.jobs {
            world.put_job(record, config);
        }
        world
    }

    /// The word that names the ledger.
    pub fn ledger(&self) -> &str {
        &self.ledger
    }

    /// The generation that the next write must name.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes in the generation that a write has made.
    pub fn set_generation(&mut self, generation: Generation) {
        self.generation = generation;
    }

    /// The admin's switch.
    pub fn switch(&self) -> Switch {
        self.switch
    }

    /// Takes in the admin's switch.
    pub fn set_switch(&mut self, switch: Switch) {
        self.switch = switch;
    }

    /// Zones to launch in, in order of preference.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// Takes in the zones that the cloud has told.
    pub fn set_zones(&mut self, zones: Vec<Zone>) {
        self.zones = zones;
    }

    /// How many machines of a shape stand by.
    pub fn stock(&self, shape: &ShapeId) -> u32 {
        self.stock.get(shape).copied().unwrap_or(0)
    }

    /// All standby stock, by shape.
    pub fn stocks(&self) -> impl Iterator<Item = (&ShapeId, u32)> {
        self.stock.iter().map(|(shape, count)| (shape, *count))
    }

    /// Takes in the standby stocks that the cloud has told: what they are, and what size they are kept at.
    pub fn set_stock(&mut self, stocks: Vec<Stock>) {
        let sizes = stocks.iter().filter_map(|stock| Some((stock.shape.clone(), stock.size?)));
        self.stock_wanted = sizes.collect();
        self.stock = stocks.into_iter().map(|stock| (stock.shape, stock.ready)).collect();
    }

    /// The size that a shape's standby stock is kept at, or was last asked to be. `None`: it is not kept as it should be.
    pub fn stock_wanted(&self, shape: &ShapeId) -> Option<u32> {
        self.stock_wanted.get(shape).copied()
    }

    /// Notes the size asked for of a shape's standby stock. What came of it is told with the next look.
    pub fn set_stock_wanted(&mut self, shape: ShapeId, size: u32) {
        self.stock_wanted.insert(shape, size);
    }

    /// What a machine of this shape costs in this zone: on the spot market what the cloud has told, or else the
    /// configuration's price. Unknown is nothing.
    pub fn price(&self, shape: &Shape, zone: &Zone) -> HourlyPrice {
        let told = self.spot_price(shape, zone);
        told.unwrap_or_else(|| HourlyPrice::from_usd(shape.usd_per_hour.unwrap_or(0.0)))
    }

    /// What the cloud has told of it.
    pub fn spot_price(&self, shape: &Shape, zone: &Zone) -> Option<HourlyPrice> {
        let told = self.spot_prices.get(&shape.id).filter(|_| shape.market == Market::Spot)?;
        told.get(zone).copied()
    }

    /// Whether the cloud has told prices of this shape.
    pub fn has_spot_prices(&self, shape: &Shape) -> bool {
        shape.market == Market::Spot && self.spot_prices.contains_key(&shape.id)
    }

    /// Takes in what spot machines cost now. Machines that are launched keep the price of their launch.
    pub fn set_spot_prices(&mut self, prices: Vec<SpotPrice>) {
        self.spot_prices.clear();
        for SpotPrice { shape, zone, price } in prices {
            self.spot_prices.entry(shape).or_default().insert(zone, price);
        }
    }

    /// How many runners may be made hot now for an idle target, in the whole fleet. `None`: there is no limit.
    pub fn hot_room(&self) -> Option<HotRoom> {
        self.hot_room
    }

    /// Takes in that limit.
    pub fn set_hot_room(&mut self, room: Option<HotRoom>) {
        self.hot_room = room;
    }

    /// A live job.
    pub fn job(&self, key: JobKey) -> Option<&LiveJob> {
        self.jobs.get(&key)
    }

    /// All jobs that are not over.
    pub fn jobs(&self) -> impl Iterator<Item = &LiveJob> {
        self.jobs.values()
    }

    /// A machine that is not forgotten.
    pub fn machine(&self, instance: &InstanceId) -> Option<&Machine> {
        self.machines.get(instance)
    }

    /// All machines that are not forgotten.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// Launches without an outcome.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.launches.values()
    }

    /// A class's part of the world; `None` if nothing of it exists.
    pub fn class(&self, id: &ClassId) -> Option<&ClassWorld> {
        self.classes.get(id)
    }

    /// Every class that has or had something.
    pub fn classes(&self) -> impl Iterator<Item = (&ClassId, &ClassWorld)> {
        self.classes.iter()
    }

    /// How many jobs of a repository run on this fleet's classes.
    pub fn running_of(&self, repository: &str) -> u32 {
        self.running.get(repository).copied().unwrap_or(0)
    }

    /// What is launched and not terminated.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The same of one pool.
    pub fn pool_totals(&self, pool: &PoolName) -> Totals {
        self.pools.get(pool).copied().unwrap_or_default()
    }

    /// How many machines of a shape there are in a zone, launches included.
    pub fn zone_load(&self, shape: &ShapeId, zone: &Zone) -> u32 {
        self.zone_load.get(&(shape.clone(), zone.clone())).copied().unwrap_or(0)
    }

    /// The hold on an offering that still stands at `now`.
    pub fn hold(&self, offering: &Offering, now: Timestamp) -> Option<&Hold> {
        self.holds.get(offering).filter(|hold| hold.until > now)
    }

    /// The last hold on an offering, standing or over.
    pub fn last_hold(&self, offering: &Offering) -> Option<&Hold> {
        self.holds.get(offering)
    }

    /// Where the cloud has asked for fewer requests, and its budget may not be full again.
    pub fn throttled_lately(&self, now: Timestamp) -> impl Iterator<Item = &Offering> {
        let throttled = self.holds.values().filter(|hold| hold.kind == LaunchErrorKind::Throttled);
        throttled.filter(move |hold| now.since(hold.until) <= THROTTLE_REMEMBERED).map(|hold| &hold.offering)
    }

    /// Takes in a hold.
    pub fn put_hold(&mut self, hold: Hold) {
        self.holds.insert(hold.offering.clone(), hold);
    }

    /// Forgets the hold on an offering that has just delivered. `true` if there was one.
    pub fn drop_hold(&mut self, offering: &Offering) -> bool {
        self.holds.remove(offering).is_some()
    }

    /// Since when the agents could be heard. Before it the door may have been shut: silence then says nothing.
    pub fn watched_from(&self) -> Timestamp {
        self.watched_from
    }

    /// Takes in since when the agents can be heard.
    pub fn set_watched_from(&mut self, at: Timestamp) {
        self.watched_from = at;
    }

    /// Jobs of ours that are unservable for now, by when they became so.
    pub fn unservable(&self) -> impl Iterator<Item = (Timestamp, JobKey)> {
        self.unservable.iter().copied()
    }

    /// Frozen machines, by when they froze.
    pub fn frozen(&self) -> impl Iterator<Item = &Machine> {
        self.frozen.iter().filter_map(|(_, id)| self.machines.get(id))
    }

    /// Machines whose runner is over, by when it ended.
    pub fn ended(&self) -> impl Iterator<Item = &Machine> {
        self.ended.iter().filter_map(|(_, id)| self.machines.get(id))
    }

    /// Machines whose end was committed, by when.
    pub fn ending(&self) -> impl Iterator<Item = &Machine> {
        self.ending.iter().filter_map(|(_, id)| self.machines.get(id))
    }

    /// Machines that are gone and not forgotten, by when they went.
    pub fn gone(&self) -> impl Iterator<Item = &Machine> {
        self.gone.iter().filter_map(|(_, id)| self.machines.get(id))
    }

    /// The class that serves a job as told by `record`.
    pub fn resolve(record: &JobRecord, config: &FleetConfig) -> Resolution {
        config.resolve(&record.about.labels, &record.about.repository, record.about.public)
    }

    fn class_mut(&mut self, id: &ClassId) -> &mut ClassWorld {
        self.classes.entry(id.clone()).or_default()
    }
}

impl LiveJob {
    /// The class, if one serves it.
    pub fn class(&self) -> Option<&Arc<Class>> {
        self.served.class()
    }

    /// Where it stands among the jobs of its class: by demand, then by id.
    pub fn place_in_queue(&self) -> (Timestamp, JobKey) {
        (self.record.demanded_at().unwrap_or(self.record.first_heard), self.record.key)
    }
}
