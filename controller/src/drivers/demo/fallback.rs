//! A `muster.toml` for the label sets of a trace that the example does not serve.
//!
//! What lives here: the text. What may not: what a set stands for (`FleetConfig::for_label_sets` knows).
//!
//! Invariant: the text is what the demo runs under, read as anybody's `muster.toml`: what a ledger keeps of it is the truth.

use std::fmt::Write;

use muster_core::config::{FleetConfig, Pool, Prices};

const BEGINNING: &str = r#"# Made by `muster demo`: a pool for each set of labels of the trace.
[github]
organization = "trace"
webhook_secrets = ["env:MUSTER_WEBHOOK_SECRET"]
[[github.app]]
id = 1
private_key = "file:app.pem"
[fleet]
name = "trace"
"#;

/// The text. `None` if it cannot be written.
pub(super) fn text(sets: &[Vec<String>]) -> Option<String> {
    let mut text = BEGINNING.to_owned();
    for pool in FleetConfig::for_label_sets(sets).pools() {
        add(&mut text, pool)?;
    }
    Some(text)
}

/// What the text says. `None` if it is not valid: labels of a trace need not be labels that GitHub takes.
pub(super) fn read(text: &str) -> Option<FleetConfig> {
    FleetConfig::parse("the demo's configuration", text).config
}

fn add(text: &mut String, pool: &Pool) -> Option<()> {
    let (size, market) = (pool.sizes.first()?, pool.default_market.as_str());
    // The class adds these two to the pool's labels by itself.
    let added = |label: &str| label.eq_ignore_ascii_case(&size.name) || label.eq_ignore_ascii_case(market);
    let mut labels: Vec<&str> = pool.labels.iter().map(|label| &**label).filter(|label| !added(label)).collect();
    if labels.is_empty() {
        labels.push("self-hosted");
    }
    // JSON's strings and lists are TOML's too.
    let labels = serde_json::to_string(&labels).ok()?;
    let name = serde_json::to_string(pool.name.as_str()).ok()?;
    writeln!(
        text,
        "[[pool]]\nname = {name}\nos = \"{}\"\narch = \"{}\"\nlabels = {labels}\nrepositories = [\"*\"]\n\
         public_repositories = true\nmarkets = [\"{market}\"]\nmax_job_hours = {}\nserves_group_jobs = {}\n\
         [pool.sizes.{}]\nvcpus = {}\nusd_per_hour = {}",
        pool.os,
        pool.arch,
        pool.max_job_hours,
        pool.serves_group_jobs,
        size.name,
        size.vcpus?,
        prices(size.usd_per_hour)
    )
    .ok()
}

fn prices(prices: Prices) -> String {
    let named = [("on-demand", prices.on_demand), ("spot", prices.spot), ("standby", prices.standby)];
    let told: Vec<String> =
        named.iter().filter_map(|(name, price)| price.map(|price| format!("{name} = {price:?}"))).collect();
    format!("{{ {} }}", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_served_and_priced_as_without_a_file() {
        let sets =
            ["self-hosted linux x64 cpu-8 spot", "self-hosted macos arm64", "windows", "gpu-box Linux", "spot", ""];
        let sets: Vec<Vec<String>> =
            sets.iter().map(|set| set.split_whitespace().map(str::to_owned).collect()).collect();
        let written = read(&text(&sets).unwrap()).unwrap();
        let exact = FleetConfig::for_label_sets(&sets);
        for set in &sets {
            let of = |config: &FleetConfig| config.resolve(set, "any/thing", true).class().unwrap().clone();
            let (one, other) = (of(&written), of(&exact));
            assert!(set.iter().all(|label| one.labels.iter().any(|l| l.eq_ignore_ascii_case(label))), "{set:?}");
            assert_eq!((one.shapes[0].os, one.market, one.max_job_hours), (other.shapes[0].os, other.market, 120));
            assert_eq!(one.shapes[0].usd_per_hour, other.shapes[0].usd_per_hour, "{set:?}");
        }
        assert!(read(&text(&[vec!["a,b".to_owned()]]).unwrap()).is_none(), "GitHub has no such label");
    }
}
