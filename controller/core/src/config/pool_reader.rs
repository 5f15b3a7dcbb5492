//! Reads a `[[pool]]`: keys, types, and what must fit within one pool.
//!
//! What lives here: the rules of one pool. What may not: rules between pools (`fleet_rules.rs`), advice (`advice.rs`).
//!
//! Invariant: a bad value is reported and replaced by something harmless, so that one mistake hides no other.

use std::sync::Arc;

use super::bounds::{Bounds, Standby};
use super::bounds_reader::{read_bounds, read_schedules, read_standby};
use super::diagnostic::Findings;
use super::fleet::{NAME_REMEDY, is_name};
use super::github::{Owner, is_login};
use super::limits::{JOB_HOURS_DEFAULT, LABEL_CHARS_MAX, LABELS_ADDED, LABELS_MAX, RERUNS_MAX, RUNNERS_MAX};
use super::market::{Arch, MarketPolicy, Os};
use super::pattern::{RepositoryPattern, TypePattern};
use super::pool::{Pool, Size};
use super::section::Section;
use super::wording::{did_you_mean, list, quote};
use super::{runner_reader, size_reader};
use crate::ids::PoolName;

/// Reads one pool. `None` only if too little of it is there to judge the rest of the file by.
pub(super) fn read(mut section: Section<'_>, owner: Option<&Owner>, findings: &mut Findings) -> Option<Pool> {
    let name = section.required_text("name", "give the pool a name", findings);
    if let Some(name) = name.filter(|name| !is_name(name)) {
        findings.error(section.key("name"), format!("{} cannot be a pool's name", quote(name)), NAME_REMEDY);
    }
    let os_remedy = "add os = \"linux\", \"windows\" or \"macos\"";
    let os = section.required_text("os", os_remedy, findings);
    let os = os.and_then(|_| section.word("os", Os::WORDS, Os::parse, findings));
    let arch = section.required_text("arch", "add arch = \"x64\" or \"arm64\"", findings);
    let arch = arch.and_then(|_| section.word("arch", Arch::WORDS, Arch::parse, findings));
    let runner_group = section.text("runner_group", findings).unwrap_or("default");
    if runner_group.trim().is_empty() {
        findings.error(section.key("runner_group"), "the name of the group is empty", "leave it out for `default`");
    }
    let public_repositories = section.flag("public_repositories", findings).unwrap_or(false);
    let priority = section.whole("priority", i64::from(i32::MIN), i64::from(i32::MAX), findings).unwrap_or(0);
    let max_runners = section.count("max_runners", 0, RUNNERS_MAX, findings);
    let max_job_hours = section.count("max_job_hours", 1, 10_000, findings).unwrap_or(JOB_HOURS_DEFAULT);
    let rerun_interrupted = section.count("rerun_interrupted", 0, RERUNS_MAX, findings).unwrap_or(0);
    let serves_group_jobs = section.flag("serves_group_jobs", findings).unwrap_or(false);
    let idle = read_bounds(&mut section, "idle", findings);
    let mut pool = Pool {
        name: PoolName::new(name.unwrap_or_default()),
        os: os.unwrap_or(Os::Linux),
        arch: arch.unwrap_or(Arch::X64),
        labels: Vec::new(),
        adds_labels: true,
        account: section.text("account", findings).map(Arc::from),
        runner_group: runner_group.into(),
        repositories: read_repositories(&mut section, owner, findings),
        public_repositories,
        priority: i32::try_from(priority).unwrap_or(0),
        sizes: Vec::new(),
        default_size: 0,
        markets: Vec::new(),
        default_market: MarketPolicy::OnDemand,
        instance_type_labels: read_type_patterns(&mut section, findings),
        idle: idle.map_or(Bounds::ANY, |change| Bounds::ANY.changed(change)),
        standby: Standby::NONE,
        max_runners,
        max_job_hours,
        rerun_interrupted,
        serves_group_jobs,
        runner: runner_reader::read(section.table("runner", findings), os, findings),
        schedules: Vec::new(),
    };
    read_markets(&mut section, &mut pool, os.is_some(), findings);
    pool.labels = read_labels(&mut section, &pool, findings);
    pool.sizes = size_reader::read(&mut section, findings);
    pool.default_size = read_default_size(&mut section, &pool.sizes, findings);
    check_label_names(&section, &pool, findings);
    read_standby(&mut section, &mut pool, findings);
    pool.schedules = read_schedules(&mut section, &pool, findings);
    section.finish(findings);
    (!pool.sizes.is_empty() && name.is_some()).then_some(pool)
}

fn read_repositories(
    section: &mut Section<'_>,
    owner: Option<&Owner>,
    findings: &mut Findings,
) -> Vec<RepositoryPattern> {
    let key = section.key("repositories");
    let Some(texts) = section.texts("repositories", findings) else {
        let all = owner.and_then(Owner::repositories);
        if all.is_none() && owner.is_some() && !section.has("repositories") {
            let remedy = "add repositories = [\"ORG/*\"], or [\"*\"] for the whole enterprise";
            findings.error(key, "`repositories` is missing, and an enterprise has no default", remedy);
        }
        return all.into_iter().collect();
    };
    if texts.is_empty() {
        findings.error(key, "a pool that is open to no repository serves no job", "name one, such as \"acme/*\"");
    }
    for (key, text) in &texts {
        let part = |part: &str| is_login(&part.replace('*', "x"));
        let good = match text.split_once('/') {
            Some((owner, name)) => part(owner) && part(name),
            None => *text == "*",
        };
        if !good {
            let remedy = "write OWNER/NAME, where `*` stands for any characters: acme/*, acme/api, */*, or * alone";
            findings.error(key, format!("{} is not a pattern of repositories", quote(text)), remedy);
        }
    }
    texts.iter().map(|(_, text)| RepositoryPattern::new(text)).collect()
}

fn read_type_patterns(section: &mut Section<'_>, findings: &mut Findings) -> Vec<TypePattern> {
    let texts = section.texts("instance_type_labels", findings).unwrap_or_default();
    for (key, text) in &texts {
        let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-*".contains(c));
        if !good || !(text.contains('.') || text.contains('*')) {
            let message = format!("{} is not a pattern of instance types", quote(text));
            findings.error(key, message, "write it as c7i.large or c7i.*");
        }
    }
    texts.iter().map(|(_, text)| TypePattern::new(text)).collect()
}

fn read_markets(section: &mut Section<'_>, pool: &mut Pool, os_known: bool, findings: &mut Findings) {
    let key = section.key("markets");
    let markets = section.words("markets", MarketPolicy::WORDS, MarketPolicy::parse, findings);
    if section.is_empty("markets") {
        findings.error(&key, "a pool without a market has no machines", "name one, such as \"spot\"");
    }
    pool.markets = markets.filter(|markets| !markets.is_empty()).unwrap_or_else(|| vec![MarketPolicy::OnDemand]);
    if os_known && pool.os == Os::Macos && pool.markets.iter().any(|market| *market != MarketPolicy::OnDemand) {
        let message = "EC2 has no spot market for macOS: Macs are dedicated hosts";
        findings.error(&key, message, "write markets = [\"on-demand\"], or leave it out");
        pool.markets = vec![MarketPolicy::OnDemand];
    }
    let default = section.word("default_market", MarketPolicy::WORDS, MarketPolicy::parse, findings);
    let key = section.key("default_market");
    let names = list(pool.markets.iter().map(|market| market.as_str()));
    pool.default_market = pool.markets[0];
    match default {
        Some(default) if pool.markets.contains(&default) => pool.default_market = default,
        Some(default) => {
            let message = format!("{} is not among the pool's markets", quote(default.as_str()));
            findings.error(key, message, format!("write one of {names}, or add it to `markets`"));
        }
        None if pool.markets.len() > 1 && !section.has("default_market") => {
            let message = "`default_market` is missing: which market does a job get that names none?";
            findings.error(key, message, format!("write one of {names}"));
        }
        None => {}
    }
}

fn read_default_size(section: &mut Section<'_>, sizes: &[Size], findings: &mut Findings) -> usize {
    let key = section.key("default_size");
    let names = || sizes.iter().map(|size| &*size.name);
    let Some(default) = section.text("default_size", findings) else {
        if sizes.len() > 1 && !section.has("default_size") {
            let message = "`default_size` is missing: which size does a job get that names none?";
            findings.error(key, message, format!("write one of {}", list(names())));
        }
        return 0;
    };
    let found = names().position(|name| name.eq_ignore_ascii_case(default));
    if found.is_none() && !sizes.is_empty() {
        let remedy = did_you_mean(default, names(), format!("write one of {}", list(names())));
        findings.error(key, format!("{} is not a size of the pool", quote(default)), remedy);
    }
    found.unwrap_or(0)
}

fn read_labels(section: &mut Section<'_>, pool: &Pool, findings: &mut Findings) -> Vec<Arc<str>> {
    let Some(texts) = section.texts("labels", findings) else {
        return ["self-hosted", pool.os.as_str(), pool.arch.as_str()].map(Arc::from).to_vec();
    };
    let key = section.key("labels");
    if texts.is_empty() {
        let remedy = "name some, such as [\"self-hosted\", \"linux\", \"x64\"], or leave `labels` out for these";
        findings.error(&key, "a pool without labels would take every job that names only a size", remedy);
    }
    if texts.len() + LABELS_ADDED > LABELS_MAX {
        let message = format!("{} labels, and the size and market make it more than {LABELS_MAX}", texts.len());
        findings.error(&key, message, format!("keep at most {}: GitHub takes no more", LABELS_MAX - LABELS_ADDED));
    }
    for (i, (key, text)) in texts.iter().enumerate() {
        if let Some((message, remedy)) = label_problem(text) {
            findings.error(key, format!("the label {} {message}", quote(text)), remedy);
        } else if texts[..i].iter().any(|(_, other)| other.to_lowercase() == text.to_lowercase()) {
            findings.error(key, format!("the label {} is there twice", quote(text)), "remove one of the two");
        } else if MarketPolicy::parse(&text.to_lowercase()).is_some() {
            let message = format!("the label {} is the name of a market", quote(text));
            findings.error(key, message, "remove it: the class adds its market to the labels");
        }
    }
    texts.into_iter().map(|(_, text)| text.into()).collect()
}

/// What makes a text unfit for a label, and the remedy.
pub(super) fn label_problem(text: &str) -> Option<(&'static str, &'static str)> {
    if text.is_empty() {
        Some(("is empty", "remove it"))
    } else if text.chars().nth(LABEL_CHARS_MAX).is_some() {
        Some(("has more than 256 characters", "shorten it: GitHub takes no more"))
    } else if text.contains(',') {
        Some(("holds a comma", "write two labels: GitHub's runner separates labels by commas"))
    } else if text.trim() != text || text.contains("  ") || text.chars().any(|c| c.is_whitespace() && c != ' ') {
        Some(("has spaces where they cannot be seen", "remove them"))
    } else if text.chars().any(char::is_control) {
        Some(("holds a control character", "remove it"))
    } else {
        None
    }
}

fn check_label_names(section: &Section<'_>, pool: &Pool, findings: &mut Findings) {
    for (i, label) in pool.labels.iter().enumerate() {
        if let Some(size) = pool.sizes.iter().find(|size| size.name.to_lowercase() == label.to_lowercase()) {
            let message = format!("the label {} is the name of a size", quote(&size.name));
            let remedy = "remove it: the class adds its size to the labels";
            findings.error(format!("{}[{i}]", section.key("labels")), message, remedy);
        }
    }
}
