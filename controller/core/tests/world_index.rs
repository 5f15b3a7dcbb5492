//! Every index of the world can be recomputed: after anything that happens to it, the world equals one that is built anew
//! from its jobs, machines and launches.
//!
//! The operations are those of a tick, drawn at random: facts, plans that are intended, answers of the cloud and of
//! GitHub, forgetting, expiry, a new configuration.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use fixture::{about, config, instance, key, queued, registration, s, snapshot_of};
use muster_core::config::FleetConfig;
use muster_core::fact::{CloudEvent, CloudEventKind, Fact, FactBody};
use muster_core::ids::{ClassId, Generation, InstanceId, ShapeId, Zone};
use muster_core::job::{Completed, Conclusion, JobEvent, JobEvidence, RunnerRef, Started};
use muster_core::launch::{Hold, LaunchError, LaunchErrorKind, LaunchReply};
use muster_core::machine::{Machine, MachineEvent, Removal, Report};
use muster_core::money::HourlyPrice;
use muster_core::plan::{Action, Policy, plan};
use muster_core::ports::Batch;
use muster_core::time::Timestamp;
use muster_core::world::{ClassWorld, Merged, World};
use proptest::collection::vec;
use proptest::prelude::*;

static CONFIGS: LazyLock<[FleetConfig; 2]> = LazyLock::new(|| {
    let pool = |name: &str, sizes: &[&str]| {
        let head = format!(
            "[[pool]]\nname = \"{name}\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"{name}\"]\nmax_runners = 9\n\
             markets = [\"spot-then-on-demand\"]\ndefault_size = \"{}\"\nidle = {{ min = 1, max = 2 }}\n\
             instance_type_labels = [\"c7i.*\"]\n",
            sizes[0]
        );
        let sizes = sizes.iter().map(|size| {
            format!("[pool.sizes.{size}]\ninstance_types = [\"c7i.large\"]\nusd_per_hour = {{ on-demand = 0.09, spot = 0.035 }}\n")
        });
        head + &sizes.collect::<String>()
    };
    [
        config(&format!(
            "[fleet]\nmax_runners = 12\n{}{}",
            pool("linux", &["cpu-2", "cpu-8"]),
            pool("other", &["cpu-2"])
        )),
        config(&format!("{}{}", pool("linux", &["cpu-2"]), pool("third", &["cpu-4"]))),
    ]
});

const LABELS: &[&str] = &["linux", "linux,cpu-8", "other", "third", "linux,c7i.xlarge", "nobody"];

#[derive(Clone, Debug)]
enum Op {
    Job { n: i64, labels: usize, says: u8, machine: usize },
    Record { n: i64, labels: usize },
    Report { machine: usize, session: u32, says: u8 },
    Cloud { machine: usize, gone: bool },
    Plan { policy: u8 },
    Answer { missing: u32, refused: bool },
    Removed { machine: usize, gone: bool },
    Gone { machine: usize },
    Forget { machine: usize },
    Wait { seconds: u64 },
    Expire,
    Reconfigure { which: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let machine = || 0..12usize;
    prop_oneof![
        6 => (1..12i64, 0..LABELS.len(), 0..5u8, machine())
            .prop_map(|(n, labels, says, machine)| Op::Job { n, labels, says, machine }),
        1 => (1..12i64, 0..LABELS.len()).prop_map(|(n, labels)| Op::Record { n, labels }),
        8 => (machine(), 0..3u32, 0..11u8).prop_map(|(machine, session, says)| Op::Report { machine, session, says }),
        1 => (machine(), any::<bool>()).prop_map(|(machine, gone)| Op::Cloud { machine, gone }),
        4 => (0..3u8).prop_map(|policy| Op::Plan { policy }),
        4 => (0..3u32, any::<bool>()).prop_map(|(missing, refused)| Op::Answer { missing, refused }),
        2 => (machine(), any::<bool>()).prop_map(|(machine, gone)| Op::Removed { machine, gone }),
        1 => machine().prop_map(|machine| Op::Gone { machine }),
        1 => machine().prop_map(|machine| Op::Forget { machine }),
        2 => prop::sample::select(vec![1, 30, 70, 200, 700]).prop_map(|seconds| Op::Wait { seconds }),
        1 => Just(Op::Expire),
        1 => (0..2usize).prop_map(|which| Op::Reconfigure { which }),
    ]
}

/// A world and what happens around it.
struct Story {
    world: World,
    config: &'static FleetConfig,
    now: Timestamp,
    launched: u32,
    holds: Vec<Hold>,
}

impl Story {
    fn new() -> Story {
        let mut world = World::default();
        world.set_zones(vec![Zone::new("a"), Zone::new("b")]);
        Story { world, config: &CONFIGS[0], now: fixture::START, launched: 0, holds: Vec::new() }
    }

    fn machine(&self, place: usize) -> Option<Machine> {
        self.world.machines().nth(place).cloned()
    }

    fn instance(&self, place: usize) -> InstanceId {
        self.machine(place).map_or(instance(999), |machine| machine.instance)
    }

    fn runner(&self, place: usize) -> Option<RunnerRef> {
        let (_, registration) = self.machine(place)?.told.registered?;
        Some(RunnerRef { id: Some(registration.id), name: registration.name })
    }

    fn merge(&mut self, body: FactBody) {
        let mut merged = Merged::default();
        self.world.merge(&Fact { received_at: self.now, body }, self.config, &mut merged);
    }

    fn happen(&mut self, op: &Op) {
        let mut batch = Batch::default();
        let now = self.now;
        match *op {
            Op::Job { n, labels, says, machine } => {
                let evidence = match says {
                    0 => JobEvidence::Waiting,
                    1 => JobEvidence::InProgress(Started { started_at: now, runner: self.runner(machine) }),
                    2 => JobEvidence::Completed(Completed {
                        completed_at: now,
                        conclusion: Conclusion::Success,
                        started_at: Some(now),
                        runner: self.runner(machine),
                    }),
                    _ => JobEvidence::Queued { created_at: Some(now), approved_at: None },
                };
                self.merge(FactBody::Job(JobEvent { key: key(n), about: about("acme/api", LABELS[labels]), evidence }));
            }
            Op::Record { n, labels } => {
                self.world.put_job(queued(n, about("acme/web", LABELS[labels]), now), self.config);
            }
            Op::Report { machine, session, says } => {
                let Some(about) = self.machine(machine) else { return };
                let order = about.drain.as_ref().map_or(1, |drain| drain.order);
                let report = match says {
                    0 => Report::Claimed,
                    1 | 2 => Report::Registered(registration(&about, session)),
                    3 | 4 => Report::Listening,
                    5 => Report::Busy,
                    6 => Report::Done { ran_job: order == 1 },
                    7 => Report::Frozen { order },
                    8 => Report::Thawed { order },
                    9 => Report::Interrupted,
                    _ => Report::Drained,
                };
                self.merge(FactBody::Machine(MachineEvent { instance: about.instance, session, at: now, report }));
            }
            Op::Cloud { machine, gone } => {
                let kind = if gone { CloudEventKind::Terminated } else { CloudEventKind::InterruptionNotice };
                self.merge(FactBody::Cloud(CloudEvent { instance: self.instance(machine), at: now, kind }));
            }
            Op::Plan { policy } => {
                let policy = [Policy::Cold, Policy::Fixed(1), Policy::Target][usize::from(policy)];
                self.world.expire_unmatched(now);
                for step in plan(&self.world, self.config, policy, now).steps {
                    self.world.intend(&step.action, now, &mut batch);
                }
                let next = self.world.generation().0 + 1;
                self.world.set_generation(Generation(next));
            }
            Op::Answer { missing, refused } => {
                let Some(launch) = self.world.launches().next().cloned() else {
                    return;
                };
                let count = launch.count.saturating_sub(missing);
                let instances = (0..count).map(|n| instance(self.launched + n)).collect();
                self.launched += count;
                let error = LaunchError { kind: LaunchErrorKind::Capacity, message: "none".into() };
                let reply = LaunchReply { instances, error: refused.then_some(error) };
                self.world.launch_answered(&launch.id, &reply, now, &mut batch);
                self.holds.append(&mut batch.holds);
            }
            Op::Removed { machine, gone } => {
                let removal = if gone { Removal::Gone } else { Removal::Busy };
                self.world.removal_answered(&self.instance(machine), removal, now, &mut batch);
            }
            Op::Gone { machine } => self.world.instance_gone(&self.instance(machine), now, &mut batch),
            Op::Forget { machine } => {
                self.world.intend(&Action::Forget { instance: self.instance(machine) }, now, &mut batch);
            }
            Op::Wait { seconds } => self.now = now + Duration::from_secs(seconds),
            Op::Expire => self.world.expire_unmatched(now),
            Op::Reconfigure { which } => {
                self.config = &CONFIGS[which];
                self.world.reconfigure(self.config);
            }
        }
    }

    /// The same world, built from scratch.
    fn anew(&self) -> World {
        World::from_snapshot(snapshot_of(&self.world), self.config)
    }
}

fn ids<'a>(machines: impl Iterator<Item = &'a Machine>) -> Vec<InstanceId> {
    machines.map(|machine| machine.instance.clone()).collect()
}

fn same(story: &Story) {
    // A world built anew has expired nothing yet.
    let (mut kept, mut anew) = (story.world.clone(), story.anew());
    kept.expire_unmatched(story.now);
    anew.expire_unmatched(story.now);

    let nothing = ClassWorld::default();
    let classes: BTreeSet<&ClassId> = kept.classes().chain(anew.classes()).map(|(id, _)| id).collect();
    for id in classes {
        assert_eq!(kept.class(id).unwrap_or(&nothing), anew.class(id).unwrap_or(&nothing), "{id}");
    }
    assert_eq!(kept.totals(), anew.totals());
    let mut places: BTreeSet<(ShapeId, Zone)> = BTreeSet::new();
    for purpose in kept.machines().map(|m| &m.purpose).chain(kept.launches().map(|l| &l.purpose)) {
        assert_eq!(kept.pool_totals(&purpose.pool), anew.pool_totals(&purpose.pool), "{}", purpose.pool);
        places.insert((purpose.shape.clone(), purpose.zone.clone()));
    }
    for (shape, zone) in &places {
        assert_eq!(kept.zone_load(shape, zone), anew.zone_load(shape, zone), "{shape} in {zone}");
    }
    assert_eq!(ids(kept.frozen()), ids(anew.frozen()));
    assert_eq!(ids(kept.ended()), ids(anew.ended()));
    assert_eq!(ids(kept.ending()), ids(anew.ending()));
    assert_eq!(ids(kept.gone()), ids(anew.gone()));

    // And both are what can be counted by hand.
    let live = || kept.machines().filter(|machine| machine.is_live());
    let launching: u32 = kept.launches().map(|launch| launch.count).sum();
    assert_eq!(kept.totals().machines, u32::try_from(live().count()).unwrap() + launching);
    let prices = kept.launches().map(|launch| launch.purpose.price.times(launch.count));
    let price: HourlyPrice = live().map(|machine| machine.purpose.price).chain(prices).sum();
    assert_eq!(kept.totals().price, price);
}

proptest! {
    #[test]
    fn an_index_can_always_be_recomputed(ops in vec(op(), 1..60)) {
        let mut story = Story::new();
        for op in &ops {
            story.happen(op);
            same(&story);
        }
    }

    #[test]
    fn a_scaler_that_starts_again_plans_the_same(ops in vec(op(), 1..60)) {
        let mut story = Story::new();
        ops.iter().for_each(|op| story.happen(op));
        let mut anew = story.anew();
        anew.set_zones(story.world.zones().to_vec());
        story.holds.iter().for_each(|hold| anew.put_hold(hold.clone()));
        story.world.expire_unmatched(story.now);
        anew.expire_unmatched(story.now);
        for policy in [Policy::Cold, Policy::Target] {
            let plans = [&story.world, &anew].map(|world| plan(world, story.config, policy, story.now));
            prop_assert_eq!(&plans[0], &plans[1]);
        }
    }
}

#[test]
fn an_expired_word_stays_expired_for_the_planner() {
    let mut story = Story::new();
    story.happen(&Op::Job { n: 1, labels: 0, says: 3, machine: 0 });
    story.happen(&Op::Plan { policy: 0 });
    story.happen(&Op::Answer { missing: 0, refused: false });
    for says in [0, 1, 3, 5] {
        story.happen(&Op::Report { machine: 0, session: 1, says });
    }
    let unmatched = |story: &Story| story.world.classes().map(|(_, class)| class.unmatched.len()).sum::<usize>();
    assert_eq!(unmatched(&story), 1);
    story.now = story.now + s(301);
    story.happen(&Op::Expire);
    assert_eq!(unmatched(&story), 0);
    story.happen(&Op::Report { machine: 0, session: 1, says: 9 });
    assert_eq!(unmatched(&story), 0, "another word of the machine does not revive the old one");
}
