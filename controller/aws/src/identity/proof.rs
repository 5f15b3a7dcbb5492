//! The fields of a proof of the kind `sts`, and how old it may be.
//!
//! Invariant: a [`StsProof`] holds only characters that its fields can have, within their lengths, and nothing else was
//! in the proof.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use muster_core::time::Timestamp;
use thiserror::Error;

/// The kind of proof that this is.
pub(super) const KIND: &str = "sts";
/// How long after it was signed a proof is taken. Booting machines have their clocks from the hypervisor: seconds matter
/// only for the way here.
pub(super) const AGE_MAX: Duration = Duration::from_secs(60);
/// How far a proof may be signed in our future: what well-kept clocks differ by, and the full second of its date.
pub(super) const AHEAD_MAX: Duration = Duration::from_secs(10);

/// Length of an access key's id (STS API, `Credentials`), and of its other parts.
const KEY_ID_CHARS: RangeInclusive<usize> = 16..=128;
/// STS sets no limit and warns that tokens grow; those of instance profiles have some 1,400 characters. The door's own limit
/// for a text of a proof is the same.
const SESSION_TOKEN_CHARS: RangeInclusive<usize> = 1..=4_096;
const SIGNATURE_CHARS: usize = 64;

const KEY_ID: &str = "key_id";
const DATE: &str = "date";
const SESSION_TOKEN: &str = "session_token";
const SIGNATURE: &str = "signature";
const FIELDS: [&str; 5] = ["kind", KEY_ID, DATE, SESSION_TOKEN, SIGNATURE];

/// Why a proof is refused before anybody is asked about it.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum ProofError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not as docs/protocol.md says")]
    Malformed(&'static str),
    /// The name is not shown: it is foreign text of any kind.
    #[error("it has a field that docs/protocol.md does not know")]
    Unknown,
    #[error("it was signed at {signed}, and now is {now}: more than {} s ago", AGE_MAX.as_secs())]
    Old { signed: Timestamp, now: Timestamp },
    #[error("it was signed at {signed}, and now is {now}: in the future, so one of the clocks is wrong")]
    Future { signed: Timestamp, now: Timestamp },
}

/// What only the machine can know of its request. No `Debug`: with these fields anybody can ask STS who the machine is.
pub(super) struct StsProof {
    key_id: String,
    date: String,
    signed_at: Timestamp,
    session_token: String,
    signature: String,
}

impl StsProof {
    /// Reads the fields; each must be there and in the one form that it can have, and no other may be.
    pub(super) fn read(fields: &BTreeMap<String, String>) -> Result<StsProof, ProofError> {
        if fields.keys().any(|name| !FIELDS.contains(&name.as_str())) {
            return Err(ProofError::Unknown);
        }
        if field(fields, "kind", |kind| kind == KIND)? != KIND {
            return Err(ProofError::Malformed("kind"));
        }
        let key_id = field(fields, KEY_ID, |id| {
            KEY_ID_CHARS.contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })?;
        let date = field(fields, DATE, |date| date.len() == "20261122T100000Z".len())?;
        let session_token = field(fields, SESSION_TOKEN, |token| {
            SESSION_TOKEN_CHARS.contains(&token.len())
                && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        })?;
        let signature = field(fields, SIGNATURE, |signature| {
            signature.len() == SIGNATURE_CHARS && signature.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })?;
        let signed_at = instant(date).ok_or(ProofError::Malformed(DATE))?;
        let own = str::to_owned;
        Ok(StsProof {
            key_id: own(key_id),
            date: own(date),
            signed_at,
            session_token: own(session_token),
            signature: own(signature),
        })
    }

    /// Whether it was signed lately.
    pub(super) fn is_fresh(&self, now: Timestamp) -> Result<(), ProofError> {
        let signed = self.signed_at;
        if now.since(signed) > AGE_MAX {
            return Err(ProofError::Old { signed, now });
        }
        if signed.since(now) > AHEAD_MAX {
            return Err(ProofError::Future { signed, now });
        }
        Ok(())
    }

    /// The access key's id.
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// `YYYYMMDDTHHMMSSZ`.
    pub(super) fn date(&self) -> &str {
        &self.date
    }

    /// `YYYYMMDD`.
    pub(super) fn day(&self) -> &str {
        self.date.split('T').next().unwrap_or_default()
    }

    /// The session token.
    pub(super) fn session_token(&self) -> &str {
        &self.session_token
    }

    /// The signature, in lowercase hex.
    pub(super) fn signature(&self) -> &str {
        &self.signature
    }

    /// What tells this proof from every other one.
    pub(super) fn into_signature(self) -> String {
        self.signature
    }
}

fn field<'f>(
    fields: &'f BTreeMap<String, String>,
    name: &'static str,
    good: impl Fn(&str) -> bool,
) -> Result<&'f str, ProofError> {
    let text = fields.get(name).ok_or(ProofError::Missing(name))?;
    if good(text) { Ok(text) } else { Err(ProofError::Malformed(name)) }
}

/// The instant of `YYYYMMDDTHHMMSSZ`.
fn instant(date: &str) -> Option<Timestamp> {
    let separators = date.bytes().enumerate().all(|(i, b)| match i {
        8 => b == b'T',
        15 => b == b'Z',
        _ => b.is_ascii_digit(),
    });
    if !separators {
        return None;
    }
    let part = |range: std::ops::Range<usize>| date.get(range);
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second) = (part(9..11)?, part(11..13)?, part(13..15)?);
    // The parser below takes a leap second for the one before it; a signature knows only one of the two.
    if second == "60" {
        return None;
    }
    Timestamp::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> BTreeMap<String, String> {
        let fields = [
            ("kind", KIND),
            (KEY_ID, "ASIAIOSFODNN7EXAMPLE"),
            (DATE, "20261122T100000Z"),
            (SESSION_TOKEN, "IQoJb3JpZ2luX2VjEA+/w=="),
            (SIGNATURE, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
        ];
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn refused(name: &str, value: &str) -> ProofError {
        let mut fields = good();
        fields.insert(name.to_owned(), value.to_owned());
        StsProof::read(&fields).err().unwrap_or_else(|| panic!("{name} = {value:?} was taken"))
    }

    #[test]
    fn every_field_must_be_there_and_no_other() {
        assert!(StsProof::read(&good()).is_ok());
        for name in FIELDS {
            let mut fields = good();
            fields.remove(name);
            assert_eq!(StsProof::read(&fields).err(), Some(ProofError::Missing(name)));
        }
        for name in ["region", "host", "action", "Signature", "signature ", "", "x-amz-date"] {
            assert_eq!(refused(name, "sts"), ProofError::Unknown);
        }
    }

    #[test]
    fn fields_have_one_form_each() {
        let long = "A".repeat(4_097);
        let cases: [(&str, &[&str]); 5] = [
            ("kind", &["", "STS", "sts ", "sim"]),
            (
                KEY_ID,
                &["", "ASIAIOSFODNN7EX", "asiaiosfodnn7example", "ASIAIOSFODNN7EXAMPL/", "ASIAIOSFODNN7EXAMPL&", &long],
            ),
            (SESSION_TOKEN, &["", "a b", "a&Action=AssumeRole", "a%20b", "a\r\nhost: x", "a?b", "\u{e9}", &long]),
            (
                DATE,
                &[
                    "",
                    "2026-11-22T10:00:00Z",
                    "20261122T100000",
                    "20261122T100000z",
                    "20261122 100000Z",
                    "20261322T100000Z",
                    "20260230T100000Z",
                    "20261122T250000Z",
                    "20261122T100060Z",
                    "+0261122T100000Z",
                    "20261122T100000Z&",
                    "\u{661}0261122T10000Z",
                ],
            ),
            (
                SIGNATURE,
                &[
                    "",
                    "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d",
                    "5D672D79C15B13162D9279B0855CFBA6789A8EDB4C82C400E06B5924A6F2B5D7",
                    "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d&",
                ],
            ),
        ];
        for (name, bad) in cases {
            for value in bad {
                assert_eq!(refused(name, value), ProofError::Malformed(name), "{value:?}");
            }
        }
    }

    #[test]
    fn a_proof_is_fresh_for_a_minute_and_hardly_before_its_time() {
        let proof = StsProof::read(&good()).ok().unwrap();
        let signed = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        let tick = Duration::from_millis(1);
        for now in [signed - AHEAD_MAX, signed, signed + AGE_MAX] {
            assert_eq!(proof.is_fresh(now), Ok(()));
        }
        assert!(matches!(proof.is_fresh(signed + AGE_MAX + tick), Err(ProofError::Old { .. })));
        assert!(matches!(proof.is_fresh(signed - AHEAD_MAX - tick), Err(ProofError::Future { .. })));
        assert!(matches!(proof.is_fresh(signed + Duration::from_secs(86_400 * 365)), Err(ProofError::Old { .. })));
    }
}
