//! Documents: names, dimensions, properties, refusals.

use muster_emf::{Document, DocumentError, NameError, NameKind, Rendered, Unit};
use serde_json::json;

use crate::format;

fn document() -> Document {
    Document::new("Muster", 1_700_000_000_000).expect("a namespace")
}

fn only_line(document: &Document) -> format::Line {
    let rendered = document.render().expect("it fits");
    assert_eq!(rendered.lines.len(), 1);
    format::parse(&rendered.lines[0])
}

#[test]
fn a_line_reads_as_the_format_says() {
    let mut it = document();
    it.dimension("Pool", "small").unwrap().dimension("Market", "spot").unwrap();
    it.dimension_set(["Pool", "Market"]).unwrap().dimension_set::<&str>([]).unwrap();
    it.metric("QueueTime", Unit::Seconds, [1.5, 2.0]).unwrap().metric("JobsStarted", Unit::Count, [3.0]).unwrap();
    it.property("repository", "octo/cat").unwrap().property("run", json!({"id": 7})).unwrap();
    let rendered = it.render().unwrap();
    assert_eq!((rendered.values, rendered.values_refused), (3, 0));
    assert_eq!(
        rendered.lines,
        [concat!(
            r#"{"_aws":{"Timestamp":1700000000000,"CloudWatchMetrics":[{"Namespace":"Muster","#,
            r#""Dimensions":[["Pool","Market"],[]],"#,
            r#""Metrics":[{"Name":"JobsStarted","Unit":"Count"},{"Name":"QueueTime","Unit":"Seconds"}]}]},"#,
            r#""Market":"spot","Pool":"small","JobsStarted":3.0,"QueueTime":[1.5,2.0],"#,
            r#""repository":"octo/cat","run":{"id":7}}"#
        )]
    );
    format::parse(&rendered.lines[0]);
}

#[test]
fn without_a_set_there_is_one_of_all_dimensions() {
    let mut it = document();
    it.metric("M", Unit::None, [1.0]).unwrap();
    assert_eq!(only_line(&it).sets, [Vec::<String>::new()]);
    it.dimension("B", "b").unwrap().dimension("A", "a").unwrap();
    assert_eq!(only_line(&it).sets, [["A", "B"]]);
}

#[test]
fn a_set_given_twice_counts_once() {
    let mut it = document();
    it.metric("M", Unit::None, [1.0]).unwrap();
    it.dimension("B", "b").unwrap().dimension("A", "a").unwrap();
    it.dimension_set(["A", "B"]).unwrap().dimension_set(["B", "A"]).unwrap();
    assert_eq!(only_line(&it).sets, [["A", "B"]]);
}

#[test]
fn sets_are_checked() {
    let mut it = document();
    it.dimension("A", "a").unwrap();
    assert!(matches!(it.dimension_set(["B"]), Err(DocumentError::UnknownDimension { name }) if name == "B"));
    assert!(matches!(it.dimension_set(["A", "A"]), Err(DocumentError::RepeatedDimension { .. })));
    let names: Vec<String> = (0..31).map(|n| format!("D{n}")).collect();
    for name in &names {
        it.dimension(name, "x").unwrap();
    }
    assert!(matches!(it.dimension_set(names.clone()), Err(DocumentError::LargeSet { keys: 31 })));
    assert!(matches!(it.render(), Err(DocumentError::LargeSet { keys: 32 })));
    it.dimension_set(names[1..].to_vec()).unwrap().metric("M", Unit::None, [1.0]).unwrap();
    assert_eq!(only_line(&it).sets[0].len(), 30);
}

#[test]
fn dimension_values_are_made_acceptable() {
    let mut it = document();
    it.dimension("Long", &"x".repeat(2_000)).unwrap().dimension("Odd", "bücher\tund mehr").unwrap();
    it.metric("M", Unit::None, [1.0]).unwrap();
    let line = only_line(&it);
    assert_eq!(line.dimensions["Long"].len(), 1024);
    assert_eq!(line.dimensions["Odd"], "b?cher?und mehr");
    for blank in ["", "  ", "\t", &" ".repeat(2_000)] {
        assert!(matches!(it.dimension("Blank", blank), Err(DocumentError::BlankDimension { .. })));
    }
}

#[test]
fn names_are_checked() {
    let long = |chars: usize| "n".repeat(chars);
    assert!(matches!(Document::new("", 0), Err(DocumentError::Name(NameError::Blank { kind: NameKind::Namespace }))));
    assert!(matches!(Document::new("a\nb", 0), Err(DocumentError::Name(NameError::Character { .. }))));
    assert!(matches!(Document::new(":n", 0), Err(DocumentError::Name(NameError::Colon { .. }))));
    assert!(matches!(Document::new(long(1025), 0), Err(DocumentError::Name(NameError::TooLong { chars: 1025, .. }))));

    let mut it = Document::new(long(1024), 0).unwrap();
    for bad in ["", " ", "_aws", "é", "\u{7f}", ":m"] {
        assert!(matches!(it.metric(bad, Unit::None, [1.0]), Err(DocumentError::Name(_))), "{bad:?}");
        assert!(matches!(it.dimension(bad, "d"), Err(DocumentError::Name(_))), "{bad:?}");
    }
    assert!(matches!(it.metric(long(1025), Unit::None, [1.0]), Err(DocumentError::Name(NameError::TooLong { .. }))));
    assert!(matches!(it.dimension(long(251), "d"), Err(DocumentError::Name(NameError::TooLong { .. }))));
    assert!(matches!(it.property("_aws", 1), Err(DocumentError::Name(NameError::Reserved { .. }))));
    assert!(matches!(it.property("", 1), Err(DocumentError::Name(NameError::Blank { .. }))));

    it.metric(long(1024), Unit::None, [1.0]).unwrap();
    it.dimension(long(250), "d").unwrap();
    it.property("é", 1).unwrap();
    assert_eq!(only_line(&it).metrics.len(), 1);
}

#[test]
fn a_name_means_one_thing() {
    let mut it = document();
    it.dimension("D", "d").unwrap().metric("M", Unit::None, [1.0]).unwrap().property("P", "p").unwrap();
    let taken = |result: Result<&mut Document, DocumentError>| match result {
        Err(DocumentError::NameTaken { taken_by, wanted, .. }) => (taken_by, wanted),
        other => panic!("{other:?}"),
    };
    use NameKind::{Dimension, Metric, Property};
    assert_eq!(taken(it.dimension("D", "x")), (Dimension, Dimension));
    assert_eq!(taken(it.dimension("M", "x")), (Metric, Dimension));
    assert_eq!(taken(it.dimension("P", "x")), (Property, Dimension));
    assert_eq!(taken(it.metric("D", Unit::None, [2.0])), (Dimension, Metric));
    assert_eq!(taken(it.metric("P", Unit::None, [2.0])), (Property, Metric));
    assert_eq!(taken(it.property("D", 2)), (Dimension, Property));
    assert_eq!(taken(it.property("M", 2)), (Metric, Property));
    assert_eq!(taken(it.property("P", 2)), (Property, Property));
    let line = only_line(&it);
    assert_eq!((&*line.dimensions["D"], line.values("M"), &line.properties["P"]), ("d", &[1.0][..], &json!("p")));
}

#[test]
fn a_metric_grows_but_keeps_its_unit() {
    let mut it = document();
    it.metric("M", Unit::Count, [1.0]).unwrap().metric("M", Unit::Count, [2.0]).unwrap();
    assert!(matches!(
        it.metric("M", Unit::Bytes, [3.0]),
        Err(DocumentError::Unit { first: Unit::Count, second: Unit::Bytes, .. })
    ));
    assert_eq!(only_line(&it).values("M"), [1.0, 2.0]);
}

#[test]
fn numbers_that_cloudwatch_refuses_are_counted() {
    let mut it = document();
    let limit = 2f64.powi(360);
    it.metric("M", Unit::None, [1.0, f64::NAN, f64::INFINITY, limit, -limit, limit * 1.000_001]).unwrap();
    it.metric("Nothing", Unit::None, [f64::NEG_INFINITY]).unwrap();
    let Rendered { lines, values, values_refused } = it.render().unwrap();
    assert_eq!((lines.len(), values, values_refused), (1, 3, 4));
    let line = format::parse(&lines[0]);
    assert_eq!(line.values("M"), [1.0, limit, -limit]);
    assert!(!lines[0].contains("Nothing"));
}

#[test]
fn properties_alone_are_one_line_without_metrics() {
    let mut it = document();
    it.property("event", "queued").unwrap();
    let line = only_line(&it);
    assert!(line.metrics.is_empty());
    assert_eq!(line.properties["event"], "queued");
}

#[test]
fn a_line_that_cannot_be_short_enough_is_an_error() {
    let mut it = document();
    it.property("blob", "x".repeat(999_000)).unwrap().metric("M", Unit::None, [1.0]).unwrap();
    format::parse(&it.render().unwrap().lines[0]);
    it.property("more", "x".repeat(1_000)).unwrap();
    assert!(matches!(it.render(), Err(DocumentError::LineTooLong { bytes }) if bytes > 1_000_000));
}
