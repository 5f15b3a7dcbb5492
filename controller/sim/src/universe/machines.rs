//! The cloud's interface, as the universe answers it, and what the cloud does by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_core::ids::{InstanceId, RunnerId, ShapeId, Zone};
use muster_core::launch::{LAUNCH_MAX, Launch, LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::machine::Origin;
use muster_core::ports::{CloudError, InstanceState};
use muster_core::protocol::AgentState;
use muster_core::time::Timestamp;

use super::Universe;
use crate::agenda::Event;
use crate::books::Spell;
use crate::catalog::ShapeInfo;
use crate::chance::{Purpose, number_of};
use crate::classes::ClassNo;
use crate::cloud::{Agent, Instance, InstanceNo, Token, ZONES};
use crate::rule::Rule;
use crate::work::Outcome;

/// How many instances one call of `DescribeInstances` lists.
const PAGE: usize = 1_000;

impl Universe {
    /// Launches. A repeat under the same id returns the same instances.
    ///
    /// # Errors
    /// [`CloudError::Rejected`] for a request that can never be right: an unknown shape or zone, the wrong market, a
    /// count out of range, or other parameters under a token that was used.
    pub fn launch(&mut self, launch: &Launch) -> Result<LaunchReply, CloudError> {
        self.fleet.requests += 1;
        let purpose = &launch.purpose;
        let shape = self.launchable(launch)?;
        let asked = (purpose.shape.clone(), purpose.zone.clone(), purpose.market, launch.count);
        if let Some(token) = self.fleet.token(&launch.id).filter(|_| !self.settings.forget_tokens) {
            if token.asked != asked {
                return Err(CloudError::Rejected(
                    "IdempotentParameterMismatch: the token was used for another launch".into(),
                ));
            }
            return Ok(token.reply.clone());
        }
        let class = self.classes.of_id(&purpose.class);
        let hopeless = self.fleet.outages.contains_key(&(purpose.shape.clone(), purpose.zone.clone()));
        let started = match purpose.origin {
            Origin::Cold if hopeless => Vec::new(),
            Origin::Cold => self.start_cold(launch, class, &shape),
            Origin::Standby => self.start_standby(launch, class),
        };
        let count = u32::try_from(started.len()).unwrap_or(u32::MAX);
        let missing = launch.count.saturating_sub(count);
        let book = &mut self.books.of(class).launches;
        book.failed += u64::from(missing);
        match purpose.origin {
            Origin::Cold => book.cold += u64::from(count),
            Origin::Standby => book.standby += u64::from(count),
        }
        if count > 0 {
            for no in &started {
                self.set_spare(*no, true);
            }
            self.watch.launched(launch, class, count, self.now);
        }
        let instances: Vec<InstanceId> = started.iter().map(|no| no.id()).collect();
        let message = match purpose.origin {
            Origin::Cold => "InsufficientInstanceCapacity",
            Origin::Standby => "the warm pool is empty",
        };
        let error = (missing > 0).then(|| LaunchError { kind: LaunchErrorKind::Capacity, message: message.into() });
        let reply = LaunchReply { instances, error };
        // A refusal is remembered too: what was asked for once is not tried anew under its token.
        self.fleet.remember(&launch.id, Token { asked, reply: reply.clone() }, self.now);
        Ok(reply)
    }

    fn launchable(&mut self, launch: &Launch) -> Result<ShapeInfo, CloudError> {
        let purpose = &launch.purpose;
        if launch.count == 0 || launch.count > LAUNCH_MAX {
            return Err(CloudError::Rejected(format!("{} instances: 1 to {LAUNCH_MAX} are possible", launch.count)));
        }
        if !ZONES.contains(&purpose.zone.as_str()) {
            return Err(CloudError::Rejected(format!("there is no zone {}", purpose.zone)));
        }
        let shape = self.classes.shape(&purpose.shape).cloned();
        let shape = shape.ok_or_else(|| CloudError::Rejected(format!("there is no shape {}", purpose.shape)))?;
        if shape.market != purpose.market {
            let (is, asked) = (shape.market.as_str(), purpose.market.as_str());
            return Err(CloudError::Rejected(format!("shape {} is {is}, not {asked}", purpose.shape)));
        }
        Ok(shape)
    }

    fn start_cold(&mut self, launch: &Launch, class: ClassNo, shape: &ShapeInfo) -> Vec<InstanceNo> {
        let delay = self.settings.profile.boot(shape.os);
        (0..launch.count)
            .map(|_| {
                let no = self.fleet.new_no();
                let boot = self.draw_start(Purpose::Boot, launch, class, delay);
                self.run_machine(no, launch, class, boot);
                no
            })
            .collect()
    }

    pub(super) fn draw_start(
        &mut self,
        purpose: Purpose,
        launch: &Launch,
        class: ClassNo,
        delay: crate::profile::Delay,
    ) -> Duration {
        let ordinal = self.fleet.ordinal(class);
        delay.draw(&mut self.chance.stream(purpose, number_of(launch.purpose.class.as_str()), ordinal))
    }

    pub(super) fn run_machine(&mut self, no: InstanceNo, launch: &Launch, class: ClassNo, boot: Duration) {
        let price = launch.purpose.price;
        let spell = Spell { price, started_at: self.now, ready_at: None, ran: Duration::ZERO };
        let instance = Instance {
            id: no.id(),
            class,
            pool: launch.purpose.pool.clone(),
            spell,
            agent: Agent::Booting,
            session: 0,
            runner: None,
            freeze: None,
            mints: 0,
            registrations: 0,
            spare: false,
            hung: false,
        };
        self.fleet.instances.insert(no, instance);
        self.agenda.at(self.now + boot, Event::Claim(no));
    }

    /// Ends instances at once and returns those that are gone: all but those that the cloud knows nothing of.
    pub fn terminate(&mut self, instances: &[InstanceId]) -> Vec<InstanceId> {
        for id in instances {
            self.fleet.requests += 1;
            if let Some(no) = InstanceNo::of(id) {
                self.end_machine(no, Outcome::Killed);
            }
        }
        let now = self.now;
        let gone: BTreeSet<&InstanceId> = self.fleet.gone(now).collect();
        instances.iter().filter(|id| gone.contains(id)).cloned().collect()
    }

    /// Turns the metadata service of so many instances off: one request each. Simulated agents do not read it.
    pub fn silence(&mut self, instances: usize) {
        self.fleet.requests += instances as u64;
    }

    /// The cloud warns of an interruption, and takes the machine after `notice`.
    pub fn interrupt(&mut self, instance: &InstanceId, notice: Duration) {
        let Some(no) = InstanceNo::of(instance).filter(|no| self.fleet.get(*no).is_some()) else {
            return;
        };
        if notice > Duration::ZERO {
            self.report(no, AgentState::Interrupted);
        }
        self.agenda.at(self.now + notice, Event::Taken(no));
    }

    pub(super) fn taken(&mut self, no: InstanceNo) {
        self.end_machine(no, Outcome::Interrupted);
    }

    pub(super) fn taken_idle(&mut self, no: InstanceNo, runner: RunnerId) {
        let waits = |instance: &Instance| instance.runner == Some(runner) && instance.agent == Agent::Listening;
        if self.fleet.get(no).is_some_and(waits) && self.taken_by(runner).is_none() {
            self.taken(no);
        }
    }

    /// Takes away, or gives back, the capacity of a shape in a zone.
    pub fn set_capacity(&mut self, shape: &ShapeId, zone: &Zone, there: bool) {
        let offering = (shape.clone(), zone.clone());
        if there {
            self.fleet.outages.remove(&offering);
        } else {
            self.fleet.outages.entry(offering).or_insert(self.now);
        }
    }

    fn end_machine(&mut self, no: InstanceNo, outcome: Outcome) {
        let now = self.now;
        self.set_spare(no, false);
        let Some(mut instance) = self.fleet.instances.remove(&no) else {
            return;
        };
        let ours = outcome == Outcome::Killed;
        let assigned = instance.runner.and_then(|runner| self.taken_by(runner));
        let had_job = match instance.agent {
            Agent::Received(job) | Agent::Running(job) => Some(job),
            Agent::Booting | Agent::Claiming | Agent::Ready | Agent::Listening | Agent::Ended => None,
        };
        if let Some(job) = had_job {
            let started_at = self.work.job(job).and_then(|job| job.started_at);
            instance.spell.ran = started_at.map_or(Duration::ZERO, |started| now.since(started));
            if ours {
                self.watch.broken(Rule::Killed, now, format_args!("{} was terminated with a job", instance.id));
            }
            self.end_job(job, outcome);
        } else if let Some(runner) = instance.runner.filter(|runner| self.hub.runner(*runner).is_some()) {
            if ours && instance.agent == Agent::Listening {
                let detail = format_args!("{} was terminated under a registered listener", instance.id);
                self.watch.broken(Rule::EndedListening, now, detail);
            }
            if let Some(job) = assigned {
                self.requeue_later(job);
            }
            self.hub.lose(runner, now);
        }
        self.watch.ended(&instance.pool, instance.spell.price, now);
        if let Some(at) = self.billed_until(instance.spell.started_at) {
            self.books.of(instance.class).costs.add(instance.spell.costs(at));
        }
        self.fleet.bury(instance.id, now);
    }

    /// Until when a spell that ends now is billed; `None` if it began when the books were closed.
    pub(super) fn billed_until(&self, started_at: Timestamp) -> Option<Timestamp> {
        if !self.finished() {
            return Some(self.now);
        }
        (started_at < self.job_ended_at).then_some(self.job_ended_at.min(self.now))
    }

    /// The fleet's instances, and those that ended lately.
    pub fn instances(&mut self) -> Vec<(InstanceId, InstanceState)> {
        let live = self.fleet.instances.values().map(|instance| (instance.id.clone(), InstanceState::Live));
        let mut all: Vec<_> = live.collect();
        let now = self.now;
        all.extend(self.fleet.gone(now).map(|id| (id.clone(), InstanceState::Gone)));
        self.fleet.requests += all.len().div_ceil(PAGE).max(1) as u64;
        all
    }

    /// The zones, in order of preference.
    pub fn zones(&mut self) -> Vec<Zone> {
        self.fleet.requests += 1;
        ZONES.iter().map(|zone| Zone::new(*zone)).collect()
    }
}
