//! Phantom desired: desired capacity above the members that there are, left behind by a launch that failed.
//!
//! What lives here: when it may be taken away, and the taking away. What may not: any other change of desired capacity.
//!
//! Invariant: desired capacity is lowered to the number of members and no further, when all of them are in service and
//! protected from scale-in, so that nothing can be chosen to end; never soon after a launch, whose members may not be
//! listed yet.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleState};
use muster_core::ids::InstanceId;
use muster_core::ports::InstanceState;
use muster_core::time::Timestamp;

use super::account::{Account, lock};
use super::budget::Api;
use super::errors::Failure;
use super::instances::AllSeen;

/// An excess is taken away when it was seen this long ago for the first time, ...
pub(super) const EXCESS_AFTER: Duration = Duration::from_secs(60);
/// ... and this long after a launch into the group was asked for or answered. Lists lag for seconds.
pub(super) const QUIET_FOR: Duration = Duration::from_secs(120);

/// What is known of excesses, by group.
#[derive(Debug)]
pub(super) struct Excess {
    /// Launches of an earlier process are unknown: its groups count as busy at our start.
    since: Timestamp,
    busy: BTreeMap<String, Timestamp>,
    seen: BTreeMap<String, Timestamp>,
}

impl Excess {
    pub(super) fn from(started: Timestamp) -> Excess {
        Excess { since: started, busy: BTreeMap::new(), seen: BTreeMap::new() }
    }

    /// Something is launched into the group.
    pub(super) fn busy(&mut self, group: &str, now: Timestamp) {
        self.busy.insert(group.to_owned(), now);
        self.seen.remove(group);
    }

    /// Notes whether the group has an excess now; whether it is old enough to be taken away.
    fn is_due(&mut self, group: &str, excess: bool, now: Timestamp) -> bool {
        if !excess {
            self.seen.remove(group);
            return false;
        }
        let first = *self.seen.entry(group.to_owned()).or_insert(now);
        self.is_quiet(group, now) && now.since(first) >= EXCESS_AFTER
    }

    fn is_quiet(&self, group: &str, now: Timestamp) -> bool {
        let busy = self.busy.get(group).copied().unwrap_or(self.since);
        now.since(busy) >= QUIET_FOR
    }
}

impl Account {
    /// Cancels the phantom desired capacity of these groups. `instances`: all of the fleet's that EC2 tells.
    pub(super) async fn cancel_excess(
        &self,
        groups: &[AutoScalingGroup],
        instances: &AllSeen,
        troubles: &mut Vec<String>,
    ) {
        for group in groups {
            let Some(name) = group.auto_scaling_group_name() else { continue };
            let excess = lowered(group, instances);
            if lock(&self.excess).is_due(name, excess.is_some(), (self.now)())
                && let Err(failure) = self.lower_if_quiet(name, instances).await
            {
                troubles.push(format!("cancelling phantom capacity: {failure}"));
            }
        }
    }

    async fn lower_if_quiet(&self, name: &str, instances: &AllSeen) -> Result<(), Failure> {
        let _turn = self.turn(name).await;
        // Whoever had the turn before may have launched.
        let quiet = lock(&self.excess).is_quiet(name, (self.now)());
        if quiet { self.lower(name, instances).await.map(|_| ()) } else { Ok(()) }
    }

    /// Takes an excess away, as the group is now; whether there is none any more. For whoever has the group's turn.
    pub(super) async fn lower(&self, name: &str, instances: &AllSeen) -> Result<bool, Failure> {
        let Some(group) = self.find_group(name).await? else { return Ok(true) };
        let Some(members) = lowered(&group, instances) else {
            return Ok(
                usize::try_from(group.desired_capacity().unwrap_or(0)).is_ok_and(|d| d <= group.instances().len())
            );
        };
        let from = group.desired_capacity().unwrap_or(0);
        self.call(Api::SetDesiredCapacity, |clients| {
            clients
                .scaling_once
                .set_desired_capacity()
                .auto_scaling_group_name(name)
                .desired_capacity(members)
                .honor_cooldown(false)
                .send()
        })
        .await?;
        tracing::warn!(group = name, from, to = members, "phantom desired capacity was cancelled");
        lock(&self.excess).seen.remove(name);
        Ok(true)
    }
}

/// What desired capacity may be lowered to; `None` if it may not.
fn lowered(group: &AutoScalingGroup, instances: &AllSeen) -> Option<i32> {
    let members = group.instances();
    let count = i32::try_from(members.len()).ok()?;
    let sure = members.iter().all(|member| {
        member.lifecycle_state() == Some(&LifecycleState::InService) && member.protected_from_scale_in() == Some(true)
    });
    // EC2 may know of members that the group does not list yet.
    let name = group.auto_scaling_group_name()?;
    let hidden = instances.iter().any(|(instance, seen)| {
        seen.state == InstanceState::Live
            && !seen.stopped
            && seen.group.as_deref() == Some(name)
            && !members.iter().any(|member| member.instance_id() == Some(instance.as_str()))
    });
    (sure && !hidden && group.desired_capacity()? > count).then_some(count)
}

/// Members that EC2 says are over: they count towards desired capacity until they are buried.
pub(super) fn dead_members(group: &AutoScalingGroup, instances: &AllSeen) -> Vec<InstanceId> {
    let leaving = |state: Option<&LifecycleState>| state.is_some_and(super::group::is_leaving);
    let members = group.instances().iter().filter(|member| !leaving(member.lifecycle_state()));
    let ids = members.filter_map(|member| member.instance_id()).map(InstanceId::new);
    ids.filter(|id| instances.get(id).is_some_and(|seen| seen.state == InstanceState::Gone && seen.ours)).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::types::Instance;

    use super::super::instances::Seen;
    use super::*;

    fn member(id: &str, state: LifecycleState, protected: bool) -> Instance {
        Instance::builder().instance_id(id).lifecycle_state(state).protected_from_scale_in(protected).build()
    }

    fn group(desired: i32, members: Vec<Instance>) -> AutoScalingGroup {
        AutoScalingGroup::builder()
            .auto_scaling_group_name("g")
            .desired_capacity(desired)
            .set_instances(Some(members))
            .build()
    }

    #[test]
    fn only_an_excess_that_can_end_nothing_is_taken_away() {
        let good = || member("i-1", LifecycleState::InService, true);
        let none = AllSeen::new();
        assert_eq!(lowered(&group(3, vec![good()]), &none), Some(1));
        assert_eq!(lowered(&group(3, vec![]), &none), Some(0));
        assert_eq!(lowered(&group(1, vec![good()]), &none), None);
        assert_eq!(lowered(&group(3, vec![good(), member("i-2", LifecycleState::Pending, true)]), &none), None);
        assert_eq!(lowered(&group(3, vec![member("i-1", LifecycleState::InService, false)]), &none), None);
        let seen = |state| Seen { state, stopped: false, ours: true, group: Some("g".to_owned()) };
        let hidden = AllSeen::from([(InstanceId::new("i-9"), seen(InstanceState::Live))]);
        assert_eq!(lowered(&group(3, vec![good()]), &hidden), None, "EC2 knows one that is not listed yet");
        let standing = Seen { stopped: true, ..seen(InstanceState::Live) };
        let standing = AllSeen::from([(InstanceId::new("i-9"), standing)]);
        assert_eq!(lowered(&group(3, vec![good()]), &standing), Some(1), "one of its standby stock");
        let over = AllSeen::from([(InstanceId::new("i-9"), seen(InstanceState::Gone))]);
        assert_eq!(lowered(&group(3, vec![good()]), &over), Some(1));
    }

    #[test]
    fn an_excess_is_waited_out() {
        let start = Timestamp::from_unix_ms(1_000_000);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut excess = Excess::from(start);
        assert!(!excess.is_due("g", true, at(100)), "an earlier process may have launched");
        assert!(excess.is_due("g", true, at(170)));
        excess.busy("g", at(171));
        assert!(!excess.is_due("g", true, at(172)));
        assert!(!excess.is_due("g", false, at(240)));
        assert!(!excess.is_due("g", true, at(300)), "it is a new one");
        assert!(excess.is_due("g", true, at(360)));
    }
}
