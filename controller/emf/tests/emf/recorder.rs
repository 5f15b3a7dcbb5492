//! The recorder on one thread: kinds of metrics, labels, grouping, refusals.

use std::collections::BTreeMap;

use metrics::{Key, Label, Recorder, counter, gauge, histogram, with_local_recorder};
use muster_emf::{DocumentError, EmfRecorder};
use proptest::prelude::*;

use crate::format;

const META: metrics::Metadata<'_> = metrics::Metadata::new("test", metrics::Level::INFO, None);

fn recorder() -> EmfRecorder {
    EmfRecorder::builder("Muster").dimensions(["Pool", "Market", "Reason", "Outcome"]).build().expect("good settings")
}

fn only_line(recorder: &EmfRecorder) -> format::Line {
    let (mut lines, report) = format::flush(recorder, 7);
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

fn silent(recorder: &EmfRecorder) {
    assert_eq!(format::flush(recorder, 7).0, []);
}

#[test]
fn the_example_of_the_crate_is_valid() {
    let recorder = EmfRecorder::builder("Example").dimensions(["Pool"]).build().unwrap();
    recorder.describe_histogram("QueueTime".into(), Some(metrics::Unit::Seconds), "".into());
    with_local_recorder(&recorder, || {
        histogram!("QueueTime", "Pool" => "small", "repository" => "a/b").record(4.0);
        histogram!("QueueTime", "Pool" => "small", "repository" => "a/b").record(6.5);
    });
    let line = only_line(&recorder);
    assert_eq!((line.timestamp, &*line.namespace), (7, "Example"));
    assert_eq!(line.metrics["QueueTime"], ("Seconds".to_owned(), vec![4.0, 6.5]));
    assert_eq!(line.properties["repository"], "a/b");
}

#[test]
fn nothing_recorded_writes_nothing() {
    let it = recorder();
    silent(&it);
    with_local_recorder(&it, || {
        counter!("C").increment(0);
        let _registered = (gauge!("G"), histogram!("H"));
    });
    silent(&it);
}

#[test]
fn counters_are_deltas() {
    let it = recorder();
    let counter = it.register_counter(&Key::from_name("C"), &META);
    counter.increment(2);
    counter.increment(3);
    assert_eq!(only_line(&it).values("C"), [5.0]);
    silent(&it);
    counter.increment(1);
    drop(counter);
    assert_eq!(only_line(&it).values("C"), [1.0]);
    silent(&it);
    with_local_recorder(&it, || counter!("C").increment(4));
    assert_eq!(only_line(&it).values("C"), [4.0]);
}

#[test]
fn a_counter_that_follows_a_total_remembers_it() {
    let it = recorder();
    let absolute = |total| with_local_recorder(&it, || counter!("C").absolute(total));
    absolute(100);
    assert_eq!(only_line(&it).values("C"), [100.0]);
    silent(&it);
    absolute(90);
    silent(&it);
    absolute(103);
    assert_eq!(only_line(&it).values("C"), [3.0]);
}

#[test]
fn a_count_too_large_to_be_exact_is_written_in_steps() {
    let it = recorder();
    let large = (1 << 53) + 1;
    with_local_recorder(&it, || counter!("C").increment(large));
    assert_eq!(only_line(&it).values("C"), [2f64.powi(53)]);
    assert_eq!(only_line(&it).values("C"), [1.0]);
    silent(&it);
}

#[test]
fn gauges_write_their_last_value_when_they_were_set() {
    let it = recorder();
    let gauge = it.register_gauge(&Key::from_name("G"), &META);
    gauge.set(5.0);
    gauge.set(7.0);
    assert_eq!(only_line(&it).values("G"), [7.0]);
    silent(&it);
    gauge.set(7.0);
    assert_eq!(only_line(&it).values("G"), [7.0]);
    drop(gauge);
    silent(&it);
    with_local_recorder(&it, || gauge!("G").increment(1.5));
    assert_eq!(only_line(&it).values("G"), [8.5]);
    with_local_recorder(&it, || gauge!("G").decrement(0.5));
    assert_eq!(only_line(&it).values("G"), [8.0]);
}

#[test]
fn histograms_write_every_sample() {
    let it = recorder();
    let histogram = it.register_histogram(&Key::from_name("H"), &META);
    let samples: Vec<f64> = (0..250).map(f64::from).collect();
    for sample in &samples {
        histogram.record(*sample);
    }
    histogram.record_many(0.5, 3);
    let (lines, _) = format::flush(&it, 7);
    assert_eq!(lines.len(), 3);
    let found: Vec<f64> = lines.iter().flat_map(|line| line.values("H")).copied().collect();
    assert_eq!(found[..250], samples);
    assert_eq!(found[250..], [0.5; 3]);
    silent(&it);
}

#[test]
fn keys_that_agree_in_all_labels_share_a_line() {
    let it = recorder();
    with_local_recorder(&it, || {
        counter!("A", "Pool" => "small", "job" => "1").increment(1);
        gauge!("B", "job" => "1", "Pool" => "small").set(2.0);
        histogram!("C", "Pool" => "small", "job" => "2").record(3.0);
        histogram!("D", "Pool" => "large", "job" => "1").record(4.0);
        histogram!("E", "Pool" => "small").record(5.0);
    });
    let (lines, _) = format::flush(&it, 7);
    let together: Vec<Vec<&str>> = lines.iter().map(|line| line.metrics.keys().map(String::as_str).collect()).collect();
    assert_eq!(together, [vec!["D"], vec!["E"], vec!["A", "B"], vec!["C"]]);
    assert_eq!(lines[2].dimensions, BTreeMap::from([("Pool".to_owned(), "small".to_owned())]));
    assert_eq!(lines[2].properties, BTreeMap::from([("job".to_owned(), "1".into())]));
}

#[test]
fn a_counter_and_a_histogram_of_one_name_lose_nothing() {
    let it = recorder();
    with_local_recorder(&it, || {
        counter!("X").increment(2);
        histogram!("X").record(3.0);
        gauge!("X").set(4.0);
    });
    let mut values = only_line(&it).values("X").to_vec();
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [2.0, 3.0, 4.0]);
}

#[test]
fn dimensions_that_become_equal_share_a_line() {
    let it = recorder();
    let long = "x".repeat(1024);
    for end in ["", "1", "2"] {
        let pool = format!("{long}{end}");
        with_local_recorder(&it, || counter!("C", "Pool" => pool).increment(1));
    }
    let line = only_line(&it);
    assert_eq!(line.dimensions["Pool"], long);
    assert_eq!(line.values("C"), [1.0; 3]);
}

#[test]
fn labels_with_awkward_names_and_values_stay_on_the_line() {
    let it = recorder();
    let labels =
        [("", "empty"), ("_aws", "reserved"), ("C", "metric"), ("label.C", "taken"), ("Pool", " "), ("é\n", "ü\n")];
    let key = Key::from_parts("C", labels.map(|(key, value)| Label::new(key, value)).to_vec());
    it.register_counter(&key, &META).increment(1);
    let line = only_line(&it);
    assert_eq!(line.sets, [[""; 0]]);
    assert_eq!(line.values("C"), [1.0]);
    let expected = [
        ("label.", "empty"),
        ("label._aws", "reserved"),
        ("label.C", "metric"),
        ("label.label.C", "taken"),
        ("Pool", " "),
        ("é\n", "ü\n"),
    ];
    assert_eq!(line.properties, expected.map(|(key, value)| (key.to_owned(), value.into())).into());
}

#[test]
fn of_a_label_given_twice_the_last_counts() {
    let it = recorder();
    let labels = ["a", "b"].map(|value| Label::new("Pool", value)).to_vec();
    it.register_counter(&Key::from_parts("C", labels), &META).increment(1);
    assert_eq!(only_line(&it).dimensions["Pool"], "b");
}

#[test]
fn what_cannot_be_written_is_reported() {
    let it = recorder();
    with_local_recorder(&it, || {
        counter!("").increment(3);
        histogram!("Pool", "Pool" => "small").record_many(1.0, 4);
        counter!("Good", "Pool" => "small").increment(1);
        histogram!("H").record(f64::NAN);
        gauge!("G").set(f64::INFINITY);
    });
    let (lines, report) = format::flush(&it, 7);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].values("Good"), [1.0]);
    assert!(!report.is_complete());
    assert_eq!((report.values, report.values_refused), (1, 2));
    let refused: Vec<_> = report.refusals.iter().map(|it| (it.metrics.join(","), it.values)).collect();
    assert_eq!(refused, [(String::new(), 1), ("Pool".to_owned(), 4)]);
    assert!(matches!(report.refusals[1].error, DocumentError::NameTaken { .. }));
    silent(&it);
}

#[test]
fn labels_too_large_for_a_line_give_way_to_the_values() {
    let it = recorder();
    let huge = "x".repeat(1_100_000);
    with_local_recorder(&it, || counter!("C", "Pool" => "small", "log" => huge, "job" => "1").increment(1));
    let (lines, report) = format::flush(&it, 7);
    assert_eq!((report.labels_left_out, report.values, report.is_complete()), (2, 1, false));
    assert_eq!(lines[0].values("C"), [1.0]);
    assert_eq!(lines[0].dimensions["Pool"], "small");
}

#[test]
fn the_same_recordings_give_the_same_bytes() {
    let output = || {
        let it = recorder();
        with_local_recorder(&it, || {
            for n in 0..200 {
                histogram!(format!("H{}", n % 7), "Pool" => format!("p{}", n % 5)).record(f64::from(n));
                counter!(format!("C{}", n % 11), "job" => format!("j{}", n % 3)).increment(1);
            }
        });
        let mut output = Vec::new();
        assert!(it.flush(7, &mut output).unwrap().is_complete());
        format::parse_all(&output);
        output
    };
    assert_eq!(output(), output());
}

/// A step of the model test below.
#[derive(Clone, Debug)]
enum Step {
    Count(u8, u8, u32),
    Sample(u8, u8, i32),
    Set(u8, u8, i32),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let (name, pool) = (0..3u8, 0..3u8);
    prop_oneof![
        (name.clone(), pool.clone(), any::<u32>()).prop_map(|(n, p, by)| Step::Count(n, p, by)),
        (name.clone(), pool.clone(), any::<i32>()).prop_map(|(n, p, it)| Step::Sample(n, p, it)),
        (name, pool, any::<i32>()).prop_map(|(n, p, it)| Step::Set(n, p, it)),
        Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order of recordings and flushes: sums, samples and last values per metric and pool agree.
    #[test]
    fn all_flushes_together_say_what_was_recorded(steps in prop::collection::vec(step(), 0..80)) {
        let it = recorder();
        let mut expected: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
        let mut found: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
        let mut collect = |lines: Vec<format::Line>| {
            for line in lines {
                for (metric, (_, values)) in line.metrics {
                    let entry = found.entry((metric.clone(), line.dimensions["Pool"].clone())).or_default();
                    match &metric[..1] {
                        "C" => *entry = vec![entry.iter().chain(&values).sum()],
                        "G" => *entry = values,
                        _ => entry.extend(values),
                    }
                }
            }
        };
        for step in steps.into_iter().chain([Step::Flush]) {
            with_local_recorder(&it, || match step {
                Step::Count(name, pool, by) => {
                    let (name, pool) = (format!("C{name}"), pool.to_string());
                    counter!(name.clone(), "Pool" => pool.clone()).increment(by.into());
                    if by > 0 {
                        let entry = expected.entry((name, pool)).or_default();
                        *entry = vec![entry.iter().sum::<f64>() + f64::from(by)];
                    }
                }
                Step::Sample(name, pool, sample) => {
                    let (name, pool) = (format!("H{name}"), pool.to_string());
                    histogram!(name.clone(), "Pool" => pool.clone()).record(sample);
                    expected.entry((name, pool)).or_default().push(sample.into());
                }
                Step::Set(name, pool, value) => {
                    let (name, pool) = (format!("G{name}"), pool.to_string());
                    gauge!(name.clone(), "Pool" => pool.clone()).set(value);
                    expected.insert((name, pool), vec![value.into()]);
                }
                Step::Flush => collect(format::flush(&it, 7).0),
            });
        }
        prop_assert_eq!(found, expected);
    }
}
