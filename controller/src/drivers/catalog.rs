//! A configuration as the simulator wants to know it.

use std::sync::Arc;

use muster_core::config::{Class, FleetConfig, Market, Os, RefusalKind, Resolution, Shape};
use muster_core::ids::{ClassId, ShapeId};
use muster_core::money::HourlyPrice;
use muster_sim::{Catalog, ClassInfo, Limits, Service, ShapeInfo};
use muster_webhook::live::LiveConfig;

/// How many spare machines beyond demand and target the watch lets pass, where it was told a target.
const SURPLUS_SLACK: u32 = 0;

/// The configuration that the fleet runs under, as a catalog of classes, shapes and prices.
#[derive(Clone)]
pub struct ConfigCatalog(pub Arc<FleetConfig>);

impl Catalog for ConfigCatalog {
    fn serve(&self, labels: &[Arc<str>], repository: &str, public: bool) -> Service {
        match self.0.resolve(labels, repository, public) {
            Resolution::Class(class) => Service::Class(class.id.clone()),
            Resolution::Refused(refusal) if refusal.refusal_kind() == RefusalKind::GithubHosted => Service::Hosted,
            Resolution::Refused(_) => Service::Nobody,
        }
    }

    fn class(&self, id: &ClassId) -> Option<ClassInfo> {
        let class = self.0.class(id)?;
        let price = class.shapes.first().and_then(|shape| shape.usd_per_hour).unwrap_or(0.0);
        Some(ClassInfo {
            id: class.id.clone(),
            pool: class.pool.clone(),
            labels: class.labels.clone(),
            price: HourlyPrice::from_usd(price),
            shapes: class.shapes.iter().map(|shape| shape.id.clone()).collect(),
        })
    }

    fn shape(&self, id: &ShapeId) -> Option<ShapeInfo> {
        let shape = self.0.shape(id)?;
        let class = self.owner(&shape)?;
        // An on-demand machine without a price on standby stands by at none; spot and Macs cannot.
        let stands_by = shape.market == Market::OnDemand && shape.os != Os::Macos;
        let standby_price = stands_by.then(|| HourlyPrice::from_usd(shape.standby_usd_per_hour.unwrap_or(0.0)));
        Some(ShapeInfo {
            id: shape.id.clone(),
            os: shape.os,
            market: shape.market,
            price: HourlyPrice::from_usd(shape.usd_per_hour.unwrap_or(0.0)),
            standby_price,
            class,
        })
    }
}

impl ConfigCatalog {
    /// The first class that has machines of this shape: a configured one, else one of a raw instance type, which exists
    /// only once a job names the type.
    fn owner(&self, shape: &Shape) -> Option<ClassId> {
        let has = |class: &Class| class.shapes.iter().any(|of| of.id == shape.id);
        if let Some(class) = self.0.classes().iter().find(|class| has(class)) {
            return Some(class.id.clone());
        }
        let raw = shape.instance_types.first()?;
        let ids = self.0.pools().iter().flat_map(|pool| {
            pool.markets.iter().map(move |market| ClassId::new(format!("{}/{raw}/{}", pool.name, market.as_str())))
        });
        ids.filter_map(|id| self.0.class(&id)).find(|class| has(class)).map(|class| class.id.clone())
    }
}

/// The configuration in force, as it changes in flight.
#[derive(Clone)]
pub struct LiveCatalog(pub Arc<LiveConfig>);

impl Catalog for LiveCatalog {
    fn serve(&self, labels: &[Arc<str>], repository: &str, public: bool) -> Service {
        ConfigCatalog(self.0.snapshot()).serve(labels, repository, public)
    }

    fn class(&self, id: &ClassId) -> Option<ClassInfo> {
        ConfigCatalog(self.0.snapshot()).class(id)
    }

    fn shape(&self, id: &ShapeId) -> Option<ShapeInfo> {
        ConfigCatalog(self.0.snapshot()).shape(id)
    }
}

/// The bounds of a configuration, for the watch.
pub fn limits(config: &FleetConfig) -> Limits {
    let pools = config.pools().iter().filter_map(|pool| Some((pool.name.clone(), pool.max_runners?)));
    Limits {
        max_runners: config.fleet.max_runners,
        budget: config.fleet.budget_usd_per_hour.map(HourlyPrice::from_usd),
        pools: pools.collect(),
        surplus: Some(SURPLUS_SLACK),
        starved_after: Some(std::time::Duration::from_secs(600)),
    }
}
