//! Instances as EC2 tells of them: those with the fleet's tag, and those that were asked for by id.
//!
//! Invariant: whether an instance is the fleet's is read from its tag, each time before something is done to it.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName};
use muster_core::ids::InstanceId;
use muster_core::launch::LaunchErrorKind;
use muster_core::ports::InstanceState;

use super::account::{Account, texts};
use super::budget::Api;
use super::errors::Failure;
use super::names::FLEET_TAG;

/// Instances in one page (EC2 API, `DescribeInstances`).
const PAGE: i32 = 1_000;
/// Pages read in one look.
const PAGES_MAX: usize = 50;
/// Values of one filter (EC2 API, filters).
const VALUES_MAX: usize = 200;
/// What Auto Scaling tags its members with.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: InstanceState,
    /// It stands still, as members of a standby stock do, which are members of the group's pool only.
    pub(super) stopped: bool,
    /// Whether it has this fleet's tag.
    pub(super) ours: bool,
    /// The group that launched it.
    pub(super) group: Option<String>,
}

/// Instances by id.
pub(super) type AllSeen = BTreeMap<InstanceId, Seen>;

impl Account {
    /// All instances with the fleet's tag, lately terminated ones too.
    pub(super) async fn fleet_instances(&self) -> Result<AllSeen, Failure> {
        let ours = Filter::builder().name(format!("tag:{FLEET_TAG}")).values(&self.fleet).build();
        self.described(ours).await
    }

    /// These instances, as far as EC2 knows them. By filter and not by id: one unknown id would fail the whole call.
    pub(super) async fn described_by_id<'a>(
        &self,
        instances: impl IntoIterator<Item = &'a InstanceId>,
    ) -> Result<AllSeen, Failure> {
        let mut all = AllSeen::new();
        for ids in texts(instances).chunks(VALUES_MAX) {
            let by_id = Filter::builder().name("instance-id").set_values(Some(ids.to_vec())).build();
            all.append(&mut self.described(by_id).await?);
        }
        Ok(all)
    }

    async fn described(&self, filter: Filter) -> Result<AllSeen, Failure> {
        let mut all = AllSeen::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self
                .call(Api::DescribeInstances, |clients| {
                    let describe = clients.ec2.describe_instances().filters(filter.clone()).max_results(PAGE);
                    describe.set_next_token(next.take()).send()
                })
                .await?;
            let instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
            all.extend(instances.filter_map(|instance| self.seen(instance)));
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(all);
            }
        }
        let why = format!("{} has more than {PAGES_MAX} pages of instances", self.title());
        Err(Failure::ours(LaunchErrorKind::Unknown, why))
    }

    fn seen(&self, instance: &Instance) -> Option<(InstanceId, Seen)> {
        let tag = |key: &str| instance.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
        let state = instance.state().and_then(|state| state.name());
        let gone = matches!(state, Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated));
        let seen = Seen {
            state: if gone { InstanceState::Gone } else { InstanceState::Live },
            stopped: matches!(state, Some(InstanceStateName::Stopping | InstanceStateName::Stopped)),
            ours: tag(FLEET_TAG) == Some(self.fleet.as_str()),
            group: tag(GROUP_TAG).map(str::to_owned),
        };
        Some((InstanceId::new(instance.instance_id()?), seen))
    }
}
