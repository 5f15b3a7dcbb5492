//! Workload traces: the runs of an organization, one JSON object a line, by time.
//!
//! What lives here: reading, cutting, overlaying and surveying traces. What may not: what becomes of a job.
//!
//! Invariant: a trace is streamed. At no time is more of it in memory than one run for each overlaid copy.

mod error;
mod load;
mod reader;
mod survey;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::RunId;

pub use error::TraceError;
pub use load::{Cut, Load, RUN_ID_STRIDE, SCALE_MAX};
pub use reader::{LINE_BYTES_MAX, TraceReader};
pub use survey::{LabelSet, Survey};

/// One workflow run of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// GitHub's id of the run.
    pub id: RunId,
    /// When it is triggered, from the start of the trace.
    pub at: Duration,
    /// `owner/name`.
    pub repository: Arc<str>,
    /// Whether the repository is public. Traces need not say; then it is private.
    pub public: bool,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The event that triggered it.
    pub event: Arc<str>,
    /// If set, the run is cancelled so long after `at`.
    pub cancel_after: Option<Duration>,
    /// Its jobs.
    pub jobs: Vec<JobSpec>,
    /// The distinct `job` keys: what `needs` points to.
    pub groups: u16,
}

/// One job of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// The name that people see.
    pub name: Arc<str>,
    /// Which group it belongs to: the entries of one matrix share a group.
    pub group: u16,
    /// The groups that must be complete before it is queued.
    pub needs: Box<[u16]>,
    /// The labels of `runs-on`.
    pub labels: Arc<[Arc<str>]>,
    /// How long it runs once a runner has it.
    pub duration: Duration,
}

/// Where a trace comes from; it can be read again and again.
#[derive(Clone, Debug)]
pub struct Trace {
    name: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Bytes(Arc<[u8]>),
    Shipped(&'static [u8]),
}

impl Trace {
    /// A file, plain or gzip; its first bytes decide, not its name.
    pub fn file(path: impl Into<PathBuf>) -> Trace {
        let path = path.into();
        Trace { name: path.display().to_string(), source: Source::File(path) }
    }

    /// Bytes in memory, plain or gzip. `name` stands for the file in errors.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Trace {
        Trace { name: name.into(), source: Source::Bytes(bytes.into()) }
    }

    /// Bytes that are part of the program (`include_bytes!`).
    pub fn shipped(name: impl Into<String>, bytes: &'static [u8]) -> Trace {
        Trace { name: name.into(), source: Source::Shipped(bytes) }
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads it from the start.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn runs(&self) -> Result<TraceReader, TraceError> {
        let raw: Box<dyn Read + Send> = match &self.source {
            Source::File(path) => {
                Box::new(File::open(path).map_err(|error| TraceError::unreadable(&self.name, &error))?)
            }
            Source::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
            Source::Shipped(bytes) => Box::new(*bytes),
        };
        let mut raw = BufReader::with_capacity(READ_BYTES, raw);
        let head = raw.fill_buf().map_err(|error| TraceError::unreadable(&self.name, &error))?;
        let plain: Box<dyn BufRead + Send> = if head.starts_with(&GZIP_MAGIC) {
            Box::new(BufReader::with_capacity(READ_BYTES, flate2::bufread::MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        Ok(TraceReader::new(self.name.clone(), plain))
    }

    /// Counts it once through: label sets, jobs an hour, length.
    ///
    /// # Errors
    /// The first line that does not read.
    pub fn survey(&self) -> Result<Survey, TraceError> {
        Survey::of(self.runs()?)
    }

    /// The part of it, and as many copies, as `cut` says.
    ///
    /// # Errors
    /// The file cannot be opened, or the cut asks for more copies than [`SCALE_MAX`].
    pub fn load(&self, cut: Cut) -> Result<Load, TraceError> {
        Load::new(self, cut)
    }
}

/// The first two bytes of every gzip file (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// How much is read at a time.
const READ_BYTES: usize = 32 * 1024;
