//! Muster in AWS: what the functions and `muster serve --cloud aws` are made of.
//!
//! What lives here: wiring. The adapters are `muster-aws` and `muster-github`, the parts are those of every other driver.
//!
//! Invariant: what is wrong with the surroundings is told with its name and its remedy, and only what needs it stops.

pub mod door;
pub mod github;
pub mod registrar;
pub mod scaler;
pub mod watched;

use std::sync::{Arc, Mutex};

use self::github::LateGithub;
use anyhow::Context as _;

use muster_aws::{
    AwsCloud, DynamoLedger, RoleError, SqsBell, SqsWake, Stack, StsIdentity, StsSettings, TrustedRole, aws_config,
};
use muster_core::config::FleetConfig;
use muster_core::ports::{Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::{Clock, SystemClock};
use muster_webhook::live::LiveConfig;
use tracing::warn;

use crate::drivers::lambda::surroundings::{self, Missing, Surroundings};
use crate::drivers::lambda::{LaterBell, RemoteBell};
use crate::drivers::random_hex;
use crate::loaded::Duty;
use crate::secret::SecretReader;
use crate::source::Source;
use crate::telemetry::{self, Telemetry};
use crate::watch::ConfigWatch;

/// The SDK's configuration and the stack's environment.
pub struct Around {
    /// Region, credentials, limits.
    pub sdk: muster_aws::SdkConfig,
    /// The stack's variables.
    pub vars: Surroundings,
}

impl Around {
    /// As the process finds it.
    pub async fn find() -> Around {
        Around { sdk: aws_config(None).await, vars: Surroundings::of(std::env::vars()) }
    }

    /// The ledger, for those who may not make a new one.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn ledger_as_it_is(&self) -> Result<Arc<DynamoLedger>, Missing> {
        Ok(Arc::new(DynamoLedger::at(muster_aws::dynamo(&self.sdk), self.vars.get(surroundings::TABLE)?)))
    }

    /// The ledger, made if the table is empty.
    ///
    /// # Errors
    /// What is missing, or that of DynamoDB.
    pub async fn ledger(&self) -> anyhow::Result<Arc<DynamoLedger>> {
        self.ledger_in(self.vars.get(surroundings::TABLE)?).await
    }

    /// The ledger in this table, made if it is empty.
    ///
    /// # Errors
    /// That of DynamoDB.
    pub async fn ledger_in(&self, table: &str) -> anyhow::Result<Arc<DynamoLedger>> {
        let word = random_hex::<4>().ok_or_else(|| StoreError::Unavailable("no random numbers".to_owned()))?;
        Ok(Arc::new(DynamoLedger::open(muster_aws::dynamo(&self.sdk), table, &word).await?))
    }

    /// The configuration at its place, and what is in force until it was looked at again.
    ///
    /// # Errors
    /// There is none to begin with.
    pub async fn watch(&self, store: &impl Store, duty: Duty) -> anyhow::Result<ConfigWatch> {
        let source = Source::over(&self.sdk, self.vars.get(surroundings::CONFIG)?)
            .with_context(|| format!("environment variable {}", surroundings::CONFIG))?;
        Ok(ConfigWatch::start(source, SecretReader::over(&self.sdk), store, duty).await?)
    }

    /// Machines, as the configuration in force and the stack name them.
    pub fn cloud(&self, live: Arc<LiveConfig>) -> AwsCloud {
        let stack = Stack::read(|name| self.vars.maybe(name).map(str::to_owned));
        for missing in stack.missing(&live.current().aws) {
            // What only one account or shape needs is told again when it is launched.
            warn!(target: "muster::serve", "{missing}");
        }
        AwsCloud::new(self.sdk.clone(), stack, Arc::new(move || live.snapshot()), now())
    }

    /// GitHub, as the configuration in force names it.
    pub fn github(&self, live: Arc<LiveConfig>) -> LateGithub {
        LateGithub::new(live, SecretReader::over(&self.sdk))
    }

    /// The identity check: by the region's own STS, or by an emulator where the SDK is pointed at one.
    ///
    /// # Errors
    /// What is missing.
    pub fn identity(&self, config: &FleetConfig) -> anyhow::Result<StsIdentity> {
        let region = self.sdk.region().context("there is no region: set AWS_REGION")?.to_string();
        let roles = self.roles(config)?;
        let audience = self.vars.maybe(surroundings::AUDIENCE).or_else(|| self.vars.maybe(surroundings::DOOR_URL));
        let audience = audience.ok_or(Missing(surroundings::AUDIENCE))?.to_owned();
        let sts = StsSettings { region, audience, roles };
        Ok(match self.sdk.endpoint_url() {
            None => StsIdentity::new(sts)?,
            Some(emulator) => StsIdentity::at_emulator(sts, emulator)?,
        })
    }

    /// Whose instances are believed under a configuration.
    ///
    /// # Errors
    /// [`RoleError`].
    pub fn roles(&self, config: &FleetConfig) -> Result<Vec<TrustedRole>, RoleError> {
        Around::roles_of(config, &self.vars.list(surroundings::RUNNER_ROLES))
    }

    /// The same, with the stack's own roles.
    ///
    /// # Errors
    /// [`RoleError`].
    pub fn roles_of(config: &FleetConfig, own: &[String]) -> Result<Vec<TrustedRole>, RoleError> {
        TrustedRole::of_config(&config.aws, own)
    }

    /// A bell behind the queue that this variable names.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn bell(&self, variable: &'static str) -> Result<SqsBell, Missing> {
        let (queue, fleet) = (self.vars.get(variable)?, self.vars.get(surroundings::FLEET)?);
        Ok(SqsBell::new(muster_aws::sqs(&self.sdk), queue.to_owned(), fleet.to_owned()))
    }

    /// The queue that leads back to the door.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn wake(&self) -> Result<SqsWake, Missing> {
        Ok(SqsWake::new(muster_aws::sqs(&self.sdk), self.vars.get(surroundings::WAKE_QUEUE_URL)?.to_owned()))
    }
}

impl RemoteBell for SqsBell {
    async fn send(&self) {
        self.flush(SystemClock.now()).await;
    }
}

impl LaterBell for SqsWake {
    async fn after(&self, delay: std::time::Duration) {
        let now = SystemClock.now();
        self.wake_at(now + delay, now).await;
    }
}

/// Metric lines on standard output, where Lambda takes them from.
///
/// # Errors
/// Never, unless a constant of ours is wrong.
pub fn lines_on_stdout() -> anyhow::Result<Telemetry> {
    let recorder = telemetry::recorder()?;
    let _ = metrics::set_global_recorder(recorder.clone());
    telemetry::describe();
    Ok(Telemetry::new(recorder, Arc::new(Mutex::new(std::io::stdout()))))
}

/// The time, as a function.
pub fn now() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    Arc::new(|| SystemClock.now())
}
