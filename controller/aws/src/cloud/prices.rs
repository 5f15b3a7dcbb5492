//! Spot prices as they are now. Nothing decides by them yet: a plan's prices are the configuration's.

use std::sync::Arc;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::InstanceType;
use muster_core::config::{Os, Shape};
use muster_core::ids::Zone;
use muster_core::launch::LaunchErrorKind;
use muster_core::money::HourlyPrice;

use super::account::Account;
use super::budget::Api;
use super::errors::Failure;

/// Prices in one page (EC2 API, `DescribeSpotPriceHistory`), and pages read: forty types in six zones fit into one.
const PAGE: i32 = 1_000;
const PAGES_MAX: usize = 5;

/// What a spot machine of one type costs in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotPrice {
    /// The instance type.
    pub instance_type: Arc<str>,
    /// The zone.
    pub zone: Zone,
    /// US dollars an hour.
    pub price: HourlyPrice,
}

impl Account {
    /// The prices of a shape's types here. A shape by attributes names no types, and has none.
    pub(super) async fn spot_prices(&self, shape: &Shape) -> Result<Vec<SpotPrice>, Failure> {
        let product = match shape.os {
            Os::Linux => "Linux/UNIX",
            Os::Windows => "Windows",
            Os::Macos => return Ok(Vec::new()),
        };
        if shape.instance_types.is_empty() {
            return Ok(Vec::new());
        }
        let types: Vec<InstanceType> = shape.instance_types.iter().map(|name| InstanceType::from(&**name)).collect();
        // From now on: the prices that hold, and no history.
        let from = DateTime::from_millis((self.now)().unix_ms());
        let (mut prices, mut next) = (Vec::new(), None);
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
                prices.push(SpotPrice {
                    instance_type: name.as_str().into(),
                    zone: Zone::new(zone),
                    price: HourlyPrice::from_usd(usd),
                });
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(prices);
            }
        }
        Err(Failure::ours(LaunchErrorKind::Unknown, format!("more than {PAGES_MAX} pages of spot prices")))
    }
}
