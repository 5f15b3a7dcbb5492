//! Whether machines could be launched in each account: for `muster doctor`.
//!
//! What lives here: the same reading that a launch does, without the launch. What may not: a change.
//!
//! Invariant: one account that fails hides no other, and one whose role cannot be taken on is asked nothing more.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use muster_core::config::{FleetConfig, Shape};

use super::AwsCloud;
use super::account::Account;
use super::egress::WayOut;
use super::errors::Failure;
use super::quotas::VcpuQuota;
use super::stack::lacking;

/// What an account has for machines. Texts of errors say what to do.
#[derive(Clone, Debug)]
pub struct AccountCheckup {
    /// Its name in the configuration. `None`: the controller's own.
    pub name: Option<Arc<str>>,
    /// The role that is taken on for it. `None`: the controller's own.
    pub role: Option<String>,
    /// What no machine could be launched without, and nobody has said.
    pub lacking: Vec<String>,
    /// What there is; or why the role cannot be taken on.
    pub there: Result<There, String>,
}

/// What there is in an account.
#[derive(Clone, Debug)]
pub struct There {
    /// The subnets that are named and not there, and how many zones the others are in.
    pub subnets: Result<(Vec<String>, usize), String>,
    /// The image of each system and architecture that a pool has here, by what names it.
    pub images: BTreeMap<String, Result<String, String>>,
    /// Where the default route of each subnet leads; or why that is not known.
    pub ways_out: Result<Vec<(String, WayOut)>, String>,
    /// How many Auto Scaling groups it has, and may have.
    pub groups: Result<(i32, i32), String>,
    /// EC2's quotas of vCPUs.
    pub vcpus: Vec<VcpuQuota>,
}

impl AwsCloud {
    /// Looks at the home account and every other one of the configuration. It only reads.
    pub async fn checkup(&self) -> Vec<AccountCheckup> {
        let config = (self.config)();
        let accounts = self.accounts(&config);
        join_all(accounts.iter().map(|account| account.checkup(&config))).await
    }
}

impl Account {
    async fn checkup(&self, config: &FleetConfig) -> AccountCheckup {
        let there = match self.clients().await {
            Ok(_) => Ok(self.there(config).await),
            Err(failure) => Err(told(failure)),
        };
        AccountCheckup {
            name: self.name.clone(),
            role: self.role.as_ref().map(|role| role.arn.clone()),
            lacking: lacking(&self.place, self.name.as_deref()),
            there,
        }
    }

    async fn there(&self, config: &FleetConfig) -> There {
        let wanted = &self.place.subnets;
        // That none is named is told with what is lacking.
        let there = if wanted.is_empty() { Ok(Vec::new()) } else { self.subnets().await };
        let subnets = there.map_err(told).map(|there| {
            let gone = wanted.iter().filter(|wanted| there.iter().all(|(subnet, _)| subnet != *wanted));
            let zones: BTreeSet<_> = there.iter().map(|(_, zone)| zone.as_str()).collect();
            (gone.cloned().collect(), zones.len())
        });
        let mut images = BTreeMap::new();
        for shape in config.shapes().filter(|shape| shape.account == self.name) {
            if let Entry::Vacant(place) = images.entry(self.image_name(shape)) {
                place.insert(self.image(shape).await.map(|image| image.id).map_err(told));
            }
        }
        There {
            subnets,
            images,
            ways_out: self.ways_out().await.map_err(told),
            groups: self.group_count().await.map_err(told),
            vcpus: self.vcpu_quotas(config).await,
        }
    }

    /// What a shape's image is called by whoever names it.
    fn image_name(&self, shape: &Shape) -> String {
        let named = shape.image.as_ref().or_else(|| self.place.images.get(&(shape.os, shape.arch)));
        let name = named.map_or_else(String::new, |name| format!(" ({name})"));
        format!("{} {}{name}", shape.os, shape.arch)
    }
}

fn told(failure: Failure) -> String {
    failure.to_string()
}
