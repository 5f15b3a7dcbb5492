//! From drained values to lines.
//!
//! What lives here: the grouping of keys into documents, unit conversion, and the names of properties. What may not:
//! storage, sinks.
//!
//! Invariant: every value that comes in is on a line or in the report.

use std::collections::BTreeMap;

use metrics::Key;

use crate::builder::{Layout, Place};
use crate::document::{Document, DocumentError};
use crate::report::{FlushReport, Refusal};
use crate::unit::{Conversion, Unit};

/// Put before the name of a label that is blank, reserved, or names a metric or dimension of the same document.
const LABEL_PREFIX: &str = "label.";

/// What the facade said about units, by metric name.
pub(crate) type Units = BTreeMap<String, Conversion>;

/// Writes drained values as lines, each with its newline.
///
/// Keys with the same dimension sets, the same dimensions and the same other labels share a document; the order of
/// documents and metrics is that of their names, so the same values give the same bytes.
pub(crate) fn compose(
    layout: &Layout,
    units: &Units,
    drained: Vec<(Key, Vec<f64>)>,
    now_unix_ms: u64,
) -> (Vec<u8>, FlushReport) {
    let mut groups: BTreeMap<Place, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for (key, values) in drained {
        let metrics = groups.entry(layout.place(&key)).or_default();
        metrics.entry(key.name().to_owned()).or_default().extend(values);
    }
    let (mut bytes, mut report) = (Vec::new(), FlushReport::default());
    for (place, metrics) in groups {
        let all = || (metrics.keys().cloned().collect(), metrics.values().map(Vec::len).sum());
        let mut group_report = FlushReport::default();
        match group_lines(layout, units, &place, &metrics, now_unix_ms, &mut group_report) {
            Ok(lines) => {
                for line in lines {
                    bytes.extend_from_slice(line.as_bytes());
                    bytes.push(b'\n');
                }
                report.merge(group_report);
            }
            Err(error) => {
                let (metrics, values) = all();
                report.refusals.push(Refusal { metrics, values, error });
            }
        }
    }
    (bytes, report)
}

/// The lines of one document; what could not be part of it goes to the report.
fn group_lines(
    layout: &Layout,
    units: &Units,
    place: &Place,
    metrics: &BTreeMap<String, Vec<f64>>,
    now_unix_ms: u64,
    report: &mut FlushReport,
) -> Result<Vec<String>, DocumentError> {
    let mut document = Document::new(layout.namespace.as_str(), now_unix_ms)?;
    for (name, value) in &place.dimensions {
        document.dimension(name, value)?;
    }
    for set in &place.sets {
        document.dimension_set(set)?;
    }
    for (name, values) in metrics {
        let conversion = units.get(name).copied().unwrap_or(Conversion::same(Unit::None));
        let converted = values.iter().map(|value| conversion.apply(*value));
        if let Err(error) = document.metric(name, conversion.unit, converted) {
            report.refusals.push(Refusal { metrics: vec![name.clone()], values: values.len(), error });
        }
    }
    for (name, value) in &place.labels {
        let mut name = name.clone();
        while !document.takes_property(&name) {
            name.insert_str(0, LABEL_PREFIX);
        }
        document.property(name, value.as_str())?;
    }
    let rendered = match document.render() {
        Err(DocumentError::LineTooLong { .. }) => {
            report.labels_left_out += document.clear_properties();
            document.render()?
        }
        rendered => rendered?,
    };
    report.values += rendered.values;
    report.values_refused += rendered.values_refused;
    // A document of which nothing could be written says nothing.
    let lines = if rendered.values == 0 { Vec::new() } else { rendered.lines };
    report.lines += lines.len();
    Ok(lines)
}
