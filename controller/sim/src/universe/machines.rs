//! The cloud's interface, as the universe answers it, and what the cloud does by itself.

use std::time::Duration;

use muster_core::ids::{InstanceId, ShapeId, Zone};
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
use crate::cloud::{Agent, Instance, InstanceNo, Stock, Stocked, Token, ZONES};
use crate::watch::Rule;
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
                return Err(CloudError::Rejected("IdempotentParameterMismatch: the token was used for another launch".into()));
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
        // A launch that started nothing had no effect: its repeat is a new try.
        if count > 0 {
            self.fleet.remember(&launch.id, Token { asked, reply: reply.clone() }, self.now);
        }
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

    fn start_standby(&mut self, launch: &Launch, class: ClassNo) -> Vec<InstanceNo> {
        let shape = &launch.purpose.shape;
        let mut started = Vec::new();
        while started.len() < launch.count as usize {
            let Some(stock) = self.fleet.stock.get_mut(shape) else { break };
            let Some(place) = stock.machines.iter().position(|machine| machine.since.is_some()) else { break };
            let Some(machine) = stock.machines.remove(place) else { break };
            let (owner, price) = (stock.class, stock.standby_price);
            let since = machine.since.unwrap_or(self.now);
            let now = self.now;
            self.books.of(owner).stood_by(now.since(since), price);
            let boot = self.draw_start(Purpose::StandbyStart, launch, class, self.settings.profile.standby_start);
            self.run_machine(machine.no, launch, class, boot);
            started.push(machine.no);
        }
        self.restock(shape);
        started
    }

    fn draw_start(
        &mut self,
        purpose: Purpose,
        launch: &Launch,
        class: ClassNo,
        delay: crate::profile::Delay,
    ) -> Duration {
        let ordinal = self.fleet.ordinal(class);
        delay.draw(&mut self.chance.stream(purpose, number_of(launch.purpose.class.as_str()), ordinal))
    }

    fn run_machine(&mut self, no: InstanceNo, launch: &Launch, class: ClassNo, boot: Duration) {
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
        };
        self.fleet.instances.insert(no, instance);
        self.agenda.at(self.now + boot, Event::Claim(no));
    }

    /// Ends instances at once and returns them: all are gone. One that does not exist is gone already.
    pub fn terminate(&mut self, instances: &[InstanceId]) -> Vec<InstanceId> {
        for id in instances {
            self.fleet.requests += 1;
            if let Some(no) = InstanceNo::of(id) {
                self.end_machine(no, Outcome::Killed);
            }
        }
        instances.to_vec()
    }

    /// The cloud warns of an interruption, and takes the machine after `notice`.
    pub fn interrupt(&mut self, instance: &InstanceId, notice: Duration) {
        let Some(no) = InstanceNo::of(instance).filter(|no| self.fleet.get(*no).is_some()) else { return };
        if notice > Duration::ZERO {
            self.report(no, AgentState::Interrupted);
        }
        self.agenda.at(self.now + notice, Event::Taken(no));
    }

    pub(super) fn taken(&mut self, no: InstanceNo) {
        self.end_machine(no, Outcome::Interrupted);
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
        let Some(mut instance) = self.fleet.instances.remove(&no) else { return };
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

    /// Keeps `size` machines of a shape on standby: machines that are taken are replaced.
    ///
    /// # Errors
    /// [`CloudError::Rejected`] for an unknown shape and for one that cannot stand by.
    pub fn set_standby(&mut self, shape: &ShapeId, size: u32) -> Result<(), CloudError> {
        self.fleet.requests += 1;
        let Some(info) = self.classes.shape(shape).cloned() else {
            return Err(CloudError::Rejected(format!("there is no shape {shape}")));
        };
        let Some(standby_price) = info.standby_price else {
            return Err(CloudError::Rejected(format!("shape {shape} cannot stand by")));
        };
        let class = self.classes.of_id(&info.class);
        let stock = self.fleet.stock.entry(shape.clone()).or_insert_with(|| Stock {
            size,
            class,
            price: info.price,
            standby_price,
            machines: Default::default(),
            warmed: 0,
        });
        stock.size = size;
        let mut given_up = Vec::new();
        while stock.machines.len() > size as usize {
            given_up.extend(stock.machines.pop_back());
        }
        for machine in given_up {
            self.close_stocked(class, standby_price, &machine);
        }
        self.restock(shape);
        Ok(())
    }

    /// Books a standby machine that goes away unused.
    fn close_stocked(&mut self, class: ClassNo, standby_price: muster_core::money::HourlyPrice, machine: &Stocked) {
        let now = self.now;
        let book = self.books.of(class);
        match machine.since {
            Some(since) => book.stood_by(now.since(since), standby_price),
            None => book.costs.add(machine.warming.costs(now)),
        }
    }

    /// Warms up as many machines as the stock lacks.
    fn restock(&mut self, shape: &ShapeId) {
        let Some(os) = self.classes.shape(shape).map(|info| info.os) else { return };
        let delay = self.settings.profile.boot(os);
        loop {
            let no = match self.fleet.stock.get(shape) {
                Some(stock) if stock.machines.len() < stock.size as usize => self.fleet.new_no(),
                Some(_) | None => return,
            };
            let Some(stock) = self.fleet.stock.get_mut(shape) else { return };
            let mut stream = self.chance.stream(Purpose::Prewarm, number_of(shape.as_str()), stock.warmed);
            stock.warmed += 1;
            let warming =
                Spell { price: stock.price, started_at: self.now, ready_at: None, ran: Duration::ZERO };
            stock.machines.push_back(Stocked { no, since: None, warming });
            self.agenda.at(self.now + delay.draw(&mut stream), Event::Stocked(no));
        }
    }

    /// A standby machine is warm and stops.
    pub(super) fn stocked(&mut self, no: InstanceNo) {
        let now = self.now;
        for stock in self.fleet.stock.values_mut() {
            if let Some(machine) = stock.machines.iter_mut().find(|machine| machine.no == no) {
                machine.since = Some(now);
                self.books.of(stock.class).costs.add(machine.warming.costs(now));
                return;
            }
        }
    }

    /// How many machines stand by, by shape.
    pub fn standby(&mut self) -> Vec<(ShapeId, u32)> {
        self.fleet.requests += 1;
        let ready = |stock: &Stock| u32::try_from(stock.ready()).unwrap_or(u32::MAX);
        self.fleet.stock.iter().map(|(shape, stock)| (shape.clone(), ready(stock))).collect()
    }
}
