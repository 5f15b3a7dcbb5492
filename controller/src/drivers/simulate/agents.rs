//! The agents' side of the protocol in virtual time: what the universe says is put as a claim or a report to the door's own
//! logic, and what the door answers is handed back.

use std::collections::BTreeMap;

use muster_core::claim::Order;
use muster_core::ids::InstanceId;
use muster_core::ports::Store;
use muster_core::protocol::{AgentState, ClaimRequest, ReportAnswer, ReportRequest, SessionProof};
use muster_core::time::Timestamp;
use muster_sim::{Claimed, SimIdentity};
use muster_webhook::claims::{ClaimError, Claims};
use muster_webhook::reports::Reports;

use super::plain;
use super::{RETRY, SimulateError, at_once};
use crate::clock::VirtualClock;

/// What an agent remembers.
struct Agent {
    proof: SessionProof,
    state: AgentState,
    seen_order: u32,
}

/// All agents, by instance.
pub(super) struct Agents<S> {
    claims: Claims<S, SimIdentity, VirtualClock>,
    reports: Reports<S, VirtualClock>,
    identity: SimIdentity,
    agents: BTreeMap<InstanceId, Agent>,
}

impl<S: Store> Agents<S> {
    pub(super) fn new(
        claims: Claims<S, SimIdentity, VirtualClock>,
        reports: Reports<S, VirtualClock>,
        identity: SimIdentity,
    ) -> Agents<S> {
        Agents { claims, reports, identity, agents: BTreeMap::new() }
    }

    /// Speaks to another process of the same door from here on.
    pub(super) fn reconnect(
        &mut self,
        claims: Claims<S, SimIdentity, VirtualClock>,
        reports: Reports<S, VirtualClock>,
    ) {
        self.claims = claims;
        self.reports = reports;
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
        let answer = match at_once("the claim", self.claims.claim(&request))? {
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

    /// Reports a state, and returns the order that the door answers with.
    pub(super) fn report(
        &mut self,
        instance: &InstanceId,
        session: u32,
        state: AgentState,
    ) -> Result<Option<Order>, SimulateError> {
        match self.agents.get_mut(instance) {
            Some(agent) if agent.proof.session == session => agent.state = state,
            Some(_) | None => return Ok(None),
        }
        Ok(self.say(instance)?.and_then(|answer| answer.order).map(|numbered| numbered.order))
    }

    /// The agent's long poll is answered: is there an order?
    pub(super) fn ask(&mut self, instance: &InstanceId) -> Result<Option<Order>, SimulateError> {
        Ok(self.say(instance)?.and_then(|answer| answer.order).map(|numbered| numbered.order))
    }

    /// The configuration that waits for an agent, opened.
    pub(super) fn config(&mut self, instance: &InstanceId) -> Result<Option<Vec<u8>>, SimulateError> {
        let answer = self.say(instance)?;
        Ok(answer.and_then(|answer| answer.sealed_config).as_deref().and_then(plain::open))
    }

    fn say(&mut self, instance: &InstanceId) -> Result<Option<ReportAnswer>, SimulateError> {
        let Some(agent) = self.agents.get_mut(instance) else { return Ok(None) };
        let request = ReportRequest {
            from: agent.proof.clone(),
            state: agent.state.clone(),
            wait_s: 0,
            seen_order: agent.seen_order,
        };
        let answer = match at_once("the report", self.reports.report(&request))? {
            Ok(answer) => answer,
            Err(muster_webhook::reports::ReportError::Store(error)) => return Err(error.into()),
            Err(_) => {
                self.agents.remove(instance);
                return Ok(None);
            }
        };
        if let Some(numbered) = &answer.order {
            agent.seen_order = numbered.seq;
        }
        if over(&agent.state) {
            self.agents.remove(instance);
        }
        Ok(Some(answer))
    }
}

/// Whether an agent says nothing more after this.
fn over(state: &AgentState) -> bool {
    match state {
        AgentState::Done { ran_job } => *ran_job,
        AgentState::Drained | AgentState::Failed { .. } => true,
        AgentState::Prewarmed
        | AgentState::Ready
        | AgentState::Listening
        | AgentState::Busy
        | AgentState::Frozen { .. }
        | AgentState::Thawed { .. }
        | AgentState::Interrupted => false,
    }
}
