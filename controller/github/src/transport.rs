//! One request over HTTP: to GitHub's base address, through the proxy that the environment names, within a deadline.
//!
//! What lives here: the client and the words for what became of a request. What may not: a retry, a redirect (it would
//! carry a token elsewhere, and turn a POST into a GET), and who is asking.
//!
//! Invariant: a request that may have reached GitHub is never called unsent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Limited};
use octocrab::service::middleware::reqwest_connector::ReqwestConnector;
use octocrab::{AuthState, Octocrab, OctocrabBuilder};
use serde_json::Value;

use crate::answer::Answer;
use crate::github::Clock;
use crate::key::{Secret, SetupError};

const USER_AGENT: &str = concat!("muster/", env!("CARGO_PKG_VERSION"));
const ACCEPT: &str = "application/vnd.github+json";
/// The largest answer that is read: a page of 100 runners with 100 labels each is a fraction of it.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For a whole answer. `generate-jitconfig` has been seen to take eleven seconds.
    pub answer: Duration,
    /// For finding and removing what a request without an answer may have left, everything included.
    pub clean_up: Duration,
    /// Between two looks for it: GitHub may still be at work on it.
    pub look_again: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            clean_up: Duration::from_secs(30),
            look_again: Duration::from_secs(2),
        }
    }
}

/// What is asked of GitHub.
#[derive(Clone)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Below the base address, with its query.
    pub(crate) path: &'a str,
    pub(crate) body: Option<&'a Value>,
    /// The tag of the answer that is known. If it is still that one, GitHub says so (304) and sends nothing.
    pub(crate) known: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(path: &'a str) -> Ask<'a> {
        Ask { method: Method::GET, path, body: None, known: None }
    }
}

/// There is no answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// And GitHub has not seen the request.
    Unsent(String),
    /// And GitHub may have done what was asked.
    Unknown(String),
}

pub(crate) struct Transport {
    octocrab: Octocrab,
    base: String,
    patience: Patience,
    clock: Clock,
    /// Requests that may still be sent.
    left: AtomicU64,
}

impl Transport {
    /// Must be called within a Tokio runtime.
    pub(crate) fn new(
        api_url: &str,
        further_ca: Option<&[u8]>,
        patience: Patience,
        clock: Clock,
    ) -> Result<Transport, SetupError> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(patience.connect)
            .timeout(patience.answer)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = further_ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| SetupError::Certificates)?;
            if certificates.is_empty() {
                return Err(SetupError::Certificates);
            }
            client = client.tls_certs_merge(certificates);
        }
        if is_loopback(api_url) {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| SetupError::Client(root(&error)))?;
        let built = OctocrabBuilder::new_empty().with_service(ReqwestConnector::new(client));
        let Ok(octocrab) = built.with_auth(AuthState::None).build();
        Ok(Transport {
            octocrab,
            base: api_url.trim_end_matches('/').to_owned(),
            patience,
            clock,
            left: AtomicU64::new(u64::MAX),
        })
    }

    /// With so many requests at most.
    pub(crate) fn within(self, requests_max: Option<u64>) -> Transport {
        Transport { left: AtomicU64::new(requests_max.unwrap_or(u64::MAX)), ..self }
    }

    /// Takes one of the requests that may be sent; false if there is none.
    pub(crate) fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    pub(crate) async fn send(&self, ask: &Ask<'_>, who: &Secret) -> Result<Answer, Lost> {
        let unsendable = || Lost::Unsent("the request cannot be written; check api_url".to_owned());
        let uri: Uri = format!("{}{}", self.base, ask.path).parse().map_err(|_| unsendable())?;
        let mut builder = Request::builder()
            .method(ask.method.clone())
            .uri(uri)
            .header(header::USER_AGENT, HeaderValue::from_static(USER_AGENT))
            .header(header::ACCEPT, HeaderValue::from_static(ACCEPT))
            .header(header::AUTHORIZATION, who.bearer().ok_or_else(unsendable)?);
        if let Some(tag) = ask.known {
            builder = builder.header(header::IF_NONE_MATCH, tag);
        }
        // It adds the version of the API (X-GitHub-Api-Version), the body, and what kind it is.
        let request = self.octocrab.build_request(builder, ask.body).map_err(|_| unsendable())?;
        let response = self.octocrab.send(request).await.map_err(|error| self.lost(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            let told = self.lost(error.as_ref());
            match told {
                Lost::Unsent(why) | Lost::Unknown(why) => Lost::Unknown(format!("the answer broke off: {why}")),
            }
        })?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes().to_vec(),
            at: (self.clock)(),
            app: None,
        })
    }

    fn lost(&self, error: &(dyn std::error::Error + 'static)) -> Lost {
        let mut link = Some(error);
        while let Some(here) = link {
            if let Some(error) = here.downcast_ref::<reqwest::Error>() {
                if error.is_connect() {
                    return Lost::Unsent(format!("no connection: {}", root(error)));
                }
                if error.is_timeout() {
                    return Lost::Unknown(format!("nothing within {:?}", self.patience.answer));
                }
            }
            link = here.source();
        }
        Lost::Unknown(format!("the connection was lost: {}", root(error)))
    }
}

/// The innermost error: the outer ones name only the address.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(inner) = root.source() {
        root = inner;
    }
    root.to_string()
}

/// Whether the address is this host: no proxy leads there.
fn is_loopback(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    host.is_some_and(|host| host == "localhost" || host == "127.0.0.1")
}
