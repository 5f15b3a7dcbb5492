//! Reading stored facts: whose they are, and whether they read at all.

use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{InstanceId, JobKey};
use muster_core::time::Timestamp;

/// The job that a fact is about.
pub fn job_of(body: &FactBody) -> Option<JobKey> {
    match body {
        FactBody::Job(event) => Some(event.key),
        FactBody::Machine(_)
        | FactBody::Cloud(_)
        | FactBody::Group(_)
        | FactBody::Prewarmed(_)
        | FactBody::Release(_) => None,
    }
}

/// The instance that a fact is about.
pub(crate) fn instance_of(body: &FactBody) -> Option<&InstanceId> {
    match body {
        FactBody::Job(_) | FactBody::Group(_) | FactBody::Release(_) => None,
        FactBody::Machine(event) => Some(&event.instance),
        FactBody::Cloud(event) => Some(&event.instance),
        FactBody::Prewarmed(event) => Some(&event.instance),
    }
}

/// The fact that a stored text says.
///
/// # Errors
/// Why it does not read, in the parser's words.
pub fn read_fact(received_at: Timestamp, body: &str) -> Result<Fact, String> {
    match serde_json::from_str(body) {
        Ok(body) => Ok(Fact { received_at, body }),
        Err(error) => Err(error.to_string()),
    }
}
