//! The budget for making idle runners hot, across ticks and processes.
//!
//! What was seen is noted when it first limits anything, and every few minutes while there is news.
//!
//! Invariant: that idle runners are limited outlives the process; what may be spent does not, and is small.

use std::time::Duration;

use muster_core::hot::{HotBudget, HotRoom, Removals};
use muster_core::plan::Plan;
use muster_core::ports::{Cloud, Github, Store};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;

use super::{Reconciler, TickReport};

/// The note that keeps what was seen.
const NOTE: &str = "removals";
/// It is written this often at most.
const NOTED_EVERY: Duration = Duration::from_secs(300);

/// The budget, and how much of what it rests on is written down.
#[derive(Debug)]
pub(super) struct Hot {
    budget: HotBudget,
    apps: usize,
    noted_at: Option<Timestamp>,
    /// Removals were seen that the note does not tell.
    news: bool,
}

impl Hot {
    fn removed(&mut self, count: u32, now: Timestamp) {
        let was_limited = self.budget.is_limited(now);
        self.budget.removed(count, now);
        self.news = true;
        if !was_limited && self.budget.is_limited(now) {
            self.noted_at = None;
        }
    }

    /// What is to be written down now.
    fn due(&self, now: Timestamp) -> Option<Removals> {
        let due = self.news && self.noted_at.is_none_or(|at| now.since(at) >= NOTED_EVERY);
        due.then(|| self.budget.removals())
    }
}

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// Takes in the removals that the tick has heard of; how many runners may be made hot now.
    pub(super) async fn hot_room(&mut self, report: &mut TickReport) -> Option<HotRoom> {
        let now = report.now;
        let apps = self.config.github.apps.len();
        let mut hot = match self.hot.take() {
            Some(hot) if hot.apps == apps => hot,
            Some(hot) => Hot { budget: HotBudget::new(hot.budget.removals(), apps, now), apps, ..hot },
            None => {
                let budget = HotBudget::new(self.known_removals(report).await, apps, now);
                Hot { budget, apps, noted_at: None, news: false }
            }
        };
        if let Ok(count @ 1..) = u32::try_from(report.removed.len()) {
            hot.removed(count, now);
        }
        if let Some(removals) = hot.due(now) {
            let text = serde_json::to_string(&removals).unwrap_or_default();
            match self.store.put_note(NOTE, &text).await {
                Ok(()) => (hot.noted_at, hot.news) = (Some(now), false),
                Err(error) => report.troubles.push(format!("noting removals of idle registrations: {error}")),
            }
        }
        let room = hot.budget.room(now);
        self.hot = Some(hot);
        room
    }

    async fn known_removals(&self, report: &mut TickReport) -> Removals {
        match self.store.note(NOTE).await {
            // A note of another version is none: removals are seen again soon enough.
            Ok(text) => text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            Err(error) => {
                report.troubles.push(format!("reading what is known of removals of idle registrations: {error}"));
                Removals::default()
            }
        }
    }

    /// Takes off what the plan makes hot for idle targets.
    pub(super) fn spend_hot_room(&mut self, plan: &Plan, now: Timestamp) {
        if let Some(hot) = &mut self.hot {
            hot.budget.take(plan, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_down_at_once_and_news_before_long() {
        let start = Timestamp::EPOCH + NOTED_EVERY;
        let budget = HotBudget::new(Removals::default(), 1, start);
        let mut hot = Hot { budget, apps: 1, noted_at: None, news: false };
        let mut due = |removed: u32, at: Timestamp| {
            if removed > 0 {
                hot.removed(removed, at);
            }
            let due = hot.due(at).is_some();
            if due {
                (hot.noted_at, hot.news) = (Some(at), false);
            }
            due
        };
        let s = Duration::from_secs;
        assert_eq!([due(0, start), due(1, start), due(0, start)], [false, true, false]);
        assert!(!due(1, start + s(1)), "two limit nothing");
        assert!(due(1, start + s(2)), "three do");
        assert_eq!([due(5, start + s(3)), due(0, start + s(301)), due(0, start + s(302))], [false, false, true]);
        assert!(!due(0, start + s(900)), "nothing new");
    }
}
