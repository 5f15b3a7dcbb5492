//! A runner that seems idle is frozen, looked at, and only then ended: by the door's order with two keys, or on our own
//! when the door is gone.
//!
//! Freeze first, then look: what stands still cannot get a job between the look and its consequence. The door hears
//! `frozen`, has the registration removed, and orders `kill`; nothing can reach the listener any more. If anything is
//! unclear the listener runs again: a drain that is given up costs nothing.
//!
//! Invariant: a listener is thawed only when no removal that rests on its report can still come: at the order, 20 s after
//! the door's first answer, or, without any answer, when all that was sent has been heard or lost.

use muster_core::claim::Order;
use muster_core::protocol::{AgentState, Numbered};

use super::{Life, Look, Moment, Phase, Step};

/// On whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The door's, under this number.
    Order(u32),
    /// Our own, for this reason.
    Own(String),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The freezer is at work.
    Freezing,
    /// It stands still since then.
    Frozen {
        /// Since when, under this number.
        since: Moment,
        /// When the door answered to that for the first time.
        answered: Option<Moment>,
        /// The registration is gone.
        kill: bool,
    },
    /// It is being ended.
    Killing,
}

/// A drain under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// On whose word.
    pub cause: Cause,
    /// How far it is.
    pub stage: Stage,
    /// Whether there is a runner at all: a ready machine has none.
    pub runner: bool,
}

impl Life {
    pub(super) fn obey(&mut self, told: Numbered, now: Moment) {
        if !self.talk.see(told.seq) {
            return;
        }
        match told.order {
            Order::Drain { number } => self.drain_ordered(number, now),
            Order::Kill { number } => {
                if let Some(kill) = self.frozen_under(number) {
                    *kill = true;
                }
            }
            Order::Thaw { number } => {
                if self.frozen_under(number).is_some() {
                    self.thaw(now);
                }
            }
            Order::Interruption => self.notice(),
        }
    }

    fn frozen_under(&mut self, number: u32) -> Option<&mut bool> {
        match &mut self.phase {
            Phase::Draining(Drain { cause: Cause::Order(n), stage: Stage::Frozen { kill, .. }, .. })
                if *n == number =>
            {
                Some(kill)
            }
            Phase::Draining(_)
            | Phase::Boot
            | Phase::Warming
            | Phase::Warm
            | Phase::Claiming { .. }
            | Phase::Ready
            | Phase::Starting
            | Phase::Listening
            | Phase::Busy
            | Phase::Ended
            | Phase::Over => None,
        }
    }

    fn drain_ordered(&mut self, number: u32, now: Moment) {
        match self.phase {
            Phase::Ready => {
                let stage = Stage::Frozen { since: now, answered: None, kill: false };
                self.enter(Phase::Draining(Drain { cause: Cause::Order(number), stage, runner: false }), now);
                self.frozen_news(number);
            }
            Phase::Starting | Phase::Listening if !self.evidence.perhaps(now, self.limits.message) => {
                self.freeze(Cause::Order(number), now);
            }
            Phase::Starting | Phase::Listening | Phase::Busy => self.talk.news(AgentState::Thawed { number }),
            Phase::Draining(ref mut drain) => {
                drain.cause = Cause::Order(number);
                if let Stage::Frozen { since, answered, kill } = &mut drain.stage {
                    (*since, *answered, *kill) = (now, None, false);
                    self.since = now;
                    self.frozen_news(number);
                }
            }
            // There is nothing to drain, and a claim that comes now is answered with "not needed".
            Phase::Boot | Phase::Warming | Phase::Warm | Phase::Claiming { .. } | Phase::Ended | Phase::Over => {}
        }
    }

    fn frozen_news(&mut self, number: u32) {
        self.talk.take_back_drain();
        self.talk.stand(Some(AgentState::Frozen { number }));
        self.talk.news(AgentState::Frozen { number });
    }

    fn freeze(&mut self, cause: Cause, now: Moment) {
        self.steps.push(Step::Freeze);
        self.enter(Phase::Draining(Drain { cause, stage: Stage::Freezing, runner: true }), now);
    }

    pub(super) fn looked(&mut self, look: Look, now: Moment) {
        let Phase::Draining(drain) = &mut self.phase else { return };
        if drain.stage != Stage::Freezing {
            return;
        }
        if !look.frozen || look.others || look.unread || self.evidence.perhaps(now, self.limits.message) {
            return self.thaw(now);
        }
        drain.stage = Stage::Frozen { since: now, answered: None, kill: false };
        self.since = now;
        match drain.cause.clone() {
            Cause::Order(number) => self.frozen_news(number),
            Cause::Own(_) => {}
        }
    }

    /// A frozen runner shows nothing. What it has shown all the same counts.
    pub(super) fn sign_in_drain(&mut self, now: Moment) {
        let Phase::Draining(drain) = &self.phase else { return };
        let frozen = matches!(drain.stage, Stage::Frozen { .. });
        if frozen && drain.runner && self.evidence.perhaps(now, self.limits.message) {
            self.thaw(now);
        }
    }

    /// The listener runs again, and the drain is over.
    fn thaw(&mut self, now: Moment) {
        let Phase::Draining(drain) = self.phase.clone() else { return };
        self.talk.take_back_drain();
        if drain.runner {
            self.steps.push(Step::Thaw);
        }
        let (phase, standing) = match (drain.runner, self.evidence.job(), self.evidence.listened()) {
            (false, _, _) => (Phase::Ready, Some(AgentState::Ready)),
            (true, true, _) => (Phase::Busy, Some(AgentState::Busy)),
            (true, false, true) => (Phase::Listening, Some(AgentState::Listening)),
            (true, false, false) => (Phase::Starting, None),
        };
        let busy = phase == Phase::Busy;
        self.enter(phase, now);
        match drain.cause {
            Cause::Order(number) => {
                self.talk.news(AgentState::Thawed { number });
                self.talk.stand(standing.or(Some(AgentState::Thawed { number })));
            }
            Cause::Own(why) => {
                self.talk.stand(standing);
                self.end_at = Some((now + self.limits.end_again, why));
            }
        }
        if busy {
            self.talk.news(AgentState::Busy);
        }
        if let Some(why) = self.dismissed.clone() {
            self.end_at = Some((now + self.limits.end_again, why));
        }
    }

    /// The next instant at which a drain changes by itself.
    pub(super) fn drain_due(&self) -> Option<Moment> {
        let Phase::Draining(Drain { cause, stage: Stage::Frozen { since, answered, kill }, .. }) = &self.phase else {
            return None;
        };
        let limits = &self.limits;
        Some(match (cause, kill, answered) {
            (Cause::Own(_), _, _) | (Cause::Order(_), true, _) => *since + limits.frozen,
            (Cause::Order(_), false, Some(at)) => *at + limits.thaw,
            (Cause::Order(_), false, None) if self.dismissed.is_some() => *since + limits.frozen,
            (Cause::Order(_), false, None) if self.talk.is_mute() => *since + limits.unheard + limits.quiet,
            (Cause::Order(_), false, None) => *since + limits.unheard,
        })
    }

    pub(super) fn drain_time(&mut self, now: Moment) {
        if self.drain_due().is_none_or(|at| now < at) {
            return;
        }
        let dismissed = self.dismissed.is_some();
        let Phase::Draining(drain) = &mut self.phase else { return };
        let Stage::Frozen { answered, kill, .. } = drain.stage else { return };
        if kill || dismissed || matches!(drain.cause, Cause::Own(_)) {
            drain.stage = Stage::Killing;
            self.since = now;
            match drain.runner {
                true => self.steps.push(Step::Kill),
                false => self.killed(now),
            }
        } else if answered.is_some() || self.talk.is_mute() {
            self.thaw(now);
        } else if let Some(call) = self.talk.fall_mute() {
            self.steps.push(Step::Abandon(call));
        }
    }

    pub(super) fn killed(&mut self, now: Moment) {
        match &self.phase {
            Phase::Draining(drain) => match drain.cause.clone() {
                Cause::Order(_) => self.end(Some(AgentState::Drained), "drained".to_owned(), now),
                Cause::Own(why) => self.end(Some(AgentState::Failed { why: why.clone() }), why, now),
            },
            Phase::Busy => {
                let why = "the job took longer than max_job_hours".to_owned();
                self.end(Some(AgentState::Failed { why: why.clone() }), why, now);
            }
            Phase::Boot
            | Phase::Warming
            | Phase::Warm
            | Phase::Claiming { .. }
            | Phase::Ready
            | Phase::Starting
            | Phase::Listening
            | Phase::Ended
            | Phase::Over => {}
        }
    }

    /// The first answer to `frozen`: from here on the door knows.
    pub(super) fn frozen_heard(&mut self, heard: &AgentState, now: Moment) {
        let Phase::Draining(Drain { cause: Cause::Order(n), stage: Stage::Frozen { answered, .. }, .. }) =
            &mut self.phase
        else {
            return;
        };
        if matches!(heard, AgentState::Frozen { number } if number == n) {
            answered.get_or_insert(now);
        }
    }

    /// Ends an idle runner, or a machine without one, for a reason of our own.
    pub(super) fn end_alone(&mut self, why: String, now: Moment) {
        match self.phase {
            Phase::Listening | Phase::Starting if !self.evidence.perhaps(now, self.limits.message) => {
                self.freeze(Cause::Own(why), now);
            }
            Phase::Listening | Phase::Starting => self.end_at = Some((now + self.limits.end_again, why)),
            Phase::Boot | Phase::Warming | Phase::Warm | Phase::Claiming { .. } | Phase::Ready => self.fail(why, now),
            Phase::Busy | Phase::Draining(_) | Phase::Ended | Phase::Over => {}
        }
    }
}
