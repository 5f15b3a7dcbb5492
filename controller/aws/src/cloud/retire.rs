//! Groups and templates of shapes that nobody asks for any more: removed after a while, sooner when the account is full.
//!
//! What lives here: what may be removed, and the removing. What may not: a group with a member, or one of a shape that
//! the configuration has.
//!
//! Invariant: a group is deleted without force: Auto Scaling refuses if something is in it.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use muster_core::launch::LaunchErrorKind;
use muster_core::time::Timestamp;

use super::account::{Account, lock};
use super::budget::Api;
use super::errors::Failure;
use super::group::tag_of;
use super::names::{SHAPE_TAG, UNUSED_TAG};

/// How often groups are looked through.
const EVERY: Duration = Duration::from_secs(3_600);
/// A group that was empty and out of the configuration for this long is removed.
pub(super) const UNUSED_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
/// With fewer groups than this left in the account, it is removed at the next look.
const SPARE_GROUPS: i32 = 10;
/// Groups removed in one look.
const REMOVED_MAX: usize = 5;
/// What [`UNUSED_TAG`] says of a group that is used.
const USED: &str = "-";

impl Account {
    /// Looks through the groups, if it is time. `wanted`: the shapes of the configuration among those of the groups.
    pub(super) async fn retire(
        &self,
        groups: &[AutoScalingGroup],
        wanted: &BTreeSet<String>,
        troubles: &mut Vec<String>,
    ) {
        let now = (self.now)();
        {
            let mut looked = lock(&self.retired_at);
            if looked.is_some_and(|at| now.since(at) < EVERY) {
                return;
            }
            *looked = Some(now);
        }
        let is_unused = |group: &AutoScalingGroup| {
            let shape = tag_of(group, SHAPE_TAG).unwrap_or_default();
            group.instances().is_empty() && group.desired_capacity() == Some(0) && !wanted.contains(shape)
        };
        let any = groups.iter().any(is_unused);
        // Only asked for when it can make a difference.
        let full = any
            && self.is_nearly_full().await.unwrap_or_else(|failure| {
                troubles.push(format!("reading the limits of {}: {failure}", self.title()));
                false
            });
        let mut removed = 0;
        for group in groups {
            let name = group.auto_scaling_group_name().unwrap_or_default();
            let since = tag_of(group, UNUSED_TAG).filter(|since| *since != USED);
            let outcome = match (is_unused(group), since) {
                (false, None) => continue,
                (false, Some(_)) => self.tag_group(name, UNUSED_TAG, USED).await,
                (true, None) if !full => self.tag_group(name, UNUSED_TAG, &now.unix_ms().to_string()).await,
                (true, since) => {
                    let at = since.and_then(|since| since.parse().ok()).map_or(now, Timestamp::from_unix_ms);
                    if (now.since(at) < UNUSED_FOR && !full) || removed == REMOVED_MAX {
                        continue;
                    }
                    removed += 1;
                    if group.warm_pool_configuration().is_some() {
                        // The group follows when its stock is gone. No machine of it has ever registered.
                        self.remove_pool(name).await
                    } else {
                        self.remove(name).await
                    }
                }
            };
            if let Err(failure) = outcome {
                troubles.push(format!("the unused group {name}: {failure}"));
            }
        }
    }

    async fn is_nearly_full(&self) -> Result<bool, Failure> {
        let (there, most) = self.group_count().await?;
        Ok(there + SPARE_GROUPS > most)
    }

    /// How many groups the account has, and may have.
    pub(super) async fn group_count(&self) -> Result<(i32, i32), Failure> {
        let limits =
            self.call(Api::DescribeAccountLimits, |clients| clients.scaling.describe_account_limits().send()).await?;
        let there = limits.number_of_auto_scaling_groups().unwrap_or(0);
        Ok((there, limits.max_number_of_auto_scaling_groups().unwrap_or(i32::MAX)))
    }

    /// The same refusal, with the numbers, if it is that the account may have no more groups.
    pub(super) async fn explained(&self, failure: Failure) -> Failure {
        if failure.refusal() != Some(LaunchErrorKind::Quota) {
            return failure;
        }
        match self.group_count().await {
            Ok((there, most)) => {
                let text = format!("{failure}; it has {there} of {most} groups");
                Failure::ours(LaunchErrorKind::Quota, text)
            }
            Err(_) => failure,
        }
    }

    async fn remove_pool(&self, name: &str) -> Result<(), Failure> {
        let deleted = self
            .call(Api::DeleteWarmPool, |clients| {
                clients.scaling.delete_warm_pool().auto_scaling_group_name(name).force_delete(true).send()
            })
            .await;
        deleted.map(|_| ()).or_else(|failure| if failure.is_not_found() { Ok(()) } else { Err(failure) })
    }

    async fn remove(&self, name: &str) -> Result<(), Failure> {
        let _turn = self.turn(name).await;
        self.doubt(name);
        let deleted = self
            .call(Api::DeleteAutoScalingGroup, |clients| {
                clients.scaling.delete_auto_scaling_group().auto_scaling_group_name(name).send()
            })
            .await;
        deleted.map(|_| ()).or_else(|failure| if failure.is_not_found() { Ok(()) } else { Err(failure) })?;
        let Some(template) = self.find_template(name).await? else { return Ok(()) };
        self.call(Api::DeleteLaunchTemplate, |clients| {
            clients.ec2.delete_launch_template().launch_template_id(template).send()
        })
        .await
        .map(|_| ())
    }
}
