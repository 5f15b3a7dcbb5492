//! Acts at random, sound and unsound, on a busy hour: whatever is done to the universe, its books add up.

use std::time::Duration;

use muster_core::claim::Order;
use muster_core::ids::{InstanceId, RunnerId};
use muster_core::job::JobEvidence;
use muster_core::protocol::AgentState;
use muster_sim::{Claimed, Output, Profile, Settings};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::world::{LINUX, World, job, run};

fn load() -> Vec<String> {
    (0..120_u32)
        .map(|n| {
            let cancel = (n % 5 == 0).then_some(f64::from(n % 7) * 40.0);
            let jobs = [
                job("a", "a", &[], LINUX, f64::from(n % 11) * 20.0),
                job("b 1", "b", &["a"], LINUX, 30.0),
                job("b 2", "b", &["a"], r#"["linux"]"#, 60.0),
                job("c", "c", &["a", "b"], LINUX, 5.0),
            ];
            run(n, f64::from(n) * 25.0, cancel, &jobs)
        })
        .collect()
}

/// One random act on one random machine.
fn act(world: &mut World, dice: &mut Xoshiro256PlusPlus, machines: &mut Vec<InstanceId>) {
    if machines.is_empty() {
        return;
    }
    let instance = machines[dice.random_range(0..machines.len())].clone();
    let number = dice.random_range(1..4);
    match dice.random_range(0..9) {
        0..2 => world.order(&instance, Order::Drain { number }),
        2 => world.order(&instance, Order::Kill { number }),
        3 => world.order(&instance, Order::Thaw { number }),
        4 => drop(world.universe.remove(RunnerId(dice.random_range(1_000..1_400)))),
        5 => world.universe.interrupt(&instance, Duration::from_secs(dice.random_range(0..120))),
        6 => {
            world.universe.terminate(std::slice::from_ref(&instance));
        }
        7 => drop(world.mint(&instance, &format!("x{}", dice.random_range(0..1_000)))),
        _ => {
            let launch = world.intent(dice.random_range(1..4));
            machines.extend(world.launch_intent(&launch).unwrap().instances);
            machines.extend(world.launch_intent(&launch).unwrap().instances);
        }
    }
}

#[test]
fn whatever_is_done_the_books_add_up() {
    let (mut killed, mut interrupted) = (0, 0);
    for seed in 0..12 {
        let settings =
            Settings { seed, profile: Profile::default(), forget_tokens: seed % 3 == 0, ..Settings::default() };
        let mut world = World::with(settings, &load());
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut machines = Vec::new();
        let mut suffix = 0;
        while !world.universe.finished() {
            let Some(at) = world.universe.next_at() else { panic!("seed {seed}: nothing happens and jobs are left") };
            let Some((_, output)) = world.universe.step(at).unwrap() else {
                continue;
            };
            match output {
                Output::Webhook(webhook) => {
                    if let JobEvidence::Queued { .. } = webhook.event.evidence {
                        machines.extend(world.launch(1));
                    }
                }
                Output::Claim { instance, .. } => match dice.random_range(0..10) {
                    0 => world.universe.claimed(&instance, Claimed::Retry(Duration::from_secs(5))),
                    1 => world.universe.claimed(&instance, Claimed::Refused),
                    2 => world.universe.claimed(&instance, Claimed::Config(b"nonsense".to_vec())),
                    3 => world.universe.claimed(&instance, Claimed::Wait),
                    _ => {
                        suffix += 1;
                        if let Ok(minted) = world.mint(&instance, &format!("{suffix:06}")) {
                            world.universe.claimed(&instance, Claimed::Config(minted.config));
                        }
                    }
                },
                Output::Report { instance, state, .. } => {
                    if let AgentState::Done { ran_job: true } | AgentState::Drained = state {
                        world.universe.terminate(&[instance]);
                    }
                }
            }
            if dice.random_range(0..4) == 0 {
                act(&mut world, &mut dice, &mut machines);
            }
        }
        let summary = world.universe.summary("monkey");
        assert!(summary.jobs.adds_up(), "seed {seed}: {:?}", summary.jobs);
        assert_eq!(summary.jobs.queued + summary.jobs.skipped, 480, "seed {seed}");
        assert!(!summary.violations.is_empty(), "seed {seed}");
        killed += summary.jobs.killed;
        interrupted += summary.jobs.interrupted;
        let cost = summary.cost_usd;
        assert!(cost.busy > 0.0 && cost.boot > 0.0 && cost.idle > 0.0);
    }
    assert!(killed > 0 && interrupted > 0, "the seeds come by every end: {killed} killed, {interrupted} interrupted");
}
