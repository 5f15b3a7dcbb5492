//! The configuration file, watched: a good change comes into force in flight, a bad one is told and changes nothing.
//!
//! A change counts once two looks have seen it: an editor may be half way through the file, and half a file can be valid.
//! The secrets of the configuration in force are read again at every look, so that a rotation needs no restart; neither a
//! bad file nor another secret that cannot be read holds it up.
//!
//! Invariant: there is always a configuration in force, and a value for each of its secrets.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_core::config::{Diagnostic, FleetConfig, SecretRef};
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
    let text = read(path)?;
    let (config, warnings) = parse(&shown, &text)?;
    let secrets = config.github.webhook_secrets.iter().map(|reference| secret::read(reference, beside(path)));
    let secrets = secrets.collect::<Result<_, _>>()?;
    Ok(Loaded { text, config, secrets, warnings })
}

fn read(path: &Path) -> Result<String, ConfigFileError> {
    std::fs::read_to_string(path).map_err(|source| ConfigFileError::Read { path: path.display().to_string(), source })
}

fn parse(shown: &str, text: &str) -> Result<(FleetConfig, Vec<Diagnostic>), ConfigFileError> {
    let parsed = FleetConfig::parse(shown, text);
    match parsed.config {
        Some(config) => Ok((config, parsed.warnings)),
        None => Err(ConfigFileError::Invalid(shown.to_owned(), parsed.errors)),
    }
}

fn beside(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Watches a configuration file.
pub struct ConfigWatch {
    path: PathBuf,
    /// The text in force.
    seen: String,
    /// Another text, as the last look saw it.
    candidate: Option<String>,
    /// Another text that was found bad, and what is wrong with it.
    refused: Option<(String, String)>,
    /// The last good values of secrets.
    values: Vec<(SecretRef, Vec<u8>)>,
    /// The webhook secrets in force.
    in_force: Vec<Vec<u8>>,
    /// What is wrong now, as it was last told.
    told: Option<String>,
}

impl ConfigWatch {
    /// Watches the file that `loaded` came from.
    pub fn new(path: PathBuf, loaded: &Loaded) -> ConfigWatch {
        let references = loaded.config.github.webhook_secrets.iter().cloned();
        let in_force = loaded.secrets.clone();
        let values = references.zip(in_force.iter().cloned()).collect();
        ConfigWatch { path, seen: loaded.text.clone(), candidate: None, refused: None, values, in_force, told: None }
    }

    /// Looks once.
    ///
    /// # Errors
    /// That of the store, when a good configuration cannot be kept.
    pub async fn look(&mut self, live: &LiveConfig, secrets: &Secrets, store: &impl Store) -> Result<(), StoreError> {
        let of_file = self.look_at_file(live, store).await?;
        let of_secrets = self.look_at_secrets(&live.snapshot(), secrets);
        let wrong = of_file.or(of_secrets);
        if wrong != self.told {
            match &wrong {
                Some(why) => {
                    error!(target: "muster::config", %why, "what was good last stays in force");
                    live.refuse(why.clone());
                }
                None => live.replace(live.snapshot()),
            }
            self.told = wrong;
        }
        Ok(())
    }

    /// Takes in a text that stays; says what is wrong with the file.
    async fn look_at_file(&mut self, live: &LiveConfig, store: &impl Store) -> Result<Option<String>, StoreError> {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => return Ok(Some(error.to_string())),
        };
        if text == self.seen {
            (self.candidate, self.refused) = (None, None);
            return Ok(None);
        }
        if let Some((_, why)) = self.refused.as_ref().filter(|(refused, _)| *refused == text) {
            return Ok(Some(why.clone()));
        }
        if self.candidate.as_ref() != Some(&text) {
            self.candidate = Some(text);
            return Ok(self.refused.as_ref().map(|(_, why)| why.clone()));
        }
        let config = match self.judge(text.clone()).await {
            Ok(config) => config,
            Err(error) => {
                let why = error.to_string();
                self.refused = Some((text, why.clone()));
                return Ok(Some(why));
            }
        };
        store.put_config(&text).await?;
        self.seen = text;
        (self.candidate, self.refused) = (None, None);
        live.replace(Arc::new(config));
        info!(target: "muster::config", path = %self.path.display(), "new configuration");
        Ok(None)
    }

    /// Whether a text can come into force. A large one takes its time, and not that of the door.
    async fn judge(&mut self, text: String) -> Result<FleetConfig, ConfigFileError> {
        let shown = self.path.display().to_string();
        let judged = tokio::task::spawn_blocking(move || parse(&shown, &text)).await;
        let (config, warnings) = judged.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))?;
        for reference in &config.github.webhook_secrets {
            self.value(reference)?;
        }
        for warning in &warnings {
            warn!(target: "muster::config", %warning);
        }
        Ok(config)
    }

    /// Reads the secrets of the configuration in force again; says which cannot be read.
    fn look_at_secrets(&mut self, config: &FleetConfig, secrets: &Secrets) -> Option<String> {
        let references = &config.github.webhook_secrets;
        let mut wrong = None;
        for reference in references {
            if let Err(error) = self.refresh(reference) {
                wrong = wrong.or(Some(error.to_string()));
            }
        }
        self.values.retain(|(known, _)| references.contains(known));
        let fresh: Vec<Vec<u8>> = references.iter().filter_map(|reference| self.known(reference)).collect();
        if fresh != self.in_force {
            match secrets.rotate(&fresh) {
                Ok(()) => {
                    info!(target: "muster::config", live = fresh.len(), "webhook secrets rotated");
                    self.in_force = fresh;
                }
                Err(refused) => wrong = wrong.or(Some(format!("webhook_secrets: {refused}"))),
            }
        }
        wrong
    }

    fn known(&self, reference: &SecretRef) -> Option<Vec<u8>> {
        self.values.iter().find(|(known, _)| known == reference).map(|(_, value)| value.clone())
    }

    /// Makes sure that a secret has a value, if only its last good one.
    fn value(&mut self, reference: &SecretRef) -> Result<(), SecretError> {
        match self.refresh(reference) {
            Err(error) if self.known(reference).is_none() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn refresh(&mut self, reference: &SecretRef) -> Result<(), SecretError> {
        let value = secret::read(reference, beside(&self.path))?;
        match self.values.iter_mut().find(|(known, _)| known == reference) {
            Some((_, known)) => *known = value,
            None => self.values.push((reference.clone(), value)),
        }
        Ok(())
    }
}
