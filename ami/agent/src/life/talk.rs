//! What is said to the door: one call at a time, news first and in their order, and again until they are heard.
//!
//! News are told without waiting for orders, so that a call is never given up whose news might be lost with it; between
//! news the machine says how it is and waits for orders, and that call is given up as soon as there are news.

use std::collections::VecDeque;
use std::time::Duration;

use muster_core::protocol::AgentState;

use super::{Answer, Ask, Life, Limits, Moment, Phase, Step};

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Prewarmed,
    Claim,
    News,
    Beat,
}

/// The conversation.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    call: Option<(u64, What, AgentState)>,
    calls: u64,
    news: VecDeque<AgentState>,
    standing: Option<AgentState>,
    beat_at: Moment,
    retry_at: Moment,
    retry: Duration,
    heard_at: Moment,
    seen_order: u32,
    prewarmed: bool,
    mute: bool,
}

impl Talk {
    pub(super) fn new(limits: &Limits) -> Talk {
        Talk {
            call: None,
            calls: 0,
            news: VecDeque::new(),
            standing: None,
            beat_at: Moment::ZERO,
            retry_at: Moment::ZERO,
            retry: limits.retry.0,
            heard_at: Moment::ZERO,
            seen_order: 0,
            prewarmed: false,
            mute: false,
        }
    }

    /// Something that the ledger is to know.
    pub(super) fn news(&mut self, state: AgentState) {
        // `interrupted` is no state that lasts: after it the machine is what it was.
        if !matches!(state, AgentState::Interrupted | AgentState::Thawed { .. }) {
            self.standing = Some(state.clone());
        }
        self.news.push_back(state);
    }

    /// How the machine is between news; `None`: it says nothing.
    pub(super) fn stand(&mut self, state: Option<AgentState>) {
        self.standing = state;
    }

    pub(super) fn all_told(&self) -> bool {
        self.news.is_empty()
    }

    /// Whether this order is new.
    pub(super) fn see(&mut self, seq: u32) -> bool {
        let new = seq > self.seen_order;
        self.seen_order = self.seen_order.max(seq);
        new
    }

    /// What was to be said of a drain that is over is not said any more.
    pub(super) fn take_back_drain(&mut self) {
        self.mute = false;
        self.news.retain(|state| !matches!(state, AgentState::Frozen { .. }));
    }

    /// Says nothing for now. The call under way, whose answer nobody waits for.
    pub(super) fn fall_mute(&mut self) -> Option<u64> {
        self.mute = true;
        self.call.take().map(|(call, _, _)| call)
    }

    pub(super) fn is_mute(&self) -> bool {
        self.mute
    }

    pub(super) fn forget_call(&mut self) {
        self.call = None;
    }

    /// Nothing more is said, ever.
    pub(super) fn fall_silent(&mut self) {
        self.news.clear();
        self.standing = None;
        self.call = None;
    }

    fn failed(&mut self, after: Option<Duration>, limits: &Limits, now: Moment) {
        self.retry_at = now + after.unwrap_or(self.retry).max(limits.retry.0.min(self.retry));
        self.retry = (self.retry * 2).min(limits.retry.1);
    }
}

/// Whether an answer may be held back in this state.
fn waits(state: &AgentState) -> bool {
    match state {
        AgentState::Ready | AgentState::Listening | AgentState::Frozen { .. } | AgentState::Thawed { .. } => true,
        AgentState::Busy
        | AgentState::Done { .. }
        | AgentState::Drained
        | AgentState::Interrupted
        | AgentState::Failed { .. } => false,
    }
}

impl Life {
    fn wants_claim(&self) -> bool {
        matches!(self.phase, Phase::Claiming { .. }) && self.talk.all_told()
    }

    fn wants_prewarmed(&self) -> bool {
        self.phase == Phase::Warm && !self.talk.prewarmed
    }

    /// When something is to be said though nothing is seen.
    pub(super) fn speaks_at(&self) -> Option<Moment> {
        let talk = &self.talk;
        if talk.call.is_some() || self.dismissed.is_some() || talk.mute || self.phase == Phase::Over {
            return None;
        }
        if !talk.news.is_empty() || self.wants_claim() || self.wants_prewarmed() {
            return Some(talk.retry_at);
        }
        talk.standing.as_ref().map(|_| talk.beat_at.max(talk.retry_at))
    }

    pub(super) fn speak(&mut self, now: Moment) {
        if let Some((call, What::Beat, _)) = self.talk.call
            && !self.talk.news.is_empty()
        {
            self.talk.call = None;
            self.steps.push(Step::Abandon(call));
        }
        if self.speaks_at().is_none_or(|at| now < at) {
            return;
        }
        let seen_order = self.talk.seen_order;
        let (what, ask) = if let Some(state) = self.talk.news.front().cloned() {
            (What::News, Ask::Report { state, wait_s: 0, seen_order })
        } else if let Phase::Claiming { later } = self.phase {
            (What::Claim, Ask::Claim { later })
        } else if self.wants_prewarmed() {
            (What::Prewarmed, Ask::Prewarmed)
        } else if let Some(state) = self.talk.standing.clone() {
            let holds = waits(&state);
            self.talk.beat_at = now + if holds { self.limits.pause } else { self.limits.beat };
            (What::Beat, Ask::Report { state, wait_s: if holds { self.limits.wait_s } else { 0 }, seen_order })
        } else {
            return;
        };
        self.talk.calls += 1;
        let about = match &ask {
            Ask::Report { state, .. } => state.clone(),
            Ask::Prewarmed | Ask::Claim { .. } => AgentState::Ready,
        };
        self.talk.call = Some((self.talk.calls, what, about));
        self.steps.push(Step::Call(self.talk.calls, ask));
    }

    pub(super) fn answered(&mut self, call: u64, answer: Answer, now: Moment) {
        let Some((_, what, about)) = self.talk.call.take_if(|(id, _, _)| *id == call) else { return };
        match &answer {
            Answer::Claimed { .. } | Answer::Heard { .. } | Answer::Early(_) => self.heard(now),
            Answer::Unavailable(_) | Answer::Final(_) => {}
        }
        match answer {
            Answer::Claimed { config } => self.claimed(config, now),
            Answer::Heard { config, order } => {
                match what {
                    // It may be that other news took its place meanwhile.
                    What::News => drop(self.talk.news.pop_front_if(|state| *state == about)),
                    What::Prewarmed => self.talk.prewarmed = true,
                    What::Claim | What::Beat => {}
                }
                self.frozen_heard(&about, now);
                if what == What::News {
                    self.told(&about, now);
                }
                if config && self.phase == Phase::Ready {
                    self.start(false, now);
                }
                if let Some(order) = order {
                    self.obey(order, now);
                }
            }
            Answer::Early(after) => {
                let since = *self.early_since.get_or_insert(now);
                self.talk.retry_at = now + after.unwrap_or(self.limits.retry.0);
                if now.saturating_sub(since) >= self.limits.early {
                    self.fail("the door does not know this machine".to_owned(), now);
                }
            }
            Answer::Unavailable(after) => self.talk.failed(after, &self.limits, now),
            Answer::Final(why) => self.dismiss(why, now),
        }
    }

    fn heard(&mut self, now: Moment) {
        self.talk.heard_at = now;
        self.talk.retry = self.limits.retry.0;
        self.talk.retry_at = now;
    }

    fn claimed(&mut self, config: bool, now: Moment) {
        self.early_since = None;
        if !matches!(self.phase, Phase::Claiming { .. }) {
            return;
        }
        if config {
            self.start(false, now);
        } else {
            self.enter(Phase::Ready, now);
            self.talk.stand(Some(AgentState::Ready));
        }
        if std::mem::take(&mut self.noticed) {
            self.notice();
        }
    }

    /// When an idle machine ends because nobody speaks to it.
    pub(super) fn silence_ends(&self) -> Option<Moment> {
        match self.phase {
            Phase::Claiming { .. } | Phase::Ready | Phase::Starting | Phase::Listening
                if self.end_at.is_none() && self.dismissed.is_none() =>
            {
                Some(
                    self.talk.heard_at.max(if self.has_session() { Moment::ZERO } else { self.since })
                        + self.limits.silence,
                )
            }
            Phase::Boot
            | Phase::Warming
            | Phase::Warm
            | Phase::Claiming { .. }
            | Phase::Ready
            | Phase::Starting
            | Phase::Listening
            | Phase::Busy
            | Phase::Draining(_)
            | Phase::Ended
            | Phase::Over => None,
        }
    }
}
