//! Stranded jobs: GitHub keeps them open, and the machine that they run on is gone.
//!
//! GitHub fails the job of a runner that it lost, within minutes. If it does not, the run never ends by itself, and nothing in
//! it can be run again. Two kinds are known: a job in progress on a machine that is gone, and a queued one that several runners
//! did not get, while GitHub's lists have a dead runner of its pool that they say has a job, of which nobody knows which. With
//! more such jobs than dead runners they are told, and none is cancelled.
//!
//! What lives here: finding them, and cancelling their run, first as anybody would and by force if that does not end it. What
//! may not: running it again (`reruns`).
//!
//! Invariant: a run is cancelled only if each of its stranded jobs never began or was on a machine that the cloud took, its pool
//! asks for re-runs, GitHub says in the same look that nothing goes on in it but these jobs, each still waiting or on its dead
//! runner, and it may be run again afterwards. The intent is in the ledger before the request.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_core::config::FleetConfig;
use muster_core::ids::{InstanceId, JobKey, PoolName, RunId, RunnerName};
use muster_core::job::{Conclusion, JobPhase, JobRecord, STALL_ROUNDS_MAX};
use muster_core::machine::{Machine, instance_of};
use muster_core::ports::{GithubError, Reruns, Snapshot, Store, StoreError, Switch};
use muster_core::rerun::{self, InterruptedJob, RunNow, judge, only_stranded};
use muster_core::time::Timestamp;
use muster_core::world::World;
use muster_webhook::clock::Clock;
use serde::{Deserialize, Serialize};

use super::Healed;
use super::around::Around;
use super::registrations::is_of;

/// A job is stranded when its machine has been gone for so long: several times what GitHub takes to fail it.
pub const STRANDED_AFTER: Duration = Duration::from_secs(1_800);
/// A run that has not ended so long after its cancellation is cancelled by force. GitHub gives runners five minutes to end
/// what is cancelled ("Workflow cancellation reference").
pub const FORCE_AFTER: Duration = Duration::from_secs(600);
/// So often GitHub is asked to cancel a run before it is left to people.
pub const TRIES_MAX: u32 = 6;
/// Runs cancelled in one step: five requests each.
pub const RUNS_MAX: usize = 5;
/// Where cancelled runs are kept, among the ledger's notes, as JSON.
const NOTE: &str = "stranded-runs";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrandedJob {
    /// Which, and of which pool; `at` is the instant of this look.
    pub job: InterruptedJob,
    /// The runner whose machine is gone.
    pub runner: RunnerName,
    /// Since when its machine is gone, or has been found to be.
    pub since: Timestamp,
    /// Whether its run may be cancelled for it.
    may_cancel: bool,
}

/// A run that was or is about to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    attempt: u32,
    jobs: Vec<InterruptedJob>,
    /// The intent: when GitHub was last asked, or was about to be. `None`: it has refused all along.
    #[serde(default)]
    asked_at: Option<Timestamp>,
    /// Whether GitHub has taken a cancellation: what does not end after that is cancelled by force.
    #[serde(default)]
    taken: bool,
    /// Whether GitHub has taken one by force: there is nothing else that could be done.
    #[serde(default)]
    forced: bool,
    /// How often GitHub was asked.
    #[serde(default)]
    tries: u32,
}

/// What is known of stranded jobs between looks.
#[derive(Default)]
pub(super) struct Stranded {
    /// Since when a job was in progress on a machine that the ledger has forgotten, in every look.
    since: BTreeMap<(JobKey, RunnerName), Timestamp>,
    /// When a run was last looked at: those that were not for longest come first.
    looked: BTreeMap<RunId, Timestamp>,
}

async fn kept<S: Store>(store: &S) -> Result<BTreeMap<RunId, Kept>, StoreError> {
    Ok(store.note(NOTE).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// The stranded jobs whose runs were cancelled for them.
pub(super) async fn cancelled<S: Store>(store: &S) -> Result<Vec<InterruptedJob>, StoreError> {
    let kept = kept(store).await?.into_values();
    Ok(kept.filter(|run| run.asked_at.is_some()).flat_map(|run| run.jobs).collect())
}

impl Stranded {
    /// Looks for stranded jobs in a snapshot, and cancels the runs that only they hold up. `dead` are the runners that GitHub says
    /// have a job, and whose machine is gone, for [`STRANDED_AFTER`] at least, and since when.
    pub(super) async fn step<S: Store, R: Reruns, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        config: &FleetConfig,
        (snapshot, dead): (&Snapshot, &BTreeMap<RunnerName, Timestamp>),
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        let now = around.now();
        let found = self.find(config, snapshot, dead, now);
        let mut runs: BTreeMap<RunId, Vec<StrandedJob>> = BTreeMap::new();
        for stranded in &found {
            runs.entry(stranded.job.run).or_default().push(stranded.clone());
        }
        healed.stranded_jobs = found;
        runs.retain(|_, jobs| jobs.iter().all(|stranded| stranded.may_cancel && reruns_max(&stranded.job, config) > 0));
        self.looked.retain(|run, _| runs.contains_key(run));
        if runs.is_empty() {
            return Ok(());
        }
        let mut kept = kept(around.store).await?;
        kept.retain(|_, run| run.jobs.first().is_some_and(|job| now.since(job.at) < rerun::REMEMBERED_FOR));
        let mut due: Vec<_> = runs.into_iter().filter(|(run, jobs)| is_due(kept.get(run), jobs, now)).collect();
        due.sort_by_key(|(run, _)| (self.looked.get(run).copied(), *run));
        for (run, jobs) in due.into_iter().take(RUNS_MAX) {
            if around.is_over() || around.store.switch().await? == Switch::Freeze {
                break;
            }
            self.looked.insert(run, now);
            if let Err(error) = cancel(around, config, &mut kept, (run, &jobs), healed).await? {
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
        dead: &BTreeMap<RunnerName, Timestamp>,
        now: Timestamp,
    ) -> Vec<StrandedJob> {
        let told = suspects(config, snapshot, dead);
        self.since.retain(|on, _| told.iter().any(|suspect| suspect.on == *on));
        let mut found = Vec::new();
        for Suspect { record, on, pool, since, may_cancel } in told {
            let since = since.unwrap_or_else(|| *self.since.entry(on.clone()).or_insert(now));
            if now.since(since) >= STRANDED_AFTER {
                let (run, repository) = (record.about.run, record.about.repository.clone());
                let job = InterruptedJob { key: record.key, run, repository, pool, at: now };
                found.push(StrandedJob { job, runner: on.1, since, may_cancel });
            }
        }
        found
    }
}

/// A job that seems to be stranded now, on the runner that it is held to be on.
struct Suspect<'a> {
    record: &'a JobRecord,
    on: (JobKey, RunnerName),
    pool: PoolName,
    /// `None`: not known.
    since: Option<Timestamp>,
    may_cancel: bool,
}

fn suspects<'a>(
    config: &FleetConfig,
    snapshot: &'a Snapshot,
    dead: &BTreeMap<RunnerName, Timestamp>,
) -> Vec<Suspect<'a>> {
    let machines: BTreeMap<&InstanceId, &Machine> =
        snapshot.machines.iter().map(|machine| (&machine.instance, machine)).collect();
    let mut told = Vec::new();
    let mut waiting: BTreeMap<PoolName, Vec<&JobRecord>> = BTreeMap::new();
    for record in &snapshot.jobs {
        match record.phase() {
            JobPhase::Running => told.extend(runs_on_nothing(record, config, &machines)),
            JobPhase::Queued if record.stall.is_some_and(|stall| stall.rounds + 1 >= STALL_ROUNDS_MAX) => {
                if let Some(class) = World::resolve(record, config).class() {
                    waiting.entry(class.pool.clone()).or_default().push(record);
                }
            }
            JobPhase::Queued | JobPhase::Waiting | JobPhase::Completed => {}
        }
    }
    let known: BTreeSet<&RunnerName> = snapshot.jobs.iter().flat_map(JobRecord::runners).map(|one| &one.name).collect();
    let of_unknown_job = |runner: &RunnerName| {
        let machine = instance_of(runner).and_then(|instance| machines.get(&instance).copied());
        !known.contains(runner) && machine.is_none_or(|machine| machine.job.is_none())
    };
    let dead: Vec<(&RunnerName, Timestamp)> =
        dead.iter().filter(|(runner, _)| of_unknown_job(runner)).map(|(runner, since)| (runner, *since)).collect();
    waiting.into_iter().for_each(|(pool, jobs)| told.extend(wait_for_dead(&pool, jobs, &dead)));
    told
}

/// A running job, if its machine is one of ours and gone.
fn runs_on_nothing<'a>(
    record: &'a JobRecord,
    config: &FleetConfig,
    machines: &BTreeMap<&InstanceId, &Machine>,
) -> Option<Suspect<'a>> {
    let runner = &record.runner()?.name;
    let instance = instance_of(runner)?;
    let pool = config.pools().iter().find(|pool| is_of(runner, &instance, &pool.name))?;
    let (since, may_cancel) = match machines.get(&instance) {
        Some(machine) => (Some(machine.gone_at?), machine.was_taken() && machine.job == Some(record.key)),
        // Ended by us, and forgotten.
        None => (None, false),
    };
    Some(Suspect { record, on: (record.key, runner.clone()), pool: pool.name.clone(), since, may_cancel })
}

/// Queued jobs of a pool that several runners did not get, if runners of it are dead with a job that nobody knows. Such a job never
/// began, so that it does not matter who ended the machine.
fn wait_for_dead<'a>(
    pool: &PoolName,
    mut jobs: Vec<&'a JobRecord>,
    dead: &[(&RunnerName, Timestamp)],
) -> Vec<Suspect<'a>> {
    let of_pool = |runner: &&RunnerName| instance_of(runner).is_some_and(|instance| is_of(runner, &instance, pool));
    let dead: Vec<_> = dead.iter().filter(|(runner, _)| of_pool(runner)).collect();
    let may_cancel = jobs.len() <= dead.len();
    jobs.sort_by_key(|job| job.key);
    let on = jobs.into_iter().zip(dead.into_iter().cycle());
    on.map(|(record, (runner, since))| {
        let queued_at = record.demanded_at().unwrap_or(record.first_heard);
        let on = (record.key, (*runner).clone());
        Suspect { record, on, pool: pool.clone(), since: Some(queued_at.max(*since)), may_cancel }
    })
    .collect()
}

fn reruns_max(job: &InterruptedJob, config: &FleetConfig) -> u32 {
    config.pool(&job.pool).map_or(0, |pool| pool.rerun_interrupted)
}

/// Whether a run is to be looked at: GitHub was not asked a moment ago, has not cancelled it by force, and was not asked too
/// often.
fn is_due(kept: Option<&Kept>, jobs: &[StrandedJob], now: Timestamp) -> bool {
    let attempt = jobs.first().map(|stranded| stranded.job.key.attempt);
    let same = kept.filter(|kept| attempt == Some(kept.attempt));
    same.is_none_or(|kept| {
        let lately = kept.asked_at.is_some_and(|at| now.since(at) < FORCE_AFTER);
        !kept.forced && !lately && kept.tries < TRIES_MAX
    })
}

/// Cancels a run if all is as it must be.
async fn cancel<S: Store, R: Reruns, K: Clock>(
    around: Around<'_, S, R, K>,
    config: &FleetConfig,
    kept: &mut BTreeMap<RunId, Kept>,
    (run, jobs): (RunId, &[StrandedJob]),
    healed: &mut Healed,
) -> Result<Result<(), GithubError>, StoreError> {
    let Around { store, github, .. } = around;
    let Some(first) = jobs.first() else { return Ok(Ok(())) };
    let (repository, attempt, now) = (&first.job.repository, first.job.key.attempt, around.now());
    let most = jobs.iter().map(|stranded| reruns_max(&stranded.job, config)).min().unwrap_or(0);
    match is_held_up(around, (run, jobs), most).await {
        Ok(true) => {}
        Ok(false) => return Ok(Ok(())),
        Err(error) => return Ok(Err(error)),
    }
    let known = kept.get(&run).filter(|kept| kept.attempt == attempt).cloned();
    let jobs = jobs.iter().map(|stranded| stranded.job.clone()).collect();
    let before = match known {
        Some(known) => Kept { jobs, ..known },
        None => Kept { attempt, jobs, asked_at: None, taken: false, forced: false, tries: 0 },
    };
    kept.insert(run, Kept { asked_at: Some(now), tries: before.tries + 1, ..before.clone() });
    put(store, kept).await?;
    let force = before.taken;
    let answer = around.ask(github.cancel(repository, run, force)).await;
    let tries = before.tries + u32::from(!matches!(answer, Err(GithubError::Limited { .. })));
    let (after, told) = match answer {
        Ok(()) => (Kept { asked_at: Some(now), taken: true, forced: force, tries, ..before }, Ok(())),
        // What came of it shows when it is looked at again.
        Err(error @ GithubError::Unknown(_)) => (Kept { asked_at: Some(now), tries, ..before }, Err(error)),
        // Nothing has happened.
        Err(error) => (Kept { tries, ..before }, Err(error)),
    };
    if told.is_ok() {
        healed.cancelled.push((run, force));
    }
    if after.tries >= TRIES_MAX && !after.forced {
        healed.troubles.push(format!("run {run} of {repository} is left to people: cancel it at GitHub"));
    }
    kept.insert(run, after);
    put(store, kept).await?;
    Ok(told)
}

/// What there is no room for is forgotten, the oldest runs first: they are judged anew if they are still stranded.
async fn put<S: Store>(store: &S, kept: &mut BTreeMap<RunId, Kept>) -> Result<(), StoreError> {
    while kept.len() > 1 && kept.values().map(|run| run.jobs.len()).sum::<usize>() > rerun::REMEMBERED_MAX {
        let oldest = kept.iter().min_by_key(|(run, kept)| (kept.asked_at, **run)).map(|(run, _)| *run);
        oldest.and_then(|run| kept.remove(&run));
    }
    store.put_note(NOTE, &serde_json::to_string(&*kept).unwrap_or_default()).await
}

/// Whether GitHub says that a run goes on with nothing but these jobs, and may be run again.
async fn is_held_up<S, R: Reruns, K: Clock>(
    around: Around<'_, S, R, K>,
    (run, jobs): (RunId, &[StrandedJob]),
    reruns_max: u32,
) -> Result<bool, GithubError> {
    let Some(first) = jobs.first() else { return Ok(false) };
    let github = around.github;
    let (repository, attempt) = (&first.job.repository, first.job.key.attempt);
    let Some(now) = around.ask(github.run(repository, run)).await? else { return Ok(false) };
    // It is not over: whether it might be run again is asked as if it had failed.
    let if_failed = RunNow { conclusion: Some(Conclusion::Failure), ..now.clone() };
    if now.conclusion.is_some() || judge(&if_failed, attempt, reruns_max).is_err() {
        return Ok(false);
    }
    let all = around.ask(github.run_jobs(repository, run, attempt)).await?;
    let stranded = jobs.iter().map(|stranded| (stranded.job.key.job, stranded.runner.clone())).collect();
    Ok(only_stranded(&all, &stranded) && !around.ask(github.is_superseded(repository, run)).await?)
}
