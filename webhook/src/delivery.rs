//! The headers of a delivery, as far as the door looks at them.
//!
//! What lives here: names and values. What may not: belief. GitHub signs the body only, so that the event's name and the
//! delivery's GUID are hints, and nothing is keyed by them.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use crate::signature::SignatureHeader;

/// The signature that counts.
pub const SIGNATURE_256: &str = "x-hub-signature-256";
/// The old SHA-1 signature, which does not.
pub const SIGNATURE_SHA1: &str = "x-hub-signature";
/// The event's name.
pub const EVENT: &str = "x-github-event";
/// The delivery's GUID: the same for every redelivery.
pub const DELIVERY: &str = "x-github-delivery";
/// GUIDs have 36 characters; more than this many are not copied into a log line.
const DELIVERY_CHARS_MAX: usize = 64;

/// What a delivery says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryHeaders<'a> {
    /// Its signature.
    pub signature: SignatureHeader<'a>,
    /// `X-GitHub-Event`.
    pub event: Option<&'a str>,
    /// `X-GitHub-Delivery`, if it looks like one.
    pub delivery: Option<&'a str>,
    /// Whether the content type is that of a form.
    pub form_encoded: bool,
}

impl<'a> DeliveryHeaders<'a> {
    /// Reads them from HTTP. Never fails: what does not read is absent.
    pub fn from_http(headers: &'a HeaderMap) -> DeliveryHeaders<'a> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut signatures = headers.get_all(SIGNATURE_256).iter();
        let signature = match (signatures.next(), signatures.next()) {
            (Some(one), None) => SignatureHeader::Sha256(one.as_bytes()),
            (Some(_), Some(_)) => SignatureHeader::Repeated,
            (None, _) if headers.contains_key(SIGNATURE_SHA1) => SignatureHeader::Sha1Only,
            (None, _) => SignatureHeader::Absent,
        };
        let media_type = headers.get(CONTENT_TYPE).map(|v| v.as_bytes()).unwrap_or_default();
        let media_type = media_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        DeliveryHeaders {
            signature,
            event: text(EVENT).filter(|event| !event.is_empty()),
            delivery: text(DELIVERY).filter(|guid| guid.len() <= DELIVERY_CHARS_MAX),
            form_encoded: media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded"),
        }
    }
}
