//! Splitting: whatever goes in comes out, once, on lines within the limits.

use std::collections::BTreeMap;

use muster_emf::{Document, DocumentError, Unit};
use proptest::prelude::*;

use crate::format;

/// Eighths: exact in binary and in JSON, so that equality is the right question.
fn value() -> impl Strategy<Value = f64> {
    any::<i32>().prop_map(|n| f64::from(n) / 8.0)
}

/// Metrics by number, with their values: many metrics with few values, few with many, and mixtures.
fn metrics() -> impl Strategy<Value = BTreeMap<u16, Vec<f64>>> {
    let sizes = prop_oneof![(0..350usize, 1..4usize), (0..6usize, 1..450usize), (0..120usize, 90..210usize)];
    sizes.prop_flat_map(|(metrics, values)| {
        prop::collection::btree_map(any::<u16>(), prop::collection::vec(value(), 0..=values), metrics)
    })
}

fn document(metrics: &BTreeMap<u16, Vec<f64>>, name_chars: usize, property: usize) -> Result<Document, DocumentError> {
    let mut document = Document::new("Muster", 1)?;
    document.dimension("Pool", "small")?.property("blob", "\u{1}".repeat(property))?;
    for (number, values) in metrics {
        document.metric(format!("{number:\"<name_chars$}"), Unit::Seconds, values.iter().copied())?;
    }
    Ok(document)
}

fn render(metrics: &BTreeMap<u16, Vec<f64>>, name_chars: usize, property: usize) -> Vec<format::Line> {
    let rendered = document(metrics, name_chars, property).and_then(|it| it.render()).expect("it fits");
    assert_eq!(rendered.values, metrics.values().map(Vec::len).sum::<usize>());
    rendered.lines.iter().map(|line| format::parse(line)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_comes_out_once_and_in_order(
        metrics in metrics(),
        name_chars in prop_oneof![Just(5usize), Just(1024)],
        property in prop_oneof![Just(0usize), Just(30_000), Just(150_000)],
    ) {
        let lines = render(&metrics, name_chars, property);
        let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in &lines {
            let dimension = line.dimensions.get("Pool").map(String::as_str);
            prop_assert_eq!(dimension, (!line.metrics.is_empty()).then_some("small"));
            prop_assert!(line.properties.contains_key("blob"));
            for (name, (_, values)) in &line.metrics {
                found.entry(name.clone()).or_default().extend(values);
            }
        }
        let expected: BTreeMap<String, Vec<f64>> = metrics
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(number, values)| (format!("{number:\"<name_chars$}"), values.clone()))
            .collect();
        prop_assert_eq!(found, expected);
    }
}

fn lines_for(metrics: u16, values: usize) -> usize {
    render(&(0..metrics).map(|number| (number, vec![1.0; values])).collect(), 1, 0).len()
}

#[test]
fn lines_are_as_few_as_the_limits_allow() {
    assert_eq!(lines_for(0, 0), 1);
    assert_eq!(lines_for(100, 1), 1);
    assert_eq!(lines_for(101, 1), 2);
    assert_eq!(lines_for(1, 100), 1);
    assert_eq!(lines_for(1, 101), 2);
    assert_eq!(lines_for(250, 201), 9);
}

#[test]
fn long_names_split_by_bytes_well_before_a_megabyte() {
    let mut document = Document::new("Muster", 1).unwrap();
    for number in 0..100 {
        document.metric(format!("{number:\\<1024}"), Unit::Count, [f64::MIN_POSITIVE; 100]).unwrap();
    }
    let lines = document.render().unwrap().lines;
    assert_eq!(lines.len(), 3, "100 metrics of about 7 kB");
    for line in lines {
        assert!(line.len() <= 256_000, "{}", line.len());
        format::parse(&line);
    }
}
