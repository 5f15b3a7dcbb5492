//! The `[fleet]` and `[metrics]` sections: what holds for all pools.
//!
//! What lives here: caps, target, time zone, metric dimensions. What may not: anything of one pool.
//!
//! Invariant: an absent cap is no cap.

use std::fmt;
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase, TimeZoneName};

use super::diagnostic::Findings;
use super::github::Owner;
use super::limits::{NAME_CHARS_MAX, PRICE_USD_MAX, RUNNERS_MAX};
use super::market::Dimension;
use super::section::Section;
use super::wording::{did_you_mean, quote};

/// Longest queue time that makes sense as a target: a day, after which GitHub gives a job up.
const WITHIN_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// The `[fleet]` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Its name: tags, metric properties, runner names.
    pub name: String,
    /// Instances launched and not terminated, booting included, standby excluded. `None`: no cap.
    pub max_runners: Option<u32>,
    /// Cap on the sum of hourly prices of the same set, in US dollars. `None`: no cap.
    pub budget_usd_per_hour: Option<f64>,
    /// What share of jobs is to start within what time. `None`: only the bounds hold.
    pub queue_time_target: Option<QueueTimeTarget>,
    /// The IANA name of the time zone of all schedules.
    pub time_zone: String,
}

/// A target such as `p95 < 15s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueTimeTarget {
    /// Percent of jobs, 1 to 99.
    pub percentile: u8,
    /// They start within this time.
    pub within: Duration,
}

impl fmt::Display for QueueTimeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{} < {}s", self.percentile, self.within.as_secs_f64())
    }
}

/// The `[metrics]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Dimensions opted in to, beyond the free ones.
    pub dimensions: Vec<Dimension>,
}

impl QueueTimeTarget {
    /// Reads `p95 < 15s`; the unit is `ms`, `s` or `m`. `None` if it is no such target.
    pub fn parse(text: &str) -> Option<QueueTimeTarget> {
        let (left, right) = text.split_once('<')?;
        let percentile = left.trim().strip_prefix(['p', 'P'])?.parse::<u8>().ok()?;
        let right = right.trim();
        let digits = right.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = right.split_at(digits);
        let ms_per_unit = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            _ => return None,
        };
        let ms = number.parse::<u64>().ok()?.checked_mul(ms_per_unit)?;
        let good = (1..=99).contains(&percentile) && (1..=WITHIN_MS_MAX).contains(&ms);
        good.then(|| QueueTimeTarget { percentile, within: Duration::from_millis(ms) })
    }
}

/// Whether `name` can be part of names in AWS and GitHub.
pub(super) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && name.len() <= NAME_CHARS_MAX
        && chars.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// What [`is_name`] wants, as a remedy.
pub(super) const NAME_REMEDY: &str = "use 1 to 32 of a-z, A-Z, 0-9, `-`, `_` and `.`, a letter or digit first";

/// Reads `[fleet]`; all of it may be absent. Gives the time zone too.
pub(super) fn read(section: Option<Section<'_>>, owner: Option<&Owner>, findings: &mut Findings) -> (Fleet, TimeZone) {
    let mut name = owner.map_or_else(|| "fleet".to_owned(), Owner::slug);
    name.truncate(NAME_CHARS_MAX);
    let time_zone = "UTC".to_owned();
    let mut fleet = Fleet { name, max_runners: None, budget_usd_per_hour: None, queue_time_target: None, time_zone };
    let mut zone = TimeZone::UTC;
    let Some(mut section) = section else {
        return (fleet, zone);
    };
    if let Some(name) = section.text("name", findings) {
        if !is_name(name) {
            findings.error(section.key("name"), format!("{} cannot be a fleet's name", quote(name)), NAME_REMEDY);
        }
        fleet.name = name.to_owned();
    }
    fleet.max_runners = section.count("max_runners", 0, RUNNERS_MAX, findings);
    fleet.budget_usd_per_hour = section.number("budget_usd_per_hour", PRICE_USD_MAX, findings);
    if let Some(text) = section.text("queue_time_target", findings) {
        fleet.queue_time_target = QueueTimeTarget::parse(text);
        if fleet.queue_time_target.is_none() {
            let message = format!("{} is not a target of a queue time", quote(text));
            let remedy = "write it as \"p95 < 15s\": a percentile from p1 to p99, `<`, and a time in ms, s or m";
            findings.error(section.key("queue_time_target"), message, remedy);
        }
    }
    if let Some(name) = section.text("time_zone", findings) {
        let zones = TimeZoneDatabase::bundled();
        match zones.get(name) {
            Ok(found) => zone = found,
            Err(_) => {
                let names: Vec<_> = zones.available().collect();
                let fallback = "write an IANA name such as Europe/Berlin or UTC".to_owned();
                let remedy = did_you_mean(name, names.iter().map(TimeZoneName::as_str), fallback);
                findings.error(section.key("time_zone"), format!("{} is not a time zone", quote(name)), remedy);
            }
        }
        fleet.time_zone = name.to_owned();
    }
    section.finish(findings);
    (fleet, zone)
}

/// Reads `[metrics]`.
pub(super) fn read_metrics(section: Option<Section<'_>>, findings: &mut Findings) -> Metrics {
    let Some(mut section) = section else {
        return Metrics::default();
    };
    let dimensions = section.words("dimensions", Dimension::WORDS, Dimension::parse, findings).unwrap_or_default();
    let key = section.key("dimensions");
    for dimension in &dimensions {
        match dimension {
            Dimension::Repository | Dimension::Workflow | Dimension::JobName => {
                let message = format!("every {dimension} becomes a CloudWatch metric of its own, billed by the month");
                findings.warn(&key, message, "leave it out unless you chart by it; log lines have it for free");
            }
            Dimension::Status | Dimension::Event => {}
        }
    }
    section.finish(findings);
    Metrics { dimensions }
}
