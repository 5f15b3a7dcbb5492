//! GitHub's side of runners: registrations, who is idle, which jobs wait, and what its interface allows a minute.
//!
//! What lives here: state and choices. What may not: what happens when time passes (that is the universe's).
//!
//! Invariant: a runner is in an idle list exactly if it is online and without a job; a waiting job is given to the runner
//! that comes, the longest waiting first, and to any of the idle ones, at random.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use muster_core::ids::{RunnerId, RunnerName};
use muster_core::ports::Listed;
use muster_core::time::Timestamp;

use crate::cloud::InstanceNo;
use crate::labels::{Labels, LabelsNo};
use crate::work::JobRef;

/// Points that one call of a mutating method costs.
const POINTS: u32 = 5;
/// The span that GitHub's points are counted over.
const MINUTE: Duration = Duration::from_secs(60);
/// The span that GitHub's requests are counted over.
const HOUR: Duration = Duration::from_secs(3_600);
/// GitHub removes registrations whose runner has been away for so long.
const AWAY_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Runner ids start somewhere.
const FIRST_RUNNER_ID: i64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Never connected, or its machine is gone.
    Offline,
    /// At this place of its idle list.
    Idle(usize),
    /// With a job.
    Taken(JobRef),
}

pub(crate) struct Runner {
    pub(crate) name: RunnerName,
    pub(crate) labels: LabelsNo,
    /// The instance that its name carries.
    pub(crate) instance: Option<InstanceNo>,
    pub(crate) presence: Presence,
    pub(crate) was_online: bool,
}

#[derive(Default)]
pub(crate) struct Hub {
    runners: BTreeMap<RunnerId, Runner>,
    names: HashSet<RunnerName>,
    idle: Vec<Vec<RunnerId>>,
    queues: Vec<VecDeque<(u64, JobRef)>>,
    entered: u64,
    next_id: i64,
    away: VecDeque<(Timestamp, RunnerId)>,
    /// Since when, and the points spent since.
    minute: Option<(Timestamp, u32)>,
    /// Since when, and how many requests there had been.
    hour: Option<(Timestamp, u64)>,
    pub(crate) requests: u64,
    /// Requests over a limit.
    pub(crate) refused: u64,
}

impl Hub {
    /// No runners, of which the first gets this number, beyond where ids start.
    pub(crate) fn numbering_from(first: u64) -> Hub {
        Hub { next_id: FIRST_RUNNER_ID.saturating_add_unsigned(first), ..Hub::default() }
    }

    /// Counts a request against the limits.
    ///
    /// # Errors
    /// The instant from which there is room again.
    pub(crate) fn spend(
        &mut self,
        points_per_minute: Option<u32>,
        requests_per_hour: Option<u32>,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let hour = self.hour.filter(|(from, _)| now.since(*from) < HOUR).unwrap_or((now, self.requests));
        self.hour = Some(hour);
        self.requests += 1;
        let (from, spent) = self.minute.filter(|(from, _)| now.since(*from) < MINUTE).unwrap_or((now, 0));
        if points_per_minute.is_some_and(|limit| spent + POINTS > limit) {
            self.refused += 1;
            return Err(from + MINUTE);
        }
        if requests_per_hour.is_some_and(|limit| self.requests - hour.1 > u64::from(limit)) {
            self.refused += 1;
            return Err(hour.0 + HOUR);
        }
        self.minute = Some((from, spent + POINTS));
        Ok(())
    }

    /// Registers a runner, offline. `None` if the name is taken.
    pub(crate) fn register(
        &mut self,
        name: RunnerName,
        labels: LabelsNo,
        instance: Option<InstanceNo>,
    ) -> Option<RunnerId> {
        if !self.names.insert(name.clone()) {
            return None;
        }
        let id = RunnerId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.runners.insert(id, Runner { name, labels, instance, presence: Presence::Offline, was_online: false });
        Some(id)
    }

    pub(crate) fn runner(&self, id: RunnerId) -> Option<&Runner> {
        self.runners.get(&id)
    }

    /// Takes a registration away.
    pub(crate) fn unregister(&mut self, id: RunnerId) -> Option<Runner> {
        self.set(id, Presence::Offline);
        let runner = self.runners.remove(&id)?;
        self.names.remove(&runner.name);
        Some(runner)
    }

    /// Its runner is away for good: the registration stays until GitHub clears it.
    pub(crate) fn lose(&mut self, id: RunnerId, now: Timestamp) {
        self.set(id, Presence::Offline);
        self.away.push_back((now, id));
    }

    /// Since when registrations without a listener have none.
    pub(crate) fn away(&self) -> impl Iterator<Item = Timestamp> {
        self.away.iter().filter(|(_, id)| self.runners.contains_key(id)).map(|(at, _)| *at)
    }

    /// Registrations that GitHub clears by itself by now.
    pub(crate) fn clear_away(&mut self, now: Timestamp) {
        while let Some((_, id)) = self.away.pop_front_if(|(at, _)| now.since(*at) > AWAY_MAX) {
            self.unregister(id);
        }
    }

    /// A machine has connected as this runner.
    pub(crate) fn attach(&mut self, id: RunnerId, instance: InstanceNo) {
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.instance = Some(instance);
        }
    }

    pub(crate) fn make_idle(&mut self, id: RunnerId) {
        let Some(labels) = self.runners.get(&id).map(|runner| runner.labels) else {
            return;
        };
        self.set(id, Presence::Offline);
        let idle = at(&mut self.idle, labels);
        let place = idle.len();
        idle.push(id);
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.presence = Presence::Idle(place);
            runner.was_online = true;
        }
    }

    pub(crate) fn take(&mut self, id: RunnerId, job: JobRef) {
        self.set(id, Presence::Taken(job));
    }

    /// Changes a presence, out of the idle list if it was in one.
    fn set(&mut self, id: RunnerId, presence: Presence) {
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut runner.presence, presence);
        let labels = runner.labels;
        if let Presence::Idle(place) = before {
            let idle = at(&mut self.idle, labels);
            idle.swap_remove(place);
            if let Some(moved) = idle.get(place).and_then(|moved| self.runners.get_mut(moved)) {
                moved.presence = Presence::Idle(place);
            }
        }
    }

    /// Any of the idle runners that cover these labels; `roll` decides.
    pub(crate) fn pick(&self, labels: &Labels, job: LabelsNo, roll: u64) -> Option<RunnerId> {
        let lists = || labels.covering(job).iter().filter_map(|set| self.idle.get(set.0));
        let count: usize = lists().map(Vec::len).sum();
        // The roll's upper half scaled to the count: no division, and no bias worth naming.
        let mut place = (((roll >> 32) * count as u64) >> 32) as usize;
        for list in lists() {
            match list.get(place) {
                Some(id) => return Some(*id),
                None => place -= list.len(),
            }
        }
        None
    }

    /// Puts a job at the end of its queue.
    pub(crate) fn enqueue(&mut self, labels: LabelsNo, job: JobRef) {
        self.entered += 1;
        at(&mut self.queues, labels).push_back((self.entered, job));
    }

    /// The longest waiting job that a runner with these labels may get, taken out of its queue. `waits` says whether an
    /// entry still stands.
    pub(crate) fn next_job(
        &mut self,
        labels: &Labels,
        runner: LabelsNo,
        waits: impl Fn(JobRef) -> bool,
    ) -> Option<JobRef> {
        let mut oldest: Option<(u64, LabelsNo)> = None;
        for set in labels.covered(runner) {
            let queue = at(&mut self.queues, *set);
            while queue.pop_front_if(|(_, job)| !waits(*job)).is_some() {}
            if let Some((entered, _)) = queue.front()
                && oldest.is_none_or(|(best, _)| *entered < best)
            {
                oldest = Some((*entered, *set));
            }
        }
        at(&mut self.queues, oldest?.1).pop_front().map(|(_, job)| job)
    }

    /// Trims what no longer waits from the front of a queue, so that it cannot grow without a runner.
    pub(crate) fn trim(&mut self, labels: LabelsNo, waits: impl Fn(JobRef) -> bool) {
        let queue = at(&mut self.queues, labels);
        while queue.pop_front_if(|(_, job)| !waits(*job)).is_some() {}
    }

    /// The registrations, as GitHub lists them.
    pub(crate) fn list(&self) -> impl Iterator<Item = Listed> {
        self.runners.iter().map(|(id, runner)| Listed {
            id: *id,
            name: runner.name.clone(),
            online: runner.presence != Presence::Offline,
            busy: matches!(runner.presence, Presence::Taken(_)),
            release: None,
        })
    }

    /// How many registrations there are.
    pub(crate) fn len(&self) -> usize {
        self.runners.len()
    }
}

/// The entry of a label set, made if it is new.
fn at<T: Default>(lists: &mut Vec<T>, labels: LabelsNo) -> &mut T {
    if lists.len() <= labels.0 {
        lists.resize_with(labels.0 + 1, T::default);
    }
    &mut lists[labels.0]
}
