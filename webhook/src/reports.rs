//! Reports: how a machine is, and the wait for what it is to do next.
//!
//! What lives here: the token check, which state is a fact, and the wait for an order or a configuration. What may not:
//! what an order is for.
//!
//! Invariant: a report is stored before it is answered. It changes nothing but facts, the lease, and the disappearance
//! of a configuration that has been used.

use std::sync::Arc;

use muster_core::claim::ClaimRow;
use muster_core::fact::{Fact, FactBody};
use muster_core::machine::{MachineEvent, Report};
use muster_core::ports::{Put, Store, StoreError};
use muster_core::protocol::{AgentState, ReportAnswer, ReportRequest};
use thiserror::Error;

use crate::bell::Bell;
use crate::clock::Clock;
use crate::format::{self, BadField};
use crate::handover::Handover;
use crate::token;
use crate::wait::Wait;
use crate::wakers::Wakers;

/// Why a report is not taken.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A field is not what the protocol says.
    #[error(transparent)]
    BadField(#[from] BadField),
    /// No such session, or not its token. The text is for the log alone.
    #[error("not proven: {0}")]
    NotProven(String),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The receiving end of reports.
pub struct Reports<S, C> {
    store: Arc<S>,
    handover: Handover<S>,
    clock: Arc<C>,
    bell: Arc<dyn Bell>,
    wakers: Arc<Wakers>,
}

impl<S: Store, C: Clock> Reports<S, C> {
    /// The receiving end over these ports. `bell` wakes the scaler.
    pub fn new(handover: Handover<S>, clock: Arc<C>, bell: Arc<dyn Bell>, wakers: Arc<Wakers>) -> Reports<S, C> {
        let store = handover.store();
        Reports { store, handover, clock, bell, wakers }
    }

    /// Takes in one report. An idle machine's is held back up to `wait_s` until there is an order, or a configuration for
    /// a `ready` one; others are answered at once. Reports of machines that are ending or gone are taken like any other.
    ///
    /// # Errors
    /// [`ReportError`]; after [`ReportError::Store`] the same report should be sent again.
    pub async fn report(&self, request: &ReportRequest) -> Result<ReportAnswer, ReportError> {
        format::report(request)?;
        let came_at = self.clock.now();
        let from = &request.from;
        let Some(row) = token::session(&*self.store, from).await? else {
            return Err(ReportError::NotProven(format!("{}: no such session, or another token", from.instance)));
        };

        let now = self.clock.now();
        if let Some(report) = report(&request.state) {
            let event = MachineEvent { instance: row.instance.clone(), session: row.session, at: now, report };
            let put = self.store.put_fact(&Fact { received_at: now, body: FactBody::Machine(event) }).await?;
            if put == Put::New {
                self.bell.ring();
            }
        }
        self.store.touch_lease(&row.instance, now).await?;
        if row.sealed_config.is_some() && has_used_config(&request.state) {
            self.store.drop_config(&row.instance, row.session).await?;
        }

        let wait_s = if waits(&request.state) { request.wait_s } else { 0 };
        let mut wait = Wait::begin(&*self.clock, &self.wakers, &row.instance, wait_s, came_at);
        loop {
            if let Some(news) = self.news(&row, request).await? {
                return Ok(news);
            }
            if !wait.again().await {
                return Ok(ReportAnswer::default());
            }
        }
    }

    /// What there is to tell this machine.
    async fn news(&self, row: &ClaimRow, request: &ReportRequest) -> Result<Option<ReportAnswer>, StoreError> {
        let order = self.store.order(&row.instance).await?.filter(|order| order.seq > request.seen_order);
        let configured = match request.state {
            AgentState::Ready => {
                let row = self.store.claim(&row.instance).await?.filter(|now| now.session == row.session);
                self.handover.configured(row, self.clock.now()).await?
            }
            AgentState::Listening
            | AgentState::Busy
            | AgentState::Done { .. }
            | AgentState::Frozen { .. }
            | AgentState::Thawed { .. }
            | AgentState::Drained
            | AgentState::Interrupted
            | AgentState::Failed { .. } => None,
        };
        let (sealed_config, options) = configured.map(|one| (one.sealed, one.options)).unzip();
        let some = order.is_some() || sealed_config.is_some();
        Ok(some.then_some(ReportAnswer { sealed_config, options, order }))
    }
}

/// The fact that a state is. `ready` is none: the claim has said so.
fn report(state: &AgentState) -> Option<Report> {
    Some(match state {
        AgentState::Ready => return None,
        AgentState::Listening => Report::Listening,
        AgentState::Busy => Report::Busy,
        AgentState::Done { ran_job } => Report::Done { ran_job: *ran_job },
        AgentState::Frozen { number } => Report::Frozen { order: *number },
        AgentState::Thawed { number } => Report::Thawed { order: *number },
        AgentState::Drained => Report::Drained,
        AgentState::Interrupted => Report::Interrupted,
        AgentState::Failed { .. } => Report::Failed { why: format::last_words(state).unwrap_or_default().into() },
    })
}

/// Whether the runner has its configuration by then, so that nobody needs it any more.
fn has_used_config(state: &AgentState) -> bool {
    match state {
        AgentState::Ready | AgentState::Interrupted => false,
        AgentState::Listening
        | AgentState::Busy
        | AgentState::Done { .. }
        | AgentState::Frozen { .. }
        | AgentState::Thawed { .. }
        | AgentState::Drained
        | AgentState::Failed { .. } => true,
    }
}

/// Whether the state is one in which an agent holds a long poll.
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
