//! The port to where machines' logs are kept, and under which names.
//!
//! What lives here: what a machine is given to put one log there by itself, and the keys. What may not: the log.
//!
//! Invariant: no part of a key is a text of the machine's choice, and a machine's keys are few.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Logs;
use crate::ids::InstanceId;

/// Files of one kind that a session may keep: a runner writes one `Worker_` log for its one job, and a `Runner_` log for
/// each start of its listener.
pub const FILES_MAX: u32 = 3;
/// How long a machine may take until it sends: less than it waits for the whole of its logs is no help, more is a longer
/// time for somebody else to use the address in.
pub const PUT_WITHIN: Duration = Duration::from_secs(60);
/// What every log is kept as.
pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// Whose log it is: the first part of its file's name in the runner's folder `_diag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// The listener's: `Runner_*.log`.
    Runner,
    /// A job's: `Worker_*.log`.
    Worker,
}

impl LogKind {
    /// Both.
    pub const ALL: [LogKind; 2] = [LogKind::Runner, LogKind::Worker];

    /// As the protocol and keys have it.
    pub fn as_str(self) -> &'static str {
        match self {
            LogKind::Runner => "runner",
            LogKind::Worker => "worker",
        }
    }
}

/// One log that may be put, of exactly this size, if there is none under the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPut {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Bytes.
    pub bytes: u64,
}

impl LogPut {
    /// Of this machine and session: the log of this number, from 1, and as much of `bytes` as the configuration keeps.
    pub fn new(logs: &Logs, instance: &InstanceId, session: u32, kind: LogKind, number: u32, bytes: u64) -> LogPut {
        let key = format!("{}/{instance}/{session}-{}-{number}.log", logs.prefix, kind.as_str());
        LogPut { bucket: logs.bucket.clone(), key, bytes: bytes.min(logs.bytes_max) }
    }
}

/// What is needed to put one object, by whoever has it: a secret for as long as it is good. It has no `Debug`.
#[derive(Clone)]
pub struct PresignedPut {
    /// Where to.
    pub url: String,
    /// Headers that are part of what was signed, by name.
    pub headers: BTreeMap<String, String>,
}

/// It was not signed.
#[derive(Debug, Error)]
#[error("a put into {bucket} could not be signed: {why}")]
pub struct NotSigned {
    /// The bucket.
    pub bucket: String,
    /// Why.
    pub why: String,
}

/// A signature on its way.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<PresignedPut, NotSigned>> + Send + 'a>>;

/// A place that keeps logs, and lets machines put them there without a permission of their own.
pub trait LogShelf: Send + Sync {
    /// Signs a put of [`LogPut::bytes`] bytes as [`CONTENT_TYPE`], good for [`PUT_WITHIN`]. What is there is not written over.
    fn sign(&self, put: LogPut) -> Signing<'_>;
}
