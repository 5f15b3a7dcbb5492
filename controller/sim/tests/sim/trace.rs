//! Traces: plain and compressed, garbled, cut and overlaid.

use std::io::Write;
use std::time::Duration;

use crate::world::{LINUX, job, run, single};
use flate2::Compression;
use flate2::write::GzEncoder;
use muster_sim::{Cut, Trace, TraceError};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/traces/acme-four-weeks.jsonl.gz");

fn three() -> String {
    [single(1, 0.5, "a", 1.0), single(2, 3_700.0, "b", 1.0), single(3, 3_800.0, "c", 1.0)].join("\n")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn error(text: &str) -> String {
    let trace = Trace::bytes("bad.jsonl", text.as_bytes().to_vec());
    trace.survey().unwrap_err().to_string()
}

#[test]
fn plain_and_compressed_read_the_same() {
    let plain = Trace::bytes("plain", three().into_bytes()).survey().unwrap();
    assert_eq!((plain.runs, plain.jobs), (3, 3));
    assert_eq!(plain, Trace::bytes("gz", gzip(&three())).survey().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("named-like-nothing");
    std::fs::write(&path, gzip(&(three() + "\n\n"))).unwrap();
    assert_eq!(plain, Trace::file(&path).survey().unwrap());
    assert_eq!(plain.busiest_hour(), Some((Duration::from_secs(3_700), Duration::from_secs(7_300))));
    let empty = Trace::bytes("empty", Vec::new()).survey().unwrap();
    assert_eq!((empty.runs, empty.busiest_hour()), (0, None));
}

#[test]
fn the_shipped_trace_is_what_its_readme_says() {
    let survey = Trace::file(SHIPPED).survey().unwrap();
    assert_eq!((survey.runs, survey.jobs, survey.label_sets.len()), (4_551, 36_940, 6));
    assert_eq!(survey.busiest_hour().unwrap().0, Duration::from_millis(189_467_700));
}

#[test]
fn every_error_names_its_place_and_a_remedy() {
    let good = single(1, 5.0, "a", 1.0);
    let cases = [
        (format!("{good}\nnonsense"), "bad.jsonl:2: is not a run", "see the trace format"),
        (format!("{good}\n{}", single(2, 4.0, "b", 1.0)), "bad.jsonl:2: t is 4 s", "sort the lines"),
        (single(1, -1.0, "a", 1.0), "bad.jsonl:1: t is -1", "write seconds"),
        (single(1, 1e12, "a", 1.0), "bad.jsonl:1: t is", "write seconds"),
        (
            run(1, 0.0, None, &[job("a", "a", &["b"], LINUX, 1.0)]),
            "needs \"b\", which is not in the run",
            "add that job",
        ),
        (
            run(1, 0.0, None, &[job("a", "a", &["b"], LINUX, 1.0), job("b", "b", &["a"], LINUX, 1.0)]),
            "bad.jsonl:1: its needs form a circle",
            "break the circle",
        ),
        (good.replace("acme/api", "api"), "repo is \"api\"", "write owner/name"),
    ];
    for (text, what, remedy) in cases {
        let error = error(&text);
        assert!(error.contains(what) && error.contains(remedy), "{error}");
    }
    let missing = Trace::file("/no/such/trace.jsonl").survey().unwrap_err().to_string();
    assert!(missing.starts_with("/no/such/trace.jsonl: cannot be opened"), "{missing}");
    assert!(missing.ends_with("name an existing .jsonl or .jsonl.gz file"), "{missing}");
    // Cut short, and garbled in the middle. A good start is delivered first.
    let whole = gzip(&three());
    let cut = Trace::bytes("cut.gz", whole[..whole.len() - 12].to_vec()).survey().unwrap_err();
    assert!(matches!(&cut, TraceError::Line { remedy, .. } if remedy.contains("copy it again")), "{cut}");
    let mut garbled = whole.clone();
    let middle = garbled.len() / 2;
    garbled[middle..middle + 4].fill(0xff);
    assert!(Trace::bytes("garbled.gz", garbled).survey().is_err());
    let mut runs = Trace::bytes("late", format!("{good}\nnonsense").into_bytes()).load(Cut::WHOLE).unwrap();
    assert!(runs.next().unwrap().is_ok());
    assert!(runs.next().unwrap().is_err());
    assert!(runs.next().is_none());
}

#[test]
fn a_window_is_rebased() {
    let trace = Trace::bytes("t", three().into_bytes());
    let cut = Cut::window(Duration::from_secs(3_600), Duration::from_secs(3_800));
    let runs: Vec<_> = trace.load(cut).unwrap().map(Result::unwrap).collect();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].id.0, runs[0].at), (2, Duration::from_secs(100)));
}

#[test]
fn copies_are_laid_over_each_other_apart_and_in_order() {
    let trace = Trace::file(SHIPPED);
    let mut ids = std::collections::BTreeSet::new();
    let mut repositories = std::collections::BTreeSet::new();
    let mut last = Duration::ZERO;
    for run in trace.load(Cut { scale: 3, ..Cut::WHOLE }).unwrap() {
        let run = run.unwrap();
        assert!(run.at >= last);
        last = run.at;
        assert!(ids.insert(run.id));
        assert!(run.repository.starts_with("acme/"));
        repositories.insert(run.repository);
    }
    assert_eq!(ids.len(), 3 * 4_551);
    let single: std::collections::BTreeSet<_> =
        trace.load(Cut::WHOLE).unwrap().map(|run| run.unwrap().repository).collect();
    assert_eq!(repositories.len(), 3 * single.len());
    let error = trace.load(Cut { scale: 0, ..Cut::WHOLE }).err().unwrap().to_string();
    assert!(error.contains("choose a scale from 1"), "{error}");
}

#[test]
fn a_run_id_without_room_for_a_copy_is_told_with_its_line() {
    let huge = single(1, 5.0, "a", 1.0).replace("\"run_id\":1", &format!("\"run_id\":{}", i64::MAX));
    let trace = Trace::bytes("huge.jsonl", format!("{}\n{huge}", single(1, 0.0, "a", 1.0)).into_bytes());
    assert!(trace.load(Cut::WHOLE).unwrap().all(|run| run.is_ok()), "alone it is as good as any");
    let error = trace.load(Cut { scale: 2, ..Cut::WHOLE }).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(error.contains("huge.jsonl:2: run_id is 9223372036854775807"), "{error}");
    assert!(error.contains("overlay fewer copies"), "{error}");
}
