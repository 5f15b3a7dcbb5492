//! The door's routes.
//!
//! What lives here: paths, body limits, and the log lines and counts of what was refused. What may not: any decision.
//! Time-outs for headers and idle connections are the server's: whoever serves this router must set them, with at least
//! 30 s for a whole request, because agents hold long polls.
//!
//! Invariant: no body, proof, token or secret reaches a log line.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use muster_core::identity::Identity;
use muster_core::log_shelf::LogShelf;
use muster_core::metric;
use muster_core::ports::Store;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::answer::{self, Answer, to_response};
use crate::bell::Bell;
use crate::body::{self, BodyError, RUNNER_BYTES_MAX, WEBHOOK_BYTES_MAX};
use crate::claims::{ClaimError, Claims};
use crate::clock::Clock;
use crate::delivery::DeliveryHeaders;
use crate::handover::Handover;
use crate::intake::Ignored;
use crate::live::LiveConfig;
use crate::logs::{LogError, Logs};
use crate::prewarmed::{PrewarmedError, Prewarms};
use crate::pulse::Pulse;
use crate::reports::{ReportError, Reports};
use crate::seal::Sealer;
use crate::signature::Secrets;
use crate::wakers::Wakers;
use crate::webhook::{Outcome, WebhookError, Webhooks};

/// A delivery's body must be here within this long: GitHub ends a delivery after 10 s.
const BODY_WITHIN: Duration = Duration::from_secs(20);
/// How long a health check waits for the ledger.
const HEALTH_WAIT: Duration = Duration::from_secs(2);
/// The version that `/healthz` tells.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The tracing target of what is not an event.
const TARGET: &str = "muster::door";

/// What a door is made of.
pub struct DoorParts<S, I, C> {
    /// The ledger.
    pub store: Arc<S>,
    /// The identity check of claims.
    pub identity: Arc<I>,
    /// The clock of everything.
    pub clock: Arc<C>,
    /// Webhook secrets.
    pub secrets: Arc<Secrets>,
    /// The configuration in force.
    pub config: Arc<LiveConfig>,
    /// Tokens and sealing.
    pub sealer: Arc<dyn Sealer>,
    /// Wakes the scaler.
    pub bell: Arc<dyn Bell>,
    /// Wakes the registrar.
    pub registrar: Arc<dyn Bell>,
    /// Wakes agents' long polls.
    pub wakers: Arc<Wakers>,
    /// How the scaler is, where it runs in the same process.
    pub pulse: Option<Arc<Pulse>>,
}

/// Whom a door serves. Agents hold their requests for up to 25 s; where they and GitHub would share a few connections, each
/// gets a door of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// GitHub and agents.
    All,
    /// GitHub alone: webhooks.
    Github,
    /// Agents alone.
    Agents,
}

/// The door.
pub struct Door<S, I, C> {
    store: Arc<S>,
    clock: Arc<C>,
    config: Arc<LiveConfig>,
    pulse: Option<Arc<Pulse>>,
    webhooks: Webhooks<S, C>,
    claims: Claims<S, I, C>,
    reports: Reports<S, C>,
    prewarms: Prewarms<S, I, C>,
    logs: Logs<S>,
}

impl<S, I, C> Door<S, I, C>
where
    S: Store + 'static,
    I: Identity + 'static,
    C: Clock + 'static,
{
    /// A door of these parts.
    pub fn new(parts: DoorParts<S, I, C>) -> Door<S, I, C> {
        let DoorParts { store, identity, clock, secrets, config, sealer, bell, registrar, wakers, pulse } = parts;
        let handover = || Handover::new(store.clone(), config.clone());
        Door {
            prewarms: Prewarms::new(store.clone(), identity.clone(), clock.clone(), bell.clone()),
            webhooks: Webhooks::new(store.clone(), clock.clone(), secrets, config.clone(), bell.clone()),
            claims: Claims::new(handover(), identity, clock.clone(), sealer, bell.clone(), registrar, wakers.clone()),
            logs: Logs::new(store.clone(), config.clone(), None),
            reports: Reports::new(handover(), clock.clone(), bell, wakers),
            store,
            clock,
            config,
            pulse,
        }
    }

    /// With a place for machines' logs.
    pub fn with_logs(mut self, shelf: Arc<dyn LogShelf>) -> Door<S, I, C> {
        self.logs = Logs::new(self.store.clone(), self.config.clone(), Some(shelf));
        self
    }

    /// Webhooks, without HTTP.
    pub fn webhooks(&self) -> &Webhooks<S, C> {
        &self.webhooks
    }

    /// Claims, without HTTP.
    pub fn claims(&self) -> &Claims<S, I, C> {
        &self.claims
    }

    /// Reports, without HTTP.
    pub fn reports(&self) -> &Reports<S, C> {
        &self.reports
    }

    /// All routes.
    pub fn router(self) -> Router {
        self.router_for(Serves::All)
    }

    /// The routes of those whom it serves, and `/healthz`.
    pub fn router_for(self, serves: Serves) -> Router {
        let mut routes = Router::new().route("/healthz", get(healthz::<S, I, C>));
        if matches!(serves, Serves::All | Serves::Github) {
            routes = routes.route("/webhook", post(webhook::<S, I, C>));
        }
        if matches!(serves, Serves::All | Serves::Agents) {
            routes = routes
                .route("/runners/claim", post(claim::<S, I, C>))
                .route("/runners/report", post(report::<S, I, C>))
                .route("/runners/prewarmed", post(prewarmed::<S, I, C>))
                .route("/runners/logs", post(log::<S, I, C>));
        }
        routes
            .fallback(async || to_response(Answer::no_such_path()))
            .method_not_allowed_fallback(async || to_response(Answer::no_such_method()))
            .with_state(Arc::new(self))
    }
}

async fn webhook<S, I, C>(State(door): State<Arc<Door<S, I, C>>>, headers: HeaderMap, body: Body) -> Response
where
    S: Store + 'static,
    I: Identity + 'static,
    C: Clock + 'static,
{
    let read = async {
        match DeliveryHeaders::from_http(&headers).signature.plausible() {
            Ok(()) => body::read(body, WEBHOOK_BYTES_MAX).await.map(Ok),
            // It cannot be believed whatever it says: read to its end, so that the answer is heard, but not kept.
            Err(signature) => body::drain(body, WEBHOOK_BYTES_MAX).await.map(|()| Err(signature)),
        }
    };
    let body = match tokio::time::timeout(BODY_WITHIN, read).await {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(signature))) => {
            let refused = Err(WebhookError::Signature(signature));
            note_webhook(&refused, &DeliveryHeaders::from_http(&headers));
            return to_response(answer::webhook(&refused));
        }
        Ok(Err(e)) => {
            rejected(match e {
                BodyError::TooLarge => "too_large",
                BodyError::Broken => "broken_body",
            });
            return no_body(e, WEBHOOK_BYTES_MAX);
        }
        Err(_) => {
            rejected("body_too_slow");
            return to_response(Answer::slow_body(BODY_WITHIN));
        }
    };
    // A task of its own: GitHub hangs up after 10 s, and a fact that is stored by then must be told to the scaler too.
    let receiving = tokio::spawn(async move {
        let delivery = DeliveryHeaders::from_http(&headers);
        let result = door.webhooks.receive(&delivery, &body).await;
        note_webhook(&result, &delivery);
        to_response(answer::webhook(&result))
    });
    receiving.await.unwrap_or_else(|_| to_response(Answer::own_fault()))
}

fn note_webhook(result: &Result<Outcome, WebhookError>, headers: &DeliveryHeaders<'_>) {
    let delivery = headers.delivery;
    match result {
        Ok(Outcome::Stored(_)) => {}
        Ok(Outcome::Ignored(Ignored::Foreign(foreign))) => {
            rejected(foreign.kind());
            tracing::info!(target: TARGET, delivery, reason = foreign.kind(), "delivery of strangers ignored");
        }
        Ok(Outcome::Ignored(Ignored::Event(event))) => {
            tracing::info!(target: TARGET, delivery, event = event.as_str(), "event ignored");
        }
        Ok(Outcome::Ignored(Ignored::Action(action))) => {
            tracing::warn!(target: TARGET, delivery, action = action.as_str(), "unknown action ignored");
        }
        Err(e @ WebhookError::NotStored(_)) => {
            rejected(e.kind());
            tracing::error!(target: TARGET, delivery, error = %e, "delivery not stored");
        }
        Err(
            e @ (WebhookError::Signature(_)
            | WebhookError::FormEncoded
            | WebhookError::NoEvent
            | WebhookError::Payload(_)),
        ) => {
            rejected(e.kind());
            tracing::warn!(target: TARGET, delivery, reason = e.kind(), error = %e, "delivery refused");
        }
    }
}

fn rejected(reason: &'static str) {
    metrics::counter!(metric::WEBHOOKS_REJECTED, metric::dimension::REASON => reason).increment(1);
}

async fn claim<S, I, C>(State(door): State<Arc<Door<S, I, C>>>, body: Body) -> Response
where
    S: Store + 'static,
    I: Identity + 'static,
    C: Clock + 'static,
{
    let request = match agent_body(body).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let result = door.claims.claim(&request).await;
    match &result {
        Ok(answer) => {
            let (instance, session) = (&answer.instance, answer.session);
            let configured = answer.sealed_config.is_some();
            tracing::info!(target: TARGET, %instance, session, configured, "claim answered");
        }
        Err(e @ (ClaimError::Store(_) | ClaimError::Seal(_) | ClaimError::IdentityUnavailable(_))) => {
            tracing::error!(target: TARGET, error = %e, "claim failed");
        }
        Err(e @ (ClaimError::BadField(_) | ClaimError::NotProven(_) | ClaimError::Taken)) => {
            tracing::warn!(target: TARGET, error = %e, "claim refused");
        }
        Err(e @ (ClaimError::TooEarly(_) | ClaimError::Over(_))) => {
            tracing::info!(target: TARGET, error = %e, "claim answered with no");
        }
    }
    to_response(answer::claim(&result))
}

async fn report<S, I, C>(State(door): State<Arc<Door<S, I, C>>>, body: Body) -> Response
where
    S: Store + 'static,
    I: Identity + 'static,
    C: Clock + 'static,
{
    let request = match agent_body(body).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let result = door.reports.report(&request).await;
    match &result {
        Ok(_) => {}
        Err(e @ ReportError::Store(_)) => tracing::error!(target: TARGET, error = %e, "report failed"),
        Err(e @ (ReportError::BadField(_) | ReportError::NotProven(_))) => {
            tracing::warn!(target: TARGET, error = %e, "report refused");
        }
    }
    to_response(answer::report(&result))
}

async fn prewarmed<S, I, C>(State(door): State<Arc<Door<S, I, C>>>, body: Body) -> Response
where
    S: Store + 'static,
    I: Identity + 'static,
    C: Clock + 'static,
{
    let request = match agent_body(body).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let result = door.prewarms.hear(&request).await;
    match &result {
        Ok(()) => {}
        Err(e @ (PrewarmedError::Store(_) | PrewarmedError::IdentityUnavailable(_))) => {
            tracing::error!(target: TARGET, error = %e, "not heard that a machine is warm");
        }
        Err(e @ (PrewarmedError::BadField(_) | PrewarmedError::NotProven(_))) => {
            tracing::warn!(target: TARGET, error = %e, "refused to hear that a machine is warm");
        }
    }
    to_response(answer::prewarmed(&result))
}

async fn log<S, I, C>(State(door): State<Arc<Door<S, I, C>>>, body: Body) -> Response
where
    S: Store + 'static,
    I: Identity + 'static,
    C: Clock + 'static,
{
    let request = match agent_body(body).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let result = door.logs.ask(&request).await;
    match &result {
        Ok(answer) => {
            let (instance, kind, bytes) = (&request.from.instance, request.kind.as_str(), answer.bytes);
            tracing::info!(target: TARGET, %instance, session = request.from.session, kind, bytes, "a log may be put");
        }
        Err(LogError::Off) => {}
        Err(e @ (LogError::Store(_) | LogError::NotSigned(_))) => {
            tracing::error!(target: TARGET, error = %e, "no address for a log");
        }
        Err(e @ (LogError::BadField(_) | LogError::NotProven(_))) => {
            tracing::warn!(target: TARGET, error = %e, "an address for a log refused");
        }
    }
    to_response(answer::log(&result))
}

async fn agent_body<T: DeserializeOwned>(body: Body) -> Result<T, Response> {
    let body = body::read(body, RUNNER_BYTES_MAX).await.map_err(|e| match e {
        BodyError::TooLarge => to_response(Answer::agent_too_large(RUNNER_BYTES_MAX)),
        BodyError::Broken => to_response(Answer::broken_body()),
    })?;
    let mut json = serde_json::Deserializer::from_slice(&body);
    let read = serde_path_to_error::deserialize(&mut json);
    let read = read.map_err(|e| (e.path().to_string(), e.into_inner()));
    let read = read.and_then(|read| json.end().map(|()| read).map_err(|e| (".".to_owned(), e)));
    read.map_err(|(path, e)| to_response(Answer::bad_body(&path, &e)))
}

fn no_body(error: BodyError, limit: usize) -> Response {
    to_response(match error {
        BodyError::TooLarge => Answer::too_large(limit),
        BodyError::Broken => Answer::broken_body(),
    })
}

async fn healthz<S, I, C>(State(door): State<Arc<Door<S, I, C>>>) -> Response
where
    S: Store + 'static,
    I: Identity + 'static,
    C: Clock + 'static,
{
    let ledger = tokio::select! {
        answer = async { (door.store.generation().await.err(), door.webhooks.trouble().await) } => {
            answer.0.or(answer.1).map(|e| e.to_string())
        }
        () = door.clock.sleep(HEALTH_WAIT) => Some("the ledger does not answer".to_owned()),
    };
    let config = door.config.problem().map(|why| format!("the latest configuration was refused: {why}"));
    let scaler = door.pulse.as_ref().and_then(|pulse| pulse.trouble(door.clock.now()));
    let wrong: Vec<String> = ledger.into_iter().chain(config).chain(scaler).collect();
    to_response(match wrong.is_empty() {
        true => Answer::new(StatusCode::OK, json!({ "version": VERSION })),
        false => {
            let mut answer = Answer::error(
                StatusCode::SERVICE_UNAVAILABLE,
                wrong.join("; "),
                "mend what is named; the last good configuration stays in force meanwhile",
            );
            answer.body["version"] = VERSION.into();
            answer
        }
    })
}
