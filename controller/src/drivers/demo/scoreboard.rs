//! What the demo shows while it runs, gathered from the ticks.
//!
//! Invariant: everything here comes from what the scaler itself saw; nothing is read off the simulator's truth, but for the
//! share of the load that has arrived.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_core::config::FleetConfig;
use muster_core::ids::PoolName;
use muster_core::plan::Action;
use muster_core::time::Timestamp;
use muster_core::world::World;

use crate::drivers::service::Audience;
use crate::reconcile::{JobNews, TickReport};

/// How many of the latest decisions are shown.
pub(super) const DECISIONS_SHOWN: usize = 5;

/// One pool now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolRow {
    /// Jobs that wait.
    pub queued: usize,
    /// Hot: registered and idle.
    pub idle: usize,
    /// Claimed, a mint away.
    pub ready: usize,
    /// Stopped, warmed.
    pub standby: u32,
    /// On their way.
    pub booting: usize,
    /// With a job.
    pub busy: usize,
    /// Being sent home.
    pub draining: usize,
}

/// The state of the show.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Simulated time of the last tick.
    pub at: Timestamp,
    /// Each pool now.
    pub pools: BTreeMap<PoolName, PoolRow>,
    /// Jobs that became queued.
    pub queued: u64,
    /// Jobs that started.
    pub started: u64,
    /// Jobs that are over.
    pub completed: u64,
    /// Ticks so far.
    pub ticks: u64,
    /// What the checker struck out.
    pub violations: u64,
    /// Queue times so far, seconds, sorted.
    pub queue_times: Vec<f64>,
    /// The hourly price of what is launched, US dollars.
    pub usd_per_hour: f64,
    /// The latest decisions and why.
    pub decisions: VecDeque<String>,
}

impl Scores {
    /// The nearest-rank percentile of the queue times so far.
    pub fn queue_time(&self, percent: usize) -> Option<f64> {
        let rank = (self.queue_times.len() * percent).div_ceil(100).max(1);
        self.queue_times.get(rank - 1).copied()
    }
}

/// Scores that the scaler writes and the view reads.
#[derive(Clone)]
pub struct Scoreboard {
    scores: Arc<Mutex<Scores>>,
    config: Arc<FleetConfig>,
}

impl Scoreboard {
    /// An empty board for a fleet under this configuration.
    pub fn new(config: Arc<FleetConfig>) -> Scoreboard {
        Scoreboard { scores: Arc::default(), config }
    }

    /// The scores as they are now.
    pub fn read(&self) -> MutexGuard<'_, Scores> {
        self.scores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for Scoreboard {
    fn ticked(&mut self, report: &TickReport, world: &World) {
        let mut scores = self.read();
        scores.at = report.now;
        scores.ticks += 1;
        scores.violations += report.violations.len() as u64;
        for news in &report.news {
            match news {
                JobNews::Queued { .. } => scores.queued += 1,
                JobNews::Started { .. } => scores.started += 1,
                JobNews::Timed { stages, .. } => {
                    if let Some(queue_time) = stages.queue_time {
                        let seconds = queue_time.as_secs_f64();
                        let place = scores.queue_times.partition_point(|known| *known <= seconds);
                        scores.queue_times.insert(place, seconds);
                    }
                }
                JobNews::Completed { .. } => scores.completed += 1,
                JobNews::Interrupted(_) => {}
            }
        }
        for step in &report.steps {
            if worth_showing(&step.action) {
                scores.decisions.push_front(format!("{}: {}", step.action, step.reason));
            }
        }
        scores.decisions.truncate(DECISIONS_SHOWN);
        scores.usd_per_hour = world.totals().price.usd();
        scores.pools = pools(world, &self.config);
    }
}

/// Launches and drains are decisions; the rest is what follows from them.
fn worth_showing(action: &Action) -> bool {
    match action {
        Action::Launch(_) | Action::Drain { .. } | Action::SetStandby { .. } | Action::Stall { .. } => true,
        Action::Remove { .. }
        | Action::Kill { .. }
        | Action::Thaw { .. }
        | Action::CloseDrain { .. }
        | Action::Terminate { .. }
        | Action::Register { .. }
        | Action::Forget { .. } => false,
    }
}

fn pools(world: &World, config: &FleetConfig) -> BTreeMap<PoolName, PoolRow> {
    let mut rows: BTreeMap<PoolName, PoolRow> =
        config.pools().iter().map(|pool| (pool.name.clone(), PoolRow::default())).collect();
    for (id, state) in world.classes() {
        let Some(class) = config.class(id) else { continue };
        let row = rows.entry(class.pool.clone()).or_default();
        row.queued += state.queued.len();
        row.idle += state.idle.len();
        row.ready += state.ready.len() + state.between.len();
        row.booting += state.booting.len() + state.registering.len() + state.launching as usize;
        row.busy += state.busy.len();
        row.draining += state.draining.len();
    }
    for machine in world.frozen() {
        rows.entry(machine.purpose.pool.clone()).or_default().draining += 1;
    }
    for (shape, count) in world.stocks() {
        let served = config.classes().iter().find(|class| class.shapes.iter().any(|of| of.id == *shape));
        if let Some(class) = served {
            rows.entry(class.pool.clone()).or_default().standby += count;
        }
    }
    rows
}
