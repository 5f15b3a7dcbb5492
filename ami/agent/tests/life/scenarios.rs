//! One machine, one story each. What every story ends with: the machine's end was ordered, and no job was lost.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use muster_core::machine::Report;

use crate::world::github::{Books, Job, Trick};
use crate::world::{Agent, DONE, Like, UNTIL_GO, World, failed, privileged};

const IDLE: Report = Report::Done { ran_job: false };
const HOUR: Duration = Duration::from_secs(3_600);

/// How much less patience a machine has with a silent door in stories in which it runs out: 9 s.
const IMPATIENT: f64 = 200.0;

fn job(takes: u64) -> Job {
    Job { takes, ..Job::default() }
}

fn books(queued: u32) -> Books {
    Books { queued, acquired: queued, done: queued, ..Books::default() }
}

/// A job comes and runs to its end, and so does the machine.
async fn works(world: &World, agent: &mut Agent) {
    let before = world.github.books();
    world.github.queue(job(200));
    world.hears(agent, &DONE).await;
    agent.ends().await;
    let after = world.github.books();
    assert_eq!((after.done, after.killed, after.stranded), (before.done + 1, 0, 0));
}

#[test]
fn a_normal_job() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        let registration = world.listens(&mut agent).await;
        assert!(world.github.listening(registration));
        world.github.queue(Job { gaps: [50, 50, 50], takes: UNTIL_GO, script: None });
        world.hears(&mut agent, &Report::Busy).await;
        let names = agent.processes();
        assert!(names.contains(&"Runner.Listener".to_owned()), "{names:?}");
        agent.go();
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books(), books(1));
        let said = agent.imds.said().clone();
        assert_eq!(said.bare, 0, "the metadata service was asked without a token");
        assert!(agent.console().contains("the machine ends: the job is over"), "{}", agent.console());
        let config = fs::read_to_string(agent.path("runner/.credentials")).unwrap();
        let told = agent.log() + &agent.console();
        assert!(!told.contains(&config), "the configuration is in a log");
    });
}

#[test]
fn a_runner_that_github_removes_is_followed_by_another() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        let first = world.listens(&mut agent).await;
        world.github.delete(first);
        world.hears(&mut agent, &IDLE).await;
        let (scaler, instance) = (world.scaler.clone(), agent.instance.clone());
        agent.until("another registration", || scaler.registration(&instance) != Some(first)).await;
        works(&world, &mut agent).await;
        assert_eq!(world.scaler.machine(&agent.instance).session, 2);
    });
}

#[test]
fn a_machine_that_is_not_needed_any_more_gets_no_other_session() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        let first = world.listens(&mut agent).await;
        world.scaler.terminate(&agent.instance);
        world.github.delete(first);
        agent.ends().await;
        assert!(agent.log().contains("410"), "{}", agent.log());
    });
}

#[test]
fn drained_idle() {
    privileged(|| async {
        let world = World::new().await;
        world.github.plan(&[Trick::Refresh, Trick::Ghost]);
        let mut agent = world.machine().await;
        let registration = world.listens(&mut agent).await;
        let log = agent.path("runner/_diag/Runner_20261122-100000-utc.log");
        agent.until("a message", || fs::read_to_string(&log).unwrap_or_default().contains("ForceTokenRefresh")).await;
        let orders = world.drains(&mut agent).await;
        let order = orders[orders.len() - 1];
        assert!(world.reports(&agent).contains(&Report::Frozen { order }));
        assert!(!world.github.listening(registration));
        agent.ends().await;
        assert_eq!(world.github.books(), Books::default());
    });
}

#[test]
fn a_frozen_runner_stands_still_and_is_thawed_without_an_order() {
    privileged(|| async {
        let world = World::new().await;
        // Slow enough to be able to look.
        let mut agent = world.machine_like(Like { shorter: 5.0, ..Like::default() }).await;
        world.listens(&mut agent).await;
        world.scaler.hold(true);
        let order = world.freezes(&mut agent).await;
        assert!(agent.is_frozen());
        world.hears(&mut agent, &Report::Thawed { order }).await;
        assert!(!agent.is_frozen());
        world.github.queue(job(100));
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books(), books(1));
    });
}

/// What GitHub says of busy runners is wrong here, so that the agent's key is the only one.
async fn drained_in(gap: usize) {
    let world = World::new().await;
    world.github.be_blind();
    let mut agent = world.machine().await;
    let registration = world.listens(&mut agent).await;
    let mut gaps = [0; 3];
    gaps[gap] = UNTIL_GO;
    world.github.queue(Job { gaps, takes: 300, script: None });
    let github = world.github.clone();
    match gap {
        0 => agent.until("the message", || github.has_got(registration)).await,
        1 => agent.until("the job", || github.books().acquired == 1).await,
        _ => {
            world.hears(&mut agent, &Report::Busy).await;
            assert!(!agent.processes().contains(&"Runner.Worker".to_owned()));
        }
    }
    let order = world.scaler.drain(&agent.instance);
    world.hears(&mut agent, &Report::Thawed { order }).await;
    agent.go();
    world.hears(&mut agent, &DONE).await;
    agent.ends().await;
    assert_eq!(world.github.books(), books(1));
    assert!(!world.reports(&agent).contains(&Report::Frozen { order }));
}

#[test]
fn drained_between_message_and_job() {
    privileged(|| drained_in(0));
}

#[test]
fn drained_between_job_and_fork() {
    privileged(|| drained_in(1));
}

#[test]
fn drained_between_fork_and_worker() {
    privileged(|| drained_in(2));
}

#[test]
fn drained_busy() {
    privileged(|| async {
        let world = World::new().await;
        world.github.be_blind();
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        world.github.queue(job(UNTIL_GO));
        world.hears(&mut agent, &Report::Busy).await;
        for _ in 0..3 {
            let order = world.scaler.drain(&agent.instance);
            world.hears(&mut agent, &Report::Thawed { order }).await;
        }
        agent.go();
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books(), books(1));
    });
}

#[test]
fn a_spot_notice_while_idle() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        agent.imds.said().spot = true;
        world.hears(&mut agent, &Report::Interrupted).await;
        world.drains(&mut agent).await;
        agent.ends().await;
    });
}

#[test]
fn a_spot_notice_while_busy_and_the_metadata_service_switched_off() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        agent.imds.said().off = true;
        world.github.queue(job(UNTIL_GO));
        world.hears(&mut agent, &Report::Busy).await;
        // From then on it comes as an order.
        world.scaler.order(&agent.instance, muster_core::claim::Order::Interruption);
        world.hears(&mut agent, &Report::Interrupted).await;
        agent.go();
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books(), books(1));
    });
}

#[test]
fn a_standby_machine_is_stopped_and_started() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { target: Some("Warmed:Stopped"), ..Like::default() }).await;
        let (scaler, instance) = (world.scaler.clone(), agent.instance.clone());
        agent.until("prewarmed", || scaler.has_prewarmed(&instance)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(world.reports(&agent).is_empty(), "it has claimed");
        // The machine is stopped; what is in memory is gone.
        agent.crash();
        fs::remove_dir_all(agent.path("state")).unwrap();
        agent.imds.said().target = Some("InService".to_owned());
        agent.boot();
        world.listens(&mut agent).await;
        works(&world, &mut agent).await;
    });
}

#[test]
fn a_hibernated_machine_goes_on_where_it_was() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { target: Some("Warmed:Hibernated"), ..Like::default() }).await;
        let (scaler, instance) = (world.scaler.clone(), agent.instance.clone());
        agent.until("prewarmed", || scaler.has_prewarmed(&instance)).await;
        agent.imds.said().target = Some("InService".to_owned());
        world.listens(&mut agent).await;
        works(&world, &mut agent).await;
    });
}

#[test]
fn a_ready_machine_registers_when_it_may() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { registers: false, ..Like::default() }).await;
        world.hears(&mut agent, &Report::Claimed).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(world.scaler.registration(&agent.instance), None);
        world.scaler.register(&agent.instance);
        world.listens(&mut agent).await;
        works(&world, &mut agent).await;
    });
}

#[test]
fn a_deprecated_version_is_told_and_is_no_boot_loop() {
    privileged(|| async {
        let world = World::new().await;
        world.github.plan(&[Trick::Deprecated]);
        let mut agent = world.machine().await;
        agent.ends().await;
        let why = failed(&world, &agent).expect("it has failed");
        assert!(why.contains("deprecated") && agent.console().contains("deprecated"), "{why}");
    });
}

#[test]
fn a_runner_that_never_listens_is_given_up() {
    privileged(|| async {
        let world = World::new().await;
        world.github.plan(&[Trick::Broken]);
        let mut agent = world.machine().await;
        for _ in 0..2 {
            let before = world.scaler.registration(&agent.instance);
            let (scaler, instance, github) = (world.scaler.clone(), agent.instance.clone(), world.github.clone());
            agent
                .until("the next session", || {
                    github.plan(&[Trick::Broken]);
                    let now = scaler.registration(&instance);
                    now.is_some() && now != before || scaler.machine(&instance).failed.is_some()
                })
                .await;
        }
        agent.ends().await;
        assert!(failed(&world, &agent).expect("it has failed").contains("exit code 1"));
        assert_eq!(world.scaler.machine(&agent.instance).session, 3);
    });
}

#[test]
fn a_session_conflict_is_followed_by_another_session() {
    privileged(|| async {
        let world = World::new().await;
        world.github.plan(&[Trick::Conflict]);
        let mut agent = world.machine().await;
        world.hears(&mut agent, &IDLE).await;
        world.hears(&mut agent, &Report::Listening).await;
        works(&world, &mut agent).await;
        assert!(agent.log().contains("exit code 5"));
    });
}

#[test]
fn a_runner_updates_itself_and_goes_on() {
    privileged(|| async {
        let world = World::new().await;
        world.github.plan(&[Trick::Update]);
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        works(&world, &mut agent).await;
        assert_eq!(world.scaler.machine(&agent.instance).session, 1);
        assert!(!agent.path("runner/update.finished").exists());
    });
}

#[test]
fn the_door_is_down_while_the_job_runs() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { shorter: IMPATIENT, ..Like::default() }).await;
        world.listens(&mut agent).await;
        world.github.queue(job(UNTIL_GO));
        world.hears(&mut agent, &Report::Busy).await;
        world.down(true);
        // As long as an idle machine waits for a silent door, and half as long again.
        tokio::time::sleep(Duration::from_secs(1_800).div_f64(IMPATIENT).mul_f64(1.5)).await;
        assert!(agent.processes().contains(&"Runner.Worker".to_owned()));
        agent.go();
        world.down(false);
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books(), books(1));
    });
}

#[test]
fn the_door_is_down_and_the_machine_idle() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { shorter: IMPATIENT, ..Like::default() }).await;
        let registration = world.listens(&mut agent).await;
        world.down(true);
        agent.ends().await;
        assert!(agent.console().contains("silent"), "{}", agent.console());
        assert!(!world.github.listening(registration));
    });
}

#[test]
fn the_door_is_down_for_a_while_before_the_claim() {
    privileged(|| async {
        let world = World::new().await;
        world.down(true);
        let mut agent = world.machine().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.down(false);
        world.listens(&mut agent).await;
        works(&world, &mut agent).await;
    });
}

#[test]
fn a_full_disk_hides_no_job() {
    privileged(|| async {
        let world = World::new().await;
        world.github.be_blind();
        let mut agent = world.machine_like(Like { registers: false, ..Like::default() }).await;
        let full = agent.path("runner/_diag");
        // The agent has begun: it sees what is mounted, as it shares this thread's view.
        let mount =
            |arguments: &[&str]| std::process::Command::new("mount").args(arguments).status().unwrap().success();
        assert!(mount(&["-t", "tmpfs", "-o", "size=4k,mode=0777", "tmpfs", full.to_str().unwrap()]));
        assert!(fs::write(full.join("filler"), [0; 8_192]).is_err());
        world.scaler.register(&agent.instance);
        world.listens(&mut agent).await;
        world.github.queue(Job { gaps: [0, 0, UNTIL_GO], takes: 300, script: None });
        world.hears(&mut agent, &Report::Busy).await;
        let order = world.scaler.drain(&agent.instance);
        world.hears(&mut agent, &Report::Thawed { order }).await;
        agent.go();
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books(), books(1));
    });
}

#[test]
fn the_clock_is_wrong_by_an_hour() {
    privileged(|| async {
        let world = World::ahead_by(HOUR).await;
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        assert!(!agent.log().contains("refused"), "the metadata service's time was not taken");
        works(&world, &mut agent).await;
    });
}

#[test]
fn the_clock_and_the_metadata_services_are_wrong() {
    privileged(|| async {
        let mut world = World::ahead_by(HOUR).await;
        world.metadata_is_ahead_by(Duration::ZERO);
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        assert!(agent.log().contains("once more, by the door's own time"));
        works(&world, &mut agent).await;
    });
}

#[test]
fn lost_replies_to_claim_and_reports() {
    privileged(|| async {
        let world = World::new().await;
        world.door.faults.lose_replies.store(3, Ordering::SeqCst);
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        world.door.faults.lose_replies.store(3, Ordering::SeqCst);
        works(&world, &mut agent).await;
        let asked = world.door.faults.asked.lock().unwrap().clone();
        assert!(asked.iter().filter(|path| *path == "/runners/claim").count() >= 4, "{asked:?}");
        assert_eq!(world.scaler.machine(&agent.instance).session, 1);
    });
}

#[test]
fn a_machine_that_nobody_knows_gives_up() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { known: false, shorter: IMPATIENT, ..Like::default() }).await;
        agent.ends().await;
        assert!(agent.console().contains("does not know this machine"), "{}", agent.console());
    });
}

#[test]
fn the_agent_dies_and_its_worker_is_left_to_end() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine().await;
        world.listens(&mut agent).await;
        world.github.queue(job(UNTIL_GO));
        world.hears(&mut agent, &Report::Busy).await;
        agent.crash();
        agent.boot();
        let console = agent.path("console");
        agent.until("a look", || fs::read_to_string(&console).unwrap().contains("its runner is left to end")).await;
        assert!(agent.processes().contains(&"Runner.Listener".to_owned()));
        agent.go();
        world.hears(&mut agent, &DONE).await;
        agent.ends().await;
        assert_eq!(world.github.books(), books(1));
    });
}

#[test]
fn the_agent_dies_before_it_has_a_runner() {
    privileged(|| async {
        let world = World::new().await;
        let mut agent = world.machine_like(Like { registers: false, ..Like::default() }).await;
        world.hears(&mut agent, &Report::Claimed).await;
        agent.crash();
        agent.boot();
        world.scaler.register(&agent.instance);
        world.listens(&mut agent).await;
        works(&world, &mut agent).await;
        assert_eq!(world.scaler.machine(&agent.instance).session, 1);
    });
}
