//! Which runner gets which job, and the seconds between GitHub's choice and the listener's hearing of it.
//!
//! Invariant: a job is never bound to a machine before GitHub has chosen; and GitHub chooses among all that match.

use std::time::Duration;

use muster_core::ids::RunnerId;
use muster_core::job::RunnerRef;
use muster_core::protocol::AgentState;

use super::{REQUEUE_AFTER, Universe};
use crate::agenda::Event;
use crate::chance::Purpose;
use crate::cloud::{Agent, InstanceNo};
use crate::work::{JobRef, State};

impl Universe {
    /// Gives the job to one of the idle runners, any of them, or lets it wait.
    pub(super) fn seek_runner(&mut self, at: JobRef) {
        let Some(run) = self.work.run(at.run) else { return };
        let Some(job) = run.jobs.get(usize::from(at.job)) else {
            return;
        };
        // The runner groups let in what the configuration lets in: a refused job gets none of the fleet's runners.
        if job.class.is_some_and(|class| self.classes.info(class).is_nobody()) {
            return;
        }
        if self.settings.listeners.hidden.as_ref() == Some(&run.repository) {
            return;
        }
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
        let Some(labels) = self.hub.runner(runner).map(|runner| runner.labels) else {
            return;
        };
        let work = &self.work;
        let waits = |job| work.state(job) == Some(State::Queued);
        if let Some(job) = self.hub.next_job(&self.labels, labels, waits) {
            self.assign(job, runner);
        }
    }

    pub(super) fn assign(&mut self, at: JobRef, id: RunnerId) {
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

    /// Its runner never took it.
    pub(super) fn requeue(&mut self, at: JobRef) {
        let Some(job) = self.work.job_mut(at).filter(|job| job.state == State::Assigned) else {
            return;
        };
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
}
