//! Shapes: hardware, market and image; what groups and launch templates belong to.
//!
//! What lives here: the value and its id. What may not: labels, bounds, pools (classes of several pools share a shape).
//!
//! Invariant: shapes with equal hardware, market and image have equal ids, whatever the pool, and on every machine.

use std::sync::Arc;

use super::market::{Arch, Market, Os};
use crate::ids::ShapeId;

/// Hardware with its market and image.
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
    /// US dollars an hour while it runs. `None`: unknown (only without a budget).
    pub usd_per_hour: Option<f64>,
    /// US dollars an hour while it is stopped in a warm pool. `None`: unknown, or a spot shape.
    pub standby_usd_per_hour: Option<f64>,
}
