//! Jobs that wait for long: GitHub gives them up after a day, and the watch looks at them before.
//!
//! Invariant: both queues are in order of their instants, and the first entry of each has an event on the agenda.

use muster_core::ids::{ShapeId, Zone};

use super::Universe;
use crate::agenda::Event;
use crate::cloud::ZONES;
use crate::rule::Rule;
use crate::work::{JobRef, Outcome, State};

impl Universe {
    pub(super) fn give_up(&mut self) {
        self.give_up_set = false;
        while let Some((_, at)) = self.give_up.pop_front_if(|(due, _)| *due <= self.now) {
            if self.work.state(at) == Some(State::Queued) {
                let outcome = if self.was_hopeless(at) { Outcome::Expired } else { Outcome::Lost };
                self.end_job(at, outcome);
            }
        }
        self.set_give_up();
    }

    /// Whether no shape of its class had capacity anywhere while the job waited.
    fn was_hopeless(&self, at: JobRef) -> bool {
        let Some(job) = self.work.job(at) else { return false };
        let (Some(class), Some(queued_at)) = (job.class, job.queued_at) else {
            return false;
        };
        let shapes = &self.classes.info(class).shapes;
        let gone = |shape: &ShapeId, zone: &str| {
            let offering = (shape.clone(), Zone::new(zone));
            self.fleet.outages.get(&offering).is_some_and(|since| *since <= queued_at)
        };
        !shapes.is_empty() && shapes.iter().all(|shape| ZONES.iter().all(|zone| gone(shape, zone)))
    }

    pub(super) fn set_give_up(&mut self) {
        let work = &self.work;
        let over = |at: JobRef| matches!(work.state(at), None | Some(State::Running | State::Over(_)));
        while self.give_up.pop_front_if(|(_, at)| over(*at)).is_some() {}
        if let (false, Some((due, _))) = (self.give_up_set, self.give_up.front()) {
            self.agenda.at(*due, Event::GiveUp);
            self.give_up_set = true;
        }
    }

    pub(super) fn look(&mut self) {
        self.look_set = false;
        let Some(after) = self.watch.limits().starved_after else {
            return;
        };
        while let Some((_, at)) = self.look.pop_front_if(|(due, _)| *due <= self.now) {
            let Some(run) = self.work.run(at.run) else { continue };
            let Some(job) = run.jobs.get(usize::from(at.job)).filter(|job| job.state == State::Queued) else {
                continue;
            };
            let (Some(class), Some(queued_at)) = (job.class, job.queued_at) else {
                continue;
            };
            self.look.push_back((self.now + after, at));
            let info = self.classes.info(class);
            if info.shapes.is_empty() || !self.fleet.outages.is_empty() {
                continue;
            }
            if self.watch.is_starved(class, &info.pool, info.price, self.now) {
                let (id, waited) = (run.job_id(at.job), self.now.since(queued_at).as_secs());
                let detail = format_args!("job {id} of {} waits for {waited} s, nothing is on its way", info.id);
                self.watch.broken(Rule::Starved, self.now, detail);
            }
        }
        self.set_look();
    }

    pub(super) fn set_look(&mut self) {
        let work = &self.work;
        let over = |at: JobRef| matches!(work.state(at), None | Some(State::Running | State::Over(_)));
        while self.look.pop_front_if(|(_, at)| over(*at)).is_some() {}
        if let (false, Some((due, _))) = (self.look_set, self.look.front()) {
            self.agenda.at(*due, Event::Look);
            self.look_set = true;
        }
    }
}
