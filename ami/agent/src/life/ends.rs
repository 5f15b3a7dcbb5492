//! How sessions and machines end: by the runner's exit, by a deadline, by the door's last word.

use muster_core::protocol::AgentState;

use super::drain::Stage;
use super::{Life, Moment, Phase, Step};

/// The listener's exit codes (actions/runner, `Constants.Runner.ReturnCode`).
mod code {
    pub(super) const RETRYABLE: i32 = 2;
    pub(super) const UPDATING: i32 = 3;
    pub(super) const RUN_ONCE_UPDATING: i32 = 4;
    pub(super) const SESSION_CONFLICT: i32 = 5;
    pub(super) const VERSION_DEPRECATED: i32 = 7;
}

/// What a passed deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Fails(&'static str),
    Idle,
    NotListening,
    JobTooLong,
    Ended,
}

impl Life {
    /// When the present state is over at the latest.
    pub(super) fn deadline(&self) -> Option<(Moment, Overdue)> {
        let limits = &self.limits;
        let (span, what) = match &self.phase {
            Phase::Boot => (limits.metadata, Overdue::Fails("the metadata service does not say who this machine is")),
            Phase::Warming => (limits.warm, Overdue::Fails("the machine is not warm in time")),
            // It is stopped from outside: the hook that it waits at has a limit of its own.
            Phase::Warm => return None,
            // Bounded by the door's silence, by "too early", and by its refusals.
            Phase::Claiming { .. } => return None,
            Phase::Ready | Phase::Listening if self.end_at.is_none() => (limits.idle, Overdue::Idle),
            Phase::Starting if self.end_at.is_none() => (limits.start, Overdue::NotListening),
            Phase::Ready | Phase::Listening | Phase::Starting => return None,
            Phase::Busy => (limits.job, Overdue::JobTooLong),
            // The freezer and the end of frozen processes take moments; what is frozen has its own limits.
            Phase::Draining(_) => return None,
            Phase::Ended if self.talk.all_told() => (limits.end, Overdue::Ended),
            Phase::Ended => (limits.end_untold, Overdue::Ended),
            Phase::Over => return None,
        };
        Some((self.since + span, what))
    }

    pub(super) fn overdue(&mut self, what: Overdue, now: Moment) {
        match what {
            Overdue::Fails(why) => self.fail(why.to_owned(), now),
            Overdue::Idle => self.end_alone("idle for too long".to_owned(), now),
            Overdue::NotListening => self.end_alone("the runner does not listen in time".to_owned(), now),
            Overdue::JobTooLong => {
                self.steps.push(Step::Say("the job took longer than max_job_hours".to_owned()));
                self.steps.push(Step::Kill);
                // Once.
                self.since = now;
            }
            Overdue::Ended => self.power_off(now),
        }
    }

    /// An end of our own that is due, again or because the door is silent.
    pub(super) fn own_end_time(&mut self, now: Moment) {
        if self.silence_ends().is_some_and(|at| now >= at) {
            self.end_alone("the door has been silent for too long".to_owned(), now);
        }
        if self.may_end()
            && let Some((_, why)) = self.end_at.take_if(|(at, _)| now >= *at)
        {
            self.end_alone(why, now);
        }
    }

    /// Whether an end of our own is possible in this state.
    pub(super) fn may_end(&self) -> bool {
        match self.phase {
            Phase::Listening | Phase::Starting | Phase::Ready => true,
            Phase::Boot
            | Phase::Warming
            | Phase::Warm
            | Phase::Claiming { .. }
            | Phase::Busy
            | Phase::Draining(_)
            | Phase::Ended
            | Phase::Over => false,
        }
    }

    pub(super) fn exited(&mut self, code: Option<i32>, now: Moment) {
        match &self.phase {
            Phase::Draining(drain) if drain.stage == Stage::Killing => return self.killed(now),
            Phase::Starting | Phase::Listening | Phase::Busy | Phase::Draining(_) => {}
            Phase::Boot
            | Phase::Warming
            | Phase::Warm
            | Phase::Claiming { .. }
            | Phase::Ready
            | Phase::Ended
            | Phase::Over => {
                return;
            }
        }
        self.talk.take_back_drain();
        if self.evidence.job() {
            return self.end(Some(AgentState::Done { ran_job: true }), "the job is over".to_owned(), now);
        }
        self.exited_without_job(code, now);
    }

    /// It may be tried again, in this session or another one, but not for ever.
    fn exited_without_job(&mut self, code: Option<i32>, now: Moment) {
        let words = words(code);
        if !self.evidence.listened() {
            self.fruitless += 1;
        }
        if code == Some(code::VERSION_DEPRECATED) || self.fruitless >= self.limits.fruitless {
            return self.fail(format!("the runner ended before it had a job: {words}"), now);
        }
        let again = [code::RETRYABLE, code::UPDATING, code::RUN_ONCE_UPDATING];
        if code.is_some_and(|code| again.contains(&code)) && !matches!(self.phase, Phase::Draining(_)) {
            self.restarts += 1;
            if self.restarts > self.limits.restarts {
                return self.fail(format!("the runner does not get beyond its own restarts: {words}"), now);
            }
            return self.start(true, now);
        }
        if let Some(why) = self.dismissed.clone() {
            return self.end(None, why, now);
        }
        self.steps.push(Step::Say(format!("the runner ended without a job: {words}; asking for another session")));
        self.steps.push(Step::NewKeys);
        self.talk.news(AgentState::Done { ran_job: false });
        self.talk.stand(None);
        self.end_at = None;
        self.enter(Phase::Claiming { later: true }, now);
    }

    /// The door wants nothing more of this machine.
    pub(super) fn dismiss(&mut self, why: String, now: Moment) {
        self.talk.fall_silent();
        self.dismissed.get_or_insert(why.clone());
        match self.phase {
            Phase::Listening | Phase::Starting => self.end_alone(why, now),
            // The worker goes on; or what is frozen is ended, or runs again and is asked again.
            Phase::Busy | Phase::Draining(_) | Phase::Over => {}
            Phase::Boot | Phase::Warming | Phase::Warm | Phase::Claiming { .. } | Phase::Ready | Phase::Ended => {
                self.why_ended = why;
                self.power_off(now);
            }
        }
    }

    /// The agent gives up. There is no runner, or none that has ever listened.
    pub(super) fn fail(&mut self, why: String, now: Moment) {
        let news = self.has_session().then(|| AgentState::Failed { why: why.clone() });
        self.end(news, why, now);
    }

    /// Nothing runs any more.
    pub(super) fn end(&mut self, news: Option<AgentState>, why: String, now: Moment) {
        if matches!(self.phase, Phase::Ended | Phase::Over) {
            return;
        }
        self.steps.push(Step::Say(why.clone()));
        self.why_ended = why;
        self.talk.stand(None);
        if self.dismissed.is_some() || news.is_none() {
            self.talk.fall_silent();
            self.enter(Phase::Ended, now);
            return self.power_off(now);
        }
        self.enter(Phase::Ended, now);
        if let Some(news) = news {
            self.talk.news(news);
            self.talk.stand(None);
        }
    }

    /// News were heard.
    pub(super) fn told(&mut self, _state: &AgentState, now: Moment) {
        if self.phase == Phase::Ended && self.talk.all_told() {
            self.since = now;
        }
    }

    fn power_off(&mut self, now: Moment) {
        self.steps.push(Step::PowerOff(self.why_ended.clone()));
        self.enter(Phase::Over, now);
    }
}

fn words(code: Option<i32>) -> String {
    let meaning = match code {
        None => return "ended by a signal".to_owned(),
        Some(0) => "ended, as when GitHub removes a runner",
        Some(1) => "an error that it does not retry",
        Some(code::RETRYABLE) => "an error to be retried",
        Some(code::UPDATING | code::RUN_ONCE_UPDATING) => "updating itself",
        Some(code::SESSION_CONFLICT) => "another runner holds its session",
        Some(code::VERSION_DEPRECATED) => "this version is deprecated: build the image anew",
        Some(_) => "an unknown code",
    };
    format!("exit code {}: {meaning}", code.unwrap_or_default())
}
