//! Jobs as time passes: they arrive, wait, are handed out, run, end, are cancelled or given up; and GitHub tells of it.

use std::time::Duration;

use muster_core::ids::RunnerId;
use muster_core::job::{Completed, JobEvent, JobEvidence, RunnerRef, Started};
use muster_core::protocol::AgentState;

use super::{HOSTED_START, Output, QUEUE_LIMIT, REQUEUE_AFTER, Universe};
use crate::agenda::Event;
use crate::chance::Purpose;
use crate::cloud::{Agent, InstanceNo, ZONES};
use crate::watch::Rule;
use crate::webhook::Webhook;
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
    fn queue(&mut self, at: JobRef) {
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

    /// Gives the job to one of the idle runners, any of them, or lets it wait.
    fn seek_runner(&mut self, at: JobRef) {
        let Some(run) = self.work.run(at.run) else { return };
        let Some(job) = run.jobs.get(usize::from(at.job)) else { return };
        let labels = job.labels_no;
        let roll = self.chance.word(Purpose::Hand, run.job_id(at.job).0.unsigned_abs(), u64::from(job.tries));
        match self.hub.pick(&self.labels, labels, roll) {
            Some(runner) => self.assign(at, runner),
            None => self.hub.enqueue(labels, at),
        }
    }

    /// A runner is there for whoever waits longest.
    pub(super) fn seek_job(&mut self, runner: RunnerId) {
        self.hub.make_idle(runner);
        let Some(labels) = self.hub.runner(runner).map(|runner| runner.labels) else { return };
        let work = &self.work;
        let waits = |job| work.state(job) == Some(State::Queued);
        if let Some(job) = self.hub.next_job(&self.labels, labels, waits) {
            self.assign(job, runner);
        }
    }

    fn assign(&mut self, at: JobRef, id: RunnerId) {
        let Some(runner) = self.hub.runner(id) else { return };
        let (name, no) = (runner.name.clone(), runner.instance);
        self.hub.take(id, at);
        let Some(job) = self.work.job_mut(at) else { return };
        job.state = State::Assigned;
        job.tries += 1;
        job.runner = Some(RunnerRef { id: Some(id), name });
        job.instance = no;
        let job_class = job.class;
        let Some(no) = no else { return };
        let machine_class = self.fleet.get(no).map(|instance| instance.class);
        if let Some(class) = job_class {
            self.watch.unqueued(class, machine_class == Some(class), self.now);
        }
        self.set_spare(no, false);
        self.agenda.at(self.now + self.pick_up_half(), Event::Received(no, at));
    }

    pub(super) fn pick_up_half(&self) -> Duration {
        self.settings.profile.pick_up / 2
    }

    /// The listener hears of its job, unless it is frozen: then the message waits.
    pub(super) fn receive(&mut self, no: InstanceNo, at: JobRef) {
        let ours = self.work.job(at).is_some_and(|job| job.state == State::Assigned && job.instance == Some(no));
        let Some(instance) = self.fleet.get_mut(no) else { return };
        if !ours || instance.agent != Agent::Listening || instance.freeze.is_some() {
            return;
        }
        instance.agent = Agent::Received(at);
        self.report(no, AgentState::Busy);
        let rest = self.settings.profile.pick_up.saturating_sub(self.pick_up_half());
        self.agenda.at(self.now + rest, Event::Started(Some(no), at));
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
            // The first to follow comes off the list first.
            for next in self.work.end(at, outcome, self.now).into_iter().rev() {
                match next {
                    Next::Queue(job) => self.queue(JobRef { run: at.run, job }),
                    Next::Skip(job) => todo.push((JobRef { run: at.run, job }, Outcome::Skipped)),
                }
            }
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

    /// Its runner never took it.
    pub(super) fn requeue(&mut self, at: JobRef) {
        let Some(job) = self.work.job_mut(at).filter(|job| job.state == State::Assigned) else { return };
        job.state = State::Queued;
        job.instance = None;
        job.runner = None;
        if let Some(class) = job.class {
            self.watch.queued(class);
        }
        self.seek_runner(at);
    }

    /// Its runner will never take it; GitHub finds out later.
    pub(super) fn requeue_later(&mut self, at: JobRef) {
        self.agenda.at(self.now + REQUEUE_AFTER, Event::Requeue(at));
    }

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
        let (Some(class), Some(queued_at)) = (job.class, job.queued_at) else { return false };
        let shapes = &self.classes.info(class).shapes;
        let gone = |shape: &muster_core::ids::ShapeId, zone: &str| {
            let offering = (shape.clone(), muster_core::ids::Zone::new(zone));
            self.fleet.outages.get(&offering).is_some_and(|since| *since <= queued_at)
        };
        !shapes.is_empty() && shapes.iter().all(|shape| ZONES.iter().all(|zone| gone(shape, zone)))
    }

    fn set_give_up(&mut self) {
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
        let Some(after) = self.watch.limits().starved_after else { return };
        while let Some((_, at)) = self.look.pop_front_if(|(due, _)| *due <= self.now) {
            let Some(run) = self.work.run(at.run) else { continue };
            let Some(job) = run.jobs.get(usize::from(at.job)).filter(|job| job.state == State::Queued) else { continue };
            let (Some(class), Some(queued_at)) = (job.class, job.queued_at) else { continue };
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

    fn set_look(&mut self) {
        let work = &self.work;
        let over = |at: JobRef| matches!(work.state(at), None | Some(State::Running | State::Over(_)));
        while self.look.pop_front_if(|(_, at)| over(*at)).is_some() {}
        if let (false, Some((due, _))) = (self.look_set, self.look.front()) {
            self.agenda.at(*due, Event::Look);
            self.look_set = true;
        }
    }

    /// Sends a webhook on its way; it does not overtake an earlier one of the same job.
    fn deliver_later(&mut self, at: JobRef, action: Action) {
        let Some(run) = self.work.run_mut(at.run) else { return };
        let owner = run.job_id(at.job).0.unsigned_abs();
        let Some(job) = run.jobs.get_mut(usize::from(at.job)) else { return };
        let mut stream = self.chance.stream(Purpose::Webhook, owner, action as u64);
        let due = (self.now + self.settings.profile.webhook_delay.draw(&mut stream)).max(job.delivered_at);
        job.delivered_at = due;
        run.deliveries += 1;
        self.agenda.at(due, Event::Deliver(at, action));
    }

    pub(super) fn deliver(&mut self, at: JobRef, action: Action) {
        let Some(run) = self.work.run_mut(at.run) else { return };
        run.deliveries -= 1;
        let Some(job) = run.jobs.get(usize::from(at.job)) else { return };
        // A job that is skipped is created as it ends.
        let created_at = job.queued_at.or(job.over_at).unwrap_or(self.now);
        let evidence = match action {
            Action::Queued => JobEvidence::Queued { created_at: Some(created_at), approved_at: None },
            Action::InProgress => JobEvidence::InProgress(Started {
                started_at: job.started_at.unwrap_or(created_at),
                runner: job.runner.clone(),
            }),
            Action::Completed => {
                let State::Over(outcome) = job.state else { return };
                JobEvidence::Completed(Completed {
                    completed_at: job.over_at.unwrap_or(created_at),
                    conclusion: outcome.conclusion(),
                    started_at: job.started_at,
                    runner: job.runner.clone(),
                })
            }
        };
        let event = JobEvent { key: run.key(at.job), about: run.about(job), evidence };
        let owner = event.key.job.0.unsigned_abs();
        let half = |n: u64| u128::from(self.chance.word(Purpose::Guid, owner, action as u64 * 2 + n));
        let guid = half(0) << 64 | half(1);
        self.work.forget_if_over(at.run);
        self.say(Output::Webhook(Webhook { guid, event, created_at }));
    }
}
