//! The checker of plans: a second opinion that shares no code with the planner.
//!
//! Every step is judged against the world before the plan, with the launches of the earlier steps added. What is struck
//! out is not committed, and each is an alarm: the planner should never have said it.
//!
//! Invariant: a plan that passes ends no machine that has a job (but for `max_job_hours`, and if GitHub says that it is over), launches within every cap, and
//! removes no registration without the agent's key, or GitHub's word that nobody listens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::config::FleetConfig;
use crate::config::limits::JOB_HOURS_MAX;
use crate::ids::{InstanceId, PoolName};
use crate::job::JobPhase;
use crate::launch::{LAUNCH_MAX, Launch, Offering};
use crate::machine::{Machine, MachinePhase, Removal};
use crate::money::HourlyPrice;
use crate::plan::{Action, DRAIN_ANSWER_MAX, OVERSTAY_MAX, Plan, REMOVE_WITHIN};
use crate::ports::Switch;
use crate::time::Timestamp;
use crate::world::World;

/// What is wrong with a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The step's place in the plan.
    pub step: usize,
    /// The step, in words.
    pub action: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.problem)
    }
}

/// Judges a plan. Empty: nothing is wrong.
pub fn check(plan: &Plan, world: &World, config: &FleetConfig, now: Timestamp) -> Vec<Violation> {
    let mut judge = Judge::new(world, config, now);
    let mut violations = Vec::new();
    for (step, planned) in plan.steps.iter().enumerate() {
        if let Err(problem) = judge.judge(&planned.action) {
            violations.push(Violation { step, action: planned.action.to_string(), problem });
        }
    }
    violations
}

struct Judge<'a> {
    world: &'a World,
    config: &'a FleetConfig,
    now: Timestamp,
    machines: u32,
    price: HourlyPrice,
    pools: BTreeMap<PoolName, u32>,
    touched: BTreeSet<InstanceId>,
    launched: BTreeSet<String>,
}

type Verdict = Result<(), &'static str>;

fn must(holds: bool, problem: &'static str) -> Verdict {
    if holds { Ok(()) } else { Err(problem) }
}

impl<'a> Judge<'a> {
    fn new(world: &'a World, config: &'a FleetConfig, now: Timestamp) -> Judge<'a> {
        let totals = world.totals();
        Judge {
            world,
            config,
            now,
            machines: totals.machines,
            price: totals.price,
            pools: BTreeMap::new(),
            touched: BTreeSet::new(),
            launched: BTreeSet::new(),
        }
    }

    fn judge(&mut self, action: &Action) -> Verdict {
        must(self.world.switch() != Switch::Freeze, "the switch says freeze")?;
        match action {
            Action::Launch(launch) => self.launch(launch),
            Action::Drain { instance, number } => {
                let machine = self.machine(instance)?;
                must(matches!(machine.phase(), MachinePhase::Idle(_)), "only an idle runner is drained")?;
                must(*number == machine.next_drain_order(), "a drain's number must be the next one")
            }
            Action::Remove { instance, runner } => self.remove(instance, *runner),
            Action::Kill { instance, number } => {
                let machine = self.machine(instance)?;
                must(machine.job.is_none(), "GitHub has named a job for it")?;
                let drain = machine.open_drain().ok_or("there is no drain")?;
                must(drain.order == *number, "the order belongs to another drain")?;
                must(drain.removal == Some(Removal::Gone), "GitHub has not confirmed that the registration is gone")
            }
            Action::Thaw { instance, number } => {
                let drain = self.machine(instance)?.open_drain().ok_or("there is no drain")?;
                must(drain.order == *number, "the order belongs to another drain")
            }
            Action::CloseDrain { instance } => {
                let drain = self.machine(instance)?.open_drain();
                must(drain.is_some_and(|drain| drain.ordered_at < self.now), "there is no drain to give up")
            }
            Action::Terminate { instance } => self.terminate(instance),
            Action::Register { instance } => {
                let phase = self.machine(instance)?.phase();
                let waits = matches!(phase, MachinePhase::Ready(_) | MachinePhase::Between(_));
                must(waits, "only a machine without a registration registers")
            }
            Action::Stall { job, round } => {
                let job = self.world.job(*job).ok_or("the job is not in the ledger, or over")?;
                must(job.record.phase() == JobPhase::Queued, "only a queued job can be stalled")?;
                let next = job.record.stall.map_or(1, |stall| stall.rounds + 1);
                must(
                    *round == next || (job.record.is_unservable() && *round < next),
                    "a stall's round must be the next one",
                )
            }
            Action::Forget { instance } => {
                let phase = self.machine(instance)?.phase();
                must(matches!(phase, MachinePhase::Gone(_)), "only a machine that is gone is forgotten")
            }
            Action::SetStandby { shape, size } => {
                // What is kept otherwise than it should be is emptied and filled again.
                let less = self.world.stock_wanted(shape).is_some_and(|kept| *size < kept);
                let no_launch = *size == 0 || (less && *size <= self.world.stock(shape));
                must(no_launch || self.world.switch() == Switch::Run, "the switch forbids launches")?;
                must(*size == 0 || self.config.shape(shape).is_some(), "the shape is not in the configuration")
            }
        }
    }

    fn machine(&mut self, instance: &InstanceId) -> Result<&'a Machine, &'static str> {
        must(self.touched.insert(instance.clone()), "two steps of one plan for one machine")?;
        self.world.machine(instance).ok_or("the machine is not in the ledger")
    }

    fn launch(&mut self, launch: &Launch) -> Verdict {
        must(self.world.switch() == Switch::Run, "the switch forbids launches")?;
        must((1..=LAUNCH_MAX).contains(&launch.count), "a launch is for 1 to 100 machines")?;
        must(self.launched.insert(launch.id.to_string()), "two launches under one client token")?;
        must(self.world.launches().all(|known| known.id != launch.id), "the client token was used before")?;
        let purpose = &launch.purpose;
        let class = self.config.class(&purpose.class).ok_or("the class is not in the configuration")?;
        must(class.pool == purpose.pool, "the class belongs to another pool")?;
        let shape = class.shapes.iter().find(|shape| shape.id == purpose.shape).ok_or("not a shape of that class")?;
        must(shape.market == purpose.market, "not the market of that shape")?;
        must(self.world.price(shape, &purpose.zone) == purpose.price, "not the price of that shape")?;
        let whole = self.world.shape_hold(&purpose.shape, purpose.market);
        must(whole.is_none_or(|hold| hold.until <= self.now && launch.count == 1), "the shape's image is too old")?;
        must(self.world.hold(&Offering::of(purpose), self.now).is_none(), "the offering is on hold")?;

        self.machines += launch.count;
        self.price = self.price + purpose.price.times(launch.count);
        let in_pool =
            self.pools.entry(purpose.pool.clone()).or_insert_with(|| self.world.pool_totals(&purpose.pool).machines);
        *in_pool += launch.count;
        let fleet = &self.config.fleet;
        must(fleet.max_runners.is_none_or(|max| self.machines <= max), "above fleet.max_runners")?;
        let budget = fleet.budget_usd_per_hour.map(HourlyPrice::from_usd);
        must(budget.is_none_or(|budget| self.price <= budget), "above fleet.budget_usd_per_hour")?;
        let pool_max = self.config.pool(&purpose.pool).and_then(|pool| pool.max_runners);
        must(pool_max.is_none_or(|max| *in_pool <= max), "above the pool's max_runners")
    }

    fn remove(&mut self, instance: &InstanceId, runner: crate::ids::RunnerId) -> Verdict {
        let machine = self.machine(instance)?;
        let (_, registration) = machine.told.registered.as_ref().ok_or("it has no registration")?;
        must(registration.id == runner, "the registration is another one")?;
        must(machine.job.is_none(), "GitHub has named a job for it")?;
        match machine.phase() {
            MachinePhase::Frozen(since) => {
                must(machine.open_drain().is_some_and(|drain| drain.removal.is_none()), "GitHub was asked before")?;
                must(self.now.since(since) <= REMOVE_WITHIN, "its agent has thawed it by now")
            }
            MachinePhase::Registering(_) => Ok(()),
            MachinePhase::Draining(since) if machine.told.unseen_at.is_some() => {
                must(machine.open_drain().is_some_and(|drain| drain.removal.is_none()), "GitHub was asked before")?;
                must(self.now.since(since) > DRAIN_ANSWER_MAX, "its agent has time to answer")
            }
            MachinePhase::Booting(_)
            | MachinePhase::Ready(_)
            | MachinePhase::Idle(_)
            | MachinePhase::Busy(_)
            | MachinePhase::Draining(_)
            | MachinePhase::Between(_)
            | MachinePhase::Ended(_)
            | MachinePhase::Ending(_)
            | MachinePhase::Gone(_) => Err("the agent has not given its key"),
        }
    }

    fn terminate(&mut self, instance: &InstanceId) -> Verdict {
        let machine = self.machine(instance)?;
        let removed = machine.drain.as_ref().filter(|drain| drain.removal == Some(Removal::Gone));
        let over = |since: Timestamp| {
            let class = self.config.class(&machine.purpose.class);
            let hours = class.map_or(JOB_HOURS_MAX, |class| class.max_job_hours);
            self.now.since(since) > Duration::from_secs(u64::from(hours) * 3600)
        };
        match machine.phase() {
            MachinePhase::Booting(_)
            | MachinePhase::Ready(_)
            | MachinePhase::Between(_)
            | MachinePhase::Ended(_)
            | MachinePhase::Ending(_) => Ok(()),
            MachinePhase::Registering(since) => must(removed.is_some() || over(since), "it holds a registration"),
            MachinePhase::Busy(since) => {
                let overstays = machine.job_over_at.is_some_and(|at| self.now.since(at) > OVERSTAY_MAX);
                must(over(since) || overstays, "it has a job")
            }
            MachinePhase::Idle(_) => Err("it may be getting a job: an idle runner is drained first"),
            MachinePhase::Draining(_) | MachinePhase::Frozen(_) => {
                must(machine.job.is_none(), "GitHub has named a job for it")?;
                let drain = removed.ok_or("it may be getting a job: GitHub has not removed its registration")?;
                must(self.now.since(drain.ordered_at) > DRAIN_ANSWER_MAX, "its agent has time to answer")
            }
            MachinePhase::Gone(_) => Err("it is gone"),
        }
    }
}
