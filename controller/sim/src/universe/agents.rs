//! Agents: what each machine's agent does when it boots, is answered, is ordered, or is left alone.
//!
//! Invariant: an agent ends a listener only when it was frozen for [`FROZEN_MIN`] without a sign of a job and was told
//! that the registration is gone.

use std::time::Duration;

use muster_core::claim::Order;
use muster_core::ids::{InstanceId, RunnerId};
use muster_core::protocol::AgentState;

use super::{FROZEN_MIN, Output, THAW_AFTER, Universe};
use crate::agenda::Event;
use crate::cloud::{Agent, Freeze, InstanceNo};
use crate::hub::Presence;
use crate::listeners::Lot;
use crate::rule::Rule;
use crate::work::{JobRef, State};

/// The answer to a claim, as the driver got it from the door and opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// A runner configuration, in clear: the bytes that the mint returned.
    Config(Vec<u8>),
    /// Accepted; a configuration will follow.
    Wait,
    /// No answer, or "come back": the same claim again after so long.
    Retry(Duration),
    /// No.
    Refused,
}

/// What a configuration begins with; the registration's id follows.
const CONFIG_PREFIX: &str = "muster-sim-jit:";

/// The configuration of a registration.
pub(super) fn config(runner: RunnerId) -> Vec<u8> {
    format!("{CONFIG_PREFIX}{runner}").into_bytes()
}

fn runner_of(config: &[u8]) -> Option<RunnerId> {
    let id = std::str::from_utf8(config).ok()?.strip_prefix(CONFIG_PREFIX)?;
    id.parse().ok().map(RunnerId)
}

impl Universe {
    pub(super) fn report(&mut self, no: InstanceNo, state: AgentState) {
        if let Some(instance) = self.fleet.get(no) {
            let (id, session) = (instance.id.clone(), instance.session);
            self.say(Output::Report { instance: id, session, state });
        }
    }

    /// Tells the watch whether a machine is booting or idle.
    pub(super) fn set_spare(&mut self, no: InstanceNo, spare: bool) {
        if let Some(instance) = self.fleet.get_mut(no)
            && instance.spare != spare
        {
            instance.spare = spare;
            self.watch.spare(instance.class, spare, self.now);
        }
    }

    /// The agent claims, or repeats its claim.
    pub(super) fn claim(&mut self, no: InstanceNo) {
        let now = self.now;
        let Some(instance) = self.fleet.get_mut(no) else { return };
        match instance.agent {
            Agent::Booting => {
                instance.session = 1;
                instance.agent = Agent::Claiming;
                instance.spell.ready_at = Some(now);
            }
            Agent::Claiming => {}
            Agent::Ready | Agent::Listening | Agent::Received(_) | Agent::Running(_) | Agent::Ended => return,
        }
        let (instance, session) = (instance.id.clone(), instance.session);
        self.say(Output::Claim { instance, session });
    }

    /// The answer to a claim has come. One that comes too late, or to a machine that is gone, changes nothing.
    pub fn claimed(&mut self, instance: &InstanceId, answer: Claimed) {
        let Some(no) = InstanceNo::of(instance) else { return };
        let Some(machine) = self.fleet.get_mut(no) else { return };
        let waits = matches!(machine.agent, Agent::Claiming | Agent::Ready);
        match answer {
            Claimed::Config(bytes) if waits => self.listen(no, &bytes),
            Claimed::Wait if machine.agent == Agent::Claiming => {
                machine.agent = Agent::Ready;
                self.report(no, AgentState::Ready);
            }
            Claimed::Retry(after) if machine.agent == Agent::Claiming => {
                self.agenda.at(self.now + after, Event::Claim(no));
            }
            Claimed::Refused if waits => {
                machine.agent = Agent::Ended;
                self.set_spare(no, false);
            }
            Claimed::Config(_) | Claimed::Wait | Claimed::Retry(_) | Claimed::Refused => {}
        }
    }

    /// The runner starts with a configuration and connects.
    fn listen(&mut self, no: InstanceNo, config: &[u8]) {
        let runner = runner_of(config).filter(|id| self.hub.runner(*id).is_some());
        let Some(instance) = self.fleet.get_mut(no) else { return };
        let Some(runner) = runner else {
            instance.agent = Agent::Ended;
            self.set_spare(no, false);
            let why = "the runner configuration is of no registration".to_owned();
            self.report(no, AgentState::Failed { why });
            return;
        };
        instance.agent = Agent::Listening;
        instance.runner = Some(runner);
        let thawed = instance.freeze.take();
        self.hub.attach(runner, no);
        if let Some(freeze) = thawed {
            self.report(no, AgentState::Thawed { number: freeze.number });
            self.set_spare(no, true);
        }
        self.report(no, AgentState::Listening);
        let lot = self.settings.listeners.lot(self.chance, runner);
        if let Lot::Taken(after) = lot {
            self.agenda.at(self.now + after, Event::TakenIdle(no, runner));
        }
        if let Lot::Sound | Lot::Taken(_) = lot {
            if let Some(after) = self.idle_life(runner) {
                self.agenda.at(self.now + after, Event::RemovedIdle(runner));
            }
            self.seek_job(runner);
            return;
        }
        self.hub.lose(runner, self.now);
        self.set_spare(no, false);
        if let Some(instance) = self.fleet.get_mut(no) {
            instance.hung = lot == Lot::Hangs;
        }
    }

    /// An order has reached an agent. One that it has carried out, or that no longer applies, changes nothing.
    pub fn ordered(&mut self, instance: &InstanceId, order: Order) {
        let hangs = |no: &InstanceNo| self.fleet.get(*no).is_some_and(|instance| instance.hung);
        let Some(no) = InstanceNo::of(instance).filter(|no| !hangs(no)) else { return };
        match order {
            Order::Drain { number } => self.freeze(no, number),
            Order::Kill { number } => self.condemn(no, number),
            Order::Thaw { number } => self.thaw(no, number),
            Order::Interruption => self.report(no, AgentState::Interrupted),
        }
    }

    fn freeze(&mut self, no: InstanceNo, number: u32) {
        let now = self.now;
        let Some(instance) = self.fleet.get_mut(no) else { return };
        match instance.agent {
            Agent::Ready | Agent::Listening => {
                if instance.freeze.is_some_and(|freeze| freeze.number >= number) {
                    return;
                }
                instance.freeze = Some(Freeze { number, at: now, condemned: false });
                self.set_spare(no, false);
                self.report(no, AgentState::Frozen { number });
                self.agenda.at(now + THAW_AFTER, Event::ThawSelf(no, number));
            }
            Agent::Received(_) | Agent::Running(_) => self.report(no, AgentState::Thawed { number }),
            Agent::Booting | Agent::Claiming | Agent::Ended => {}
        }
    }

    fn condemn(&mut self, no: InstanceNo, number: u32) {
        let now = self.now;
        let Some(freeze) = self.fleet.get_mut(no).and_then(|instance| instance.freeze.as_mut()) else {
            return;
        };
        if freeze.number == number && !freeze.condemned {
            freeze.condemned = true;
            self.agenda.at(now.max(freeze.at + FROZEN_MIN), Event::Drained(no, number));
        }
    }

    pub(super) fn thaw_self(&mut self, no: InstanceNo, number: u32) {
        let freeze = self.fleet.get(no).and_then(|instance| instance.freeze);
        if freeze.is_some_and(|freeze| !freeze.condemned) {
            self.thaw(no, number);
        }
    }

    /// The listener runs on: to the job that has come meanwhile, or to its end if its registration is gone.
    fn thaw(&mut self, no: InstanceNo, number: u32) {
        let Some(instance) = self.fleet.get_mut(no) else { return };
        if instance.freeze.is_none_or(|freeze| freeze.number != number) {
            return;
        }
        instance.freeze = None;
        let (runner, listens) = (instance.runner, instance.agent == Agent::Listening);
        self.report(no, AgentState::Thawed { number });
        match runner.filter(|_| listens).map(|id| self.hub.runner(id).map(|runner| runner.presence)) {
            None => self.set_spare(no, true),
            Some(None) => self.claim_again(no),
            Some(Some(Presence::Taken(job))) => {
                self.agenda.at(self.now + self.pick_up_half(), Event::Received(no, job));
            }
            Some(Some(Presence::Idle(_) | Presence::Offline)) => self.set_spare(no, true),
        }
    }

    /// The listener found its registration gone and ended; the agent asks for another.
    pub(super) fn claim_again(&mut self, no: InstanceNo) {
        self.report(no, AgentState::Done { ran_job: false });
        let Some(instance) = self.fleet.get_mut(no) else { return };
        instance.agent = Agent::Claiming;
        instance.session += 1;
        instance.mints = 0;
        instance.runner = None;
        self.set_spare(no, true);
        self.claim(no);
    }

    /// The frozen listener is ended.
    pub(super) fn end_frozen(&mut self, no: InstanceNo, number: u32) {
        let Some(instance) = self.fleet.get_mut(no) else { return };
        if instance.freeze.is_none_or(|freeze| freeze.number != number || !freeze.condemned) {
            return;
        }
        instance.freeze = None;
        instance.agent = Agent::Ended;
        let (id, runner) = (instance.id.clone(), instance.runner);
        if let Some(job) = runner.and_then(|runner| self.taken_by(runner)) {
            let detail = format_args!("{id} was told to end its listener, which had been given a job");
            self.watch.broken(Rule::Killed, self.now, detail);
            self.requeue_later(job);
        }
        if let Some(runner) = runner {
            self.hub.lose(runner, self.now);
        }
        self.report(no, AgentState::Drained);
    }

    /// The job that GitHub has given a runner and that no step of has begun.
    pub(super) fn taken_by(&self, runner: RunnerId) -> Option<JobRef> {
        match self.hub.runner(runner)?.presence {
            Presence::Taken(job) if self.work.state(job) == Some(State::Assigned) => Some(job),
            Presence::Taken(_) | Presence::Idle(_) | Presence::Offline => None,
        }
    }
}
