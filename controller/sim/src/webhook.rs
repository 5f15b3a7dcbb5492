//! Webhooks on their way: the event for a driver in memory, and what a real delivery is made of.

use std::sync::Arc;

use muster_core::job::{JobEvent, JobEvidence};
use muster_core::time::Timestamp;

use crate::payload;

/// The GitHub App installation that deliveries speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its id.
    pub id: i64,
    /// The organization's login.
    pub organization: Arc<str>,
    /// The organization's id.
    pub organization_id: i64,
}

impl Default for Installation {
    fn default() -> Installation {
        Installation { id: 61_000_001, organization: "acme".into(), organization_id: 9_000_001 }
    }
}

/// A webhook at the instant of its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The id of the delivery, a GUID as a number.
    pub guid: u128,
    /// What it says, exact to the millisecond.
    pub event: JobEvent,
    /// When the job was created at GitHub.
    pub created_at: Timestamp,
}

/// A webhook as GitHub sends it, but for the signature, which is the sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `X-GitHub-Event`.
    pub event: &'static str,
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// `X-GitHub-Hook-Installation-Target-Type`.
    pub target_type: &'static str,
    /// The JSON.
    pub body: Vec<u8>,
}

impl Webhook {
    /// GitHub's word for what happened.
    pub fn action(&self) -> &'static str {
        match self.event.evidence {
            JobEvidence::Queued { .. } => "queued",
            JobEvidence::Waiting => "waiting",
            JobEvidence::InProgress(_) => "in_progress",
            JobEvidence::Completed(_) => "completed",
        }
    }

    /// The delivery over HTTP. Its instants have GitHub's resolution, whole seconds, rounded down: a queue time computed
    /// from them is off by less than a second either way, and not off in the mean.
    pub fn to_delivery(&self, installation: &Installation) -> Delivery {
        Delivery {
            event: "workflow_job",
            guid: guid_text(self.guid),
            target_type: "integration",
            body: payload::workflow_job(self, installation),
        }
    }
}

impl Delivery {
    /// The headers that GitHub sends with it, without the signature.
    pub fn headers(&self) -> [(&'static str, &str); 5] {
        [
            ("content-type", "application/json"),
            ("user-agent", "GitHub-Hookshot/sim"),
            ("x-github-event", self.event),
            ("x-github-delivery", &self.guid),
            ("x-github-hook-installation-target-type", self.target_type),
        ]
    }
}

/// The text of a GUID, with the version and variant of a random one.
fn guid_text(guid: u128) -> String {
    let guid = guid & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let part = |shift: u32, digits: u32| (guid >> shift) & ((1 << (4 * digits)) - 1);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_looks_like_one() {
        assert_eq!(guid_text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(guid_text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
