//! The formats of what agents send.
//!
//! Invariant: nothing that failed these checks reaches the store, a hash or a log line.

use std::collections::BTreeMap;

use muster_core::ids::InstanceId;
use muster_core::log_shelf::FILES_MAX;
use muster_core::protocol::{AgentState, ClaimRequest, LogRequest, PrewarmedRequest, ReportRequest, SessionProof};
use thiserror::Error;

/// Hex digits of a nonce, at least: 128 bits.
pub const NONCE_DIGITS_MIN: usize = 32;
/// Hex digits of a nonce, at most.
pub const NONCE_DIGITS_MAX: usize = 64;
/// Hex digits of an X25519 key and of a session token.
pub const KEY_DIGITS: usize = 64;
/// Entries of a proof, at most.
pub const PROOF_ENTRIES_MAX: usize = 16;
/// Bytes of one entry of a proof, at most; a presigned request to STS with a session token stays below.
pub const PROOF_ENTRY_BYTES_MAX: usize = 4_096;
/// Characters of an instance id, at most; EC2's have 19.
pub const INSTANCE_CHARS_MAX: usize = 64;
/// Characters of a shape's id, at most: launch templates are named after it.
pub const SHAPE_CHARS_MAX: usize = 256;
/// The longest wait that is granted, in seconds: below the 30 s after which API Gateway cuts a request.
pub const WAIT_S_MAX: u32 = 25;
/// Characters kept of an agent's last words.
pub const LAST_WORDS_CHARS_MAX: usize = 1_000;

/// A field that is not what the protocol says. It never holds the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the field `{field}` must be {must}")]
pub struct BadField {
    /// Its path.
    pub field: &'static str,
    /// What it should be.
    pub must: &'static str,
}

impl BadField {
    pub(crate) const PUBLIC_KEY: BadField =
        BadField { field: "public_key", must: "an X25519 public key, 64 lowercase hex digits" };
    const NONCE: BadField = BadField { field: "nonce", must: "32 to 64 lowercase hex digits" };
    const PROOF: BadField = BadField { field: "proof", must: "at most 16 texts of at most 4096 bytes" };
    const ONE: BadField =
        BadField { field: "proof", must: "given for a first claim, and `former` for a later one; not both" };
    const TOKEN: BadField = BadField { field: "token", must: "64 lowercase hex digits" };
    const INSTANCE: BadField = BadField { field: "instance", must: "an instance id" };
    const SHAPE: BadField = BadField { field: "shape", must: "a shape's id, as in the user data" };
    const SESSION: BadField = BadField { field: "session", must: "the number of a session, from 1" };
    const LOG_NUMBER: BadField = BadField { field: "number", must: "1, 2 or 3, 1 for the latest" };
    const LOG_BYTES: BadField =
        BadField { field: "bytes", must: "the log's size, more than 0: an empty one is not kept" };
}

const _: () = assert!(FILES_MAX == 3, "as `BadField::LOG_NUMBER` says");

pub(crate) fn claim(request: &ClaimRequest) -> Result<(), BadField> {
    let nonce = request.nonce.len();
    if !(NONCE_DIGITS_MIN..=NONCE_DIGITS_MAX).contains(&nonce) || !is_hex(&request.nonce) {
        return Err(BadField::NONCE);
    }
    if request.public_key.len() != KEY_DIGITS || !is_hex(&request.public_key) {
        return Err(BadField::PUBLIC_KEY);
    }
    small(&request.proof)?;
    match &request.former {
        None if request.proof.is_empty() => Err(BadField::ONE),
        None => Ok(()),
        Some(_) if !request.proof.is_empty() => Err(BadField::ONE),
        Some(former) => session_proof(former),
    }
}

pub(crate) fn prewarmed(request: &PrewarmedRequest) -> Result<(), BadField> {
    small(&request.proof)?;
    let shape = request.shape.as_str();
    let plain = shape.bytes().all(|b| b.is_ascii_graphic());
    if (1..=SHAPE_CHARS_MAX).contains(&shape.len()) && plain { Ok(()) } else { Err(BadField::SHAPE) }
}

fn small(proof: &BTreeMap<String, String>) -> Result<(), BadField> {
    let small = |(name, value): (&String, &String)| name.len().max(value.len()) <= PROOF_ENTRY_BYTES_MAX;
    if proof.len() <= PROOF_ENTRIES_MAX && proof.iter().all(small) { Ok(()) } else { Err(BadField::PROOF) }
}

pub(crate) fn report(request: &ReportRequest) -> Result<(), BadField> {
    session_proof(&request.from)
}

pub(crate) fn log(request: &LogRequest) -> Result<(), BadField> {
    if !(1..=FILES_MAX).contains(&request.number) {
        return Err(BadField::LOG_NUMBER);
    }
    if request.bytes == 0 {
        return Err(BadField::LOG_BYTES);
    }
    session_proof(&request.from)
}

/// An agent's last words: so many characters of them, without line breaks or other control characters.
pub(crate) fn last_words(state: &AgentState) -> Option<String> {
    let AgentState::Failed { why } = state else { return None };
    Some(why.chars().take(LAST_WORDS_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn session_proof(proof: &SessionProof) -> Result<(), BadField> {
    if !is_instance(&proof.instance) {
        return Err(BadField::INSTANCE);
    }
    if proof.session == 0 {
        return Err(BadField::SESSION);
    }
    if proof.token.len() != KEY_DIGITS || !is_hex(&proof.token) {
        return Err(BadField::TOKEN);
    }
    Ok(())
}

fn is_instance(instance: &InstanceId) -> bool {
    let text = instance.as_str();
    (1..=INSTANCE_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
