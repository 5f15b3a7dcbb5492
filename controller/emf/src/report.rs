//! What a flush did.
//!
//! What lives here: the report and the error of a flush. What may not: decisions.
//!
//! Invariant: whatever was recorded and is not on a line is counted here.

use std::io;

use thiserror::Error;

use crate::document::DocumentError;

/// What a flush wrote, and what it could not write.
#[derive(Debug, Default)]
#[must_use = "it says which values were refused"]
pub struct FlushReport {
    /// Lines written.
    pub lines: usize,
    /// Values on them: one for each counter and gauge that moved, one for each sample of a histogram.
    pub values: usize,
    /// Values that are on no line because CloudWatch takes no such number (not finite, or beyond
    /// [`VALUE_MAGNITUDE_MAX`](crate::limits::VALUE_MAGNITUDE_MAX), possibly only once converted to its unit).
    pub values_refused: usize,
    /// Labels that are on no line because they would have filled it; their values are written without them.
    pub labels_left_out: usize,
    /// Metrics that are on no line because their names cannot be written.
    pub refusals: Vec<Refusal>,
}

impl FlushReport {
    /// Whether everything that was recorded is on a line.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.values_refused == 0 && self.labels_left_out == 0 && self.refusals.is_empty()
    }

    /// Adds what another flush did.
    pub fn merge(&mut self, other: Self) {
        let Self { lines, values, values_refused, labels_left_out, refusals } = other;
        self.lines += lines;
        self.values += values;
        self.values_refused += values_refused;
        self.labels_left_out += labels_left_out;
        self.refusals.extend(refusals);
    }
}

/// A metric that was not written.
#[derive(Debug)]
pub struct Refusal {
    /// Its name, as recorded; several if they share a document that cannot be written.
    pub metrics: Vec<String>,
    /// How many values are lost with it.
    pub values: usize,
    /// Why.
    pub error: DocumentError,
}

/// Why a flush did not finish.
#[derive(Debug, Error)]
pub enum FlushError {
    /// The sink failed. Nothing is lost: the next flush goes on at the byte where this one stopped, before it takes
    /// anything new.
    #[error("cannot write metrics; the rest is kept for the next flush")]
    Write(#[from] io::Error),
}
