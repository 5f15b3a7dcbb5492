//! Runner classes: what a runner registers as.
//!
//! What lives here: the value. What may not: how a job finds its class (`resolve.rs`).
//!
//! Invariant: the labels of a class are exactly what its runners register with, in this order.

use std::sync::Arc;

use super::bounds::Bounds;
use super::market::MarketPolicy;
use super::shape::Shape;
use crate::ids::{ClassId, PoolName};

/// A runner class: (pool, size or raw instance type, market label).
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// `pool/size-or-type/market`.
    pub id: ClassId,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// The labels its runners register with: the pool's, the size's name, the market label.
    pub labels: Arc<[Arc<str>]>,
    /// The runner group its runners register in.
    pub runner_group: Arc<str>,
    /// Name of the size, or of the raw instance type.
    pub size: Arc<str>,
    /// True if `size` is a raw EC2 instance type named by a job, not a configured size.
    pub raw: bool,
    /// Which markets its machines come from.
    pub market: MarketPolicy,
    /// Its shapes in order of preference; at least one.
    pub shapes: Arc<[Arc<Shape>]>,
    /// The pool's priority: higher is served first.
    pub priority: i32,
    /// After so many hours a job's machine is ended.
    pub max_job_hours: u32,
    /// Bounds of idle runners when no schedule applies. With schedules ask [`super::BoundsAt::idle`].
    pub idle: Bounds,
}
