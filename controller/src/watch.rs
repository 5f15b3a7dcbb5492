//! The configuration file, watched: a good change comes into force in flight, a bad one is told and changes nothing.
//!
//! Secrets are read again at every look, so that a rotation needs no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_core::config::{Diagnostic, FleetConfig};
use muster_core::ports::{Store, StoreError};
use muster_webhook::live::LiveConfig;
use muster_webhook::signature::{Secrets, SecretsError};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::secret::{self, SecretError};

/// How often the file and the secrets are looked at, on the wall.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not valid.
    #[error("{} is not valid: {}", .0, list(.1))]
    Invalid(String, Vec<Diagnostic>),
    /// A secret it names cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secrets cannot be used.
    #[error("webhook_secrets: {0}")]
    Secrets(#[from] SecretsError),
}

fn list(errors: &[Diagnostic]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A configuration as read from its file.
pub struct Loaded {
    /// The text.
    pub text: String,
    /// What it says.
    pub config: FleetConfig,
    /// The webhook secrets that it names.
    pub secrets: Vec<Vec<u8>>,
    /// What is odd about it.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a configuration file and the webhook secrets that it names.
///
/// # Errors
/// [`ConfigFileError`].
pub fn load(path: &Path) -> Result<Loaded, ConfigFileError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ConfigFileError::Read { path: shown.clone(), source })?;
    let parsed = FleetConfig::parse(&shown, &text);
    let Some(config) = parsed.config else { return Err(ConfigFileError::Invalid(shown, parsed.errors)) };
    let secrets = secrets(&config, path)?;
    Ok(Loaded { text, config, secrets, warnings: parsed.warnings })
}

fn secrets(config: &FleetConfig, path: &Path) -> Result<Vec<Vec<u8>>, SecretError> {
    let beside = path.parent().unwrap_or(Path::new("."));
    config.github.webhook_secrets.iter().map(|reference| secret::read(reference, beside)).collect()
}

/// Watches a configuration file.
pub struct ConfigWatch {
    path: PathBuf,
    /// The last text that was looked at, good or bad.
    seen: String,
    /// The secrets in force.
    secrets_seen: Vec<Vec<u8>>,
    /// What was last complained of, so that it is said once.
    complaint: Option<String>,
}

impl ConfigWatch {
    /// Watches the file that `loaded` came from.
    pub fn new(path: PathBuf, loaded: &Loaded) -> ConfigWatch {
        ConfigWatch { path, seen: loaded.text.clone(), secrets_seen: loaded.secrets.clone(), complaint: None }
    }

    /// Looks once.
    ///
    /// # Errors
    /// That of the store, when a good configuration cannot be kept.
    pub async fn look(&mut self, live: &LiveConfig, secrets: &Secrets, store: &impl Store) -> Result<(), StoreError> {
        match load(&self.path) {
            Ok(loaded) => {
                if loaded.secrets != self.secrets_seen && self.rotate(&loaded.secrets, secrets) {
                    info!(target: "muster::config", live = loaded.secrets.len(), "webhook secrets rotated");
                }
                if loaded.text != self.seen {
                    store.put_config(&loaded.text).await?;
                    self.seen = loaded.text;
                    live.replace(Arc::new(loaded.config));
                    info!(target: "muster::config", path = %self.path.display(), "new configuration");
                    for warning in &loaded.warnings {
                        warn!(target: "muster::config", %warning);
                    }
                } else if self.complaint.is_some() {
                    // Back to the text in force.
                    live.replace(live.snapshot());
                }
                self.complaint = None;
            }
            Err(refused) => {
                let why = refused.to_string();
                if self.complaint.as_ref() != Some(&why) {
                    error!(target: "muster::config", %refused, "the last good configuration stays in force");
                    live.refuse(why.clone());
                    self.complaint = Some(why);
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self, fresh: &[Vec<u8>], secrets: &Secrets) -> bool {
        match secrets.rotate(fresh) {
            Ok(()) => {
                self.secrets_seen = fresh.to_vec();
                true
            }
            Err(refused) => {
                error!(target: "muster::config", %refused, "the last good webhook secrets stay in force");
                false
            }
        }
    }
}
