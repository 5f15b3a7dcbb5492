//! CloudWatch's embedded metric format (EMF), written from Rust's `metrics` facade.
//!
//! What lives here: [`Document`], which turns one set of measurements into JSON lines within every limit of the format,
//! and [`EmfRecorder`], which gathers what a program records and writes it as such lines. What may not: the name of any
//! metric, pool or runner, a clock, a thread, or a sink. Time and the place to write are arguments.
//!
//! Invariant: a value handed in is found on exactly one line, or is counted as refused. None is lost unseen, and no line
//! is one that CloudWatch would reject.
//!
//! # What it costs
//!
//! CloudWatch bills by custom metric, and every *dimension set* makes its own: a metric written with the sets
//! `[["Pool"], ["Pool", "Market"]]` for 5 pools on 2 markets is 5 + 10 custom metrics, not 1. So labels become dimensions
//! only when the caller has allowed them by name; all others are properties of the line, which cost nothing beyond the
//! log's bytes and can still be searched in Logs Insights.
//!
//! # Example
//!
//! ```
//! use metrics::Recorder;
//! use muster_emf::EmfRecorder;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let recorder = EmfRecorder::builder("Example").dimensions(["Pool"]).build()?;
//! recorder.describe_histogram("QueueTime".into(), Some(metrics::Unit::Seconds), "".into());
//! metrics::with_local_recorder(&recorder, || {
//!     metrics::histogram!("QueueTime", "Pool" => "small", "repository" => "a/b").record(4.0);
//!     metrics::histogram!("QueueTime", "Pool" => "small", "repository" => "a/b").record(6.5);
//! });
//!
//! let mut out = Vec::new();
//! let report = recorder.flush(1_700_000_000_000, &mut out)?;
//! assert!(report.is_complete());
//! assert_eq!(
//!     String::from_utf8(out)?,
//!     concat!(
//!         r#"{"_aws":{"Timestamp":1700000000000,"CloudWatchMetrics":[{"Namespace":"Example","#,
//!         r#""Dimensions":[["Pool"]],"Metrics":[{"Name":"QueueTime","Unit":"Seconds"}]}]},"#,
//!         r#""Pool":"small","QueueTime":[4.0,6.5],"repository":"a/b"}"#,
//!         "\n"
//!     )
//! );
//! # Ok(())
//! # }
//! ```

mod builder;
mod compose;
mod document;
pub mod limits;
mod line;
mod name;
mod outbox;
mod recorder;
mod report;
mod series;
mod unit;

pub use builder::{ConfigError, EmfRecorderBuilder};
pub use document::{Document, DocumentError, Rendered};
pub use name::{NameError, NameKind};
pub use recorder::EmfRecorder;
pub use report::{FlushError, FlushReport, Refusal};
pub use unit::{Conversion, Unit};
