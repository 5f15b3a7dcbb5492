//! The universe: the whole simulated truth, and the events that drive it.
//!
//! What lives here: the state's parts put together, time, and what comes out. What may not: the scaler's beliefs; whoever
//! drives the universe reads them from a ledger, not from here.
//!
//! Invariant: time goes forward only, and every event is handled at its own instant, in the order in which it was made.

mod agents;
mod deliveries;
mod handout;
mod jobs;
mod machines;
mod records;
mod runners;
mod standby;
mod summary;
mod waits;

use std::collections::VecDeque;
use std::time::Duration;

use muster_core::ids::{ClassId, InstanceId};
use muster_core::launch::Launch;
use muster_core::protocol::AgentState;
use muster_core::time::Timestamp;

pub use agents::Claimed;
pub use summary::Census;

use crate::agenda::{Agenda, Event};
use crate::books::Books;
use crate::catalog::Catalog;
use crate::chance::Chance;
use crate::classes::Classes;
use crate::cloud::Fleet;
use crate::hub::Hub;
use crate::labels::Labels;
use crate::listeners::ListenerFaults;
use crate::lost::{Lost, WebhookFaults};
use crate::profile::Profile;
use crate::trace::{Run, TraceError};
use crate::watch::{Limits, Watch};
use crate::webhook::Webhook;
use crate::work::{JobRef, Work};

/// A Monday, 00:00 UTC: where a trace begins unless told otherwise.
pub const START: Timestamp = Timestamp::from_unix_ms(1_793_577_600_000);
/// GitHub gives a queued job up after so long (docs.github.com, self-hosted runner limits).
pub const QUEUE_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// A job whose runner does not take it is queued again after so long (the same page).
pub const REQUEUE_AFTER: Duration = Duration::from_secs(60);
/// How long GitHub takes to start a job on a machine of its own.
pub const HOSTED_START: Duration = Duration::from_secs(10);
/// A listener must have been frozen for so long before it may be ended.
pub const FROZEN_MIN: Duration = Duration::from_secs(5);
/// A frozen listener that hears nothing for so long runs on.
pub const THAW_AFTER: Duration = Duration::from_secs(20);

/// What a universe starts from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The root of all chance.
    pub seed: u64,
    /// How long things take.
    pub profile: Profile,
    /// The instant that the trace's times count from.
    pub start: Timestamp,
    /// The bounds that the watch checks.
    pub limits: Limits,
    /// The number of the first instance and of the first registration. Their ids are made from it: a world that begins
    /// anew over an old ledger must not give out known ones again.
    pub first_number: u64,
    /// A planted bug: the cloud forgets client tokens, so that a repeated launch launches twice.
    pub forget_tokens: bool,
    /// What goes wrong with webhooks.
    pub webhooks: WebhookFaults,
    /// What goes wrong with listeners.
    pub listeners: ListenerFaults,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 1,
            profile: Profile::default(),
            start: START,
            limits: Limits::default(),
            first_number: 1,
            forget_tokens: false,
            webhooks: WebhookFaults::default(),
            listeners: ListenerFaults::default(),
        }
    }
}

/// What comes out of the universe, for its driver to carry to the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// GitHub delivers a webhook.
    Webhook(Webhook),
    /// An agent asks for work: answer with [`Universe::claimed`].
    Claim {
        /// Whose.
        instance: InstanceId,
        /// Which of its claims, from 1. The same number again: the same claim, repeated.
        session: u32,
    },
    /// An agent reports a change of its state: answer an order with [`Universe::ordered`].
    Report {
        /// Whose.
        instance: InstanceId,
        /// Of which session.
        session: u32,
        /// What.
        state: AgentState,
    },
}

/// The simulated world.
pub struct Universe {
    now: Timestamp,
    settings: Settings,
    chance: Chance,
    runs: Box<dyn Iterator<Item = Result<Run, TraceError>> + Send>,
    next_run: Option<Run>,
    failed: Option<TraceError>,
    agenda: Agenda,
    labels: Labels,
    classes: Classes,
    work: Work,
    hub: Hub,
    fleet: Fleet,
    books: Books,
    watch: Watch,
    /// Jobs by the instant at which GitHub gives them up; the first one's event is on the agenda.
    give_up: VecDeque<(Timestamp, JobRef)>,
    /// Jobs by the instant at which the watch looks at them; likewise.
    look: VecDeque<(Timestamp, JobRef)>,
    give_up_set: bool,
    look_set: bool,
    said: VecDeque<(Timestamp, Output)>,
    lost: Lost,
    /// When the latest job ended: the books close there.
    job_ended_at: Timestamp,
}

impl Universe {
    /// A world with nothing in it, and the load that will come.
    pub fn new(
        settings: Settings,
        runs: impl Iterator<Item = Result<Run, TraceError>> + Send + 'static,
        catalog: impl Catalog + 'static,
    ) -> Universe {
        let mut universe = Universe {
            now: settings.start,
            chance: Chance::new(settings.seed),
            runs: Box::new(runs),
            next_run: None,
            failed: None,
            agenda: Agenda::default(),
            labels: Labels::default(),
            classes: Classes::new(Box::new(catalog)),
            work: Work::default(),
            hub: Hub::numbering_from(settings.first_number),
            fleet: Fleet::numbering_from(settings.first_number),
            books: Books::default(),
            watch: Watch::new(settings.limits.clone()),
            give_up: VecDeque::new(),
            look: VecDeque::new(),
            give_up_set: false,
            look_set: false,
            said: VecDeque::new(),
            lost: Lost::default(),
            job_ended_at: settings.start,
            settings,
        };
        universe.fetch_run();
        universe
    }

    /// The simulated instant: that of the latest event or step.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The instant that the world began at.
    pub fn started_at(&self) -> Timestamp {
        self.settings.start
    }

    /// How long things take here.
    pub fn profile(&self) -> &Profile {
        &self.settings.profile
    }

    /// How many requests GitHub has refused so far for being over a limit.
    pub fn github_refused(&self) -> u64 {
        self.hub.refused
    }

    /// When something happens next without anyone's doing; now, if something that came out was not fetched yet.
    pub fn next_at(&self) -> Option<Timestamp> {
        if !self.said.is_empty() || self.failed.is_some() {
            return Some(self.now);
        }
        match (self.arrival(), self.agenda.next_at()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// Lets time pass until something comes out, at most to `to`. `None`: it is `to`, and nothing more comes out by then.
    ///
    /// # Errors
    /// The load does not read. It ends there.
    pub fn step(&mut self, to: Timestamp) -> Result<Option<(Timestamp, Output)>, TraceError> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Ok(Some(said));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if !self.happen(to) {
                self.now = self.now.max(to);
                return Ok(None);
            }
        }
    }

    /// Lets time pass to `to`. What comes out is kept for [`Universe::step`].
    pub fn run_to(&mut self, to: Timestamp) {
        while self.happen(to) {}
        self.now = self.now.max(to);
    }

    /// Whether no job is left and none will come.
    pub fn finished(&self) -> bool {
        self.next_run.is_none() && self.failed.is_none() && self.work.open == 0
    }

    /// An intent was committed to the ledger: its launch is no surprise.
    pub fn committed(&mut self, launch: &Launch) {
        self.watch.committed(launch, self.now);
    }

    /// Other bounds from here on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.watch.set_limits(limits);
    }

    /// The idle machines that the scaler is told to keep in each class, but for those told of by themselves. Until a
    /// target is told, the watch cannot know a surplus and does not look for one.
    pub fn set_target_of_all(&mut self, idle: u32) {
        self.watch.set_target_of_all(idle);
    }

    /// The same for one class.
    pub fn set_target(&mut self, class: &ClassId, idle: u32) {
        let class = self.classes.of_id(class);
        self.watch.set_target(class, idle);
    }

    /// Another configuration from here on. Jobs that are here keep their class.
    pub fn set_catalog(&mut self, catalog: impl Catalog + 'static) {
        self.classes.replace(Box::new(catalog));
    }

    /// What the watch has seen.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    fn arrival(&self) -> Option<Timestamp> {
        self.next_run.as_ref().map(|run| self.settings.start + run.at)
    }

    fn fetch_run(&mut self) {
        match self.runs.next() {
            Some(Ok(run)) => self.next_run = Some(run),
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }

    fn say(&mut self, output: Output) {
        self.said.push_back((self.now, output));
    }

    /// Handles the next event, if it is not after `to`.
    fn happen(&mut self, to: Timestamp) -> bool {
        let arrival = self.arrival().filter(|at| *at <= to);
        let event = self.agenda.next_at().filter(|at| *at <= to);
        match (arrival, event) {
            (Some(arrival), event) if event.is_none_or(|event| arrival <= event) => {
                self.now = self.now.max(arrival);
                self.arrive();
                true
            }
            (_, Some(_)) => {
                if let Some((at, event)) = self.agenda.pop() {
                    self.now = self.now.max(at);
                    self.handle(event);
                }
                true
            }
            (_, None) => false,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver(job, action) => self.deliver(job, action),
            Event::Arrive(number) => self.arrive_late(number),
            Event::Cancel(run) => self.cancel(run),
            Event::Claim(no) => self.claim(no),
            Event::Received(no, job) => self.receive(no, job),
            Event::Started(no, job) => self.start(no, job),
            Event::Finished(job) => self.finish(job),
            Event::Requeue(job) => self.requeue(job),
            Event::GiveUp => self.give_up(),
            Event::Look => self.look(),
            Event::ThawSelf(no, number) => self.thaw_self(no, number),
            Event::Drained(no, number) => self.end_frozen(no, number),
            Event::Stocked(no) => self.stocked(no),
            Event::Taken(no) => self.taken(no),
            Event::TakenIdle(no, runner) => self.taken_idle(no, runner),
            Event::RemovedIdle(runner) => self.removed_idle(runner),
        }
    }
}
