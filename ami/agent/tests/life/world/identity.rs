//! STS as the door asks it: checks the signature of a proof, with code that has nothing of the agent's signer.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use muster_core::identity::{Identity, IdentityError, VerifiedInstance};
use muster_core::ids::InstanceId;
use muster_core::time::Timestamp;
use sha2::{Digest, Sha256};

use super::imds::{key_of, secret_of};

/// Checks proofs for this audience.
pub(crate) struct Sts {
    pub(crate) audience: String,
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is good");
    mac.chain_update(text.as_bytes()).finalize().into_bytes().to_vec()
}

fn quote(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The signature of `GetCallerIdentity`, by the rules of Signature Version 4.
fn signature(secret: &str, key_id: &str, date: &str, token: &str, audience: &str) -> String {
    const REGION: &str = "eu-central-1";
    let day = &date[..8];
    let scope = format!("{day}/{REGION}/sts/aws4_request");
    let query = [
        ("Action", "GetCallerIdentity".to_owned()),
        ("Version", "2011-06-15".to_owned()),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("X-Amz-Credential", format!("{key_id}/{scope}")),
        ("X-Amz-Date", date.to_owned()),
        ("X-Amz-Expires", "60".to_owned()),
        ("X-Amz-Security-Token", token.to_owned()),
        ("X-Amz-SignedHeaders", "host;x-muster-audience".to_owned()),
    ];
    let query = query.map(|(name, value)| format!("{name}={}", quote(&value))).join("&");
    let headers = format!("host:sts.{REGION}.amazonaws.com\nx-muster-audience:{audience}\n");
    let empty = hex::encode(Sha256::digest(b""));
    let request = format!("GET\n/\n{query}\n{headers}\nhost;x-muster-audience\n{empty}");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(request.as_bytes())));
    let start = format!("AWS4{secret}").into_bytes();
    let key = [day, REGION, "sts", "aws4_request"].iter().fold(start, |key, part| mac(&key, part));
    hex::encode(mac(&key, &text))
}

impl Identity for Sts {
    async fn verify(
        &self,
        proof: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<VerifiedInstance, IdentityError> {
        let refused = |why: &str| IdentityError::Refused(why.to_owned());
        let field = |name: &str| proof.get(name).map(String::as_str).ok_or_else(|| refused(name));
        let (key_id, date, token) = (field("key_id")?, field("date")?, field("session_token")?);
        if proof.len() != 5 || field("kind")? != "sts" || date.len() != 16 {
            return Err(refused("form"));
        }
        let part = |from: usize, to: usize| &date[from..to];
        let iso =
            format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(9, 11), part(11, 13), part(13, 15));
        let at = Timestamp::parse(&iso).ok_or_else(|| refused("date"))?;
        let age_s = (now.unix_ms() - at.unix_ms()) / 1_000;
        if !(-10..=60).contains(&age_s) {
            return Err(refused("stale"));
        }
        let instance = format!("i-{}", key_id.trim_start_matches("ASIA").to_lowercase());
        if key_of(&instance) != key_id
            || signature(&secret_of(&instance), key_id, date, token, &self.audience) != field("signature")?
        {
            return Err(refused("signature"));
        }
        Ok(VerifiedInstance::attested(InstanceId::new(instance)).marked(field("signature")?.to_owned()))
    }
}
