//! Where recorded values wait for the next flush.
//!
//! What lives here: the storage behind the facade's handles, and how a flush takes from it. What may not: units,
//! dimensions, lines.
//!
//! Invariant: each increment and each sample is taken by exactly one drain, whatever records meanwhile.
//!
//! That is why a histogram is a plain list under a lock and not the `AtomicBucket` of `metrics-util` (0.20.4): that one is
//! emptied by unhooking its blocks, and a thread that had found its block just before then writes into a block which
//! nobody reads any more. With four threads recording and one emptying it, up to 4 % of the samples went missing.

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::atomics::AtomicU64;
use metrics::{CounterFn, GaugeFn, HistogramFn, Key};
use metrics_util::registry::{Registry, Storage};

use crate::limits::COUNTER_STEP_MAX;

/// All series of a recorder.
pub(crate) type Series = Registry<Key, SeriesStorage>;

/// Creates the series of each kind.
#[derive(Debug)]
pub(crate) struct SeriesStorage;

impl Storage<Key> for SeriesStorage {
    type Counter = Arc<CounterSeries>;
    type Gauge = Arc<GaugeSeries>;
    type Histogram = Arc<HistogramSeries>;

    fn counter(&self, _: &Key) -> Self::Counter {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        Arc::default()
    }

    fn histogram(&self, _: &Key) -> Self::Histogram {
        Arc::default()
    }
}

/// Takes what was recorded since the last drain, ordered by key.
///
/// A counter or histogram that holds nothing and that no handle points to is forgotten, so that labels which never come
/// back (a job, a run) do not pile up. Gauges stay: `increment` needs the value before. So do counters that follow an
/// outside total through `absolute`. Drains must not overlap.
pub(crate) fn drain(series: &Series) -> Vec<(Key, Vec<f64>)> {
    let mut drained = Vec::new();
    series.retain_counters(|key, counter| {
        let held = is_held(counter);
        if let Some(delta) = counter.take() {
            drained.push((key.clone(), vec![delta]));
        }
        held || counter.must_stay()
    });
    series.visit_gauges(|key, gauge| {
        if let Some(value) = gauge.take() {
            drained.push((key.clone(), vec![value]));
        }
    });
    series.retain_histograms(|key, histogram| {
        let held = is_held(histogram);
        let samples = histogram.take();
        if !samples.is_empty() {
            drained.push((key.clone(), samples));
        }
        held
    });
    drained.sort_by(|(one, _), (other, _)| one.cmp(other));
    drained
}

/// Whether a handle points to the series. To be asked under the registry's write lock, where no handle can be made, and
/// before the series is emptied: then "no" means that nothing can be recorded to it any more.
fn is_held<T>(series: &Arc<T>) -> bool {
    let held = Arc::strong_count(series) > 1;
    // The last handle's writes came before its drop; the count alone, read without order, would not make them visible.
    fence(Ordering::Acquire);
    held
}

/// A running total and how much of it was taken.
#[derive(Debug, Default)]
pub(crate) struct CounterSeries {
    total: AtomicU64,
    taken: AtomicU64,
    follows: AtomicBool,
}

impl CounterSeries {
    /// The increase since the last time, `None` if there was none.
    fn take(&self) -> Option<f64> {
        let delta = self.untaken().min(COUNTER_STEP_MAX);
        self.taken.fetch_add(delta, Ordering::Relaxed);
        // Exact: COUNTER_STEP_MAX is the limit of that.
        (delta > 0).then_some(delta as f64)
    }

    fn untaken(&self) -> u64 {
        self.total.load(Ordering::Acquire).wrapping_sub(self.taken.load(Ordering::Relaxed))
    }

    fn must_stay(&self) -> bool {
        self.follows.load(Ordering::Acquire) || self.untaken() > 0
    }
}

impl CounterFn for CounterSeries {
    fn increment(&self, value: u64) {
        CounterFn::increment(&self.total, value);
    }

    fn absolute(&self, value: u64) {
        self.follows.store(true, Ordering::Release);
        self.total.absolute(value);
    }
}

/// The last value, and whether it was set since the last drain.
#[derive(Debug, Default)]
pub(crate) struct GaugeSeries {
    bits: AtomicU64,
    touched: AtomicBool,
}

impl GaugeSeries {
    fn take(&self) -> Option<f64> {
        let touched = self.touched.swap(false, Ordering::AcqRel);
        touched.then(|| f64::from_bits(self.bits.load(Ordering::Acquire)))
    }

    fn touch(&self) {
        self.touched.store(true, Ordering::Release);
    }
}

impl GaugeFn for GaugeSeries {
    fn increment(&self, value: f64) {
        GaugeFn::increment(&self.bits, value);
        self.touch();
    }

    fn decrement(&self, value: f64) {
        self.bits.decrement(value);
        self.touch();
    }

    fn set(&self, value: f64) {
        self.bits.set(value);
        self.touch();
    }
}

/// All samples since the last drain, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct HistogramSeries {
    samples: Mutex<Vec<f64>>,
}

impl HistogramSeries {
    fn samples(&self) -> MutexGuard<'_, Vec<f64>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.samples())
    }
}

impl HistogramFn for HistogramSeries {
    fn record(&self, value: f64) {
        self.samples().push(value);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.samples().extend(iter::repeat_n(value, count));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use metrics::{HistogramFn, Key};

    use super::{Series, SeriesStorage, drain};

    const THREADS: u32 = 4;
    const SAMPLES: u32 = 200_000;

    /// One histogram, recorded to and drained at full speed with nothing else to do: `AtomicBucket` fails this.
    #[test]
    fn a_histogram_loses_nothing_to_a_drain() {
        let series = Series::new(SeriesStorage);
        let running = AtomicUsize::new(THREADS as usize);
        let mut found: Vec<f64> = Vec::new();
        let mut take = || drain(&series).into_iter().for_each(|(_, samples)| found.extend(samples));
        thread::scope(|scope| {
            for number in 0..THREADS {
                let histogram = series.get_or_create_histogram(&Key::from_name("H"), |it| it.clone());
                let running = &running;
                scope.spawn(move || {
                    for sample in 0..SAMPLES {
                        histogram.record(f64::from(number * SAMPLES + sample));
                    }
                    running.fetch_sub(1, Ordering::Release);
                });
            }
            while running.load(Ordering::Acquire) > 0 {
                take();
            }
        });
        take();
        take();
        found.sort_by(f64::total_cmp);
        let all: Vec<f64> = (0..THREADS * SAMPLES).map(f64::from).collect();
        assert!(found == all, "{} samples of {}", found.len(), all.len());
    }
}
