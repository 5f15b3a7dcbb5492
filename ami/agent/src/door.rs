//! Calls of the door: claim, report, prewarmed and logs over HTTPS, and what its answers mean.
//!
//! Invariant: no body, token or configuration is in an error's text.

use std::time::Duration;

use muster_core::protocol::{
    ClaimAnswer, ClaimRequest, LogAnswer, LogRequest, PrewarmedRequest, ReportAnswer, ReportRequest,
};
use reqwest::{Body, Client, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::life::Answer;

/// Beyond what an answer may be held back (`docs/protocol.md`).
const BEYOND_WAIT: Duration = Duration::from_secs(10);

/// The door.
#[derive(Clone)]
pub struct Door {
    client: Client,
    base: String,
}

/// What became of a call that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// What it means for the machine.
    pub answer: Answer,
    /// Whether the proof may have been too old or too new, going by the door's own time.
    pub proof_refused: bool,
    /// For the journal.
    pub why: String,
}

impl Door {
    /// The door at this address.
    pub fn new(client: Client, base: &str) -> Door {
        Door { client, base: base.trim_end_matches('/').to_owned() }
    }

    /// Asks for a session.
    ///
    /// # Errors
    /// It was not given, or nobody knows.
    pub async fn claim(&self, request: &ClaimRequest, clock: &Clock) -> Result<ClaimAnswer, NotTaken> {
        self.post("/runners/claim", request, request.wait_s, clock).await
    }

    /// Tells how the machine is.
    ///
    /// # Errors
    /// It was not heard, or nobody knows.
    pub async fn report(&self, request: &ReportRequest, clock: &Clock) -> Result<ReportAnswer, NotTaken> {
        self.post("/runners/report", request, request.wait_s, clock).await
    }

    /// Tells that the machine is warm.
    ///
    /// # Errors
    /// It was not heard, or nobody knows.
    pub async fn prewarmed(&self, request: &PrewarmedRequest, clock: &Clock) -> Result<(), NotTaken> {
        let _: serde_json::Value = self.post("/runners/prewarmed", request, 0, clock).await?;
        Ok(())
    }

    /// Asks where a log may be put.
    ///
    /// # Errors
    /// Nowhere, or nobody knows.
    pub async fn log(&self, request: &LogRequest, clock: &Clock) -> Result<LogAnswer, NotTaken> {
        self.post("/runners/logs", request, 0, clock).await
    }

    /// Puts a log where the door has said, by TLS if the door is reached so. The address is in no error: it is a secret.
    ///
    /// # Errors
    /// It was not taken, or nobody knows.
    pub async fn put(&self, to: LogAnswer, log: Body) -> Result<(), String> {
        if self.base.starts_with("https://") && !to.url.starts_with("https://") {
            return Err("the address is not https".to_owned());
        }
        let mut request = self.client.put(to.url).body(log);
        for (name, value) in to.headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("the answer is {}", response.status())),
            Err(e) => Err(e.without_url().to_string()),
        }
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        wait_s: u32,
        clock: &Clock,
    ) -> Result<T, NotTaken> {
        let within = Duration::from_secs(wait_s.into()) + BEYOND_WAIT;
        let sent = self.client.post(format!("{}{path}", self.base)).json(body).timeout(within).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(e) => return Err(NotTaken::silent(path, &e.without_url().to_string())),
        };
        if response.status() == StatusCode::OK {
            // An answer that cannot be read may be a proxy's: as good as none.
            return response.json().await.map_err(|e| NotTaken::silent(path, &e.without_url().to_string()));
        }
        Err(NotTaken::refused(path, &response, clock))
    }
}

impl NotTaken {
    fn silent(path: &str, why: &str) -> NotTaken {
        NotTaken { answer: Answer::Unavailable(None), proof_refused: false, why: format!("{path}: no answer: {why}") }
    }

    fn refused(path: &str, response: &Response, clock: &Clock) -> NotTaken {
        let status = response.status();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let after = header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let why = format!("{path}: the door answers {status}");
        let proof_refused = status == StatusCode::UNAUTHORIZED;
        if proof_refused && let Some(date) = header("date") {
            clock.told_by_door(date);
        }
        let answer = match status.as_u16() {
            425 => Answer::Early(after),
            // Another claim stands; no more sessions; or a bug of ours, which no repetition mends.
            400 | 401 | 404 | 405 | 409 | 410 | 413 | 415 => Answer::Final(why.clone()),
            _ => Answer::Unavailable(after),
        };
        NotTaken { answer, proof_refused, why }
    }
}
