//! What the door and the registrar keep about a machine that asks for work: claim rows and orders.
//!
//! Invariant: nothing here can be used by whoever reads the ledger. The session token is kept as a hash, the runner
//! configuration sealed to a key that only the machine holds.

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;
use crate::machine::Registration;
use crate::time::Timestamp;

/// One machine's current claim. A machine has at most one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRow {
    /// Which machine.
    pub instance: InstanceId,
    /// 1 for the first claim, and one more for each later one.
    pub session: u32,
    /// The claim's nonce: the same nonce gets the same answer, another one is refused.
    pub nonce: String,
    /// The machine's public key for this claim (X25519, hex).
    pub public_key: String,
    /// The session token, sealed to that key (base64).
    pub sealed_session: String,
    /// SHA-256 of the session token, hex.
    pub token_sha256: String,
    /// When it was accepted.
    pub claimed_at: Timestamp,
    /// The registration of the session before: it must be gone before this claim is minted.
    #[serde(default)]
    pub former: Option<Registration>,
    /// The registration, once minted.
    pub registration: Option<Registration>,
    /// The runner configuration, sealed (base64); dropped when the listener is connected.
    pub sealed_config: Option<String>,
}

/// What the scaler tells an agent. Numbered, so that a repeated answer is seen to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// Freeze the listener and report `frozen`; refuse if there is any sign of a job.
    Drain {
        /// The drain's number.
        number: u32,
    },
    /// The registration is gone: end the frozen listener, report `drained`.
    Kill {
        /// The drain's number.
        number: u32,
    },
    /// GitHub says there is a job: let the listener run.
    Thaw {
        /// The drain's number.
        number: u32,
    },
    /// The cloud will take the machine: a spot notice that reached us first.
    Interruption,
}
