//! Sinks that fail: nothing is lost, nothing is written twice.

use std::io::{self, ErrorKind, Write};

use metrics::{counter, gauge, histogram, with_local_recorder};
use muster_emf::{EmfRecorder, FlushError, FlushReport};
use proptest::prelude::*;

use crate::format;

/// Takes as many bytes at a time as it is told, and fails where it is told a zero.
struct Moody {
    moods: Vec<usize>,
    taken: Vec<u8>,
    flush_fails: bool,
}

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match self.moods.pop() {
            Some(0) => return Err(ErrorKind::BrokenPipe.into()),
            Some(1) => return Err(ErrorKind::Interrupted.into()),
            Some(most) => bytes.len().min(most),
            None => bytes.len(),
        };
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.flush_fails) { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_failing_sink_gets_everything_once(
        moods in prop::collection::vec(prop_oneof![Just(0usize), Just(1), 2..400usize], 0..40),
        flush_fails: bool,
    ) {
        let it = EmfRecorder::builder("N").build().unwrap();
        let mut sink = Moody { moods, taken: Vec::new(), flush_fails };
        let (mut report, mut expected, mut total) = (FlushReport::default(), Vec::new(), 0.0);
        for n in 0..60u32 {
            with_local_recorder(&it, || {
                histogram!("H").record(n);
                counter!("C").increment(u64::from(n));
                gauge!("G", "n" => format!("{n:02}")).set(n);
                counter!("").increment(1);
            });
            expected.push(f64::from(n));
            total += f64::from(n);
            match it.flush(n.into(), &mut sink) {
                Ok(more) => report.merge(more),
                Err(FlushError::Write(error)) => prop_assert_eq!(error.kind(), ErrorKind::BrokenPipe),
            }
        }
        prop_assert!(sink.moods.is_empty());
        let lines = format::parse_all(&sink.taken);
        let all = |metric: &str| -> Vec<f64> { lines.iter().flat_map(|it| it.values(metric)).copied().collect() };
        prop_assert_eq!(all("H"), &expected[..]);
        prop_assert_eq!(all("G"), expected);
        prop_assert_eq!(all("C").iter().sum::<f64>(), total);
        prop_assert_eq!(report.lines, lines.len());
        prop_assert_eq!(report.values, all("H").len() + all("G").len() + all("C").len());
        let times: Vec<u64> = lines.iter().map(|it| it.timestamp).collect();
        prop_assert!(times.is_sorted());
    }
}

#[test]
fn a_sink_that_takes_nothing_is_an_error() {
    let it = EmfRecorder::builder("N").build().unwrap();
    with_local_recorder(&it, || counter!("C").increment(1));
    let mut full = [0u8; 10];
    let FlushError::Write(error) = it.flush(1, &mut &mut full[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WriteZero);
    let mut rest = full.to_vec();
    let report = it.flush(2, &mut rest).unwrap();
    assert_eq!((report.lines, report.values), (1, 1));
    assert_eq!(format::parse_all(&rest)[0].values("C"), [1.0]);
}

#[test]
fn a_sink_may_be_a_trait_object() {
    let it = EmfRecorder::builder("N").build().unwrap();
    let sink: &mut dyn Write = &mut io::sink();
    assert!(it.flush(1, sink).unwrap().is_complete());
}
