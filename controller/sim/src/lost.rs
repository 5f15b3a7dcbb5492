//! Webhooks that do not arrive as they should, and GitHub's log of them.
//!
//! What lives here: which delivery fails, and what GitHub remembers of it. What may not: who reads the log.
//!
//! Invariant: a delivery's fate depends on the seed, the job and the action alone; without faults nothing is drawn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use muster_core::ids::JobId;
use muster_core::job::JobEvent;
use muster_core::time::Timestamp;

use crate::chance::{Chance, Purpose};
use crate::webhook::Webhook;

/// How long GitHub keeps the log of a delivery (GitHub, "Viewing webhook deliveries").
const KEPT: Duration = Duration::from_secs(3 * 24 * 3_600);
/// The longest that a late delivery takes.
const LATE_MAX: Duration = Duration::from_secs(600);

/// What goes wrong with webhooks. Shares are of all deliveries, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebhookFaults {
    /// Never arrive.
    pub lost: f64,
    /// Of those, the share that is not even in GitHub's log.
    pub unlogged: f64,
    /// Arrive twice, the second time up to ten minutes later.
    pub twice: f64,
    /// Arrive up to ten minutes late, so that others overtake them.
    pub late: f64,
    /// From when on, since the start, and for how long nothing reaches the door. GitHub logs these deliveries as failed.
    pub door_down: Option<(Duration, Duration)>,
}

impl WebhookFaults {
    /// Whether nothing goes wrong.
    pub fn is_none(&self) -> bool {
        *self == WebhookFaults::default()
    }

    /// Until when the door is down, if it is down now. `start` is when the simulation began.
    pub fn down_until(&self, start: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let (after, span) = self.door_down?;
        let (from, to) = (start + after, start + after + span);
        (from..to).contains(&now).then_some(to)
    }
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives,
    /// Nobody takes it, and GitHub knows.
    Fails,
    /// Nobody hears of it.
    Vanishes,
    /// After this time again.
    Twice(Duration),
    /// Only after this time.
    Late(Duration),
}

impl WebhookFaults {
    pub(crate) fn fate(&self, chance: Chance, webhook: &Webhook) -> Fate {
        if self.lost + self.twice + self.late <= 0.0 {
            return Fate::Arrives;
        }
        let (owner, action) = (webhook.event.key.job.0.unsigned_abs(), action_number(webhook));
        let share = |n: u64| chance.word(Purpose::Fate, owner, action * 4 + n) as f64 / u64::MAX as f64;
        let (draw, delay) = (share(0), LATE_MAX.mul_f64(share(1)));
        if draw < self.lost {
            if share(2) < self.unlogged { Fate::Vanishes } else { Fate::Fails }
        } else if draw < self.lost + self.twice {
            Fate::Twice(delay)
        } else if draw < self.lost + self.twice + self.late {
            Fate::Late(delay)
        } else {
            Fate::Arrives
        }
    }
}

fn action_number(webhook: &Webhook) -> u64 {
    match webhook.action() {
        "queued" => 0,
        "waiting" => 1,
        "in_progress" => 2,
        _ => 3,
    }
}

/// What GitHub remembers of deliveries that did not arrive, and those that are still on their way.
#[derive(Default)]
pub(crate) struct Lost {
    failed: VecDeque<(Timestamp, Webhook)>,
    /// The last word on jobs whose run may be forgotten, by the time of the delivery.
    last: BTreeMap<JobId, JobEvent>,
    under_way: BTreeMap<u64, Webhook>,
    number: u64,
}

impl Lost {
    pub(crate) fn fail(&mut self, webhook: Webhook, now: Timestamp) {
        while self.failed.front().is_some_and(|(at, _)| now.since(*at) > KEPT) {
            self.failed.pop_front();
        }
        self.remember(&webhook.event);
        self.failed.push_back((now, webhook));
    }

    /// What was told last of a job whose delivery was lost.
    pub(crate) fn remember(&mut self, event: &JobEvent) {
        self.last.insert(event.key.job, event.clone());
    }

    pub(crate) fn last(&self, job: JobId) -> Option<&JobEvent> {
        self.last.get(&job)
    }

    /// What has failed, the latest first.
    pub(crate) fn latest_failed(&self) -> impl Iterator<Item = &(Timestamp, Webhook)> {
        self.failed.iter().rev()
    }

    /// Keeps a delivery until it arrives; under which number.
    pub(crate) fn keep(&mut self, webhook: Webhook) -> u64 {
        self.number += 1;
        self.under_way.insert(self.number, webhook);
        self.number
    }

    pub(crate) fn arrives(&mut self, number: u64) -> Option<Webhook> {
        self.under_way.remove(&number)
    }
}
