//! From outcomes to HTTP: the one place that knows status codes, sentences and remedies.
//!
//! What lives here: the table. What may not: a decision, a log line, a secret. The details that an error carries for our
//! log are not repeated to the caller.
//!
//! Invariant: every error is JSON with `error` and `remedy`, and every answer that asks to come back says when.

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::claims::{ClaimError, Early, Over, TOO_EARLY_RETRY};
use crate::format::BadField;
use crate::intake::Ignored;
use crate::logs::LogError;
use crate::prewarmed::PrewarmedError;
use crate::reports::ReportError;
use crate::signature::SignatureError;
use crate::webhook::{Outcome, WebhookError};

/// When to come back after an answer that blames our side.
pub const UNAVAILABLE_RETRY: Duration = Duration::from_secs(5);

/// One answer, before it is HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Value,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// A plain answer.
    pub fn new(status: StatusCode, body: Value) -> Answer {
        Answer { status, body, retry_after: None }
    }

    /// An error with its remedy.
    pub fn error(status: StatusCode, error: impl Into<String>, remedy: &str) -> Answer {
        Answer::new(status, json!({ "error": error.into(), "remedy": remedy }))
    }

    fn retry(mut self, after: Duration) -> Answer {
        self.body["retry_after_s"] = after.as_secs().into();
        self.retry_after = Some(after);
        self
    }

    /// A body that is longer than `limit` bytes.
    pub fn too_large(limit: usize) -> Answer {
        let remedy = "send less; a workflow_job delivery has some tens of kilobytes";
        Answer::error(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {limit} bytes"), remedy)
    }

    /// A body of an agent that is longer than `limit` bytes.
    pub fn agent_too_large(limit: usize) -> Answer {
        let remedy = "send less; a claim has a few kilobytes, most of them its proof";
        Answer::error(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {limit} bytes"), remedy)
    }

    /// A body that did not come within `limit`.
    pub fn slow_body(limit: Duration) -> Answer {
        let text = format!("the body did not come within {} s", limit.as_secs());
        Answer::error(StatusCode::REQUEST_TIMEOUT, text, "send it again, faster")
    }

    /// The door itself has failed.
    pub fn own_fault() -> Answer {
        let remedy = "send it again; if it stays so, report the log";
        Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the door failed; nothing is known to be stored", remedy)
            .retry(UNAVAILABLE_RETRY)
    }

    /// A body that could not be read to its end.
    pub fn broken_body() -> Answer {
        Answer::error(StatusCode::BAD_REQUEST, "the body broke off", "send it again")
    }

    /// A path that does not exist.
    pub fn no_such_path() -> Answer {
        let remedy = "the paths are POST /webhook, /runners/claim, /runners/report, /runners/prewarmed, /runners/logs, and GET /healthz";
        Answer::error(StatusCode::NOT_FOUND, "there is nothing here", remedy)
    }

    /// A method that the path does not take.
    pub fn no_such_method() -> Answer {
        let remedy = "GET /healthz, POST everything else";
        Answer::error(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method", remedy)
    }

    /// A body of an agent that is not what the protocol says, and the path of what is wrong in it. The parser's own text
    /// may quote the body: no more of it is used than the name of a field of ours that is missing.
    pub fn bad_body(path: &str, error: &serde_json::Error) -> Answer {
        let at = format!("line {}, column {}", error.line(), error.column());
        let said = error.to_string();
        let missing = said.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
        let text = if let Some((field, _)) = missing {
            let within = if path == "." { String::new() } else { format!(" in `{path}`") };
            format!("the field `{field}` is missing{within} ({at})")
        } else if error.is_data() && path == "." {
            format!("the body is JSON, but not an object with the fields of the protocol ({at})")
        } else if error.is_data() {
            format!("`{path}` is not of the type or not one of the words of the protocol ({at})")
        } else {
            format!("the body is not JSON ({at})")
        };
        Answer::error(StatusCode::BAD_REQUEST, text, "see docs/protocol.md")
    }
}

/// Makes it HTTP.
pub fn to_response(answer: Answer) -> Response {
    let mut response = (answer.status, Json(answer.body)).into_response();
    if let Some(after) = answer.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    response
}

/// The answer to a delivery.
pub fn webhook(result: &Result<Outcome, WebhookError>) -> Answer {
    match result {
        Ok(Outcome::Stored(stored)) => {
            let refusal = stored.resolution.refusal();
            Answer::new(
                StatusCode::ACCEPTED,
                json!({
                    "stored": true,
                    "duplicate": stored.duplicate,
                    "job_id": stored.event.key.job,
                    "attempt": stored.event.key.attempt,
                    "outcome": refusal.map_or("class", |r| r.kind()),
                    "class": stored.resolution.class().map(|c| c.id.as_str()),
                    "reason": refusal.map(|r| r.why()),
                }),
            )
        }
        Ok(Outcome::Ignored(ignored)) => {
            let (outcome, reason) = match ignored {
                Ignored::Event(name) => ("event", format!("the event `{name}` is not about jobs")),
                Ignored::Action(action) => ("action", format!("the action `{action}` is not known")),
                Ignored::Foreign(foreign) => {
                    (foreign.kind(), "the delivery is not of this fleet's organization or installation".to_owned())
                }
            };
            let body = json!({ "stored": false, "ignored": true, "outcome": outcome, "reason": reason });
            Answer::new(StatusCode::OK, body)
        }
        Err(e) => webhook_error(e),
    }
}

fn webhook_error(error: &WebhookError) -> Answer {
    let text = error.to_string();
    match error {
        WebhookError::Signature(e) => {
            let remedy = match e {
                SignatureError::Absent => {
                    "set a secret in the webhook's settings; it must be one of github.webhook_secrets"
                }
                SignatureError::Sha1Only => "send X-Hub-Signature-256; SHA-1 is not accepted",
                SignatureError::Malformed => {
                    "send `sha256=` and the HMAC-SHA256 of the raw body as lowercase hex, once"
                }
                SignatureError::Wrong => {
                    "compare the secret in the webhook's settings with github.webhook_secrets; nothing between may change the body"
                }
            };
            Answer::error(StatusCode::UNAUTHORIZED, text, remedy)
        }
        WebhookError::FormEncoded => {
            let remedy = "set the webhook's content type to application/json";
            Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, text, remedy)
        }
        WebhookError::NoEvent => Answer::error(
            StatusCode::BAD_REQUEST,
            text,
            "let nothing between GitHub and here drop the header X-GitHub-Event",
        ),
        WebhookError::Payload(_) => {
            Answer::error(StatusCode::BAD_REQUEST, text, "send GitHub's workflow_job payload as it is")
        }
        WebhookError::NotStored(_) => store_failed(),
    }
}

/// The answer to a claim.
pub fn claim(result: &Result<impl Serialize, ClaimError>) -> Answer {
    let error = match result {
        Ok(answer) => return said(answer),
        Err(error) => error,
    };
    match error {
        ClaimError::BadField(e) => bad_field(*e),
        ClaimError::NotProven(_) => not_proven(),
        ClaimError::IdentityUnavailable(_) => identity_unavailable("send the same nonce and key with a fresh proof"),
        ClaimError::TooEarly(early) => {
            let remedy = match early {
                Early::Launch => "its launch is recorded shortly: send the same nonce and key with a fresh proof",
                Early::FormerEnd => "report `done` in the former session, then send this claim again",
            };
            Answer::error(StatusCode::TOO_EARLY, early.to_string(), remedy).retry(TOO_EARLY_RETRY)
        }
        ClaimError::Taken => Answer::error(
            StatusCode::CONFLICT,
            "another claim of this instance stands",
            "a machine has one session at a time, and only its own claim can be repeated: end the machine",
        ),
        ClaimError::Over(over) => {
            let code = match over {
                Over::Ending => "ending",
                Over::RanJob => "ran_job",
                Over::Failed => "failed",
                Over::NotNeeded => "not_needed",
                Over::Interrupted => "interrupted",
                Over::Forgotten => "forgotten",
            };
            let mut answer =
                Answer::error(StatusCode::GONE, over.to_string(), "power off: this machine gets no more work");
            answer.body["over"] = code.into();
            answer
        }
        ClaimError::Seal(_) => our_fault("sealing failed"),
        ClaimError::Store(_) => store_failed(),
    }
}

/// The answer to a machine that is warm.
pub fn prewarmed(result: &Result<(), PrewarmedError>) -> Answer {
    match result {
        Ok(()) => Answer::new(StatusCode::OK, json!({})),
        Err(PrewarmedError::BadField(e)) => bad_field(*e),
        Err(PrewarmedError::NotProven(_)) => not_proven(),
        Err(PrewarmedError::IdentityUnavailable(_)) => identity_unavailable("send it again with a fresh proof"),
        Err(PrewarmedError::Store(_)) => store_failed(),
    }
}

/// The answer to a report.
pub fn report(result: &Result<impl Serialize, ReportError>) -> Answer {
    match result {
        Ok(answer) => said(answer),
        Err(ReportError::BadField(e)) => bad_field(*e),
        Err(ReportError::NotProven(_)) => not_proven(),
        Err(ReportError::Store(_)) => store_failed(),
    }
}

/// The answer to who has a log.
pub fn log(result: &Result<impl Serialize, LogError>) -> Answer {
    match result {
        Ok(answer) => said(answer),
        Err(LogError::BadField(e)) => bad_field(*e),
        Err(LogError::NotProven(_)) => not_proven(),
        Err(LogError::Off) => {
            Answer::error(StatusCode::NOT_FOUND, "this fleet keeps no logs", "let them go with the machine")
        }
        Err(LogError::NotSigned(_)) => our_fault("no address could be signed"),
        Err(LogError::Store(_)) => store_failed(),
    }
}

fn said(answer: &impl Serialize) -> Answer {
    match serde_json::to_value(answer) {
        Ok(body) => Answer::new(StatusCode::OK, body),
        Err(_) => our_fault("the answer could not be written"),
    }
}

fn bad_field(e: BadField) -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, e.to_string(), "see docs/protocol.md")
}

fn not_proven() -> Answer {
    Answer::error(StatusCode::UNAUTHORIZED, "not proven", "a refused proof or token is final: power off")
}

fn identity_unavailable(remedy: &str) -> Answer {
    Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the identity check is unavailable", remedy).retry(UNAVAILABLE_RETRY)
}

fn store_failed() -> Answer {
    our_fault("the ledger is unavailable; nothing is known to be stored")
}

fn our_fault(text: &str) -> Answer {
    Answer::error(StatusCode::SERVICE_UNAVAILABLE, text, "send the same again").retry(UNAVAILABLE_RETRY)
}
