//! Units: only CloudWatch's own reach a line, and a converted value means the same.

use metrics::{Recorder, histogram, with_local_recorder};
use muster_emf::{Conversion, Document, EmfRecorder, Unit};

use crate::format;

const FACADE: [(metrics::Unit, &str, f64); 17] = [
    (metrics::Unit::Count, "Count", 3.0),
    (metrics::Unit::Percent, "Percent", 3.0),
    (metrics::Unit::Seconds, "Seconds", 3.0),
    (metrics::Unit::Milliseconds, "Milliseconds", 3.0),
    (metrics::Unit::Microseconds, "Microseconds", 3.0),
    (metrics::Unit::Nanoseconds, "Microseconds", 0.003),
    (metrics::Unit::Tebibytes, "Bytes", 3_298_534_883_328.0),
    (metrics::Unit::Gibibytes, "Bytes", 3_221_225_472.0),
    (metrics::Unit::Mebibytes, "Bytes", 3_145_728.0),
    (metrics::Unit::Kibibytes, "Bytes", 3_072.0),
    (metrics::Unit::Bytes, "Bytes", 3.0),
    (metrics::Unit::TerabitsPerSecond, "Terabits/Second", 3.0),
    (metrics::Unit::GigabitsPerSecond, "Gigabits/Second", 3.0),
    (metrics::Unit::MegabitsPerSecond, "Megabits/Second", 3.0),
    (metrics::Unit::KilobitsPerSecond, "Kilobits/Second", 3.0),
    (metrics::Unit::BitsPerSecond, "Bits/Second", 3.0),
    (metrics::Unit::CountPerSecond, "Count/Second", 3.0),
];

#[test]
fn every_unit_of_the_facade_becomes_one_of_cloudwatch() {
    let recorder = EmfRecorder::builder("N").build().unwrap();
    for (unit, _, _) in FACADE {
        recorder.describe_histogram(unit.as_str().into(), Some(unit), "".into());
        recorder.describe_histogram(unit.as_str().into(), None, "says nothing about the unit".into());
        with_local_recorder(&recorder, || histogram!(unit.as_str()).record(3.0));
    }
    let (lines, report) = format::flush(&recorder, 1);
    assert!(report.is_complete());
    for (unit, name, value) in FACADE {
        assert_eq!(lines[0].metrics[unit.as_str()], (name.to_owned(), vec![value]), "{unit:?}");
        assert_eq!(Conversion::from(unit).unit.as_str(), name);
    }
}

#[test]
fn every_unit_of_cloudwatch_is_valid() {
    assert_eq!(Unit::ALL.len(), 27);
    let mut document = Document::new("N", 1).unwrap();
    for unit in Unit::ALL {
        document.metric(format!("M{unit}"), *unit, [1.0]).unwrap();
    }
    let line = format::parse(&document.render().unwrap().lines[0]);
    for unit in Unit::ALL {
        assert_eq!(line.metrics[&format!("M{unit}")].0, unit.as_str());
    }
}

#[test]
fn without_a_description_there_is_no_unit() {
    let recorder = EmfRecorder::builder("N").build().unwrap();
    with_local_recorder(&recorder, || histogram!("M").record(1.0));
    assert_eq!(format::flush(&recorder, 1).0[0].metrics["M"].0, "None");
}

#[test]
fn a_value_that_grows_too_large_in_its_unit_is_refused_and_counted() {
    let recorder = EmfRecorder::builder("N").build().unwrap();
    recorder.describe_histogram("M".into(), Some(metrics::Unit::Tebibytes), "".into());
    with_local_recorder(&recorder, || {
        histogram!("M").record(f64::MAX);
        histogram!("M").record(2f64.powi(330));
        histogram!("M").record(1.0);
    });
    let (lines, report) = format::flush(&recorder, 1);
    assert_eq!((report.values, report.values_refused), (1, 2));
    assert_eq!(lines[0].values("M"), [2f64.powi(40)]);
}
