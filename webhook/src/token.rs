//! Session tokens: what an agent proves itself with after its first claim.
//!
//! Invariant: the ledger holds only the hash of a token; comparison takes the same time wherever the difference is.

use muster_core::claim::ClaimRow;
use muster_core::ports::{Store, StoreError};
use muster_core::protocol::SessionProof;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a token.
pub const TOKEN_BYTES: usize = 32;

/// A fresh token. A secret: it has no `Debug`.
pub struct SessionToken([u8; TOKEN_BYTES]);

impl SessionToken {
    /// A token of these random bytes.
    pub fn from_bytes(bytes: [u8; TOKEN_BYTES]) -> SessionToken {
        SessionToken(bytes)
    }

    /// As the agent writes it: 64 hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// What is kept of it: the hex SHA-256 of its bytes.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }
}

/// Whether `token` (hex) is the one whose hash was kept.
pub(crate) fn matches(token: &str, kept_sha256: &str) -> bool {
    let mut bytes = [0; TOKEN_BYTES];
    if hex::decode_to_slice(token, &mut bytes).is_err() {
        return false;
    }
    let hash = hex::encode(Sha256::digest(bytes));
    hash.as_bytes().ct_eq(kept_sha256.as_bytes()).into()
}

/// The claim of the session that `from` speaks for. `None`: there is no such session, or this is not its token.
pub(crate) async fn session(store: &impl Store, from: &SessionProof) -> Result<Option<ClaimRow>, StoreError> {
    let row = store.claim(&from.instance).await?;
    // The hash is computed for unknown machines too: an answer takes as long for them.
    let proven = matches(&from.token, row.as_ref().map_or("", |row| row.token_sha256.as_str()));
    Ok(row.filter(|row| proven && row.session == from.session))
}
