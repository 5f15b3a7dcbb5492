//! Events of the cloud, as EventBridge carries them.
//!
//! What lives here: which event says what about which instance or group. What may not: whether it is ours (the instance's
//! row in the ledger and the group's name tell), and anything that an event asks to be done.
//!
//! EventBridge delivers at least once and as well as it can. What is lost here costs time only: the agent sees a notice of
//! interruption while it has the metadata service, and the list of instances shows what is gone.
//!
//! Invariant: an event of an unknown kind is no error. Rules change, and so does what AWS sends.

use std::sync::Arc;

use muster_core::fact::{CloudEvent, CloudEventKind, GroupEvent, GroupEventKind};
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
const LAUNCH_FAILED: &str = "EC2 Instance Launch Unsuccessful";
const LAUNCH_HOOK: &str = "EC2 Instance-launch Lifecycle Action";
/// Where a machine at a hook comes from ("Origin") when it was launched out of the standby stock.
const WARM_POOL: &str = "WarmPool";
/// Longest text of the cloud that is kept. Auto Scaling's messages are of some hundred characters.
const WHY_CHARS_MAX: usize = 500;
/// States from which no instance comes back.
const GONE: [&str; 2] = ["shutting-down", "terminated"];

/// What an event means for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It says something about an instance.
    Instance(CloudEvent),
    /// It says something about a group.
    Group(GroupEvent),
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
    /// It names no group or no attempt.
    #[error("`detail` of {0:?} lacks `AutoScalingGroupName`, or `ActivityId` of what failed")]
    NoGroup(String),
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
    #[serde(rename = "AutoScalingGroupName")]
    group: Option<Arc<str>>,
    #[serde(rename = "ActivityId")]
    activity: Option<Arc<str>>,
    #[serde(rename = "StatusMessage")]
    message: Option<String>,
    #[serde(rename = "EC2InstanceId")]
    member: Option<String>,
    #[serde(rename = "Origin")]
    origin: Option<String>,
}

/// Reads one event.
///
/// # Errors
/// [`CloudEventError`]; then nothing is known.
pub fn read(json: &str) -> Result<Heard, CloudEventError> {
    let event: Envelope = serde_json::from_str(json).map_err(|error| CloudEventError::Shape(error.to_string()))?;
    let at = Timestamp::parse(&event.time);
    let at = || at.ok_or_else(|| CloudEventError::NoTime(event.kind.clone()));
    let instance = |id: Option<&str>| {
        id.and_then(InstanceId::parse).ok_or_else(|| CloudEventError::NoInstance(event.kind.clone()))
    };
    let detail = &event.detail;
    let kind = match (&*event.source, &*event.kind, detail.state.as_deref()) {
        (EC2, INTERRUPTION, _) => CloudEventKind::InterruptionNotice,
        (EC2, REBALANCE, _) => CloudEventKind::RebalanceRecommended,
        (EC2, STATE_CHANGE, Some(state)) if GONE.contains(&state) => CloudEventKind::Terminated,
        (AUTO_SCALING, LAUNCH_FAILED, _) => {
            let (group, activity) = detail
                .group
                .clone()
                .zip(detail.activity.clone())
                .ok_or_else(|| CloudEventError::NoGroup(event.kind.clone()))?;
            let why = detail.message.iter().flat_map(|message| message.chars()).take(WHY_CHARS_MAX).collect::<String>();
            let kind = GroupEventKind::LaunchFailed { activity, why: why.into() };
            return Ok(Heard::Group(GroupEvent { group, at: at()?, kind }));
        }
        // On its way into the stock nobody waits for it but its agent, which tells when it is warm.
        (AUTO_SCALING, LAUNCH_HOOK, _) if detail.origin.as_deref() == Some(WARM_POOL) => {
            let group = detail.group.clone().ok_or_else(|| CloudEventError::NoGroup(event.kind.clone()))?;
            let kind = GroupEventKind::LeftStandby { instance: instance(detail.member.as_deref())? };
            return Ok(Heard::Group(GroupEvent { group, at: at()?, kind }));
        }
        _ => return Ok(Heard::Nothing),
    };
    let instance = instance(detail.instance.as_deref())?;
    Ok(Heard::Instance(CloudEvent { instance, at: at()?, kind }))
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
    fn what_a_group_could_not_launch_is_a_fact_about_it() {
        let failed = |detail: &str| read(&event(AUTO_SCALING, LAUNCH_FAILED, detail));
        let long = "x".repeat(WHY_CHARS_MAX + 1);
        let told = failed(&format!(
            r#"{{"StatusCode":"Failed","AutoScalingGroupName":"muster-acme-a","ActivityId":"b59c","RequestId":"b59c",
            "StatusMessage":"{long}","EC2InstanceId":"","Details":{{"Availability Zone":"eu-central-1a"}}}}"#
        ));
        let Ok(Heard::Group(told)) = told else { panic!("{told:?}") };
        let kind = GroupEventKind::LaunchFailed { activity: "b59c".into(), why: long[1..].into() };
        let at = Timestamp::parse("2026-11-24T09:00:00Z").unwrap();
        assert_eq!(told, GroupEvent { group: "muster-acme-a".into(), at, kind });
        for detail in ["{}", r#"{"AutoScalingGroupName":"muster-acme-a"}"#, r#"{"ActivityId":"b59c"}"#] {
            assert_eq!(failed(detail), Err(CloudEventError::NoGroup(LAUNCH_FAILED.to_owned())), "{detail}");
        }
    }

    #[test]
    fn a_machine_that_has_left_the_stock_is_a_fact_and_one_on_its_way_there_is_none() {
        let hook = |origin: &str, member: &str| {
            let detail = format!(
                r#"{{"LifecycleActionToken":"87654321","AutoScalingGroupName":"muster-acme-a-standby","EC2InstanceId":"{member}",
                "LifecycleHookName":"muster","LifecycleTransition":"autoscaling:EC2_INSTANCE_LAUNCHING","Origin":"{origin}",
                "Destination":"AutoScalingGroup"}}"#
            );
            read(&event(AUTO_SCALING, LAUNCH_HOOK, &detail))
        };
        let told = hook("WarmPool", "i-0123456789abcdef0");
        let Ok(Heard::Group(GroupEvent { group, kind, .. })) = told else { panic!("{told:?}") };
        let instance = InstanceId::new("i-0123456789abcdef0");
        assert_eq!((&*group, kind), ("muster-acme-a-standby", GroupEventKind::LeftStandby { instance }));
        assert_eq!(hook("EC2", "i-0123456789abcdef0"), Ok(Heard::Nothing));
        assert_eq!(hook("WarmPool", "i-1"), Err(CloudEventError::NoInstance(LAUNCH_HOOK.to_owned())));
    }

    #[test]
    fn what_is_not_known_is_nothing() {
        for (source, kind) in [(AUTO_SCALING, "something new"), (EC2, "something new"), ("aws.health", INTERRUPTION)] {
            assert_eq!(read(&event(source, kind, "{}")), Ok(Heard::Nothing), "{source} {kind}");
        }
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
