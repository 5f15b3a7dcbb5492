//! A chronicle: what happened in the last minutes, for whoever reads a failure.
//!
//! What lives here: lines, and the words for them. What may not: a judgement.
//!
//! Invariant: it holds the latest 400 lines, and none once it is closed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use muster_core::fact::{Fact, FactBody};
use muster_core::job::JobEvidence;
use muster_core::ports::Batch;
use muster_core::time::Timestamp;

use super::super::wire::{Asked, Echo};

/// Lines that are kept.
const LINES_MAX: usize = 400;

#[derive(Default)]
struct Lines {
    lines: VecDeque<(Timestamp, String)>,
    closed: bool,
    now: Timestamp,
}

/// What happened of late; nothing, if nobody wants to know.
#[derive(Clone)]
pub struct Chronicle(Option<Arc<Mutex<Lines>>>);

impl Chronicle {
    pub(super) fn new(kept: bool) -> Chronicle {
        Chronicle(kept.then(Arc::default))
    }

    /// Adds a line.
    pub(super) fn write(&self, now: Timestamp, line: impl FnOnce() -> String) {
        let Some(lines) = &self.0 else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.now = lines.now.max(now);
        if lines.closed {
            return;
        }
        if lines.lines.len() == LINES_MAX {
            lines.lines.pop_front();
        }
        let at = lines.now;
        lines.lines.push_back((at, line()));
    }

    /// Adds nothing more: what comes after the first violation explains nothing.
    pub(super) fn close(&self) {
        if let Some(lines) = &self.0 {
            lines.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        }
    }

    /// The lines, each with its instant.
    pub fn lines(&self) -> Vec<String> {
        let Some(lines) = &self.0 else { return Vec::new() };
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.lines.iter().map(|(at, line)| format!("{at} {line}")).collect()
    }

    pub(super) fn fact(&self, fact: &Fact) {
        self.write(fact.received_at, || match &fact.body {
            FactBody::Job(event) => {
                let word = match &event.evidence {
                    JobEvidence::Queued { .. } => "queued".to_owned(),
                    JobEvidence::Waiting => "waiting".to_owned(),
                    JobEvidence::InProgress(started) => {
                        format!(
                            "started on {}",
                            started.runner.as_ref().map_or("no runner", |runner| runner.name.as_str())
                        )
                    }
                    JobEvidence::Completed(completed) => format!("completed: {:?}", completed.conclusion),
                };
                format!("fact: job {} {word}", event.key.job)
            }
            FactBody::Machine(event) => {
                format!("fact: {} session {}: {:?}", event.instance, event.session, event.report)
            }
            other => format!("fact: {other:?}"),
        });
    }

    pub(super) fn batch(&self, now: Timestamp, batch: &Batch) {
        for launch in &batch.launches {
            let purpose = &launch.purpose;
            let (count, class, zone) = (launch.count, &purpose.class, &purpose.zone);
            self.write(now, || format!("commit: launch {} of {count} {class} in {zone}: {}", launch.id, launch.reason));
        }
        for launch in &batch.settled {
            self.write(now, || format!("commit: launch {launch} is settled"));
        }
        for (instance, order) in &batch.orders {
            self.write(now, || format!("commit: {instance} is to {order:?}"));
        }
        for machine in batch.machines.iter().filter(|machine| machine.terminate_at.is_some()) {
            self.write(now, || format!("commit: {} {}", machine.instance, machine.phase().word()));
        }
        for instance in &batch.forgotten {
            self.write(now, || format!("commit: {instance} is forgotten"));
        }
    }
}

impl Echo for Chronicle {
    fn asked(&self, what: &Asked<'_>) {
        let line = match what {
            Asked::Launch { launch, reply, .. } => format!("cloud: launch {}: {reply:?}", launch.id),
            Asked::Terminate(instances) => {
                let ids: Vec<&str> = instances.iter().map(|(instance, _)| instance.as_str()).collect();
                format!("cloud: end {}", ids.join(", "))
            }
            Asked::SetStandby(shape, size) => format!("cloud: standby of {shape} to {size}"),
            Asked::Release(_)
            | Asked::Silence(_)
            | Asked::Instances(_)
            | Asked::Zones
            | Asked::Standby
            | Asked::SpotPrices => return,
        };
        self.write(Timestamp::EPOCH, || line);
    }
}
