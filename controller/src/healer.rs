//! The healer: jobs whose webhook never came, jobs that are over without our having heard, and registrations that do not go
//! with the ledger.
//!
//! Looks at what GitHub itself remembers, each cheaper than what it replaces:
//!
//! - **Deliveries.** GitHub keeps a log of the deliveries that nobody took. Every minute those that are new in it are read, and
//!   a `queued` is taken in as if it had come. A door that was down for an hour heals by this within a minute of its return.
//! - **The sweep.** A delivery that the log does not have either is found by asking repositories for the jobs that wait: those
//!   that jobs came from lately, and those in which something was pushed. Answers that have not changed cost no request, and a
//!   run whose webhooks arrive is not looked into: one that was lost leaves its run silent sooner or later.
//! - **Silent jobs.** A job that waits or runs and of which nothing was heard for long is asked for by its number.
//! - **Registrations.** One slow list of all of them, instead of a question for each runner (`registrations`). It tells the
//!   release of each runner too (`releases`).
//! - **Interrupted runs.** A run whose jobs failed by the loss of their machines is run again, where its pool asks for that
//!   (`reruns`).
//! - **Stranded jobs.** A job that GitHub keeps open on a machine that is gone is told, and its run is cancelled first, where
//!   its pool asks for re-runs (`stranded`).
//!
//! What lives here: when to look, and what is taken in. What may not: the requests (the adapter's), and whether a job is
//! demand (the merge's).
//!
//! Invariant: nothing is healed that GitHub does not say itself, and what is found enters the ledger as a fact like any
//! other: told twice it changes nothing. A delivery counts as dealt with only when its fact is stored.

mod healed;
pub mod registrations;
pub mod releases;
pub mod reruns;
pub mod stranded;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::{InstanceId, JobKey, RunId};
use muster_core::job::{JobEvent, JobEvidence, JobPhase, JobRecord};
use muster_core::machine::{Machine, instance_of};
use muster_core::ports::{FailedDelivery, Github, GithubError, Records, Reruns as Runs, Snapshot, Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::intake::Intake;
use muster_webhook::signature::Signed;

pub use self::healed::Healed;
use self::registrations::Registrations;
use self::releases::Releases;
use self::reruns::Reruns;
use self::stranded::Stranded;
use crate::reconcile::from_github;

/// How often the log of deliveries is read.
pub const HEAL_EVERY: Duration = Duration::from_secs(60);
/// How often repositories are swept, and silent jobs asked for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// How far back the first look goes: GitHub fails a job that was queued for a day (GitHub Actions limits).
pub const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// A delivery may appear in the log some time after it was tried.
const OVERLAP: Duration = Duration::from_secs(300);
/// Payloads read in one step: each is a request.
pub const PAYLOADS_MAX: usize = 100;
/// What a delivery of this age says may be over: the job is asked for too.
const STALE_AFTER: Duration = Duration::from_secs(120);
/// Repositories swept in one step. Each costs two lists at least where something changes all the time: so many are some
/// 8,600 requests a day at most, and a fleet that has more active ones sweeps each less often.
pub const REPOSITORIES_MAX: usize = 15;
/// A run of which something was heard within this time is let be.
const HEARD_LATELY: Duration = Duration::from_secs(60);
/// A run of which nothing was heard since a sweep looked into it is looked into again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(900);
/// A repository is swept for so long after its last job or push.
const ACTIVE_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Silent jobs asked for in one step.
pub const ASKED_MAX: usize = 20;
/// A job is silent when nothing was heard of it for so long; each answer that it goes on doubles the time, ...
const SILENT_AFTER: Duration = Duration::from_secs(600);
/// ... up to this.
const SILENT_MAX: Duration = Duration::from_secs(3_600);
/// A job whose machine is gone or has said that it is done is asked for this soon.
const ORPHANED_AFTER: Duration = Duration::from_secs(120);
/// Where the log was read to, among the ledger's notes: milliseconds since 1970.
const MARK: &str = "deliveries-healed-to";

/// The healer: one for each fleet.
pub struct Healer<S, R, K> {
    store: Arc<S>,
    records: Arc<R>,
    clock: K,
    intake: Intake<S>,
    /// What was dealt with since [`OVERLAP`] before the mark, by its place in the log.
    done: BTreeMap<Arc<str>, Timestamp>,
    mark: Option<Timestamp>,
    /// The mark as the ledger has it.
    kept: Option<Timestamp>,
    swept_at: Option<Timestamp>,
    /// Repositories, and when they were last active.
    active: BTreeMap<Arc<str>, Timestamp>,
    /// Which repository was swept last: the next sweep goes on after it.
    last_swept: Option<Arc<str>>,
    /// Silent jobs that were asked for: when, and how long they are left alone.
    asked: BTreeMap<JobKey, (Timestamp, Duration)>,
    registrations: Registrations,
    releases: Releases,
    reruns: Reruns,
    stranded: Stranded,
    /// When a sweep last looked into runs that the ledger knows.
    looked: BTreeMap<RunId, Timestamp>,
}

impl<S: Store, R: Records + Github + Runs, K: Clock> Healer<S, R, K> {
    /// A healer that has looked at nothing yet. `intake` leads into the same ledger.
    pub fn new(store: Arc<S>, records: Arc<R>, clock: K, intake: Intake<S>) -> Healer<S, R, K> {
        Healer {
            store,
            records,
            clock,
            intake,
            done: BTreeMap::new(),
            mark: None,
            kept: None,
            swept_at: None,
            active: BTreeMap::new(),
            last_swept: None,
            asked: BTreeMap::new(),
            registrations: Registrations::default(),
            releases: Releases::default(),
            reruns: Reruns::default(),
            stranded: Stranded::default(),
            looked: BTreeMap::new(),
        }
    }

    /// Reads the log of deliveries; sweeps too, and lists registrations, if it is time. What GitHub refuses, and what the ledger does not take, is among
    /// the troubles.
    pub async fn step(&mut self) -> Healed {
        let mut healed = Healed::default();
        if let Err(error) = self.read_log(&mut healed).await {
            healed.troubles.push(format!("deliveries: {error}"));
        }
        let now = self.clock.now();
        if self.swept_at.is_none_or(|at| now.since(at) >= SWEEP_EVERY) {
            match self.look_around(&mut healed).await {
                Ok(()) => self.swept_at = Some(now),
                Err(error) => healed.troubles.push(format!("sweep: {error}")),
            }
        }
        let around = (&*self.store, &*self.records, &self.clock);
        let config = self.intake.config();
        if let Err(error) = self.reruns.step(around, &config, &mut healed).await {
            healed.troubles.push(format!("re-runs: {error}"));
        }
        match self.registrations.compare(around, &config, &mut healed).await {
            Ok(None) => {}
            Ok(Some((listed, snapshot))) => {
                let seen = (&*listed, &snapshot);
                if let Err(error) = self.releases.compare(around, &config, seen, &mut healed).await {
                    healed.troubles.push(format!("runner releases: {error}"));
                }
            }
            Err(error) => healed.troubles.push(format!("registrations: {error}")),
        }
        healed
    }

    async fn look_around(&mut self, healed: &mut Healed) -> Result<(), StoreError> {
        let snapshot = self.store.load().await?;
        self.ask_for_silent(&snapshot, healed).await?;
        let around = (&*self.store, &*self.records, &self.clock);
        let dead = self.registrations.stranded();
        self.stranded.step(around, &self.intake.config(), (&snapshot, dead), healed).await?;
        self.sweep(&snapshot, healed).await
    }

    async fn read_log(&mut self, healed: &mut Healed) -> Result<(), StoreError> {
        let now = self.clock.now();
        let oldest = now - LOOK_BACK;
        let kept = match self.mark {
            Some(mark) => mark,
            None => self.kept_mark().await?.unwrap_or(oldest),
        };
        let since = (kept - OVERLAP).max(oldest);
        let failed = match from_github(&self.clock, self.records.failed_since(since)).await {
            Ok(failed) => failed,
            Err(error) => {
                healed.troubles.push(format!("reading the log of deliveries: {error}"));
                return Ok(());
            }
        };
        self.done.retain(|_, at| *at >= since);
        let mut payloads = 0;
        let mut mark = now;
        for delivery in failed {
            if self.done.contains_key(&delivery.place) {
                continue;
            }
            // What else is lost than `queued` is heard of when the job is silent for long.
            let told = if &*delivery.action != "queued" {
                Ok(())
            } else if payloads == PAYLOADS_MAX {
                Err(format!("more than {PAYLOADS_MAX} deliveries to heal: the rest is for the next look"))
            } else {
                payloads += 1;
                self.heal(&delivery, healed).await?
            };
            if let Err(why) = told {
                healed.troubles.push(why);
                mark = mark.min(delivery.delivered_at);
                break;
            }
            self.done.insert(delivery.place, delivery.delivered_at);
        }
        self.mark = Some(mark);
        // Looks overlap anyway: it need not be written every time.
        if self.kept.is_none_or(|kept| mark < kept || mark.since(kept) >= OVERLAP) {
            self.store.put_note(MARK, &mark.unix_ms().to_string()).await?;
            self.kept = Some(mark);
        }
        Ok(())
    }

    async fn kept_mark(&self) -> Result<Option<Timestamp>, StoreError> {
        let kept = self.store.note(MARK).await?;
        Ok(kept.and_then(|text| text.parse().ok()).map(Timestamp::from_unix_ms))
    }

    /// Takes in what a delivery says; why not, if it has to be tried again.
    async fn heal(&self, delivery: &FailedDelivery, healed: &mut Healed) -> Result<Result<(), String>, StoreError> {
        let again = |error: GithubError| Ok(Err(format!("delivery {}: {error}", delivery.guid)));
        let payload = match from_github(&self.clock, self.records.payload(delivery)).await {
            Ok(Some(payload)) => payload,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return again(error),
        };
        // GitHub tried at that instant: the job's clock counts from then, and not from ours.
        let event = match self.intake.read(Signed::out_of_the_log(&payload), delivery.delivered_at) {
            Ok(Ok(event)) => event,
            Ok(Err(_)) => return Ok(Ok(())),
            Err(error) => {
                healed.troubles.push(format!("delivery {} is left out: {error}", delivery.guid));
                return Ok(Ok(()));
            }
        };
        let late = self.clock.now().since(delivery.delivered_at);
        if late >= STALE_AFTER {
            match from_github(&self.clock, self.records.job(&event.about, event.key.job)).await {
                // First, so that nobody takes for demand what is over.
                Ok(Some(now)) if !matches!(now.evidence, JobEvidence::Queued { .. }) => {
                    self.intake.put(now, self.clock.now(), None).await?;
                }
                Ok(_) => {}
                Err(error) => return again(error),
            }
        }
        let stored = self.intake.put(event, delivery.delivered_at, Some(&delivery.guid)).await?;
        if !stored.duplicate {
            healed.deliveries.push((stored.event.key, late));
        }
        Ok(Ok(()))
    }

    /// Asks for jobs of which nothing was heard for long, those first that have been silent longest.
    async fn ask_for_silent(&mut self, snapshot: &Snapshot, healed: &mut Healed) -> Result<(), StoreError> {
        let now = self.clock.now();
        let live: BTreeSet<JobKey> = snapshot.jobs.iter().map(|job| job.key).collect();
        self.asked.retain(|key, _| live.contains(key));
        let machines: BTreeMap<&InstanceId, &Machine> =
            snapshot.machines.iter().map(|machine| (&machine.instance, machine)).collect();
        let mut due: Vec<(Timestamp, &JobRecord)> = Vec::new();
        for job in &snapshot.jobs {
            let (since, after) = match self.asked.get(&job.key) {
                Some((at, after)) => (*at, *after),
                None => (heard_at(job), SILENT_AFTER),
            };
            let after = if is_orphaned(job, &machines) { after.min(ORPHANED_AFTER) } else { after };
            if now.since(since) >= after {
                due.push((since, job));
            }
        }
        due.sort_by_key(|(since, job)| (*since, job.key));
        for (_, job) in due.into_iter().take(ASKED_MAX) {
            match from_github(&self.clock, self.records.job(&job.about, job.key.job)).await {
                Ok(Some(event)) if is_further(&event, job) => {
                    healed.silent.push(event.key);
                    self.intake.put(event, now, None).await?;
                    self.asked.remove(&job.key);
                }
                // It goes on. Or GitHub does not show it to us, which is no evidence that it is over.
                Ok(_) => {
                    let waited =
                        self.asked.get(&job.key).map_or(SILENT_AFTER, |(_, after)| (*after * 2).min(SILENT_MAX));
                    self.asked.insert(job.key, (now, waited));
                }
                Err(error) => {
                    healed.troubles.push(format!("asking for job {}: {error}", job.key.job));
                    if matches!(error, GithubError::Limited { .. }) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks repositories for jobs that wait, and takes in what the ledger does not know.
    async fn sweep(&mut self, snapshot: &Snapshot, healed: &mut Healed) -> Result<(), StoreError> {
        let now = self.clock.now();
        for job in &snapshot.jobs {
            self.active.insert(job.about.repository.clone(), now);
        }
        match from_github(&self.clock, self.records.pushed_since(now - ACTIVE_FOR)).await {
            Ok(pushed) => self.active.extend(pushed.into_iter().map(|repository| (repository, now))),
            Err(error) => healed.troubles.push(format!("listing repositories: {error}")),
        }
        self.active.retain(|_, at| now.since(*at) < ACTIVE_FOR);
        let heard = runs_heard_of(snapshot);
        self.looked.retain(|run, _| heard.contains_key(run));
        for repository in self.next_repositories() {
            let let_be: BTreeSet<RunId> = heard
                .iter()
                .filter(|(run, (at, of))| *of == repository && self.goes_well(**run, *at, now))
                .map(|(run, _)| *run)
                .collect();
            let waiting = match from_github(&self.clock, self.records.waiting(&repository, &let_be)).await {
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
            let ours = waiting.into_iter().filter(|event| self.intake.resolve(event).class().is_some());
            let ours: Vec<JobEvent> = ours.collect();
            let keys: Vec<JobKey> = ours.iter().map(|event| event.key).collect();
            let known: BTreeSet<JobKey> = self.store.jobs(&keys).await?.into_iter().map(|job| job.key).collect();
            for event in ours.into_iter().filter(|event| !known.contains(&event.key)) {
                let created_at = match &event.evidence {
                    JobEvidence::Queued { created_at, .. } => *created_at,
                    JobEvidence::Waiting | JobEvidence::InProgress(_) | JobEvidence::Completed(_) => None,
                };
                let stored = self.intake.put(event, now, None).await?;
                if !stored.duplicate {
                    healed.swept.push((stored.event.key, now.since(created_at.unwrap_or(now))));
                }
            }
            let looked = heard.iter().filter(|(run, (_, of))| *of == repository && !let_be.contains(run));
            self.looked.extend(looked.map(|(run, _)| (*run, now)));
            self.last_swept = Some(repository);
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
        let begin = self.last_swept.as_ref().map_or(0, after);
        let turn = all.iter().cycle().skip(begin).take(all.len().min(REPOSITORIES_MAX));
        turn.map(|repository| (*repository).clone()).collect()
    }
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

/// When something was last told of a job, as far as the record says.
fn heard_at(job: &JobRecord) -> Timestamp {
    let queued = job.queued.as_ref().map(|queued| queued.received_at);
    let started = job.started.as_ref().map(|started| started.started_at);
    queued.into_iter().chain(started).chain(job.waiting).max().unwrap_or(job.first_heard)
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
