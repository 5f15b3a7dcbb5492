//! Sending the request, and taking the answer in.
//!
//! The client is the one that the SDK's calls go through: the same TLS, the same trust in certificates. It follows no
//! redirect.
//!
//! Invariant: what is sent is `GET`, our path and query, and two headers: the pinned host and the audience.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use thiserror::Error;

use crate::count::count;

use super::request::StsHost;
use super::{AUDIENCE_HEADER, StsSettingsError};

/// STS answers within some tens of milliseconds, or something is wrong.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// From here to the end of the answer: the door itself has 30 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A real answer has some 500 bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// STS did not answer.
#[derive(Debug, Error)]
pub(super) enum WireError {
    #[error("STS at {host} has not answered within {} s", ANSWER_WITHIN.as_secs())]
    Slow { host: String },
    #[error("STS at {0} cannot be asked: {1}; check the network path and the certificates of this machine")]
    Broken(String, String),
}

/// What STS answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    /// `None`: longer than [`ANSWER_BYTES_MAX`].
    pub(super) body: Option<Vec<u8>>,
}

/// A way to one STS.
#[derive(Debug)]
pub(super) struct Wire {
    connector: Connector,
    /// Scheme and authority that are connected to.
    address: String,
    /// What the request says that it is for.
    host: String,
}

impl Wire {
    /// To the real one.
    pub(super) fn to(host: &StsHost) -> Wire {
        let tls = Provider::Rustls(CryptoMode::AwsLc);
        let connector = Connector::builder().connector_settings(settings()).tls_provider(tls).build();
        Wire { connector, address: format!("https://{}", host.name()), host: host.name().to_owned() }
    }

    /// To an emulator, over plain HTTP.
    pub(super) fn to_emulator(host: &StsHost, endpoint: &str) -> Result<Wire, StsSettingsError> {
        let unusable = || StsSettingsError::Endpoint(endpoint.to_owned());
        let uri: http::Uri = endpoint.parse().map_err(|_| unusable())?;
        let (Some("http"), Some(authority), "/" | "", None) =
            (uri.scheme_str(), uri.authority(), uri.path(), uri.query())
        else {
            return Err(unusable());
        };
        let connector = Connector::builder().connector_settings(settings()).build_http();
        Ok(Wire { connector, address: format!("http://{authority}"), host: host.name().to_owned() })
    }

    /// Asks.
    pub(super) async fn ask(&self, path_and_query: &str, audience: &str) -> Result<Answer, WireError> {
        let asked = tokio::time::timeout(ANSWER_WITHIN, self.exchange(path_and_query, audience)).await;
        match asked {
            Ok(answer) => answer.map_err(|why| WireError::Broken(self.host.clone(), why)),
            Err(_) => Err(WireError::Slow { host: self.host.clone() }),
        }
    }

    async fn exchange(&self, path_and_query: &str, audience: &str) -> Result<Answer, String> {
        let request = http::Request::get(format!("{}{path_and_query}", self.address))
            .header(HOST, &self.host)
            .header(AUDIENCE_HEADER, audience)
            .body(SdkBody::empty());
        // An error's text may quote the request, which holds the proof: only its kind is told.
        let request = request.map_err(|_| "the request could not be made".to_owned())?;
        let request = HttpRequest::try_from(request).map_err(|_| "the request could not be made".to_owned())?;
        count("GetCallerIdentity");
        let answer = self.connector.call(request).await.map_err(|error| {
            let kind = if error.is_timeout() { "no connection in time" } else { "no connection, or it broke" };
            kind.to_owned()
        })?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get(CONTENT_TYPE.as_str()).map(str::to_owned);
        let body = match Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Some(body.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => None,
            Err(_) => return Err("the answer broke off".to_owned()),
        };
        Ok(Answer { status, content_type, body })
    }
}

fn settings() -> HttpConnectorSettings {
    HttpConnectorSettings::builder().connect_timeout(CONNECT_WITHIN).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_one_is_asked_by_its_name_over_tls() {
        let host = StsHost::of_region("eu-central-1").unwrap();
        let wire = Wire::to(&host);
        assert_eq!(wire.address, "https://sts.eu-central-1.amazonaws.com");
        assert_eq!(wire.host, "sts.eu-central-1.amazonaws.com");
    }

    #[test]
    fn an_emulator_is_an_address_and_nothing_more() {
        let host = StsHost::of_region("eu-central-1").unwrap();
        assert_eq!(Wire::to_emulator(&host, "http://127.0.0.1:4566/").unwrap().address, "http://127.0.0.1:4566");
        for bad in
            ["", "127.0.0.1:4566", "https://127.0.0.1", "http://127.0.0.1/sts", "http://127.0.0.1/?a=b", "http://"]
        {
            assert!(Wire::to_emulator(&host, bad).is_err(), "{bad}");
        }
    }
}
