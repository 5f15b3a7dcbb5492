//! The instance metadata service over HTTP: tokens, the rule against forwarded requests, and paths that come and go.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::task::AbortHandle;

use super::time::Skewed;

const TOKEN: &str = "the-token-of-this-instance==";

/// What it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) user_data: String,
    pub(crate) instance: String,
    pub(crate) target: Option<String>,
    pub(crate) spot: bool,
    pub(crate) rebalance: bool,
    /// Switched off, as the scaler does once a runner has its configuration.
    pub(crate) off: bool,
    /// Requests that had no token.
    pub(crate) bare: u32,
    pub(crate) served: u32,
}

pub(crate) struct Imds {
    said: Mutex<Said>,
    time: Skewed,
    serving: Mutex<Option<AbortHandle>>,
}

/// The secret key of an instance's credentials.
pub(crate) fn secret_of(instance: &str) -> String {
    format!("secret+of/{instance}")
}

/// The id of an instance's key, by which tests know whose it is.
pub(crate) fn key_of(instance: &str) -> String {
    format!("ASIA{}", instance.trim_start_matches("i-").to_uppercase())
}

/// The session token of an instance's credentials.
pub(crate) fn session_token_of(instance: &str) -> String {
    format!("IQoJb3JpZ2luX2Vj//{}+token==", instance.trim_start_matches("i-"))
}

impl Imds {
    pub(crate) async fn serve(at: SocketAddr, said: Said, time: Skewed) -> (Arc<Imds>, SocketAddr) {
        let listener = tokio::net::TcpListener::bind(at).await.expect("an address of its own");
        let address = listener.local_addr().expect("an address");
        let imds = Arc::new(Imds { said: Mutex::new(said), time, serving: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(imds.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        *imds.serving.lock().expect("not poisoned") = Some(serving.abort_handle());
        (imds, address)
    }

    /// Its machine is no more, and the address is free.
    pub(crate) fn stop(&self) {
        if let Some(serving) = self.serving.lock().expect("not poisoned").take() {
            serving.abort();
        }
    }

    pub(crate) fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().expect("not poisoned")
    }
}

async fn answer(State(imds): State<Arc<Imds>>, request: Request<Body>) -> Response<Body> {
    let (status, body) = imds.judge(&request);
    let response = Response::builder().status(status).header("date", imds.time.date()).header("server", "EC2ws");
    response.body(Body::from(body)).expect("a response")
}

impl Imds {
    fn judge(&self, request: &Request<Body>) -> (StatusCode, String) {
        let mut said = self.said();
        said.served += 1;
        let has = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let path = request.uri().path();
        // Switched off, or come through a proxy: nothing is said (EC2 User Guide, "How IMDSv2 works").
        if said.off || has("x-forwarded-for").is_some() {
            return (StatusCode::FORBIDDEN, String::new());
        }
        if request.method() == Method::PUT {
            let good = path == "/latest/api/token" && has("x-aws-ec2-metadata-token-ttl-seconds") == Some("21600");
            return if good { (StatusCode::OK, TOKEN.to_owned()) } else { (StatusCode::BAD_REQUEST, String::new()) };
        }
        if has("x-aws-ec2-metadata-token") != Some(TOKEN) {
            said.bare += 1;
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        match said.read(path.trim_start_matches("/latest/")) {
            Some(text) => (StatusCode::OK, text),
            None => (StatusCode::NOT_FOUND, "<html>404 - Not Found</html>".to_owned()),
        }
    }
}

impl Said {
    fn read(&self, path: &str) -> Option<String> {
        let own = str::to_owned;
        match path {
            "user-data" => Some(self.user_data.clone()),
            "meta-data/instance-id" => Some(self.instance.clone()),
            "meta-data/placement/region" => Some(own("eu-central-1")),
            "meta-data/iam/security-credentials/" => Some(own("muster-runner")),
            "meta-data/iam/security-credentials/muster-runner" => Some(
                json!({
                    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key_of(&self.instance),
                    "SecretAccessKey": secret_of(&self.instance), "Token": session_token_of(&self.instance),
                    "Expiration": "2026-11-22T16:00:00Z",
                })
                .to_string(),
            ),
            "meta-data/autoscaling/target-lifecycle-state" => self.target.clone(),
            "meta-data/spot/instance-action" => self.spot.then(|| own(r#"{"action":"terminate"}"#)),
            "meta-data/events/recommendations/rebalance" => self.rebalance.then(|| own(r#"{"noticeTime":"now"}"#)),
            _ => None,
        }
    }
}
