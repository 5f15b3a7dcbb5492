//! A configuration, read and judged, and what a process begins with.
//!
//! A text is good if it is valid and, where signatures are checked, its webhook secrets have values. *All* of them, when the
//! service finds a text that it has not kept before: somebody has just written it and can mend it. *One* of them is enough
//! for a text that was in force before, and for a function, which starts at any time with nobody beside it: GitHub signs
//! with one secret, so a door with half of its secrets is better than none. The other one is told, at the start and on
//! `/healthz`, and tried again at every look (`watch.rs`). Whoever checks no signatures reads no webhook secret: its role
//! in AWS may not be allowed to.
//!
//! Invariant: whoever checks signatures begins with at least one secret, or not at all.

use muster_core::config::{Diagnostic, FleetConfig, SecretRef};
use muster_core::ports::{Store, StoreError};
use muster_webhook::signature::SecretsError;
use thiserror::Error;
use tracing::error;

use crate::secret::{self, SecretError, SecretReader};
use crate::source::Source;

/// What a process is there for, as far as it concerns its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// The one process of `muster serve`: it checks signatures, and keeps the last good text in the ledger.
    Service,
    /// The function that takes webhooks: it checks signatures. Its role may not write a configuration.
    Door,
    /// The scaler's function: it keeps the last good text in the ledger, for all functions.
    Scaler,
    /// Any other function: it reads.
    Reader,
}

impl Duty {
    /// Whether it keeps the last good text in the ledger.
    pub(crate) fn keeps(self) -> bool {
        match self {
            Duty::Service | Duty::Scaler => true,
            Duty::Door | Duty::Reader => false,
        }
    }

    /// Whether it needs the webhook secrets.
    pub(crate) fn checks_signatures(self) -> bool {
        match self {
            Duty::Service | Duty::Door => true,
            Duty::Scaler | Duty::Reader => false,
        }
    }

    /// Whether a text that was never in force must have all of its secrets.
    pub(crate) fn wants_all_secrets(self) -> bool {
        self == Duty::Service
    }

    /// Whether there is somebody who hears of it when it does not start.
    fn is_attended(self, source: &Source) -> bool {
        self == Duty::Service && !source.is_object()
    }
}

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
    /// It is good, and cannot be kept.
    #[error("the configuration cannot be kept in the ledger: {0}")]
    NotKept(#[from] StoreError),
    /// Neither it nor the last good one can be used.
    #[error("{error}; and the last good configuration, which the ledger keeps, is of no use: {last_good}")]
    NoLastGood {
        /// What is wrong with the one at its place.
        error: Box<ConfigFileError>,
        /// What is wrong with the other.
        last_good: String,
    },
}

fn list(errors: &[Diagnostic]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A configuration as read from its source.
pub struct Loaded {
    /// The text.
    pub text: String,
    /// What it says.
    pub config: FleetConfig,
    /// The webhook secrets that it names and that could be read, each with its live values.
    pub values: Vec<(SecretRef, Vec<Vec<u8>>)>,
    /// What is odd about it.
    pub warnings: Vec<Diagnostic>,
    /// A webhook secret that could not be read.
    pub unread: Option<SecretError>,
    /// Why this is not what its source says: then it is the last good one.
    pub refused: Option<String>,
}

impl Loaded {
    /// The webhook secrets that are live.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        secret::live(&self.values)
    }
}

/// Reads a configuration and, for whoever checks signatures, the webhook secrets that it names.
///
/// # Errors
/// [`ConfigFileError`].
pub async fn load(source: &mut Source, secrets: &SecretReader, duty: Duty) -> Result<Loaded, ConfigFileError> {
    let text = source.read().await?;
    judge(source, source.to_string(), text, secrets, duty).await
}

/// What to begin with: what was found at the source, or else the last good text, which the ledger has. The latter is for
/// functions and for objects; beside a bad file there is somebody who can mend it.
///
/// # Errors
/// [`ConfigFileError`], if there is nothing to begin with.
pub(crate) async fn first(
    source: &mut Source,
    secrets: &SecretReader,
    found: Result<Loaded, ConfigFileError>,
    store: &impl Store,
    duty: Duty,
) -> Result<Loaded, ConfigFileError> {
    let found = match found {
        Ok(Loaded { text, unread: Some(unread), .. })
            if duty.wants_all_secrets() && !matches!(store.config().await, Ok(Some(kept)) if kept == text) =>
        {
            Err(ConfigFileError::Secret(unread))
        }
        found => found,
    };
    let error = match found {
        Ok(loaded) => return Ok(loaded),
        Err(error) if duty.is_attended(source) => return Err(error),
        Err(error) => error,
    };
    error!(target: "muster::config", why = %error, "the configuration cannot be used: looking for the last good one in the ledger");
    let kept = match store.config().await {
        Ok(Some(text)) => judge(source, "the last good configuration".to_owned(), text, secrets, duty).await,
        Ok(None) => return Err(error),
        Err(failed) => Err(ConfigFileError::NotKept(failed)),
    };
    match kept {
        Ok(loaded) => {
            // The next look finds what is bad again, and tells it again.
            source.forget();
            Ok(Loaded { refused: Some(error.to_string()), ..loaded })
        }
        Err(last_good) => Err(ConfigFileError::NoLastGood { error: Box::new(error), last_good: last_good.to_string() }),
    }
}

async fn judge(
    source: &Source,
    shown: String,
    text: String,
    secrets: &SecretReader,
    duty: Duty,
) -> Result<Loaded, ConfigFileError> {
    let (config, warnings) = parse(&shown, &text)?;
    let (mut values, mut unread) = (Vec::new(), None);
    if duty.checks_signatures() {
        for reference in &config.github.webhook_secrets {
            match secrets.read(reference, source.beside()).await {
                Ok(value) => values.push((reference.clone(), value)),
                Err(error) => unread = unread.or(Some(error)),
            }
        }
        if values.is_empty()
            && let Some(error) = unread
        {
            return Err(error.into());
        }
    }
    Ok(Loaded { text, config, values, warnings, unread, refused: None })
}

/// A text as a configuration, and what is odd about it.
///
/// # Errors
/// [`ConfigFileError::Invalid`].
pub(crate) fn parse(shown: &str, text: &str) -> Result<(FleetConfig, Vec<Diagnostic>), ConfigFileError> {
    let parsed = FleetConfig::parse(shown, text);
    match parsed.config {
        Some(config) => Ok((config, parsed.warnings)),
        None => Err(ConfigFileError::Invalid(shown.to_owned(), parsed.errors)),
    }
}
