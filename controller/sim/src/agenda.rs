//! What will happen: events by time, and of the same time in the order in which they were entered.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use muster_core::ids::RunnerId;
use muster_core::time::Timestamp;

use crate::cloud::InstanceNo;
use crate::work::{Action, JobRef, RunNo};

/// Something that happens by itself. Events are never taken back: each checks whether it still applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A webhook is delivered.
    Deliver(JobRef, Action),
    /// A webhook that was late arrives.
    Arrive(u64),
    /// A run is cancelled.
    Cancel(RunNo),
    /// An agent claims: it has booted, or tries again.
    Claim(InstanceNo),
    /// The listener hears of its job.
    Received(InstanceNo, JobRef),
    /// The job's first step; without a machine if GitHub hosts it.
    Started(Option<InstanceNo>, JobRef),
    /// The job's last step is over.
    Finished(JobRef),
    /// A job whose runner never took it is queued again.
    Requeue(JobRef),
    /// Jobs that waited for as long as GitHub lets them are given up.
    GiveUp,
    /// The watch looks at jobs that wait for long.
    Look,
    /// A frozen listener is told nothing for too long.
    ThawSelf(InstanceNo, u32),
    /// A frozen listener may be ended.
    Drained(InstanceNo, u32),
    /// A standby machine is warm and stopped.
    Stocked(InstanceNo),
    /// The cloud takes a machine.
    Taken(InstanceNo),
    /// The cloud takes a machine if its listener waits.
    TakenIdle(InstanceNo, RunnerId),
    /// GitHub removes a registration that is still idle.
    RemovedIdle(RunnerId),
}

struct Entry {
    at: Timestamp,
    sequence: u64,
    event: Event,
}

impl Ord for Entry {
    // The heap gives out its greatest: the earliest is made that.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// All that is to come.
#[derive(Default)]
pub(crate) struct Agenda {
    entries: BinaryHeap<Entry>,
    sequence: u64,
}

impl Agenda {
    pub(crate) fn at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.entries.push(Entry { at, sequence: self.sequence, event });
    }

    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.entries.peek().map(|entry| entry.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Timestamp, Event)> {
        self.entries.pop().map(|entry| (entry.at, entry.event))
    }
}
