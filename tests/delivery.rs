//! Made deliveries, and GitHub's signature, written apart from Muster's own so that they can disagree.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// What a delivery tells of a job. Instants are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It is queued.
    Queued,
    /// A runner has it.
    Started {
        /// Since when.
        at: String,
        /// Which.
        runner: String,
    },
    /// It is over.
    Completed {
        /// Since when.
        at: String,
        /// How.
        conclusion: &'static str,
    },
}

/// A `workflow_job` delivery with what Muster reads of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDelivery {
    /// The job's id.
    pub job: i64,
    /// `owner/name`.
    pub repository: String,
    /// Whether strangers see the repository.
    pub public: bool,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// When the job was made.
    pub created_at: String,
    /// What it tells.
    pub happening: Happening,
}

impl JobDelivery {
    /// The payload.
    pub fn payload(&self) -> Value {
        let (action, mut job) = match &self.happening {
            Happening::Queued => ("queued", json!({ "status": "queued" })),
            Happening::Started { at, runner } => {
                let runner_id = self.job % 1_000_000 + 1;
                let job =
                    json!({ "status": "in_progress", "started_at": at, "runner_id": runner_id, "runner_name": runner });
                ("in_progress", job)
            }
            Happening::Completed { at, conclusion } => {
                ("completed", json!({ "status": "completed", "completed_at": at, "conclusion": conclusion }))
            }
        };
        job["id"] = self.job.into();
        job["run_id"] = (self.job / 10).into();
        job["run_attempt"] = 1.into();
        job["labels"] = json!(self.labels);
        job["created_at"] = json!(self.created_at);
        job["name"] = json!(format!("job {}", self.job));
        let repository = json!({ "full_name": self.repository, "private": !self.public });
        json!({ "action": action, "workflow_job": job, "repository": repository })
    }

    /// The payload as it goes over the wire.
    pub fn body(&self) -> String {
        self.payload().to_string()
    }
}

/// The value of `X-Hub-Signature-256` for a body.
///
/// # Panics
/// Never: HMAC takes keys of every length.
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}
