//! Lines on their way to the sink.
//!
//! What lives here: the bytes that a sink has not taken yet, with the report that belongs to them. What may not: what
//! the bytes mean.
//!
//! Invariant: over all attempts the sink is given each byte once, in order.

use std::io::{self, ErrorKind, Write};

use crate::report::FlushReport;

/// Bytes not yet written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    unflushed: bool,
    report: FlushReport,
}

impl Outbox {
    /// Adds bytes and what to report once they are written.
    pub(crate) fn add(&mut self, bytes: &[u8], report: FlushReport) {
        self.bytes.extend_from_slice(bytes);
        self.report.merge(report);
    }

    /// Writes what there is. After an error the rest stays, and a second call goes on with it.
    pub(crate) fn send<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count;
                    self.unflushed = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.written = 0;
        if self.unflushed {
            out.flush()?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// The report on everything written since the last time it was taken.
    pub(crate) fn take_report(&mut self) -> FlushReport {
        std::mem::take(&mut self.report)
    }
}
