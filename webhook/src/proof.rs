//! Proofs of identity that were used: what is kept of them, and for how long.
//!
//! Invariant: a proof itself is never stored; it may be good elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_core::identity::VerifiedInstance;
use sha2::{Digest, Sha256};

/// How long a used proof is remembered: a presigned request to STS, the longest-lived kind, is good for 15 min, and clocks
/// may differ by 5 min in either direction.
pub(crate) const KEPT: Duration = Duration::from_secs(25 * 60);

/// Under what a used proof is kept: by its mark, or all of it. Lengths keep texts apart.
pub(crate) fn key(verified: &VerifiedInstance, proof: &BTreeMap<String, String>) -> String {
    if let Some(mark) = verified.mark() {
        return format!("proof-{}", hex::encode(Sha256::digest(mark)));
    }
    let mut hash = Sha256::new();
    for text in proof.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    format!("proof-{}", hex::encode(hash.finalize()))
}
