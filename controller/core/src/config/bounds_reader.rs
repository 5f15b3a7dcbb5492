//! Reads idle and standby bounds, and the schedules that change them.
//!
//! What lives here: the rules of `idle`, `standby` and `[[pool.schedule]]`. What may not: what bounds come to at an
//! instant (`bounds.rs`).
//!
//! Invariant: bounds that are kept have their lower bound at or below the upper one.

use super::bounds::Bounds;
use super::diagnostic::Findings;
use super::limits::{RUNNERS_MAX, SCHEDULES_MAX};
use super::market::{Market, Os, StandbyState};
use super::pool::Pool;
use super::schedule::{BoundsChange, Schedule, Window};
use super::section::Section;
use super::wording::quote;

/// Reads `{ min, max }`; an upper bound below the lower one is an error.
pub(super) fn read_bounds(
    section: &mut Section<'_>,
    name: &'static str,
    findings: &mut Findings,
) -> Option<BoundsChange> {
    let mut table = section.table(name, findings)?;
    let change = read_min_max(&mut table, findings);
    table.finish(findings);
    Some(change)
}

fn read_min_max(table: &mut Section<'_>, findings: &mut Findings) -> BoundsChange {
    let min = table.count("min", 0, RUNNERS_MAX, findings);
    let max = table.count("max", 0, RUNNERS_MAX, findings);
    if let (Some(least), Some(most)) = (min, max)
        && most < least
    {
        let message = format!("max {most} is below min {least}");
        findings.error(table.key("max"), message, "raise max or lower min");
        return BoundsChange { min, max: min };
    }
    BoundsChange { min, max }
}

/// Reads `standby` into the pool.
pub(super) fn read_standby(section: &mut Section<'_>, pool: &mut Pool, findings: &mut Findings) {
    let key = section.key("standby");
    let Some(mut table) = section.table("standby", findings) else {
        return;
    };
    let change = read_min_max(&mut table, findings);
    let state = table.word("state", StandbyState::WORDS, StandbyState::parse, findings);
    table.finish(findings);
    let min = change.min.unwrap_or(0);
    pool.standby.bounds = Bounds { min, max: change.max.unwrap_or(min) };
    pool.standby.state = state.unwrap_or(StandbyState::Stopped);
    if pool.standby.bounds.max > 0 {
        check_standby(&key, pool, findings);
    }
}

/// What stands against a warm pool in this pool.
fn check_standby(key: &str, pool: &Pool, findings: &mut Findings) {
    if pool.os == Os::Macos {
        let message = "macOS has no standby: a Mac host costs the same whether its machine runs or not";
        findings.error(key, message, "remove it");
    } else if !pool.buys(Market::OnDemand) {
        let remedy = "add \"on-demand\" or \"spot-then-on-demand\" to `markets`, or remove `standby`";
        findings.error(key, "standby needs on-demand machines: EC2 warm pools hold no spot instances", remedy);
    }
}

/// Reads `[[pool.schedule]]`. The pool is otherwise complete.
pub(super) fn read_schedules(section: &mut Section<'_>, pool: &Pool, findings: &mut Findings) -> Vec<Schedule> {
    let tables = section.tables("schedule", findings);
    if tables.len() > SCHEDULES_MAX {
        let message = format!("{} schedules in one pool; at most {SCHEDULES_MAX}", tables.len());
        findings.error(section.key("schedule"), message, "join days with commas: mon,wed 07:00-19:00");
    }
    let mut schedules = Vec::new();
    for mut table in tables {
        let text = table.required_text("when", "say when it applies: when = \"mon-fri 07:00-19:00\"", findings);
        let window = text.map(Window::parse);
        if let (Some(text), Some(Err(problem))) = (text, &window) {
            let remedy = "write days and a span: mon-fri 07:00-19:00, sat,sun 22:00-06:00, daily 08:00-24:00";
            findings.error(table.key("when"), format!("{} is not a time: {problem}", quote(text)), remedy);
        }
        let idle = read_bounds(&mut table, "idle", findings).unwrap_or_default();
        let standby = read_bounds(&mut table, "standby", findings).unwrap_or_default();
        let size_idle = pool.sizes.get(pool.default_size).and_then(|size| size.idle);
        check_change(&table.key("idle"), size_idle.unwrap_or(pool.idle), idle, findings);
        check_change(&table.key("standby"), pool.standby.bounds, standby, findings);
        if pool.standby.bounds.max == 0 && standby.max.or(standby.min).is_some_and(|n| n > 0) {
            check_standby(&table.key("standby"), pool, findings);
        }
        table.finish(findings);
        if let Some(Ok(when)) = window {
            schedules.push(Schedule { when, idle, standby });
        }
    }
    schedules
}

/// A schedule may change one bound so that it passes the other.
fn check_change(key: &str, base: Bounds, change: BoundsChange, findings: &mut Findings) {
    match (change.min, change.max) {
        (Some(min), None) if min > base.max => {
            let message = format!("min {min} is above the pool's max {}", base.max);
            findings.error(format!("{key}.min"), message, "set max here too, or raise the pool's");
        }
        (None, Some(max)) if max < base.min => {
            let message = format!("max {max} is below the pool's min {}", base.min);
            findings.error(format!("{key}.max"), message, "set min here too, or lower the pool's");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
}
