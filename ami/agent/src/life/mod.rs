//! The whole life of a machine as a pure state machine: (state, observation, now) -> (state, steps).
//!
//! What lives here: what is done next, and when to look again. What may not: a clock, a process, a socket, a secret.
//! `talk` is what is said to the door, `drain` how a listener is ended that has no job, `ends` how everything ends.
//!
//! Invariant: no step of [`Life`] ends a runner that has, or may have, a job, but for [`Limits::job`]: [`Step::Kill`] comes
//! only after [`Step::Freeze`] and a look that found no sign of a job.
//!
//! Invariant: every state has a successor and a deadline, or waits for a door that answers, or for a live worker.

mod drain;
mod ends;
mod evidence;
mod limits;
mod talk;

use std::time::Duration;

use muster_core::protocol::{AgentState, Numbered};

pub use self::evidence::Sign;
pub use self::limits::Limits;

use self::drain::Drain;
use self::evidence::Evidence;
use self::talk::Talk;

/// An instant: the time since the agent started, by a clock that nobody sets.
pub type Moment = Duration;

/// Where the machine stands in its group, from the metadata service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In service, or in no group: it claims.
    InService,
    /// On its way into a standby stock (`Warmed:*`): it warms itself and never registers.
    Warmed,
}

/// What is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Nothing: the time has come that [`Life::wake_at`] named.
    Time,
    /// What the metadata service says, or why it does not.
    Metadata(Result<Standing, String>),
    /// The machine is warm.
    Warm,
    /// The door has answered this call, or has not.
    Answered(u64, Answer),
    /// The runner's process exists.
    RunnerStarted,
    /// It cannot be started; the reason.
    RunnerNotStarted(String),
    /// The runner shows something.
    Sign(Sign),
    /// The runner has ended by itself, with this exit code; `None`: by a signal.
    RunnerExited(Option<i32>),
    /// The answer to [`Step::Freeze`]. Every sign that there was at that moment was told before.
    Looked(Look),
    /// The answer to [`Step::Kill`]: the runner and all its processes are gone.
    Killed,
    /// How long a job may take, by the pool's options; told before the answer or the orphan that it is for.
    JobMayTake(Duration),
    /// The cloud will take this machine, or recommends to leave it; or its system is being shut down.
    Notice,
    /// A former agent on this machine left a live runner behind, whose session is known or not.
    Orphan {
        /// Whether it is.
        session: bool,
    },
}

/// What a look at a frozen runner shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Every process of the runner stands still.
    pub frozen: bool,
    /// There are processes besides the listener: a worker, or what becomes one.
    pub others: bool,
    /// Bytes have arrived for the runner that it has not read: they may be a job.
    pub unread: bool,
}

/// How a call of the door came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A claim was accepted.
    Claimed {
        /// Whether the configuration is there.
        config: bool,
    },
    /// A report or a `prewarmed` was taken.
    Heard {
        /// Whether a configuration came.
        config: bool,
        /// What to do, if anything.
        order: Option<Numbered>,
    },
    /// 425: too early.
    Early(Option<Duration>),
    /// No answer, or one that says to come again.
    Unavailable(Option<Duration>),
    /// The door will never answer this otherwise.
    Final(String),
}

/// What is asked of the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// That the machine is warm.
    Prewarmed,
    /// A session.
    Claim {
        /// After a session whose listener ended without a job.
        later: bool,
    },
    /// How the machine is.
    Report {
        /// The state.
        state: AgentState,
        /// Seconds for which the answer may be held back.
        wait_s: u32,
        /// The highest order seen.
        seen_order: u32,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the metadata: [`Observation::Metadata`].
    ReadMetadata,
    /// Page in what a job will need: [`Observation::Warm`].
    Warm,
    /// Call the door: [`Observation::Answered`] with this number.
    Call(u64, Ask),
    /// Nobody waits for this call's answer any more.
    Abandon(u64),
    /// The next claim is another one: fresh nonce and keys.
    NewKeys,
    /// Close the firewall and start the runner with the configuration that came: [`Observation::RunnerStarted`] or
    /// [`Observation::RunnerNotStarted`].
    StartRunner {
        /// It has updated itself or asks for another try.
        again: bool,
    },
    /// Freeze every process of the runner, take in every sign, and look: [`Observation::Looked`].
    Freeze,
    /// Let it run.
    Thaw,
    /// End it and all its processes: [`Observation::Killed`].
    Kill,
    /// Last words for people: the serial console.
    Say(String),
    /// End the machine.
    PowerOff(String),
}

/// The states. What each waits for is in `Life::deadline`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The metadata is being read.
    Boot,
    /// Warming itself.
    Warming,
    /// Warm; waits to be stopped, or to be in service.
    Warm,
    /// Asks for a session.
    Claiming {
        /// After another one.
        later: bool,
    },
    /// Has a session; waits for a configuration.
    Ready,
    /// The runner was started.
    Starting,
    /// The runner listens.
    Listening,
    /// It has a job.
    Busy,
    /// A drain is under way.
    Draining(Drain),
    /// Nothing runs any more; the machine waits for its end.
    Ended,
    /// The power is being switched off.
    Over,
}

/// A machine's life.
#[derive(Clone, Debug)]
pub struct Life {
    limits: Limits,
    phase: Phase,
    since: Moment,
    evidence: Evidence,
    talk: Talk,
    /// Why the door wants nothing more of us.
    dismissed: Option<String>,
    /// When the metadata is read again.
    read_at: Option<Moment>,
    /// When an end of our own is tried again, and why.
    end_at: Option<(Moment, String)>,
    /// Since when the door says that it is too early.
    early_since: Option<Moment>,
    /// Runners that ended before they listened, one after another.
    fruitless: u32,
    /// Times that this session's runner was started again.
    restarts: u32,
    noticed: bool,
    why_ended: String,
    steps: Vec<Step>,
}

impl Life {
    /// The life of a machine that begins now, and its first steps.
    pub fn begin(limits: Limits) -> (Life, Vec<Step>) {
        let talk = Talk::new(&limits);
        let life = Life {
            limits,
            phase: Phase::Boot,
            since: Moment::ZERO,
            evidence: Evidence::default(),
            talk,
            dismissed: None,
            read_at: None,
            end_at: None,
            early_since: None,
            fruitless: 0,
            restarts: 0,
            noticed: false,
            why_ended: String::new(),
            steps: Vec::new(),
        };
        (life, vec![Step::ReadMetadata])
    }

    /// The state.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Takes in what is seen, and says what is to be done.
    pub fn observe(&mut self, seen: Observation, now: Moment) -> Vec<Step> {
        match seen {
            Observation::Time => {}
            Observation::Metadata(read) => self.metadata(read, now),
            Observation::Warm => self.enter(Phase::Warm, now),
            Observation::Answered(call, answer) => self.answered(call, answer, now),
            Observation::RunnerStarted => {}
            Observation::RunnerNotStarted(why) => self.fail(format!("the runner cannot be started: {why}"), now),
            Observation::Sign(sign) => self.sign(sign, now),
            Observation::RunnerExited(code) => self.exited(code, now),
            Observation::Looked(look) => self.looked(look, now),
            Observation::Killed => self.killed(now),
            Observation::JobMayTake(limit) => self.limits.job = limit,
            Observation::Notice => self.notice(),
            Observation::Orphan { session } => self.orphan(session, now),
        }
        self.time(now);
        self.speak(now);
        std::mem::take(&mut self.steps)
    }

    /// When to look again though nothing was seen.
    pub fn wake_at(&self) -> Moment {
        let moments = [
            self.deadline().map(|(at, _)| at),
            self.drain_due(),
            self.read_at,
            self.end_at.as_ref().map(|(at, _)| *at).filter(|_| self.may_end()),
            self.speaks_at(),
            self.silence_ends(),
        ];
        moments.into_iter().flatten().min().unwrap_or(Moment::MAX)
    }

    fn enter(&mut self, phase: Phase, now: Moment) {
        if self.phase != Phase::Over {
            self.phase = phase;
            self.since = now;
        }
    }

    fn metadata(&mut self, read: Result<Standing, String>, now: Moment) {
        self.read_at = None;
        match (read, &self.phase) {
            (Ok(Standing::InService), Phase::Boot | Phase::Warming | Phase::Warm) => {
                self.talk.forget_call();
                self.enter(Phase::Claiming { later: false }, now);
            }
            (Ok(Standing::Warmed), Phase::Boot) => {
                self.steps.push(Step::Warm);
                self.enter(Phase::Warming, now);
            }
            (Ok(Standing::Warmed) | Err(_), Phase::Warming | Phase::Warm) | (Err(_), Phase::Boot) => {
                self.read_at = Some(now + self.limits.look_again);
            }
            (
                _,
                Phase::Claiming { .. }
                | Phase::Ready
                | Phase::Starting
                | Phase::Listening
                | Phase::Busy
                | Phase::Draining(_)
                | Phase::Ended
                | Phase::Over,
            ) => {}
        }
        // A machine that was stopped while it ran, and goes on where it was, must see that it is in service.
        if matches!(self.phase, Phase::Warming) {
            self.read_at = Some(now + self.limits.look_again);
        }
    }

    fn sign(&mut self, sign: Sign, now: Moment) {
        self.evidence.take(sign, now);
        match &self.phase {
            Phase::Starting | Phase::Listening if self.evidence.job() => {
                self.fruitless = 0;
                self.enter(Phase::Busy, now);
                self.talk.news(AgentState::Busy);
            }
            Phase::Starting if sign == Sign::Listening => {
                self.fruitless = 0;
                self.enter(Phase::Listening, now);
                self.talk.news(AgentState::Listening);
            }
            Phase::Draining(_) => self.sign_in_drain(now),
            Phase::Boot
            | Phase::Warming
            | Phase::Warm
            | Phase::Claiming { .. }
            | Phase::Ready
            | Phase::Starting
            | Phase::Listening
            | Phase::Busy
            | Phase::Ended
            | Phase::Over => {}
        }
    }

    fn start(&mut self, again: bool, now: Moment) {
        if !again {
            self.evidence = Evidence::default();
            self.restarts = 0;
        }
        self.steps.push(Step::StartRunner { again });
        self.talk.stand(None);
        self.enter(Phase::Starting, now);
    }

    fn notice(&mut self) {
        if !std::mem::replace(&mut self.noticed, true) && self.has_session() {
            self.talk.news(AgentState::Interrupted);
        }
    }

    fn has_session(&self) -> bool {
        match self.phase {
            Phase::Ready | Phase::Starting | Phase::Listening | Phase::Busy | Phase::Draining(_) => true,
            Phase::Boot | Phase::Warming | Phase::Warm | Phase::Claiming { .. } | Phase::Ended | Phase::Over => false,
        }
    }

    fn orphan(&mut self, session: bool, now: Moment) {
        self.evidence.take(Sign::Job, now);
        self.talk.stand(session.then_some(AgentState::Busy));
        self.enter(Phase::Busy, now);
    }

    /// What happens because time has passed.
    fn time(&mut self, now: Moment) {
        if self.read_at.is_some_and(|at| now >= at) {
            self.read_at = None;
            self.steps.push(Step::ReadMetadata);
        }
        if let Some((at, what)) = self.deadline()
            && now >= at
        {
            self.overdue(what, now);
        }
        self.drain_time(now);
        self.own_end_time(now);
    }
}
