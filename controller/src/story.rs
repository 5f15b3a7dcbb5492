//! What became of a job, for people: its ledger entry, its chain of events, and why it waits or ran.
//!
//! Invariant: nothing here decides. The entry is derived from the record and the configuration; why a job waits is read off
//! a plan that is made and not executed.

use std::fmt;

use muster_core::config::{FleetConfig, Resolution};
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{JobId, Zone};
use muster_core::job::{JobEvidence, JobPhase, JobRecord, STALL_ROUNDS_MAX};
use muster_core::plan::{Plan, Policy, plan};
use muster_core::ports::{NewFact, Snapshot, Store, StoreError};
use muster_core::time::Timestamp;
use muster_core::world::{Merged, World};
use muster_store::Upkeep;
use serde::Serialize;
use serde_json::{Value, json};

/// Facts that no tick has merged yet, as many as a story takes into account.
const PENDING_MAX: usize = 10_000;

/// One job as the ledger shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// GitHub's id.
    pub job_id: i64,
    /// The run's attempt.
    pub attempt: u32,
    /// `waiting`, `queued`, `running`, `completed`; or `refused`, whatever its state: no class of ours serves it.
    pub phase: &'static str,
    /// The class that serves it.
    pub class: Option<String>,
    /// Why it is refused; `unservable` if idle runners of its class do not get it.
    pub reason: Option<&'static str>,
    /// The runner that has or had it.
    pub runner: Option<String>,
    /// When it became runnable for us, RFC 3339.
    pub demanded_at: Option<String>,
    /// When it started.
    pub started_at: Option<String>,
    /// When it was over.
    pub completed_at: Option<String>,
    /// How it ended.
    pub conclusion: Option<String>,
    /// Its state at GitHub, also of a refused job.
    pub state: &'static str,
    /// Its repository.
    pub repository: String,
}

impl LedgerEntry {
    /// The entry of a record, as this configuration resolves it.
    pub fn of(record: &JobRecord, config: Option<&FleetConfig>) -> LedgerEntry {
        let resolution = config.map(|config| World::resolve(record, config));
        let refusal = resolution.as_ref().and_then(Resolution::refusal);
        let state = record.phase().as_word();
        let completed = record.completed.as_ref();
        LedgerEntry {
            job_id: record.key.job.0,
            attempt: record.key.attempt,
            phase: if refusal.is_some() { "refused" } else { state },
            class: resolution.as_ref().and_then(Resolution::class).map(|class| class.id.to_string()),
            reason: refusal.map(|refusal| refusal.kind()).or(record.is_unservable().then_some("unservable")),
            runner: record.runner().map(|runner| runner.name.to_string()),
            demanded_at: show(record.demanded_at()),
            started_at: show(record.started_at()),
            completed_at: show(completed.map(|completed| completed.completed_at)),
            conclusion: completed.map(|completed| completed.conclusion.to_string()),
            state,
            repository: record.about.repository.to_string(),
        }
    }
}

/// One event of a job's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainLink {
    /// When it happened, or when we heard if it does not say.
    pub at: String,
    /// When the door received it.
    pub received_at: String,
    /// What happened.
    pub event: &'static str,
    /// What it says beyond that.
    pub detail: Value,
}

/// The story of one attempt of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Story {
    /// Its ledger entry.
    #[serde(flatten)]
    pub entry: LedgerEntry,
    /// Its chain of events, oldest first.
    pub events: Vec<ChainLink>,
    /// From demand to start, seconds.
    pub queue_time_s: Option<f64>,
    /// Why it waits, runs or ran.
    pub why: String,
}

fn show(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// The configuration that the ledger keeps as the last good one.
///
/// # Errors
/// That of the store.
pub async fn kept_config(store: &impl Store) -> Result<Option<FleetConfig>, StoreError> {
    Ok(store.config().await?.and_then(|text| FleetConfig::parse("the ledger's configuration", &text).config))
}

/// The stories of all attempts of a job. Empty if the ledger does not know it.
///
/// # Errors
/// That of the store.
pub async fn of_job(store: &impl Upkeep, job: JobId, now: Timestamp) -> Result<Vec<Story>, StoreError> {
    let config = kept_config(store).await?;
    let history = store.history(job).await?;
    let records = store.ledger().await?.into_iter().filter(|record| record.key.job == job);
    let snapshot = store.load().await?;
    let pending = store.new_facts(PENDING_MAX).await?;
    let outlook = config.as_ref().map(|config| outlook(snapshot, &pending, config, now));
    let seen = config.as_ref().zip(outlook.as_ref());
    Ok(records.map(|record| tell(&record, &history, seen)).collect())
}

/// What the next tick will see, and plan.
fn outlook(snapshot: Snapshot, pending: &[NewFact], config: &FleetConfig, now: Timestamp) -> (World, Plan) {
    let held = snapshot.holds.iter().map(|hold| &hold.offering).filter(|offering| offering.is_in_a_zone());
    let held_zones: Vec<Zone> = held.map(|offering| offering.zone.clone()).collect();
    let mut world = World::from_snapshot(snapshot, config);
    let mut merged = Merged::default();
    for fact in pending.iter().filter_map(|pending| pending.fact.as_ref().ok()) {
        world.merge(fact, config, &mut merged);
    }
    world.expire_unmatched(now);
    // The cloud tells its zones to the scaler, and the ledger does not keep them: those in which something was launched or
    // refused lately, or any one, so that caps, budget and holds are what decides here too.
    let machines = world.machines().map(|machine| machine.purpose.zone.clone());
    let mut zones: Vec<Zone> = machines.chain(held_zones).collect();
    zones.sort_unstable();
    zones.dedup();
    if zones.is_empty() {
        zones.push(Zone::new("any zone"));
    }
    world.set_zones(zones);
    let plan = plan(&world, config, Policy::Target, now);
    (world, plan)
}

type Seen<'a> = Option<(&'a FleetConfig, &'a (World, Plan))>;

fn tell(record: &JobRecord, history: &[Fact], seen: Seen<'_>) -> Story {
    let events = history.iter().filter_map(|fact| link(fact, record)).collect();
    let queue_time_s = record.queue_time().map(|span| span.as_secs_f64());
    let config = seen.map(|(config, _)| config);
    Story { entry: LedgerEntry::of(record, config), events, queue_time_s, why: why(record, seen) }
}

fn link(fact: &Fact, record: &JobRecord) -> Option<ChainLink> {
    let FactBody::Job(event) = &fact.body else { return None };
    if event.key != record.key {
        return None;
    }
    let runner = |runner: Option<&muster_core::job::RunnerRef>| runner.map(|runner| runner.name.to_string());
    let (at, event, detail) = match &event.evidence {
        JobEvidence::Queued { created_at, approved_at } => {
            let detail = json!({ "created_at": show(*created_at), "approved_at": show(*approved_at) });
            (approved_at.or(*created_at), "queued", detail)
        }
        JobEvidence::Waiting => (None, "waiting", json!({})),
        JobEvidence::InProgress(started) => {
            (Some(started.started_at), "in_progress", json!({ "runner": runner(started.runner.as_ref()) }))
        }
        JobEvidence::Completed(completed) => {
            let detail = json!({
                "conclusion": completed.conclusion.as_word(), "runner": runner(completed.runner.as_ref()),
            });
            (Some(completed.completed_at), "completed", detail)
        }
    };
    let at = at.unwrap_or(fact.received_at).to_string();
    Some(ChainLink { at, received_at: fact.received_at.to_string(), event, detail })
}

fn why(record: &JobRecord, seen: Seen<'_>) -> String {
    let Some((config, (world, plan))) = seen else {
        return "the ledger holds no configuration yet: no tick has run".to_owned();
    };
    let class = match World::resolve(record, config) {
        Resolution::Class(class) => class,
        Resolution::Refused(refusal) => return refusal.why().to_owned(),
    };
    match record.phase() {
        JobPhase::Waiting => "it waits at GitHub for an approval or a deployment gate; it is no demand yet".to_owned(),
        JobPhase::Running => match record.runner() {
            Some(runner) => format!("runner {} has it", runner.name),
            None => "a runner has it".to_owned(),
        },
        JobPhase::Completed => match (record.runner(), &record.completed) {
            (Some(runner), Some(completed)) => format!("runner {} ran it: {}", runner.name, completed.conclusion),
            (_, Some(completed)) => format!("it ended before a runner took it: {}", completed.conclusion),
            (_, None) => "it is over".to_owned(),
        },
        JobPhase::Queued if record.is_unservable() => format!(
            "GitHub gave it to none of {STALL_ROUNDS_MAX} idle runners of class {} in turn; it is no demand for half an hour, and then has one more round. Does the \
             runner group let its repository in? Was it cancelled while no webhook came through?",
            class.id
        ),
        JobPhase::Queued => waits_because(world, plan, &class.id),
    }
}

fn waits_because(world: &World, plan: &Plan, class: &muster_core::ids::ClassId) -> String {
    if let Some((_, count, wait)) = plan.waits.iter().find(|(waiting, ..)| waiting == class) {
        return format!("{count} jobs of class {class} wait: {wait}");
    }
    let state = world.class(class);
    let (queued, supply, idle) =
        state.map_or((0, 0, 0), |state| (state.queued.len(), state.supply(), state.idle.len()));
    format!(
        "it is one of {queued} queued jobs of class {class}; {supply} machines are here or on their way, {idle} of them \
         idle; GitHub chooses which job each one gets"
    )
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = &self.entry;
        writeln!(f, "job {} attempt {} of {}: {}", entry.job_id, entry.attempt, entry.repository, entry.phase)?;
        if let Some(class) = &entry.class {
            writeln!(f, "  class  {class}")?;
        }
        writeln!(f, "  why    {}", self.why)?;
        if let Some(seconds) = self.queue_time_s {
            writeln!(f, "  queue  {seconds:.1} s")?;
        }
        for link in &self.events {
            writeln!(f, "  {}  {:<12} received {}  {}", link.at, link.event, link.received_at, link.detail)?;
        }
        Ok(())
    }
}
