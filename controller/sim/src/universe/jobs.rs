//! Jobs as time passes: they arrive, wait, are handed out, run, end, are cancelled or given up; and GitHub tells of it.

use std::time::Duration;

use muster_core::protocol::AgentState;

use super::{HOSTED_START, QUEUE_LIMIT, Universe};
use crate::agenda::Event;
use crate::cloud::{Agent, InstanceNo};
use crate::work::{Action, JobRef, Next, Outcome, RunNo, State};

impl Universe {
    pub(super) fn arrive(&mut self) {
        let Some(run) = self.next_run.take() else { return };
        let (repository, public, cancel_after) = (run.repository.clone(), run.public, run.cancel_after);
        let Universe { work, labels, classes, .. } = self;
        let no = work.arrive(run, |set| {
            let number = labels.number(set);
            (number, classes.of_job(number, set, &repository, public))
        });
        if let Some(after) = cancel_after {
            self.agenda.at(self.now + after, Event::Cancel(no));
        }
        for job in self.work.roots(no) {
            self.queue(JobRef { run: no, job });
        }
        self.fetch_run();
    }

    /// The job becomes runnable.
    pub(super) fn queue(&mut self, at: JobRef) {
        let now = self.now;
        let Some(job) = self.work.job_mut(at) else { return };
        job.state = State::Queued;
        job.queued_at = Some(now);
        let class = job.class;
        self.deliver_later(at, Action::Queued);
        let Some(class) = class else {
            if let Some(job) = self.work.job_mut(at) {
                job.state = State::Assigned;
            }
            self.agenda.at(now + HOSTED_START, Event::Started(None, at));
            return;
        };
        self.books.of(class).jobs.queued += 1;
        self.watch.queued(class);
        self.give_up.push_back((now + QUEUE_LIMIT, at));
        self.set_give_up();
        if let Some(after) = self.watch.limits().starved_after {
            self.look.push_back((now + after, at));
            self.set_look();
        }
        self.seek_runner(at);
    }

    /// The first step.
    pub(super) fn start(&mut self, no: Option<InstanceNo>, at: JobRef) {
        if self.work.state(at) != Some(State::Assigned) {
            return;
        }
        if let Some(no) = no {
            match self.fleet.get_mut(no) {
                Some(instance) if instance.agent == Agent::Received(at) => instance.agent = Agent::Running(at),
                Some(_) | None => return,
            }
        }
        if let Some(duration) = self.begin(at) {
            self.deliver_later(at, Action::InProgress);
            self.agenda.at(self.now + duration, Event::Finished(at));
        }
    }

    /// Books the start, and says how long the job will run.
    fn begin(&mut self, at: JobRef) -> Option<Duration> {
        let now = self.now;
        let job = self.work.job_mut(at)?;
        job.state = State::Running;
        job.started_at = Some(now);
        let (waited, class, duration) = (job.queued_at.map(|queued| now.since(queued)), job.class, job.duration);
        if let (Some(class), Some(waited)) = (class, waited) {
            self.books.of(class).waited(waited);
        }
        Some(duration)
    }

    pub(super) fn finish(&mut self, at: JobRef) {
        if self.work.state(at) == Some(State::Running) {
            self.end_job(at, Outcome::Completed);
        }
    }

    /// The job is over, and what needed it is queued or skipped.
    pub(super) fn end_job(&mut self, at: JobRef, outcome: Outcome) {
        let mut todo = vec![(at, outcome)];
        while let Some((at, outcome)) = todo.pop() {
            self.close_job(at, outcome);
            let mut skipped = Vec::new();
            for next in self.work.end(at, outcome, self.now) {
                match next {
                    // At once, so in order of the run: GitHub hands out the job that has waited longest first.
                    Next::Queue(job) => self.queue(JobRef { run: at.run, job }),
                    Next::Skip(job) => skipped.push((JobRef { run: at.run, job }, Outcome::Skipped)),
                }
            }
            // The first to follow comes off the list first.
            todo.extend(skipped.into_iter().rev());
        }
        self.work.forget_if_over(at.run);
    }

    /// Everything about the end of a job but the needs graph.
    fn close_job(&mut self, at: JobRef, outcome: Outcome) {
        let now = self.now;
        let Some(job) = self.work.job_mut(at) else { return };
        job.over_at = Some(now);
        let (state, class, labels) = (job.state, job.class, job.labels_no);
        let (started_at, no, runner) = (job.started_at, job.instance, job.runner.as_ref().and_then(|r| r.id));
        self.job_ended_at = self.job_ended_at.max(now);
        if let Some(class) = class {
            self.books.of(class).jobs.end(outcome);
            if state == State::Queued {
                self.watch.unqueued(class, false, now);
                let work = &self.work;
                let waits = |job| job != at && work.state(job) == Some(State::Queued);
                self.hub.trim(labels, waits);
            }
        }
        if let Some(runner) = runner {
            self.hub.unregister(runner);
        }
        if let Some(instance) = no.and_then(|no| self.fleet.get_mut(no)) {
            instance.registrations = instance.registrations.saturating_sub(1);
            instance.agent = Agent::Ended;
            instance.spell.ran = started_at.map_or(Duration::ZERO, |started| now.since(started));
            if let Some(no) = no {
                self.report(no, AgentState::Done { ran_job: true });
            }
        }
        self.deliver_later(at, Action::Completed);
    }

    /// The run is cancelled: what waits ends without a runner, what runs stops, what was never queued is skipped.
    pub(super) fn cancel(&mut self, no: RunNo) {
        let count = self.work.run(no).map_or(0, |run| run.jobs.len());
        for job in (0_u16..).take(count) {
            let at = JobRef { run: no, job };
            match self.work.state(at) {
                Some(State::Waiting) => self.end_job(at, Outcome::Skipped),
                Some(State::Assigned) => self.cancel_assigned(at),
                Some(State::Queued | State::Running) => self.end_job(at, Outcome::Cancelled),
                Some(State::Over(_)) | None => {}
            }
        }
    }

    /// A listener that has heard of its job starts it and stops at once; from another the job is withdrawn.
    fn cancel_assigned(&mut self, at: JobRef) {
        let Some(job) = self.work.job_mut(at) else { return };
        let (class, no, runner) = (job.class, job.instance, job.runner.as_ref().and_then(|runner| runner.id));
        let heard = no.and_then(|no| self.fleet.get(no)).is_some_and(|i| i.agent == Agent::Received(at));
        if heard {
            self.begin(at);
            self.end_job(at, Outcome::Cancelled);
            return;
        }
        job.runner = None;
        job.instance = None;
        if let Some(class) = class {
            self.watch.queued(class);
            self.watch.unqueued(class, false, self.now);
        }
        self.end_job(at, Outcome::Cancelled);
        // Its machine may be gone by now; then there is nobody to give another job to.
        if let (Some(no), Some(runner)) = (no, runner)
            && self.fleet.get(no).is_some_and(|instance| instance.runner == Some(runner))
        {
            let frozen = self.fleet.get(no).is_some_and(|instance| instance.freeze.is_some());
            self.set_spare(no, !frozen);
            self.seek_job(runner);
        }
    }
}
