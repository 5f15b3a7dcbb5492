//! Rules between pools, and between pools and the fleet.
//!
//! What lives here: what can be judged only once all pools are read. What may not: advice (`advice.rs`).
//!
//! Invariant: with a budget, every configured shape has a price in every market it may come from.

use std::collections::BTreeMap;

use super::aws::Aws;
use super::diagnostic::Findings;
use super::limits::{CLASSES_MAX, POOLS_MAX};
use super::market::Market;
use super::pool::Pool;
use super::shape::Shape;
use super::wording::{did_you_mean, list, quote};

/// A pool and its dotted path in the file.
pub(super) struct ReadPool {
    pub(super) pool: Pool,
    pub(super) path: String,
}

pub(super) fn check(pools: &mut [ReadPool], aws: &Aws, budget: Option<f64>, findings: &mut Findings) {
    check_names(pools, findings);
    check_accounts(pools, aws, findings);
    check_counts(pools, findings);
    check_standby_states(pools, findings);
    if budget.is_some() {
        pools.iter_mut().for_each(|pool| complete_prices(pool, findings));
    }
}

fn check_names(pools: &[ReadPool], findings: &mut Findings) {
    for (i, ReadPool { pool, path }) in pools.iter().enumerate() {
        let same = |other: &&ReadPool| other.pool.name.as_str().eq_ignore_ascii_case(pool.name.as_str());
        if let Some(first) = pools[..i].iter().find(same) {
            let message = format!("the name {} is taken by {}", quote(pool.name.as_str()), first.path);
            findings.error(format!("{path}.name"), message, "give every pool a name of its own");
        }
    }
}

fn check_accounts(pools: &[ReadPool], aws: &Aws, findings: &mut Findings) {
    for ReadPool { pool, path } in pools {
        if let Some(name) = pool.account.as_deref().filter(|name| !aws.accounts.contains_key(*name)) {
            let message = format!("{} is no [[aws.account]]", quote(name));
            let fallback =
                "add [[aws.account]] with this name, or leave it out for the controller's own account".to_owned();
            let remedy = did_you_mean(name, aws.accounts.keys().map(|name| &**name), fallback);
            findings.error(format!("{path}.account"), message, remedy);
        }
    }
}

fn check_counts(pools: &[ReadPool], findings: &mut Findings) {
    if pools.len() > POOLS_MAX {
        findings.error("pool", format!("{} pools; at most {POOLS_MAX}", pools.len()), "join pools that differ by size");
    }
    let classes: usize = pools.iter().map(|read| read.pool.sizes.len() * read.pool.markets.len()).sum();
    if classes > CLASSES_MAX {
        let message = format!("{classes} classes (pool x size x market); at most {CLASSES_MAX}");
        findings.error("pool", message, "remove sizes or markets that nobody asks for");
    }
}

/// A warm pool belongs to a shape, and two pools may share one.
fn check_standby_states(pools: &[ReadPool], findings: &mut Findings) {
    let mut states = BTreeMap::new();
    for ReadPool { pool, path } in pools.iter().filter(|read| read.pool.standby.bounds.max > 0) {
        let shape = Shape::of(pool, pool.default_size(), Market::OnDemand).id;
        let (state, first) = states.entry(shape).or_insert((pool.standby.state, path));
        if *state != pool.standby.state {
            let message = format!("{first} keeps the same machines {state}, and they share one warm pool");
            findings.error(format!("{path}.standby.state"), message, format!("write state = \"{state}\" in both"));
        }
    }
}

/// A budget is a cap on prices, so there must be prices. One that is missing is estimated from above where that is
/// possible, with a warning: spot by on-demand, a size by the dearest vCPU of its pool.
fn complete_prices(read: &mut ReadPool, findings: &mut Findings) {
    let estimates: Vec<_> = read.pool.sizes.iter().map(|size| read.pool.estimate(size)).collect();
    let wanted: Vec<Market> = Market::ALL.iter().copied().filter(|market| read.pool.buys(*market)).collect();
    for (size, estimate) in read.pool.sizes.iter_mut().zip(estimates) {
        let key = format!("{}.usd_per_hour", super::diagnostic::join(&format!("{}.sizes", read.path), &size.name));
        let mut guessed = Vec::new();
        let mut missing = Vec::new();
        for market in &wanted {
            if size.usd_per_hour.of(*market).is_some() {
                continue;
            }
            let dearer = size.usd_per_hour.on_demand.filter(|_| *market == Market::Spot);
            let price = dearer.or_else(|| estimate.and_then(|estimate| estimate.of(*market)));
            match (price, market) {
                (None, _) => missing.push(market.as_str()),
                (Some(_), Market::Spot) => size.usd_per_hour.spot = price,
                (Some(_), Market::OnDemand) => size.usd_per_hour.on_demand = price,
            }
            guessed.extend(price.map(|price| format!("{market} {price:.4}")));
        }
        if !missing.is_empty() {
            let message = format!("the fleet has a budget, and the size no price for {}", list(&missing));
            findings.error(
                &key,
                message,
                "add usd_per_hour = { on-demand = 0.09, spot = 0.035 }, or remove the budget",
            );
        } else if !guessed.is_empty() {
            let message = format!(
                "the fleet has a budget, and the size no price of its own: counted as US dollars an hour: {}",
                guessed.join(", ")
            );
            findings.warn(&key, message, "add usd_per_hour to the size");
        }
    }
}
