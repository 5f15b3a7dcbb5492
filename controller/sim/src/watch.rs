//! The watch: it knows the rules and sees every act. It shares no code with any planner.
//!
//! What lives here: the rules and their violations. What may not: a correction of any act.
//!
//! Invariant: a rule is checked against the simulated truth and against what was committed, never against what the scaler
//! believes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use muster_core::ids::{LaunchId, PoolName};
use muster_core::launch::Launch;
use muster_core::money::HourlyPrice;
use muster_core::time::Timestamp;

use crate::classes::ClassNo;
use crate::cloud::TOKEN_AGE_MAX;
use crate::rule::Rule;

/// So many violations are kept as text; the rest is counted.
pub const VIOLATIONS_MAX: usize = 1_000;
/// A surplus that follows from jobs which left the queue unserved is forgiven for so long at least: the scaler hears of
/// them late.
const NEWS_AGE_MAX: Duration = Duration::from_secs(120);
/// There must have been room, and no machine on its way, for so long before a waiting job is called starved.
const STARVED_FOR: Duration = Duration::from_secs(60);

/// The bounds that the fleet must keep. They are the configuration's, told by the driver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Instances launched and not terminated, booting included, standby excluded.
    pub max_runners: Option<u32>,
    /// The sum of the hourly prices of the same instances.
    pub budget: Option<HourlyPrice>,
    /// The same as `max_runners`, by pool.
    pub pools: BTreeMap<PoolName, u32>,
    /// How many machines of a class may be booting or idle beyond demand and target. `None`: not checked; neither is a
    /// class whose target was never told.
    pub surplus: Option<u32>,
    /// A job that waits for so long is looked at. `None`: not checked.
    pub starved_after: Option<Duration>,
}

struct Intent {
    count: u32,
    launched: u32,
}

#[derive(Default)]
struct Level {
    live: u32,
    /// When it was last at its maximum.
    full_at: Option<Timestamp>,
}

#[derive(Default)]
struct ClassWatch {
    queued: u32,
    spare: u32,
    /// Idle machines that the scaler is told to keep, if this class was told of by itself.
    target: Option<u32>,
    /// When there was last a spare machine.
    spare_at: Option<Timestamp>,
    /// Jobs that left the queue without a machine of this class, lately and before.
    unserved: VecDeque<Timestamp>,
    forgiven: u32,
}

/// Sees every act, and keeps what breaks a rule.
#[derive(Default)]
pub struct Watch {
    limits: Limits,
    intents: HashMap<LaunchId, Intent>,
    intents_by_age: VecDeque<(Timestamp, LaunchId)>,
    fleet: Level,
    pools: BTreeMap<PoolName, Level>,
    cost: HourlyPrice,
    dearest: HourlyPrice,
    budget_full_at: Option<Timestamp>,
    classes: Vec<ClassWatch>,
    /// Idle machines to keep in classes that were not told of by themselves.
    target: Option<u32>,
    kept: Vec<String>,
    counts: BTreeMap<Rule, u64>,
}

impl Watch {
    pub(crate) fn new(limits: Limits) -> Watch {
        Watch { limits, ..Watch::default() }
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Violations, the first [`VIOLATIONS_MAX`] as text. If there were more, the last line says how many.
    pub fn violations(&self) -> Vec<String> {
        let mut lines = self.kept.clone();
        let total: u64 = self.counts.values().sum();
        let more = total.saturating_sub(self.kept.len() as u64);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines
    }

    /// How often each rule was broken.
    pub fn counts(&self) -> &BTreeMap<Rule, u64> {
        &self.counts
    }

    pub(crate) fn broken(&mut self, rule: Rule, now: Timestamp, detail: impl fmt::Display) {
        *self.counts.entry(rule).or_default() += 1;
        if self.kept.len() < VIOLATIONS_MAX {
            self.kept.push(format!("{now} {}: {detail}", rule.as_word()));
        }
    }

    /// An intent was committed.
    pub(crate) fn committed(&mut self, launch: &Launch, now: Timestamp) {
        while let Some((_, old)) = self.intents_by_age.pop_front_if(|(at, _)| now.since(*at) > TOKEN_AGE_MAX) {
            self.intents.remove(&old);
        }
        if !self.intents.contains_key(&launch.id) {
            self.intents.insert(launch.id.clone(), Intent { count: launch.count, launched: 0 });
            self.intents_by_age.push_back((now, launch.id.clone()));
        }
    }

    /// Machines were started for a launch.
    pub(crate) fn launched(&mut self, launch: &Launch, class: ClassNo, count: u32, now: Timestamp) {
        match self.intents.get_mut(&launch.id) {
            None => self.broken(Rule::Uncommitted, now, format_args!("launch {} of {count}", launch.id)),
            Some(intent) => {
                intent.launched += count;
                let (launched, meant) = (intent.launched, intent.count);
                if launched > meant {
                    let detail = format_args!("launch {}: {launched} machines, {meant} committed", launch.id);
                    self.broken(Rule::DoubleLaunch, now, detail);
                }
            }
        }
        let purpose = &launch.purpose;
        self.dearest = self.dearest.max(purpose.price);
        self.cost = self.cost + purpose.price.times(count);
        self.fleet.live += count;
        self.pools.entry(purpose.pool.clone()).or_default().live += count;
        self.note_full(&purpose.pool, now);
        let (live, cost) = (self.fleet.live, self.cost);
        if let Some(max) = self.limits.max_runners.filter(|max| live > *max) {
            self.broken(Rule::FleetMax, now, format_args!("{live} machines, {max} allowed (launch {})", launch.id));
        }
        if let Some(budget) = self.limits.budget.filter(|budget| cost > *budget) {
            let (cost, budget) = (cost.usd(), budget.usd());
            self.broken(Rule::Budget, now, format_args!("{cost} USD/h, {budget} allowed (launch {})", launch.id));
        }
        let live = self.pools.get(&purpose.pool).map_or(0, |level| level.live);
        if let Some(max) = self.limits.pools.get(&purpose.pool).copied().filter(|max| live > *max) {
            let pool = &purpose.pool;
            self.broken(Rule::PoolMax, now, format_args!("pool {pool}: {live} machines, {max} allowed"));
        }
        self.check_surplus(class, count, now, launch);
    }

    /// A machine is gone.
    pub(crate) fn ended(&mut self, pool: &PoolName, price: HourlyPrice, now: Timestamp) {
        self.note_full(pool, now);
        self.cost = self.cost - price;
        self.fleet.live = self.fleet.live.saturating_sub(1);
        if let Some(level) = self.pools.get_mut(pool) {
            level.live = level.live.saturating_sub(1);
        }
    }

    /// Notes which maxima are reached, before a machine ends and after it starts.
    fn note_full(&mut self, pool: &PoolName, now: Timestamp) {
        if self.limits.max_runners.is_some_and(|max| self.fleet.live >= max) {
            self.fleet.full_at = Some(now);
        }
        if self.limits.budget.is_some_and(|budget| self.cost + self.dearest > budget) {
            self.budget_full_at = Some(now);
        }
        if let (Some(max), Some(level)) = (self.limits.pools.get(pool), self.pools.get_mut(pool))
            && level.live >= *max
        {
            level.full_at = Some(now);
        }
    }

    fn class(&mut self, class: ClassNo) -> &mut ClassWatch {
        if self.classes.len() <= class.0 {
            self.classes.resize_with(class.0 + 1, ClassWatch::default);
        }
        &mut self.classes[class.0]
    }

    pub(crate) fn queued(&mut self, class: ClassNo) {
        self.class(class).queued += 1;
    }

    /// A job left the queue. `served`: a machine of its own class took it.
    pub(crate) fn unqueued(&mut self, class: ClassNo, served: bool, now: Timestamp) {
        let (checked, told) = (self.limits.surplus.is_some(), self.target);
        let class = self.class(class);
        let checked = checked && class.target.or(told).is_some();
        class.queued = class.queued.saturating_sub(1);
        if !served && checked {
            class.unserved.push_back(now);
        }
    }

    /// A machine became, or is no longer, booting or idle.
    pub(crate) fn spare(&mut self, class: ClassNo, spare: bool, now: Timestamp) {
        let class = self.class(class);
        class.spare_at = Some(now);
        class.spare = if spare { class.spare + 1 } else { class.spare.saturating_sub(1) };
    }

    pub(crate) fn set_target_of_all(&mut self, target: u32) {
        self.target = Some(target);
    }

    pub(crate) fn set_target(&mut self, class: ClassNo, target: u32) {
        self.class(class).target = Some(target);
    }

    /// Checks a class right after `count` of its machines were started; they are counted as spare already.
    fn check_surplus(&mut self, number: ClassNo, count: u32, now: Timestamp, launch: &Launch) {
        let Some(slack) = self.limits.surplus else { return };
        let told = self.target;
        let class = self.class(number);
        let Some(target) = class.target.or(told) else { return };
        while class.unserved.pop_front_if(|at| now.since(*at) > NEWS_AGE_MAX).is_some() {
            class.forgiven += 1;
        }
        let explained = class.queued.saturating_add(target);
        let before = class.spare.saturating_sub(count);
        class.forgiven = class.forgiven.min(before.saturating_sub(explained));
        let news = u32::try_from(class.unserved.len()).unwrap_or(u32::MAX);
        let allowed = explained.saturating_add(class.forgiven).saturating_add(news).saturating_add(slack);
        if class.spare > allowed {
            let (spare, queued) = (class.spare, class.queued);
            let id = &launch.purpose.class;
            self.broken(
                Rule::Surplus,
                now,
                format_args!("{id}: {spare} booting or idle, {queued} queued, target {target} (launch {})", launch.id),
            );
        }
    }

    /// Whether a job of this class that waits is starved: for a while nothing of its class was booting or idle although
    /// no maximum stood in the way.
    pub(crate) fn is_starved(&mut self, class: ClassNo, pool: &PoolName, price: HourlyPrice, now: Timestamp) -> bool {
        self.dearest = self.dearest.max(price);
        let recently = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) < STARVED_FOR);
        let full_now = self.limits.max_runners.is_some_and(|max| self.fleet.live >= max)
            || self.limits.budget.is_some_and(|budget| self.cost + self.dearest > budget);
        let level = self.pools.get(pool);
        let pool_max = self.limits.pools.get(pool);
        let pool_full = pool_max.is_some_and(|max| level.is_some_and(|level| level.live >= *max) || *max == 0);
        let blocked = full_now
            || pool_full
            || recently(self.fleet.full_at)
            || recently(self.budget_full_at)
            || level.is_some_and(|level| recently(level.full_at));
        let class = self.class(class);
        !blocked && class.spare == 0 && !recently(class.spare_at)
    }
}
