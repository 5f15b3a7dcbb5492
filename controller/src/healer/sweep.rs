//! The sweep: repositories are asked for jobs that wait, and what the ledger does not know of is taken in.
//!
//! Those repositories are asked that jobs came from lately, and those in which something was pushed, in turn. Answers that have
//! not changed cost no request, and a run whose webhooks arrive is not looked into: one that was lost leaves its run silent
//! sooner or later. What all of it may cost is in a bucket, so that a fleet with thousands of long, silent runs does not look
//! into each again and again.
//!
//! What lives here: whose turn it is, and what is taken in. What may not: the requests (the adapter's).
//!
//! Invariant: over a day the sweeps cost no more than [`A_STEP`] requests each, as far as can be told from here, and what the
//! bucket holds.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_core::bucket::TokenBucket;
use muster_core::ids::{JobKey, RunId};
use muster_core::job::{JobEvent, JobEvidence};
use muster_core::ports::{GithubError, Records, Snapshot, Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::intake::Intake;

use super::around::Around;
use super::silent::heard_at;
use super::{Healed, SWEEP_EVERY};

/// Repositories swept in one step.
pub const REPOSITORIES_MAX: usize = 15;
/// Requests that each sweep adds to what sweeps may cost: 5,184 a day, a tenth of the mints of a fleet with 50,000 jobs.
pub const A_STEP: u32 = 18;
/// What is saved up for busy hours. A fleet that begins has all of it.
const SAVED_MAX: u32 = 20 * A_STEP;
/// A repository's lists of runs: those that are queued, and those in progress.
const LISTS: u32 = 2;
/// Silent runs of one repository that one sweep looks into, at a request each.
const LOOKS_MAX: usize = 20;
/// A run of which something was heard within this time is let be.
const HEARD_LATELY: Duration = Duration::from_secs(60);
/// A run of which nothing was heard since a sweep looked into it is looked into again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(900);
/// A repository is swept for so long after its last job or push.
const ACTIVE_FOR: Duration = Duration::from_secs(24 * 3_600);

/// When something was last told of each run that is not over, and its repository.
type Heard = BTreeMap<RunId, (Timestamp, Arc<str>)>;

/// What is known between sweeps.
#[derive(Default)]
pub(super) struct Sweep {
    /// Repositories, and when they were last active.
    active: BTreeMap<Arc<str>, Timestamp>,
    /// Which repository was swept last: the next sweep goes on after it.
    last_swept: Option<Arc<str>>,
    /// When a sweep last looked into runs that the ledger knows.
    looked: BTreeMap<RunId, Timestamp>,
    bucket: Option<TokenBucket>,
}

impl Sweep {
    /// Asks the repositories whose turn it is. What GitHub refuses is among the troubles.
    pub(super) async fn step<S: Store, R: Records, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        intake: &Intake<S>,
        snapshot: &Snapshot,
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        let now = around.now();
        for job in &snapshot.jobs {
            self.active.insert(job.about.repository.clone(), now);
        }
        match around.ask(around.github.pushed_since(now - ACTIVE_FOR)).await {
            Ok(pushed) => self.active.extend(pushed.into_iter().map(|repository| (repository, now))),
            Err(error) => healed.troubles.push(format!("listing repositories: {error}")),
        }
        self.active.retain(|_, at| now.since(*at) < ACTIVE_FOR);
        let heard = runs_heard_of(snapshot);
        self.looked.retain(|run, _| heard.contains_key(run));
        for repository in self.next_repositories() {
            let left = self.bucket(now).whole(now).0;
            if left < LISTS || around.is_over() {
                break;
            }
            let (looks, let_be) = self.choose(&heard, &repository, left - LISTS, now);
            let waiting = match around.ask(around.github.waiting(&repository, &let_be)).await {
                Ok(Some(waiting)) => waiting,
                Ok(None) => {
                    self.last_swept = Some(repository);
                    continue;
                }
                Err(error) => {
                    healed.troubles.push(format!("jobs of {repository}: {error}"));
                    if matches!(error, GithubError::Limited { .. }) {
                        break;
                    }
                    continue;
                }
            };
            let unheard: BTreeSet<RunId> =
                waiting.iter().map(|event| event.about.run).filter(|run| !heard.contains_key(run)).collect();
            let cost = u32::try_from(looks.len() + unheard.len()).unwrap_or(u32::MAX).saturating_add(LISTS);
            self.bucket(now).spend(cost, now);
            take_in(waiting, (around.store, intake), now, healed).await?;
            self.looked.extend(looks.into_iter().map(|run| (run, now)));
            self.last_swept = Some(repository);
        }
        Ok(())
    }

    fn bucket(&mut self, now: Timestamp) -> &mut TokenBucket {
        let a_second = f64::from(A_STEP) / SWEEP_EVERY.as_secs_f64();
        self.bucket.get_or_insert_with(|| TokenBucket::full(f64::from(SAVED_MAX), a_second, now))
    }

    /// The runs of a repository that are looked into, of those that are known, and those that are let be: what was never looked
    /// into first, then what was looked into longest ago.
    fn choose(
        &self,
        heard: &Heard,
        repository: &Arc<str>,
        left: u32,
        now: Timestamp,
    ) -> (BTreeSet<RunId>, BTreeSet<RunId>) {
        let of_it = heard.iter().filter(|(_, (_, of))| of == repository);
        let (well, mut silent): (Vec<_>, Vec<_>) = of_it
            .map(|(run, (at, _))| (self.looked.get(run).filter(|looked| *looked > at), *at, *run))
            .partition(|(looked, at, _)| goes_well(*looked, *at, now));
        silent.sort_unstable();
        let rest = silent.split_off(silent.len().min(LOOKS_MAX).min(left as usize));
        let of = |runs: Vec<(_, _, RunId)>| runs.into_iter().map(|(_, _, run)| run);
        (of(silent).collect(), of(well).chain(of(rest)).collect())
    }

    /// The repositories whose turn it is.
    fn next_repositories(&self) -> Vec<Arc<str>> {
        let all: Vec<&Arc<str>> = self.active.keys().collect();
        let after = |last: &Arc<str>| all.partition_point(|repository| *repository <= last);
        let begin = self.last_swept.as_ref().map_or(0, after);
        let turn = all.iter().cycle().skip(begin).take(all.len().min(REPOSITORIES_MAX));
        turn.map(|repository| (*repository).clone()).collect()
    }
}

/// Whether a run needs no look: its webhooks arrive, or nothing was heard of it since it was looked into a while ago.
fn goes_well(looked: Option<&Timestamp>, heard_at: Timestamp, now: Timestamp) -> bool {
    now.since(heard_at) < HEARD_LATELY || looked.is_some_and(|at| now.since(*at) < LOOK_AGAIN)
}

/// Takes in the jobs that wait and that the ledger does not know.
async fn take_in<S: Store>(
    waiting: Vec<JobEvent>,
    (store, intake): (&S, &Intake<S>),
    now: Timestamp,
    healed: &mut Healed,
) -> Result<(), StoreError> {
    let ours = waiting.into_iter().filter(|event| intake.resolve(event).class().is_some());
    let ours: Vec<JobEvent> = ours.collect();
    let keys: Vec<JobKey> = ours.iter().map(|event| event.key).collect();
    let known: BTreeSet<JobKey> = store.jobs(&keys).await?.into_iter().map(|job| job.key).collect();
    for event in ours.into_iter().filter(|event| !known.contains(&event.key)) {
        let created_at = match &event.evidence {
            JobEvidence::Queued { created_at, .. } => *created_at,
            JobEvidence::Waiting | JobEvidence::InProgress(_) | JobEvidence::Completed(_) => None,
        };
        let stored = intake.put(event, now, None).await?;
        if !stored.duplicate {
            healed.swept.push((stored.event.key, now.since(created_at.unwrap_or(now))));
        }
    }
    Ok(())
}

fn runs_heard_of(snapshot: &Snapshot) -> Heard {
    let mut heard = Heard::new();
    for job in &snapshot.jobs {
        let (at, _) = heard.entry(job.about.run).or_insert_with(|| (heard_at(job), job.about.repository.clone()));
        *at = (*at).max(heard_at(job));
    }
    heard
}
