//! All classes and shapes of a configuration, and where each label leads.
//!
//! What lives here: the tables that are built once and asked on every tick and webhook. What may not: validation.
//!
//! Invariant: `classes` holds pool x size x market in the order of the file; `entries` the pools in the order in which
//! they are judged: higher priority first, then the order of the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::bounds::{Bounds, Timetable};
use super::class::Class;
use super::market::{Market, MarketPolicy};
use super::pool::{Pool, Size};
use super::shape::Shape;
use crate::ids::{ClassId, PoolName, ShapeId};

/// A label's number in [`Catalog::labels`].
pub(super) type LabelNo = u32;
/// The number of a label that no configured class has, and of names that are no labels.
pub(super) const UNKNOWN: LabelNo = LabelNo::MAX;

/// The tables.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    pub(super) classes: Vec<Arc<Class>>,
    pub(super) by_class: BTreeMap<ClassId, Arc<Class>>,
    pub(super) by_shape: BTreeMap<ShapeId, Arc<Shape>>,
    pub(super) by_pool: BTreeMap<PoolName, usize>,
    pub(super) timetable: Timetable,
    /// All labels of all classes in lower case, sorted.
    pub(super) labels: Vec<Box<str>>,
    pub(super) entries: Vec<Entry>,
}

/// A pool as resolution sees it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Index of the pool.
    pub(super) pool: usize,
    /// The pool's own labels.
    pub(super) base: Vec<LabelNo>,
    /// Its sizes' labels, in their order.
    pub(super) sizes: Vec<LabelNo>,
    /// Its markets' labels, in their order.
    pub(super) markets: Vec<LabelNo>,
    /// Index of the class of the first size and market.
    pub(super) first_class: usize,
}

impl Catalog {
    pub(super) fn new(pools: &[Pool], zone: TimeZone) -> Catalog {
        let by_shape = collect_shapes(pools);
        let mut catalog = Catalog {
            classes: Vec::new(),
            by_class: BTreeMap::new(),
            by_shape,
            by_pool: pools.iter().enumerate().map(|(i, pool)| (pool.name.clone(), i)).collect(),
            timetable: Timetable::new(zone),
            labels: Vec::new(),
            entries: Vec::new(),
        };
        let mut first_classes = Vec::new();
        for pool in pools {
            first_classes.push(catalog.classes.len());
            catalog.add_classes(pool);
        }
        catalog.by_class = catalog.classes.iter().map(|class| (class.id.clone(), class.clone())).collect();
        let labels = catalog.classes.iter().flat_map(|class| class.labels.iter());
        catalog.labels = labels.map(|label| label.to_lowercase().into()).collect();
        catalog.labels.sort_unstable();
        catalog.labels.dedup();
        let entries = pools.iter().zip(first_classes).enumerate();
        catalog.entries = entries.map(|(i, (pool, first))| catalog.entry(i, pool, first)).collect();
        catalog.entries.sort_by_key(|entry| std::cmp::Reverse(pools[entry.pool].priority));
        catalog
    }

    fn add_classes(&mut self, pool: &Pool) {
        for (i, size) in pool.sizes.iter().enumerate() {
            for market in &pool.markets {
                let mut class = class_of(pool, size, *market, false, &self.by_shape);
                if *market == pool.default_market {
                    let of_pool = if i == pool.default_size { pool.idle } else { Bounds::ANY };
                    class.idle = size.idle.unwrap_or(of_pool);
                    if i == pool.default_size {
                        let shape = Shape::of(pool, size, Market::OnDemand).id;
                        let has_shape = pool.buys(Market::OnDemand);
                        let standby = has_shape.then_some((&shape, pool.standby));
                        self.timetable.add(&class, standby, &pool.schedules);
                    }
                }
                self.classes.push(Arc::new(class));
            }
        }
    }

    fn entry(&self, pool_index: usize, pool: &Pool, first_class: usize) -> Entry {
        let number = |label: &str| self.label_no(&label.to_lowercase());
        let added = |label: &str| if pool.adds_labels { number(label) } else { UNKNOWN };
        Entry {
            pool: pool_index,
            base: pool.labels.iter().map(|label| number(label)).collect(),
            sizes: pool.sizes.iter().map(|size| added(&size.name)).collect(),
            markets: pool.markets.iter().map(|market| added(market.as_str())).collect(),
            first_class,
        }
    }

    /// The number of a label in lower case.
    pub(super) fn label_no(&self, lower: &str) -> LabelNo {
        let found = self.labels.binary_search_by(|label| (**label).cmp(lower)).ok();
        found.and_then(|place| LabelNo::try_from(place).ok()).unwrap_or(UNKNOWN)
    }
}

fn collect_shapes(pools: &[Pool]) -> BTreeMap<ShapeId, Arc<Shape>> {
    let mut shapes: BTreeMap<ShapeId, Shape> = BTreeMap::new();
    for pool in pools {
        for size in &pool.sizes {
            for market in pool.markets.iter().flat_map(|policy| policy.markets()) {
                let shape = Shape::of(pool, size, *market);
                match shapes.get_mut(&shape.id) {
                    Some(known) => known.dearer(&shape),
                    None => {
                        shapes.insert(shape.id.clone(), shape);
                    }
                }
            }
        }
    }
    shapes.into_iter().map(|(id, shape)| (id, Arc::new(shape))).collect()
}

/// The class of a size, configured or raw. Shapes that are known are shared.
pub(super) fn class_of(
    pool: &Pool,
    size: &Size,
    market: MarketPolicy,
    raw: bool,
    known: &BTreeMap<ShapeId, Arc<Shape>>,
) -> Class {
    let shapes = market.markets().iter().map(|market| {
        let shape = Shape::of(pool, size, *market);
        known.get(&shape.id).cloned().unwrap_or_else(|| Arc::new(shape))
    });
    let mut labels = pool.labels.clone();
    if pool.adds_labels {
        labels.extend([size.name.clone(), market.as_str().into()]);
    }
    Class {
        id: ClassId::new(format!("{}/{}/{market}", pool.name, size.name)),
        pool: pool.name.clone(),
        labels: labels.into(),
        runner_group: pool.runner_group.clone(),
        size: size.name.clone(),
        raw,
        market,
        shapes: shapes.collect(),
        priority: pool.priority,
        max_job_hours: pool.max_job_hours,
        idle: Bounds::ANY,
    }
}
