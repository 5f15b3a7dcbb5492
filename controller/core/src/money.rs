//! Money: hourly prices that add up exactly.

use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A price in micro-dollars an hour. Prices come with a few decimals; as integers they add up in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HourlyPrice(u64);

impl HourlyPrice {
    /// Nothing.
    pub const ZERO: HourlyPrice = HourlyPrice(0);

    /// From US dollars an hour, to the nearest micro-dollar; negative and non-finite prices are nothing.
    pub fn from_usd(usd: f64) -> HourlyPrice {
        // A float-to-integer cast saturates: the largest price is far above any that exists.
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let micros = (usd.max(0.0) * 1e6).round() as u64;
        HourlyPrice(micros)
    }

    /// In US dollars an hour.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// `count` machines at this price.
    pub fn times(self, count: u32) -> HourlyPrice {
        HourlyPrice(self.0.saturating_mul(u64::from(count)))
    }

    /// How many machines at this price fit into `self` as a budget; `u32::MAX` for free machines.
    pub fn fits(self, price: HourlyPrice) -> u32 {
        self.0.checked_div(price.0).map_or(u32::MAX, |n| u32::try_from(n).unwrap_or(u32::MAX))
    }
}

impl Add for HourlyPrice {
    type Output = HourlyPrice;
    fn add(self, other: HourlyPrice) -> HourlyPrice {
        HourlyPrice(self.0.saturating_add(other.0))
    }
}

impl Sub for HourlyPrice {
    type Output = HourlyPrice;
    fn sub(self, other: HourlyPrice) -> HourlyPrice {
        HourlyPrice(self.0.saturating_sub(other.0))
    }
}

impl Sum for HourlyPrice {
    fn sum<I: Iterator<Item = HourlyPrice>>(prices: I) -> HourlyPrice {
        prices.fold(HourlyPrice::ZERO, Add::add)
    }
}
