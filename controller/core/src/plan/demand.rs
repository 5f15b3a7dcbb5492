//! What each class wants: machines for its queued jobs, and idle ones beside them.
//!
//! `wanted = queued - unmatched busy + idle target - machines here or on their way`.

use std::sync::Arc;

use super::{Plan, Policy};
use crate::config::{BoundsAt, Class, FleetConfig};
use crate::time::Timestamp;
use crate::world::{ClassWorld, UNMATCHED_MAX, World, count};

/// What one class wants.
#[derive(Clone, Debug)]
pub struct Wants {
    /// The class.
    pub class: Arc<Class>,
    /// Jobs queued.
    pub queued: u32,
    /// Of these taken by a runner already, as the agents tell.
    pub taken: u32,
    /// Machines here or on their way.
    pub supply: u32,
    /// Idle machines to keep beside those for jobs.
    pub target: u32,
    /// Idle machines at most; more are sent home at once.
    pub idle_max: u32,
}

impl Wants {
    /// Jobs that no runner has taken.
    pub fn need(&self) -> u32 {
        self.queued.saturating_sub(self.taken)
    }

    /// Machines short for queued jobs.
    pub fn short(&self) -> u32 {
        self.need().saturating_sub(self.supply)
    }

    /// Machines short for the idle target, those for jobs not counted.
    pub fn short_of_target(&self) -> u32 {
        (self.need() + self.target).saturating_sub(self.supply.max(self.need()))
    }

    /// Machines beyond jobs.
    pub fn spare(&self) -> u32 {
        self.supply.saturating_sub(self.need())
    }
}

/// What every class wants that has something in the world or a target. In order of priority, then of the configuration;
/// classes of raw instance types, which exist once a job names one, come after the configured ones.
pub(super) fn wants(world: &World, config: &FleetConfig, policy: Policy, bounds: &BoundsAt) -> Vec<Wants> {
    let nothing = ClassWorld::default();
    let mut all: Vec<Wants> = Vec::new();
    let mut add = |class: &Arc<Class>, seen: Option<&ClassWorld>| {
        let state = seen.unwrap_or(&nothing);
        let (target, idle_max) = match policy {
            Policy::Cold => (0, 0),
            Policy::Fixed(idle) => (if seen.is_some() { idle } else { 0 }, idle),
            Policy::Target => {
                let bounds = bounds.idle(class);
                (bounds.min, bounds.max)
            }
        };
        if seen.is_some() || target > 0 {
            let queued = count(state.queued.len());
            let taken = count(state.unmatched.len()).min(queued);
            all.push(Wants { class: class.clone(), queued, taken, supply: state.supply(), target, idle_max });
        }
    };
    for class in config.classes() {
        add(class, world.class(&class.id));
    }
    for (id, state) in world.classes() {
        if let Some(class) = config.class(id).filter(|class| class.raw) {
            add(&class, Some(state));
        }
    }
    all.sort_by_key(|wants| std::cmp::Reverse(wants.class.priority));
    all
}

/// A runner's word that it has a job counts for a while; if jobs are still queued then, they want machines.
pub(super) fn wake_when_disbelieved(plan: &mut Plan, world: &World, wants: &[Wants], now: Timestamp) {
    for want in wants.iter().filter(|want| want.taken > 0) {
        let first = world.class(&want.class.id).and_then(|state| state.unmatched.first());
        if let Some((at, _)) = first.filter(|(at, _)| now.since(*at) <= UNMATCHED_MAX) {
            plan.wake_after(*at, UNMATCHED_MAX);
        }
    }
}
