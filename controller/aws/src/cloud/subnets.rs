//! The zones of a place: which of its subnets is in which zone.

use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use muster_core::ids::Zone;
use muster_core::launch::LaunchErrorKind;
use muster_core::time::Timestamp;

use super::account::{Account, lock};
use super::budget::Api;
use super::errors::Failure;

/// A subnet never changes its zone; it can be deleted.
const FRESH: Duration = Duration::from_secs(3_600);

/// What was read, and when.
#[derive(Debug, Default)]
pub(super) struct Subnets(Mutex<Option<(Timestamp, Zoned)>>);

/// Subnets, each with its zone.
type Zoned = Vec<(String, Zone)>;

impl Account {
    /// The subnets that exist, each with its zone, in the order of the configuration.
    ///
    /// # Errors
    /// They could not be read, and never were.
    pub(super) async fn subnets(&self) -> Result<Zoned, Failure> {
        let now = (self.now)();
        let known = lock(&self.subnets.0).clone();
        if let Some((at, subnets)) = &known
            && now.since(*at) < FRESH
        {
            return Ok(subnets.clone());
        }
        match self.read_subnets().await {
            Ok(subnets) => {
                *lock(&self.subnets.0) = Some((now, subnets.clone()));
                Ok(subnets)
            }
            Err(failure) => known.map(|(_, subnets)| subnets).ok_or(failure),
        }
    }

    /// The zones that machines can be launched in here, in order of preference.
    pub(super) async fn zones(&self) -> Result<Vec<Zone>, Failure> {
        let mut zones: Vec<Zone> = Vec::new();
        for (_, zone) in self.subnets().await? {
            if !zones.contains(&zone) {
                zones.push(zone);
            }
        }
        Ok(zones)
    }

    async fn read_subnets(&self) -> Result<Zoned, Failure> {
        let wanted = &self.place.subnets;
        if wanted.is_empty() {
            let lacking = super::stack::lacking(&self.place, self.name.as_deref());
            return Err(Failure::ours(LaunchErrorKind::Configuration, lacking.join("; ")));
        }
        let answer = self
            .call(Api::DescribeSubnets, |clients| {
                // By filter and not by id: one that somebody has deleted would fail the whole call.
                let these = Filter::builder().name("subnet-id").set_values(Some(wanted.clone())).build();
                clients.ec2.describe_subnets().filters(these).send()
            })
            .await?;
        let zone_of = |subnet: &String| {
            let found = answer.subnets().iter().find(|found| found.subnet_id() == Some(subnet))?;
            Some((subnet.clone(), Zone::new(found.availability_zone()?)))
        };
        Ok(wanted.iter().filter_map(zone_of).collect())
    }
}
