//! The configuration, watched: a good change comes into force in flight, a bad one is told and changes nothing.
//!
//! It is a file, or in a build with the feature `aws` an object in S3 (`s3://BUCKET/KEY`). A change of a file counts once
//! two looks have seen it: an editor may be half way through the file, and half a file can be valid. An object is whole.
//! The secrets of the configuration in force are read again at every look, so that a rotation needs no restart; neither a
//! bad file nor another secret that cannot be read holds it up. When a text is good is for `loaded.rs` to say.
//!
//! A look may be given up at any point (a function that is frozen in the middle of one, a source that hangs): the next one
//! begins from what is in force.
//!
//! Invariant: there is always a configuration in force and, where signatures are checked, a secret.

use std::sync::Arc;
use std::time::Duration;

use muster_core::config::{FleetConfig, SecretRef};
use muster_core::metric;
use muster_core::ports::Store;
use muster_webhook::live::LiveConfig;
use muster_webhook::signature::Secrets;
use tracing::{error, info, warn};

use crate::loaded::{ConfigFileError, Duty, Loaded, first, load, parse};
use crate::secret::{self, SecretError, SecretReader};
use crate::source::{Found, Source};

/// How often the file and the secrets are looked at, on the wall, by a process that does not rest.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Watches a configuration.
pub struct ConfigWatch {
    source: Source,
    reader: SecretReader,
    duty: Duty,
    live: Arc<LiveConfig>,
    secrets: Arc<Secrets>,
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
    /// Whether a look has begun and not ended.
    unfinished: bool,
}

impl ConfigWatch {
    /// Reads a configuration and begins with it.
    ///
    /// # Errors
    /// As [`ConfigWatch::begin`].
    pub async fn start(
        mut source: Source,
        reader: SecretReader,
        store: &impl Store,
        duty: Duty,
    ) -> Result<ConfigWatch, ConfigFileError> {
        let found = load(&mut source, &reader, duty).await;
        ConfigWatch::begin(source, reader, found, store, duty).await
    }

    /// Begins with what was found at the source or, where nobody can mend that, with the last good configuration.
    ///
    /// # Errors
    /// There is nothing to begin with, or it cannot be kept.
    pub async fn begin(
        mut source: Source,
        reader: SecretReader,
        found: Result<Loaded, ConfigFileError>,
        store: &impl Store,
        duty: Duty,
    ) -> Result<ConfigWatch, ConfigFileError> {
        let loaded = first(&mut source, &reader, found, store, duty).await?;
        for warning in &loaded.warnings {
            warn!(target: "muster::config", %warning);
        }
        if duty.keeps() {
            store.put_config(&loaded.text).await?;
        }
        let in_force = loaded.secrets();
        let secrets = if duty.checks_signatures() { Secrets::new(&in_force)? } else { Secrets::none() };
        let live = LiveConfig::new(loaded.config);
        let refused = loaded.refused.or(loaded.unread.map(|unread| unread.to_string()));
        if let Some(why) = &refused {
            error!(target: "muster::config", %why, "what is good is in force");
            metrics::counter!(metric::CONFIG_REFUSED).increment(1);
            live.refuse(why.clone());
        }
        Ok(ConfigWatch {
            source,
            reader,
            duty,
            live: Arc::new(live),
            secrets: Arc::new(secrets),
            seen: loaded.text,
            candidate: None,
            refused: None,
            values: loaded.values,
            in_force,
            told: refused,
            unfinished: false,
        })
    }

    /// The configuration in force.
    pub fn live(&self) -> &Arc<LiveConfig> {
        &self.live
    }

    /// The webhook secrets in force.
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// The secret that GitHub signs with now, for a simulated one.
    pub(crate) fn signing_secret(&self) -> Vec<u8> {
        self.in_force.first().cloned().unwrap_or_default()
    }

    /// Looks once.
    pub async fn look(&mut self, store: &impl Store) {
        if std::mem::replace(&mut self.unfinished, true) {
            // It may have read a text and not judged it.
            self.source.forget();
        }
        let of_source = self.look_at_source(store).await;
        let of_secrets = if self.duty.checks_signatures() { self.look_at_secrets().await } else { None };
        self.unfinished = false;
        let wrong = of_source.or(of_secrets);
        match &wrong {
            Some(why) => {
                metrics::counter!(metric::CONFIG_REFUSED).increment(1);
                if wrong != self.told {
                    error!(target: "muster::config", %why, "what was good last stays in force");
                }
                self.live.refuse(why.clone());
            }
            None if self.told.is_some() => {
                info!(target: "muster::config", "all is well again");
                self.live.replace(self.live.snapshot());
            }
            None => {}
        }
        self.told = wrong;
    }

    /// Takes in a text that stays; says what is wrong with it.
    async fn look_at_source(&mut self, store: &impl Store) -> Option<String> {
        let refused = self.refused.as_ref().map(|(_, why)| why.clone());
        let (text, whole) = match self.source.look().await {
            Ok(Found::Same) => return refused,
            Ok(Found::Text { text, whole }) => (text, whole),
            Err(unusable) => {
                if unusable.stays {
                    self.refused = Some((String::new(), unusable.why.clone()));
                }
                return Some(unusable.why);
            }
        };
        if text == self.seen {
            (self.candidate, self.refused) = (None, None);
            return None;
        }
        if let Some((_, why)) = self.refused.as_ref().filter(|(refused, _)| *refused == text) {
            return Some(why.clone());
        }
        if !whole && self.candidate.as_ref() != Some(&text) {
            self.candidate = Some(text);
            return refused;
        }
        let config = match self.judge(text.clone()).await {
            Ok(config) => config,
            Err(error @ ConfigFileError::Secret(_)) => {
                // It may be there at the next look: the text is judged again then.
                self.source.forget();
                return Some(error.to_string());
            }
            Err(error) => {
                let why = error.to_string();
                self.refused = Some((text, why.clone()));
                return Some(why);
            }
        };
        if self.duty.keeps()
            && let Err(error) = store.put_config(&text).await
        {
            self.source.forget();
            return Some(format!("the new configuration cannot be kept in the ledger: {error}"));
        }
        self.seen = text;
        (self.candidate, self.refused) = (None, None);
        self.live.replace(Arc::new(config));
        info!(target: "muster::config", source = %self.source, "new configuration");
        None
    }

    /// Whether a text can come into force. A large one takes its time, and not that of the door.
    async fn judge(&mut self, text: String) -> Result<FleetConfig, ConfigFileError> {
        let shown = self.source.to_string();
        let judged = tokio::task::spawn_blocking(move || parse(&shown, &text)).await;
        let (config, warnings) = judged.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))?;
        if self.duty.checks_signatures() {
            let (mut good, mut unread) = (0, None);
            for reference in &config.github.webhook_secrets {
                match self.value(reference).await {
                    Ok(()) => good += 1,
                    Err(error) => unread = unread.or(Some(error)),
                }
            }
            if let Some(error) = unread
                && (good == 0 || self.duty.wants_all_secrets())
            {
                return Err(error.into());
            }
        }
        for warning in &warnings {
            warn!(target: "muster::config", %warning);
        }
        Ok(config)
    }

    /// Reads the secrets of the configuration in force again; says which cannot be read.
    async fn look_at_secrets(&mut self) -> Option<String> {
        let config = self.live.snapshot();
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
            match self.secrets.rotate(&fresh) {
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

#[cfg(test)]
mod tests;
