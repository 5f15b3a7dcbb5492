//! Machines on their way into a standby stock: they say that they are warm, so that they can be stopped.
//!
//! What lives here: who may say so. What may not: letting them go on (the scaler), and a session (they have none: what
//! stands by never registers).
//!
//! Invariant: nothing but a fact comes of it. Whoever is wrong about the shape is looked for in a group that does not have
//! the machine.

use std::sync::Arc;

use muster_core::fact::{Fact, FactBody, Prewarmed};
use muster_core::identity::{Identity, IdentityError};
use muster_core::ports::{Put, Store, StoreError};
use muster_core::protocol::PrewarmedRequest;
use thiserror::Error;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::format::{self, BadField};
use crate::proof;

/// Why it is not taken.
#[derive(Debug, Error)]
pub enum PrewarmedError {
    /// A field is not what the protocol says.
    #[error(transparent)]
    BadField(#[from] BadField),
    /// The proof is refused. The text is for the log alone.
    #[error("not proven: {0}")]
    NotProven(String),
    /// The identity check could not be made now.
    #[error("the identity check is unavailable: {0}")]
    IdentityUnavailable(String),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The receiving end.
pub struct Prewarms<S, I, C> {
    store: Arc<S>,
    identity: Arc<I>,
    clock: Arc<C>,
    bell: Arc<dyn Bell>,
}

impl<S: Store, I: Identity, C: Clock> Prewarms<S, I, C> {
    /// The receiving end over these ports. `bell` wakes the scaler.
    pub fn new(store: Arc<S>, identity: Arc<I>, clock: Arc<C>, bell: Arc<dyn Bell>) -> Prewarms<S, I, C> {
        Prewarms { store, identity, clock, bell }
    }

    /// Takes in that a machine is warm. A repeat changes nothing.
    ///
    /// # Errors
    /// [`PrewarmedError`]; after one that is about our side the same should be sent again, with a fresh proof.
    pub async fn hear(&self, request: &PrewarmedRequest) -> Result<(), PrewarmedError> {
        format::prewarmed(request)?;
        let now = self.clock.now();
        let verified = match self.identity.verify(&request.proof, now).await {
            Ok(verified) => verified,
            Err(IdentityError::Refused(why)) => return Err(PrewarmedError::NotProven(why)),
            Err(IdentityError::Unavailable(why)) => return Err(PrewarmedError::IdentityUnavailable(why)),
        };
        // It opens no session after this. One that was used before says what was said already.
        self.store.use_once(&proof::key(&verified, &request.proof), now + proof::KEPT).await?;
        let at = self.clock.now();
        let event = Prewarmed { instance: verified.instance().clone(), shape: request.shape.clone(), at };
        let put = self.store.put_fact(&Fact { received_at: at, body: FactBody::Prewarmed(event) }).await?;
        if put == Put::New {
            self.bell.ring();
        }
        Ok(())
    }
}
