//! Scaling activities: what Auto Scaling says of launches that no call of ours got an answer to.
//!
//! Raising desired capacity and filling a standby stock are answered at once and done later. What went wrong then is told
//! in the group's activities, in words for people and without a code.
//!
//! What lives here: reading them, and what their words mean. What may not: what follows from it.
//!
//! Invariant: words that nobody knows are told as they are, and mean nothing.

use std::time::Duration;

use aws_sdk_autoscaling::primitives::{DateTime, DateTimeFormat};
use aws_sdk_autoscaling::types::{AutoScalingGroup, Filter, ScalingActivityStatusCode};
use muster_core::launch::{LaunchError, LaunchErrorKind};
use muster_core::time::Timestamp;

use super::account::Account;
use super::budget::Api;
use super::errors::{Failure, meaning};

/// Activities of the last minutes are read for groups that lack machines.
const FRESH: Duration = Duration::from_secs(180);
/// Their clock may be behind ours by as much.
const SLACK: Duration = Duration::from_secs(5);

/// Phrases of status messages by what they mean, the first that fits counts (Amazon EC2 Auto Scaling user guide,
/// "Troubleshoot Amazon EC2 Auto Scaling"). All in lower case.
const PHRASES: &[(&str, LaunchErrorKind)] = &[
    ("request limit", LaunchErrorKind::Throttled),
    ("vcpu capacity than your current vcpu limit", LaunchErrorKind::Quota),
    ("limit exceeded", LaunchErrorKind::Quota),
    ("already in use by other instances", LaunchErrorKind::Quota),
    ("sufficient", LaunchErrorKind::Capacity),
    ("no spot capacity available", LaunchErrorKind::Capacity),
    ("spot capacity", LaunchErrorKind::Capacity),
    ("does not exist", LaunchErrorKind::Configuration),
    ("not supported", LaunchErrorKind::Configuration),
    ("no longer supported", LaunchErrorKind::Configuration),
    ("not authorized", LaunchErrorKind::Configuration),
    ("must be in the same availability zone", LaunchErrorKind::Configuration),
    ("invalid", LaunchErrorKind::Configuration),
];

/// What became of the launches of a group since some time.
#[derive(Debug, Default)]
pub(super) struct Activities {
    /// All of them, whatever became of them.
    pub(super) count: usize,
    /// Those that are not over.
    pub(super) open: usize,
    /// The latest that failed.
    pub(super) failed: Option<LaunchError>,
}

impl Account {
    /// What a group's activities since `since` say: the latest hundred of them.
    pub(super) async fn activities(&self, group: &str, since: Timestamp) -> Result<Activities, Failure> {
        let from = DateTime::from_millis((since - SLACK).unix_ms());
        let from = from.fmt(DateTimeFormat::DateTime).map_err(|error| {
            Failure::ours(LaunchErrorKind::Unknown, format!("{group}: {since} is no time for a request: {error}"))
        })?;
        let since = Filter::builder().name("StartTimeLowerBound").values(from).build();
        let page = self
            .call(Api::DescribeScalingActivities, |clients| {
                clients.scaling.describe_scaling_activities().auto_scaling_group_name(group).filters(since).send()
            })
            .await?;
        let mut told = Activities { count: page.activities().len(), ..Activities::default() };
        for activity in page.activities() {
            match activity.status_code() {
                Some(ScalingActivityStatusCode::Failed) => {
                    // The latest comes first.
                    told.failed.get_or_insert_with(|| {
                        let words = activity.status_message().unwrap_or("it failed, and no word about why");
                        LaunchError { kind: kind_of(words), message: words.into() }
                    });
                }
                Some(ScalingActivityStatusCode::Successful | ScalingActivityStatusCode::Cancelled) => {}
                Some(_) | None => told.open += 1,
            }
        }
        Ok(told)
    }

    /// Tells why groups, and their standby stock, have fewer machines than they want, as far as their activities say so.
    pub(super) async fn tell_why_machines_lack(&self, groups: &[AutoScalingGroup], troubles: &mut Vec<String>) {
        for group in groups.iter().filter(|group| lacks(group)) {
            let name = group.auto_scaling_group_name().unwrap_or_default();
            match self.activities(name, (self.now)() - FRESH).await {
                Ok(Activities { failed: Some(error), .. }) => troubles.push(format!("{name} lacks machines: {error}")),
                Ok(_) => {}
                Err(failure) => troubles.push(format!("reading why {name} lacks machines: {failure}")),
            }
        }
    }
}

/// Whether a group, or its standby stock, has fewer machines than it wants.
fn lacks(group: &AutoScalingGroup) -> bool {
    let stock = group.warm_pool_configuration().and_then(|pool| pool.min_size()).unwrap_or(0);
    usize::try_from(group.desired_capacity().unwrap_or(0)).is_ok_and(|wanted| wanted > group.instances().len())
        || group.warm_pool_size().unwrap_or(0) < stock
}

/// What a status message means. Some have a code of EC2 among their words.
fn kind_of(words: &str) -> LaunchErrorKind {
    let apart = |char: char| !(char.is_ascii_alphanumeric() || char == '.');
    let mut codes = words.split(apart).map(|word| meaning(word.trim_end_matches('.')));
    let known = codes.find(|kind| *kind != LaunchErrorKind::Unknown);
    let lower = words.to_ascii_lowercase();
    let phrase = || PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, kind)| *kind);
    known.or_else(phrase).unwrap_or(LaunchErrorKind::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_meanings() {
        use LaunchErrorKind::{Capacity, Configuration, Quota, Throttled, Unknown};
        for (words, kind) in [
            (
                "We currently do not have sufficient m6i.large capacity in the Availability Zone you requested \
                 (us-east-1a). Launching EC2 instance failed.",
                Capacity,
            ),
            ("There is no Spot capacity available that matches your request. Launching EC2 instance failed.", Capacity),
            (
                "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded.",
                Quota,
            ),
            (
                "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket \
                 that the specified instance type belongs to.",
                Quota,
            ),
            ("The security group 'sg-1' does not exist. Launching EC2 instance failed.", Configuration),
            ("Request limit exceeded. Launching EC2 instance failed.", Throttled),
            ("The requested configuration is currently not supported.", Configuration),
            ("Gremlins.", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(kind_of(words), kind, "{words}");
        }
    }
}
