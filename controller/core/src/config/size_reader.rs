//! Reads `[pool.sizes.NAME]`.
//!
//! What lives here: the rules of one size and of its name. What may not: what a budget asks of prices
//! (`fleet_rules.rs`).
//!
//! Invariant: a size that is kept names instance types or vCPUs, so there is hardware to launch.

use std::sync::Arc;

use super::bounds::Bounds;
use super::bounds_reader::read_bounds;
use super::diagnostic::Findings;
use super::fleet::{NAME_REMEDY, is_name};
use super::instance_type;
use super::limits::{INSTANCE_TYPES_MAX, PRICE_USD_MAX};
use super::market::MarketPolicy;
use super::pool::{Prices, Size};
use super::section::Section;
use super::wording::quote;

/// Most vCPUs and GPUs asked for. The largest EC2 instance has 1,920 vCPUs.
const COUNT_MAX: u32 = 10_000;
/// Most memory asked for, in GiB. The largest EC2 instance has 32 TiB.
const MEMORY_GIB_MAX: f64 = 100_000.0;

/// Reads all sizes of a pool, in the order of the file.
pub(super) fn read(section: &mut Section<'_>, findings: &mut Findings) -> Vec<Size> {
    let key = section.key("sizes");
    let none = !section.has("sizes") || section.is_empty("sizes");
    let tables = section.table("sizes", findings).map(|sizes| sizes.named_tables(findings)).unwrap_or_default();
    if none {
        let remedy = "add [pool.sizes.NAME] with instance_types = [\"c7i.large\"]";
        findings.error(key, "the pool has no size, so there is nothing to launch", remedy);
    }
    let mut sizes: Vec<Size> = Vec::new();
    for (name, table) in tables {
        if sizes.iter().any(|size| size.name.eq_ignore_ascii_case(name)) {
            let message = format!("{} is there twice: labels are the same in capitals", quote(name));
            findings.error(table.path.clone(), message, "remove or rename one of the two");
        }
        check_name(name, &table.path, findings);
        sizes.push(read_size(name, table, findings));
    }
    sizes
}

fn check_name(name: &str, key: &str, findings: &mut Findings) {
    if !is_name(name) {
        findings.error(key, format!("{} cannot be a size's name", quote(name)), NAME_REMEDY);
    }
    if MarketPolicy::parse(&name.to_lowercase()).is_some() {
        let message = format!("the size {} has the name of a market", quote(name));
        findings.error(key, message, "rename the size: a job's label must say one thing");
    }
}

fn read_size(name: &str, mut section: Section<'_>, findings: &mut Findings) -> Size {
    let instance_types = read_instance_types(&mut section, findings);
    let vcpus = section.count("vcpus", 1, COUNT_MAX, findings);
    let memory_gib = section.number("memory_gib", MEMORY_GIB_MAX, findings);
    let gpus = section.count("gpus", 0, COUNT_MAX, findings);
    if instance_types.is_empty() && !section.has("instance_types") && !section.has("vcpus") {
        let remedy = "add instance_types = [\"c7i.large\"], or vcpus and memory_gib";
        findings.error(section.path.clone(), "the size says nothing of its hardware", remedy);
    }
    let image = section.text("image", findings);
    if image.is_some_and(|image| image.trim().is_empty()) {
        findings.error(section.key("image"), "the image is empty", "leave it out for the stack's own image");
    }
    let usd_per_hour = read_prices(&mut section, findings);
    let idle = read_bounds(&mut section, "idle", findings).map(|change| Bounds::ANY.changed(change));
    section.finish(findings);
    let (name, image) = (name.into(), image.map(Arc::from));
    Size { name, instance_types, vcpus, memory_gib, gpus, image, usd_per_hour, idle }
}

fn read_instance_types(section: &mut Section<'_>, findings: &mut Findings) -> Vec<Arc<str>> {
    let key = section.key("instance_types");
    let Some(texts) = section.texts("instance_types", findings) else {
        return Vec::new();
    };
    if texts.is_empty() {
        findings.error(&key, "no instance type is named", "name some, or leave the key out and say vcpus");
    }
    if texts.len() > INSTANCE_TYPES_MAX {
        let message = format!("{} instance types; an Auto Scaling group takes {INSTANCE_TYPES_MAX}", texts.len());
        findings.error(&key, message, "keep the best");
    }
    for (i, (key, text)) in texts.iter().enumerate() {
        if !instance_type::is_like(text) || text.contains(|c: char| c.is_ascii_uppercase()) {
            let remedy = "write it as EC2 does, in lower case: c7i.large";
            findings.error(key, format!("{} is not an EC2 instance type", quote(text)), remedy);
        } else if texts[..i].iter().any(|(_, other)| other == text) {
            findings.error(key, format!("{} is named twice", quote(text)), "remove one of the two");
        }
    }
    texts.into_iter().map(|(_, text)| text.into()).collect()
}

fn read_prices(section: &mut Section<'_>, findings: &mut Findings) -> Prices {
    let Some(mut table) = section.table("usd_per_hour", findings) else {
        return Prices::default();
    };
    let mut price = |name| table.number(name, PRICE_USD_MAX, findings);
    let prices = Prices { on_demand: price("on-demand"), spot: price("spot"), standby: price("standby") };
    table.finish(findings);
    prices
}
