//! The sweep: repositories are asked for the jobs that wait, and what the ledger does not know is taken in.
//!
//! Answers that have not changed cost no request, and a run whose webhooks arrive is not looked into.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{JobKey, RunId};
use muster_core::job::{JobEvent, JobEvidence};
use muster_core::ports::{GithubError, Records, Snapshot, Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::intake::Intake;

use super::Healed;
use super::around::Around;
use super::silent::heard_at;

/// Repositories swept in one step. Each costs two lists at least where something changes all the time: so many are some
/// 8,600 requests a day at most, and a fleet that has more active ones sweeps each less often.
pub const REPOSITORIES_MAX: usize = 15;
/// A run of which something was heard within this time is let be.
const HEARD_LATELY: Duration = Duration::from_secs(60);
/// A run of which nothing was heard since a sweep looked into it is looked into again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(900);
/// A repository is swept for so long after its last job or push.
const ACTIVE_FOR: Duration = Duration::from_secs(24 * 3_600);

/// What is known of repositories and runs between sweeps.
#[derive(Default)]
pub(super) struct Sweep {
    /// Repositories, and when they were last active.
    active: BTreeMap<Arc<str>, Timestamp>,
    /// Which repository was swept last: the next sweep goes on after it.
    last: Option<Arc<str>>,
    /// When a sweep last looked into runs that the ledger knows.
    looked: BTreeMap<RunId, Timestamp>,
}

impl Sweep {
    /// Asks the repositories whose turn it is.
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
            if around.is_over() {
                break;
            }
            let of_it = || heard.iter().filter(|(_, (_, of))| *of == repository);
            let let_be: BTreeSet<RunId> =
                of_it().filter(|(run, (at, _))| self.goes_well(**run, *at, now)).map(|(run, _)| *run).collect();
            match around.ask(around.github.waiting(&repository, &let_be)).await {
                Ok(None) => {}
                Ok(Some(waiting)) => {
                    take_in(around, intake, waiting, healed).await?;
                    self.looked.extend(of_it().filter(|(run, _)| !let_be.contains(run)).map(|(run, _)| (*run, now)));
                }
                Err(error) => {
                    healed.troubles.push(format!("jobs of {repository}: {error}"));
                    if matches!(error, GithubError::Limited { .. }) {
                        break;
                    }
                    continue;
                }
            }
            self.last = Some(repository);
        }
        Ok(())
    }

    /// Whether a run needs no look: its webhooks arrive, or nothing was heard of it since it was looked into a while ago.
    fn goes_well(&self, run: RunId, heard_at: Timestamp, now: Timestamp) -> bool {
        let looked_since = self.looked.get(&run).filter(|at| **at > heard_at);
        now.since(heard_at) < HEARD_LATELY || looked_since.is_some_and(|at| now.since(*at) < LOOK_AGAIN)
    }

    /// The repositories whose turn it is.
    fn next_repositories(&self) -> Vec<Arc<str>> {
        let all: Vec<&Arc<str>> = self.active.keys().collect();
        let after = |last: &Arc<str>| all.partition_point(|repository| *repository <= last);
        let begin = self.last.as_ref().map_or(0, after);
        let turn = all.iter().cycle().skip(begin).take(all.len().min(REPOSITORIES_MAX));
        turn.map(|repository| (*repository).clone()).collect()
    }
}

/// Takes in what the ledger does not know of jobs that wait.
async fn take_in<S: Store, R, K: Clock>(
    around: Around<'_, S, R, K>,
    intake: &Intake<S>,
    waiting: Vec<JobEvent>,
    healed: &mut Healed,
) -> Result<(), StoreError> {
    let now = around.now();
    let ours: Vec<JobEvent> = waiting.into_iter().filter(|event| intake.resolve(event).class().is_some()).collect();
    let keys: Vec<JobKey> = ours.iter().map(|event| event.key).collect();
    let known: BTreeSet<JobKey> = around.store.jobs(&keys).await?.into_iter().map(|job| job.key).collect();
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

/// When something was last told of each run that is not over, and its repository.
fn runs_heard_of(snapshot: &Snapshot) -> BTreeMap<RunId, (Timestamp, Arc<str>)> {
    let mut heard: BTreeMap<RunId, (Timestamp, Arc<str>)> = BTreeMap::new();
    for job in &snapshot.jobs {
        let (at, _) = heard.entry(job.about.run).or_insert_with(|| (heard_at(job), job.about.repository.clone()));
        *at = (*at).max(heard_at(job));
    }
    heard
}
