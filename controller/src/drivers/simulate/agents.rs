//! The agents' side of the protocol in virtual time: what the universe says is put as a claim or a report to the door's own
//! logic, and what the door answers is handed back.

use std::collections::BTreeMap;

use muster_core::claim::Order;
use muster_core::ids::InstanceId;
use muster_core::ports::Store;
use muster_core::protocol::{AgentState, ClaimRequest, ReportAnswer, ReportRequest, SessionProof};
use muster_core::time::Timestamp;
use muster_sim::{Claimed, SimIdentity};
use muster_webhook::claims::ClaimError;
use muster_webhook::reports::ReportError;

use super::plain;
use super::process::{Door, identity};
use super::{RETRY, SimulateError, at_once};

/// What an agent remembers.
struct Agent {
    proof: SessionProof,
    state: AgentState,
    seen_order: u32,
}

/// What all agents remember, by instance. It outlives the process that they speak to.
#[derive(Default)]
pub(super) struct Memories(BTreeMap<InstanceId, Agent>);

/// What an agent hears in answer to a report.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) order: Option<Order>,
    /// Its configuration, opened.
    pub(super) config: Option<Vec<u8>>,
}

/// All agents, and the door that they speak to.
pub(super) struct Agents<S> {
    door: Door<S>,
    identity: SimIdentity,
    agents: BTreeMap<InstanceId, Agent>,
}

impl<S: Store> Agents<S> {
    pub(super) fn new(door: Door<S>, memories: Memories) -> Agents<S> {
        Agents { door, identity: identity(), agents: memories.0 }
    }

    /// What is left when the door is gone.
    pub(super) fn into_memories(self) -> Memories {
        Memories(self.agents)
    }

    /// All that have something to say still.
    pub(super) fn all(&self) -> Vec<InstanceId> {
        self.agents.keys().cloned().collect()
    }

    /// Claims, and returns what the agent hears.
    pub(super) fn claim(
        &mut self,
        instance: &InstanceId,
        session: u32,
        now: Timestamp,
    ) -> Result<Claimed, SimulateError> {
        let former = self.agents.get(instance).map(|agent| agent.proof.clone()).filter(|proof| proof.session < session);
        let request = ClaimRequest {
            proof: if former.is_none() { self.identity.prove(instance, now) } else { BTreeMap::new() },
            former,
            nonce: format!("{session:032x}"),
            public_key: format!("{:064x}", u64::from(session) + 9),
            wait_s: 0,
            agent: None,
        };
        let answer = match at_once("the claim", self.door.claims.claim(&request))? {
            Ok(answer) => answer,
            Err(ClaimError::Store(error)) => return Err(error.into()),
            Err(ClaimError::TooEarly(_)) => return Ok(Claimed::Retry(RETRY)),
            Err(_) => return Ok(Claimed::Refused),
        };
        let token =
            plain::open(&answer.sealed_session).and_then(|token| String::from_utf8(token).ok()).unwrap_or_default();
        let proof = SessionProof { instance: instance.clone(), session: answer.session, token };
        self.agents.insert(instance.clone(), Agent { proof, state: AgentState::Ready, seen_order: 0 });
        Ok(answer.sealed_config.as_deref().and_then(plain::open).map_or(Claimed::Wait, Claimed::Config))
    }

    /// Reports a state, and returns what the door answers.
    pub(super) fn report(
        &mut self,
        instance: &InstanceId,
        session: u32,
        state: AgentState,
    ) -> Result<Heard, SimulateError> {
        match self.agents.get_mut(instance) {
            Some(agent) if agent.proof.session == session => agent.state = state,
            Some(_) | None => return Ok(Heard::default()),
        }
        self.ask(instance)
    }

    /// Says how an agent is, once more or for the first time, and returns what the door answers.
    pub(super) fn ask(&mut self, instance: &InstanceId) -> Result<Heard, SimulateError> {
        let Some(agent) = self.agents.get_mut(instance) else { return Ok(Heard::default()) };
        let request = ReportRequest {
            from: agent.proof.clone(),
            state: agent.state.clone(),
            wait_s: 0,
            seen_order: agent.seen_order,
        };
        let answer = match at_once("the report", self.door.reports.report(&request))? {
            Ok(answer) => answer,
            Err(ReportError::Store(error)) => return Err(error.into()),
            Err(ReportError::BadField(_) | ReportError::NotProven(_)) => {
                self.agents.remove(instance);
                return Ok(Heard::default());
            }
        };
        if let Some(numbered) = &answer.order {
            agent.seen_order = numbered.seq;
        }
        if over(&agent.state) {
            self.agents.remove(instance);
        }
        let ReportAnswer { sealed_config, order, options: _ } = answer;
        Ok(Heard {
            order: order.map(|numbered| numbered.order),
            config: sealed_config.as_deref().and_then(plain::open),
        })
    }
}

/// Whether an agent says nothing more after this.
fn over(state: &AgentState) -> bool {
    match state {
        AgentState::Done { ran_job } => *ran_job,
        AgentState::Drained | AgentState::Failed { .. } => true,
        AgentState::Ready
        | AgentState::Listening
        | AgentState::Busy
        | AgentState::Frozen { .. }
        | AgentState::Thawed { .. }
        | AgentState::Interrupted => false,
    }
}
