//! The door's function, put together.
//!
//! It is deployed twice: for GitHub (with events and timers), and for agents, whose long polls would use up the executions
//! that webhooks need. Each has the secrets and the surroundings of its own work only; a door that is told neither serves both.

use std::collections::BTreeMap;
use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use muster_aws::{DynamoLedger, S3LogShelf, SqsBell};
use muster_core::config::FleetConfig;
use muster_core::identity::{Identity, IdentityError, VerifiedInstance};
use muster_core::time::Timestamp;
use muster_webhook::bell::Bell;
use muster_webhook::clock::SystemClock;
use muster_webhook::seal::HpkeSealer;
use muster_webhook::wakers::Wakers;
use muster_webhook::{Door, DoorParts, Serves};
use serde_json::value::RawValue;
use tracing::error;

use super::watched::Watched;
use super::{Around, lines_on_stdout};
use crate::drivers::lambda::door::DoorFunction;
use crate::drivers::lambda::{PromptBell, RemoteBell, surroundings};
use crate::loaded::Duty;
use crate::telemetry::Telemetry;
use crate::watch::ConfigWatch;

/// Answers events until Lambda ends the process.
///
/// # Errors
/// What keeps it from starting.
pub async fn run() -> anyhow::Result<()> {
    let around = Around::find().await;
    let serves = around.vars.serves()?;
    let lines = lines_on_stdout()?;
    let store = around.ledger_as_it_is()?;
    let duty = match serves {
        Serves::All | Serves::Github => Duty::Door,
        Serves::Agents => Duty::Reader,
    };
    let watch = around.watch(&*store, duty).await?;
    let here = Here { serves, store, watch, lines, claims_bell: MaybeBell::of_claims(&around, serves)? };
    match serves {
        Serves::Github => here.answer(&around, Arc::new(Nobody), |_| {}).await,
        Serves::All | Serves::Agents => {
            let identity = Arc::new(around.identity(&here.watch.live().current())?);
            let (trusting, roles) = (identity.clone(), around.vars.list(surroundings::RUNNER_ROLES));
            let trust = move |config: &FleetConfig| match Around::roles_of(config, &roles) {
                Ok(roles) => trusting.trust(roles),
                Err(error) => error!(target: "muster::door", %error, "the roles of machines stay as they were"),
            };
            here.answer(&around, identity, trust).await
        }
    }
}

/// What stands before anybody is served.
struct Here {
    serves: Serves,
    store: Arc<DynamoLedger>,
    watch: ConfigWatch,
    lines: Telemetry,
    claims_bell: MaybeBell,
}

impl Here {
    /// Answers. `trust` is told of new configurations.
    async fn answer<I: Identity + 'static>(
        self,
        around: &Around,
        identity: Arc<I>,
        trust: impl Fn(&FleetConfig) + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        let Here { serves, store, watch, lines, claims_bell } = self;
        let bell = Arc::new(PromptBell::new(MaybeBell(Some(around.bell(surroundings::BELL_QUEUE_URL)?))));
        let claims_bell = Arc::new(PromptBell::new(claims_bell));
        let parts = DoorParts {
            store: store.clone(),
            identity,
            clock: Arc::new(SystemClock),
            secrets: watch.secrets().clone(),
            config: watch.live().clone(),
            sealer: Arc::new(HpkeSealer),
            bell: bell.clone(),
            registrar: claims_bell.clone(),
            wakers: Arc::new(Wakers::across_processes()),
            pulse: None,
        };
        let door = Door::new(parts).with_logs(Arc::new(S3LogShelf::over(&around.sdk)));
        let router = door.router_for(serves);
        let door = DoorFunction::new(router, store.clone(), SystemClock, bell, claims_bell, Some(lines));
        let looks = Watched::looks(watch, store, trust);
        let handler = |event: LambdaEvent<Box<RawValue>>| async {
            let (payload, context) = event.into_parts();
            looks.before_event().await;
            door.call(payload.get(), context).await.map_err(|error| {
                error!(target: "muster::door", %error, "an event was not taken in");
                Error::from(error)
            })
        };
        lambda_runtime::run(service_fn(handler)).await.map_err(|error| anyhow::anyhow!(error))
    }
}

/// A bell, or none where nobody rings it.
struct MaybeBell(Option<SqsBell>);

impl MaybeBell {
    /// The registrar's bell, for a door that takes claims.
    fn of_claims(around: &Around, serves: Serves) -> anyhow::Result<MaybeBell> {
        Ok(MaybeBell(match serves {
            Serves::Github => None,
            Serves::All | Serves::Agents => Some(around.bell(surroundings::CLAIMS_QUEUE_URL)?),
        }))
    }
}

impl Bell for MaybeBell {
    fn ring(&self) {
        if let Some(bell) = &self.0 {
            bell.ring();
        }
    }
}

impl RemoteBell for MaybeBell {
    async fn send(&self) {
        if let Some(bell) = &self.0 {
            bell.send().await;
        }
    }
}

/// The identity check of a door without a route for claims.
struct Nobody;

impl Identity for Nobody {
    async fn verify(&self, _: &BTreeMap<String, String>, _: Timestamp) -> Result<VerifiedInstance, IdentityError> {
        Err(IdentityError::Refused("this door takes no claims".to_owned()))
    }
}
