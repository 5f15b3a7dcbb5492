//! Sealing: what only one machine may read leaves the door encrypted to that machine's key, and is stored like that.
//!
//! What lives here: the port through which the door and the registrar make tokens and seal. What is sealed, and how, is in
//! the crate `muster-seal`, which agents open it with. What may not: where ciphertexts are kept.
//!
//! Invariant: a ciphertext opens only for the key, machine, session and purpose that it was sealed for.

use rand::TryRng;
use rand::rngs::SysRng;

pub use muster_seal::{KEY_BYTES, KeyPair, Seal, SealError, SealPurpose};

use crate::token::{SessionToken, TOKEN_BYTES};

/// Makes tokens and seals texts. A port, so that a simulation of millions of machines need not do real cryptography.
pub trait Sealer: Send + Sync {
    /// A fresh session token.
    ///
    /// # Errors
    /// [`SealError::Failed`] without randomness.
    fn fresh_token(&self) -> Result<SessionToken, SealError>;
    /// Seals a text (base64).
    ///
    /// # Errors
    /// [`SealError::PublicKey`] if the key is none; [`SealError::Failed`] otherwise.
    fn seal(&self, seal: &Seal<'_>, text: &[u8]) -> Result<String, SealError>;
}

/// The real thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct HpkeSealer;

impl Sealer for HpkeSealer {
    fn fresh_token(&self) -> Result<SessionToken, SealError> {
        let mut bytes = [0; TOKEN_BYTES];
        SysRng.try_fill_bytes(&mut bytes).map_err(|_| SealError::Failed)?;
        Ok(SessionToken::from_bytes(bytes))
    }

    fn seal(&self, seal: &Seal<'_>, text: &[u8]) -> Result<String, SealError> {
        muster_seal::seal(seal, text)
    }
}
