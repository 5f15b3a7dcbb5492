//! Facts are merged, not obeyed: late, twice, in any order and from two sources, they end in the same record.
//!
//! Proves that the merge of jobs is a join of a semilattice, that a machine's evidence does not depend on the order of
//! its reports, that a tick ends in the same rows whatever the order of its facts, and that news are told once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fixture::{about, at, config, hear, instance, key, launch, machine, purpose, registration};
use muster_core::config::FleetConfig;
use muster_core::fact::{CloudEvent, CloudEventKind, Fact, FactBody};
use muster_core::ids::{JobKey, RunnerId, RunnerName};
use muster_core::job::{
    Completed, Conclusion, JobEvent, JobEvidence, JobPhase, JobRecord, RunnerRef, Started, WEBHOOK_DELAY_MAX,
};
use muster_core::machine::{Machine, MachineEvent, MachinePhase, Origin, Removal, Report};
use muster_core::ports::Snapshot;
use muster_core::time::Timestamp;
use muster_core::world::{Merged, News, World};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const POOLS: &str = r#"
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
"#;

static FLEET: LazyLock<FleetConfig> = LazyLock::new(|| config(POOLS));

fn instant() -> impl Strategy<Value = Timestamp> {
    (0..5i64).prop_map(at)
}

fn runner(names: &'static [&'static str]) -> impl Strategy<Value = Option<RunnerRef>> {
    let id = option::of((0..2i64).prop_map(RunnerId));
    option::of((id, prop::sample::select(names)).prop_map(|(id, name)| RunnerRef { id, name: RunnerName::new(name) }))
}

fn conclusion() -> impl Strategy<Value = Conclusion> {
    prop::sample::select(vec!["success", "cancelled", "failure", "skipped", "a_new_word"])
        .prop_map(Conclusion::from_word)
}

fn evidence(names: &'static [&'static str]) -> impl Strategy<Value = JobEvidence> {
    let queued = (option::of(instant()), option::of(instant()));
    let completed = (instant(), conclusion(), option::of(instant()), runner(names));
    prop_oneof![
        queued.prop_map(|(created_at, approved_at)| JobEvidence::Queued { created_at, approved_at }),
        Just(JobEvidence::Waiting),
        (instant(), runner(names))
            .prop_map(|(started_at, runner)| JobEvidence::InProgress(Started { started_at, runner })),
        completed.prop_map(|(completed_at, conclusion, started_at, runner)| {
            JobEvidence::Completed(Completed { completed_at, conclusion, started_at, runner })
        }),
    ]
}

/// One event of one of two jobs, and when it was received. Abouts differ: an organization was renamed, a label added.
fn event(names: &'static [&'static str]) -> impl Strategy<Value = (JobEvent, Timestamp)> {
    let abouts = [about("acme/api", "linux"), about("acme/web", "linux"), about("acme/api", "linux,cpu-2")];
    (1..3i64, prop::sample::select(abouts.to_vec()), evidence(names), instant())
        .prop_map(|(job, about, evidence, heard)| (JobEvent { key: key(job), about, evidence }, heard))
}

const NAMES: &[&str] = &["linux-i-00000001-s1", "linux-i-00000001-s2", "linux-i-00000002-s1", "another"];

/// A record of job 1 from some events.
fn record() -> impl Strategy<Value = JobRecord> {
    vec(event(NAMES), 1..5).prop_map(|events| joined(&events))
}

fn joined(events: &[(JobEvent, Timestamp)]) -> JobRecord {
    let mut records =
        events.iter().map(|(event, at)| JobRecord::from_event(&JobEvent { key: key(1), ..event.clone() }, *at));
    let mut record = records.next().unwrap();
    records.for_each(|other| record.merge(&other));
    record
}

fn join(a: &JobRecord, b: &JobRecord) -> JobRecord {
    let mut joined = a.clone();
    joined.merge(b);
    joined
}

/// The same things in another order, some of them twice.
fn disordered<T: Clone + std::fmt::Debug + 'static>(things: Vec<T>) -> impl Strategy<Value = (Vec<T>, Vec<T>)> {
    let count = things.len();
    let again = vec(prop::sample::select((0..count).collect::<Vec<_>>()), 0..count.max(1));
    again.prop_flat_map(move |again| {
        let twice: Vec<T> = things.iter().cloned().chain(again.iter().map(|i| things[*i].clone())).collect();
        (Just(things.clone()), Just(twice).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn merging_records_is_a_join(a in record(), b in record(), c in record()) {
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a.clone());
        prop_assert_eq!(join(&join(&a, &b), &b), join(&a, &b));
    }

    #[test]
    fn evidence_only_grows(a in record(), b in record()) {
        let both = join(&a, &b);
        prop_assert!(both.phase() >= a.phase().max(b.phase()));
        prop_assert!(both.started_at().is_some() || a.started_at().is_none());
        prop_assert!(both.runner().is_some() || a.runner().is_none());
        prop_assert!(both.first_heard <= a.first_heard);
    }

    #[test]
    fn a_record_does_not_depend_on_the_order_of_its_events(
        (events, shuffled) in vec(event(NAMES), 1..8).prop_flat_map(disordered)
    ) {
        prop_assert_eq!(joined(&events), joined(&shuffled));
    }
}

fn told(evidence: JobEvidence, heard: i64) -> JobRecord {
    JobRecord::from_event(&JobEvent { key: key(1), about: about("acme/api", "linux"), evidence }, at(heard))
}

fn queued(created: Option<i64>, approved: Option<i64>, heard: i64) -> JobRecord {
    told(JobEvidence::Queued { created_at: created.map(at), approved_at: approved.map(at) }, heard)
}

fn started(second: i64) -> JobRecord {
    told(JobEvidence::InProgress(Started { started_at: at(second), runner: None }), second)
}

fn completed(second: i64, conclusion: Conclusion) -> JobRecord {
    let evidence = Completed { completed_at: at(second), conclusion, started_at: Some(at(second - 1)), runner: None };
    told(JobEvidence::Completed(evidence), second)
}

fn all(records: &[JobRecord]) -> JobRecord {
    let mut record = records[0].clone();
    records.iter().for_each(|other| record.merge(other));
    record
}

#[test]
fn the_strongest_evidence_is_the_phase() {
    let waiting = told(JobEvidence::Waiting, 0);
    let done = completed(9, Conclusion::Success);
    let table = [
        (vec![waiting.clone()], JobPhase::Waiting),
        (vec![queued(Some(0), None, 1)], JobPhase::Queued),
        (vec![queued(Some(0), None, 1), waiting.clone()], JobPhase::Queued),
        (vec![started(5)], JobPhase::Running),
        (vec![waiting.clone(), started(5)], JobPhase::Running),
        (vec![done.clone()], JobPhase::Completed),
        (vec![done.clone(), queued(Some(0), None, 1), started(5), waiting.clone()], JobPhase::Completed),
    ];
    for (records, phase) in table {
        assert_eq!(all(&records).phase(), phase, "{records:?}");
    }
}

#[test]
fn demand_begins_when_a_job_became_runnable() {
    let waiting = told(JobEvidence::Waiting, 0);
    let days = 86_400;
    let believed = i64::try_from(WEBHOOK_DELAY_MAX.as_secs()).unwrap();
    let table = [
        ("nothing says that it is runnable", vec![waiting.clone()], None),
        ("a start alone says nothing of the queue", vec![started(5)], None),
        ("its creation", vec![queued(Some(0), None, 3)], Some(0)),
        ("the earliest creation told", vec![queued(Some(1), None, 3), queued(Some(0), None, 4)], Some(0)),
        ("without one, when we heard", vec![queued(None, None, 3)], Some(3)),
        ("an old creation is not believed", vec![queued(Some(-days), None, 0)], Some(-believed)),
        ("an approval counts", vec![queued(Some(-days), Some(7), 9)], Some(7)),
        ("of two gates the last", vec![queued(Some(0), Some(7), 9), queued(Some(0), Some(8), 9)], Some(8)),
        ("an approval before the creation does not", vec![queued(Some(5), Some(2), 9)], Some(5)),
        ("after a wait without its end, when we heard", vec![waiting, queued(Some(-days), None, 9)], Some(9)),
    ];
    for (why, records, demanded) in table {
        assert_eq!(all(&records).demanded_at(), demanded.map(at), "{why}");
    }
}

#[test]
fn of_two_completions_the_later_wins_and_the_start_is_kept() {
    let (early, late) = (completed(8, Conclusion::Failure), completed(9, Conclusion::Success));
    assert_eq!(join(&early, &late).completed.unwrap().conclusion, Conclusion::Success);
    let graver = completed(9, Conclusion::Failure);
    assert_eq!(join(&late, &graver).completed.unwrap().conclusion, Conclusion::Failure);

    let ran_on = RunnerRef { id: None, name: RunnerName::new("one") };
    let mut ran = early.clone();
    ran.completed.as_mut().unwrap().runner = Some(ran_on.clone());
    let cancelled = completed(9, Conclusion::Cancelled);
    let both = join(&ran, &cancelled);
    assert_eq!(both.completed.as_ref().unwrap().conclusion, Conclusion::Cancelled);
    assert_eq!(both.runner(), Some(&ran_on));
    assert!(both.started_at().is_some(), "it did run, whatever the second completion leaves out");
}

fn report() -> impl Strategy<Value = Report> {
    let order = || 1..3u32;
    prop_oneof![
        Just(Report::Claimed),
        (1..3u32).prop_map(|n| Report::Registered(registration(&machine_number(1), n))),
        Just(Report::Listening),
        Just(Report::Busy),
        any::<bool>().prop_map(|ran_job| Report::Done { ran_job }),
        order().prop_map(|order| Report::Frozen { order }),
        order().prop_map(|order| Report::Thawed { order }),
        Just(Report::Unseen),
        Just(Report::Drained),
        Just(Report::Interrupted),
        prop::sample::select(vec!["no disk", "no network"]).prop_map(|why| Report::Failed { why: why.into() }),
    ]
}

fn machine_number(n: u32) -> Machine {
    let purpose = purpose(&FLEET, "linux/cpu-2/on-demand", None, "a", Origin::Cold);
    Machine::launched(instance(n), &launch("before", purpose, 1, at(0)), at(0))
}

fn machine_event() -> impl Strategy<Value = MachineEvent> {
    (1..3u32, 0..3u32, instant(), report()).prop_map(|(n, session, at, report)| MachineEvent {
        instance: instance(n),
        session,
        at,
        report,
    })
}

proptest! {
    #[test]
    fn a_machine_does_not_depend_on_the_order_of_its_reports(
        (events, shuffled) in vec(machine_event(), 1..12).prop_flat_map(disordered),
        drained in any::<bool>(),
    ) {
        let hear_all = |events: &[MachineEvent]| {
            let mut machine = machine_number(1);
            let drain = fixture::machine(1, &machine.purpose, "frozen-removed", at(1)).drain;
            machine.drain = drain.filter(|_| drained);
            events.iter().for_each(|event| machine.hear(event));
            machine
        };
        prop_assert_eq!(hear_all(&events), hear_all(&shuffled));
    }
}

#[test]
fn a_new_session_leaves_the_drain_of_the_one_before() {
    let purpose = purpose(&FLEET, "linux/cpu-2/on-demand", None, "a", Origin::Cold);
    for phase in ["draining", "frozen", "frozen-removed", "killed"] {
        let mut machine = machine(1, &purpose, phase, at(0));
        machine.hear(&MachineEvent { instance: instance(1), session: 2, at: at(9), report: Report::Claimed });
        assert_eq!(machine.phase(), MachinePhase::Ready(at(9)), "{phase}");
        assert!(machine.open_drain().is_none());
        assert_eq!(machine.next_drain_order(), 2, "numbers are not used again");
    }
}

#[test]
fn a_listener_without_its_registration_is_not_idle() {
    let purpose = purpose(&FLEET, "linux/cpu-2/on-demand", None, "a", Origin::Cold);
    let mut machine = machine(1, &purpose, "killed", at(0));
    hear(&mut machine, at(5), Report::Thawed { order: 1 });
    assert_eq!(machine.phase(), MachinePhase::Draining(at(-2)));
    hear(&mut machine, at(6), Report::Busy);
    assert_eq!(machine.phase(), MachinePhase::Busy(at(6)), "a job had reached it before");
    machine.drain.as_mut().unwrap().removal = Some(Removal::Busy);
    assert_eq!(machine.phase(), MachinePhase::Busy(at(6)));
}

fn fact() -> impl Strategy<Value = Fact> {
    let cloud = (1..3u32, instant(), any::<bool>()).prop_map(|(n, at, warned)| CloudEvent {
        instance: instance(n),
        at,
        kind: if warned { CloudEventKind::InterruptionNotice } else { CloudEventKind::Terminated },
    });
    prop_oneof![
        3 => event(NAMES).prop_map(|(event, received_at)| Fact { received_at, body: FactBody::Job(event) }),
        3 => machine_event().prop_map(|mut event| {
            if let Report::Registered(_) = event.report {
                // A session has one registration, and its number is in the runner's name.
                let machine = machine_number(if event.instance == instance(1) { 1 } else { 2 });
                event.report = Report::Registered(registration(&machine, event.session));
            }
            Fact { received_at: event.at, body: FactBody::Machine(event) }
        }),
        1 => cloud.prop_map(|event| Fact { received_at: event.at, body: FactBody::Cloud(event) }),
    ]
}

#[derive(Debug, PartialEq)]
struct Outcome {
    jobs: BTreeMap<JobKey, JobRecord>,
    machines: Vec<Machine>,
    news: Vec<News>,
}

/// Merges facts as ticks do: so many in each, with the stored records of finished jobs put in first.
fn tick(facts: &[Fact], in_a_tick: usize) -> Outcome {
    let machines = vec![machine_number(1), machine_number(2)];
    let mut world = World::from_snapshot(Snapshot { machines, ..Snapshot::default() }, &FLEET);
    let (mut jobs, mut news) = (BTreeMap::new(), Vec::new());
    for facts in facts.chunks(in_a_tick) {
        let mut merged = Merged::default();
        merged.jobs = jobs.clone().into_iter().filter(|(key, _)| world.job(*key).is_none()).collect();
        facts.iter().for_each(|fact| world.merge(fact, &FLEET, &mut merged));
        jobs.extend(merged.jobs);
        news.extend(merged.news);
    }
    let live: Vec<JobKey> = world.jobs().map(|job| job.record.key).collect();
    let open = jobs.values().filter(|record| record.phase() != JobPhase::Completed);
    assert_eq!(live, open.map(|record| record.key).collect::<Vec<_>>(), "the world holds the jobs that are not over");
    news.sort_by_key(|news| format!("{news:?}"));
    Outcome { jobs, machines: world.machines().cloned().collect(), news }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_tick_does_not_depend_on_the_order_of_its_facts(
        (facts, shuffled) in vec(fact(), 1..16).prop_flat_map(disordered)
    ) {
        prop_assert_eq!(tick(&facts, usize::MAX), tick(&shuffled, usize::MAX));
    }

    #[test]
    fn ticks_do_not_depend_on_where_they_part(
        (facts, shuffled) in vec(fact(), 1..16).prop_flat_map(disordered),
        in_a_tick in 1..5usize,
    ) {
        let (mut once, mut parted) = (tick(&facts, usize::MAX), tick(&shuffled, in_a_tick));
        for machine in once.machines.iter_mut().chain(&mut parted.machines) {
            // A job that is over and gone from the world is not looked up again when its runner turns up in a later tick.
            (machine.job, machine.job_over_at) = (None, None);
        }
        prop_assert_eq!(once, parted);
    }

    #[test]
    fn news_are_told_once(facts in vec(fact(), 1..16), in_a_tick in 1..20usize) {
        let mut news = tick(&facts, in_a_tick).news;
        let count = news.len();
        news.dedup();
        prop_assert_eq!(news.len(), count);
    }
}

#[test]
fn a_job_finds_its_machine_whichever_is_heard_of_first() {
    let about = about("acme/api", "linux");
    let registered = registration(&machine_number(1), 1);
    let runner = Some(RunnerRef { id: Some(registered.id), name: registered.name.clone() });
    let started = JobEvidence::InProgress(Started { started_at: at(1), runner });
    let job = Fact { received_at: at(2), body: FactBody::Job(JobEvent { key: key(1), about, evidence: started }) };
    let report = MachineEvent { instance: instance(1), session: 1, at: at(0), report: Report::Registered(registered) };
    let minted = Fact { received_at: at(0), body: FactBody::Machine(report) };
    for facts in [[job.clone(), minted.clone()], [minted, job]] {
        for in_a_tick in [1, 2] {
            assert_eq!(tick(&facts, in_a_tick).machines[0].job, Some(key(1)));
        }
    }
}

/// What its agent says of that job then is not asked.
#[test]
fn a_machine_is_told_when_github_says_that_its_job_is_over() {
    let about = about("acme/api", "linux");
    let registered = registration(&machine_number(1), 1);
    let runner = Some(RunnerRef { id: Some(registered.id), name: registered.name.clone() });
    let job = |evidence| {
        let event = JobEvent { key: key(1), about: about.clone(), evidence };
        Fact { received_at: at(4), body: FactBody::Job(event) }
    };
    let started = job(JobEvidence::InProgress(Started { started_at: at(1), runner }));
    // A completion may name no runner.
    let over = Completed { completed_at: at(3), conclusion: Conclusion::Success, started_at: None, runner: None };
    let completed = job(JobEvidence::Completed(over));
    let report = |report| {
        let event = MachineEvent { instance: instance(1), session: 1, at: at(2), report };
        Fact { received_at: at(2), body: FactBody::Machine(event) }
    };
    let (minted, busy) = (report(Report::Registered(registered)), report(Report::Busy));
    for in_a_tick in 1..=4 {
        let facts = [minted.clone(), started.clone(), busy.clone(), completed.clone()];
        let machine = &tick(&facts, in_a_tick).machines[0];
        assert_eq!(machine.overstays_since(), Some(at(3)));
        assert_eq!(tick(&facts[..3], in_a_tick).machines[0].overstays_since(), None);
        let done = report(Report::Done { ran_job: true });
        let facts = [minted.clone(), started.clone(), completed.clone(), done];
        assert_eq!(tick(&facts, in_a_tick).machines[0].overstays_since(), None);
    }
}

#[test]
fn both_ways_of_an_interruption_are_one_news() {
    let notice = CloudEvent { instance: instance(1), at: at(3), kind: CloudEventKind::InterruptionNotice };
    let notice = Fact { received_at: at(3), body: FactBody::Cloud(notice) };
    let report = MachineEvent { instance: instance(1), session: 0, at: at(2), report: Report::Interrupted };
    let report = Fact { received_at: at(2), body: FactBody::Machine(report) };
    for facts in
        [vec![notice.clone()], vec![report.clone()], vec![notice.clone(), report.clone()], vec![report, notice]]
    {
        assert_eq!(tick(&facts, 1).news, [News::Interrupted(instance(1))]);
    }
}

#[test]
fn a_finished_job_is_revived_by_nothing() {
    let said = |evidence, second| Fact {
        received_at: at(second),
        body: FactBody::Job(JobEvent { key: key(1), about: about("acme/api", "linux"), evidence }),
    };
    let over = Completed { completed_at: at(1), conclusion: Conclusion::Success, started_at: None, runner: None };
    let queued = JobEvidence::Queued { created_at: Some(at(0)), approved_at: None };
    let facts = [said(JobEvidence::Completed(over), 1), said(queued, 2)];
    let outcome = tick(&facts, 1);
    assert_eq!(outcome.jobs[&key(1)].phase(), JobPhase::Completed);
    assert_eq!(outcome.jobs[&key(1)].first_heard, at(1));
}
