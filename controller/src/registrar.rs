//! The registrar: gives a claimed machine its just-in-time runner configuration, within GitHub's budget, without waiting
//! for a tick.
//!
//! What lives here: which claim is next, the mint, the sealing. What may not: whether a machine may register at all; that
//! was decided by the launch intent, and is read from the machine's row.
//!
//! Invariant: a claim gets at most one configuration. The claim row takes the first; a registration that lost the race is
//! removed.

use std::sync::{Arc, Mutex, PoisonError};

use muster_core::bucket::TokenBucket;
use muster_core::claim::ClaimRow;
use muster_core::config::FleetConfig;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::InstanceId;
use muster_core::machine::{Machine, MachineEvent, Registration, Report, runner_name};
use muster_core::ports::{Github, GithubError, MintRequest, Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::seal::{Seal, SealError, SealPurpose, Sealer};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// GitHub's secondary limit is 900 points a minute and a mint costs 5: 180 mints a minute, 3 a second.
pub const MINTS_PER_SECOND: f64 = 3.0;
/// Letters of the suffix that makes every attempt's name a new one.
const SUFFIX_LETTERS: usize = 6;

/// What one step has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Minting {
    /// A machine has its configuration; there may be more to do.
    Minted(InstanceId),
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
    /// The claim's key cannot be sealed to.
    #[error("the claim of {0}: {1}")]
    Seal(InstanceId, SealError),
}

/// The registrar.
pub struct Registrar<S, G, K, L> {
    store: Arc<S>,
    github: Arc<G>,
    clock: K,
    sealer: L,
    bucket: Option<Mutex<TokenBucket>>,
}

impl<S: Store, G: Github, K: Clock, L: Sealer> Registrar<S, G, K, L> {
    /// A registrar within [`MINTS_PER_SECOND`].
    pub fn new(store: Arc<S>, github: Arc<G>, clock: K, sealer: L) -> Self {
        Registrar::unlimited(store, github, clock, sealer).with_budget(MINTS_PER_SECOND, MINTS_PER_SECOND)
    }

    /// A registrar without a limit of its own: for a simulated world that has none.
    pub fn unlimited(store: Arc<S>, github: Arc<G>, clock: K, sealer: L) -> Self {
        Registrar { store, github, clock, sealer, bucket: None }
    }

    /// Within a bucket of `size` mints that refills at `per_second`.
    #[must_use]
    pub fn with_budget(self, size: f64, per_second: f64) -> Self {
        let bucket = TokenBucket::full(size, per_second, self.clock.now());
        Registrar { bucket: Some(Mutex::new(bucket)), ..self }
    }

    /// Serves the claim whose demand is oldest.
    ///
    /// # Errors
    /// [`MintError`]; the claim stands.
    pub async fn step(&self, config: &FleetConfig) -> Result<Minting, MintError> {
        let now = self.clock.now();
        let mut next: Option<(Timestamp, ClaimRow, Machine)> = None;
        for row in self.store.unminted().await? {
            let Some(machine) = self.store.machine(&row.instance).await? else { continue };
            let open = machine.may_register && machine.terminate_at.is_none() && machine.is_live();
            if open && next.as_ref().is_none_or(|(at, known, _)| (machine.intended_at, &row.instance) < (*at, &known.instance)) {
                next = Some((machine.intended_at, row, machine));
            }
        }
        let Some((_, row, machine)) = next else { return Ok(Minting::Nothing) };
        if let Some(bucket) = &self.bucket
            && let Err(until) = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now)
        {
            return Ok(Minting::Wait(until));
        }
        self.mint(row, &machine, config).await
    }

    async fn mint(&self, mut row: ClaimRow, machine: &Machine, config: &FleetConfig) -> Result<Minting, MintError> {
        let Some(class) = config.class(&machine.purpose.class) else {
            // The configuration no longer knows the class: the plan ends the machine.
            return Ok(Minting::Nothing);
        };
        let suffix = suffix(&row, self.clock.now());
        let name = runner_name(&machine.purpose.pool, &row.instance, &suffix);
        let request =
            MintRequest { name: name.clone(), labels: class.labels.clone(), runner_group: class.runner_group.clone() };
        let minted = match self.github.mint(&request).await {
            Ok(minted) => minted,
            Err(GithubError::Limited { until }) => return Ok(Minting::Wait(until)),
            Err(error) => return Err(error.into()),
        };
        let seal = Seal {
            public_key: &row.public_key,
            instance: &row.instance,
            session: row.session,
            purpose: SealPurpose::RunnerConfig,
        };
        let sealed = self.sealer.seal(&seal, &minted.config).map_err(|e| MintError::Seal(row.instance.clone(), e))?;
        let registration = Registration { id: minted.id, name };
        row.registration = Some(registration.clone());
        row.sealed_config = Some(sealed);
        if !self.store.attach_config(&row).await? {
            self.github.remove(minted.id).await?;
            return Ok(Minting::Nothing);
        }
        let at = self.clock.now();
        let event =
            MachineEvent { instance: row.instance.clone(), session: row.session, at, report: Report::Registered(registration) };
        self.store.put_fact(&Fact { received_at: at, body: FactBody::Machine(event) }).await?;
        Ok(Minting::Minted(row.instance))
    }
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
