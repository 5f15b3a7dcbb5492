//! What is wrong before the first request, and secrets that do not show themselves.
//!
//! Invariant: an error names where a key came from, never what it is.

use muster_core::config::SecretRef;
use octocrab::auth::{AppAuth, EncodingKey};
use octocrab::models::AppId;
use thiserror::Error;

/// The adapter cannot be set up.
#[derive(Debug, Error)]
pub enum SetupError {
    /// There is no App.
    #[error("there is no [[github.app]]: add one with id and private_key")]
    NoApp,
    /// Keys and Apps do not go together.
    #[error("{keys} private keys for {apps} Apps: give one for each, in their order")]
    Keys {
        /// Keys given.
        keys: usize,
        /// Apps configured.
        apps: usize,
    },
    /// A private key does not read.
    #[error(
        "the private key of App {app} ({reference}) is not an RSA key in PEM: \
         generate one on the App's page and store the whole file, from -----BEGIN to -----END"
    )]
    Key {
        /// The App.
        app: u64,
        /// Where the key came from.
        reference: SecretRef,
    },
    /// The further certificates do not read.
    #[error("the further CA certificates are not PEM: give a file of -----BEGIN CERTIFICATE----- blocks")]
    Certificates,
    /// The HTTP client cannot be made.
    #[error("no HTTP client: {0}; check the proxy variables and the system's certificates")]
    Client(String),
}

/// A text that must not be seen. It has no `Debug` and no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Secret {
        Secret(text)
    }

    /// As an `Authorization` header. `None` if no header can carry it.
    pub(crate) fn bearer(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::try_from(format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Reads an App's private key.
pub(crate) fn read_key(app: u64, reference: &SecretRef, pem: &[u8]) -> Result<AppAuth, SetupError> {
    let unreadable = || SetupError::Key { app, reference: reference.clone() };
    let key = EncodingKey::from_rsa_pem(pem).map_err(|_| unreadable())?;
    let auth = AppAuth { app_id: AppId(app), key };
    // A key that cannot sign is found out now, not at the first job.
    auth.generate_bearer_token().map_err(|_| unreadable())?;
    Ok(auth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_key_is_named_by_its_reference() {
        let secret = "-----BEGIN RSA PRIVATE KEY-----\nplanted\n-----END RSA PRIVATE KEY-----\n";
        for pem in [secret, "planted", ""] {
            let error = match read_key(7, &SecretRef::File("app.pem".to_owned()), pem.as_bytes()) {
                Ok(_) => panic!("{pem} was taken"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(error.contains("file:app.pem") && error.contains("App 7"), "{error}");
            assert!(!error.contains("planted"), "{error}");
        }
    }
}
