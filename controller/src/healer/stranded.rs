//! Stranded jobs: GitHub keeps them open, and the machine that they run on is gone.
//!
//! GitHub fails the job of a runner that it lost, within minutes. If it does not, the run never ends by itself, and nothing in
//! it can be run again. Two kinds are known: a job in progress on a machine that is gone, and a queued one that no runner gets
//! (unservable, says the plan) while GitHub's list has a dead runner of its pool that it says has a job. The second is only
//! told.
//!
//! What lives here: finding them, and cancelling their run, first as anybody would and by force if that does not end it. What
//! may not: running it again (`reruns`).
//!
//! Invariant: a run is cancelled only if the cloud took the machines of its stranded jobs, its pool asks for re-runs, GitHub says in the same look that nothing goes on in it but
//! stranded jobs, and it may be run again afterwards. The intent is in the ledger before the request.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_core::config::FleetConfig;
use muster_core::ids::{InstanceId, JobId, JobKey, PoolName, RunId, RunnerName};
use muster_core::job::{Conclusion, JobPhase, JobRecord};
use muster_core::machine::{Machine, instance_of};
use muster_core::ports::{GithubError, Reruns, Snapshot, Store, StoreError, Switch};
use muster_core::rerun::{self, InterruptedJob, RunNow, judge, only_stranded};
use muster_core::time::Timestamp;
use muster_core::world::World;
use muster_webhook::clock::Clock;
use serde::{Deserialize, Serialize};

use super::Healed;
use super::registrations::is_of;
use crate::reconcile::from_github;

/// A job is stranded when its machine has been gone for so long: several times what GitHub takes to fail it.
pub const STRANDED_AFTER: Duration = Duration::from_secs(1_800);
/// A run that has not ended so long after its cancellation is cancelled by force. GitHub gives runners five minutes to end
/// what is cancelled ("Workflow cancellation reference").
pub const FORCE_AFTER: Duration = Duration::from_secs(600);
/// Runs cancelled in one step: three requests each.
pub const RUNS_MAX: usize = 5;
/// Where cancelled runs are kept, among the ledger's notes, as JSON.
const NOTE: &str = "stranded-runs";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrandedJob {
    /// Which, and of which pool; `at` is the instant of this look.
    pub job: InterruptedJob,
    /// Since when its machine is gone, or has been found to be.
    pub since: Timestamp,
    /// Whether the cloud took its machine: only then is its run cancelled.
    taken: bool,
}

/// A run that was or is about to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    attempt: u32,
    jobs: Vec<InterruptedJob>,
    cancelled_at: Timestamp,
    forced_at: Option<Timestamp>,
}

/// What is known of stranded jobs between looks.
#[derive(Default)]
pub(super) struct Stranded {
    since: BTreeMap<JobKey, Timestamp>,
}

async fn kept<S: Store>(store: &S) -> Result<BTreeMap<RunId, Kept>, StoreError> {
    Ok(store.note(NOTE).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// The stranded jobs whose runs were cancelled for them.
pub(super) async fn cancelled<S: Store>(store: &S) -> Result<Vec<InterruptedJob>, StoreError> {
    Ok(kept(store).await?.into_values().flat_map(|run| run.jobs).collect())
}

impl Stranded {
    /// Looks for stranded jobs in a snapshot, and cancels the runs that only they hold up. `dead` are the runners that GitHub says
    /// have a job, and whose machine is gone.
    pub(super) async fn step<S: Store, R: Reruns, K: Clock>(
        &mut self,
        around: (&S, &R, &K),
        config: &FleetConfig,
        (snapshot, dead): (&Snapshot, &BTreeSet<RunnerName>),
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        let (store, _, clock) = around;
        let found = self.find(config, snapshot, dead, clock.now());
        let mut runs: BTreeMap<RunId, Vec<StrandedJob>> = BTreeMap::new();
        for stranded in &found {
            runs.entry(stranded.job.run).or_default().push(stranded.clone());
        }
        healed.stranded_jobs = found;
        runs.retain(|_, jobs| jobs.iter().all(|stranded| stranded.taken && reruns_max(&stranded.job, config) > 0));
        if runs.is_empty() || store.switch().await? == Switch::Freeze {
            return Ok(());
        }
        let mut kept = kept(store).await?;
        kept.retain(|_, run| clock.now().since(run.cancelled_at) < rerun::REMEMBERED_FOR);
        for (run, jobs) in runs.into_iter().take(RUNS_MAX) {
            let jobs: Vec<InterruptedJob> = jobs.into_iter().map(|stranded| stranded.job).collect();
            if let Err(error) = cancel(around, config, &mut kept, (run, jobs), healed).await? {
                healed.troubles.push(format!("cancelling run {run}, which stranded jobs hold up: {error}"));
                if matches!(error, GithubError::Limited { .. }) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Those that have been stranded for long.
    fn find(
        &mut self,
        config: &FleetConfig,
        snapshot: &Snapshot,
        dead: &BTreeSet<RunnerName>,
        now: Timestamp,
    ) -> Vec<StrandedJob> {
        let machines: BTreeMap<&InstanceId, &Machine> =
            snapshot.machines.iter().map(|machine| (&machine.instance, machine)).collect();
        // A job that was given up as unservable is tried again between whiles.
        let may_be = |job: &JobRecord| job.phase() == JobPhase::Running || job.stall.is_some();
        let open: BTreeSet<JobKey> = snapshot.jobs.iter().filter(|job| may_be(job)).map(|job| job.key).collect();
        self.since.retain(|key, _| open.contains(key));
        let mut found = Vec::new();
        for record in &snapshot.jobs {
            let told = match record.phase() {
                JobPhase::Running => runs_on_nothing(record, config, &machines),
                JobPhase::Queued if record.is_unservable() => waits_for_dead(record, config, dead),
                JobPhase::Queued | JobPhase::Waiting | JobPhase::Completed => None,
            };
            let Some((pool, gone_at, taken)) = told else {
                if record.phase() == JobPhase::Running {
                    self.since.remove(&record.key);
                }
                continue;
            };
            let since = *self.since.entry(record.key).or_insert(gone_at.unwrap_or(now));
            if now.since(since) >= STRANDED_AFTER {
                let (run, repository) = (record.about.run, record.about.repository.clone());
                let job = InterruptedJob { key: record.key, run, repository, pool, at: now };
                found.push(StrandedJob { job, since, taken });
            }
        }
        found
    }
}

/// The pool of a running job's machine, since when that is gone, and whether the cloud took it; `None` if it is not gone, or
/// none of ours.
fn runs_on_nothing(
    record: &JobRecord,
    config: &FleetConfig,
    machines: &BTreeMap<&InstanceId, &Machine>,
) -> Option<(PoolName, Option<Timestamp>, bool)> {
    let runner = &record.runner()?.name;
    let instance = instance_of(runner)?;
    let pool = config.pools().iter().find(|pool| is_of(runner, &instance, &pool.name))?;
    match machines.get(&instance) {
        Some(machine) => {
            let gone_at = machine.gone_at?;
            Some((pool.name.clone(), Some(gone_at), machine.was_taken() && machine.job == Some(record.key)))
        }
        // Ended by us, and forgotten.
        None => Some((pool.name.clone(), None, false)),
    }
}

/// Likewise of a queued job that no runner gets, if one of its pool's is dead with a job.
fn waits_for_dead(
    record: &JobRecord,
    config: &FleetConfig,
    dead: &BTreeSet<RunnerName>,
) -> Option<(PoolName, Option<Timestamp>, bool)> {
    let resolution = World::resolve(record, config);
    let pool = &resolution.class()?.pool;
    let of_pool = |runner: &RunnerName| instance_of(runner).is_some_and(|instance| is_of(runner, &instance, pool));
    // A guess by the pool: enough to tell, and too little to cancel a run for, in which the job may have begun since.
    dead.iter().any(of_pool).then(|| (pool.clone(), None, false))
}

fn reruns_max(job: &InterruptedJob, config: &FleetConfig) -> u32 {
    config.pool(&job.pool).map_or(0, |pool| pool.rerun_interrupted)
}

/// Cancels a run if it is time for that and all is as it must be.
async fn cancel<S: Store, R: Reruns, K: Clock>(
    (store, github, clock): (&S, &R, &K),
    config: &FleetConfig,
    kept: &mut BTreeMap<RunId, Kept>,
    (run, jobs): (RunId, Vec<InterruptedJob>),
    healed: &mut Healed,
) -> Result<Result<(), GithubError>, StoreError> {
    let Some(first) = jobs.first() else { return Ok(Ok(())) };
    let (repository, attempt, now) = (first.repository.clone(), first.key.attempt, clock.now());
    let most = jobs.iter().map(|job| reruns_max(job, config)).min().unwrap_or(0);
    let before = kept.get(&run).filter(|kept| kept.attempt == attempt).cloned();
    // Cancelled a moment ago, or by force: there is nothing else that could be done.
    if before.as_ref().is_some_and(|kept| kept.forced_at.is_some() || now.since(kept.cancelled_at) < FORCE_AFTER) {
        return Ok(Ok(()));
    }
    match is_held_up(github, clock, (run, &jobs), most).await {
        Ok(true) => {}
        Ok(false) => return Ok(Ok(())),
        Err(error) => return Ok(Err(error)),
    }
    let force = before.is_some();
    let after = match &before {
        Some(kept) => Kept { forced_at: Some(now), ..kept.clone() },
        None => Kept { attempt, jobs, cancelled_at: now, forced_at: None },
    };
    kept.insert(run, after);
    store.put_note(NOTE, &serde_json::to_string(&*kept).unwrap_or_default()).await?;
    match from_github(clock, github.cancel(&repository, run, force)).await {
        // What came of it shows when it is looked at again.
        Ok(()) | Err(GithubError::Unknown(_)) => {
            healed.cancelled.push((run, force));
            Ok(Ok(()))
        }
        // Nothing has happened: the next look tries again.
        Err(error) => {
            match before {
                Some(before) => kept.insert(run, before),
                None => kept.remove(&run),
            };
            store.put_note(NOTE, &serde_json::to_string(&*kept).unwrap_or_default()).await?;
            Ok(Err(error))
        }
    }
}

/// Whether GitHub says that a run goes on with nothing but these jobs, and may be run again.
async fn is_held_up<R: Reruns, K: Clock>(
    github: &R,
    clock: &K,
    (run, jobs): (RunId, &[InterruptedJob]),
    reruns_max: u32,
) -> Result<bool, GithubError> {
    let Some(first) = jobs.first() else { return Ok(false) };
    let (repository, attempt) = (&first.repository, first.key.attempt);
    let Some(now) = from_github(clock, github.run(repository, run)).await? else { return Ok(false) };
    // It is not over: whether it might be run again is asked as if it had failed.
    let if_failed = RunNow { conclusion: Some(Conclusion::Failure), ..now.clone() };
    if now.conclusion.is_some() || judge(&if_failed, attempt, reruns_max).is_err() {
        return Ok(false);
    }
    let all = from_github(clock, github.run_jobs(repository, run, attempt)).await?;
    let stranded: BTreeSet<JobId> = jobs.iter().map(|job| job.key.job).collect();
    Ok(only_stranded(&all, &stranded))
}
