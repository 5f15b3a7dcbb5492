//! Surplus: idle machines that nobody needs are drained, and standby stock follows its bounds.
//!
//! Invariant: as many idle machines as there are untaken jobs are left alone: one of them is about to get each job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::demand::Wants;
use super::launches::Unmet;
use super::reason::Reason;
use super::{Action, Plan, Policy};
use crate::config::{BoundsAt, FleetConfig, Standby};
use crate::ids::{ClassId, InstanceId, PoolName, ShapeId};
use crate::launch::Launch;
use crate::machine::{Machine, Origin};
use crate::money::HourlyPrice;
use crate::ports::Switch;
use crate::time::Timestamp;
use crate::world::{World, count};

/// How long an idle machine between the bounds' `min` and `max` is kept: EC2 bills at least 60 s of every start.
pub const IDLE_LINGER: Duration = Duration::from_secs(60);

/// What earlier parts of the plan have done to machines that nobody needs.
pub(super) struct Done {
    /// Ready machines ended, for each of the wants.
    pub(super) ended: Vec<u32>,
    /// Idle runners that are drained because jobs are stalled beside them.
    pub(super) replaced: BTreeSet<InstanceId>,
}

/// Drains what is too much beyond what is done already, and at a cap also what is idle elsewhere: queued demand outranks every idle target.
pub(super) fn drain(
    plan: &mut Plan,
    world: &World,
    wants: &[Wants],
    done: &Done,
    (policy, config): (Policy, &FleetConfig),
    unmet: Vec<Unmet>,
    now: Timestamp,
) {
    let mut room = RoomWanted::new(world, unmet);
    let mut excess = Excess::of(world, config);
    // Lowest priority first gives way.
    for (want, ended) in wants.iter().zip(&done.ended).rev() {
        let Some(state) = world.class(&want.class.id) else {
            continue;
        };
        let idle = count(state.idle.len());
        let untaken = want.need().min(idle);
        let free = idle - untaken;
        let beyond = want.supply.saturating_sub(want.need() + want.target + ended).min(free);
        let keep_for_a_while = match policy {
            Policy::Cold | Policy::Fixed(_) => 0,
            Policy::Target => want.idle_max.saturating_sub(want.target),
        };
        let mut drained = 0;
        for (place, (since, instance)) in (0u32..).zip(&state.idle) {
            if place >= free {
                break;
            }
            let Some(machine) = world.machine(instance).filter(|_| !done.replaced.contains(instance)) else {
                continue;
            };
            let reason = if drained < beyond {
                let lingers = beyond - drained <= keep_for_a_while && now.since(*since) < IDLE_LINGER;
                if lingers && room.waiting(&want.class.pool).is_none() && !excess.includes(machine) {
                    plan.wake_after(*since, IDLE_LINGER);
                    break; // They come by age: the rest is younger.
                }
                Reason::Surplus { idle, wanted: idle - beyond }
            } else if let Some(waiting) = room.waiting(&want.class.pool) {
                Reason::MakesRoom { waiting: waiting.clone() }
            } else if excess.includes(machine) {
                Reason::OverCap
            } else {
                break;
            };
            room.made_in(&want.class.pool);
            excess.goes(machine);
            drained += 1;
            plan.act(Action::Drain { instance: instance.clone(), number: machine.next_drain_order() }, reason);
        }
    }
}

/// Room that jobs at a cap still wait for.
struct RoomWanted(Vec<Unmet>);

impl RoomWanted {
    /// What is wanted beyond the room that machines on their way out will make.
    fn new(world: &World, unmet: Vec<Unmet>) -> RoomWanted {
        let mut room = RoomWanted(unmet);
        if !room.0.is_empty() {
            leaving(world).for_each(|machine| room.made_in(&machine.purpose.pool));
        }
        room
    }

    fn first(&mut self, pool: &PoolName) -> Option<&mut Unmet> {
        let helps = |unmet: &&mut Unmet| unmet.count > 0 && unmet.pool.as_ref().is_none_or(|capped| capped == pool);
        self.0.iter_mut().find(helps)
    }

    /// The class whose jobs would have the room of a machine of this pool.
    fn waiting(&mut self, pool: &PoolName) -> Option<&ClassId> {
        self.first(pool).map(|unmet| &unmet.class)
    }

    /// A machine of this pool goes.
    fn made_in(&mut self, pool: &PoolName) {
        if let Some(unmet) = self.first(pool) {
            unmet.count -= 1;
        }
    }
}

/// What is above the caps: a configuration in flight may have lowered them. Machines with a job end with their jobs; idle
/// ones give way at once.
struct Excess {
    machines: u32,
    price: HourlyPrice,
    pools: BTreeMap<PoolName, u32>,
}

impl Excess {
    /// What is beyond the caps, and not on its way out already.
    fn of(world: &World, config: &FleetConfig) -> Excess {
        let (fleet, totals) = (&config.fleet, world.totals());
        let budget = fleet.budget_usd_per_hour.map(HourlyPrice::from_usd);
        let above = |max: Option<u32>, machines: u32| max.map_or(0, |max| machines.saturating_sub(max));
        let pools = config.pools().iter().map(|pool| {
            let machines = world.pool_totals(&pool.name).machines;
            (pool.name.clone(), above(pool.max_runners, machines))
        });
        let mut excess = Excess {
            machines: above(fleet.max_runners, totals.machines),
            price: budget.map_or(HourlyPrice::ZERO, |budget| totals.price - budget),
            pools: pools.filter(|(_, above)| *above > 0).collect(),
        };
        if !excess.is_none() {
            leaving(world).for_each(|machine| excess.goes(machine));
        }
        excess
    }

    fn is_none(&self) -> bool {
        self.machines == 0 && self.price == HourlyPrice::ZERO && self.pools.is_empty()
    }

    fn includes(&self, machine: &Machine) -> bool {
        let in_pool = self.pools.get(&machine.purpose.pool).is_some_and(|above| *above > 0);
        let dear = self.price > HourlyPrice::ZERO && machine.purpose.price > HourlyPrice::ZERO;
        self.machines > 0 || dear || in_pool
    }

    fn goes(&mut self, machine: &Machine) {
        self.machines = self.machines.saturating_sub(1);
        self.price = self.price - machine.purpose.price;
        if let Some(above) = self.pools.get_mut(&machine.purpose.pool) {
            *above = above.saturating_sub(1);
        }
    }
}

/// Machines on their way out.
fn leaving(world: &World) -> impl Iterator<Item = &Machine> {
    let by_class = world.classes().flat_map(|(_, state)| state.draining.iter().chain(&state.doomed));
    let by_class = by_class.filter_map(|(_, instance)| world.machine(instance));
    by_class.chain(world.frozen()).chain(world.ended()).chain(world.ending())
}

/// Sends home the machines of classes that the configuration no longer has. Busy ones end with their jobs.
pub(super) fn retire(plan: &mut Plan, world: &World, config: &FleetConfig) {
    for (_, state) in world.classes().filter(|(id, _)| config.class(id).is_none()) {
        for machine in state.idle.iter().filter_map(|(_, instance)| world.machine(instance)) {
            let (instance, number) = (machine.instance.clone(), machine.next_drain_order());
            plan.act(Action::Drain { instance, number }, Reason::ClassRemoved);
        }
        for (_, instance) in state.ready.iter().chain(&state.between) {
            plan.act(Action::Terminate { instance: instance.clone() }, Reason::ClassRemoved);
        }
    }
}

/// The stock that a launch draws from.
fn drawn_from(launch: &Launch) -> Option<ShapeId> {
    (launch.purpose.origin == Origin::Standby).then(|| launch.purpose.shape.clone())
}

/// Brings standby stock to the lower bound that holds now; what no bound names any more goes.
pub(super) fn stock(plan: &mut Plan, world: &World, bounds: &BoundsAt) {
    let kept = bounds.standby_shapes().map(|(shape, standby)| (shape, standby.bounds.min));
    let left_over = world.stocks().filter(|(shape, _)| bounds.standby(shape) == Standby::NONE);
    let launches = world.switch() == Switch::Run;
    let planned = plan
        .steps
        .iter()
        .filter_map(|step| if let Action::Launch(launch) = &step.action { Some(launch) } else { None });
    let drawn: BTreeSet<ShapeId> = planned.chain(world.launches()).filter_map(drawn_from).collect();
    for (shape, size) in kept.chain(left_over.map(|(shape, _)| (shape, 0))) {
        let kept = world.stock_wanted(shape);
        if kept.is_none() && drawn.contains(shape) {
            // It may have to be made anew: not while machines are on their way out of it.
            continue;
        }
        // A larger stock is a launch, and so is a new one in the place of the old.
        let is_less = size == 0 || (size <= world.stock(shape) && kept.is_some_and(|kept| size < kept));
        if kept != Some(size) && (launches || is_less) {
            plan.act(Action::SetStandby { shape: shape.clone(), size }, Reason::StandbyBounds);
        }
    }
}
