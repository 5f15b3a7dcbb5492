//! A simulated machine's agent over TCP: the claim, then reports, with the real sealing.
//!
//! Invariant: every change of state is reported, in order, until the door has taken it; only a long poll is given up for
//! the next one.

use std::time::Duration;

use muster_core::ids::InstanceId;
use muster_core::protocol::{AgentState, ClaimAnswer, ClaimRequest, ReportAnswer, ReportRequest, SessionProof};
use muster_sim::Claimed;
use muster_webhook::clock::Clock;
use muster_webhook::seal::{KeyPair, SealPurpose};
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::pump::Outside;
use super::random_hex;

/// The longest long poll, in seconds of the door's clock.
const WAIT_S: u32 = 25;
/// After a lost answer, or one that says to come back.
const RETRY: Duration = Duration::from_secs(2);

/// One agent, for one session.
pub(super) struct Agent {
    outside: Outside,
    instance: InstanceId,
    session: u32,
    former: Option<SessionProof>,
    proof_out: watch::Sender<Option<SessionProof>>,
    keys: KeyPair,
    seen_order: u32,
}

enum Heard<T> {
    Answer(T),
    Again,
    No(StatusCode),
}

impl Agent {
    pub(super) fn new(
        outside: Outside,
        instance: InstanceId,
        session: u32,
        former: Option<SessionProof>,
        proof_out: watch::Sender<Option<SessionProof>>,
    ) -> Agent {
        Agent { outside, instance, session, former, proof_out, keys: KeyPair::generate(), seen_order: 0 }
    }

    /// Claims, then reports whatever state comes in, until there is nothing more to say.
    pub(super) async fn run(mut self, mut states: mpsc::UnboundedReceiver<AgentState>) {
        let Some(proof) = self.claim().await else {
            self.outside.universe.lock().claimed(&self.instance, Claimed::Refused);
            return;
        };
        self.proof_out.send_replace(Some(proof.clone()));
        let mut state = AgentState::Ready;
        loop {
            while let Ok(next) = states.try_recv() {
                if !self.report(&proof, &next, 0).await || is_last(&next) {
                    return;
                }
                state = next;
            }
            let wait = if polls(&state) { WAIT_S } else { 0 };
            tokio::select! {
                biased;
                next = states.recv() => match next {
                    Some(next) => {
                        if !self.report(&proof, &next, 0).await || is_last(&next) {
                            return;
                        }
                        state = next;
                    }
                    None => return,
                },
                alive = self.report(&proof, &state, wait), if wait > 0 => {
                    if !alive {
                        return;
                    }
                }
            }
        }
    }

    async fn claim(&mut self) -> Option<SessionProof> {
        let nonce = random_hex::<16>()?;
        loop {
            let now = self.outside.clock.now();
            let request = ClaimRequest {
                proof: match &self.former {
                    Some(_) => std::collections::BTreeMap::new(),
                    None => self.outside.identity.prove(&self.instance, now),
                },
                former: self.former.clone(),
                nonce: nonce.clone(),
                public_key: self.keys.public_hex(),
                wait_s: WAIT_S,
                agent: Some("sim".to_owned()),
            };
            self.outside.counts.claim.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match self.post::<ClaimAnswer>("claim", &request).await {
                Heard::Answer(answer) => return self.accepted(&answer),
                Heard::Again => self.outside.clock.sleep(RETRY).await,
                Heard::No(status) => {
                    debug!(target: "muster::sim", instance = %self.instance, %status, "the claim was refused");
                    return None;
                }
            }
        }
    }

    fn accepted(&mut self, answer: &ClaimAnswer) -> Option<SessionProof> {
        self.session = answer.session;
        let token = self.open(SealPurpose::Session, &answer.sealed_session)?;
        let token = String::from_utf8(token).ok()?;
        let config = answer.sealed_config.as_deref().and_then(|sealed| self.open(SealPurpose::RunnerConfig, sealed));
        let claimed = config.map_or(Claimed::Wait, Claimed::Config);
        self.outside.universe.lock().claimed(&self.instance, claimed);
        Some(SessionProof { instance: self.instance.clone(), session: answer.session, token })
    }

    fn open(&self, purpose: SealPurpose, sealed: &str) -> Option<Vec<u8>> {
        self.keys.open(purpose, &self.instance, self.session, sealed).ok()
    }

    /// Reports a state until the door has taken it, and does what it answers. `false`: the door knows this session no more.
    async fn report(&mut self, proof: &SessionProof, state: &AgentState, wait_s: u32) -> bool {
        loop {
            let request =
                ReportRequest { from: proof.clone(), state: state.clone(), wait_s, seen_order: self.seen_order };
            self.outside.counts.report.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match self.post::<ReportAnswer>("report", &request).await {
                Heard::Answer(answer) => {
                    let config = answer.sealed_config.as_deref();
                    let config = config.and_then(|sealed| self.open(SealPurpose::RunnerConfig, sealed));
                    let mut universe = self.outside.universe.lock();
                    if let Some(config) = config {
                        universe.claimed(&self.instance, Claimed::Config(config));
                    }
                    if let Some(numbered) = answer.order {
                        self.seen_order = numbered.seq;
                        universe.ordered(&self.instance, numbered.order);
                    }
                    return true;
                }
                Heard::Again => self.outside.clock.sleep(RETRY).await,
                Heard::No(_) => return false,
            }
        }
    }

    async fn post<T: DeserializeOwned>(&self, what: &str, body: &impl Serialize) -> Heard<T> {
        let url = format!("{}/runners/{what}", self.outside.door);
        match self.outside.http.post(url).json(body).send().await {
            Ok(answer) if answer.status().is_success() => match answer.json().await {
                Ok(heard) => Heard::Answer(heard),
                Err(_) => Heard::Again,
            },
            Ok(answer) if answer.status().is_server_error() || answer.status() == StatusCode::TOO_EARLY => Heard::Again,
            // A proof that was too long on its way is made anew.
            Ok(answer) if what == "claim" && answer.status() == StatusCode::UNAUTHORIZED => Heard::Again,
            Ok(answer) => Heard::No(answer.status()),
            Err(_) => Heard::Again,
        }
    }
}

/// Whether an agent in this state holds a long poll.
fn polls(state: &AgentState) -> bool {
    match state {
        AgentState::Ready | AgentState::Listening | AgentState::Frozen { .. } | AgentState::Thawed { .. } => true,
        AgentState::Busy
        | AgentState::Done { .. }
        | AgentState::Drained
        | AgentState::Interrupted
        | AgentState::Failed { .. } => false,
    }
}

/// Whether nothing comes after this state in its session.
fn is_last(state: &AgentState) -> bool {
    match state {
        AgentState::Done { .. } | AgentState::Drained | AgentState::Failed { .. } => true,
        AgentState::Ready
        | AgentState::Listening
        | AgentState::Busy
        | AgentState::Frozen { .. }
        | AgentState::Thawed { .. }
        | AgentState::Interrupted => false,
    }
}
