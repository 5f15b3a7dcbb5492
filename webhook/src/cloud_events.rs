//! Events of the cloud, as EventBridge carries them.
//!
//! What lives here: which event says what about which instance. What may not: whether the instance is ours (its row in the
//! ledger tells), and anything that an event asks to be done.
//!
//! EventBridge delivers at least once and as well as it can. What is lost here costs time only: the agent sees a notice of
//! interruption while it has the metadata service, and the list of instances shows what is gone.
//!
//! Invariant: an event of an unknown kind is no error. Rules change, and so does what AWS sends.

use muster_core::fact::{CloudEvent, CloudEventKind};
use muster_core::ids::InstanceId;
use muster_core::time::Timestamp;
use serde::Deserialize;
use thiserror::Error;

/// Sources and kinds are those of the EC2 and EC2 Auto Scaling user guides, "EventBridge events".
const EC2: &str = "aws.ec2";
const AUTO_SCALING: &str = "aws.autoscaling";
const INTERRUPTION: &str = "EC2 Spot Instance Interruption Warning";
const REBALANCE: &str = "EC2 Instance Rebalance Recommendation";
const STATE_CHANGE: &str = "EC2 Instance State-change Notification";
/// States from which no instance comes back.
const GONE: [&str; 2] = ["shutting-down", "terminated"];

/// What an event means for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It says something about an instance.
    Instance(CloudEvent),
    /// Something has changed that a tick should look at: a lifecycle hook, a launch that failed.
    Look,
    /// Nothing.
    Nothing,
}

/// An event that should say something and does not.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloudEventError {
    /// It is no EventBridge event.
    #[error("not an event of EventBridge: {0}")]
    Shape(String),
    /// It names no instance.
    #[error("`detail.instance-id` of {0:?} is missing or no instance's id")]
    NoInstance(String),
    /// Its time does not read.
    #[error("`time` of {0:?} is no RFC 3339 time")]
    NoTime(String),
}

#[derive(Deserialize)]
struct Envelope {
    source: String,
    #[serde(rename = "detail-type")]
    kind: String,
    time: String,
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
struct Detail {
    #[serde(rename = "instance-id")]
    instance: Option<String>,
    state: Option<String>,
}

/// Reads one event.
///
/// # Errors
/// [`CloudEventError`]; then nothing is known.
pub fn read(json: &str) -> Result<Heard, CloudEventError> {
    let event: Envelope = serde_json::from_str(json).map_err(|error| CloudEventError::Shape(error.to_string()))?;
    let kind = match (&*event.source, &*event.kind, event.detail.state.as_deref()) {
        (EC2, INTERRUPTION, _) => CloudEventKind::InterruptionNotice,
        (EC2, REBALANCE, _) => CloudEventKind::RebalanceRecommended,
        (EC2, STATE_CHANGE, Some(state)) if GONE.contains(&state) => CloudEventKind::Terminated,
        (AUTO_SCALING, _, _) => return Ok(Heard::Look),
        _ => return Ok(Heard::Nothing),
    };
    let instance = event.detail.instance.as_deref().and_then(InstanceId::parse);
    let instance = instance.ok_or_else(|| CloudEventError::NoInstance(event.kind.clone()))?;
    let at = Timestamp::parse(&event.time).ok_or(CloudEventError::NoTime(event.kind))?;
    Ok(Heard::Instance(CloudEvent { instance, at, kind }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: &str, kind: &str, detail: &str) -> String {
        format!(
            r#"{{"version":"0","id":"12345678-1234-1234-1234-123456789012","detail-type":"{kind}","source":"{source}",
            "account":"123456789012","time":"2026-11-24T09:00:00Z","region":"eu-central-1","resources":[],"detail":{detail}}}"#
        )
    }

    fn heard(kind: CloudEventKind) -> Result<Heard, CloudEventError> {
        let at = Timestamp::parse("2026-11-24T09:00:00Z").unwrap();
        Ok(Heard::Instance(CloudEvent { instance: InstanceId::new("i-0123456789abcdef0"), at, kind }))
    }

    #[test]
    fn what_concerns_an_instance_is_a_fact_about_it() {
        let of = |kind: &str, detail: &str| read(&event(EC2, kind, detail));
        let id = r#"{"instance-id":"i-0123456789abcdef0","instance-action":"terminate"}"#;
        assert_eq!(of(INTERRUPTION, id), heard(CloudEventKind::InterruptionNotice));
        assert_eq!(of(REBALANCE, id), heard(CloudEventKind::RebalanceRecommended));
        for state in ["shutting-down", "terminated"] {
            let detail = format!(r#"{{"instance-id":"i-0123456789abcdef0","state":"{state}"}}"#);
            assert_eq!(of(STATE_CHANGE, &detail), heard(CloudEventKind::Terminated), "{state}");
        }
    }

    #[test]
    fn a_machine_that_may_come_back_is_not_gone() {
        for state in ["pending", "running", "stopping", "stopped", "hibernating"] {
            let detail = format!(r#"{{"instance-id":"i-0123456789abcdef0","state":"{state}"}}"#);
            assert_eq!(read(&event(EC2, STATE_CHANGE, &detail)), Ok(Heard::Nothing), "{state}");
        }
    }

    #[test]
    fn what_auto_scaling_says_is_looked_at_and_the_rest_is_nothing() {
        for kind in ["EC2 Instance-launch Lifecycle Action", "EC2 Instance Launch Unsuccessful", "something new"] {
            assert_eq!(read(&event(AUTO_SCALING, kind, "{}")), Ok(Heard::Look), "{kind}");
        }
        assert_eq!(read(&event(EC2, "something new", "{}")), Ok(Heard::Nothing));
        assert_eq!(read(&event("aws.health", INTERRUPTION, "{}")), Ok(Heard::Nothing));
    }

    #[test]
    fn an_event_that_should_name_an_instance_and_does_not_is_told() {
        for detail in ["{}", r#"{"instance-id":""}"#, r#"{"instance-id":"i-0123"}"#, r#"{"instance-id":"i-0123456g"}"#]
        {
            let error = read(&event(EC2, INTERRUPTION, detail)).unwrap_err();
            assert_eq!(error, CloudEventError::NoInstance(INTERRUPTION.to_owned()), "{detail}");
        }
        let late =
            event(EC2, REBALANCE, r#"{"instance-id":"i-01234567"}"#).replace("2026-11-24T09:00:00Z", "yesterday");
        assert_eq!(read(&late).unwrap_err(), CloudEventError::NoTime(REBALANCE.to_owned()));
        assert!(matches!(read("{}"), Err(CloudEventError::Shape(_))));
        assert!(matches!(read("[]"), Err(CloudEventError::Shape(_))));
    }
}
