//! The bodies of `/runners/claim`, `/runners/report`, `/runners/prewarmed` and `/runners/logs`: what an agent says and what
//! it hears.
//!
//! `docs/protocol.md` is the description for people. Unknown fields are ignored on both sides, so that old agents and new
//! doors understand each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::claim::Order;
use crate::config::RunnerOptions;
use crate::ids::{InstanceId, ShapeId};
use crate::log_shelf::LogKind;

/// How an agent's last words begin when GitHub takes its runner's release no more (`Runner.Listener` ends with 7, "version
/// deprecated": actions/runner, `Constants.cs`). More may follow.
pub const RUNNER_OUTDATED: &str = "runner version deprecated";

/// "I am this instance, give me work."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    /// The proof of identity; its fields depend on the kind of identity check. Needed for the first claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proof: BTreeMap<String, String>,
    /// For a later claim of the same machine (its listener ended without a job): who it is, and the token of its last
    /// session, instead of a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<SessionProof>,
    /// Random, fresh for every claim, the same when a claim is repeated because the answer was lost: 32 to 64 hex digits.
    pub nonce: String,
    /// The agent's X25519 public key for this claim: 64 hex digits.
    pub public_key: String,
    /// How long the door may hold the answer back until there is a configuration, in seconds; at most 25.
    #[serde(default)]
    pub wait_s: u32,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Who is speaking, proven by the token of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionProof {
    /// The instance.
    pub instance: InstanceId,
    /// The session's number, from the claim's answer.
    pub session: u32,
    /// The session token, hex.
    pub token: String,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimAnswer {
    /// The instance that the door believes this to be.
    pub instance: InstanceId,
    /// The session's number.
    pub session: u32,
    /// The session token, sealed to the claim's key (base64).
    pub sealed_session: String,
    /// The runner configuration, sealed to the claim's key (base64); absent until it is minted: report `ready` and wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_config: Option<String>,
    /// What the pool gives its runners, beside every configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<RunnerOptions>,
}

/// What an agent tells of itself. Repeating a state is a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AgentState {
    /// Claimed, waiting for a runner configuration.
    Ready,
    /// The listener is connected and waits for a job.
    Listening,
    /// A job was received.
    Busy,
    /// The runner has ended by itself.
    Done {
        /// Whether it ran a job.
        ran_job: bool,
    },
    /// The listener is frozen, as the drain order asked.
    Frozen {
        /// The order's number.
        number: u32,
    },
    /// The drain was refused or given up; the listener runs.
    Thawed {
        /// The order's number.
        number: u32,
    },
    /// The frozen, unregistered listener was ended.
    Drained,
    /// The cloud will take this machine.
    Interrupted,
    /// The agent gives up.
    Failed {
        /// Its last words; at most 1,000 characters are kept.
        why: String,
    },
}

/// "This is how I am; is there anything for me?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRequest {
    /// Who is speaking.
    #[serde(flatten)]
    pub from: SessionProof,
    /// How it is.
    #[serde(flatten)]
    pub state: AgentState,
    /// How long the door may hold the answer back until there is something to say, in seconds; at most 25.
    #[serde(default)]
    pub wait_s: u32,
    /// The number of the last order that the agent has seen: it is not told again. 0 for none.
    #[serde(default)]
    pub seen_order: u32,
}

/// The answer to a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// The runner configuration, sealed to the claim's key (base64): only to `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_config: Option<String>,
    /// What the pool gives its runners, beside every configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<RunnerOptions>,
    /// What to do, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Numbered>,
}

/// "I have warmed myself, and may be stopped": a machine on its way into a standby stock. It has no session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrewarmedRequest {
    /// The proof of identity, as in a claim.
    pub proof: BTreeMap<String, String>,
    /// The shape, from the user data.
    pub shape: ShapeId,
}

/// "I have a log; where may I put it?"
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Who is speaking.
    #[serde(flatten)]
    pub from: SessionProof,
    /// Whose log it is.
    pub kind: LogKind,
    /// Which of that kind: 1 for the latest, at most [`crate::log_shelf::FILES_MAX`].
    pub number: u32,
    /// Bytes of it.
    pub bytes: u64,
}

/// The answer: a request that the agent may make once. A secret while it is good: it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct LogAnswer {
    /// Where to `PUT` it.
    pub url: String,
    /// Headers to send, exactly.
    pub headers: BTreeMap<String, String>,
    /// Bytes to send, exactly: the last ones of the log.
    pub bytes: u64,
    /// For how long it is good, in seconds.
    pub expires_s: u64,
}

/// An order with its place in the row of orders to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Rises with every order to this machine.
    pub seq: u32,
    /// What to do.
    #[serde(flatten)]
    pub order: Order,
}
