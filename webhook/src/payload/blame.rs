//! Names what is wrong with a body that did not read. Slow, and only for those.

use serde_json::Value;

use super::PayloadError;

/// A check of one value.
type Is = fn(&Value) -> bool;

const TEXT: (Is, &str) = (Value::is_string, "a string");
const WHOLE: (Is, &str) = (Value::is_i64, "a whole number");
const OBJECT: (Is, &str) = (Value::is_object, "an object");
const ATTEMPT: (Is, &str) = (|v| v.as_u64().is_some_and(|n| u32::try_from(n).is_ok()), "a whole number from 1");
const TEXTS: (Is, &str) = (|v| v.as_array().is_some_and(|a| a.iter().all(Value::is_string)), "a list of strings");
const TRUTH: (Is, &str) = (Value::is_boolean, "true or false");

/// Every field that is read, outer ones first, with what it must be.
const FIELDS: [(&str, (Is, &str)); 23] = [
    ("action", TEXT),
    ("workflow_job", OBJECT),
    ("workflow_job.id", WHOLE),
    ("workflow_job.run_id", WHOLE),
    ("workflow_job.run_attempt", ATTEMPT),
    ("workflow_job.status", TEXT),
    ("workflow_job.conclusion", TEXT),
    ("workflow_job.created_at", TEXT),
    ("workflow_job.started_at", TEXT),
    ("workflow_job.completed_at", TEXT),
    ("workflow_job.name", TEXT),
    ("workflow_job.workflow_name", TEXT),
    ("workflow_job.labels", TEXTS),
    ("workflow_job.runner_id", WHOLE),
    ("workflow_job.runner_name", TEXT),
    ("repository", OBJECT),
    ("repository.full_name", TEXT),
    ("repository.private", TRUTH),
    ("deployment", OBJECT),
    ("deployment.updated_at", TEXT),
    ("organization", OBJECT),
    ("organization.id", WHOLE),
    ("installation.id", WHOLE),
];

/// What is wrong with a text that serde refused with `error`.
pub(super) fn blame(text: &str, error: &serde_json::Error) -> PayloadError {
    let not_json = |e: &serde_json::Error| PayloadError::NotJson { line: e.line(), column: e.column() };
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(e) => return not_json(&e),
    };
    if !value.is_object() {
        return PayloadError::WrongType { field: "(the whole body)", must: "an object" };
    }
    let wrong = FIELDS.iter().find(|(path, (is, _))| {
        let found = path.split('.').try_fold(&value, |v, name| v.get(name));
        found.is_some_and(|v| !v.is_null() && !is(v))
    });
    match wrong {
        Some((field, (_, must))) => PayloadError::WrongType { field, must },
        // A name that stands twice in an object, say: valid JSON, but no payload of GitHub's.
        None => not_json(error),
    }
}

/// Where a body stops being UTF-8, as JSON must be.
pub(super) fn not_utf8(body: &[u8], valid: usize) -> PayloadError {
    let before = body.get(..valid).unwrap_or_default();
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    PayloadError::NotJson { line, column }
}
