//! Machines: one instance, one life. What was intended for it, what its agent and GitHub have told of it, and the phase
//! that follows.
//!
//! Invariant: evidence only grows. Within a session (one claim) the first report of each kind counts; a higher session
//! replaces the evidence of a lower one. The phase is derived and never stored.

mod name;
mod report;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

pub use self::name::{RUNNER_NAME_MAX, instance_of, runner_name};
pub use self::report::{MachineEvent, Registration, Report};
pub use crate::config::Market;
use crate::ids::{ClassId, InstanceId, JobKey, LaunchId, PoolName, ShapeId, Zone};
use crate::launch::Launch;
use crate::money::HourlyPrice;
use crate::time::Timestamp;

/// Which tier a launch takes its machine from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A new instance.
    Cold,
    /// A stopped or hibernated instance of a warm pool.
    Standby,
}

/// What one launch is for: the part of the intent that its machines inherit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// The pool.
    pub pool: PoolName,
    /// The class that its runners will register as.
    pub class: ClassId,
    /// The hardware.
    pub shape: ShapeId,
    /// The `[[aws.account]]` that the shape is launched in. `None`: the controller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Arc<str>>,
    /// Where.
    pub zone: Zone,
    /// How it is paid.
    pub market: Market,
    /// Cold or from standby.
    pub origin: Origin,
    /// Price of one machine; zero if the configuration names none.
    pub price: HourlyPrice,
}

/// A drain in progress: an intent, with the number that ties reports to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Rises with every drain of this machine.
    pub order: u32,
    /// When it was committed.
    pub ordered_at: Timestamp,
    /// How GitHub answered the removal of the registration, once asked.
    pub removal: Option<Removal>,
    /// Whether the agent was told of that answer (`kill` or `thaw`).
    #[serde(default)]
    pub answered: bool,
    /// When it was given up without an answer; the agent thaws by itself then.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
}

/// GitHub's answer to removing a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// It is gone: no job can reach the runner any more.
    Gone,
    /// GitHub says that it runs a job.
    Busy,
}

/// What the agent's reports of one session add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// When it claimed.
    pub claimed_at: Option<Timestamp>,
    /// Its registration, and when it was minted.
    pub registered: Option<(Timestamp, Registration)>,
    /// When the listener connected.
    pub listening_at: Option<Timestamp>,
    /// When a job was received.
    pub busy_at: Option<Timestamp>,
    /// When the runner ended, and whether it ran a job.
    pub done: Option<(Timestamp, bool)>,
    /// The highest drain order that it reported frozen, and when.
    pub frozen: Option<(u32, Timestamp)>,
    /// The highest drain order that it refused or gave up.
    pub thawed: Option<u32>,
    /// When GitHub was found to have no listener of its registration.
    #[serde(default)]
    pub unseen_at: Option<Timestamp>,
    /// When it reported drained.
    pub drained_at: Option<Timestamp>,
}

/// One instance, from launch to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Which.
    pub instance: InstanceId,
    /// The launch that it came from.
    pub launch: LaunchId,
    /// What it is for.
    pub purpose: Purpose,
    /// When the launch was committed.
    pub intended_at: Timestamp,
    /// When the cloud answered the launch.
    pub launched_at: Timestamp,
    /// The number of the latest session that was heard of; 0 before the first claim.
    #[serde(default)]
    pub session: u32,
    /// What that session told.
    #[serde(default)]
    pub told: Session,
    /// When the cloud first warned that it will take the machine.
    #[serde(default)]
    pub interrupted_at: Option<Timestamp>,
    /// When the cloud first recommended to leave the machine.
    #[serde(default)]
    pub rebalance_at: Option<Timestamp>,
    /// When and why the agent gave up.
    #[serde(default)]
    pub failed: Option<(Timestamp, Arc<str>)>,
    /// The job that GitHub has named for it.
    #[serde(default)]
    pub job: Option<JobKey>,
    /// When that job ended, says GitHub. The agent's own word follows within seconds.
    #[serde(default)]
    pub job_over_at: Option<Timestamp>,
    /// Intent: the last of its sessions that may register; in a later one it waits unregistered (*ready*). The right is for
    /// one session: when its listener ends without a job, the plan gives it again if the machine is wanted hot. Rows of before
    /// say `may_register`, which was for good.
    #[serde(default, alias = "may_register", deserialize_with = "sessions")]
    pub registers: u32,
    /// Intent: a drain.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// Intent: its end was committed.
    #[serde(default)]
    pub terminate_at: Option<Timestamp>,
    /// It is gone, by positive evidence.
    #[serde(default)]
    pub gone_at: Option<Timestamp>,
}

/// Where a machine is in its life; the instant is when it came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachinePhase {
    /// Launched, has not claimed.
    Booting(Timestamp),
    /// Claimed, unregistered: a mint away.
    Ready(Timestamp),
    /// Minted, not yet listening.
    Registering(Timestamp),
    /// Listening: hot.
    Idle(Timestamp),
    /// It has a job, says its agent or GitHub.
    Busy(Timestamp),
    /// A drain was ordered and not answered, or the listener runs on after its registration was removed.
    Draining(Timestamp),
    /// Frozen, as the drain asked: the registration may be removed, unless GitHub has named a job for it.
    Frozen(Timestamp),
    /// Its listener ended without a job (GitHub removes idle registrations): its agent may claim again, if it is wanted.
    Between(Timestamp),
    /// Its runner is over, well or badly; the instance is to be ended.
    Ended(Timestamp),
    /// Its end was committed.
    Ending(Timestamp),
    /// Gone.
    Gone(Timestamp),
}

impl MachinePhase {
    /// The word used in machine output.
    pub fn word(self) -> &'static str {
        match self {
            MachinePhase::Booting(_) => "booting",
            MachinePhase::Ready(_) => "ready",
            MachinePhase::Registering(_) => "registering",
            MachinePhase::Idle(_) => "idle",
            MachinePhase::Busy(_) => "busy",
            MachinePhase::Draining(_) => "draining",
            MachinePhase::Frozen(_) => "frozen",
            MachinePhase::Between(_) => "between",
            MachinePhase::Ended(_) => "ended",
            MachinePhase::Ending(_) => "ending",
            MachinePhase::Gone(_) => "gone",
        }
    }
}

impl Machine {
    /// A machine as a launch leaves it.
    pub fn launched(instance: InstanceId, launch: &Launch, at: Timestamp) -> Machine {
        Machine {
            instance,
            launch: launch.id.clone(),
            purpose: launch.purpose.clone(),
            intended_at: launch.intended_at,
            launched_at: at,
            session: 0,
            told: Session::default(),
            interrupted_at: None,
            rebalance_at: None,
            failed: None,
            job: None,
            job_over_at: None,
            registers: u32::from(launch.may_register),
            drain: None,
            terminate_at: None,
            gone_at: None,
        }
    }

    /// Takes in a report. Reports of an earlier session than the latest change nothing.
    pub fn hear(&mut self, event: &MachineEvent) {
        if let Report::Interrupted = event.report {
            self.interrupted_at = first(self.interrupted_at, event.at);
            return;
        }
        if let Report::Failed { why } = &event.report {
            let told = (event.at, why.clone());
            self.failed = Some(self.failed.take().map_or(told.clone(), |known| known.min(told)));
            return;
        }
        if event.session < self.session {
            return;
        }
        if event.session > self.session {
            self.session = event.session;
            self.told = Session::default();
            self.job = None;
            self.job_over_at = None;
            // A drain and its answer were about the listener and the registration of the session before.
            if let Some(drain) = &mut self.drain {
                drain.closed_at = drain.closed_at.or(Some(drain.ordered_at));
                drain.removal = None;
            }
        }
        let told = &mut self.told;
        match &event.report {
            Report::Interrupted | Report::Failed { .. } => {}
            Report::Claimed => told.claimed_at = first(told.claimed_at, event.at),
            Report::Registered(registration) => {
                let new = (event.at, registration.clone());
                told.registered = Some(told.registered.take().map_or(new.clone(), |known| known.min(new)));
            }
            Report::Listening => told.listening_at = first(told.listening_at, event.at),
            Report::Busy => told.busy_at = first(told.busy_at, event.at),
            Report::Done { ran_job } => {
                let new = (event.at, *ran_job);
                told.done = Some(told.done.map_or(new, |known| known.min(new)));
            }
            Report::Frozen { order } => {
                if told.frozen.is_none_or(|(known, at)| (*order, at) > (known, event.at)) {
                    told.frozen = Some((*order, event.at));
                }
            }
            Report::Thawed { order } => told.thawed = told.thawed.max(Some(*order)),
            Report::Unseen => told.unseen_at = first(told.unseen_at, event.at),
            Report::Drained => told.drained_at = first(told.drained_at, event.at),
        }
    }

    /// Where it is in its life: derived, the strongest evidence first.
    pub fn phase(&self) -> MachinePhase {
        if let Some(at) = self.gone_at {
            return MachinePhase::Gone(at);
        }
        if let Some(at) = self.terminate_at {
            return MachinePhase::Ending(at);
        }
        let told = &self.told;
        let failed = self.failed.as_ref().map(|(at, _)| *at);
        if let Some(at) = told.done.map(|(at, _)| at).or(told.drained_at).or(failed) {
            return if self.may_claim_again() { MachinePhase::Between(at) } else { MachinePhase::Ended(at) };
        }
        if let Some(at) = told.busy_at {
            return MachinePhase::Busy(at);
        }
        let drain = self.open_drain();
        if let (Some(drain), Some((order, at))) = (drain, told.frozen)
            && order == drain.order
        {
            return MachinePhase::Frozen(at);
        }
        // GitHub names a job for it: the agent's word is late, or lost.
        if self.job.is_some()
            && let Some(at) = told.listening_at.or(told.registered.as_ref().map(|(at, _)| *at))
        {
            return MachinePhase::Busy(at);
        }
        if let Some(drain) = drain {
            return MachinePhase::Draining(drain.ordered_at);
        }
        if let Some(at) = told.listening_at {
            return match &self.drain {
                // The agent went on without its registration: no job can reach it, so it is not idle.
                Some(drain) if drain.removal == Some(Removal::Gone) => MachinePhase::Draining(drain.ordered_at),
                Some(_) | None => MachinePhase::Idle(at),
            };
        }
        if let Some((at, _)) = &told.registered {
            return MachinePhase::Registering(*at);
        }
        match told.claimed_at {
            Some(at) => MachinePhase::Ready(at),
            None => MachinePhase::Booting(self.launched_at),
        }
    }

    /// The session that a right to register is for: the one it is in, or the next if it has none or that one is over.
    pub fn session_to_register(&self) -> u32 {
        if self.session == 0 || self.told.done.is_some() { self.session.saturating_add(1) } else { self.session }
    }

    /// Whether it has the right to register, now or when it claims.
    pub fn may_register(&self) -> bool {
        self.registers >= self.session_to_register()
    }

    /// Whether its session ended without a job, and nothing is against another one.
    fn may_claim_again(&self) -> bool {
        let told = &self.told;
        let idle_to_the_end = told.done.is_some_and(|(_, ran)| !ran) && told.busy_at.is_none() && self.job.is_none();
        let sound = told.drained_at.is_none() && self.failed.is_none() && self.interrupted_at.is_none();
        idle_to_the_end && sound && self.open_drain().is_none()
    }

    /// The drain that is still under way: ordered, and neither refused nor given up.
    pub fn open_drain(&self) -> Option<&Drain> {
        let open =
            |drain: &&Drain| drain.closed_at.is_none() && self.told.thawed.is_none_or(|thawed| thawed < drain.order);
        self.drain.as_ref().filter(open)
    }

    /// The number that the next drain of this machine gets.
    pub fn next_drain_order(&self) -> u32 {
        self.drain.as_ref().map_or(1, |drain| drain.order + 1)
    }

    /// When its agent said that it has or had a job, if GitHub has not named that job yet.
    pub fn unmatched_since(&self) -> Option<Timestamp> {
        let ran = self.told.done.and_then(|(at, ran)| ran.then_some(at));
        if self.job.is_some() { None } else { self.told.busy_at.or(ran) }
    }

    /// When its job ended, says GitHub, if it goes on as if it had one.
    pub fn overstays_since(&self) -> Option<Timestamp> {
        if matches!(self.phase(), MachinePhase::Busy(_)) { self.job_over_at } else { None }
    }

    /// Whether the cloud took it from under its runner: it is gone, by nothing of ours, and its agent has told of no end.
    /// That a job has shut it down looks the same.
    pub fn was_taken(&self) -> bool {
        let told_an_end = self.told.done.is_some() || self.told.drained_at.is_some() || self.failed.is_some();
        self.gone_at.is_some() && self.terminate_at.is_none() && !told_an_end
    }

    /// Whether it counts as launched and not terminated.
    pub fn is_live(&self) -> bool {
        self.gone_at.is_none()
    }
}

/// A number of sessions, or whether the first may register.
fn sessions<'de, D: Deserializer<'de>>(row: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Last(u32),
        First(bool),
    }
    Ok(match Told::deserialize(row)? {
        Told::Last(session) => session,
        Told::First(may) => u32::from(may),
    })
}

fn first(known: Option<Timestamp>, new: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(new, |known| known.min(new)))
}
