//! The simulated outside in real time: what comes out of the universe is carried to the door over TCP, as GitHub and the
//! agents would: webhooks signed, claims and reports by the protocol.
//!
//! What lives here: the loop, and the webhook sender. What may not: the universe's rules; the agents' side of the protocol
//! is in `agent`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use muster_core::ids::InstanceId;
use muster_core::protocol::{AgentState, SessionProof};
use muster_sim::{Installation, Output, SharedUniverse, SimIdentity, TraceError, Webhook};
use muster_webhook::clock::Clock;
use sha2::Sha256;
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::agent;
use super::service::stopped;
use crate::clock::ScaledClock;

/// The longest that the loop waits on the wall before it looks again: others add events too.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A request to the door that takes longer on the wall has failed: above the longest long poll.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// Requests sent to the door, by route.
#[derive(Debug, Default)]
pub struct HttpCounts {
    /// `POST /webhook`.
    pub webhook: AtomicU64,
    /// `POST /runners/claim`.
    pub claim: AtomicU64,
    /// `POST /runners/report`.
    pub report: AtomicU64,
    /// Deliveries that were not answered with 2xx.
    pub webhook_failed: AtomicU64,
    /// The slowest delivery since it was last taken, microseconds on the wall.
    pub slowest_us: AtomicU64,
}

/// What the simulated outside needs.
#[derive(Clone)]
pub struct Outside {
    /// The universe, on `clock`.
    pub universe: SharedUniverse,
    /// The clock of everything.
    pub clock: ScaledClock,
    /// The door: `http://127.0.0.1:port`.
    pub door: Arc<str>,
    /// The webhook secret.
    pub secret: Arc<[u8]>,
    /// Makes the machines' proofs.
    pub identity: SimIdentity,
    /// Sends requests.
    pub http: reqwest::Client,
    /// Counts them.
    pub counts: Arc<HttpCounts>,
}

impl Outside {
    /// An outside that speaks to `door`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(
        universe: SharedUniverse,
        clock: ScaledClock,
        door: &str,
        secret: &[u8],
        identity: SimIdentity,
    ) -> Result<Outside, reqwest::Error> {
        // The door is on loopback: a proxy of the environment has no business with it.
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_MAX).build()?;
        let counts = Arc::new(HttpCounts::default());
        Ok(Outside { universe, clock, door: door.into(), secret: secret.into(), identity, http, counts })
    }

    /// Carries everything to the door until `stop`.
    ///
    /// # Errors
    /// The load does not read.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), TraceError> {
        let mut agents: HashMap<InstanceId, AgentHandle> = HashMap::new();
        let installation = Arc::new(Installation::default());
        while !*stop.borrow() {
            let (outputs, next_at) = self.due()?;
            for output in outputs {
                match output {
                    Output::Webhook(webhook) => {
                        tokio::spawn(self.clone().deliver(webhook, installation.clone()));
                    }
                    Output::Claim { instance, session } => {
                        agents.retain(|_, agent| !agent.inbox.is_closed());
                        let former = agents.remove(&instance).and_then(|agent| agent.proof.borrow().clone());
                        let (inbox, states) = mpsc::unbounded_channel();
                        let (proof_out, proof) = watch::channel(None);
                        let agent = agent::Agent::new(self.clone(), instance.clone(), session, former, proof_out);
                        tokio::spawn(agent.run(states));
                        agents.insert(instance, AgentHandle { inbox, proof });
                    }
                    Output::Report { instance, state, .. } => {
                        if let Some(agent) = agents.get(&instance) {
                            // An agent that has ended hears nothing more.
                            let _ = agent.inbox.send(state);
                        }
                    }
                }
            }
            let until = next_at.map_or(LOOK_EVERY, |at| self.clock.on_the_wall(at.since(self.clock.now())));
            tokio::select! {
                () = tokio::time::sleep(until.clamp(Duration::from_millis(1), LOOK_EVERY)) => {}
                () = stopped(stop.clone()) => {}
            }
        }
        Ok(())
    }

    fn due(&self) -> Result<(Vec<Output>, Option<muster_core::time::Timestamp>), TraceError> {
        let mut universe = self.universe.lock();
        let now = universe.now();
        let mut outputs = Vec::new();
        while let Some((_, output)) = universe.step(now)? {
            outputs.push(output);
        }
        Ok((outputs, universe.next_at()))
    }

    /// Sends one signed delivery. GitHub does not repeat one that failed, and neither does this.
    async fn deliver(self, webhook: Webhook, installation: Arc<Installation>) {
        let delivery = webhook.to_delivery(&installation);
        let mut request = self.http.post(format!("{}/webhook", self.door));
        for (name, value) in delivery.headers() {
            request = request.header(name, value);
        }
        request = request.header("x-hub-signature-256", signature(&self.secret, &delivery.body));
        self.counts.webhook.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        match request.body(delivery.body).send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => {
                self.counts.webhook_failed.fetch_add(1, Ordering::Relaxed);
                warn!(target: "muster::sim", status = %answer.status(), "the door refused a webhook");
            }
            Err(error) => {
                self.counts.webhook_failed.fetch_add(1, Ordering::Relaxed);
                debug!(target: "muster::sim", %error, "a webhook did not arrive");
            }
        }
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counts.slowest_us.fetch_max(took, Ordering::Relaxed);
    }
}

struct AgentHandle {
    inbox: mpsc::UnboundedSender<AgentState>,
    proof: watch::Receiver<Option<SessionProof>>,
}

/// `X-Hub-Signature-256` of a body.
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    // HMAC takes keys of every length; this cannot fail, and an empty signature is refused by every door.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}
