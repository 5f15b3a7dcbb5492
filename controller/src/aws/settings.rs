//! Configuration and secrets of functions: looked at again and again, in flight.
//!
//! The configuration is an object in S3. A good version comes into force; a bad one is refused and told, and the last good
//! one stays, which the ledger keeps for processes that start meanwhile.
//!
//! Invariant: there is always a configuration in force, and the webhook secrets of one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use metrics::counter;
use muster_aws::{AwsSecrets, ConfigObject, ObjectAddress};
use muster_core::config::FleetConfig;
use muster_core::metric;
use muster_core::ports::Store;
use muster_webhook::live::LiveConfig;
use muster_webhook::signature::{SECRETS_MAX, Secrets};
use tracing::{error, info, warn};

use super::Around;
use crate::drivers::lambda::surroundings;

/// The object is looked at this often.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a function looks at.
pub struct Settings {
    object: ConfigObject,
    /// The configuration in force.
    pub live: Arc<LiveConfig>,
    /// Reads secrets.
    pub secrets: Arc<AwsSecrets>,
    /// Whether this function keeps the last good configuration in the ledger.
    keeps: bool,
    looked_at: Instant,
    refused: Option<String>,
}

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The scaler: it keeps good configurations in the ledger.
    Keeps,
    /// The others.
    Reads,
}

impl Settings {
    /// The first look.
    ///
    /// # Errors
    /// There is no good configuration, neither at its place nor in the ledger.
    pub async fn open(around: &Around, store: &impl Store, keeper: Keeper) -> anyhow::Result<Settings> {
        let address = around.vars.get(surroundings::CONFIG)?;
        let parsed = ObjectAddress::parse(address)
            .with_context(|| format!("{}: {address} is no s3://BUCKET/KEY", surroundings::CONFIG))?;
        let mut object = ConfigObject::over(&around.sdk, parsed);
        let mut refused = None;
        let found = match object.look().await {
            Ok(Some(found)) => judge(address, found.text).await.map_err(|why| refused = Some(why)).ok(),
            Ok(None) => None,
            Err(error) => {
                refused = Some(error.to_string());
                None
            }
        };
        let config = match found {
            Some((text, config)) => {
                if keeper == Keeper::Keeps {
                    store.put_config(&text).await?;
                }
                config
            }
            None => {
                let why = refused.clone().unwrap_or_default();
                error!(target: "muster::config", %why, "the configuration cannot be used: looking for the last good one in the ledger");
                let kept = store.config().await.context("the last good configuration")?;
                let Some(kept) = kept else { bail!("there is no configuration: {why}") };
                judge("the ledger's last good configuration", kept).await.map_err(anyhow::Error::msg)?.1
            }
        };
        let live = Arc::new(LiveConfig::new(config));
        if let Some(why) = &refused {
            object.forget();
            live.refuse(why.clone());
        }
        let secrets = Arc::new(AwsSecrets::of(&around.sdk));
        Ok(Settings { object, live, secrets, keeps: keeper == Keeper::Keeps, looked_at: Instant::now(), refused })
    }

    /// Looks again, if it is time.
    pub async fn look(&mut self, store: &impl Store) {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked_at = Instant::now();
        let address = self.object.address().to_string();
        let wrong = match self.object.look().await {
            // As before: what was wrong with it still is.
            Ok(None) => self.refused.clone(),
            Ok(Some(found)) => match judge(&address, found.text).await {
                Ok((text, config)) => self.take(text, config, store).await,
                Err(why) => Some(why),
            },
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = &wrong {
            counter!(metric::CONFIG_REFUSED).increment(1);
            if self.refused.as_ref() != Some(why) {
                error!(target: "muster::config", %why, "what was good last stays in force");
            }
            self.live.refuse(why.clone());
        } else if self.refused.is_some() {
            self.live.replace(self.live.snapshot());
        }
        self.refused = wrong;
    }

    async fn take(&mut self, text: String, config: FleetConfig, store: &impl Store) -> Option<String> {
        if self.keeps
            && let Err(error) = store.put_config(&text).await
        {
            self.object.forget();
            return Some(format!("the new configuration could not be kept: {error}"));
        }
        self.live.replace(Arc::new(config));
        info!(target: "muster::config", address = %self.object.address(), "new configuration");
        None
    }

    /// The values of the webhook secrets that are in force: of each reference the newest, and where there is room also the
    /// former one.
    ///
    /// # Errors
    /// One that has no value.
    pub async fn webhook_secrets(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let config = self.live.snapshot();
        let (mut newest, mut former) = (Vec::new(), Vec::new());
        for reference in &config.github.webhook_secrets {
            let values = self.secrets.read(reference, Instant::now()).await?;
            newest.push(values.current);
            former.extend(values.previous);
        }
        newest.extend(former);
        newest.dedup();
        newest.truncate(SECRETS_MAX);
        Ok(newest)
    }

    /// Reads the webhook secrets again; those that cannot be read stay as they were.
    pub async fn rotate(&self, secrets: &Secrets) {
        match self.webhook_secrets().await {
            Ok(values) => {
                if let Err(error) = secrets.rotate(&values) {
                    error!(target: "muster::config", %error, "webhook_secrets");
                }
            }
            Err(error) => error!(target: "muster::config", %error, "the webhook secrets stay as they were"),
        }
    }
}

/// A text as a configuration. A large one takes its time, and not that of others.
async fn judge(shown: &str, text: String) -> Result<(String, FleetConfig), String> {
    let name = shown.to_owned();
    let judged = tokio::task::spawn_blocking(move || (FleetConfig::parse(&name, &text), text)).await;
    let (parsed, text) = judged.map_err(|died| format!("{shown}: {died}"))?;
    for warning in &parsed.warnings {
        warn!(target: "muster::config", %warning);
    }
    match parsed.config {
        Some(config) => Ok((text, config)),
        None => {
            let errors: Vec<String> = parsed.errors.iter().map(ToString::to_string).collect();
            Err(format!("{shown} is not valid: {}", errors.join("; ")))
        }
    }
}
