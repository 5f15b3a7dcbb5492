//! Facts: what someone outside told us, as it was stored before it was answered.
//!
//! Invariant: a fact's key depends on what it says and not on when it came, so that a second delivery of the same thing
//! is the same fact.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, ShapeId};
use crate::job::{JobEvent, JobEvidence, RunnerRef};
use crate::machine::{MachineEvent, Market};
use crate::release::Release;
use crate::time::Timestamp;

/// What a fact says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum FactBody {
    /// GitHub, about a job.
    Job(JobEvent),
    /// An agent or the registrar, about a machine.
    Machine(MachineEvent),
    /// The cloud, about an instance.
    Cloud(CloudEvent),
    /// The cloud, about a group of machines.
    Group(GroupEvent),
    /// An agent, about a machine of a standby stock.
    Prewarmed(Prewarmed),
    /// GitHub, about the runner release on a shape's image.
    Release(ReleaseEvent),
}

/// Whether GitHub takes the runner release on a shape's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseEvent {
    /// The shape.
    pub shape: ShapeId,
    /// What it is bought as.
    pub market: Market,
    /// When that was found.
    pub at: Timestamp,
    /// The release.
    pub release: Release,
    /// Whether GitHub takes it.
    pub taken: bool,
}

/// A machine on its way into a standby stock has warmed itself, and may be stopped. The ledger does not know it: it was
/// not launched yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prewarmed {
    /// Which, as it has proved.
    pub instance: InstanceId,
    /// The shape that it says it was made for.
    pub shape: ShapeId,
    /// When the door heard it.
    pub at: Timestamp,
}

/// What the cloud says of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// Which.
    pub instance: InstanceId,
    /// When, by the cloud's clock.
    pub at: Timestamp,
    /// What.
    pub kind: CloudEventKind,
}

/// Kinds of cloud events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudEventKind {
    /// A spot interruption notice: two minutes are left.
    InterruptionNotice,
    /// A spot instance is at a raised risk of interruption: its work should go elsewhere.
    RebalanceRecommended,
    /// The instance is gone.
    Terminated,
}

/// What the cloud says of a group that it launches machines in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEvent {
    /// The cloud's name of the group.
    pub group: Arc<str>,
    /// When, by the cloud's clock.
    pub at: Timestamp,
    /// What.
    pub kind: GroupEventKind,
}

/// Kinds of events of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupEventKind {
    /// A machine could not be launched. The cloud goes on trying, or does not.
    LaunchFailed {
        /// The cloud's id of the attempt.
        activity: Arc<str>,
        /// The cloud's words.
        why: Arc<str>,
    },
    /// A machine has left the standby stock and waits at the lifecycle hook of its launch.
    LeftStandby {
        /// Which.
        instance: InstanceId,
    },
}

/// One stored fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When the door received it.
    pub received_at: Timestamp,
    /// What it says.
    pub body: FactBody,
}

impl Fact {
    /// The key under which it is stored once. Readable, and the same for every delivery of the same thing.
    pub fn key(&self) -> String {
        match &self.body {
            FactBody::Job(event) => {
                let says = match &event.evidence {
                    JobEvidence::Queued { created_at, approved_at } => {
                        format!("queued:{}:{}", ms(*created_at), ms(*approved_at))
                    }
                    JobEvidence::Waiting => "waiting".to_owned(),
                    JobEvidence::InProgress(s) => {
                        format!("in_progress:{}:{}", s.started_at.unix_ms(), runner(s.runner.as_ref()))
                    }
                    JobEvidence::Completed(c) => format!(
                        "completed:{}:{}:{}:{}",
                        c.completed_at.unix_ms(),
                        c.conclusion,
                        ms(c.started_at),
                        runner(c.runner.as_ref())
                    ),
                };
                format!("job:{}:{}:{says}", event.key.job, event.key.attempt)
            }
            FactBody::Machine(event) => {
                format!("machine:{}:{}:{}", event.instance, event.session, event.report.key())
            }
            FactBody::Cloud(event) => {
                let kind = match event.kind {
                    CloudEventKind::InterruptionNotice => "interruption",
                    CloudEventKind::RebalanceRecommended => "rebalance",
                    CloudEventKind::Terminated => "terminated",
                };
                format!("cloud:{}:{kind}", event.instance)
            }
            FactBody::Group(event) => match &event.kind {
                GroupEventKind::LaunchFailed { activity, .. } => format!("group:{}:failed:{activity}", event.group),
                // A machine leaves the stock once.
                GroupEventKind::LeftStandby { instance } => format!("group:{}:left:{instance}", event.group),
            },
            FactBody::Prewarmed(event) => format!("prewarmed:{}", event.instance),
            // Told once, when it changes; an image may go back to what it was before.
            FactBody::Release(event) => {
                let ReleaseEvent { shape, release, taken, at, .. } = event;
                format!("release:{shape}:{release}:{}:{}", if *taken { "taken" } else { "retired" }, at.unix_ms())
            }
        }
    }
}

fn ms(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.unix_ms().to_string())
}

fn runner(runner: Option<&RunnerRef>) -> &str {
    runner.map_or("-", |r| r.name.as_str())
}
