//! Silent jobs: those of which nothing was heard for long are asked for by their number, unless the last list of registrations
//! had their runner: a runner of one job is listed for as long as that runs.
//!
//! A job that GitHub does not show is not over for that: our App may have lost its repository. But GitHub ends every job in
//! time by itself, so that one which it has not shown for long past that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_core::ids::{InstanceId, JobKey};
use muster_core::job::{Completed, Conclusion, JobEvent, JobEvidence, JobPhase, JobRecord};
use muster_core::machine::{Machine, instance_of};
use muster_core::ports::{GithubError, Records, Snapshot, Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::intake::Intake;

use super::Healed;
use super::around::Around;
use super::registrations::Registrations;

/// Silent jobs asked for in one step.
pub const ASKED_MAX: usize = 20;
/// A job is silent when nothing was heard of it for so long; each answer that it goes on doubles the time, ...
const SILENT_AFTER: Duration = Duration::from_secs(600);
/// ... up to this.
const SILENT_MAX: Duration = Duration::from_secs(3_600);
/// A job whose machine is gone or has said that it is done is asked for this soon.
const ORPHANED_AFTER: Duration = Duration::from_secs(120);
/// GitHub fails a job that was queued for a day, ends one that has run for five days, and a run after 35 ("Actions limits"):
/// what it does not show an hour later is over.
const QUEUED_MAX: Duration = Duration::from_secs(25 * 3_600);
/// Likewise of a job that runs.
const RUNNING_MAX: Duration = Duration::from_secs((5 * 24 + 1) * 3_600);
/// Likewise of a run that waits for an approval.
const WAITING_MAX: Duration = Duration::from_secs((35 * 24 + 1) * 3_600);
/// How such a job has ended is not known. GitHub has no such word.
const NOT_SHOWN: &str = "not_shown";

/// One that was asked for.
struct Asked {
    at: Timestamp,
    /// How long it is left alone.
    wait: Duration,
    /// Whether GitHub did not show it.
    hidden: bool,
}

/// Silent jobs that were asked for.
#[derive(Default)]
pub(super) struct Silent {
    asked: BTreeMap<JobKey, Asked>,
}

impl Silent {
    /// Asks for jobs of which nothing was heard for long.
    pub(super) async fn step<S: Store, R: Records, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        intake: &Intake<S>,
        (snapshot, registrations): (&Snapshot, &Registrations),
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        let now = around.now();
        let live: BTreeSet<JobKey> = snapshot.jobs.iter().map(|job| job.key).collect();
        self.asked.retain(|key, _| live.contains(key));
        for job in self.due(snapshot, registrations, now) {
            if around.is_over() {
                break;
            }
            let told = match around.ask(around.github.job(&job.about, job.key.job)).await {
                Ok(told) => told,
                Err(error) => {
                    healed.troubles.push(format!("asking for job {}: {error}", job.key.job));
                    if matches!(error, GithubError::Limited { .. }) {
                        break;
                    }
                    // Others have their turn before it is asked for again.
                    self.asked.insert(job.key, Asked { at: now, wait: self.next_wait(job.key), hidden: false });
                    continue;
                }
            };
            let hidden_before = self.asked.get(&job.key).is_some_and(|asked| asked.hidden);
            let (hidden, wait) = (told.is_none(), self.next_wait(job.key));
            let further = match told {
                Some(event) => is_further(&event, job).then_some(event),
                None => (hidden_before && is_over_by_now(job, now)).then(|| never_shown(job, now)),
            };
            match further {
                Some(event) => {
                    healed.silent.push(event.key);
                    intake.put(event, now, None).await?;
                    self.asked.remove(&job.key);
                }
                None => {
                    self.asked.insert(job.key, Asked { at: now, wait, hidden });
                }
            }
        }
        Ok(())
    }

    /// How long a job is left alone after another question that told nothing new.
    fn next_wait(&self, key: JobKey) -> Duration {
        self.asked.get(&key).map_or(SILENT_AFTER, |asked| (asked.wait * 2).min(SILENT_MAX))
    }

    /// Those whose turn it is, the longest silent first. Half of the places are for those whose machine is gone, if there are so
    /// many: a long queue at a cap does not keep them waiting.
    fn due<'a>(&self, snapshot: &'a Snapshot, registrations: &Registrations, now: Timestamp) -> Vec<&'a JobRecord> {
        let machines: BTreeMap<&InstanceId, &Machine> =
            snapshot.machines.iter().map(|machine| (&machine.instance, machine)).collect();
        let (mut orphans, mut others): (Vec<(Timestamp, &JobRecord)>, Vec<_>) = (Vec::new(), Vec::new());
        let vouched = |job: &JobRecord| job.runner().is_some_and(|runner| registrations.vouches(&runner.name, now));
        for job in &snapshot.jobs {
            let orphaned = is_orphaned(job, &machines);
            if !orphaned && vouched(job) {
                continue;
            }
            let (since, after) = match self.asked.get(&job.key) {
                Some(asked) => (asked.at, asked.wait),
                None => (heard_at(job), SILENT_AFTER),
            };
            let after = if orphaned { after.min(ORPHANED_AFTER) } else { after };
            if now.since(since) >= after {
                if orphaned { &mut orphans } else { &mut others }.push((since, job));
            }
        }
        for due in [&mut orphans, &mut others] {
            due.sort_by_key(|(since, job)| (*since, job.key));
        }
        let first = orphans.len().min((ASKED_MAX / 2).max(ASKED_MAX.saturating_sub(others.len())));
        let all = orphans.into_iter().take(first).chain(others);
        all.take(ASKED_MAX).map(|(_, job)| job).collect()
    }
}

/// When something was last told of a job, as far as the record says.
pub(super) fn heard_at(job: &JobRecord) -> Timestamp {
    let queued = job.queued.as_ref().map(|queued| queued.received_at);
    let started = job.started.as_ref().map(|started| started.started_at);
    queued.into_iter().chain(started).chain(job.waiting).max().unwrap_or(job.first_heard)
}

/// Whether GitHub has ended the job by itself, if nothing else has.
fn is_over_by_now(job: &JobRecord, now: Timestamp) -> bool {
    let longest = match job.phase() {
        JobPhase::Queued => QUEUED_MAX,
        JobPhase::Running => RUNNING_MAX,
        JobPhase::Waiting | JobPhase::Completed => WAITING_MAX,
    };
    now.since(heard_at(job)) >= longest
}

fn never_shown(job: &JobRecord, now: Timestamp) -> JobEvent {
    let conclusion = Conclusion::from_word(NOT_SHOWN);
    let completed = Completed { completed_at: now, conclusion, started_at: None, runner: None };
    JobEvent { key: job.key, about: job.about.clone(), evidence: JobEvidence::Completed(completed) }
}

/// Whether the job runs on a machine of ours that is gone, or that says it is done.
fn is_orphaned(job: &JobRecord, machines: &BTreeMap<&InstanceId, &Machine>) -> bool {
    let Some(instance) = job.runner().and_then(|runner| instance_of(&runner.name)) else { return false };
    let over = |machine: &&Machine| machine.gone_at.is_some() || machine.told.done.is_some();
    machines.get(&instance).is_none_or(over)
}

/// Whether GitHub says more of a job than is known.
fn is_further(event: &JobEvent, known: &JobRecord) -> bool {
    let told = match &event.evidence {
        JobEvidence::Waiting => JobPhase::Waiting,
        JobEvidence::Queued { .. } => JobPhase::Queued,
        JobEvidence::InProgress(_) => JobPhase::Running,
        JobEvidence::Completed(_) => JobPhase::Completed,
    };
    event.key == known.key && told > known.phase()
}
