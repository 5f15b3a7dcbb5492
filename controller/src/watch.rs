//! The configuration, watched: a good change comes into force in flight, a bad one is told and changes nothing.
//!
//! It is a file, or in a build with the feature `aws` an object in S3 (`s3://BUCKET/KEY`). A change of a file counts once
//! two looks have seen it: an editor may be half way through the file, and half a file can be valid. An object is whole.
//! The secrets of the configuration in force are read again at every look, so that a rotation needs no restart; neither a
//! bad file nor another secret that cannot be read holds it up.
//!
//! Invariant: there is always a configuration in force, and a value for each of its secrets.

use std::sync::Arc;
use std::time::Duration;

use muster_core::config::{Diagnostic, FleetConfig, SecretRef};
use muster_core::metric;
use muster_core::ports::{Store, StoreError};
use muster_webhook::live::LiveConfig;
use muster_webhook::signature::{Secrets, SecretsError};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::secret::{self, SecretError, SecretReader};
use crate::source::{Found, Source};

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
    /// The object cannot be read, or there can be none.
    #[error("{0}")]
    Object(String),
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
    /// The webhook secrets that it names, each with its live values.
    pub values: Vec<(SecretRef, Vec<Vec<u8>>)>,
    /// What is odd about it.
    pub warnings: Vec<Diagnostic>,
    /// Why this is not what its source says: then it is the last good one.
    pub refused: Option<String>,
}

impl Loaded {
    /// The webhook secrets that are live.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        secret::live(&self.values)
    }
}

/// Reads a configuration and the webhook secrets that it names.
///
/// # Errors
/// [`ConfigFileError`].
pub async fn load(source: &mut Source, secrets: &SecretReader) -> Result<Loaded, ConfigFileError> {
    let text = source.read().await?;
    judge(source, text, secrets).await
}

/// What to go on with when the source fails at the start: the last good text, which the ledger has. That is for objects;
/// beside a bad file there is somebody who can mend it.
///
/// # Errors
/// `error`, if there is nothing to go on with.
pub async fn last_good(
    source: &mut Source,
    secrets: &SecretReader,
    store: &impl Store,
    error: ConfigFileError,
) -> Result<Loaded, ConfigFileError> {
    let Ok(Some(text)) = store.config().await else { return Err(error) };
    let loaded = judge(source, text, secrets).await?;
    // The next look finds what is bad again, and tells it again.
    source.forget();
    Ok(Loaded { refused: Some(error.to_string()), ..loaded })
}

async fn judge(source: &Source, text: String, secrets: &SecretReader) -> Result<Loaded, ConfigFileError> {
    let (config, warnings) = parse(&source.to_string(), &text)?;
    let mut values = Vec::new();
    for reference in &config.github.webhook_secrets {
        values.push((reference.clone(), secrets.read(reference, source.beside()).await?));
    }
    Ok(Loaded { text, config, values, warnings, refused: None })
}

fn parse(shown: &str, text: &str) -> Result<(FleetConfig, Vec<Diagnostic>), ConfigFileError> {
    let parsed = FleetConfig::parse(shown, text);
    match parsed.config {
        Some(config) => Ok((config, parsed.warnings)),
        None => Err(ConfigFileError::Invalid(shown.to_owned(), parsed.errors)),
    }
}

/// Watches a configuration.
pub struct ConfigWatch {
    source: Source,
    reader: SecretReader,
    /// The text in force.
    seen: String,
    /// Another text, as the last look saw it.
    candidate: Option<String>,
    /// Another text that was found bad, and what is wrong with it.
    refused: Option<(String, String)>,
    /// The last good values of secrets.
    values: Vec<(SecretRef, Vec<Vec<u8>>)>,
    /// The webhook secrets in force.
    in_force: Vec<Vec<u8>>,
    /// What is wrong now, as it was last told.
    told: Option<String>,
}

impl ConfigWatch {
    /// Watches the source that `loaded` came from.
    pub fn new(source: Source, reader: SecretReader, loaded: &Loaded) -> ConfigWatch {
        let (seen, values) = (loaded.text.clone(), loaded.values.clone());
        let in_force = loaded.secrets();
        ConfigWatch { source, reader, seen, candidate: None, refused: None, values, in_force, told: None }
    }

    /// Looks once.
    ///
    /// # Errors
    /// That of the store, when a good configuration cannot be kept.
    pub async fn look(&mut self, live: &LiveConfig, secrets: &Secrets, store: &impl Store) -> Result<(), StoreError> {
        let of_source = self.look_at_source(live, store).await?;
        let of_secrets = self.look_at_secrets(&live.snapshot(), secrets).await;
        let wrong = of_source.or(of_secrets);
        if wrong.is_some() {
            metrics::counter!(metric::CONFIG_REFUSED).increment(1);
        }
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

    /// Takes in a text that stays; says what is wrong with it.
    async fn look_at_source(&mut self, live: &LiveConfig, store: &impl Store) -> Result<Option<String>, StoreError> {
        let refused = self.refused.as_ref().map(|(_, why)| why.clone());
        let (text, whole) = match self.source.look().await {
            Ok(Found::Same) => return Ok(refused),
            Ok(Found::Text { text, whole }) => (text, whole),
            Err(unusable) => {
                if unusable.stays {
                    self.refused = Some((String::new(), unusable.why.clone()));
                }
                return Ok(Some(unusable.why));
            }
        };
        if text == self.seen {
            (self.candidate, self.refused) = (None, None);
            return Ok(None);
        }
        if let Some((_, why)) = self.refused.as_ref().filter(|(refused, _)| *refused == text) {
            return Ok(Some(why.clone()));
        }
        if !whole && self.candidate.as_ref() != Some(&text) {
            self.candidate = Some(text);
            return Ok(refused);
        }
        let config = match self.judge(text.clone()).await {
            Ok(config) => config,
            Err(error @ ConfigFileError::Secret(_)) => {
                // It may be there at the next look: the text is judged again then.
                self.source.forget();
                return Ok(Some(error.to_string()));
            }
            Err(error) => {
                let why = error.to_string();
                self.refused = Some((text, why.clone()));
                return Ok(Some(why));
            }
        };
        if let Err(error) = store.put_config(&text).await {
            self.source.forget();
            return Err(error);
        }
        self.seen = text;
        (self.candidate, self.refused) = (None, None);
        live.replace(Arc::new(config));
        info!(target: "muster::config", source = %self.source, "new configuration");
        Ok(None)
    }

    /// Whether a text can come into force. A large one takes its time, and not that of the door.
    async fn judge(&mut self, text: String) -> Result<FleetConfig, ConfigFileError> {
        let shown = self.source.to_string();
        let judged = tokio::task::spawn_blocking(move || parse(&shown, &text)).await;
        let (config, warnings) = judged.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))?;
        for reference in &config.github.webhook_secrets {
            self.value(reference).await?;
        }
        for warning in &warnings {
            warn!(target: "muster::config", %warning);
        }
        Ok(config)
    }

    /// Reads the secrets of the configuration in force again; says which cannot be read.
    async fn look_at_secrets(&mut self, config: &FleetConfig, secrets: &Secrets) -> Option<String> {
        let references = &config.github.webhook_secrets;
        let mut wrong = None;
        for reference in references {
            if let Err(error) = self.refresh(reference).await {
                wrong = wrong.or(Some(error.to_string()));
            }
        }
        self.values.retain(|(known, _)| references.contains(known));
        let known = references.iter().filter_map(|reference| Some((reference.clone(), self.known(reference)?)));
        let fresh = secret::live(&known.collect::<Vec<_>>());
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

    fn known(&self, reference: &SecretRef) -> Option<Vec<Vec<u8>>> {
        self.values.iter().find(|(known, _)| known == reference).map(|(_, value)| value.clone())
    }

    /// Makes sure that a secret has a value, if only its last good one.
    async fn value(&mut self, reference: &SecretRef) -> Result<(), SecretError> {
        match self.refresh(reference).await {
            Err(error) if self.known(reference).is_none() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn refresh(&mut self, reference: &SecretRef) -> Result<(), SecretError> {
        let value = self.reader.read(reference, self.source.beside()).await?;
        match self.values.iter_mut().find(|(known, _)| known == reference) {
            Some((_, known)) => *known = value,
            None => self.values.push((reference.clone(), value)),
        }
        Ok(())
    }
}
