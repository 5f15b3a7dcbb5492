//! The registrar: gives a claimed machine its just-in-time runner configuration, within GitHub's budget, without waiting
//! for a tick.
//!
//! What lives here: which claim is next, the mint, the sealing. What may not: whether a machine may register at all; that
//! was decided by the launch intent, and is read from the machine's row.
//!
//! Invariant: a claim gets at most one configuration. The claim row takes the first; a registration that lost the race is
//! removed.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use muster_core::bucket::TokenBucket;
use muster_core::claim::ClaimRow;
use muster_core::config::FleetConfig;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::InstanceId;
use muster_core::machine::{Machine, MachineEvent, Registration, Removal, Report, runner_name};
use muster_core::ports::{Github, GithubError, MintRequest, Store, StoreError, Switch};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::seal::{Seal, SealError, SealPurpose, Sealer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::reconcile::from_github;

/// GitHub's secondary limit is 900 points a minute and a mint costs 5: 180 mints a minute, 3 a second.
pub const MINTS_PER_SECOND: f64 = 3.0;
/// Letters of the suffix that makes every attempt's name a new one.
const SUFFIX_LETTERS: usize = 6;

/// Mints under way at once. One takes GitHub half a second or more, and the budget allows three a second.
pub const MINTS_AT_ONCE: usize = 8;
/// How long the list of those who wait may be used before new claims are looked for.
pub const LIST_AGE_MAX: Duration = Duration::from_secs(2);

/// How long a claim whose mint has failed is left alone; it doubles with each failure in a row, ...
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// ... and grows no longer than this.
pub const RETRY_MAX: Duration = Duration::from_secs(300);
/// While the admin's switch says `freeze` it is looked at this often.
pub const THAW_SEEN_WITHIN: Duration = Duration::from_secs(5);
/// GitHub is left alone for at least this long when it says so, whatever its clock says.
const LIMITED_MIN: Duration = Duration::from_secs(1);

/// What one step has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Minting {
    /// These machines have their configuration; there may be more to do.
    Minted(Vec<InstanceId>),
    /// Nobody waits.
    Nothing,
    /// Somebody waits, and has to until then.
    Wait(Timestamp),
}

/// A mint failed. The claim stands, and a later step tries again under a new name.
#[derive(Debug, Error)]
pub enum MintError {
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// GitHub failed.
    #[error(transparent)]
    Github(#[from] GithubError),
    /// GitHub says that the machine's former registration has a job.
    #[error("the former registration of {0} has a job, GitHub says")]
    FormerBusy(InstanceId),
    /// The claim's key cannot be sealed to.
    #[error("the claim of {0}: {1}")]
    Seal(InstanceId, SealError),
}

/// Those who wait: first who has failed least often, of these the oldest demand. What is wrong with a claim may stay wrong,
/// and must not cost the others their turn.
#[derive(Default)]
struct Waiting {
    listed_at: Option<Timestamp>,
    claims: BTreeMap<(u32, Timestamp, InstanceId), ClaimRow>,
    /// Claims whose mint failed: how often in a row, and until when they are left alone.
    failed: BTreeMap<InstanceId, (u32, Timestamp)>,
    /// Until when GitHub wants to be left alone.
    limited: Option<Timestamp>,
}

/// The registrar.
pub struct Registrar<S, G, K, L> {
    store: Arc<S>,
    github: Arc<G>,
    clock: K,
    sealer: L,
    bucket: Option<Mutex<TokenBucket>>,
    waiting: Mutex<Waiting>,
}

impl<S: Store, G: Github, K: Clock, L: Sealer> Registrar<S, G, K, L> {
    /// A registrar within [`MINTS_PER_SECOND`].
    pub fn new(store: Arc<S>, github: Arc<G>, clock: K, sealer: L) -> Self {
        Registrar::unlimited(store, github, clock, sealer).with_budget(MINTS_PER_SECOND, MINTS_PER_SECOND)
    }

    /// A registrar without a limit of its own: for a simulated world that has none.
    pub fn unlimited(store: Arc<S>, github: Arc<G>, clock: K, sealer: L) -> Self {
        Registrar { store, github, clock, sealer, bucket: None, waiting: Mutex::default() }
    }

    /// Within a bucket of `size` mints, at least 2, that refills at `per_second`.
    #[must_use]
    pub fn with_budget(self, size: f64, per_second: f64) -> Self {
        let bucket = TokenBucket::full(size.max(2.0), per_second, self.clock.now());
        Registrar { bucket: Some(Mutex::new(bucket)), ..self }
    }

    /// Serves the claims whose demand is oldest, as many as the budget allows and at most [`MINTS_AT_ONCE`].
    ///
    /// # Errors
    /// [`MintError`], the first; the claims stand that got nothing.
    pub async fn step(&self, config: &FleetConfig) -> Result<Minting, MintError> {
        if let Some(until) = self.waiting().limited.filter(|until| *until > self.clock.now()) {
            return Ok(Minting::Wait(until));
        }
        // A registration changes what is outside, and the switch says to touch nothing.
        if self.store.switch().await? == Switch::Freeze {
            return Ok(Minting::Wait(self.clock.now() + THAW_SEEN_WITHIN));
        }
        self.list().await?;
        let mut chosen = Vec::new();
        let mut wait = None;
        while chosen.len() < MINTS_AT_ONCE {
            let Some(row) = self.first() else { break };
            // Its machine may have ended since it was listed.
            let machine = self.store.machine(&row.instance).await?.filter(|machine| may_mint(machine, &row));
            // Without a class the plan ends it; it costs no token meanwhile.
            let Some(machine) = machine.filter(|machine| config.class(&machine.purpose.class).is_some()) else {
                self.done(&row);
                continue;
            };
            // A later claim costs a removal too, and GitHub counts the two alike.
            if let Err(until) = self.budget(if row.former.is_some() { 2 } else { 1 }) {
                wait = Some(until);
                break;
            }
            self.done(&row);
            chosen.push((row, machine));
        }
        let mut minted = Vec::new();
        let mut failed = None;
        let asked: Vec<InstanceId> = chosen.iter().map(|(row, _)| row.instance.clone()).collect();
        let outcomes = join_all(chosen.into_iter().map(|(row, machine)| self.mint(row, machine, config))).await;
        let now = self.clock.now();
        for (instance, outcome) in asked.into_iter().zip(outcomes) {
            match outcome {
                Ok(Some(instance)) => minted.push(instance),
                Ok(None) => {}
                Err(MintError::Github(GithubError::Limited { until })) => {
                    wait = wait.max(Some(until.max(now + LIMITED_MIN)));
                    self.waiting().limited = wait;
                }
                Err(error) => {
                    self.put_off(instance, now);
                    failed = failed.or(Some(error));
                }
            }
        }
        match (minted.is_empty(), failed, wait) {
            (false, _, _) => Ok(Minting::Minted(minted)),
            (true, Some(error), _) => Err(error),
            (true, None, Some(until)) => Ok(Minting::Wait(until)),
            (true, None, None) => Ok(Minting::Nothing),
        }
    }

    /// Brings the list of those who wait up to date: when it is empty, and now and then.
    async fn list(&self) -> Result<(), MintError> {
        let now = self.clock.now();
        let known: BTreeSet<InstanceId> = {
            let waiting = self.waiting();
            let fresh = waiting.listed_at.is_some_and(|at| now.since(at) < LIST_AGE_MAX);
            if fresh && !waiting.claims.is_empty() {
                return Ok(());
            }
            waiting.claims.keys().map(|(_, _, instance)| instance.clone()).collect()
        };
        let unminted = self.store.unminted().await?;
        let put_off: BTreeSet<InstanceId> = {
            let open: BTreeSet<&InstanceId> = unminted.iter().map(|row| &row.instance).collect();
            let failed = &mut self.waiting().failed;
            failed.retain(|instance, _| open.contains(instance));
            let later = failed.iter().filter(|(_, (_, until))| *until > now);
            later.map(|(instance, _)| instance.clone()).collect()
        };
        for row in unminted {
            if known.contains(&row.instance) || put_off.contains(&row.instance) {
                continue;
            }
            if let Some(machine) = self.store.machine(&row.instance).await?.filter(|machine| may_mint(machine, &row)) {
                let mut waiting = self.waiting();
                let times = waiting.failed.get(&row.instance).map_or(0, |(times, _)| *times);
                waiting.claims.insert((times, machine.intended_at, row.instance.clone()), row);
            }
        }
        self.waiting().listed_at = Some(now);
        Ok(())
    }

    /// Lets others go before a claim whose mint has failed.
    fn put_off(&self, instance: InstanceId, now: Timestamp) {
        let mut waiting = self.waiting();
        let (times, until) = waiting.failed.entry(instance).or_insert((0, now));
        *until = now + RETRY_FIRST.saturating_mul(1 << (*times).min(8)).min(RETRY_MAX);
        *times += 1;
    }

    fn first(&self) -> Option<ClaimRow> {
        self.waiting().claims.first_key_value().map(|(_, row)| row.clone())
    }

    fn done(&self, row: &ClaimRow) {
        let mut waiting = self.waiting();
        // It is the first one, unless the list was made anew meanwhile.
        match waiting.claims.first_entry() {
            Some(first) if first.key().2 == row.instance => drop(first.remove()),
            Some(_) | None => waiting.claims.retain(|(_, _, instance), _| *instance != row.instance),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self, requests: u32) -> Result<(), Timestamp> {
        match &self.bucket {
            Some(bucket) => {
                let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                bucket.take_many(requests, self.clock.now())
            }
            None => Ok(()),
        }
    }

    async fn mint(
        &self,
        mut row: ClaimRow,
        machine: Machine,
        config: &FleetConfig,
    ) -> Result<Option<InstanceId>, MintError> {
        let Some(class) = config.class(&machine.purpose.class) else {
            // The configuration no longer knows the class: the plan ends the machine.
            return Ok(None);
        };
        if let Some(former) = &row.former {
            // At most one live registration for each machine: that of its former session goes first.
            match from_github(&self.clock, self.github.remove(former.id)).await? {
                Removal::Gone => {}
                Removal::Busy => return Err(MintError::FormerBusy(row.instance)),
            }
        }
        let suffix = suffix(&row, self.clock.now());
        let name = runner_name(&machine.purpose.pool, &row.instance, &suffix);
        let request =
            MintRequest { name: name.clone(), labels: class.labels.clone(), runner_group: class.runner_group.clone() };
        let minted = from_github(&self.clock, self.github.mint(&request)).await?;
        let seal = Seal {
            public_key: &row.public_key,
            instance: &row.instance,
            session: row.session,
            purpose: SealPurpose::RunnerConfig,
        };
        let sealed = self.sealer.seal(&seal, &minted.config).map_err(|e| MintError::Seal(row.instance.clone(), e))?;
        let registration = Registration { id: minted.id, name };
        if self.store.machine(&row.instance).await?.filter(|machine| may_mint(machine, &row)).is_none() {
            // Its end was committed while GitHub minted.
            from_github(&self.clock, self.github.remove(minted.id)).await?;
            return Ok(None);
        }
        row.registration = Some(registration.clone());
        row.sealed_config = Some(sealed);
        if !self.store.attach_config(&row).await? {
            from_github(&self.clock, self.github.remove(minted.id)).await?;
            return Ok(None);
        }
        let at = self.clock.now();
        let event = MachineEvent {
            instance: row.instance.clone(),
            session: row.session,
            at,
            report: Report::Registered(registration),
        };
        self.store.put_fact(&Fact { received_at: at, body: FactBody::Machine(event) }).await?;
        Ok(Some(row.instance))
    }
}

/// Whether a machine has the right to a registration for this claim.
fn may_mint(machine: &Machine, row: &ClaimRow) -> bool {
    machine.registers >= row.session && machine.terminate_at.is_none() && machine.is_live()
}

/// A suffix that differs for every machine, session and instant.
fn suffix(row: &ClaimRow, now: Timestamp) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let digest = Sha256::new()
        .chain_update(row.instance.as_str())
        .chain_update(row.session.to_be_bytes())
        .chain_update(now.unix_ms().to_be_bytes())
        .finalize();
    digest.iter().take(SUFFIX_LETTERS).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
