//! What is reported of a machine, by its agent or by the registrar.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, RunnerId, RunnerName};
use crate::time::Timestamp;

/// What a report says. A state change is a fact; a heartbeat is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Report {
    /// The machine has proved itself and asks for a runner.
    Claimed,
    /// The registrar has minted a configuration for it.
    Registered(Registration),
    /// The listener is connected and waits for a job.
    Listening,
    /// A job was received.
    Busy,
    /// The runner has ended by itself.
    Done {
        /// Whether it ran a job.
        ran_job: bool,
    },
    /// The listener is frozen, as drain order `order` asked.
    Frozen {
        /// The order's number.
        order: u32,
    },
    /// The drain order `order` was refused (there is a job) or given up; the listener runs.
    Thawed {
        /// The order's number.
        order: u32,
    },
    /// GitHub has listed its registration as offline for a while, or not at all: whatever its agent says, no job will come.
    Unseen,
    /// The listener was ended while frozen and unregistered: no job ran, none will.
    Drained,
    /// The cloud will take the machine away.
    Interrupted,
    /// The agent gives up.
    Failed {
        /// Its last words.
        why: Arc<str>,
    },
}

impl Report {
    /// The part of a fact's key that tells reports of one session apart.
    pub(crate) fn key(&self) -> String {
        match self {
            Report::Frozen { order } => format!("frozen:{order}"),
            Report::Thawed { order } => format!("thawed:{order}"),
            Report::Claimed
            | Report::Registered(_)
            | Report::Listening
            | Report::Busy
            | Report::Done { .. }
            | Report::Unseen
            | Report::Drained
            | Report::Interrupted
            | Report::Failed { .. } => self.word().to_owned(),
        }
    }

    /// The state's word, as in the protocol.
    pub fn word(&self) -> &'static str {
        match self {
            Report::Claimed => "claimed",
            Report::Registered(_) => "registered",
            Report::Listening => "listening",
            Report::Busy => "busy",
            Report::Done { .. } => "done",
            Report::Frozen { .. } => "frozen",
            Report::Thawed { .. } => "thawed",
            Report::Unseen => "unseen",
            Report::Drained => "drained",
            Report::Interrupted => "interrupted",
            Report::Failed { .. } => "failed",
        }
    }
}

/// A registration at GitHub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Registration {
    /// GitHub's id.
    pub id: RunnerId,
    /// The runner's name.
    pub name: RunnerName,
}

/// One report of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineEvent {
    /// Which machine.
    pub instance: InstanceId,
    /// Which of its claims, from 1; 0 before the first.
    pub session: u32,
    /// When the door heard it.
    pub at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub report: Report,
}
