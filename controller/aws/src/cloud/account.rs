//! One AWS account that machines live in: clients with credentials that are good, budgets, and what was read of it.
//!
//! What lives here: the role that is taken on, and calls under a budget. What may not: what the calls are for.
//!
//! Invariant: a role that cannot be taken on fails before anything is sent with it, so that it proves that nothing
//! happened, and stops this account only.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::Credentials;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::config::Region;
use muster_core::config::Place;
use muster_core::ids::{InstanceId, LaunchId};
use muster_core::launch::LaunchErrorKind;
use muster_core::ports::Stock;
use muster_core::time::Timestamp;

use crate::count::Counter;

use super::budget::{Api, Budgets, Now, Repetitions};
use super::errors::Failure;
use super::group::Realised;
use super::image::Images;
use super::names::{ACCOUNT_TAG, FLEET_TAG};
use super::phantom::Excess;
use super::subnets::Subnets;

/// Credentials are renewed when they are good for less than this.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// A session that is refused something is given up when it is this old: sessions can be revoked while their role is good,
/// and each try costs a request.
const RENEW_REFUSED_AFTER: Duration = Duration::from_secs(3);
/// How long the credentials of a role are asked for: the shortest limit that a role can have (STS API, `AssumeRole`).
const ROLE_SECONDS: i32 = 3_600;
/// Longest session name (STS API, `AssumeRole`).
const SESSION_CHARS_MAX: usize = 64;

/// A call is given up after this long. Launches wait for EC2's answer; a tick waits 30 s for us.
const CALL_WITHIN: Duration = Duration::from_secs(20);
/// So is one attempt of a call that is harmless to repeat.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(9);
const ATTEMPTS_MAX: u32 = 2;
/// A look at an account is given up after this long: a tick takes it before it plans.
pub(super) const LOOK_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const _: () = assert!(ATTEMPT_WITHIN.as_secs() * ATTEMPTS_MAX as u64 <= CALL_WITHIN.as_secs());

/// A role in another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
}

/// The clients of one account, with the same credentials.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) ec2: aws_sdk_ec2::Client,
    pub(super) scaling: aws_sdk_autoscaling::Client,
    /// For effects that a repeat would do twice: no attempt but the first.
    pub(super) scaling_once: aws_sdk_autoscaling::Client,
    pub(super) ssm: aws_sdk_ssm::Client,
    pub(super) quotas: aws_sdk_servicequotas::Client,
}

/// An account.
pub(super) struct Account {
    /// Its name in the configuration. `None`: the controller's own.
    pub(super) name: Option<Arc<str>>,
    pub(super) place: Place,
    pub(super) role: Option<Role>,
    pub(super) fleet: String,
    pub(super) now: Now,
    pub(super) images: Images,
    pub(super) subnets: Subnets,
    pub(super) realised: Mutex<BTreeMap<String, Realised>>,
    pub(super) excess: Mutex<Excess>,
    /// The standby stocks as they were last read.
    stocks: Mutex<Vec<Stock>>,
    /// When the groups were last looked through for unused ones.
    pub(super) retired_at: Mutex<Option<Timestamp>>,
    /// When it was last found that a group knows no `LaunchInstances`.
    pub(super) no_launches: Mutex<BTreeMap<String, Timestamp>>,
    /// At which group tidying up begins next: one that is cut short reaches all of them in turn.
    pub(super) tidied: AtomicUsize,
    /// One effect without a token at a time, for each group.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    sdk: SdkConfig,
    pub(super) budgets: Arc<Budgets>,
    /// Launches that may have been made, and have their tokens in the budget of instances: since when.
    pub(super) paid: Mutex<BTreeMap<LaunchId, Timestamp>>,
    clients: tokio::sync::Mutex<Option<(Clients, Timestamp)>>,
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Account {
    pub(super) fn new(
        name: Option<Arc<str>>,
        place: Place,
        role: Option<Role>,
        fleet: &str,
        sdk: &SdkConfig,
        now: Now,
    ) -> Account {
        let started = now();
        Account {
            name,
            place,
            role,
            fleet: fleet.to_owned(),
            images: Images::default(),
            subnets: Subnets::default(),
            realised: Mutex::default(),
            excess: Mutex::new(Excess::from(started)),
            stocks: Mutex::default(),
            retired_at: Mutex::new(None),
            no_launches: Mutex::default(),
            tidied: AtomicUsize::new(0),
            turns: Mutex::default(),
            sdk: sdk.clone(),
            budgets: Budgets::new(now.clone()),
            paid: Mutex::default(),
            clients: tokio::sync::Mutex::new(None),
            now,
        }
    }

    /// Whether it is the same account, reached and furnished the same way.
    pub(super) fn is_as(
        &self,
        name: Option<&str>,
        place: &Place,
        role: Option<&Role>,
        fleet: &str,
        region: Option<&Region>,
    ) -> bool {
        self.name.as_deref() == name
            && self.place == *place
            && self.role.as_ref() == role
            && self.fleet == fleet
            && self.sdk.region() == region
    }

    /// What it is called in messages.
    pub(super) fn title(&self) -> String {
        self.name.as_ref().map_or_else(|| "the home account".to_owned(), |name| format!("account {name}"))
    }

    /// Takes in the standby stocks that were read.
    pub(super) fn remember_stocks(&self, stocks: &[Stock]) {
        *lock(&self.stocks) = stocks.to_vec();
    }

    /// The stocks as they were last read, with nothing in them that could be taken.
    pub(super) fn unread_stocks(&self) -> Vec<Stock> {
        lock(&self.stocks).iter().map(|stock| Stock { ready: 0, ..stock.clone() }).collect()
    }

    /// Waits for the turn of an effect that has no token of its own.
    pub(super) async fn turn(&self, group: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = lock(&self.turns).entry(group.to_owned()).or_default().clone();
        turn.lock_owned().await
    }

    /// Waits for something that is read of the account, and no longer than [`LOOK_WITHIN`]: what another account says must
    /// not wait for it.
    pub(super) async fn look_for<T>(
        &self,
        what: &str,
        read: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let late = |_| {
            let text = format!("{what} of {}: no answer within {} s", self.title(), LOOK_WITHIN.as_secs());
            Err(Failure::ours(LaunchErrorKind::Throttled, text))
        };
        tokio::time::timeout(LOOK_WITHIN, read).await.unwrap_or_else(late)
    }

    /// Makes one call, if the budget allows, with clients whose credentials are good.
    pub(super) async fn call<T, E, F>(&self, api: Api, call: impl FnOnce(Clients) -> F) -> Result<T, Failure>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let clients = self.clients().await?;
        self.budgets.take(api).await?;
        let answer = call(clients).await;
        let failed = |error: SdkError<E>| Failure::of(api, &self.title(), &error);
        let answer = answer.map_err(failed);
        if let Err(failure) = &answer
            && self.role.is_some()
        {
            let mut clients = self.clients.lock().await;
            let is_old = |(_, until): &(Clients, Timestamp)| {
                let taken_on = *until - Duration::from_secs(u64::from(ROLE_SECONDS.unsigned_abs()));
                (self.now)().since(taken_on) >= RENEW_REFUSED_AFTER
            };
            let refused = failure.is_of_a_refused_session() && clients.as_ref().is_some_and(is_old);
            if failure.is_of_stale_credentials() || refused {
                clients.take();
            }
        }
        answer
    }

    /// The clients; with a role, its credentials are renewed shortly before they expire.
    pub(super) async fn clients(&self) -> Result<Clients, Failure> {
        let mut known = self.clients.lock().await;
        let now = (self.now)();
        if let Some((clients, until)) = known.as_ref()
            && now + RENEW_BEFORE < *until
        {
            return Ok(clients.clone());
        }
        let fresh = match &self.role {
            None => (self.connect(None), Timestamp::MAX),
            Some(role) => {
                let (credentials, until) = self.take_on(role).await?;
                (self.connect(Some(credentials)), until)
            }
        };
        let (clients, _) = known.insert(fresh);
        Ok(clients.clone())
    }

    async fn take_on(&self, role: &Role) -> Result<(Credentials, Timestamp), Failure> {
        self.budgets.take(Api::AssumeRole).await?;
        let config = aws_sdk_sts::config::Builder::from(&self.sdk)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts())
            .interceptor(Counter)
            .interceptor(self.repetitions())
            .build();
        let tag = |key: &str, value: &str| aws_sdk_sts::types::Tag::builder().key(key).value(value).build();
        let tags = [tag(FLEET_TAG, &self.fleet), tag(ACCOUNT_TAG, self.name.as_deref().unwrap_or_default())];
        let tags: Result<Vec<_>, _> = tags.into_iter().collect();
        let tags = tags.map_err(|error| Failure::ours(LaunchErrorKind::Configuration, error.to_string()))?;
        let session: String = format!("muster-{}", self.fleet).chars().take(SESSION_CHARS_MAX).collect();
        let answer = aws_sdk_sts::Client::from_conf(config)
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(session)
            .set_external_id(role.external_id.clone())
            .duration_seconds(ROLE_SECONDS)
            .set_tags(Some(tags))
            .send()
            .await
            .map_err(|error| {
                let failure = Failure::of(Api::AssumeRole, &self.title(), &error);
                // Whatever became of it, nothing was done with the role.
                let kind = match failure.refusal() {
                    Some(LaunchErrorKind::Configuration) => LaunchErrorKind::Configuration,
                    Some(_) | None => LaunchErrorKind::Throttled,
                };
                let advice = "does the role's trust policy name this controller's role and the external id?";
                Failure::ours(kind, format!("{failure}; {}: {advice}", role.arn))
            })?;
        let given = answer.credentials.ok_or_else(|| {
            Failure::ours(LaunchErrorKind::Throttled, format!("{}: STS answered without credentials", role.arn))
        })?;
        let until = Timestamp::EPOCH + Duration::from_secs(u64::try_from(given.expiration.secs()).unwrap_or(0));
        let expires = std::time::UNIX_EPOCH + until.since(Timestamp::EPOCH);
        let credentials = Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            Some(expires),
            "AssumeRole",
        );
        Ok((credentials, until))
    }

    fn repetitions(&self) -> Repetitions {
        Repetitions(self.budgets.clone())
    }

    fn connect(&self, credentials: Option<Credentials>) -> Clients {
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX);
        let once = TimeoutConfig::builder().connect_timeout(CONNECT_WITHIN).operation_timeout(CALL_WITHIN).build();
        let mut ec2 = aws_sdk_ec2::config::Builder::from(&self.sdk)
            .timeout_config(timeouts())
            .retry_config(retries.clone())
            .interceptor(Counter)
            .interceptor(self.repetitions());
        let mut scaling = aws_sdk_autoscaling::config::Builder::from(&self.sdk)
            .timeout_config(timeouts())
            .retry_config(retries.clone())
            .interceptor(Counter)
            .interceptor(self.repetitions());
        let mut ssm = aws_sdk_ssm::config::Builder::from(&self.sdk)
            .timeout_config(timeouts())
            .retry_config(retries.clone())
            .interceptor(Counter)
            .interceptor(self.repetitions());
        let mut quotas = aws_sdk_servicequotas::config::Builder::from(&self.sdk)
            .timeout_config(timeouts())
            .retry_config(retries)
            .interceptor(Counter)
            .interceptor(self.repetitions());
        if let Some(credentials) = credentials {
            ec2 = ec2.credentials_provider(credentials.clone());
            scaling = scaling.credentials_provider(credentials.clone());
            ssm = ssm.credentials_provider(credentials.clone());
            quotas = quotas.credentials_provider(credentials);
        }
        let scaling_once = scaling.clone().retry_config(RetryConfig::disabled()).timeout_config(once);
        Clients {
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            scaling: aws_sdk_autoscaling::Client::from_conf(scaling.build()),
            scaling_once: aws_sdk_autoscaling::Client::from_conf(scaling_once.build()),
            ssm: aws_sdk_ssm::Client::from_conf(ssm.build()),
            quotas: aws_sdk_servicequotas::Client::from_conf(quotas.build()),
        }
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_WITHIN)
        .operation_attempt_timeout(ATTEMPT_WITHIN)
        .operation_timeout(CALL_WITHIN)
        .build()
}

/// Ids as the SDK wants them.
pub(super) fn texts<'a>(instances: impl IntoIterator<Item = &'a InstanceId>) -> Vec<String> {
    instances.into_iter().map(|instance| instance.as_str().to_owned()).collect()
}
