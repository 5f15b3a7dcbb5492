//! Shapes: hardware, market, image and account; what groups and launch templates belong to.
//!
//! What lives here: the value and its id. What may not: labels, bounds, pools (classes of several pools share a shape).
//!
//! Invariant: shapes with equal hardware, market, image and account have equal ids, whatever the pool, and on every machine.

use std::sync::Arc;

use super::instance_type;
use super::market::{Arch, Market, Os};
use super::pool::{Pool, Size};
use crate::ids::ShapeId;

/// Hardware with its market, image and account.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Readable and deterministic, e.g. `linux-x64-spot-c7i.large+2-1a2b3c4d`.
    pub id: ShapeId,
    /// Operating system.
    pub os: Os,
    /// Architecture.
    pub arch: Arch,
    /// What the machine is bought as. One market per shape.
    pub market: Market,
    /// EC2 instance types, best first. Empty if the hardware is asked for by its attributes.
    pub instance_types: Arc<[Arc<str>]>,
    /// vCPUs, if the admin said.
    pub vcpus: Option<u32>,
    /// Memory in GiB, if the admin said.
    pub memory_gib: Option<f64>,
    /// GPUs, if the admin said.
    pub gpus: Option<u32>,
    /// Image name, id or parameter. `None`: the stack's image for this system and architecture.
    pub image: Option<Arc<str>>,
    /// The `[[aws.account]]` that it is launched in. `None`: the controller's own.
    pub account: Option<Arc<str>>,
    /// US dollars an hour while it runs. `None`: unknown (only without a budget).
    pub usd_per_hour: Option<f64>,
    /// US dollars an hour while it is stopped in a warm pool. `None`: unknown, or a spot shape.
    pub standby_usd_per_hour: Option<f64>,
}

impl Shape {
    /// The instance types whose name tells their vCPUs, with these; best first.
    pub fn vcpus_by_type(&self) -> impl Iterator<Item = (&str, u32)> {
        self.instance_types.iter().filter_map(|name| Some((&**name, instance_type::vcpus(name)?)))
    }

    /// The shape of a pool's machines of `size` in `market`, with its id and prices.
    pub(super) fn of(pool: &Pool, size: &Size, market: Market) -> Shape {
        let (usd_per_hour, standby_usd_per_hour) = match market {
            Market::Spot => (size.usd_per_hour.spot, None),
            Market::OnDemand => (size.usd_per_hour.on_demand, size.usd_per_hour.standby),
        };
        let by_attributes = size.instance_types.is_empty();
        let mut shape = Shape {
            id: ShapeId::new(""),
            os: pool.os,
            arch: pool.arch,
            market,
            instance_types: size.instance_types.clone().into(),
            vcpus: size.vcpus.filter(|_| by_attributes),
            memory_gib: size.memory_gib.filter(|_| by_attributes),
            gpus: size.gpus.filter(|_| by_attributes),
            image: size.image.clone(),
            account: pool.account.clone(),
            usd_per_hour,
            standby_usd_per_hour,
        };
        shape.id = ShapeId::new(shape.name());
        shape
    }

    /// A readable beginning, and a hash of all that makes the shape.
    fn name(&self) -> String {
        let mut hardware = match (&*self.instance_types, self.vcpus) {
            ([], None) => "any".to_owned(),
            ([], Some(vcpus)) => format!("{vcpus}vcpu"),
            ([only], _) => only.to_string(),
            ([first, rest @ ..], _) => format!("{first}+{}", rest.len()),
        };
        if let Some(gib) = self.memory_gib {
            hardware.push_str(&format!("-{gib}gib"));
        }
        if let Some(gpus) = self.gpus.filter(|gpus| *gpus > 0) {
            hardware.push_str(&format!("-{gpus}gpu"));
        }
        let beginning = format!("{}-{}-{}-{hardware}", self.os, self.arch, self.market);
        let image = self.image.as_deref().unwrap_or("");
        let account = self.account.as_ref().map(|account| format!("|{account}")).unwrap_or_default();
        let hash = fnv1a(&format!("{beginning}|{}|{image}{account}", self.instance_types.join(",")));
        format!("{beginning}-{hash:08x}")
    }

    /// Takes the higher of two prices where pools disagree, so that a budget is never exceeded.
    pub(super) fn dearer(&mut self, other: &Shape) {
        let higher = |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(b.map_or(a, |b| a.max(b))));
        self.usd_per_hour = higher(self.usd_per_hour, other.usd_per_hour);
        self.standby_usd_per_hour = higher(self.standby_usd_per_hour, other.standby_usd_per_hour);
    }
}

/// FNV-1a, 32 bits: the same on every machine and in every version.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
