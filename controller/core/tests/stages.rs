//! Where a job's queue time went: the stages explain it, whatever came first.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::time::Duration;

use fixture::{about, config, hear, instance, key, launch, purpose, registration};
use muster_core::config::FleetConfig;
use muster_core::job::{JobEvent, JobEvidence, JobRecord, Started};
use muster_core::machine::{Machine, Origin, Report};
use muster_core::stages::Stages;
use muster_core::time::Timestamp;
use proptest::prelude::*;

/// The instants of a job and its machine, milliseconds after a common start.
#[derive(Clone, Debug)]
struct Instants {
    demanded: u64,
    received: u64,
    started: u64,
    intended: u64,
    launched: u64,
    claimed: Option<u64>,
    listening: Option<u64>,
}

fn fleet() -> FleetConfig {
    config("[[pool]]\nname = \"p\"\nos = \"linux\"\narch = \"x64\"\n[pool.sizes.s]\nvcpus = 2\n")
}

fn at(ms: u64) -> Timestamp {
    fixture::START + Duration::from_millis(ms)
}

impl Instants {
    fn job(&self) -> JobRecord {
        let event = |evidence| JobEvent { key: key(1), about: about("acme/api", "self-hosted"), evidence };
        let created_at = Some(at(self.demanded));
        let queued = event(JobEvidence::Queued { created_at, approved_at: None });
        let started = event(JobEvidence::InProgress(Started { started_at: at(self.started), runner: None }));
        let mut job = JobRecord::from_event(&queued, at(self.received));
        job.merge(&JobRecord::from_event(&started, at(self.started)));
        job
    }

    fn stages(&self) -> Stages {
        let purpose = purpose(&fleet(), "p/s/on-demand", None, "a", Origin::Cold);
        let launch = launch("l", purpose, 1, at(self.intended));
        let mut machine = Machine::launched(instance(1), &launch, at(self.launched));
        if let Some(claimed) = self.claimed {
            hear(&mut machine, at(claimed), Report::Claimed);
        }
        if let Some(listening) = self.listening {
            let registration = registration(&machine, 1);
            hear(&mut machine, at(listening), Report::Registered(registration));
            hear(&mut machine, at(listening), Report::Listening);
        }
        Stages::of(&self.job(), Some(&machine))
    }
}

fn parts(stages: &Stages) -> [Option<Duration>; 6] {
    [stages.webhook, stages.decision, stages.launch, stages.boot, stages.register, stages.pickup]
}

fn sum(stages: &Stages) -> Duration {
    parts(stages).into_iter().flatten().sum()
}

fn seconds(stages: &Stages) -> [Option<u64>; 6] {
    parts(stages).map(|part| part.map(|part| part.as_secs()))
}

/// Launched at second 100 and listening at 150, for whoever waits; the job starts 3 s later or 3 s after its demand.
fn job_of(demanded: u64, received: u64) -> Instants {
    let started = demanded.max(150_000) + 3_000;
    Instants {
        demanded,
        received,
        started,
        intended: 100_000,
        launched: 102_000,
        claimed: Some(140_000),
        listening: Some(150_000),
    }
}

#[test]
fn a_job_is_told_what_it_waited_through() {
    let own = job_of(95_000, 99_000).stages();
    assert_eq!(seconds(&own), [Some(4), Some(1), Some(2), Some(38), Some(10), Some(3)]);
    // Demanded before the intent, and heard of after it: launched for others, and waited for all the same.
    let late = job_of(95_000, 103_000).stages();
    assert_eq!(seconds(&late), [Some(5), Some(0), Some(2), Some(38), Some(10), Some(3)]);
    // Demanded while the machine boots, while it registers, and when it is idle.
    let boots = job_of(120_000, 121_000).stages();
    assert_eq!(seconds(&boots), [None, Some(0), None, Some(20), Some(10), Some(3)]);
    let registers = job_of(145_000, 146_000).stages();
    assert_eq!(seconds(&registers), [None, Some(0), None, None, Some(5), Some(3)]);
    let idle = job_of(200_000, 201_000).stages();
    assert_eq!(seconds(&idle), [None, Some(0), None, None, None, Some(3)]);
    for stages in [own, late, boots, registers, idle] {
        assert_eq!(Some(sum(&stages)), stages.queue_time, "{stages:?}");
    }
}

#[test]
fn a_report_that_has_not_come_yet_lets_its_stage_last_to_the_start() {
    let silent = Instants { listening: None, ..job_of(95_000, 99_000) }.stages();
    assert_eq!(seconds(&silent), [Some(4), Some(1), Some(2), Some(38), Some(13), Some(0)]);
    let unheard = Instants { claimed: None, listening: None, ..job_of(95_000, 99_000) }.stages();
    assert_eq!(seconds(&unheard), [Some(4), Some(1), Some(2), Some(51), Some(0), Some(0)]);
}

#[test]
fn on_a_machine_that_is_not_ours_only_the_delivery_is_known() {
    let stages = Stages::of(&job_of(95_000, 99_000).job(), None);
    assert_eq!(seconds(&stages), [Some(4), None, None, None, None, None]);
    let early = Stages::of(&Instants { started: 97_000, ..job_of(95_000, 99_000) }.job(), None);
    assert_eq!((early.webhook, early.queue_time), (Some(Duration::from_secs(2)), Some(Duration::from_secs(2))));
}

fn instant() -> impl Strategy<Value = u64> {
    0..400_000_u64
}

prop_compose! {
    /// A machine whose instants are in order, as they are where one clock tells them all.
    fn in_order()(
        (demanded, delay, wait) in (instant(), 0..60_000_u64, 0..300_000_u64),
        mut life in prop::array::uniform4(instant()),
    ) -> Instants {
        life.sort_unstable();
        let [intended, launched, claimed, listening] = life;
        Instants {
            demanded, received: demanded + delay, started: (demanded + wait).max(listening),
            intended, launched, claimed: Some(claimed), listening: Some(listening),
        }
    }
}

prop_compose! {
    /// Clocks that disagree, and reports that never came.
    fn anyhow()(
        (demanded, delay, started, intended, launched) in (instant(), 0..60_000_u64, instant(), instant(), instant()),
        (claimed, listening) in (prop::option::of(instant()), prop::option::of(instant())),
    ) -> Instants {
        Instants { demanded, received: demanded + delay, started, intended, launched, claimed, listening }
    }
}

proptest! {
    #[test]
    fn the_stages_sum_up_to_the_queue_time(instants in in_order()) {
        let stages = instants.stages();
        prop_assert_eq!(Some(sum(&stages)), stages.queue_time);
        // What machine stages are: the part of the interval that the job was there for.
        let clipped = |from: u64, to: u64| {
            let part = to.min(instants.started).saturating_sub(from.max(instants.demanded));
            (to >= instants.demanded).then(|| Duration::from_millis(part))
        };
        let (claimed, listening) = (instants.claimed.unwrap(), instants.listening.unwrap());
        prop_assert_eq!(stages.launch, clipped(instants.intended, instants.launched));
        prop_assert_eq!(stages.boot, clipped(instants.launched, claimed));
        prop_assert_eq!(stages.register, clipped(claimed, listening));
        prop_assert_eq!(stages.pickup, clipped(listening, instants.started));
    }

    #[test]
    fn the_stages_sum_up_whatever_clocks_say_and_reports_are_missing(instants in anyhow()) {
        let stages = instants.stages();
        prop_assert_eq!(Some(sum(&stages)), stages.queue_time);
    }
}
