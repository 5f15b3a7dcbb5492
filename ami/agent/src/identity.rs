//! Who this machine is: a presigned request to STS, in the fields that the door knows it by (`docs/protocol.md`).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SessionTokenMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use serde::Deserialize;
use thiserror::Error;

/// The signed header that says for whom a proof is made.
const AUDIENCE_HEADER: &str = "x-muster-audience";
/// What the signature says of its life.
const EXPIRES: Duration = Duration::from_secs(60);

/// The instance profile's credentials, as the metadata service has them. Secrets: no `Debug`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

impl RoleCredentials {
    /// Of these parts.
    pub fn new(key_id: &str, secret: &str, token: &str) -> RoleCredentials {
        RoleCredentials {
            access_key_id: key_id.to_owned(),
            secret_access_key: secret.to_owned(),
            token: token.to_owned(),
        }
    }
}

/// The request cannot be signed. The text has no secret in it.
#[derive(Debug, Error)]
#[error("the proof of identity cannot be signed: {0}")]
pub struct ProofError(String);

/// The fields of a proof.
pub type Proof = BTreeMap<String, String>;

/// Signs, for an audience and at a time.
///
/// # Errors
/// The region or the audience cannot be part of a request.
pub fn prove(of: &RoleCredentials, region: &str, audience: &str, at: SystemTime) -> Result<Proof, ProofError> {
    let failed = |error: &dyn std::fmt::Display| ProofError(error.to_string());
    let credentials =
        Credentials::new(&of.access_key_id, &of.secret_access_key, Some(of.token.clone()), None, "instance profile");
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    settings.session_token_mode = SessionTokenMode::Include;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(at)
        .settings(settings)
        .build()
        .map_err(|e| failed(&e))?
        .into();
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let url = format!("https://sts.{region}.{suffix}/?Action=GetCallerIdentity&Version=2011-06-15");
    let headers = std::iter::once((AUDIENCE_HEADER, audience));
    let request = SignableRequest::new("GET", url, headers, SignableBody::empty()).map_err(|e| failed(&e))?;
    let (instructions, signature) = sign(request, &params).map_err(|e| failed(&e))?.into_parts();
    let (_, signed) = instructions.into_parts();
    let date = signed.iter().find(|(name, _)| *name == "X-Amz-Date").map(|(_, value)| value.to_string());
    let fields = [
        ("kind", "sts".to_owned()),
        ("key_id", of.access_key_id.clone()),
        ("date", date.ok_or_else(|| ProofError("it has no date".to_owned()))?),
        ("session_token", of.token.clone()),
        ("signature", signature),
    ];
    Ok(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of `docs/protocol.md`.
    #[test]
    fn the_documented_vector() {
        let credentials = RoleCredentials::new(
            "ASIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "IQoJb3JpZ2luX2VjEXAMPLE//////////+token==",
        );
        let at = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap();
        let proof = prove(&credentials, "eu-central-1", "https://door.acme.example", at).unwrap();
        assert_eq!(proof["signature"], "449490954621f2f3f059a674c0dd1174aef2f561fd08121d964b81104052f7b7");
        assert_eq!(proof["date"], "20261122T100000Z");
        assert_eq!(proof.len(), 5);
    }
}
