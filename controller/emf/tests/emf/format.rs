//! The judge of lines: AWS's schema, and the limits that stand beside it in the specification.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use jsonschema::Validator;
use muster_emf::{EmfRecorder, FlushReport};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

// Written out, not taken from the crate, so that a wrong constant there is found.
const MEGABYTE: usize = 1_000_000;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("schema.json")).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is a schema")
});

/// A line that passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) timestamp: u64,
    pub(crate) namespace: String,
    pub(crate) sets: Vec<Vec<String>>,
    pub(crate) dimensions: BTreeMap<String, String>,
    /// Unit and values by metric.
    pub(crate) metrics: BTreeMap<String, (String, Vec<f64>)>,
    /// All other members of the root, dimensions in no set included.
    pub(crate) properties: BTreeMap<String, Value>,
}

impl Line {
    pub(crate) fn values(&self, metric: &str) -> &[f64] {
        self.metrics.get(metric).map_or(&[], |(_, values)| values)
    }
}

/// The root's members as they are written: a map would hide one that is there twice.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Root;
        impl<'de> Visitor<'de> for Root {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Root)
    }
}

/// Judges one line and takes it apart. Panics with the reason if CloudWatch would not take it.
pub(crate) fn parse(text: &str) -> Line {
    assert!(text.len() <= MEGABYTE, "{} bytes", text.len());
    assert!(text.starts_with('{') && text.ends_with('}') && !text.contains('\n'), "not one object alone: {text:.80}");
    let root: Value = serde_json::from_str(text).expect("JSON");
    if let Err(error) = SCHEMA.validate(&root) {
        panic!("{error} at {}", error.instance_path());
    }
    let Members(members) = serde_json::from_str(text).expect("JSON");
    let mut root: BTreeMap<String, Value> = BTreeMap::new();
    for (name, value) in members {
        assert!(root.insert(name.clone(), value).is_none(), "{name:?} is there twice");
    }
    let aws = root.remove("_aws").expect("_aws");
    let mut line = Line { timestamp: aws["Timestamp"].as_u64().expect("a time"), ..Line::default() };
    let directives = aws["CloudWatchMetrics"].as_array().expect("an array");
    assert!(directives.len() <= 1, "one directive is all that is needed");
    for directive in directives {
        let definitions = directive["Metrics"].as_array().expect("an array");
        assert!((1..=100).contains(&definitions.len()), "{} definitions", definitions.len());
        line.namespace = directive["Namespace"].as_str().expect("a string").to_owned();
        line.sets = serde_json::from_value(directive["Dimensions"].clone()).expect("sets of names");
        let mut unique = line.sets.iter().map(|set| sorted(set)).collect::<Vec<_>>();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), line.sets.len(), "a set is there twice");
        for definition in definitions {
            let name = definition["Name"].as_str().expect("a name");
            let unit = definition["Unit"].as_str().expect("a unit").to_owned();
            let values = numbers(&root.remove(name).expect("the metric is a member of the root"));
            assert!(line.metrics.insert(name.to_owned(), (unit, values)).is_none(), "{name:?} is defined twice");
        }
    }
    for name in line.sets.iter().flatten() {
        let Some(value) = root.remove(name) else {
            assert!(line.dimensions.contains_key(name), "the dimension {name:?} has no value");
            continue;
        };
        let value = value.as_str().expect("a dimension's value is a string").to_owned();
        assert!((1..=1024).contains(&value.chars().count()), "{} characters", value.chars().count());
        assert!(value.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{value:?}");
        assert!(!value.trim().is_empty(), "the dimension {name:?} is blank");
        line.dimensions.insert(name.clone(), value);
    }
    line.properties = root;
    line
}

fn sorted(set: &[String]) -> Vec<String> {
    let mut set = set.to_vec();
    set.sort();
    let length = set.len();
    set.dedup();
    assert_eq!(set.len(), length, "a key is in a set twice");
    set
}

fn numbers(value: &Value) -> Vec<f64> {
    let number = |it: &Value| {
        let number = it.as_f64().expect("a number");
        assert!(number.is_finite() && number.abs() <= 2f64.powi(360), "{number}");
        number
    };
    match value.as_array() {
        Some(array) => {
            assert!((1..=100).contains(&array.len()), "{} values", array.len());
            array.iter().map(number).collect()
        }
        None => vec![number(value)],
    }
}

/// Judges all lines of an output; each must end in a newline.
pub(crate) fn parse_all(output: &[u8]) -> Vec<Line> {
    let text = std::str::from_utf8(output).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    text.lines().map(parse).collect()
}

/// Flushes to memory and judges what came.
pub(crate) fn flush(recorder: &EmfRecorder, now_unix_ms: u64) -> (Vec<Line>, FlushReport) {
    let mut output = Vec::new();
    let report = recorder.flush(now_unix_ms, &mut output).expect("memory takes everything");
    let lines = parse_all(&output);
    assert_eq!(lines.len(), report.lines);
    let values: usize = lines.iter().flat_map(|line| line.metrics.values()).map(|(_, values)| values.len()).sum();
    assert_eq!(values, report.values);
    (lines, report)
}

mod tests {
    use super::parse;

    /// The judge itself: it must refuse what CloudWatch refuses.
    fn refuses(text: &str) {
        assert!(std::panic::catch_unwind(|| parse(text)).is_err(), "passed: {text:.200}");
    }

    #[test]
    fn the_judge_refuses_what_cloudwatch_refuses() {
        let line = |metric: &str, rest: &str| {
            let directive = format!(r#"{{"Namespace":"N","Dimensions":[["D"]],"Metrics":[{metric}]}}"#);
            format!(r#"{{"_aws":{{"Timestamp":1,"CloudWatchMetrics":[{directive}]}}{rest}}}"#)
        };
        let metric = r#"{"Name":"M","Unit":"Count"}"#;
        let good = line(metric, r#","D":"d","M":1"#);
        parse(&good);
        refuses(&line(r#"{"Name":"M","Unit":"Nanoseconds"}"#, r#","D":"d","M":1"#));
        refuses(&line(metric, r#","D":"d""#));
        refuses(&line(metric, r#","M":1"#));
        refuses(&line(metric, r#","D":"d","M":1,"M":2"#));
        refuses(&line(metric, r#","D":"d","M":null"#));
        refuses(&line(metric, r#","D":"","M":1"#));
        refuses(&line(metric, &format!(r#","D":"{}","M":1"#, "d".repeat(1025))));
        refuses(&line(metric, &format!(r#","D":"d","M":[{}1]"#, "1,".repeat(100))));
        refuses(&line(&vec![metric; 101].join(","), r#","D":"d","M":1"#));
        refuses(&good.replace(r#"[["D"]]"#, "[]"));
        refuses(&good.replace(r#""N""#, r#""""#));
        refuses(&format!("x{good}"));
        refuses(&line(metric, &format!(r#","D":"d","M":1,"p":"{}""#, "p".repeat(1_000_000))));
    }
}
