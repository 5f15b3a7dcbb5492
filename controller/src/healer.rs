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
//! - **Silent jobs.** A job that waits or runs and of which nothing was heard for long is asked for by its number, unless the
//!   last list of registrations had its runner (`silent`).
//! - **Registrations.** One slow list of all of them, instead of a question for each runner (`registrations`). It tells the
//!   release of each runner too (`releases`).
//! - **Interrupted runs.** A run whose jobs failed by the loss of their machines is run again, where its pool asks for that
//!   (`reruns`).
//! - **Stranded jobs.** A job that GitHub keeps open on a machine that is gone is told, and its run is cancelled, where
//!   its pool asks for re-runs (`stranded`).
//!
//! What lives here: when to look, and what is taken in. What may not: the requests (the adapter's), and whether a job is
//! demand (the merge's).
//!
//! Invariant: nothing is healed that GitHub does not say itself, and what is found enters the ledger as a fact like any
//! other: told twice it changes nothing. A delivery counts as dealt with only when its fact is stored.

mod around;
mod healed;
pub mod log;
pub mod registrations;
pub mod releases;
pub mod reruns;
pub mod silent;
pub mod stranded;
pub mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use muster_core::ports::{Github, Records, Reruns as Runs, Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::intake::Intake;

use self::around::Around;
pub use self::healed::Healed;
use self::log::Log;
use self::registrations::Registrations;
use self::releases::Releases;
use self::reruns::Reruns;
use self::silent::Silent;
use self::stranded::{STRANDED_AFTER, Stranded};
use self::sweep::Sweep;

/// How often the log of deliveries is read.
pub const HEAL_EVERY: Duration = Duration::from_secs(60);
/// How often repositories are swept, and silent jobs asked for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// The healer: one for each fleet.
pub struct Healer<S, R, K> {
    store: Arc<S>,
    records: Arc<R>,
    clock: K,
    intake: Intake<S>,
    looked_around_at: Option<Timestamp>,
    log: Log,
    silent: Silent,
    sweep: Sweep,
    registrations: Registrations,
    releases: Releases,
    reruns: Reruns,
    stranded: Stranded,
}

impl<S: Store, R: Records + Github + Runs, K: Clock> Healer<S, R, K> {
    /// A healer that has looked at nothing yet. `intake` leads into the same ledger.
    pub fn new(store: Arc<S>, records: Arc<R>, clock: K, intake: Intake<S>) -> Healer<S, R, K> {
        Healer {
            store,
            records,
            clock,
            intake,
            looked_around_at: None,
            log: Log::default(),
            silent: Silent::default(),
            sweep: Sweep::default(),
            registrations: Registrations::default(),
            releases: Releases::default(),
            reruns: Reruns::default(),
            stranded: Stranded::default(),
        }
    }

    /// Reads the log of deliveries; sweeps too, and lists registrations, if it is time. What GitHub refuses, and what the ledger
    /// does not take, is among the troubles.
    pub async fn step(&mut self) -> Healed {
        self.step_until(Timestamp::MAX).await
    }

    /// The same, in which nothing begins after `until`: the next step goes on there.
    pub async fn step_until(&mut self, until: Timestamp) -> Healed {
        let mut healed = Healed::default();
        let around = Around { store: &*self.store, github: &*self.records, clock: &self.clock, until };
        let (intake, config) = (&self.intake, self.intake.config());
        if let Err(error) = self.log.step(around, intake, &mut healed).await {
            healed.troubles.push(format!("deliveries: {error}"));
        }
        let now = around.now();
        if self.looked_around_at.is_none_or(|at| now.since(at) >= SWEEP_EVERY) && !around.is_over() {
            let parts = (&mut self.silent, &mut self.stranded, &mut self.sweep);
            match look_around(around, intake, parts, &self.registrations, &mut healed).await {
                Ok(()) => self.looked_around_at = Some(now),
                Err(error) => healed.troubles.push(format!("reading the ledger: {error}")),
            }
        }
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
}

/// Silent jobs, stranded ones, and the sweep: all from one reading of the ledger. What one of them cannot store does not keep
/// the others.
async fn look_around<S: Store, R: Records + Runs, K: Clock>(
    around: Around<'_, S, R, K>,
    intake: &Intake<S>,
    (silent, stranded, sweep): (&mut Silent, &mut Stranded, &mut Sweep),
    registrations: &Registrations,
    healed: &mut Healed,
) -> Result<(), StoreError> {
    let snapshot = around.store.load().await?;
    let dead = registrations.dead_for(STRANDED_AFTER);
    if let Err(error) = silent.step(around, intake, (&snapshot, registrations), healed).await {
        healed.troubles.push(format!("silent jobs: {error}"));
    }
    if let Err(error) = stranded.step(around, &intake.config(), (&snapshot, &dead), healed).await {
        healed.troubles.push(format!("stranded jobs: {error}"));
    }
    if let Err(error) = sweep.step(around, intake, &snapshot, healed).await {
        healed.troubles.push(format!("sweep: {error}"));
    }
    Ok(())
}
