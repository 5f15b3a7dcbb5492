//! What machine output looks like: keys that must be there, and of which kind their values are.

use serde_json::Value;

/// A kind of value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    TextOrNull,
    Whole,
    Number,
    NumberOrNull,
    Texts,
    List,
    Object,
}

use Kind::{List, Number, NumberOrNull, Object, Text, Texts, Whole};

fn is(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Text => value.is_string(),
        Kind::TextOrNull => value.is_string() || value.is_null(),
        Kind::Whole => value.is_u64(),
        Kind::Number => value.as_f64().is_some_and(|number| number.is_finite() && number >= 0.0),
        Kind::NumberOrNull => value.is_null() || is(Number, value),
        Kind::Texts => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
        Kind::List => value.is_array(),
        Kind::Object => value.is_object(),
    }
}

/// Panics unless `value` is an object with at least these keys, each of its kind.
pub(crate) fn has(value: &Value, keys: &[(&str, Kind)]) {
    for (key, kind) in keys {
        let found = value.get(key).unwrap_or_else(|| panic!("{key} is missing in {value}"));
        assert!(is(*kind, found), "{key} is {found}, not {kind:?}, in {value}");
    }
}

const COUNTED: [&str; 6] = ["completed", "cancelled", "killed", "interrupted", "lost", "expired"];

fn account(value: &Value) {
    has(value, &[("jobs", Object), ("queue_time_s", Object), ("cost_usd", Object), ("launches", Object)]);
    let jobs = &value["jobs"];
    has(jobs, &[("queued", Whole), ("skipped", Whole)]);
    has(jobs, &COUNTED.map(|key| (key, Whole)));
    let over: u64 = COUNTED.iter().filter_map(|key| jobs[*key].as_u64()).sum();
    assert_eq!(jobs["queued"].as_u64(), Some(over), "the sum is wrong: {jobs}");
    let time = &value["queue_time_s"];
    has(time, &["mean", "p50", "p95", "p99", "max"].map(|key| (key, NumberOrNull)));
    let ranks: Vec<Option<f64>> = ["p50", "p95", "p99", "max"].iter().map(|key| time[*key].as_f64()).collect();
    assert!(ranks.is_sorted(), "{time}");
    let cost = &value["cost_usd"];
    has(cost, &["busy", "boot", "idle", "standby", "total"].map(|key| (key, Number)));
    let parts: f64 = ["busy", "boot", "idle", "standby"].iter().filter_map(|key| cost[*key].as_f64()).sum();
    assert!((parts - cost["total"].as_f64().unwrap()).abs() < 1e-4, "the sum is wrong: {cost}");
    has(&value["launches"], &["cold", "standby", "failed"].map(|key| (key, Whole)));
}

/// What `simulate` and `demo` print for one seed; its sums must be right, over the classes too.
pub(crate) fn is_summary(value: &Value) {
    let whole = [("seed", Whole), ("github_requests", Whole), ("aws_requests", Whole)];
    has(value, &whole);
    has(value, &[("policy", Text), ("violations", Texts), ("classes", List)]);
    account(value);
    let classes = value["classes"].as_array().unwrap();
    for class in classes {
        has(class, &[("class", Texts), ("price_usd_per_hour", Number)]);
        account(class);
    }
    let sum = |section: &str, key: &str| classes.iter().filter_map(|class| class[section][key].as_f64()).sum::<f64>();
    for key in ["queued", "completed", "cancelled", "skipped"] {
        assert_eq!(Some(sum("jobs", key)), value["jobs"][key].as_f64(), "{key} over the classes");
    }
    for key in ["cold", "standby", "failed"] {
        assert_eq!(Some(sum("launches", key)), value["launches"][key].as_f64(), "{key} over the classes");
    }
    for key in ["busy", "boot", "idle", "standby", "total"] {
        let total = value["cost_usd"][key].as_f64().unwrap();
        assert!((sum("cost_usd", key) - total).abs() < 1e-3, "{key} over the classes, not {total}");
    }
}
