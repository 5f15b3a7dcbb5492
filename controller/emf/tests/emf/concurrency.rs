//! Many threads record while others flush: every increment and sample is written once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use metrics::{Key, Recorder, counter, gauge, histogram, with_local_recorder};
use muster_emf::EmfRecorder;

use crate::format;

const RECORDERS: u32 = 4;
const FLUSHERS: usize = 2;
const ROUNDS: u32 = 20_000;

/// Each sample is a number of its own, so a loss and a repetition both show. Half of the recordings go through macros,
/// which let go of their handles at once (so that series are forgotten and made anew under way), half through handles
/// that are kept.
#[test]
fn every_recording_is_written_once() {
    let it = EmfRecorder::builder("N").dimensions(["Thread"]).build().unwrap();
    let running = AtomicUsize::new(RECORDERS as usize);
    let output = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..RECORDERS {
            let (it, running) = (&it, &running);
            scope.spawn(move || {
                let meta = metrics::Metadata::new("test", metrics::Level::INFO, None);
                let kept_samples = it.register_histogram(&Key::from_name("Kept"), &meta);
                let kept_count = it.register_counter(&Key::from_name("KeptCount"), &meta);
                with_local_recorder(it, || {
                    for round in 0..ROUNDS {
                        let sample = number * ROUNDS + round;
                        histogram!("Shared").record(sample);
                        histogram!("Own", "Thread" => number.to_string()).record(sample);
                        counter!("Count").increment(1);
                        counter!("OwnCount", "job" => (sample % 977).to_string()).increment(2);
                        gauge!("Depth", "Thread" => number.to_string()).set(round);
                        kept_samples.record(sample);
                        kept_count.increment(3);
                    }
                });
                running.fetch_sub(1, Ordering::Release);
            });
        }
        for _ in 0..FLUSHERS {
            scope.spawn(|| {
                let mut mine = Vec::new();
                while running.load(Ordering::Acquire) > 0 {
                    assert!(it.flush(1, &mut mine).unwrap().is_complete());
                    thread::yield_now();
                }
                output.lock().unwrap().extend(mine);
            });
        }
    });
    let mut output = output.into_inner().unwrap();
    assert!(it.flush(1, &mut output).unwrap().is_complete());

    let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in format::parse_all(&output) {
        for (metric, (_, values)) in line.metrics {
            found.entry(metric).or_default().extend(values);
        }
    }
    let all: Vec<f64> = (0..RECORDERS * ROUNDS).map(f64::from).collect();
    for metric in ["Shared", "Own", "Kept"] {
        let samples = found.get_mut(metric).unwrap();
        samples.sort_by(f64::total_cmp);
        assert!(*samples == all, "{metric}: {} samples of {}", samples.len(), all.len());
    }
    for (metric, by) in [("Count", 1), ("OwnCount", 2), ("KeptCount", 3)] {
        assert_eq!(found[metric].iter().sum::<f64>(), f64::from(RECORDERS * ROUNDS * by), "{metric}");
    }
    let last = f64::from(ROUNDS - 1);
    assert!(found["Depth"].iter().filter(|value| **value == last).count() >= RECORDERS as usize);
}
