//! Settings of a recorder: what is refused, and which sets a key gets.

use metrics::{counter, with_local_recorder};
use muster_emf::{ConfigError, EmfRecorder, EmfRecorderBuilder};

use crate::format;

fn error(builder: EmfRecorderBuilder) -> ConfigError {
    builder.build().expect_err("refused")
}

fn builder() -> EmfRecorderBuilder {
    EmfRecorder::builder("Muster").dimensions(["Pool", "Market", "Reason", "Outcome"])
}

#[test]
fn settings_that_cannot_work_are_refused() {
    assert!(matches!(error(EmfRecorder::builder("")), ConfigError::Name(_)));
    assert!(matches!(error(builder().dimensions([":x"])), ConfigError::Name(_)));
    assert!(matches!(error(builder().dimensions(["_aws"])), ConfigError::Name(_)));
    assert!(matches!(error(builder().dimensions(["Pool"])), ConfigError::RepeatedDimension { .. }));
    let many: Vec<String> = (0..31).map(|n| format!("D{n}")).collect();
    let too_many = EmfRecorder::builder("Muster").dimensions(many);
    assert!(matches!(error(too_many), ConfigError::TooManyDimensions { dimensions: 31 }));
    let set = |names: &[&'static str]| builder().dimension_sets("M", [names.to_vec()]);
    assert!(matches!(error(set(&["Job"])), ConfigError::NotAllowed { dimension, .. } if dimension == "Job"));
    assert!(matches!(error(set(&["Pool", "Pool"])), ConfigError::RepeatedDimension { .. }));
    assert!(matches!(error(builder().dimension_sets("", [["Pool"]])), ConfigError::Name(_)));
    let none: [[&str; 0]; 0] = [];
    assert!(matches!(error(builder().dimension_sets("M", none)), ConfigError::SetCount { sets: 0, .. }));
    assert!(matches!(error(builder().dimension_sets("M", [["Pool"]; 11])), ConfigError::SetCount { sets: 11, .. }));
}

fn sets(recorder: &EmfRecorder, record: impl FnOnce()) -> Vec<Vec<String>> {
    with_local_recorder(recorder, record);
    let (lines, _) = format::flush(recorder, 1);
    assert_eq!(lines.len(), 1);
    lines[0].sets.clone()
}

#[test]
fn the_usual_set_holds_the_allowed_labels_that_the_key_has() {
    let it = builder().build().unwrap();
    assert_eq!(sets(&it, || counter!("M").increment(1)), [[""; 0]]);
    assert_eq!(sets(&it, || counter!("M", "job" => "7").increment(1)), [[""; 0]]);
    let both = || counter!("M", "Market" => "spot", "job" => "7", "Pool" => "small").increment(1);
    assert_eq!(sets(&it, both), [["Pool", "Market"]]);
}

#[test]
fn sets_of_a_metric_apply_as_far_as_the_key_has_their_labels() {
    let it = builder().dimension_sets("M", [vec!["Pool"], vec!["Market", "Pool"]]).build().unwrap();
    let both = || counter!("M", "Market" => "spot", "Pool" => "small").increment(1);
    assert_eq!(sets(&it, both), [vec!["Pool"], vec!["Market", "Pool"]]);
    assert_eq!(sets(&it, || counter!("M", "Pool" => "small").increment(1)), [["Pool"]]);
    assert_eq!(sets(&it, || counter!("M", "Market" => "spot").increment(1)), [["Market"]]);
    assert_eq!(sets(&it, || counter!("M").increment(1)), [[""; 0]]);
    assert_eq!(sets(&it, || counter!("Other", "Market" => "spot").increment(1)), [["Market"]]);
}

#[test]
fn an_allowed_label_outside_all_sets_is_still_on_the_line() {
    let it = builder().dimension_sets("M", [[""; 0]]).build().unwrap();
    with_local_recorder(&it, || counter!("M", "Pool" => "small").increment(1));
    let (lines, _) = format::flush(&it, 1);
    assert_eq!(lines[0].sets, [[""; 0]]);
    assert_eq!(lines[0].properties["Pool"], "small");
}
