//! Secrets: from a reference in the configuration to the bytes.
//!
//! What lives here: reading `env:` and `file:`. What may not: keeping or showing what was read.
//!
//! Invariant: an error names the reference and never the secret.

use std::path::Path;

use muster_core::config::SecretRef;
use thiserror::Error;

/// A secret could not be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The environment variable is not set, or empty.
    #[error("environment variable {0} is not set: export it, or name another secret in the configuration")]
    Env(String),
    /// The file cannot be read.
    #[error("secret file {path}: {source}")]
    File {
        /// The path, as resolved.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("secret file {0} is empty")]
    EmptyFile(String),
    /// The reference needs AWS.
    #[error("{0} needs a build with the `aws` feature: use env: or file: here")]
    NeedsAws(String),
}

/// Reads a secret. Relative files are beside the configuration. White space at the end is not part of a secret: editors
/// and `echo` leave a newline there.
///
/// # Errors
/// [`SecretError`].
pub fn read(reference: &SecretRef, beside: &Path) -> Result<Vec<u8>, SecretError> {
    match reference {
        SecretRef::Env(name) => match std::env::var(name) {
            Ok(value) if !value.trim_end().is_empty() => Ok(value.trim_end().as_bytes().to_vec()),
            Ok(_) | Err(_) => Err(SecretError::Env(name.clone())),
        },
        SecretRef::File(path) => {
            let path = beside.join(path);
            let shown = path.display().to_string();
            let bytes = std::fs::read(&path).map_err(|source| SecretError::File { path: shown.clone(), source })?;
            let bytes = bytes.trim_ascii_end().to_vec();
            if bytes.is_empty() { Err(SecretError::EmptyFile(shown)) } else { Ok(bytes) }
        }
        SecretRef::Ssm(_) | SecretRef::SecretsManager(_) => Err(SecretError::NeedsAws(reference.to_string())),
    }
}
