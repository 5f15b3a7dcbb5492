//! An answer of GitHub's, read without believing it.
//!
//! Invariant: nothing of a body is shown but GitHub's own message, cut to a length.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use muster_core::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The longest message that is passed on.
const MESSAGE_MAX: usize = 300;
/// Clocks that differ by less than this are no trouble: GitHub takes a JWT from a minute ago.
const SKEW_TOLD: Duration = Duration::from_secs(30);

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// When it came, by our clock.
    pub(crate) at: Timestamp,
    /// The App in whose installation's name it was asked; none if the App itself asked.
    pub(crate) app: Option<u64>,
}

/// GitHub's errors, as far as they are shown.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
    /// Texts, or objects with a message.
    errors: Vec<Value>,
}

impl Answer {
    /// The body. The error says where it does not read, and nothing of what is there: it may be a secret.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Eof => "it is cut off",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
                serde_json::error::Category::Data => "a field is missing or of another type",
            };
            let place = format!("line {} column {}", error.line(), error.column());
            format!("the answer ({}, {} bytes) does not read: {what}, at {place}", self.status, self.body.len())
        })
    }

    /// What GitHub says about a refusal: status and message.
    pub(crate) fn told(&self) -> String {
        let refusal: Refusal = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut text = refusal.message;
        for error in &refusal.errors {
            if let Some(more) = error.as_str().or_else(|| error.get("message").and_then(Value::as_str)) {
                text.push_str("; ");
                text.push_str(more);
            }
        }
        let text: String = text.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
        if text.is_empty() { self.status.to_string() } else { format!("{}: {text}", self.status.as_u16()) }
    }

    fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }

    /// An instant of GitHub's clock, on ours: what was told counts from GitHub's own date.
    pub(crate) fn on_our_clock(&self, theirs: Timestamp) -> Timestamp {
        let now = self.date().unwrap_or(self.at);
        if theirs >= now { self.at + theirs.since(now) } else { self.at - now.since(theirs) }
    }

    /// When a request may be sent again, in seconds from now.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.number("retry-after").map(Duration::from_secs)
    }

    /// Which budget the answer's headers are about. GitHub names it; without a name it is the ordinary one.
    pub(crate) fn is_core(&self) -> bool {
        self.header("x-ratelimit-resource").is_none_or(|resource| resource == "core")
    }

    /// Whether it is a limit and not a missing permission: both are 403.
    pub(crate) fn is_limit(&self) -> bool {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::FORBIDDEN => {
                let refusal: Refusal = serde_json::from_slice(&self.body).unwrap_or_default();
                self.retry_after().is_some()
                    || self.number("x-ratelimit-remaining") == Some(0)
                    || refusal.message.to_ascii_lowercase().contains("rate limit")
            }
            _ => false,
        }
    }

    /// A sentence about clocks that differ by more than GitHub forgives; empty if they do not.
    pub(crate) fn skew(&self) -> String {
        let Some(theirs) = self.date() else { return String::new() };
        let (ahead, behind) = (self.at.since(theirs), theirs.since(self.at));
        if ahead > SKEW_TOLD {
            format!("; the clock of this host is {} s ahead of GitHub's: set it", ahead.as_secs())
        } else if behind > SKEW_TOLD {
            format!("; the clock of this host is {} s behind GitHub's: set it", behind.as_secs())
        } else {
            String::new()
        }
    }

    fn date(&self) -> Option<Timestamp> {
        let date = jiff::fmt::rfc2822::parse(self.header(header::DATE)?).ok()?;
        Some(Timestamp::from_unix_ms(date.timestamp().as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.as_bytes().to_vec(),
            at: AT,
            app: None,
        }
    }

    #[test]
    fn a_body_that_does_not_read_is_not_shown() {
        let body = r#"{"id": 7, "encoded_jit_config": {"planted": "secret"}}"#;
        #[derive(Debug, Deserialize)]
        struct Text {
            #[serde(rename = "encoded_jit_config")]
            _config: String,
        }
        for body in [body, &body[..30]] {
            let error = answer(201, &[], body).json::<Text>().unwrap_err();
            assert!(error.contains("does not read") && !error.contains("planted"), "{error}");
        }
    }

    #[test]
    fn a_limit_is_told_from_a_missing_permission() {
        let missing = r#"{"message":"Resource not accessible by integration"}"#;
        assert!(!answer(403, &[("x-ratelimit-remaining", "4000")], missing).is_limit());
        assert!(!answer(404, &[("x-ratelimit-remaining", "0")], "{}").is_limit());
        assert!(answer(429, &[], "").is_limit());
        assert!(answer(403, &[("retry-after", "7")], "{}").is_limit());
        assert!(answer(403, &[("x-ratelimit-remaining", "0")], "{}").is_limit());
        assert!(answer(403, &[], r#"{"message":"You have exceeded a secondary rate limit."}"#).is_limit());
    }

    #[test]
    fn clocks_may_differ() {
        let date = "Sun, 22 Nov 2026 10:00:00 GMT";
        let theirs = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let answer = answer(200, &[("date", date)], "");
        assert_eq!(answer.on_our_clock(theirs + Duration::from_secs(60)), AT + Duration::from_secs(60));
        assert_eq!(answer.on_our_clock(theirs - Duration::from_secs(60)), AT - Duration::from_secs(60));
        assert_eq!(answer.skew().is_empty(), AT.since(theirs) <= SKEW_TOLD && theirs.since(AT) <= SKEW_TOLD);
    }
}
