//! What is kept of a machine that ends: its runner's logs, and nothing that its job has planted.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};

use muster_core::machine::Report;

use crate::world::github::Job;
use crate::world::{DONE, Like, World, privileged};

/// The largest that a door grants.
const LARGE: usize = 16 << 20;
/// What sending logs may add to the agent's memory, whatever their size.
const GROWS_KB_MAX: u64 = 4_000;

#[test]
fn the_runners_logs_are_kept_after_its_job_and_nothing_of_roots() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        // As a job would leave them: a link to a file of root's, and such a file itself, as a hard link would be.
        fs::write(agent.path("secret"), "root's").unwrap();
        symlink(agent.path("secret"), agent.path("runner/_diag/Worker_20261123-100000-utc.log")).unwrap();
        fs::write(agent.path("runner/_diag/Worker_20261124-100000-utc.log"), "root's").unwrap();
        chown(agent.path("runner/_diag/Worker_20261124-100000-utc.log"), Some(0), Some(0)).unwrap();

        world.github.queue(Job { takes: 200, ..Job::default() });
        world.hears(&mut agent, &DONE).await;
        let (shelf, instance) = (world.door.shelf.clone(), agent.instance.clone());
        agent.until("its logs", || shelf.of(&instance).contains_key("1-runner-1.log")).await;
        agent.ends().await;
        for (name, log) in shelf.of(&instance) {
            let kind = if name.contains("worker") { "Worker" } else { "Runner" };
            let path = agent.path(&format!("runner/_diag/{kind}_20261122-100000-utc.log"));
            assert_eq!(log, fs::read(path).unwrap(), "{name}");
        }
        let names: Vec<String> = shelf.of(&instance).into_keys().collect();
        assert_eq!(names, ["1-runner-1.log", "1-worker-1.log"], "{}", agent.log());
    });
}

#[test]
fn a_large_log_is_kept_whole_and_never_in_memory_as_a_whole() {
    privileged(|| async {
        let world = World::new().await;
        // It waits for its end long enough to put that away, however busy this machine is.
        let mut agent = world.machine_like(Like { faster: 2.0, ..Like::default() }).await;
        world.listens(&mut agent).await;
        let runner = fs::metadata(agent.path("runner/_diag")).unwrap();
        let path = agent.path("runner/_diag/Worker_20261125-100000-utc.log");
        let log: Vec<u8> = (0..93_u8).cycle().map(|at| b' ' + at).take(LARGE).collect();
        fs::write(&path, &log).unwrap();
        chown(&path, Some(runner.uid()), Some(runner.gid())).unwrap();

        world.github.queue(Job { takes: 200, ..Job::default() });
        world.hears(&mut agent, &Report::Busy).await;
        let before_kb = agent.resident_kb();
        let (shelf, instance) = (world.door.shelf.clone(), agent.instance.clone());
        agent.until("its logs", || shelf.of(&instance).contains_key("1-runner-1.log")).await;
        let after_kb = agent.resident_kb();
        assert!(shelf.of(&agent.instance)["1-worker-1.log"] == log, "{}", agent.log());
        eprintln!("agent: {before_kb} kB resident at most before it sent logs, {after_kb} kB with them");
        assert!(after_kb - before_kb < GROWS_KB_MAX, "{before_kb} kB, then {after_kb} kB");
    });
}

/// A runner that was ended idle has nothing to tell.
#[test]
fn of_a_machine_without_a_job_nothing_is_kept() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        world.drains(&mut agent).await;
        agent.ends().await;
        assert!(world.door.shelf.of(&agent.instance).is_empty());
    });
}
