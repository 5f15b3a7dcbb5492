//! GitHub's interface for runners, as the universe answers it.

use std::time::Duration;

use muster_core::ids::RunnerId;
use muster_core::machine::{RUNNER_NAME_MAX, Removal, instance_of};
use muster_core::ports::{GithubError, MintRequest, Minted};

use super::{Universe, agents};
use crate::chance::Purpose;
use crate::cloud::{Agent, InstanceNo};
use crate::hub::Presence;
use crate::rule::Rule;

/// The most labels that a runner may be given (GitHub's REST description of `generate-jitconfig`).
const LABELS_MAX: usize = 100;

impl Universe {
    /// Registers a runner and gives out its configuration.
    ///
    /// # Errors
    /// [`GithubError::Limited`] over the secondary limit; [`GithubError::Rejected`] for a name that is taken or too long,
    /// or without labels.
    pub fn mint(&mut self, request: &MintRequest) -> Result<Minted, GithubError> {
        self.spend()?;
        self.hub.clear_away(self.now);
        if request.name.as_str().len() > RUNNER_NAME_MAX || request.name.as_str().is_empty() {
            return Err(GithubError::Rejected(format!("422: a name has 1 to {RUNNER_NAME_MAX} characters")));
        }
        if request.labels.is_empty() || request.labels.len() > LABELS_MAX {
            return Err(GithubError::Rejected(format!("422: a runner has 1 to {LABELS_MAX} labels")));
        }
        let no = instance_of(&request.name).as_ref().and_then(InstanceNo::of);
        let labels = self.labels.number(&request.labels);
        let Some(id) = self.hub.register(request.name.clone(), labels, no) else {
            let name = &request.name;
            return Err(GithubError::Rejected(format!("409: a runner with the name {name} exists already")));
        };
        if let Some(instance) = no.and_then(|no| self.fleet.get_mut(no)) {
            instance.registrations += 1;
            instance.mints += 1;
            let (registrations, mints, session) = (instance.registrations, instance.mints, instance.session);
            let machine = &instance.id;
            if registrations > 1 {
                let detail = format_args!("{machine} has {registrations} registrations");
                self.watch.broken(Rule::TwoRegistrations, self.now, detail);
            }
            if mints > 1 {
                let detail = format_args!("{machine}: {mints} configurations in session {session}");
                self.watch.broken(Rule::MintedTwice, self.now, detail);
            }
        }
        Ok(Minted { id, config: agents::config(id) })
    }

    /// Removes a registration, unless its runner has a job.
    ///
    /// # Errors
    /// [`GithubError::Limited`] over the secondary limit.
    pub fn remove(&mut self, id: RunnerId) -> Result<Removal, GithubError> {
        self.spend()?;
        let Some(runner) = self.hub.runner(id) else {
            return Ok(Removal::Gone);
        };
        if let Presence::Taken(_) = runner.presence {
            return Ok(Removal::Busy);
        }
        self.unregister(id);
        Ok(Removal::Gone)
    }

    /// How long a registration that goes idle now stays, if GitHub removes such.
    pub(super) fn idle_life(&self, runner: RunnerId) -> Option<Duration> {
        let (least, most) = self.settings.profile.idle_removal?;
        let share = self.chance.word(Purpose::Idle, runner.0.unsigned_abs(), 0) as f64 / u64::MAX as f64;
        Some(least + most.saturating_sub(least).mul_f64(share))
    }

    /// GitHub removes a registration that has been idle for long.
    pub(super) fn removed_idle(&mut self, id: RunnerId) {
        if self.hub.runner(id).is_some_and(|runner| matches!(runner.presence, Presence::Idle(_))) {
            self.unregister(id);
        }
    }

    /// Takes a registration away, whose listener finds out.
    fn unregister(&mut self, id: RunnerId) {
        let Some(runner) = self.hub.unregister(id) else { return };
        let Some(no) = runner.instance else { return };
        let Some(instance) = self.fleet.get_mut(no) else { return };
        instance.registrations = instance.registrations.saturating_sub(1);
        if !runner.was_online {
            instance.mints = instance.mints.saturating_sub(1);
        }
        // A frozen listener cannot notice; another one ends by itself.
        if instance.runner == Some(id) && instance.agent == Agent::Listening && instance.freeze.is_none() {
            self.claim_again(no);
        }
    }

    pub(super) fn spend(&mut self) -> Result<(), GithubError> {
        let profile = &self.settings.profile;
        let (points, requests) = (profile.github_points_per_minute, profile.github_requests_per_hour);
        self.hub.spend(points, requests, self.now).map_err(|until| GithubError::Limited { until })
    }
}
