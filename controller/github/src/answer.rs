//! An answer of GitHub's, read without believing it.
//!
//! Invariant: nothing of a body is shown but GitHub's own message, cut to a length.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use muster_core::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::owner;

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

    /// What names this very answer, for [`crate::transport::Ask::known`].
    pub(crate) fn tag(&self) -> Option<&str> {
        self.header(header::ETAG)
    }

    /// Where a list goes on, as its `Link` says: the `cursor` of its `rel="next"`, to be put into a query as it is. The rest
    /// of the address is GitHub's idea of where it is, and nobody goes there.
    pub(crate) fn next_cursor(&self) -> Option<String> {
        let values = self.headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
        let mut links = values.flat_map(|value| value.split('<').skip(1));
        links.find_map(|link| {
            let (address, parameters) = link.split_once('>')?;
            let mut parameters = parameters.split(',').next()?.split(';').map(str::trim);
            parameters.find(|parameter| matches!(*parameter, "rel=\"next\"" | "rel=next"))?;
            let (_, query) = address.split('#').next()?.split_once('?')?;
            let cursor = query.split('&').find_map(|pair| pair.strip_prefix("cursor="))?;
            let as_it_is = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
            Some(if cursor.bytes().all(as_it_is) { cursor.to_owned() } else { owner::escaped(cursor) })
        })
    }

    /// When it was sent, by GitHub's clock; by ours if it does not tell.
    pub(crate) fn sent_at(&self) -> Timestamp {
        self.date().unwrap_or(self.at)
    }

    /// An instant of GitHub's clock, on ours: what was told counts from GitHub's own date.
    pub(crate) fn on_our_clock(&self, theirs: Timestamp) -> Timestamp {
        let now = self.sent_at();
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

    /// How far our clock is ahead of GitHub's, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> Option<i64> {
        Some(self.at.unix_ms().saturating_sub(self.date()?.unix_ms()))
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
    fn of_a_link_only_the_cursor_is_taken() {
        let next = |link: &str| answer(200, &[("link", link)], "").next_cursor();
        let one = "<https://api.github.com/app/hook/deliveries?per_page=100&cursor=v1_12>; rel=\"next\"";
        assert_eq!(next(one).as_deref(), Some("v1_12"));
        let both = "<https://x/y?cursor=before>; rel=\"prev\", <https://evil.example?cursor=a%3D&z=1#f>; rel=\"next\"";
        assert_eq!(next(both).as_deref(), Some("a%3D"));
        assert_eq!(next("<https://x/y?cursor=a b/../?>; rel=next").as_deref(), Some("a%20b%2F..%2F%3F"));
        for none in ["<https://x/y?cursor=before>; rel=\"prev\"", "<https://x/y?page=2>; rel=\"next\"", "<", "next", ""]
        {
            assert_eq!(next(none), None, "{none}");
        }
        assert_eq!(answer(200, &[], "").next_cursor(), None);
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
