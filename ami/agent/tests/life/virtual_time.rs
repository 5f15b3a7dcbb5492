//! The state machine in virtual time, against a model of the runner, of GitHub and of the scaler: ten thousand drains, each
//! begun at another moment of a job's way to its worker.
//!
//! The model's runner has the four instants, and stands still while it is frozen. Its GitHub may answer a deletion wrongly
//! (it succeeds whatever runs), answers get lost, and the door is away for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_agent::life::{Answer, Ask, Life, Limits, Look, Moment, Observation, Phase, Sign, Standing, Step};
use muster_core::claim::Order;
use muster_core::protocol::{AgentState, Numbered};

use crate::chance::Chance;

const HOUR: Duration = Duration::from_secs(3_600);
/// A round that is not over by then hangs.
const ROUND_MAX: Duration = Duration::from_secs(4 * 3_600);

/// How far the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Instant {
    Nothing,
    Delivered,
    Acquired,
    Forked,
    Execed,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Seen,
    Answer(u64),
    Wake,
    Runner,
    DrainOrdered,
    Deleted(u32),
}

/// What a drain looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    Everything,
    /// As peers do it: only whether there is a worker.
    OnlyWorkers,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    killed: bool,
    hangs: bool,
    drained: bool,
    worked: bool,
}

struct Round {
    chance: Chance,
    sees: Sees,
    now: Moment,
    life: Life,
    agenda: BTreeMap<(Moment, u64), Event>,
    ids: u64,
    seen: BTreeMap<u64, Observation>,
    calls: BTreeMap<u64, Ask>,
    instant: Instant,
    runs: bool,
    frozen: bool,
    /// The runner's next step, and how long it still takes when the runner was frozen.
    due: Option<(u64, Moment)>,
    left: Option<Duration>,
    gaps: [Duration; 6],
    order: Option<Numbered>,
    registered: bool,
    frozen_told: u32,
    blind: bool,
    door_away: (Moment, Moment),
    outcome: Outcome,
    over: bool,
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Round {
    fn play(seed: u64, sees: Sees) -> Outcome {
        let mut chance = Chance(seed);
        let (life, steps) = Life::begin(Limits::new(120 * HOUR, 24 * HOUR, 0.5));
        let gap = |chance: &mut Chance| chance.ms(5_000);
        let has_job = !chance.one_in(8);
        let delivered = if has_job { s(20) + chance.ms(15_000) } else { 10 * HOUR };
        let gaps = [
            delivered,
            gap(&mut chance),
            gap(&mut chance),
            gap(&mut chance),
            s(30) + chance.ms(60_000),
            Duration::ZERO,
        ];
        let away = s(10) + chance.ms(60_000);
        let door_away = if chance.one_in(6) { (away, away + chance.ms(120_000)) } else { (HOUR * 9, HOUR * 9) };
        let blind = chance.one_in(2);
        let drain_at = s(18) + chance.ms(25_000);
        let mut round = Round {
            chance,
            sees,
            now: Moment::ZERO,
            life,
            agenda: BTreeMap::new(),
            ids: 0,
            seen: BTreeMap::new(),
            calls: BTreeMap::new(),
            instant: Instant::Nothing,
            runs: false,
            frozen: false,
            due: None,
            left: None,
            gaps,
            order: None,
            registered: true,
            frozen_told: 0,
            blind,
            door_away,
            outcome: Outcome::default(),
            over: false,
        };
        round.at(drain_at, Event::DrainOrdered);
        round.at(drain_at + s(120), Event::DrainOrdered);
        round.take(steps);
        while !round.over {
            let Some((&(at, id), &event)) = round.agenda.iter().next() else {
                round.outcome.hangs = true;
                break;
            };
            if at > ROUND_MAX {
                // An idle listener that nobody wants to drain any more may wait for a day.
                let waits =
                    *round.life.phase() == Phase::Listening && !round.frozen && round.instant == Instant::Nothing;
                round.outcome.hangs = !waits;
                break;
            }
            round.agenda.remove(&(at, id));
            round.now = round.now.max(at);
            round.happen(id, event);
        }
        round.outcome
    }

    fn at(&mut self, at: Moment, event: Event) -> u64 {
        self.ids += 1;
        self.agenda.insert((at.max(self.now), self.ids), event);
        self.ids
    }

    fn soon(&mut self, seen: Observation, within_ms: u64) {
        let at = self.now + self.chance.ms(within_ms);
        let id = self.at(at, Event::Seen);
        self.seen.insert(id, seen);
    }

    fn observe(&mut self, seen: Observation) {
        let steps = self.life.observe(seen, self.now);
        self.take(steps);
        self.agenda.retain(|_, event| *event != Event::Wake);
        let wake = self.life.wake_at();
        if wake < ROUND_MAX * 2 {
            self.at(wake.max(self.now + Duration::from_millis(1)), Event::Wake);
        }
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::ReadMetadata => self.soon(Observation::Metadata(Ok(Standing::InService)), 100),
                Step::Warm | Step::NewKeys | Step::Say(_) => {}
                Step::Call(call, ask) => {
                    let held =
                        matches!(&ask, Ask::Report { wait_s, .. } if *wait_s > 0) && self.order_for(&ask).is_none();
                    let wait = if held { s(25) } else { Duration::ZERO };
                    let at = self.now + wait + self.chance.ms(300);
                    self.calls.insert(call, ask);
                    self.at(at, Event::Answer(call));
                }
                Step::Abandon(call) => drop(self.calls.remove(&call)),
                Step::StartRunner { .. } => self.start(),
                Step::Freeze => self.freeze(),
                Step::Thaw => self.thaw(),
                Step::Kill => self.kill(),
                Step::PowerOff(_) => {
                    assert!(!self.runs, "the power is switched off with a runner");
                    self.over = true;
                }
            }
        }
    }

    fn start(&mut self) {
        self.runs = true;
        self.step_runner_in(self.gaps[0].saturating_sub(self.now));
        self.soon(Observation::Sign(Sign::Listening), 3_000);
        self.soon(Observation::RunnerStarted, 0);
    }

    fn step_runner_in(&mut self, span: Duration) {
        let at = self.now + span;
        let id = self.at(at, Event::Runner);
        self.due = Some((id, at));
    }

    /// The runner goes a step on its way.
    fn runner(&mut self) {
        self.due = None;
        let (next, sign, gap) = match self.instant {
            Instant::Nothing if !self.registered => return self.ends(Some(0)),
            Instant::Nothing => (Instant::Delivered, Some(Sign::Message), self.gaps[1]),
            // Nothing is given to who is not registered any more.
            Instant::Delivered if !self.registered => {
                self.outcome.killed = true;
                return self.ends(Some(0));
            }
            Instant::Delivered => (Instant::Acquired, None, self.gaps[2]),
            Instant::Acquired => (Instant::Forked, Some(Sign::Job), self.gaps[3]),
            Instant::Forked => (Instant::Execed, Some(Sign::Worker), self.gaps[4]),
            Instant::Execed => {
                self.instant = Instant::Over;
                self.outcome.worked = true;
                return self.ends(Some(0));
            }
            Instant::Over => return,
        };
        self.instant = next;
        self.step_runner_in(gap);
        if let Some(sign) = sign.filter(|sign| self.sees == Sees::Everything || *sign == Sign::Worker) {
            self.observe(Observation::Sign(sign));
        }
    }

    fn ends(&mut self, code: Option<i32>) {
        self.runs = false;
        self.registered = false;
        self.observe(Observation::RunnerExited(code));
    }

    fn freeze(&mut self) {
        self.frozen = true;
        if let Some((id, at)) = self.due.take() {
            self.left = Some(at.saturating_sub(self.now));
            self.agenda.retain(|(_, other), _| *other != id);
        }
        let busy = (Instant::Forked..Instant::Over).contains(&self.instant);
        let others = match self.sees {
            Sees::Everything => busy,
            Sees::OnlyWorkers => self.instant == Instant::Execed,
        };
        self.soon(Observation::Looked(Look { frozen: true, others, unread: false }), 20);
    }

    fn thaw(&mut self) {
        self.frozen = false;
        let left = self.left.take().unwrap_or_default();
        if self.runs && !self.registered && self.instant == Instant::Nothing {
            return self.step_runner_in(s(1));
        }
        self.step_runner_in(left);
    }

    fn kill(&mut self) {
        let has_job = (Instant::Delivered..Instant::Over).contains(&self.instant);
        self.outcome.killed |= has_job;
        self.outcome.drained = !has_job;
        (self.runs, self.frozen, self.due) = (false, false, None);
        self.agenda.retain(|_, event| *event != Event::Runner);
        self.soon(Observation::Killed, 20);
    }

    fn order_for(&self, ask: &Ask) -> Option<Numbered> {
        match ask {
            Ask::Report { seen_order, .. } => self.order.filter(|order| order.seq > *seen_order),
            Ask::Prewarmed | Ask::Claim { .. } => None,
        }
    }

    fn orders(&mut self, order: Order) {
        let seq = self.order.map_or(1, |known| known.seq + 1);
        self.order = Some(Numbered { seq, order });
        // Whoever holds a long poll is answered now.
        let held: Vec<u64> = self.calls.keys().copied().collect();
        for call in held {
            let at = self.now + self.chance.ms(200);
            self.at(at, Event::Answer(call));
        }
    }

    fn happen(&mut self, id: u64, event: Event) {
        match event {
            Event::Seen => {
                if let Some(seen) = self.seen.remove(&id) {
                    // A frozen runner says nothing.
                    let silent = self.frozen && matches!(seen, Observation::Sign(_));
                    if !silent {
                        self.observe(seen);
                    }
                }
            }
            Event::Wake => self.observe(Observation::Time),
            Event::Runner if self.due.is_some_and(|(due, _)| due == id) && !self.frozen => self.runner(),
            Event::Runner => {}
            Event::DrainOrdered => {
                let number = self.order.map_or(1, |known| known.seq) + 1;
                self.orders(Order::Drain { number });
            }
            Event::Deleted(number) => {
                let busy = self.instant >= Instant::Acquired && self.instant < Instant::Over;
                if busy && !self.blind {
                    self.orders(Order::Thaw { number });
                } else {
                    self.registered = false;
                    self.orders(Order::Kill { number });
                }
            }
            Event::Answer(call) => self.answer(call),
        }
    }

    fn answer(&mut self, call: u64) {
        let Some(ask) = self.calls.remove(&call) else { return };
        let away = (self.door_away.0..self.door_away.1).contains(&self.now);
        if away {
            return self.observe(Observation::Answered(call, Answer::Unavailable(None)));
        }
        // The door has heard it, whatever becomes of its answer.
        if let Ask::Report { state: AgentState::Frozen { number }, .. } = &ask
            && *number > self.frozen_told
        {
            self.frozen_told = *number;
            let at = self.now + self.chance.ms(9_000);
            self.at(at, Event::Deleted(*number));
        }
        let answer = match &ask {
            _ if self.chance.one_in(12) => Answer::Unavailable(None),
            Ask::Claim { later: true } => Answer::Final("410".to_owned()),
            Ask::Claim { later: false } => Answer::Claimed { config: true },
            Ask::Prewarmed => Answer::Heard { config: false, order: None },
            Ask::Report { .. } => Answer::Heard { config: false, order: self.order_for(&ask) },
        };
        self.observe(Observation::Answered(call, answer));
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    killed: u32,
    hangs: u32,
    drained: u32,
    worked: u32,
}

fn race(rounds: u64, sees: Sees) -> Sums {
    let mut sums = Sums::default();
    for seed in 1..=rounds {
        let outcome = Round::play(seed, sees);
        if sees == Sees::Everything && (outcome.killed || outcome.hangs) {
            eprintln!("round {seed}: {outcome:?}");
        }
        sums.killed += u32::from(outcome.killed);
        sums.hangs += u32::from(outcome.hangs);
        sums.drained += u32::from(outcome.drained);
        sums.worked += u32::from(outcome.worked);
    }
    sums
}

#[test]
fn ten_thousand_drains_kill_no_job() {
    let sums = race(10_000, Sees::Everything);
    assert_eq!((sums.killed, sums.hangs), (0, 0), "{sums:?}");
    // The race is one: it goes either way.
    assert!(sums.drained > 1_000 && sums.worked > 1_000, "{sums:?}");
}

#[test]
fn a_drain_that_looks_only_for_a_worker_kills_jobs() {
    let sums = race(2_000, Sees::OnlyWorkers);
    assert!(sums.killed > 50, "{sums:?}");
}

/// What the pool grants, and not what agents grant by themselves; told again, it is the later.
#[test]
fn a_job_may_take_what_its_pool_grants() {
    for granted in [HOUR, 200 * HOUR] {
        let (mut life, _) = Life::begin(Limits::new(120 * HOUR, 24 * HOUR, 0.5));
        life.observe(Observation::JobMayTake(7 * HOUR), s(1));
        life.observe(Observation::JobMayTake(granted), s(2));
        life.observe(Observation::Orphan { session: false }, s(10));
        let kills = |steps: Vec<Step>| steps.contains(&Step::Kill);
        assert!(!kills(life.observe(Observation::Time, s(10) + granted - s(1))), "{granted:?}");
        assert!(kills(life.observe(Observation::Time, s(10) + granted)), "{granted:?}");
    }
}
