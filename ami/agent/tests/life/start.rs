//! From the agent's start to the runner's, and what the agent weighs: figures, judged only where `MUSTER_TEST_FIGURES` asks
//! for it (`tests/bench/agent-start`), since nothing here is judged by the wall clock otherwise.

use std::time::Duration;

use muster_core::machine::Report;

use crate::world::github::Job;
use crate::world::{Like, World, privileged};

const FIGURES: &str = "MUSTER_TEST_FIGURES";
const ROUNDS: usize = 20;
/// The marks of a release: start to exec, and resident memory.
const START_MAX: Duration = Duration::from_millis(150);
const RESIDENT_KB_MAX: u64 = 10_000;

#[test]
fn from_start_to_runner() {
    privileged(|| async {
        let wanted = std::env::var_os(FIGURES).is_some();
        let world = World::new().await;
        let (mut spans, mut most_kb) = (Vec::new(), 0);
        for _ in 0..if wanted { ROUNDS } else { 1 } {
            // With the firewall, as on a machine; without the answer that comes before the ledger knows it.
            let mut agent = world.machine_like(Like::default()).await;
            let registration = world.listens(&mut agent).await;
            let asked = world.github.connected_at(registration).expect("it is connected");
            spans.push(asked - agent.booted_at);
            world.github.queue(Job { takes: 300, ..Job::default() });
            world.hears(&mut agent, &Report::Busy).await;
            most_kb = most_kb.max(agent.resident_kb());
            agent.ends().await;
        }
        spans.sort();
        let (least, middle, most) = (spans[0], spans[spans.len() / 2], spans[spans.len() - 1]);
        eprintln!("agent: start to its runner's first request: least {least:?}, middle {middle:?}, most {most:?}");
        eprintln!("agent: at most {most_kb} kB resident");
        assert!(most_kb > 0 && middle > Duration::ZERO);
        assert!(!wanted || middle < START_MAX && most_kb < RESIDENT_KB_MAX, "{middle:?}, {most_kb} kB");
    });
}
