//! Claims: a machine proves which instance it is and asks for a runner configuration.
//!
//! What lives here: who may claim, when the same claim is repeated and when another one is refused, and the wait for the
//! configuration. What may not: minting (the registrar) and the decision whether a machine is still wanted (the scaler).
//!
//! Invariant: a session is given out once. Its token and its configuration are sealed to the key that its first claim
//! brought; whoever repeats the claim gets the same ciphertexts, and nobody gets others.

use std::sync::Arc;
use std::time::Duration;

use muster_core::claim::ClaimRow;
use muster_core::fact::{Fact, FactBody};
use muster_core::identity::{Identity, IdentityError, VerifiedInstance};
use muster_core::machine::{Machine, MachineEvent, Report};
use muster_core::ports::{Store, StoreError};
use muster_core::protocol::{ClaimAnswer, ClaimRequest, SessionProof};
use muster_core::time::Timestamp;
use thiserror::Error;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::format::{self, BadField};
use crate::handover::Handover;
use crate::proof;
use crate::seal::{Seal, SealError, SealPurpose, Sealer};
use crate::token;
use crate::wait::Wait;
use crate::wakers::Wakers;

/// When to ask again about a machine whose launch is not in the ledger yet, or whose former session's end is not.
pub const TOO_EARLY_RETRY: Duration = Duration::from_secs(5);

/// Why a claim gets no session.
#[derive(Debug, Error)]
pub enum ClaimError {
    /// A field is not what the protocol says.
    #[error(transparent)]
    BadField(#[from] BadField),
    /// The proof or the token is refused. The text is for the log alone.
    #[error("not proven: {0}")]
    NotProven(String),
    /// The identity check could not be made now.
    #[error("the identity check is unavailable: {0}")]
    IdentityUnavailable(String),
    /// The ledger does not know enough yet.
    #[error("too early: {0}")]
    TooEarly(Early),
    /// Another claim of this machine stands.
    #[error("another claim of this machine stands")]
    Taken,
    /// This machine gets no session any more.
    #[error("no more sessions: {0}")]
    Over(Over),
    /// Sealing failed on our side.
    #[error("sealing failed: {0}")]
    Seal(SealError),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the ledger does not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Early {
    /// The launch: its outcome is recorded a moment after the machine exists.
    #[error("this instance is not in the ledger")]
    Launch,
    /// The end of the former session: its `done` report is not taken in.
    #[error("the end of the former session is not in the ledger")]
    FormerEnd,
}

/// Why a machine gets no session any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Over {
    /// Its end was committed, or it is gone.
    #[error("the machine is being ended")]
    Ending,
    /// It ran its one job.
    #[error("the machine has had its job")]
    RanJob,
    /// It gave up.
    #[error("the agent has given up")]
    Failed,
    /// It is drained, or a drain is under way: the free drain.
    #[error("the machine is not needed any more")]
    NotNeeded,
    /// The cloud takes it away.
    #[error("the cloud takes the machine away")]
    Interrupted,
    /// The ledger has forgotten its sessions.
    #[error("the machine's sessions are forgotten")]
    Forgotten,
}

/// The receiving end of claims.
pub struct Claims<S, I, C> {
    store: Arc<S>,
    handover: Handover<S>,
    identity: Arc<I>,
    clock: Arc<C>,
    sealer: Arc<dyn Sealer>,
    bell: Arc<dyn Bell>,
    registrar: Arc<dyn Bell>,
    wakers: Arc<Wakers>,
}

/// Who speaks, and what that rests on.
enum Speaker<'a> {
    Proven(VerifiedInstance),
    Former(&'a SessionProof),
}

impl<S: Store, I: Identity, C: Clock> Claims<S, I, C> {
    /// The receiving end over these ports. `bell` wakes the scaler, `registrar` the registrar.
    pub fn new(
        handover: Handover<S>,
        identity: Arc<I>,
        clock: Arc<C>,
        sealer: Arc<dyn Sealer>,
        bell: Arc<dyn Bell>,
        registrar: Arc<dyn Bell>,
        wakers: Arc<Wakers>,
    ) -> Claims<S, I, C> {
        let store = handover.store();
        Claims { store, handover, identity, clock, sealer, bell, registrar, wakers }
    }

    /// Takes in one claim, and waits up to `wait_s` for the configuration, but no longer than 25 s after the claim came. Ready at once with `wait_s` 0 if the ports are.
    ///
    /// # Errors
    /// [`ClaimError`]; then there is no new session. [`ClaimError::Store`] may hide one: the same claim, repeated, gets it.
    pub async fn claim(&self, request: &ClaimRequest) -> Result<ClaimAnswer, ClaimError> {
        format::claim(request)?;
        let now = self.clock.now();
        let speaker = self.speaker(request, now).await?;
        let instance = match &speaker {
            Speaker::Proven(verified) => verified.instance(),
            Speaker::Former(former) => &former.instance,
        };
        let row = self.store.claim(instance).await?;
        // A former session speaks first of itself, so that a stranger learns nothing about the machine.
        if let Speaker::Former(former) = &speaker
            && !row.as_ref().is_some_and(|row| is_repeat(row, request) || is_former(row, former))
        {
            return Err(ClaimError::NotProven(format!("{instance}: not the latest session's token")));
        }
        let Some(machine) = self.store.machine(instance).await? else {
            return Err(match row {
                None => ClaimError::TooEarly(Early::Launch),
                Some(_) => ClaimError::Over(Over::Forgotten),
            });
        };
        if let Speaker::Proven(verified) = &speaker
            && !verified.may_be_in(&machine.purpose.account)
        {
            return Err(ClaimError::NotProven(format!(
                "{instance}: it was launched in another account than it comes from"
            )));
        }
        if machine.gone_at.is_some() || machine.terminate_at.is_some() {
            return Err(ClaimError::Over(Over::Ending));
        }
        let row = match row {
            Some(row) if row.nonce == request.nonce => same(row, request)?,
            None if machine.session > 0 => return Err(ClaimError::Over(Over::Forgotten)),
            None => self.open(request, &speaker, &machine, None, now).await?,
            Some(row) => match &speaker {
                Speaker::Proven(_) => return Err(ClaimError::Taken),
                Speaker::Former(_) => {
                    may_go_on(&machine, &row)?;
                    self.open(request, &speaker, &machine, Some(row), now).await?
                }
            },
        };
        self.tell(&row).await?;
        self.answer(row, request.wait_s, now).await
    }

    async fn speaker<'r>(&self, request: &'r ClaimRequest, now: Timestamp) -> Result<Speaker<'r>, ClaimError> {
        if let Some(former) = &request.former {
            return Ok(Speaker::Former(former));
        }
        match self.identity.verify(&request.proof, now).await {
            Ok(verified) => Ok(Speaker::Proven(verified)),
            Err(IdentityError::Refused(why)) => Err(ClaimError::NotProven(why)),
            Err(IdentityError::Unavailable(why)) => Err(ClaimError::IdentityUnavailable(why)),
        }
    }

    /// A proof opens one session: whoever has listened in cannot open another with it. A claim that got none keeps its proof
    /// for the next try, and one that is repeated is known by its nonce and key.
    async fn use_up(&self, request: &ClaimRequest, speaker: &Speaker<'_>, now: Timestamp) -> Result<bool, StoreError> {
        match speaker {
            Speaker::Former(_) => Ok(true),
            Speaker::Proven(verified) => {
                self.store.use_once(&proof::key(verified, &request.proof), now + proof::KEPT).await
            }
        }
    }

    /// Opens the session after `former`, or the first one.
    async fn open(
        &self,
        request: &ClaimRequest,
        speaker: &Speaker<'_>,
        machine: &Machine,
        former: Option<ClaimRow>,
        now: Timestamp,
    ) -> Result<ClaimRow, ClaimError> {
        is_wanted(machine)?;
        let session = former.as_ref().map_or(1, |row| row.session.saturating_add(1));
        let instance = &machine.instance;
        let token = self.sealer.fresh_token().map_err(ClaimError::Seal)?;
        let seal = Seal { public_key: &request.public_key, instance, session, purpose: SealPurpose::Session };
        let sealed_session = self.sealer.seal(&seal, token.to_hex().as_bytes()).map_err(|e| match e {
            SealError::PublicKey => ClaimError::BadField(BadField::PUBLIC_KEY),
            SealError::Open | SealError::Failed => ClaimError::Seal(e),
        })?;
        let row = ClaimRow {
            instance: instance.clone(),
            session,
            nonce: request.nonce.clone(),
            public_key: request.public_key.clone(),
            sealed_session,
            token_sha256: token.sha256(),
            claimed_at: now,
            former: former.and_then(|row| row.registration),
            registration: None,
            sealed_config: None,
        };
        let fresh = self.use_up(request, speaker, now).await?;
        if fresh && self.store.put_claim(&row).await? {
            return Ok(row);
        }
        // Somebody was faster: the same claim on another connection, or another claim.
        match self.store.claim(instance).await? {
            Some(row) if row.nonce == request.nonce => same(row, request),
            None if !fresh => Err(ClaimError::NotProven("the proof was used before".to_owned())),
            Some(_) | None => Err(ClaimError::Taken),
        }
    }

    /// Tells the ledger and whoever waits. A repeated claim tells again: the first may have died in between.
    async fn tell(&self, row: &ClaimRow) -> Result<(), StoreError> {
        let event = MachineEvent {
            instance: row.instance.clone(),
            session: row.session,
            at: row.claimed_at,
            report: Report::Claimed,
        };
        self.store.put_fact(&Fact { received_at: row.claimed_at, body: FactBody::Machine(event) }).await?;
        self.bell.ring();
        if row.registration.is_none() {
            self.registrar.ring();
        }
        Ok(())
    }

    async fn answer(&self, row: ClaimRow, wait_s: u32, came_at: Timestamp) -> Result<ClaimAnswer, ClaimError> {
        let ClaimRow { instance, session, sealed_session, .. } = row;
        let mut wait = Wait::begin(&*self.clock, &self.wakers, &instance, wait_s, came_at);
        let configured = loop {
            let row = self.store.claim(&instance).await?.filter(|row| row.session == session);
            let configured = self.handover.configured(row, self.clock.now()).await?;
            if configured.is_some() || !wait.again().await {
                break configured;
            }
        };
        drop(wait);
        let (sealed_config, options) = configured.map(|one| (one.sealed, one.options)).unzip();
        Ok(ClaimAnswer { instance, session, sealed_session, sealed_config, options })
    }
}

/// The row of a repeated claim, if the key is the same too.
fn same(row: ClaimRow, request: &ClaimRequest) -> Result<ClaimRow, ClaimError> {
    if row.public_key == request.public_key { Ok(row) } else { Err(ClaimError::Taken) }
}

/// Whether this later claim was accepted already. The former token's hash is gone by then; the nonce and the key that
/// only the agent had take its place, and the answer opens for that key alone.
fn is_repeat(row: &ClaimRow, request: &ClaimRequest) -> bool {
    row.nonce == request.nonce
        && row.public_key == request.public_key
        && request.former.as_ref().is_some_and(|former| former.session.checked_add(1) == Some(row.session))
}

fn is_former(row: &ClaimRow, former: &SessionProof) -> bool {
    row.session == former.session && token::matches(&former.token, &row.token_sha256)
}

/// Whether a machine whose session `row` stands may have the next one.
fn may_go_on(machine: &Machine, row: &ClaimRow) -> Result<(), ClaimError> {
    if machine.session < row.session {
        return Err(ClaimError::TooEarly(Early::FormerEnd));
    }
    let told = &machine.told;
    if machine.job.is_some() || told.busy_at.is_some() {
        return Err(ClaimError::Over(Over::RanJob));
    }
    if told.drained_at.is_some() {
        return Err(ClaimError::Over(Over::NotNeeded));
    }
    match told.done {
        Some((_, true)) => Err(ClaimError::Over(Over::RanJob)),
        Some((_, false)) => Ok(()),
        None => Err(ClaimError::TooEarly(Early::FormerEnd)),
    }
}

/// Whether a machine may have a new session at all.
fn is_wanted(machine: &Machine) -> Result<(), ClaimError> {
    if machine.failed.is_some() {
        return Err(ClaimError::Over(Over::Failed));
    }
    if machine.interrupted_at.is_some() {
        return Err(ClaimError::Over(Over::Interrupted));
    }
    if machine.open_drain().is_some() {
        return Err(ClaimError::Over(Over::NotNeeded));
    }
    Ok(())
}
