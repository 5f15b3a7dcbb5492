//! Secrets in SSM parameters and in Secrets Manager.
//!
//! What lives here: reading them, and remembering them for a while. What may not: showing one.
//!
//! Invariant: an error names the reference and never the value; a value that could be read a moment ago is not asked for
//! again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client as SecretsManager;
use aws_sdk_ssm::Client as Ssm;
use aws_sdk_ssm::error::{DisplayErrorContext, ProvideErrorMetadata};
use muster_core::config::SecretRef;
use thiserror::Error;

/// A value is used for so long before it is asked for again: a rotation takes effect within this time.
pub const SECRET_AGE_MAX: Duration = Duration::from_secs(60);
/// The staging labels of Secrets Manager (its user guide, "Rotation").
const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret cannot be read.
#[derive(Debug, Error)]
pub enum AwsSecretError {
    /// The call failed.
    #[error("{reference}: {why}; check the name, and that this function's role may read it")]
    Call {
        /// As in the configuration.
        reference: String,
        /// AWS's words.
        why: String,
    },
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
    /// It is not kept in AWS.
    #[error("{0} is not in SSM or Secrets Manager")]
    Elsewhere(String),
}

/// Reads secrets.
pub struct AwsSecrets {
    ssm: Ssm,
    manager: SecretsManager,
    known: Mutex<HashMap<String, (Instant, Vec<Vec<u8>>)>>,
}

impl AwsSecrets {
    /// With these credentials, in this region.
    pub fn new(sdk: &SdkConfig) -> AwsSecrets {
        AwsSecrets { ssm: Ssm::new(sdk), manager: SecretsManager::new(sdk), known: Mutex::default() }
    }

    /// The values of a reference that are in force now, the newest first: of a secret in Secrets Manager also the former
    /// one, since whoever signs with it may not have heard of its rotation. White space at the end is no part of a value.
    ///
    /// # Errors
    /// [`AwsSecretError`].
    pub async fn read(&self, reference: &SecretRef) -> Result<Vec<Vec<u8>>, AwsSecretError> {
        let name = reference.to_string();
        if let Some((at, values)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&name)
            && at.elapsed() < SECRET_AGE_MAX
        {
            return Ok(values.clone());
        }
        let values = match reference {
            SecretRef::Ssm(parameter) => vec![self.parameter(&name, parameter).await?],
            SecretRef::SecretsManager(secret) => self.versions(&name, secret).await?,
            SecretRef::Env(_) | SecretRef::File(_) => return Err(AwsSecretError::Elsewhere(name)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name, (Instant::now(), values.clone()));
        Ok(values)
    }

    async fn parameter(&self, reference: &str, name: &str) -> Result<Vec<u8>, AwsSecretError> {
        let found = self.ssm.get_parameter().name(name).with_decryption(true).send().await;
        let found = found.map_err(|error| failed(reference, error.code(), &DisplayErrorContext(&error)))?;
        let value = found.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
        trimmed(reference, value.as_bytes())
    }

    async fn versions(&self, reference: &str, id: &str) -> Result<Vec<Vec<u8>>, AwsSecretError> {
        let mut values = vec![
            self.version(reference, id, CURRENT).await?.ok_or_else(|| AwsSecretError::Empty(reference.to_owned()))?,
        ];
        // Before the first rotation there is none. One that cannot be read is no reason to do without the present one.
        if let Ok(Some(former)) = self.version(reference, id, PREVIOUS).await
            && former != values[0]
        {
            values.push(former);
        }
        Ok(values)
    }

    /// The value under a staging label; `None` if no version has the label.
    async fn version(&self, reference: &str, id: &str, stage: &str) -> Result<Option<Vec<u8>>, AwsSecretError> {
        match self.manager.get_secret_value().secret_id(id).version_stage(stage).send().await {
            Ok(found) => {
                let bytes = found.secret_string.map(String::into_bytes);
                let bytes = bytes.or(found.secret_binary.map(|blob| blob.into_inner())).unwrap_or_default();
                trimmed(reference, &bytes).map(Some)
            }
            Err(error) if stage == PREVIOUS && error.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(failed(reference, error.code(), &DisplayErrorContext(&error))),
        }
    }
}

fn trimmed(reference: &str, value: &[u8]) -> Result<Vec<u8>, AwsSecretError> {
    match value.trim_ascii_end() {
        [] => Err(AwsSecretError::Empty(reference.to_owned())),
        value => Ok(value.to_vec()),
    }
}

/// The error's code where there is one: the full text of an error of the transport holds addresses, never values.
fn failed(reference: &str, code: Option<&str>, error: &dyn std::fmt::Display) -> AwsSecretError {
    let why = code.map_or_else(|| error.to_string(), str::to_owned);
    AwsSecretError::Call { reference: reference.to_owned(), why }
}
