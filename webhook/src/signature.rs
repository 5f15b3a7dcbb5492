//! The signature check of webhooks, and the evidence that it was made.
//!
//! What lives here: the live secrets and the check. What may not: any reading of the body.
//!
//! Invariant: a [`Signed`] exists only for bytes whose `X-Hub-Signature-256` is right under a live secret.

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// How many secrets may be live: GitHub signs with one, and while it is changed the old and the new one are good.
pub const SECRETS_MAX: usize = 2;
/// What the header's value begins with (GitHub, "Validating webhook deliveries").
const PREFIX: &[u8] = b"sha256=";
/// Bytes of an HMAC-SHA256.
const TAG_BYTES: usize = 32;

type HmacSha256 = Hmac<Sha256>;

/// The body of a delivery that is believed: [`Secrets::check`] has found its signature good, or GitHub has told it itself.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    body: &'a [u8],
}

impl<'a> Signed<'a> {
    /// A payload out of GitHub's own log of deliveries, read over TLS as the App: nobody signs it there.
    pub fn out_of_the_log(body: &'a [u8]) -> Signed<'a> {
        Signed { body }
    }

    /// The raw bytes that were signed.
    pub fn body(self) -> &'a [u8] {
        self.body
    }
}

/// Why a delivery is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// There is no signature at all.
    #[error("the signature header X-Hub-Signature-256 is absent")]
    Absent,
    /// Only the old SHA-1 signature came.
    #[error("only a SHA-1 signature came; X-Hub-Signature-256 is needed")]
    Sha1Only,
    /// The header is not `sha256=` and 64 lowercase hex digits, once.
    #[error("X-Hub-Signature-256 is not `sha256=` followed by 64 lowercase hex digits")]
    Malformed,
    /// It is the signature of other bytes, or by another secret.
    #[error("the signature is wrong: other secret, or other bytes")]
    Wrong,
}

impl SignatureError {
    /// The word for the metric.
    pub fn kind(self) -> &'static str {
        match self {
            SignatureError::Absent => "signature_absent",
            SignatureError::Sha1Only => "signature_sha1_only",
            SignatureError::Malformed => "signature_malformed",
            SignatureError::Wrong => "signature_wrong",
        }
    }
}

/// What a delivery brought as its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureHeader<'a> {
    /// Neither header.
    Absent,
    /// `X-Hub-Signature` and nothing else.
    Sha1Only,
    /// `X-Hub-Signature-256` more than once.
    Repeated,
    /// `X-Hub-Signature-256`.
    Sha256(&'a [u8]),
}

impl SignatureHeader<'_> {
    /// The signature that it claims.
    fn claimed(self) -> Result<[u8; TAG_BYTES], SignatureError> {
        match self {
            SignatureHeader::Absent => Err(SignatureError::Absent),
            SignatureHeader::Sha1Only => Err(SignatureError::Sha1Only),
            SignatureHeader::Repeated => Err(SignatureError::Malformed),
            SignatureHeader::Sha256(value) => tag(value).ok_or(SignatureError::Malformed),
        }
    }

    /// Whether it could be right for some body.
    ///
    /// # Errors
    /// Why not, whatever the body.
    pub fn plausible(self) -> Result<(), SignatureError> {
        self.claimed().map(|_| ())
    }
}

/// Secrets that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretsError {
    /// None, or more than [`SECRETS_MAX`].
    #[error("{0} webhook secrets: there must be one or two")]
    Count(usize),
    /// An empty secret would accept what anybody signs.
    #[error("a webhook secret is empty")]
    Empty,
}

/// The live secrets. They are kept as keyed states, and replaced as a whole while deliveries come in.
pub struct Secrets {
    keyed: ArcSwap<Vec<HmacSha256>>,
}

impl Secrets {
    /// One or two secrets; the one that GitHub signs with first.
    ///
    /// # Errors
    /// [`SecretsError`] if there are none, too many, or an empty one.
    pub fn new<B: AsRef<[u8]>>(secrets: &[B]) -> Result<Secrets, SecretsError> {
        Ok(Secrets { keyed: ArcSwap::from_pointee(keyed(secrets)?) })
    }

    /// No secret: no delivery is believed. For a door that takes none.
    pub fn none() -> Secrets {
        Secrets { keyed: ArcSwap::from_pointee(Vec::new()) }
    }

    /// Replaces them all. Deliveries that are being checked keep the ones they began with.
    ///
    /// # Errors
    /// As [`Secrets::new`]; then the former secrets stay.
    pub fn rotate<B: AsRef<[u8]>>(&self, secrets: &[B]) -> Result<(), SecretsError> {
        self.keyed.store(std::sync::Arc::new(keyed(secrets)?));
        Ok(())
    }

    /// Checks the signature of a body, in constant time for each live secret.
    ///
    /// # Errors
    /// [`SignatureError`]; nothing of the body was looked at but its hash.
    pub fn check<'a>(&self, header: SignatureHeader<'_>, body: &'a [u8]) -> Result<Signed<'a>, SignatureError> {
        let claimed = header.claimed()?;
        let keyed = self.keyed.load();
        let good = keyed.iter().any(|key| key.clone().chain_update(body).verify_slice(&claimed).is_ok());
        if good { Ok(Signed { body }) } else { Err(SignatureError::Wrong) }
    }
}

fn keyed<B: AsRef<[u8]>>(secrets: &[B]) -> Result<Vec<HmacSha256>, SecretsError> {
    if secrets.is_empty() || secrets.len() > SECRETS_MAX {
        return Err(SecretsError::Count(secrets.len()));
    }
    secrets
        .iter()
        .map(|secret| match secret.as_ref() {
            [] => Err(SecretsError::Empty),
            // A key of any length will do for HMAC: the only error does not occur.
            secret => HmacSha256::new_from_slice(secret).map_err(|_| SecretsError::Empty),
        })
        .collect()
}

fn tag(value: &[u8]) -> Option<[u8; TAG_BYTES]> {
    let digits = value.strip_prefix(PREFIX)?;
    if !digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut tag = [0; TAG_BYTES];
    hex::decode_to_slice(digits, &mut tag).ok()?;
    Some(tag)
}
