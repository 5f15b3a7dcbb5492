//! Webhooks: sent on their way when something happens to a job, made at the instant of their delivery.
//!
//! Invariant: what a webhook says was settled when it was sent: a delivery reads only fields that do not change any more.

use muster_core::job::{Completed, JobEvent, JobEvidence, Started};

use super::{Output, Universe};
use crate::agenda::Event;
use crate::chance::Purpose;
use crate::lost::Fate;
use crate::webhook::Webhook;
use crate::work::{Action, JobRef, State};

impl Universe {
    /// Sends a webhook on its way; it does not overtake an earlier one of the same job.
    pub(super) fn deliver_later(&mut self, at: JobRef, action: Action) {
        let Some(run) = self.work.run_mut(at.run) else { return };
        let owner = run.job_id(at.job).0.unsigned_abs();
        let Some(job) = run.jobs.get_mut(usize::from(at.job)) else {
            return;
        };
        let mut stream = self.chance.stream(Purpose::Webhook, owner, action as u64);
        let due = (self.now + self.settings.profile.webhook_delay.draw(&mut stream)).max(job.delivered_at);
        job.delivered_at = due;
        run.deliveries += 1;
        self.agenda.at(due, Event::Deliver(at, action));
    }

    pub(super) fn deliver(&mut self, at: JobRef, action: Action) {
        let Some(run) = self.work.run_mut(at.run) else { return };
        run.deliveries -= 1;
        let Some(job) = run.jobs.get(usize::from(at.job)) else {
            return;
        };
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
        self.send(Webhook { guid, event, created_at });
    }

    /// Lets a delivery arrive, or not.
    fn send(&mut self, webhook: Webhook) {
        match self.settings.webhooks.fate(self.chance, &webhook) {
            Fate::Arrives => self.reach_door(webhook),
            Fate::Fails => self.lost.fail(webhook, self.now),
            Fate::Vanishes => self.lost.remember(&webhook.event),
            Fate::Twice(delay) => {
                let number = self.lost.keep(webhook.clone());
                self.agenda.at(self.now + delay, Event::Arrive(number));
                self.reach_door(webhook);
            }
            Fate::Late(delay) => {
                let number = self.lost.keep(webhook);
                self.agenda.at(self.now + delay, Event::Arrive(number));
            }
        }
    }

    pub(super) fn arrive_late(&mut self, number: u64) {
        if let Some(webhook) = self.lost.arrives(number) {
            self.reach_door(webhook);
        }
    }

    fn reach_door(&mut self, webhook: Webhook) {
        if self.settings.webhooks.down_until(self.settings.start, self.now).is_some() {
            self.lost.fail(webhook, self.now);
        } else {
            self.say(Output::Webhook(webhook));
        }
    }
}
