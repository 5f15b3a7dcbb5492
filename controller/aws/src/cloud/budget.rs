//! Budgets: how many calls of each API this process makes, at most, and how many instances it asks for.
//!
//! What lives here: the APIs that the cloud adapter calls, with their limits. What may not: what a call is for.
//!
//! EC2 has a second kind of bucket for calls that make or start instances: each instance is a token ("resource rate
//! limiting"). Its pages name `RunInstances` and `StartInstances`. That what Auto Scaling launches in our name comes out of
//! the same buckets of the account and region is an assumption, the careful one: `LaunchInstances` and a raise of desired
//! capacity without a stock take from that of `RunInstances` (the first launches by `CreateFleet`, which is not named
//! either); a raise that takes machines out of a stopped stock takes from that of `StartInstances`, and the stock is
//! refilled from that of `RunInstances`. What a stock's first filling takes is not counted here, nor what others launch
//! in the account: EC2's own refusal is told as a throttled launch, as ours is.
//!
//! A launch gets all of its tokens or waits. It is not asked for in part: its size is a parameter of its token, and whoever
//! repeats it, perhaps another process, must ask for the same. Its demand stays, and a later plan asks again.
//!
//! Each process begins with full buckets: what another has taken before, EC2's own buckets know.
//!
//! Invariant: a call without a token in its bucket is not made. A repetition by the SDK asks nobody: it is owed, and the
//! next calls wait for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use muster_core::bucket::TokenBucket;
use muster_core::launch::{LAUNCH_MAX, LaunchErrorKind};
use muster_core::time::Timestamp;

use super::errors::Failure;

/// The wall's clock, or a test's.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A token that comes within this time is waited for; else the call is refused. Well below what a tick waits.
const WAIT_MAX: Duration = Duration::from_millis(500);

macro_rules! apis {
    ($($api:ident = $size:literal, $per_second:literal;)+) => {
        /// An API. Its bucket is kept for each account.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Api { $($api),+ }

        impl Api {
            const ALL: &[Api] = &[$(Api::$api),+];

            /// AWS's name of it.
            pub(super) fn name(self) -> &'static str {
                match self { $(Api::$api => stringify!($api)),+ }
            }

            /// Size and refill of its bucket.
            fn bucket(self) -> (f64, f64) {
                match self { $(Api::$api => ($size, $per_second)),+ }
            }
        }
    };
}

// EC2's own numbers (Request throttling for the Amazon EC2 API). Auto Scaling, STS and SSM publish none, or larger ones:
// those here are chosen so that a fleet of thousands fits and a bug does not take the account's budget.
apis! {
    // EC2: described with a filter or in pages.
    DescribeInstances = 100.0, 20.0;
    DescribeImages = 100.0, 20.0;
    DescribeSubnets = 100.0, 20.0;
    DescribeLaunchTemplates = 100.0, 20.0;
    DescribeLaunchTemplateVersions = 100.0, 20.0;
    DescribeSpotPriceHistory = 100.0, 20.0;
    // EC2: changes.
    CreateLaunchTemplate = 50.0, 5.0;
    CreateLaunchTemplateVersion = 100.0, 5.0;
    DeleteLaunchTemplate = 50.0, 5.0;
    ModifyInstanceMetadataOptions = 100.0, 5.0;
    TerminateInstances = 100.0, 5.0;
    // Auto Scaling. What launches also takes instances from one of EC2's buckets of resources.
    LaunchInstances = 20.0, 5.0;
    DescribeAccountLimits = 5.0, 1.0;
    DescribeScalingActivities = 40.0, 10.0;
    DescribeAutoScalingGroups = 40.0, 10.0;
    DescribeAutoScalingInstances = 40.0, 10.0;
    DescribeWarmPool = 40.0, 10.0;
    CreateAutoScalingGroup = 20.0, 2.0;
    UpdateAutoScalingGroup = 20.0, 2.0;
    DeleteAutoScalingGroup = 20.0, 2.0;
    CreateOrUpdateTags = 20.0, 2.0;
    SuspendProcesses = 20.0, 2.0;
    SetDesiredCapacity = 20.0, 5.0;
    TerminateInstanceInAutoScalingGroup = 100.0, 10.0;
    PutWarmPool = 20.0, 2.0;
    DeleteWarmPool = 20.0, 2.0;
    PutLifecycleHook = 20.0, 2.0;
    CompleteLifecycleAction = 100.0, 10.0;
    // Others.
    AssumeRole = 10.0, 1.0;
    GetParameter = 20.0, 5.0;
    // Asked by `muster doctor` alone.
    DescribeRouteTables = 100.0, 20.0;
    GetServiceQuota = 10.0, 1.0;
}

/// Which of EC2's buckets of resources an instance comes out of, by the name of its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    RunInstances,
    StartInstances,
}

/// Size and refill a second of a bucket of instances (Request throttling for the Amazon EC2 API, resource token buckets:
/// both of them, for each account and region).
const INSTANCES: (u32, f64) = (1_000, 2.0);
const _: () = assert!(LAUNCH_MAX <= INSTANCES.0);

/// The buckets of one account.
pub(super) struct Budgets {
    now: Now,
    calls: Mutex<BTreeMap<Api, TokenBucket>>,
    instances: Mutex<BTreeMap<Resource, TokenBucket>>,
}

impl Budgets {
    pub(super) fn new(now: Now) -> Arc<Budgets> {
        Arc::new(Budgets { now, calls: Mutex::default(), instances: Mutex::default() })
    }

    /// Takes a token for one call.
    ///
    /// # Errors
    /// There is none, and will be none soon: the call may not be made.
    pub(super) async fn take(&self, api: Api) -> Result<(), Failure> {
        let token = |now| self.of_calls(api, now, |bucket| bucket.take(now));
        let Err(at) = self.soon(token).await else { return Ok(()) };
        let (size, per_second) = api.bucket();
        let name = api.name();
        let text =
            format!("{name} is over its budget of {size} calls and {per_second} a second; the next is free at {at}");
        Err(Failure::ours(LaunchErrorKind::Throttled, text))
    }

    /// Takes a token for each of so many instances.
    ///
    /// # Errors
    /// There are not so many, and will not be soon: none may be asked for.
    pub(super) async fn take_instances(&self, resource: Resource, count: u32) -> Result<(), Failure> {
        let tokens = |now| self.of_instances(resource, now, |bucket| bucket.take_many(count, now));
        let Err(at) = self.soon(tokens).await else { return Ok(()) };
        let (size, per_second) = INSTANCES;
        let text = format!(
            "{count} instances are over the account's budget of {resource:?}, {size} instances and {per_second} a second; \
             they are free at {at}"
        );
        Err(Failure::ours(LaunchErrorKind::Throttled, text))
    }

    /// So many instances are made in our name, whatever the budget says.
    pub(super) fn owe_instances(&self, resource: Resource, count: u32) {
        let now = (self.now)();
        self.of_instances(resource, now, |bucket| bucket.spend(count, now));
    }

    /// So many instances that were taken for have not come.
    pub(super) fn give_back_instances(&self, resource: Resource, count: u32) {
        self.of_instances(resource, (self.now)(), |bucket| bucket.give_back(count));
    }

    /// Takes what is there, or will be within [`WAIT_MAX`]. Waited for once: whoever waits longer is too many.
    async fn soon(&self, take: impl Fn(Timestamp) -> Result<(), Timestamp>) -> Result<(), Timestamp> {
        let now = (self.now)();
        match take(now) {
            Err(at) if at.since(now) <= WAIT_MAX => {
                tokio::time::sleep(at.since(now)).await;
                take((self.now)())
            }
            answer => answer,
        }
    }

    fn of_calls<T>(&self, api: Api, now: Timestamp, act: impl FnOnce(&mut TokenBucket) -> T) -> T {
        let (size, per_second) = api.bucket();
        let mut buckets = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        act(buckets.entry(api).or_insert_with(|| TokenBucket::full(size, per_second, now)))
    }

    fn of_instances<T>(&self, resource: Resource, now: Timestamp, act: impl FnOnce(&mut TokenBucket) -> T) -> T {
        let (size, per_second) = INSTANCES;
        let mut buckets = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        act(buckets.entry(resource).or_insert_with(|| TokenBucket::full(f64::from(size), per_second, now)))
    }
}

/// Part of every client of an account: puts the SDK's repetitions on its bill.
pub(super) struct Repetitions(pub(super) Arc<Budgets>);

impl fmt::Debug for Repetitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Repetitions")
    }
}

#[dyn_dispatch_hint]
impl Intercept for Repetitions {
    fn name(&self) -> &'static str {
        "Repetitions"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let repeats = config.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1);
        let named = config.load::<Metadata>().map(Metadata::name);
        if let Some(api) = Api::ALL.iter().find(|api| Some(api.name()) == named).filter(|_| repeats) {
            let now = (self.0.now)();
            self.0.of_calls(*api, now, |bucket| bucket.spend(1, now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicI64, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_call_over_the_budget_is_not_made() {
        let clock = Arc::new(AtomicI64::new(1_000_000));
        let hand = clock.clone();
        let budgets = Budgets::new(Arc::new(move || Timestamp::from_unix_ms(hand.load(Ordering::Relaxed))));
        let take = || budgets.take(Api::DescribeAccountLimits).now_or_never().expect("nothing is waited for");
        for _ in 0..5 {
            take().unwrap();
        }
        let refused = take().unwrap_err();
        assert!(refused.to_string().contains("DescribeAccountLimits is over its budget of 5 calls"), "{refused}");
        assert_eq!(refused.refusal(), Some(LaunchErrorKind::Throttled));
        // Another API has its own.
        budgets.take(Api::AssumeRole).now_or_never().unwrap().unwrap();
        clock.fetch_add(1_000, Ordering::Relaxed);
        take().unwrap();
    }

    #[test]
    fn a_launch_over_the_budget_of_instances_waits_as_a_whole() {
        let clock = Arc::new(AtomicI64::new(1_000_000));
        let hand = clock.clone();
        let budgets = Budgets::new(Arc::new(move || Timestamp::from_unix_ms(hand.load(Ordering::Relaxed))));
        let take =
            |resource, count| budgets.take_instances(resource, count).now_or_never().expect("nothing is waited for");
        for _ in 0..10 {
            take(Resource::RunInstances, 100).unwrap();
        }
        let refused = take(Resource::RunInstances, 100).unwrap_err();
        let words = "100 instances are over the account's budget of RunInstances, 1000 instances and 2 a second";
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(refused.refusal(), Some(LaunchErrorKind::Throttled), "its demand stays");
        take(Resource::StartInstances, 100).unwrap();
        clock.fetch_add(49_000, Ordering::Relaxed);
        take(Resource::RunInstances, 100).unwrap_err();
        clock.fetch_add(1_000, Ordering::Relaxed);
        take(Resource::RunInstances, 100).unwrap();
        // What a stock is refilled with is launched without our asking.
        budgets.give_back_instances(Resource::RunInstances, 100);
        budgets.owe_instances(Resource::RunInstances, 150);
        clock.fetch_add(24_000, Ordering::Relaxed);
        take(Resource::RunInstances, 1).unwrap_err();
        clock.fetch_add(2_000, Ordering::Relaxed);
        take(Resource::RunInstances, 1).unwrap();
    }

    #[test]
    fn every_bucket_gives_something() {
        for api in Api::ALL {
            let (size, per_second) = api.bucket();
            assert!(size >= 1.0 && per_second > 0.0, "{}", api.name());
        }
    }

    /// Called by AWS in our name: by `LaunchInstances`, and when a group or a template is made.
    const IN_OUR_NAME: [&str; 5] = ["CreateFleet", "CreateServiceLinkedRole", "CreateTags", "PassRole", "RunInstances"];

    /// The scaler's policy `fleet`, in the stack's and in the other accounts' template.
    #[test]
    fn the_policies_allow_what_is_called_and_nothing_else() {
        for template in [include_str!("../../../../infra/stack.yaml"), include_str!("../../../../infra/account.yaml")] {
            let policy = template.split("- PolicyName: fleet").nth(1).expect("there is the policy");
            let policy = policy.split("- PolicyName: ").next().unwrap_or_default();
            let policy = policy.split("\n  InstanceRole:").next().unwrap_or_default();
            let quoted = policy.split('"').skip(1).step_by(2);
            let services = ["autoscaling", "ec2", "iam", "ssm"];
            let action = |text: &'static str| {
                let (service, name) = text.split_once(':')?;
                (services.contains(&service) && name.starts_with(char::is_uppercase)).then_some(name)
            };
            // Keys of conditions look alike.
            let keys = ["CreateAction", "LaunchTemplate", "PassedToService", "AWSServiceName"];
            let allowed: BTreeSet<&str> = quoted.filter_map(action).filter(|name| !keys.contains(name)).collect();
            // The doctor's are for whoever asks it; and roles have a statement of their own.
            let others = [Api::AssumeRole, Api::DescribeRouteTables, Api::GetServiceQuota];
            let called = Api::ALL.iter().filter(|api| !others.contains(api)).map(|api| api.name());
            let called: BTreeSet<&str> = called.chain(IN_OUR_NAME).collect();
            assert_eq!(allowed, called);
        }
    }
}
