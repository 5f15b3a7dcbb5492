//! Facts and records to test with.

use std::sync::Arc;

use muster_core::claim::ClaimRow;
use muster_core::fact::{CloudEvent, CloudEventKind, Fact, FactBody, GroupEvent, GroupEventKind};
use muster_core::ids::{
    ClassId, InstanceId, JobId, JobKey, LaunchId, PoolName, RunId, RunnerId, RunnerName, ShapeId, Zone,
};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, JobRecord, RunnerRef, Started};
use muster_core::launch::{Hold, Launch, LaunchErrorKind, Offering};
use muster_core::machine::{Drain, Machine, MachineEvent, Market, Origin, Purpose, Registration, Report};
use muster_core::money::HourlyPrice;
use muster_core::time::Timestamp;

/// 2026-11-22T10:00:00Z and some milliseconds.
pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_795_341_600_000 + ms)
}

/// A job of this number, first attempt.
pub fn job(number: i64) -> JobKey {
    JobKey { job: JobId(number), attempt: 1 }
}

/// An instance of this number.
pub fn instance(number: u32) -> InstanceId {
    InstanceId::new(format!("i-{number:017x}"))
}

/// A fact about a job, received at `received`.
pub fn job_fact(key: JobKey, evidence: JobEvidence, received: Timestamp) -> Fact {
    let about = JobAbout {
        run: RunId(77),
        repository: "octo/app".into(),
        public: false,
        labels: Arc::from([Arc::from("self-hosted"), Arc::from("linux")]),
        workflow: Some("CI".into()),
        name: None,
    };
    Fact { received_at: received, body: FactBody::Job(JobEvent { key, about, evidence }) }
}

/// `queued`, created a second before it was received.
pub fn queued(key: JobKey, received: i64) -> Fact {
    let evidence = JobEvidence::Queued { created_at: Some(at(received - 1_000)), approved_at: None };
    job_fact(key, evidence, at(received))
}

/// `in_progress`, since `started`.
pub fn in_progress(key: JobKey, started: i64) -> Fact {
    let started = Started { started_at: at(started), runner: Some(runner(key)) };
    job_fact(key, JobEvidence::InProgress(started.clone()), started.started_at)
}

/// `completed`, at `completed`.
pub fn completed(key: JobKey, completed: i64) -> Fact {
    let evidence = JobEvidence::Completed(Completed {
        completed_at: at(completed),
        conclusion: Conclusion::Failure,
        started_at: Some(at(completed - 5_000)),
        runner: Some(runner(key)),
    });
    job_fact(key, evidence, at(completed))
}

fn runner(key: JobKey) -> RunnerRef {
    RunnerRef { id: Some(RunnerId(9)), name: RunnerName::new(format!("linux-i-0123456789abcdef0-{key}")) }
}

/// What these facts about one job add up to; facts about anything else do not count.
pub fn merged(facts: &[Fact]) -> Option<JobRecord> {
    let mut record: Option<JobRecord> = None;
    for fact in facts {
        let FactBody::Job(event) = &fact.body else { continue };
        let told = JobRecord::from_event(event, fact.received_at);
        match &mut record {
            Some(record) => record.merge(&told),
            None => record = Some(told),
        }
    }
    record
}

/// A record with evidence of `queued`.
pub fn waiting_job(number: i64) -> JobRecord {
    record(&[queued(job(number), 0)])
}

/// A record with all evidence, over at `end`.
pub fn finished_job(number: i64, end: i64) -> JobRecord {
    record(&[queued(job(number), end - 9_000), in_progress(job(number), end - 5_000), completed(job(number), end)])
}

#[track_caller]
fn record(facts: &[Fact]) -> JobRecord {
    match merged(facts) {
        Some(record) => record,
        None => panic!("no fact about a job among {facts:?}"),
    }
}

/// A report of a machine.
pub fn report(number: u32, report: Report, heard: i64) -> Fact {
    let event = MachineEvent { instance: instance(number), session: 1, at: at(heard), report };
    Fact { received_at: at(heard), body: FactBody::Machine(event) }
}

/// The cloud's word that an instance is gone.
pub fn terminated(number: u32, heard: i64) -> Fact {
    let event = CloudEvent { instance: instance(number), at: at(heard), kind: CloudEventKind::Terminated };
    Fact { received_at: at(heard), body: FactBody::Cloud(event) }
}

/// The cloud's word that a group could not launch.
pub fn launch_failed(activity: &str, heard: i64) -> Fact {
    let kind = GroupEventKind::LaunchFailed { activity: activity.into(), why: "no \"room\"".into() };
    let event = GroupEvent { group: "muster-acme-a".into(), at: at(heard), kind };
    Fact { received_at: at(heard), body: FactBody::Group(event) }
}

/// What a machine is for.
pub fn purpose() -> Purpose {
    Purpose {
        pool: PoolName::new("linux"),
        class: ClassId::new("linux/small/spot"),
        shape: ShapeId::new("linux/m7i.large/spot"),
        account: Some("builds".into()),
        zone: Zone::new("eu-west-1a"),
        market: Market::Spot,
        origin: Origin::Cold,
        price: HourlyPrice::from_usd(0.034),
    }
}

/// A machine with a life behind it.
pub fn machine(number: u32) -> Machine {
    let mut machine = Machine::launched(instance(number), &launch(1), at(0));
    for (heard, told) in [
        (1_000, Report::Claimed),
        (2_000, Report::Registered(Registration { id: RunnerId(9), name: RunnerName::new("linux-i-0-a") })),
        (3_000, Report::Listening),
        (4_000, Report::Frozen { order: 1 }),
        (5_000, Report::Failed { why: "no \"disk\"".into() }),
    ] {
        machine.hear(&MachineEvent { instance: instance(number), session: 1, at: at(heard), report: told });
    }
    machine.drain =
        Some(Drain { order: 1, ordered_at: at(3_500), removal: None, answered: false, closed_at: Some(at(3_600)) });
    machine.job = Some(job(1));
    machine
}

/// A launch.
pub fn launch(number: u32) -> Launch {
    Launch {
        id: LaunchId::new(format!("0123abcd-{number}-0")),
        purpose: purpose(),
        count: 3,
        may_register: true,
        intended_at: at(7),
        reason: "three jobs wait".into(),
    }
}

/// A hold in this zone.
pub fn hold(zone: &str, market: Market, until: i64) -> Hold {
    let offering = Offering { shape: ShapeId::new("linux/m7i.large"), zone: Zone::new(zone.to_owned()), market };
    Hold { offering, kind: LaunchErrorKind::Capacity, until: at(until), strikes: 2 }
}

/// A fresh claim.
pub fn claim(number: u32, session: u32, claimed: i64) -> ClaimRow {
    ClaimRow {
        instance: instance(number),
        session,
        nonce: "ab".repeat(16),
        public_key: "cd".repeat(32),
        sealed_session: "c2VhbGVk".to_owned(),
        token_sha256: "ef".repeat(32),
        claimed_at: at(claimed),
        former: (session > 1).then(|| registration(i64::from(session) - 1)),
        registration: None,
        sealed_config: None,
    }
}

/// The same claim, minted.
pub fn minted(claim: &ClaimRow, id: i64) -> ClaimRow {
    ClaimRow { registration: Some(registration(id)), sealed_config: Some(format!("sealed-{id}")), ..claim.clone() }
}

fn registration(id: i64) -> Registration {
    Registration { id: RunnerId(id), name: RunnerName::new(format!("linux-i-0-{id}")) }
}
