//! Request budgets: how many calls of each API this process makes, at most.
//!
//! What lives here: the APIs that the cloud adapter calls, with their limits. What may not: what a call is for.
//!
//! Invariant: a call without a token in its bucket is not made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_core::bucket::TokenBucket;
use muster_core::launch::LaunchErrorKind;
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
            #[cfg(test)]
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
    // Auto Scaling. A launch also takes from RunInstances' bucket of resources, 1,000 instances and 2 a second.
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
}

/// The buckets of one account.
pub(super) struct Budgets {
    now: Now,
    buckets: Mutex<BTreeMap<Api, TokenBucket>>,
}

impl Budgets {
    pub(super) fn new(now: Now) -> Budgets {
        Budgets { now, buckets: Mutex::new(BTreeMap::new()) }
    }

    /// Takes a token for one call.
    ///
    /// # Errors
    /// There is none, and will be none soon: the call may not be made.
    pub(super) async fn take(&self, api: Api) -> Result<(), Failure> {
        let now = (self.now)();
        let at = match self.token(api, now) {
            Ok(()) => return Ok(()),
            Err(at) => at,
        };
        // Waited for once: whoever waits longer is too many.
        if at.since(now) <= WAIT_MAX {
            tokio::time::sleep(at.since(now)).await;
            if self.token(api, (self.now)()).is_ok() {
                return Ok(());
            }
        }
        let (size, per_second) = api.bucket();
        let name = api.name();
        let text =
            format!("{name} is over its budget of {size} calls and {per_second} a second; the next is free at {at}");
        Err(Failure::ours(LaunchErrorKind::Throttled, text))
    }

    fn token(&self, api: Api, now: Timestamp) -> Result<(), Timestamp> {
        let (size, per_second) = api.bucket();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(api).or_insert_with(|| TokenBucket::full(size, per_second, now)).take(now)
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
            let called = Api::ALL.iter().filter(|api| **api != Api::AssumeRole).map(|api| api.name());
            let called: BTreeSet<&str> = called.chain(IN_OUR_NAME).collect();
            assert_eq!(allowed, called);
        }
    }
}
