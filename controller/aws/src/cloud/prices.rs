//! Spot prices as they are now.
//!
//! What lives here: reading them, and what a shape costs in a zone. What may not: what a plan makes of it.
//!
//! Which of a shape's types a launch will get is Auto Scaling's choice. A shape counts as much as the dearest of them, so
//! that a budget holds whatever is picked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::InstanceType;
use muster_core::config::{Os, Shape};
use muster_core::ids::Zone;
use muster_core::launch::LaunchErrorKind;
use muster_core::money::HourlyPrice;
use muster_core::ports::SpotPrice;

use super::account::Account;
use super::budget::Api;
use super::errors::Failure;

/// Prices in one page (EC2 API, `DescribeSpotPriceHistory`), and pages read: a hundred types in six zones fit into one.
const PAGE: i32 = 1_000;
const PAGES_MAX: usize = 10;

/// By zone and instance type.
type Prices = BTreeMap<Zone, BTreeMap<String, HourlyPrice>>;

impl Account {
    /// What these spot shapes cost here. One by attributes names no types, and has no price.
    pub(super) async fn spot_prices(&self, shapes: &[Arc<Shape>]) -> Result<Vec<SpotPrice>, Failure> {
        let mut told = Vec::new();
        for (os, product) in [(Os::Linux, "Linux/UNIX"), (Os::Windows, "Windows")] {
            let shapes = shapes.iter().filter(|shape| shape.os == os);
            let types: BTreeSet<&str> = shapes.clone().flat_map(|shape| &*shape.instance_types).map(|t| &**t).collect();
            if types.is_empty() {
                continue;
            }
            let prices = self.read_prices(product, types.into_iter().map(InstanceType::from).collect()).await?;
            told.extend(shapes.flat_map(|shape| prices_of(shape, &prices)));
        }
        Ok(told)
    }

    async fn read_prices(&self, product: &str, types: Vec<InstanceType>) -> Result<Prices, Failure> {
        // From now on: the prices that hold, and no history.
        let from = DateTime::from_millis((self.now)().unix_ms());
        let (mut prices, mut next) = (Prices::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self
                .call(Api::DescribeSpotPriceHistory, |clients| {
                    let describe = clients.ec2.describe_spot_price_history().start_time(from);
                    let describe = describe.set_instance_types(Some(types.clone())).product_descriptions(product);
                    describe.max_results(PAGE).set_next_token(next.take()).send()
                })
                .await?;
            for price in page.spot_price_history() {
                let told = price.spot_price().and_then(|price| price.parse::<f64>().ok());
                let (Some(usd), Some(name), Some(zone)) = (told, price.instance_type(), price.availability_zone())
                else {
                    continue;
                };
                let there = prices.entry(Zone::new(zone)).or_default();
                // The latest comes first.
                there.entry(name.as_str().to_owned()).or_insert(HourlyPrice::from_usd(usd));
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(prices);
            }
        }
        Err(Failure::ours(LaunchErrorKind::Unknown, format!("more than {PAGES_MAX} pages of spot prices")))
    }
}

fn prices_of(shape: &Shape, prices: &Prices) -> Vec<SpotPrice> {
    let in_zone = |(zone, prices): (&Zone, &BTreeMap<String, HourlyPrice>)| {
        let price = shape.instance_types.iter().filter_map(|name| prices.get(&**name)).max()?;
        Some(SpotPrice { shape: shape.id.clone(), zone: zone.clone(), price: *price })
    };
    prices.iter().filter_map(in_zone).collect()
}
