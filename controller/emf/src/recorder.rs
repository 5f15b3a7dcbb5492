//! The recorder that is installed behind the `metrics` macros.
//!
//! What lives here: registration, descriptions and the flush. What may not: a timer; the caller decides when to flush.
//!
//! Invariant: recording never waits for a sink. Only flushes wait for one another.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString};

use crate::builder::{EmfRecorderBuilder, Layout};
use crate::compose::{self, Units};
use crate::outbox::Outbox;
use crate::report::{FlushError, FlushReport};
use crate::series::{self, Series, SeriesStorage};
use crate::unit::Conversion;

/// Gathers what is recorded through the `metrics` facade and writes it as EMF lines when told to. Clones share
/// everything: install one, keep another to flush.
///
/// - A **counter** is written as its increase since the last flush; if there is none, not at all.
/// - A **gauge** is written with its last value, if it was set or changed since the last flush. One that nobody sets any
///   more ends, instead of repeating an old value as if it were a new one.
/// - A **histogram** is written with all its samples since the last flush, in order.
///
/// Allowed labels become dimensions, the others properties of the line. Keys that differ in any label's value, dimension
/// or not, are written in separate documents; keys that agree in all share one. A label that bears the name of a metric
/// on its line, or that is blank or `_aws`, is written with `label.` before its name.
///
/// Units come from `describe_*`, by metric name; the last description before the flush counts. Units that CloudWatch
/// lacks are converted, see [`Conversion`]. A metric without a description has no unit.
///
/// Samples wait in memory (8 bytes each) until they are flushed, also while the sink fails. Gauges are never forgotten,
/// so give them no label with endless values.
#[derive(Clone)]
pub struct EmfRecorder {
    shared: Arc<Shared>,
}

struct Shared {
    layout: Layout,
    series: Series,
    units: RwLock<Units>,
    outbox: Mutex<Outbox>,
}

impl std::fmt::Debug for EmfRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmfRecorder").field("layout", &self.shared.layout).finish_non_exhaustive()
    }
}

impl EmfRecorder {
    /// Settings for a recorder that writes to `namespace`.
    pub fn builder(namespace: impl Into<String>) -> EmfRecorderBuilder {
        EmfRecorderBuilder::new(namespace.into())
    }

    pub(crate) fn new(layout: Layout) -> Self {
        let shared =
            Shared { layout, series: Series::new(SeriesStorage), units: RwLock::default(), outbox: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Writes everything recorded since the last flush, as of `now_unix_ms` (milliseconds since 1970), one line after
    /// the other, and flushes the sink. Nothing is written if nothing was recorded.
    ///
    /// # Errors
    /// [`FlushError::Write`] if the sink fails. Nothing is lost then: the next call, which must be given the same sink,
    /// first writes the rest of these lines, with their own time, and its report covers them.
    pub fn flush<W: Write + ?Sized>(&self, now_unix_ms: u64, out: &mut W) -> Result<FlushReport, FlushError> {
        let mut outbox = self.shared.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        outbox.send(out)?;
        let drained = series::drain(&self.shared.series);
        let (bytes, report) = {
            let units = self.shared.units.read().unwrap_or_else(PoisonError::into_inner);
            compose::compose(&self.shared.layout, &units, drained, now_unix_ms)
        };
        outbox.add(&bytes, report);
        outbox.send(out)?;
        Ok(outbox.take_report())
    }

    fn describe(&self, name: &KeyName, unit: Option<metrics::Unit>) {
        if let Some(unit) = unit {
            let mut units = self.shared.units.write().unwrap_or_else(PoisonError::into_inner);
            units.insert(name.as_str().to_owned(), Conversion::from(unit));
        }
    }
}

impl Recorder for EmfRecorder {
    fn describe_counter(&self, key: KeyName, unit: Option<metrics::Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<metrics::Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<metrics::Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.shared.series.get_or_create_counter(key, |series| Counter::from_arc(Arc::clone(series)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.shared.series.get_or_create_gauge(key, |series| Gauge::from_arc(Arc::clone(series)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.shared.series.get_or_create_histogram(key, |series| Histogram::from_arc(Arc::clone(series)))
    }
}
