//! The layout of a line, and the packing of metrics onto lines.
//!
//! What lives here: how a line is serialised and where a document is split. What may not: checks of names and values;
//! what comes here has passed them.
//!
//! Invariant: each value is on exactly one line, and each line is within every limit of the format.

use std::collections::BTreeMap;
use std::io;
use std::slice::Chunks;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::document::{DocumentError, Metric};
use crate::limits::{LINE_BYTES_AIM, LINE_BYTES_MAX, METRICS_PER_LINE_MAX, VALUES_PER_METRIC_MAX};
use crate::name::METADATA;
use crate::unit::Unit;

/// What all lines of a document share.
pub(crate) struct Frame<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) timestamp_unix_ms: u64,
    pub(crate) dimension_sets: &'a [Vec<String>],
    pub(crate) dimensions: &'a BTreeMap<String, String>,
    pub(crate) properties: &'a BTreeMap<String, Value>,
}

/// As many values of one metric as a line takes.
#[derive(Clone, Copy)]
struct Portion<'a> {
    name: &'a str,
    unit: Unit,
    values: &'a [f64],
}

/// Writes the metrics as lines. Without any metric there is one line, for the properties' sake, that defines none.
///
/// A name can stand on a line only once, so the lines go in rounds: the first hundred values of every metric, then the
/// second hundred of those that have as many, and so on.
pub(crate) fn pack(frame: &Frame<'_>, metrics: &BTreeMap<String, Metric>) -> Result<Vec<String>, DocumentError> {
    let mut left: Vec<(&str, Unit, Chunks<'_, f64>)> = metrics
        .iter()
        .map(|(name, metric)| (name.as_str(), metric.unit, metric.values.chunks(VALUES_PER_METRIC_MAX)))
        .collect();
    let mut lines = Vec::new();
    loop {
        let mut round = Vec::new();
        left.retain_mut(|(name, unit, chunks)| match chunks.next() {
            Some(values) => {
                round.push(Portion { name, unit: *unit, values });
                true
            }
            None => false,
        });
        if round.is_empty() {
            break;
        }
        pack_round(frame, &round, &mut lines)?;
    }
    if lines.is_empty() {
        lines.push(write_line(frame, &[])?);
    }
    Ok(lines)
}

/// Writes portions of different metrics as few lines as the limits allow.
fn pack_round(frame: &Frame<'_>, round: &[Portion<'_>], lines: &mut Vec<String>) -> Result<(), DocumentError> {
    let Some(first) = round.first() else { return Ok(()) };
    let frame_bytes = json_bytes(&Line { frame, portions: &round[..1] })? - first.bytes()?;
    // A frame that is large by itself is repeated as seldom as possible.
    let bytes_max = if frame_bytes > LINE_BYTES_AIM / 2 { LINE_BYTES_MAX } else { LINE_BYTES_AIM };
    let (mut start, mut bytes) = (0, frame_bytes);
    for (at, portion) in round.iter().enumerate() {
        let more = portion.bytes()?;
        let full = at - start == METRICS_PER_LINE_MAX || bytes + more > bytes_max;
        if full && at > start {
            lines.push(write_line(frame, &round[start..at])?);
            (start, bytes) = (at, frame_bytes);
        }
        bytes += more;
    }
    lines.push(write_line(frame, &round[start..])?);
    Ok(())
}

fn write_line(frame: &Frame<'_>, portions: &[Portion<'_>]) -> Result<String, DocumentError> {
    let line = serde_json::to_string(&Line { frame, portions })?;
    if line.len() > LINE_BYTES_MAX {
        return Err(DocumentError::LineTooLong { bytes: line.len() });
    }
    Ok(line)
}

impl Portion<'_> {
    /// The bytes by which the portion lengthens a line that has another one: definition, member, colon and two commas.
    fn bytes(&self) -> Result<usize, serde_json::Error> {
        let definition = json_bytes(&Definition { name: self.name, unit: self.unit })?;
        Ok(definition + json_bytes(self.name)? + json_bytes(&Values(self.values))? + ":,,".len())
    }
}

struct Line<'a> {
    frame: &'a Frame<'a>,
    portions: &'a [Portion<'a>],
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(METADATA, &Metadata::of(self))?;
        for (name, value) in self.frame.dimensions {
            map.serialize_entry(name, value)?;
        }
        for portion in self.portions {
            map.serialize_entry(portion.name, &Values(portion.values))?;
        }
        for (name, value) in self.frame.properties {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    timestamp: u64,
    #[serde(rename = "CloudWatchMetrics")]
    directives: Vec<Directive<'a>>,
}

impl<'a> Metadata<'a> {
    fn of(line: &Line<'a>) -> Self {
        let directive = (!line.portions.is_empty()).then(|| Directive {
            namespace: line.frame.namespace,
            dimensions: line.frame.dimension_sets,
            metrics: line.portions.iter().map(|it| Definition { name: it.name, unit: it.unit }).collect(),
        });
        Self { timestamp: line.frame.timestamp_unix_ms, directives: directive.into_iter().collect() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    dimensions: &'a [Vec<String>],
    metrics: Vec<Definition<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition<'a> {
    name: &'a str,
    unit: Unit,
}

/// One number alone, several as an array.
struct Values<'a>(&'a [f64]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [value] = self.0 {
            return serializer.serialize_f64(*value);
        }
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0 {
            seq.serialize_element(value)?;
        }
        seq.end()
    }
}

/// The length of `value` as JSON, in bytes.
fn json_bytes<T: Serialize + ?Sized>(value: &T) -> Result<usize, serde_json::Error> {
    struct Counted(usize);
    impl io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    serde_json::to_writer(&mut counted, value)?;
    Ok(counted.0)
}
