//! Warnings: what is allowed and yet probably not meant.
//!
//! What lives here: advice on a configuration without errors. What may not: anything that refuses it.
//!
//! Invariant: nothing here changes the configuration.

use std::sync::Arc;

use super::FleetConfig;
use super::class::Class;
use super::diagnostic::{Findings, join};
use super::instance_type;
use super::limits::JOB_HOURS_MAX;
use super::market::{Market, Os};
use super::pool::Pool;
use super::schedule::{Schedule, WEEK};
use super::wording::{list, quote};

/// Warns of everything worth a look.
pub(super) fn give(config: &FleetConfig, findings: &mut Findings) {
    for (i, pool) in config.pools.iter().enumerate() {
        let path = format!("pool[{i}]");
        warn_of_access(config, pool, &path, findings);
        warn_of_rivals(config, i, pool, &path, findings);
        warn_of_numbers(config, pool, &path, findings);
        warn_of_schedules(pool, &path, findings);
        warn_of_secrets(pool, &path, findings);
        pool.sizes.iter().enumerate().for_each(|(n, _)| warn_of_hardware(config, pool, n, &path, findings));
        if pool.os == Os::Macos {
            let message = "a Mac is a dedicated host: EC2 bills at least 24 hours of it, whatever runs on it";
            findings.warn(format!("{path}.os"), message, "count on 24 hours a host; cost figures here leave that out");
        }
    }
    warn_of_sums(config, findings);
}

fn warn_of_access(config: &FleetConfig, pool: &Pool, path: &str, findings: &mut Findings) {
    if pool.public_repositories && pool.repositories.iter().any(|p| matches!(p.as_str(), "*" | "*/*")) {
        let message = "any public repository may run code here, also that of a stranger's pull request";
        let remedy = "name the repositories, or keep their pool apart from all others";
        findings.warn(format!("{path}.public_repositories"), message, remedy);
    }
    let Some(own) = config.github.owner.repositories() else {
        return;
    };
    for (i, pattern) in pool.repositories.iter().enumerate() {
        if !own.covers(pattern) && !pattern.covers(&own) && !pattern.matches(own.as_str()) {
            let message = format!("{} is not of {}: it never matches", quote(pattern.as_str()), quote(own.as_str()));
            findings.warn(format!("{path}.repositories[{i}]"), message, "correct the name, or remove it");
        }
    }
}

/// Pools that have the same labels, and pools that no job ever gets to.
fn warn_of_rivals(config: &FleetConfig, index: usize, pool: &Pool, path: &str, findings: &mut Findings) {
    let judged = config.catalog.entries.iter().map(|entry| entry.pool);
    let earlier: Vec<&Pool> = judged.take_while(|other| *other != index).map(|other| &config.pools[other]).collect();
    let winners: Vec<&Pool> = earlier.iter().copied().filter(|other| takes_all_of(other, pool)).collect();
    let classes = |pool: &Pool| config.classes().iter().filter(|c| c.pool == pool.name).cloned().collect::<Vec<_>>();
    let rivals: Vec<Arc<Class>> = winners.iter().flat_map(|winner| classes(winner)).collect();
    if classes(pool).iter().all(|class| rivals.iter().any(|rival| covers(rival, class))) {
        let names = list(winners.iter().map(|winner| winner.name.as_str()));
        let message = format!("no job reaches pool {}: {names} wins all that it serves", quote(pool.name.as_str()));
        let remedy = "give it a higher priority, a label of its own, or other repositories";
        findings.warn(format!("{path}.labels"), message, remedy);
        return;
    }
    let wider = |other: &&&Pool| pool.labels.iter().all(|label| has_label(&other.labels, label));
    let meet = |other: &&&Pool| {
        let pairs = other.repositories.iter().flat_map(|a| pool.repositories.iter().map(move |b| (a, b)));
        pairs.into_iter().any(|(a, b)| a.meets(b))
    };
    if let Some(winner) = earlier.iter().filter(wider).find(meet) {
        let why = if winner.priority > pool.priority { "its priority is higher" } else { "it stands first" };
        let message = format!(
            "pool {} has all these labels too, so a job that names no more than {} goes there: {why}",
            quote(winner.name.as_str()),
            list(pool.labels.iter().map(|label| &**label))
        );
        let remedy = "put this pool first, give it a higher priority, or a label of its own that its jobs name";
        findings.warn(format!("{path}.labels"), message, remedy);
    }
}

/// Whether `winner` is open to all jobs that `pool` is open to, whatever their labels.
fn takes_all_of(winner: &Pool, pool: &Pool) -> bool {
    let repositories = |pattern| winner.repositories.iter().any(|wider| wider.covers(pattern));
    let types = |pattern| winner.instance_type_labels.iter().any(|wider| wider.covers(pattern));
    pool.repositories.iter().all(repositories)
        && pool.instance_type_labels.iter().all(types)
        && (winner.public_repositories || !pool.public_repositories)
        && (winner.serves_group_jobs || !pool.serves_group_jobs)
}

fn covers(wide: &Class, narrow: &Class) -> bool {
    narrow.labels.iter().all(|label| has_label(&wide.labels, label))
}

fn has_label(labels: &[Arc<str>], label: &str) -> bool {
    labels.iter().any(|other| other.to_lowercase() == label.to_lowercase())
}

fn warn_of_numbers(config: &FleetConfig, pool: &Pool, path: &str, findings: &mut Findings) {
    let caps = [("the pool's", pool.max_runners), ("the fleet's", config.fleet.max_runners)];
    let mut mins = vec![(format!("{path}.idle.min"), pool.idle.min)];
    for size in &pool.sizes {
        let key = join(&format!("{path}.sizes"), &size.name);
        mins.push((format!("{key}.idle.min"), size.idle.map_or(0, |idle| idle.min)));
    }
    for (i, schedule) in pool.schedules.iter().enumerate() {
        mins.push((format!("{path}.schedule[{i}].idle.min"), schedule.idle.min.unwrap_or(0)));
    }
    for (key, min) in mins {
        if let Some((whose, max)) = caps.iter().find_map(|(whose, cap)| cap.filter(|c| min > *c).map(|c| (whose, c))) {
            let message = format!("{min} idle runners are more than {whose} max_runners, {max}");
            findings.warn(key, message, "lower it, or raise max_runners");
        }
    }
    if pool.max_runners == Some(0) {
        let message = "with max_runners = 0 no job of the pool ever starts";
        findings.warn(format!("{path}.max_runners"), message, "raise it, or remove the pool");
    }
    if let (Some(own), Some(fleet)) = (pool.max_runners, config.fleet.max_runners)
        && own > fleet
    {
        let message = format!("{own} is above the fleet's max_runners, {fleet}, which wins");
        findings.warn(format!("{path}.max_runners"), message, "lower it, or raise the fleet's");
    }
    if pool.max_job_hours > JOB_HOURS_MAX {
        let message = format!("GitHub ends a self-hosted job after {JOB_HOURS_MAX} hours (5 days)");
        findings.warn(format!("{path}.max_job_hours"), message, format!("write {JOB_HOURS_MAX} or less"));
    }
}

/// Schedules without a minute, without an effect, or always overruled by later ones.
fn warn_of_schedules(pool: &Pool, path: &str, findings: &mut Findings) {
    for (i, schedule) in pool.schedules.iter().enumerate() {
        let key = format!("{path}.schedule[{i}]");
        if schedule.when.is_empty() {
            let message = format!("{} never applies: it ends when it begins", quote(schedule.when.as_str()));
            findings.warn(format!("{key}.when"), message, "write 00:00-24:00 for a whole day");
        } else if schedule.idle.is_none() && schedule.standby.is_none() {
            let message = "the schedule changes nothing: it has neither idle nor standby";
            findings.warn(key, message, "add idle = { min = 4 }");
        } else if is_overruled(schedule, &pool.schedules[i + 1..]) {
            let message = format!("{} never applies: later schedules overrule it", quote(schedule.when.as_str()));
            findings.warn(format!("{key}.when"), message, "put the general schedule first, exceptions behind it");
        }
    }
}

fn warn_of_secrets(pool: &Pool, path: &str, findings: &mut Findings) {
    for name in pool.runner.looks_secret() {
        let message = "by its name this is a secret, and every job of the pool can read it";
        let key = join(&format!("{path}.runner.environment"), name);
        findings.warn(key, message, "give it to the jobs as a secret of GitHub's, or as a role that they take on");
    }
}

/// Whether at every minute some later schedule sets all that this one sets.
fn is_overruled(schedule: &Schedule, later: &[Schedule]) -> bool {
    let sets = |s: &Schedule| [s.idle.min, s.idle.max, s.standby.min, s.standby.max].map(|bound| bound.is_some());
    let wanted = sets(schedule);
    let mut free = schedule.when.minutes();
    for other in later {
        if wanted.iter().zip(sets(other)).all(|(wanted, set)| !wanted || set) {
            let minutes = other.when.minutes();
            (0..WEEK).for_each(|minute| free[minute] &= !minutes[minute]);
        }
    }
    !free.contains(&true)
}

fn warn_of_hardware(config: &FleetConfig, pool: &Pool, index: usize, path: &str, findings: &mut Findings) {
    let size = &pool.sizes[index];
    let key = join(&format!("{path}.sizes"), &size.name);
    if size.instance_types.len() == 1 && pool.buys(Market::Spot) {
        let message = "a single instance type on spot is often out of capacity and often interrupted";
        findings.warn(format!("{key}.instance_types"), message, "name several types of the same size");
    }
    for (i, name) in size.instance_types.iter().enumerate() {
        if !instance_type::suits(name, pool.os, pool.arch) {
            let message = format!("by its name {} cannot run {} on {}", quote(name), pool.os, pool.arch);
            let remedy = "correct the type, or the pool's `os` and `arch`";
            findings.warn(format!("{key}.instance_types[{i}]"), message, remedy);
        }
    }
    if let (Some(spot), Some(on_demand)) = (size.usd_per_hour.spot, size.usd_per_hour.on_demand)
        && spot > on_demand
    {
        findings.warn(format!("{key}.usd_per_hour"), "spot costs more than on-demand", "are the two swapped?");
    }
    let dearest = Market::ALL.iter().filter(|m| pool.buys(**m)).filter_map(|m| size.usd_per_hour.of(*m));
    if let (Some(budget), Some(price)) = (config.fleet.budget_usd_per_hour, dearest.max_by(f64::total_cmp))
        && price > budget
    {
        let message = format!("one machine costs {price} US dollars an hour, and the whole budget is {budget}");
        findings.warn(format!("{key}.usd_per_hour"), message, "raise the budget, or remove the size");
    }
    if index == pool.default_size && pool.standby.bounds.max > 0 && size.usd_per_hour.standby.is_none() {
        let message = "the pool keeps this size on standby, and its standby price is not known";
        findings.warn(format!("{key}.usd_per_hour"), message, "add standby, or its cost is not counted");
    }
}

fn warn_of_sums(config: &FleetConfig, findings: &mut Findings) {
    let Some(max) = config.fleet.max_runners else { return };
    if max == 0 {
        findings.warn("fleet.max_runners", "with max_runners = 0 no job ever starts", "raise it");
        return;
    }
    let sum: u64 = config.classes().iter().map(|class| u64::from(class.idle.min)).sum();
    if sum > u64::from(max) {
        let message = format!("the classes' idle.min sum up to {sum}, above max_runners, {max}");
        findings.warn("fleet.max_runners", message, "raise it, or lower the idle bounds");
    }
}
