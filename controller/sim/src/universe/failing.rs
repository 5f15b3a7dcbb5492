//! What goes wrong by itself in the universe: with deliveries, machines, listeners and jobs, and with calls to the cloud and to
//! GitHub.
//!
//! What lives here: what a fault does. What may not: whether it strikes (`faults`).

use std::time::Duration;

use muster_core::ids::{RunnerId, ShapeId, Zone};
use muster_core::machine::Market;
use muster_core::time::Timestamp;

use super::Universe;
use crate::agenda::Event;
use crate::chance::number_of;
use crate::cloud::{InstanceNo, ZONES};
use crate::faults::Fault;
use crate::listeners::{Lot, WAITS_MAX};
use crate::lost::{Fate, action_number};
use crate::webhook::Webhook;
use crate::work::JobRef;

/// Of the deliveries that are lost, the share that is not even in GitHub's log.
const UNLOGGED: f64 = 0.1;
/// How late a delivery is, and when it comes again.
const LATE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// How late one is that others overtake.
const REORDERED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long GitHub, or the door, is down.
const HOUR: (Duration, Duration) = (Duration::from_secs(3_600), Duration::from_secs(3_600));
/// How long there is no capacity.
const WITHOUT_CAPACITY: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(3 * 3_600));
/// When a spot machine is taken, after its boot.
const SPOT_LIFE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1_800));
/// Deliveries that waited for GitHub's return come within this time.
const CAUGHT_UP: Duration = Duration::from_secs(60);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallFate {
    Sound,
    /// Nothing happens.
    Fails,
    /// Nothing happens, and it is told to come back.
    TooMany,
    /// It takes effect, and nobody hears of it.
    ReplyLost,
}

impl Universe {
    /// Until when the door is down, if it is.
    pub fn door_down_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        let set = self.settings.webhooks.down_until(self.settings.start, now);
        set.or_else(|| self.settings.faults.out(Fault::DoorDown, 0, HOUR, now))
    }

    fn github_down_until(&mut self) -> Option<Timestamp> {
        self.settings.faults.out(Fault::GithubDown, 0, HOUR, self.now)
    }

    /// What becomes of a call to the cloud.
    pub(crate) fn cloud_call(&mut self) -> CallFate {
        if self.settings.faults.is_none() {
            return CallFate::Sound;
        }
        self.call(None, [Fault::CloudError, Fault::CloudThrottled, Fault::CloudReplyLost])
    }

    /// What becomes of a request to GitHub.
    pub(crate) fn github_call(&mut self) -> CallFate {
        if self.settings.faults.is_none() {
            return CallFate::Sound;
        }
        let down = self.github_down_until();
        self.call(down, [Fault::GithubError, Fault::GithubLimited, Fault::GithubReplyLost])
    }

    /// Every fault has its draw at every call: which others there are changes none.
    fn call(&mut self, down: Option<Timestamp>, [fails, too_many, lost]: [Fault; 3]) -> CallFate {
        let now = self.now;
        let faults = &mut self.settings.faults;
        let struck = [fails, too_many, lost].map(|fault| faults.strikes_next(fault, now).is_some());
        match struck {
            _ if down.is_some() => CallFate::Fails,
            [true, _, _] => CallFate::Fails,
            [_, true, _] => CallFate::TooMany,
            [_, _, true] => CallFate::ReplyLost,
            [false, false, false] => CallFate::Sound,
        }
    }

    pub(super) fn faulty_fate(&mut self, webhook: &Webhook) -> Fate {
        if self.settings.faults.is_none() {
            return Fate::Arrives;
        }
        let now = self.now;
        let job = webhook.event.key.job.0.unsigned_abs();
        let owner = job.wrapping_mul(4).wrapping_add(action_number(webhook));
        if let Some(back) = self.github_down_until() {
            let share = owner.wrapping_mul(7_919) % 1_000;
            return Fate::Late(back.since(now) + CAUGHT_UP.mul_f64(share as f64 / 1_000.0));
        }
        let faults = &mut self.settings.faults;
        if let Some(stroke) = faults.strikes(Fault::WebhookLost, owner, now) {
            return if stroke.share(0) < UNLOGGED { Fate::Vanishes } else { Fate::Fails };
        }
        if let Some(stroke) = faults.strikes(Fault::WebhookLate, owner, now) {
            return Fate::Late(stroke.span(0, LATE.0, LATE.1));
        }
        if let Some(stroke) = faults.strikes(Fault::WebhookTwice, owner, now) {
            return Fate::Twice(stroke.span(0, Duration::ZERO, LATE.1));
        }
        match faults.strikes(Fault::WebhookReordered, owner, now) {
            Some(stroke) => Fate::Late(stroke.span(0, REORDERED.0, REORDERED.1)),
            None => Fate::Arrives,
        }
    }

    /// What becomes of a machine that was just started: it claims, unless something else comes first.
    pub(super) fn set_out(&mut self, no: InstanceNo, market: Market, boot: Duration) {
        let claims = self.now + boot;
        let now = self.now;
        let faults = &mut self.settings.faults;
        if faults.strikes(Fault::NeverBoots, no.0, now).is_some() {
            self.agenda.at(claims, Event::Taken(no));
            return;
        }
        let hangs = faults.strikes(Fault::NeverClaims, no.0, now).is_some();
        if market == Market::Spot {
            if let Some(stroke) = faults.strikes(Fault::SpotNotice, no.0, now) {
                self.agenda.at(claims + stroke.span(0, SPOT_LIFE.0, SPOT_LIFE.1), Event::Warned(no));
            }
            if let Some(stroke) = faults.strikes(Fault::SpotTaken, no.0, now) {
                self.agenda.at(claims + stroke.span(0, SPOT_LIFE.0, SPOT_LIFE.1), Event::Taken(no));
            }
        }
        if hangs {
            if let Some(instance) = self.fleet.get_mut(no) {
                instance.hung = true;
            }
        } else {
            self.agenda.at(claims, Event::Claim(no));
        }
    }

    pub(super) fn faulty_lot(&mut self, runner: RunnerId) -> Lot {
        let (owner, now) = (runner.0.unsigned_abs(), self.now);
        let faults = &mut self.settings.faults;
        if faults.strikes(Fault::GhostListener, owner, now).is_some() {
            return Lot::Ghost;
        }
        if faults.strikes(Fault::HangsIdle, owner, now).is_some() {
            return Lot::Hangs;
        }
        match faults.strikes(Fault::DiesIdle, owner, now) {
            Some(stroke) => Lot::Taken(stroke.span(0, Duration::ZERO, WAITS_MAX)),
            None => Lot::Sound,
        }
    }

    pub(super) fn may_die_busy(&mut self, no: InstanceNo, at: JobRef, duration: Duration) {
        let Some(job) = self.work.job(at).map(|job| job.key.job) else { return };
        let now = self.now;
        if let Some(stroke) = self.settings.faults.strikes(Fault::DiesBusy, job.0.unsigned_abs(), now) {
            self.agenda.at(now + stroke.span(0, Duration::ZERO, duration), Event::Taken(no));
        }
    }

    /// Whether a shape has no capacity in a zone.
    pub(super) fn is_without_capacity(&mut self, shape: &ShapeId, zone: &Zone) -> bool {
        if self.fleet.outages.contains_key(&(shape.clone(), zone.clone())) {
            return true;
        }
        let owner = number_of(shape.as_str()) ^ number_of(zone.as_str()).rotate_left(1);
        self.settings.faults.out(Fault::CapacityGone, owner, WITHOUT_CAPACITY, self.now).is_some()
    }

    /// Whether a shape has no capacity in some zone.
    pub(super) fn lacks_capacity(&mut self, shape: &ShapeId) -> bool {
        !self.fleet.outages.is_empty() || ZONES.iter().any(|zone| self.is_without_capacity(shape, &Zone::new(*zone)))
    }
}
