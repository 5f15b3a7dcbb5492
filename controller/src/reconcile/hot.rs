//! The budget for making idle runners hot, across ticks and processes.
//!
//! Invariant: what was seen of removals outlives the process; what may be spent does not, and is small.

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

/// The budget, and when what it rests on was last written down.
#[derive(Debug)]
pub(super) struct Hot {
    budget: HotBudget,
    apps: usize,
    noted_at: Option<Timestamp>,
}

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    /// Takes in the removals that the tick has heard of; how many runners may be made hot now.
    pub(super) async fn hot_room(&mut self, report: &mut TickReport) -> Option<HotRoom> {
        let now = report.now;
        let apps = self.config.github.apps.len();
        let mut hot = match self.hot.take() {
            Some(hot) if hot.apps == apps => hot,
            Some(hot) => Hot { budget: HotBudget::new(hot.budget.removals(), apps, now), apps, ..hot },
            None => Hot { budget: HotBudget::new(self.known_removals(report).await, apps, now), apps, noted_at: None },
        };
        if let Ok(count @ 1..) = u32::try_from(report.removed.len()) {
            hot.budget.removed(count, now);
            if hot.noted_at.is_none_or(|at| now.since(at) >= NOTED_EVERY) {
                hot.noted_at = Some(now);
                let text = serde_json::to_string(&hot.budget.removals()).unwrap_or_default();
                if let Err(error) = self.store.put_note(NOTE, &text).await {
                    report.troubles.push(format!("noting removals of idle registrations: {error}"));
                }
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
