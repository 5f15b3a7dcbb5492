//! Spot machines that are taken from under their jobs: where a pool asks for it, the run is run again once, and ends well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use muster::drivers::simulate::{Healing, Scenario, Simulation};
use muster::healer::Healed;
use muster::reconcile::{Probe, Step, TickError};
use muster_core::ids::InstanceId;
use muster_core::machine::{MachinePhase, Market};
use muster_core::plan::Policy;
use muster_core::ports::Store;
use muster_core::rerun::Outcome;
use muster_sim::{SharedUniverse, Summary};
use muster_store::{MemoryOptions, MemoryStore};

use super::scenario::{Runs, config, hours, scenario};

/// Runs with a build, two tests after it and one beside them; and one that outlasts all others.
const RUNS: u32 = 60;
const JOBS: u64 = 4 * RUNS as u64 + 1;

fn load(reruns: u32) -> Scenario {
    let jobs =
        [("build", &[][..], 900.0), ("lint", &[], 600.0), ("test", &["build"], 900.0), ("e2e", &["build"], 600.0)];
    let runs = (0..RUNS).fold(Runs::default(), |runs, n| runs.run(n * 300, "linux", None, &jobs));
    let trace = runs.run(RUNS * 300, "linux", None, &[("last", &[], 4.0 * 3_600.0)]).trace();
    let config = config(&format!(
        "[github]\norganization = \"acme\"\nwebhook_secrets = [\"env:S\"]\n[[github.app]]\nid = 1\nprivate_key = \"env:K\"\n\
         [[pool]]\nname = \"linux\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"linux\"]\n\
         markets = [\"spot-then-on-demand\"]\nrerun_interrupted = {reruns}\n\
         [pool.sizes.cpu-2]\ninstance_types = [\"c7i.large\"]\n"
    ));
    Scenario { config, healing: Healing::Always, ..scenario(trace, hours(0, 48), Policy::Cold) }
}

/// Takes every so manieth spot machine once it has a job.
struct Takes {
    universe: SharedUniverse,
    store: Arc<MemoryStore>,
    every: usize,
    notice: Duration,
    seen: BTreeSet<InstanceId>,
}

impl Probe for Takes {
    fn reached(&mut self, step: Step) -> Result<(), TickError> {
        if step == Step::Observed {
            for machine in self.store.load().now_or_never().unwrap()?.machines {
                let busy = matches!(machine.phase(), MachinePhase::Busy(_)) && machine.purpose.market == Market::Spot;
                if busy && self.seen.insert(machine.instance.clone()) && self.seen.len().is_multiple_of(self.every) {
                    self.universe.lock().interrupt(&machine.instance, self.notice);
                }
            }
        }
        Ok(())
    }
}

fn run(reruns: u32, notice: Duration) -> (Summary, Healed) {
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let mut simulation = Simulation::new(load(reruns), store.clone()).unwrap();
    let universe = simulation.universe().clone();
    let mut takes = Takes { universe, store, every: 7, notice, seen: BTreeSet::new() };
    let summary = simulation.run(&mut takes, &mut ()).unwrap();
    (summary, simulation.healed().clone())
}

#[test]
fn interrupted_jobs_run_again_and_every_job_ends_well() {
    // With the two minutes' notice of a spot machine, and without any, as when a host dies.
    for notice in [Duration::from_secs(120), Duration::ZERO] {
        let (summary, healed) = run(3, notice);
        let jobs = &summary.jobs;
        assert_eq!(summary.violations, [""; 0]);
        assert!(jobs.interrupted > 15 && jobs.adds_up(), "{jobs:?}");
        assert_eq!((jobs.completed, jobs.queued), (JOBS, JOBS + jobs.interrupted), "{jobs:?} {:?}", healed.reruns);
        assert!(healed.reruns.iter().all(|rerun| rerun.outcome == Outcome::Rerun), "{:?}", healed.reruns);
        let rerun: u64 = healed.reruns.iter().map(|rerun| rerun.jobs.len() as u64).sum();
        assert_eq!(rerun, jobs.interrupted);
        let attempts: BTreeSet<_> = healed.reruns.iter().map(|rerun| (rerun.run, rerun.jobs[0].attempt)).collect();
        assert_eq!(attempts.len(), healed.reruns.len(), "one request for all jobs of an attempt");
    }
}

#[test]
fn a_run_is_run_again_no_oftener_than_its_pool_allows() {
    let (summary, healed) = run(1, Duration::ZERO);
    let with = |outcome| healed.reruns.iter().filter(move |rerun| rerun.outcome == outcome);
    let runs: BTreeSet<_> = with(Outcome::Rerun).map(|rerun| rerun.run).collect();
    assert_eq!(runs.len(), with(Outcome::Rerun).count(), "once for each run");
    let left: u64 = with(Outcome::Limit).map(|rerun| rerun.jobs.len() as u64).sum();
    // An idle spot machine may take a job that is run again, and be taken too.
    assert!(left > 0 && with(Outcome::Limit).all(|rerun| runs.contains(&rerun.run)), "{:?}", healed.reruns);
    let rerun: u64 = with(Outcome::Rerun).map(|rerun| rerun.jobs.len() as u64).sum();
    assert_eq!((rerun + left, summary.violations), (summary.jobs.interrupted, vec![]));
}

#[test]
fn nothing_is_run_again_where_no_pool_asks_for_it() {
    let (summary, healed) = run(0, Duration::ZERO);
    let jobs = &summary.jobs;
    assert!(jobs.interrupted > 15 && jobs.adds_up(), "{jobs:?}");
    assert_eq!((healed.reruns, jobs.completed + jobs.interrupted + jobs.skipped), (vec![], JOBS));
}
