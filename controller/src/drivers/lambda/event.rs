//! What a function was called with.
//!
//! Invariant: an event that is none of ours is told in full words, and is no reason to be called again.

use lambda_http::request::LambdaRequest;
use serde::Deserialize;

/// An event of the door.
#[derive(Debug)]
pub enum DoorEvent {
    /// A request, from the HTTP API.
    Http(Box<LambdaRequest>),
    /// A ring: the schedule's, or that of a wake message.
    Ring,
    /// An event of EventBridge, as it came.
    Cloud,
}

/// The marks by which events differ. Unknown fields are not ours.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marks {
    request_context: Option<serde::de::IgnoredAny>,
    #[serde(rename = "Records")]
    records: Option<serde::de::IgnoredAny>,
    #[serde(rename = "detail-type")]
    detail_type: Option<serde::de::IgnoredAny>,
    /// The constant input of the schedule's rule: `{"muster":"tick"}`.
    muster: Option<String>,
}

/// Reads an event of the door.
///
/// # Errors
/// What it is not, for the log.
pub fn door(json: &str) -> Result<DoorEvent, String> {
    let marks: Marks = serde_json::from_str(json).map_err(|error| format!("the event does not read: {error}"))?;
    if marks.request_context.is_some() {
        let request = serde_json::from_str(json).map_err(|error| format!("the request does not read: {error}"))?;
        return Ok(DoorEvent::Http(Box::new(request)));
    }
    if marks.muster.as_deref() == Some("tick") || marks.records.is_some() {
        return Ok(DoorEvent::Ring);
    }
    if marks.detail_type.is_some() {
        return Ok(DoorEvent::Cloud);
    }
    Err("the event is neither a request of an HTTP API, nor one of EventBridge, the schedule or the wake queue"
        .to_owned())
}

#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records", default)]
    records: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    body: String,
}

/// The bodies of a batch of messages. A batch that does not read has none; it is a bell all the same.
pub fn bodies(json: &str) -> Vec<String> {
    let batch: Batch = serde_json::from_str(json).unwrap_or(Batch { records: Vec::new() });
    batch.records.into_iter().map(|message| message.body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        assert!(matches!(door(r#"{"muster":"tick"}"#), Ok(DoorEvent::Ring)));
        assert!(matches!(door(r#"{"Records":[{"body":"wake"}]}"#), Ok(DoorEvent::Ring)));
        assert!(matches!(door(r#"{"detail-type":"x","source":"aws.ec2"}"#), Ok(DoorEvent::Cloud)));
        for other in ["{}", "[]", "null", r#"{"muster":"dance"}"#, r#"{"requestContext":{}}"#] {
            assert!(door(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_batch_is_its_bodies() {
        assert_eq!(bodies(r#"{"Records":[{"body":"one"},{},{"body":"two"}]}"#), ["one", "", "two"]);
        for silent in ["{}", "[]", "null"] {
            assert!(bodies(silent).is_empty(), "{silent}");
        }
    }
}
