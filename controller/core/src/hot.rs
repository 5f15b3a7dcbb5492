//! How many idle runners may be made hot now.
//!
//! GitHub has been seen to remove idle just-in-time runners after 2 to 6 minutes. Each is two requests to undo (the former
//! registration is removed for certain, and a new one minted), so a hundred idle runners would cost 3,000 requests an hour, of
//! the 5,000 that an App has. Once such removals are seen, idle runners are made hot within a share of these requests, and
//! the others wait *ready*, a mint away. How long a registration lives need not be known for that: as many stay hot as the
//! share replaces. A job's own registration never waits for it.
//!
//! Invariant: while removals are remembered, idle targets take at most [`HOT_SHARE`] of GitHub's requests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bucket::TokenBucket;
use crate::plan::{Action, Plan, Reason};
use crate::time::Timestamp;

/// The share of GitHub's requests that may go into keeping idle runners hot.
pub const HOT_SHARE: f64 = 0.25;
/// Requests to make a runner hot again: one removal, one mint.
const REQUESTS: f64 = 2.0;
/// An App's requests an hour in one installation, at least (docs.github.com, rate limits for the REST API).
const REQUESTS_PER_HOUR: f64 = 5_000.0;
/// What may be saved up.
const SAVED_MAX: Duration = Duration::from_secs(60);
/// More than this is no accident: three within an hour and a half, since what was seen is forgotten little by little.
const REMOVALS_MIN: f64 = 2.5;
/// Half of what was seen is forgotten in this time.
const HALF_LIFE: Duration = Duration::from_secs(6 * 3_600);

/// How many more runners may be made hot for an idle target, and when there will be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotRoom {
    /// How many now.
    pub runners: u32,
    /// When one more may.
    pub more_at: Timestamp,
}

/// The idle registrations that were seen to be removed: how many, the older the less they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Removals {
    seen: f64,
    at: Timestamp,
}

impl Removals {
    fn at(self, now: Timestamp) -> f64 {
        let halvings = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.seen * (-halvings).exp2()
    }
}

/// The budget for making idle runners hot.
#[derive(Clone, Debug)]
pub struct HotBudget {
    removals: Removals,
    bucket: TokenBucket,
}

impl HotBudget {
    /// The budget of so many Apps, with what is known of removals.
    pub fn new(removals: Removals, apps: usize, now: Timestamp) -> HotBudget {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let per_second = HOT_SHARE * REQUESTS_PER_HOUR / REQUESTS / 3_600.0 * apps.max(1) as f64;
        let bucket = TokenBucket::full((per_second * SAVED_MAX.as_secs_f64()).max(1.0), per_second, now);
        HotBudget { removals, bucket }
    }

    /// What is known of removals.
    pub fn removals(&self) -> Removals {
        self.removals
    }

    /// Whether idle runners are made hot within the budget.
    pub fn is_limited(&self, now: Timestamp) -> bool {
        self.removals.at(now) >= REMOVALS_MIN
    }

    /// So many idle registrations were found removed.
    pub fn removed(&mut self, count: u32, now: Timestamp) {
        self.removals = Removals { seen: self.removals.at(now) + f64::from(count), at: now };
    }

    /// How many runners may be made hot now. `None`: there is no limit, for GitHub lets idle ones be.
    pub fn room(&mut self, now: Timestamp) -> Option<HotRoom> {
        self.is_limited(now).then(|| {
            let (runners, more_at) = self.bucket.whole(now);
            HotRoom { runners, more_at }
        })
    }

    /// Takes what a plan makes hot for idle targets.
    pub fn take(&mut self, plan: &Plan, now: Timestamp) {
        let for_target = plan.steps.iter().filter(|step| matches!(step.reason, Reason::IdleTarget { .. }));
        let made_hot = for_target.map(|step| {
            if let Action::Launch(launch) = &step.action {
                return if launch.may_register { launch.count } else { 0 };
            }
            u32::from(matches!(step.action, Action::Register { .. }))
        });
        self.bucket.spend(made_hot.sum(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn there_is_no_limit_before_removals_are_seen_and_when_they_are_long_past() {
        let start = Timestamp::EPOCH + MINUTE;
        let mut budget = HotBudget::new(Removals::default(), 1, start);
        assert_eq!(budget.room(start), None);
        budget.removed(2, start);
        assert_eq!(budget.room(start), None, "an accident or two");
        budget.removed(10, start);
        assert!(budget.room(start).is_some());
        assert!(budget.room(start + HALF_LIFE).is_some(), "six are remembered");
        assert_eq!(budget.room(start + HALF_LIFE * 5 / 2), None);
    }

    #[test]
    fn three_removals_count_as_three_though_some_time_lies_between() {
        let start = Timestamp::EPOCH + MINUTE;
        let mut budget = HotBudget::new(Removals::default(), 1, start);
        let limited = [0, 20, 40].map(|minutes| {
            budget.removed(1, start + MINUTE * minutes);
            budget.is_limited(start + MINUTE * minutes)
        });
        assert_eq!(limited, [false, false, true]);
    }

    #[test]
    fn a_restart_remembers() {
        let start = Timestamp::EPOCH + MINUTE;
        let mut budget = HotBudget::new(Removals::default(), 1, start);
        budget.removed(5, start);
        let kept = serde_json::to_string(&budget.removals()).unwrap();
        let mut again = HotBudget::new(serde_json::from_str(&kept).unwrap(), 1, start + MINUTE);
        assert!(again.room(start + MINUTE).is_some());
    }

    #[test]
    fn what_is_saved_up_is_bounded_and_each_app_brings_its_own() {
        let start = Timestamp::EPOCH + MINUTE;
        for (apps, saved) in [(1, 10), (3, 31)] {
            let mut budget = HotBudget::new(Removals { seen: 100.0, at: start }, apps, start);
            assert_eq!(budget.room(start + MINUTE * 60).unwrap().runners, saved);
        }
    }
}
