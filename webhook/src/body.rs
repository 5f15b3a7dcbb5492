//! Reading a request's body within a limit.
//!
//! Invariant: never more than the limit is kept in memory. A little more is read and thrown away, so that a client that
//! sends before it listens still hears the 413 instead of a broken connection.

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;

/// Bytes of a delivery, at most: what API Gateway's HTTP APIs let through.
pub const WEBHOOK_BYTES_MAX: usize = 10_000_000;
/// Bytes of a claim or report, at most: a proof of 16 entries is the largest part, and real ones have 2 kB.
pub const RUNNER_BYTES_MAX: usize = 65_536;
/// Bytes of a body that is too large that are still read: GitHub's own limit for a delivery.
const DRAINED_BYTES_MAX: usize = 25_000_000;

const _: () = assert!(RUNNER_BYTES_MAX < WEBHOOK_BYTES_MAX && WEBHOOK_BYTES_MAX < DRAINED_BYTES_MAX);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is longer than the limit.
    TooLarge,
    /// It broke off.
    Broken,
}

/// Reads a body of at most `limit` bytes to its end and keeps nothing of it.
pub(crate) async fn drain(mut body: Body, limit: usize) -> Result<(), BodyError> {
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if read > DRAINED_BYTES_MAX {
            break;
        }
    }
    if read > limit { Err(BodyError::TooLarge) } else { Ok(()) }
}

/// The whole body, if it has at most `limit` bytes.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut kept = Vec::new();
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        read = read.saturating_add(data.len());
        if read > DRAINED_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        if read > limit {
            (first, kept) = (Bytes::new(), Vec::new());
        } else if first.is_empty() && kept.is_empty() {
            // Most bodies come in one piece, which need not be copied.
            first = data;
        } else {
            if kept.is_empty() {
                kept.extend_from_slice(&std::mem::take(&mut first));
            }
            kept.extend_from_slice(&data);
        }
    }
    match read > limit {
        true => Err(BodyError::TooLarge),
        false if kept.is_empty() => Ok(first),
        false => Ok(kept.into()),
    }
}
