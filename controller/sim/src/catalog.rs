//! What the simulator must be told of the fleet's configuration: which class serves a job, what machines cost and how
//! they boot. Told by the driver, so that no rule of resolution is written twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::config::Os;
use muster_core::ids::{ClassId, PoolName, ShapeId};
use muster_core::machine::Market;
use muster_core::money::HourlyPrice;

/// Who runs a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// A runner class of the fleet.
    Class(ClassId),
    /// GitHub, on a machine of its own. The job is none of the fleet's and is not counted.
    Hosted,
    /// Nobody: the job waits until GitHub gives it up.
    Nobody,
}

/// A runner class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassInfo {
    /// Its id.
    pub id: ClassId,
    /// Its pool.
    pub pool: PoolName,
    /// The labels its runners register with.
    pub labels: Arc<[Arc<str>]>,
    /// What one of its machines costs an hour; the report shows it.
    pub price: HourlyPrice,
    /// Its shapes.
    pub shapes: Vec<ShapeId>,
}

/// The pool of jobs that no pool serves.
pub(crate) const NOBODY: &str = "nobody";

impl ClassInfo {
    /// Whether it stands for jobs that nobody serves.
    pub(crate) fn is_nobody(&self) -> bool {
        self.shapes.is_empty() && self.pool.as_str() == NOBODY
    }
}

/// A shape.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeInfo {
    /// Its id.
    pub id: ShapeId,
    /// What it boots.
    pub os: Os,
    /// How it is paid.
    pub market: Market,
    /// What it costs an hour while it runs.
    pub price: HourlyPrice,
    /// What it costs an hour while it stands by; `None` if it cannot.
    pub standby_price: Option<HourlyPrice>,
    /// The class that its standby machines are booked under.
    pub class: ClassId,
}

/// The fleet's configuration, as far as the simulator needs it.
pub trait Catalog: Send {
    /// Who runs a job. Asked once for each combination.
    fn serve(&self, labels: &[Arc<str>], repository: &str, public: bool) -> Service;
    /// A class. `None` if there is none of this id.
    fn class(&self, id: &ClassId) -> Option<ClassInfo>;
    /// A shape. `None` if there is none of this id.
    fn shape(&self, id: &ShapeId) -> Option<ShapeInfo>;
}

/// Prices of a size, in US dollars an hour: on-demand, spot, standby.
type Prices = (&'static str, f64, Option<f64>, Option<f64>);

/// What machines cost unless a configuration says otherwise.
const PRICES: [Prices; 5] = [
    ("cpu-2", 0.09, Some(0.035), Some(0.004)),
    ("cpu-8", 0.36, Some(0.14), Some(0.012)),
    ("cpu-16", 0.72, Some(0.28), Some(0.02)),
    ("windows", 0.18, Some(0.07), Some(0.008)),
    ("macos", 1.10, None, None),
];

/// The catalog without a configuration: one class for each label set, at list prices.
#[derive(Clone, Debug, Default)]
pub struct PriceList {
    by_labels: BTreeMap<Vec<Arc<str>>, ClassId>,
    classes: BTreeMap<ClassId, ClassInfo>,
    shapes: BTreeMap<ShapeId, ShapeInfo>,
}

impl PriceList {
    /// One class for each of these label sets. A set that names no size is priced as `cpu-2`.
    pub fn over<'a>(label_sets: impl IntoIterator<Item = &'a Arc<[Arc<str>]>>) -> PriceList {
        let mut list = PriceList::default();
        for labels in label_sets {
            list.add(labels);
        }
        list
    }

    fn add(&mut self, labels: &Arc<[Arc<str>]>) {
        let has = |word: &str| labels.iter().any(|label| label.eq_ignore_ascii_case(word));
        let (size, on_demand, spot, standby) = PRICES.into_iter().find(|row| has(row.0)).unwrap_or(PRICES[0]);
        let (market, dollars) = match spot {
            Some(dollars) if has("spot") => (Market::Spot, dollars),
            Some(_) | None => (Market::OnDemand, on_demand),
        };
        let os = match size {
            "windows" => Os::Windows,
            "macos" => Os::Macos,
            _ => Os::Linux,
        };
        let name = labels.join("+");
        let pool = PoolName::new(name.as_str());
        let class = ClassId::new(format!("{name}/{size}/{}", market.as_str()));
        let shape = ShapeId::new(format!("{name}-{size}-{}", market.as_str()));
        let price = HourlyPrice::from_usd(dollars);
        let standby_price = standby.filter(|_| market == Market::OnDemand).map(HourlyPrice::from_usd);
        self.by_labels.insert(key(labels), class.clone());
        self.shapes.insert(
            shape.clone(),
            ShapeInfo { id: shape.clone(), os, market, price, standby_price, class: class.clone() },
        );
        let info = ClassInfo { id: class.clone(), pool, labels: labels.clone(), price, shapes: vec![shape] };
        self.classes.insert(class, info);
    }

    /// All classes, by id.
    pub fn classes(&self) -> impl Iterator<Item = &ClassInfo> {
        self.classes.values()
    }
}

/// Label sets are equal whatever their order and case.
fn key(labels: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut key: Vec<Arc<str>> = labels.iter().map(|label| label.to_ascii_lowercase().into()).collect();
    key.sort_unstable();
    key.dedup();
    key
}

impl Catalog for PriceList {
    fn serve(&self, labels: &[Arc<str>], _repository: &str, _public: bool) -> Service {
        self.by_labels.get(&key(labels)).map_or(Service::Nobody, |class| Service::Class(class.clone()))
    }

    fn class(&self, id: &ClassId) -> Option<ClassInfo> {
        self.classes.get(id).cloned()
    }

    fn shape(&self, id: &ShapeId) -> Option<ShapeInfo> {
        self.shapes.get(id).cloned()
    }
}
