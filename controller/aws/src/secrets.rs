//! Secrets from Parameter Store and Secrets Manager.
//!
//! What lives here: one read for each kind of reference, and a short memory, since secrets are looked at more often than
//! they change. What may not: deciding what a secret is for.
//!
//! Invariant: an error names the reference and never a value; nothing here shows what it holds.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use muster_core::config::SecretRef;
use thiserror::Error;

use crate::{calls, connect};

/// How long a value is taken without asking again: a rotation is seen this late at most by whoever looks all the time. It is
/// less than what functions let pass between two looks (30 s), so that each of their looks asks.
pub const SECRET_AGE_MAX: Duration = Duration::from_secs(25);
/// How long a failure is told again without asking again.
pub const SECRET_RETRY_AFTER: Duration = Duration::from_secs(10);
/// How long after a rotation the former value of a secret is live beside the new one: people have to bring the new one to
/// GitHub. Secrets Manager itself keeps the former one until the next rotation.
pub const PREVIOUS_FOR: Duration = Duration::from_secs(7 * 86_400);
/// Staging labels (Secrets Manager User Guide, "Secret versions").
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// The live values of a secret: the present one, and the former one while it is being rotated. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValues {
    /// The present one.
    pub current: Vec<u8>,
    /// The former one, if it is live.
    pub previous: Option<Vec<u8>>,
}

impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = if self.previous.is_some() { 2 } else { 1 };
        write!(f, "SecretValues({live} live, not shown)")
    }
}

/// A secret could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AwsSecretError {
    /// The service did not give it.
    #[error("{reference}: {why}")]
    Failed {
        /// The reference, as in the configuration.
        reference: String,
        /// Why, and what to do.
        why: String,
    },
    /// There is nothing in it.
    #[error("{0} is empty: put the secret there")]
    Empty(String),
    /// It is none of AWS.
    #[error("{0} is not kept in AWS")]
    Foreign(String),
}

type Outcome = Result<SecretValues, AwsSecretError>;

/// Reads secrets, and remembers them for [`SECRET_AGE_MAX`].
pub struct AwsSecrets {
    ssm: aws_sdk_ssm::Client,
    manager: aws_sdk_secretsmanager::Client,
    known: Mutex<HashMap<String, (Instant, Outcome)>>,
}

impl fmt::Debug for AwsSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsSecrets")
    }
}

impl AwsSecrets {
    /// Over these clients.
    pub fn new(ssm: aws_sdk_ssm::Client, manager: aws_sdk_secretsmanager::Client) -> AwsSecrets {
        AwsSecrets { ssm, manager, known: Mutex::default() }
    }

    /// Over the clients of one configuration.
    pub fn of(config: &aws_config::SdkConfig) -> AwsSecrets {
        AwsSecrets::new(connect::ssm(config), connect::secrets_manager(config))
    }

    /// The live values of a secret, at most [`SECRET_AGE_MAX`] old. `now` is a monotonic instant.
    ///
    /// # Errors
    /// [`AwsSecretError`], which stands for [`SECRET_RETRY_AFTER`]. Whoever has a former good value goes on with that.
    pub async fn read(&self, reference: &SecretRef, now: Instant) -> Result<SecretValues, AwsSecretError> {
        let name = reference.to_string();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        if let Some((at, outcome)) = known {
            let age_max = if outcome.is_ok() { SECRET_AGE_MAX } else { SECRET_RETRY_AFTER };
            if now.saturating_duration_since(at) < age_max {
                return outcome;
            }
        }
        let outcome = self.fetch(reference).await;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, (now, outcome.clone()));
        outcome
    }

    async fn fetch(&self, reference: &SecretRef) -> Outcome {
        match reference {
            SecretRef::Ssm(name) => {
                let answer = self.ssm.get_parameter().name(name).with_decryption(true).send().await;
                let answer = answer.map_err(|error| failed(reference, calls::why(&error)))?;
                let value = answer.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
                Ok(SecretValues { current: trimmed(reference, value.into_bytes())?, previous: None })
            }
            SecretRef::SecretsManager(id) => self.fetch_versions(reference, id).await,
            SecretRef::Env(_) | SecretRef::File(_) => Err(AwsSecretError::Foreign(reference.to_string())),
        }
    }

    async fn fetch_versions(&self, reference: &SecretRef, id: &str) -> Outcome {
        let current = self.manager.get_secret_value().secret_id(id).version_stage(CURRENT).send().await;
        let current = current.map_err(|error| failed(reference, calls::why(&error)))?;
        let made_at = current.created_date.map(|at| Duration::from_secs(u64::try_from(at.secs()).unwrap_or(0)));
        let current = trimmed(reference, bytes(current))?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        if made_at.is_none_or(|made_at| now.saturating_sub(made_at) >= PREVIOUS_FOR) {
            return Ok(SecretValues { current, previous: None });
        }
        let previous = self.manager.get_secret_value().secret_id(id).version_stage(PREVIOUS).send().await;
        let previous = match previous {
            Ok(previous) => trimmed(reference, bytes(previous)).ok().filter(|previous| *previous != current),
            // It was never rotated.
            Err(error) if calls::code(&error) == Some("ResourceNotFoundException") => None,
            Err(error) => return Err(failed(reference, format!("{PREVIOUS}: {}", calls::why(&error)))),
        };
        Ok(SecretValues { current, previous })
    }
}

fn failed(reference: &SecretRef, why: String) -> AwsSecretError {
    AwsSecretError::Failed { reference: reference.to_string(), why }
}

fn bytes(version: GetSecretValueOutput) -> Vec<u8> {
    match (version.secret_string, version.secret_binary) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(blob)) => blob.into_inner(),
        (None, None) => Vec::new(),
    }
}

/// Without the white space that editors and shells leave at the end.
fn trimmed(reference: &SecretRef, value: Vec<u8>) -> Result<Vec<u8>, AwsSecretError> {
    let value = value.trim_ascii_end().to_vec();
    if value.is_empty() { Err(AwsSecretError::Empty(reference.to_string())) } else { Ok(value) }
}
