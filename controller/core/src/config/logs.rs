//! The `[logs]` section: where machines leave their runners' logs, and how much of them.
//!
//! What lives here: the bucket, the prefix and the limit. What may not: who may put what there (the door), and the
//! permission (the stack).
//!
//! Invariant: without the section nothing is kept.

use super::diagnostic::Findings;
use super::limits::{LOG_MIB_DEFAULT, LOG_MIB_MAX};
use super::section::Section;
use super::wording::quote;

/// Below what machines' logs are kept, unless it is said.
pub const PREFIX_DEFAULT: &str = "runner-logs";
/// Characters of a prefix: what follows it stays far below the 1,024 bytes of a key in S3.
const PREFIX_CHARS_MAX: usize = 200;

/// The `[logs]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The bucket, in the controller's own region.
    pub bucket: String,
    /// What the keys there begin with, without a slash at either end.
    pub prefix: String,
    /// Bytes of one file, at most: the last ones are kept.
    pub bytes_max: u64,
}

/// Reads `[logs]`. `None`: it is not there, or has an error.
pub(super) fn read(section: Option<Section<'_>>, findings: &mut Findings) -> Option<Logs> {
    let mut section = section?;
    let bucket = section.required_text("bucket", "name a bucket in the controller's region, or drop [logs]", findings);
    if let Some(bucket) = bucket.filter(|bucket| !is_bucket(bucket)) {
        let remedy = "write 3 to 63 of a-z, 0-9, `-` and `.`, without s3:// and without a path";
        findings.error(section.key("bucket"), format!("{} cannot be a bucket's name", quote(bucket)), remedy);
    }
    let prefix = section.text("prefix", findings).unwrap_or(PREFIX_DEFAULT);
    if !is_prefix(prefix) {
        let remedy =
            "write names of a-z, A-Z, 0-9, `-`, `_` and `.` with single slashes between, such as \"acme/logs\"";
        findings.error(section.key("prefix"), format!("{} cannot begin keys", quote(prefix)), remedy);
    }
    let mib = section.count("max_mib", 1, LOG_MIB_MAX, findings).unwrap_or(LOG_MIB_DEFAULT);
    section.finish(findings);
    Some(Logs { bucket: bucket?.to_owned(), prefix: prefix.to_owned(), bytes_max: u64::from(mib) << 20 })
}

fn is_bucket(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| good(b) || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(good)
        && name.bytes().next_back().is_some_and(good)
}

fn is_prefix(prefix: &str) -> bool {
    let part = |part: &str| {
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        plain && part.chars().any(|c| c != '.')
    };
    prefix.len() <= PREFIX_CHARS_MAX && prefix.split('/').all(part)
}
