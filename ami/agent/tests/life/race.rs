//! The drain race with real processes: the agent's binary, the freezer of cgroup2, a runner with its four instants, and a
//! drain that is ordered at any moment of a job's way to its worker.
//!
//! Each round is a machine of its own. It ends drained, and then nobody has lost a job, or with its job done. In half of the
//! rounds the deletion of a registration succeeds whatever runs, so that the agent's key is the only one.
//!
//! `MUSTER_TEST_DRAINS` is the number of rounds, and `MUSTER_TEST_DRAIN_GAP_MS` the most that a gap takes
//! (`tests/bench/drain-race`).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_core::machine::Report;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::world::github::{Books, Job, Trick};
use crate::world::{Agent, Like, World, privileged};

const ROUNDS: &str = "MUSTER_TEST_DRAINS";
const GAP_MS: &str = "MUSTER_TEST_DRAIN_GAP_MS";
/// Worlds beside each other, each with one machine at a time; more where machines sleep for longer.
const LANES: u64 = 24;
const LANES_MAX: u64 = 48;
/// A gap's most, in milliseconds, unless it is said: a tenth of the 5 s that were seen.
const GAP_MAX: u64 = 500;
/// How long a job takes.
const TAKES_MAX: u64 = 400;

#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    rounds: u32,
    drained: u32,
    done: u32,
    killed: u32,
    stranded: u32,
    returned: u32,
    hung: u32,
    /// How far the job was when the drain was ordered.
    at: BTreeMap<&'static str, u32>,
}

impl Sums {
    fn add(&mut self, books: Books) {
        self.done += books.done;
        self.killed += books.killed;
        self.stranded += books.stranded;
        self.returned += books.returned;
    }
}

fn instant(world: &World, agent: &Agent, registration: u64) -> &'static str {
    let processes = agent.processes();
    match (world.github.has_got(registration), world.github.has_acquired(registration)) {
        _ if processes.iter().any(|name| name == "Runner.Worker") => "exec'd",
        _ if processes.len() > 1 => "forked",
        (_, true) => "acquired",
        (true, false) => "delivered",
        (false, false) => "before",
    }
}

/// How much of it.
#[derive(Clone, Copy)]
struct Length {
    rounds: u64,
    gap_max: u64,
}

impl Length {
    fn asked_for() -> Length {
        Length { rounds: given(ROUNDS, 48), gap_max: given(GAP_MS, GAP_MAX) }
    }

    fn lanes(self) -> u64 {
        (LANES * self.gap_max / GAP_MAX).clamp(LANES, LANES_MAX).min(self.rounds.max(1))
    }
}

fn given(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// One machine: whether it ended drained, and how far its job was when that was ordered.
async fn round(world: &World, chance: &mut Chance, gap_max: u64, tricks: &[Trick]) -> (bool, &'static str) {
    world.github.plan(tricks);
    // An end of its own comes after half a second.
    let mut agent = world.machine_like(Like { real_address: false, faster: 240.0, ..Like::default() }).await;
    let registration = world.listens(&mut agent).await;
    let mut gap = || u64::try_from(chance.ms(gap_max).as_millis()).expect("small");
    let gaps = [gap(), gap(), gap()];
    // A worker that shows nothing else is looked for every second.
    let takes = gap() % TAKES_MAX + if tricks.is_empty() { 0 } else { 4 * TAKES_MAX };
    let before = gap();
    let way: u64 = before + gaps.iter().sum::<u64>() + takes % TAKES_MAX;
    let github = world.github.clone();
    let job = tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_millis(before)).await;
        github.queue(Job { gaps, takes, script: None });
    });
    tokio::time::sleep(chance.ms(way)).await;
    let at = instant(world, &agent, registration);
    world.scaler.drain(&agent.instance);
    agent.ends().await;
    let drained = world.reports(&agent).contains(&Report::Drained);
    // The books are closed when its connection is.
    while world.github.listening(registration) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    job.abort();
    world.github.take_back();
    (drained, at)
}

async fn lane(length: Length, seed: u64, tricks: Vec<Trick>) -> Sums {
    let world = World::new().await;
    let mut chance = Chance(seed);
    if seed.is_multiple_of(2) {
        world.github.be_blind();
    }
    let mut sums = Sums::default();
    for _ in 0..length.rounds {
        let (drained, at) = round(&world, &mut chance, length.gap_max, &tricks).await;
        sums.rounds += 1;
        sums.drained += u32::from(drained);
        *sums.at.entry(at).or_default() += 1;
    }
    sums.add(world.github.books());
    sums
}

async fn race(length: Length, tricks: &[Trick]) -> Sums {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs() * LANES_MAX;
    let count = length.lanes();
    let local = tokio::task::LocalSet::new();
    let all = local.run_until(async {
        let mut lanes = JoinSet::new();
        for number in 0..count {
            let rounds = length.rounds / count + u64::from(number < length.rounds % count);
            lanes.spawn_local(lane(Length { rounds, ..length }, seed + number, tricks.to_vec()));
        }
        let mut sums = Sums::default();
        while let Some(one) = lanes.join_next().await {
            // A wait without end is a panic, whose text is above.
            let Ok(one) = one else {
                sums.hung += 1;
                continue;
            };
            sums.rounds += one.rounds;
            sums.drained += one.drained;
            sums.done += one.done;
            sums.killed += one.killed;
            sums.stranded += one.stranded;
            sums.returned += one.returned;
            for (at, count) in one.at {
                *sums.at.entry(at).or_default() += count;
            }
        }
        sums
    });
    let sums = all.await;
    eprintln!("drains with real processes, seed {seed}: {sums:?}");
    sums
}

#[test]
fn drains_with_real_processes_kill_no_job() {
    privileged(|| async {
        let length = Length::asked_for();
        let rounds = length.rounds;
        let sums = race(length, &[]).await;
        assert_eq!((sums.killed, sums.stranded, sums.hung), (0, 0, 0), "{sums:?}");
        // Every machine ended in one of two ways.
        assert_eq!((u64::from(sums.rounds), sums.drained + sums.done), (rounds, sums.rounds), "{sums:?}");
        // The race is one: it goes either way.
        assert!(sums.done > 0 && (rounds < 40 || sums.drained > 0 && sums.at.len() >= 3), "{sums:?}");
    });
}

/// What a drain sees that looks only for a worker.
#[test]
fn a_runner_that_shows_only_its_processes_loses_jobs() {
    privileged(|| async {
        let sums = race(Length { rounds: 32, gap_max: GAP_MAX }, &[Trick::Mute]).await;
        assert!(sums.killed + sums.stranded > 0 && sums.hung == 0, "{sums:?}");
    });
}
