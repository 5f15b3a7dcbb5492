//! The two ledgers answer every sequence of calls alike.

use super::scratch;
use std::collections::BTreeSet;
use std::fmt::Debug;

use muster_core::claim::Order;
use muster_core::fact::Fact;
use muster_core::ids::{Generation, JobId, JobKey};
use muster_core::job::JobRecord;
use muster_core::machine::{Market, Report};
use muster_core::ports::{Batch, Switch};
use muster_core::time::Timestamp;
use muster_store::contract::samples::{
    at, claim, completed, hold, in_progress, instance, job, launch, machine, merged, minted, queued, report, terminated,
};
use muster_store::{SqliteOptions, Upkeep};
use proptest::prelude::*;

const DAY: i64 = 24 * 3_600_000;

/// What a commit is made of; facts are named by their place among the new ones.
#[derive(Clone, Debug)]
struct Plan {
    stale: bool,
    merged: Vec<usize>,
    aside: Vec<usize>,
    jobs: Vec<JobRecord>,
    machines: Vec<u32>,
    forgotten: Vec<u32>,
    launches: Vec<u32>,
    settled: Vec<u32>,
    orders: Vec<(u32, u32)>,
    holds: Vec<(bool, i64)>,
}

#[derive(Clone, Debug)]
enum Step {
    Put(Fact),
    PutRaw(i64, bool),
    NewFacts(usize),
    Load,
    Jobs(Vec<JobKey>),
    Commit(Box<Plan>),
    Switch(Switch),
    Machine(u32),
    Claim(u32),
    PutClaim(u32, u32, i64),
    PutMinted(u32, u32, i64),
    Attach(u32, u32, i64),
    DropConfig(u32, u32),
    Unminted,
    Order(u32),
    Touch(u32, i64),
    Lease(u32),
    Once(i64, i64),
    PutConfig(String),
    Config,
    PutNote(bool, String),
    Note(bool),
    History(i64),
    Prune(i64),
    Page(Option<JobKey>, usize),
    SetAside(usize),
    ByKey(Fact),
    Counts,
}

fn instant() -> impl Strategy<Value = i64> + Clone {
    prop_oneof![3 => 0..20_i64, 1 => (0..4_i64).prop_map(|n| n * 20 * DAY)]
}

fn key() -> impl Strategy<Value = JobKey> {
    (0..4_i64, 1..3_u32).prop_map(|(number, attempt)| JobKey { attempt, ..job(number) })
}

fn job_fact() -> impl Strategy<Value = Fact> {
    (key(), instant(), 0..3).prop_map(|(key, when, kind)| match kind {
        0 => queued(key, when),
        1 => in_progress(key, when),
        _ => completed(key, when),
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        6 => job_fact(),
        1 => (0..3_u32, instant()).prop_map(|(number, when)| report(number, Report::Busy, when)),
        1 => (0..3_u32, instant()).prop_map(|(number, when)| terminated(number, when)),
    ]
}

fn record() -> impl Strategy<Value = JobRecord> {
    (key(), prop::collection::vec(job_fact(), 1..4)).prop_map(|(key, facts)| {
        let mut record = merged(&facts).unwrap();
        record.key = key;
        record
    })
}

fn few<T: Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, 0..4)
}

fn plan() -> impl Strategy<Value = Plan> {
    let facts = (prop::bool::weighted(0.1), few(0..6_usize), few(0..6_usize), few(record()));
    let rows = (few(0..3_u32), few(0..3_u32), few(0..3_u32), few(0..3_u32));
    let rest = (few((0..3_u32, 0..5_u32)), few((any::<bool>(), instant())));
    (facts, rows, rest).prop_map(
        |((stale, merged, aside, jobs), (machines, mut forgotten, launches, settled), (orders, holds))| {
            forgotten.truncate(1);
            Plan { stale, merged, aside, jobs, machines, forgotten, launches, settled, orders, holds }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let (number, session) = (0..3_u32, 1..4_u32);
    let claiming = (number.clone(), session.clone(), instant());
    let switch = prop_oneof![Just(Switch::Run), Just(Switch::NoLaunch), Just(Switch::Freeze)];
    prop_oneof![
        8 => fact().prop_map(Step::Put),
        1 => (0..5_i64, any::<bool>()).prop_map(|(number, reads)| Step::PutRaw(number, reads)),
        2 => (0..5_usize).prop_map(Step::NewFacts),
        2 => Just(Step::Load),
        2 => few(key()).prop_map(Step::Jobs),
        6 => plan().prop_map(|plan| Step::Commit(Box::new(plan))),
        1 => switch.prop_map(Step::Switch),
        1 => number.clone().prop_map(Step::Machine),
        1 => number.clone().prop_map(Step::Claim),
        2 => claiming.clone().prop_map(|(n, s, when)| Step::PutClaim(n, s, when)),
        1 => claiming.clone().prop_map(|(n, s, when)| Step::PutMinted(n, s, when)),
        2 => claiming.prop_map(|(n, s, when)| Step::Attach(n, s, when)),
        1 => (number.clone(), session).prop_map(|(n, s)| Step::DropConfig(n, s)),
        1 => Just(Step::Unminted),
        1 => number.clone().prop_map(Step::Order),
        1 => (number.clone(), instant()).prop_map(|(n, when)| Step::Touch(n, when)),
        1 => number.prop_map(Step::Lease),
        1 => (0..3_i64, instant()).prop_map(|(key, until)| Step::Once(key, until)),
        1 => "[a-z\"]{0,4}".prop_map(Step::PutConfig),
        1 => Just(Step::Config),
        1 => (any::<bool>(), "[a-z\"]{0,4}").prop_map(|(one, text)| Step::PutNote(one, text)),
        1 => any::<bool>().prop_map(Step::Note),
        1 => (0..4_i64).prop_map(Step::History),
        2 => instant().prop_map(Step::Prune),
        2 => (prop::option::of(key()), 0..6_usize).prop_map(|(after, max)| Step::Page(after, max)),
        1 => (0..4_usize).prop_map(Step::SetAside),
        1 => fact().prop_map(Step::ByKey),
        1 => Just(Step::Counts),
    ]
}

async fn commit<S: Upkeep>(store: &S, plan: &Plan) -> String {
    let new = store.new_facts(6).await.unwrap();
    let seq = |place: &usize| new.get(*place).map(|new| new.seq);
    let generation = store.generation().await.unwrap();
    let batch = Batch {
        merged: plan.merged.iter().filter_map(seq).collect(),
        set_aside: plan.aside.iter().filter_map(seq).map(|seq| (seq, "why".to_owned())).collect(),
        jobs: plan.jobs.clone(),
        machines: plan.machines.iter().map(|number| machine(*number)).collect(),
        forgotten: plan.forgotten.iter().map(|number| instance(*number)).collect(),
        launches: plan.launches.iter().map(|number| launch(*number)).collect(),
        settled: plan.settled.iter().map(|number| launch(*number).id).collect(),
        orders: plan.orders.iter().map(|(n, number)| (instance(*n), Order::Drain { number: *number })).collect(),
        holds: plan
            .holds
            .iter()
            .map(|(spot, until)| hold("a", if *spot { Market::Spot } else { Market::OnDemand }, *until))
            .collect(),
    };
    let expected = Generation(generation.0 + u64::from(plan.stale));
    format!("{:?}", store.commit(&batch, expected).await)
}

fn note(one: bool) -> &'static str {
    if one { "one" } else { "other" }
}

/// Does a step and tells the answer. Places of facts are left out: only their order is promised.
async fn answer<S: Upkeep>(store: &S, step: &Step) -> String {
    let told: &dyn Debug = match step {
        Step::Put(fact) => &store.put_fact(fact).await,
        Step::PutRaw(number, reads) => {
            let body =
                if *reads { serde_json::to_string(&queued(job(*number), 0).body).unwrap() } else { "{}".to_owned() };
            &store.put_raw(&format!("raw:{number}"), at(*number), &body).await
        }
        Step::NewFacts(max) => {
            &store.new_facts(*max).await.map(|new| new.into_iter().map(|new| new.fact).collect::<Vec<_>>())
        }
        Step::Load => &store.load().await,
        Step::Jobs(keys) => &store.jobs(keys).await,
        Step::Commit(plan) => &commit(store, plan).await,
        Step::Switch(switch) => &store.set_switch(*switch).await,
        Step::Machine(number) => &store.machine(&instance(*number)).await,
        Step::Claim(number) => &store.claim(&instance(*number)).await,
        Step::PutClaim(number, session, when) => &store.put_claim(&claim(*number, *session, *when)).await,
        Step::PutMinted(number, session, when) => &store.put_claim(&minted(&claim(*number, *session, *when), 5)).await,
        Step::Attach(number, session, when) => {
            &store.attach_config(&minted(&claim(*number, *session, *when), *when)).await
        }
        Step::DropConfig(number, session) => &store.drop_config(&instance(*number), *session).await,
        Step::Unminted => &store.unminted().await,
        Step::Order(number) => &store.order(&instance(*number)).await,
        Step::Touch(number, when) => &store.touch_lease(&instance(*number), at(*when)).await,
        Step::Lease(number) => &store.lease(&instance(*number)).await,
        Step::Once(key, until) => &store.use_once(&key.to_string(), at(*until)).await,
        Step::PutConfig(text) => &store.put_config(text).await,
        Step::Config => &store.config().await,
        Step::PutNote(one, text) => &store.put_note(note(*one), text).await,
        Step::Note(one) => &store.note(note(*one)).await,
        Step::History(number) => &store.history(JobId(*number)).await,
        Step::Prune(now) => &store.prune(at(*now)).await,
        Step::Page(after, max) => &store.ledger_page(*after, *max).await,
        Step::SetAside(max) => &store
            .set_aside(*max)
            .await
            .map(|aside| aside.into_iter().map(|a| (a.key, a.received_at, a.body, a.reason)).collect::<Vec<_>>()),
        Step::ByKey(fact) => &store.fact_by_key(&fact.key()).await,
        Step::Counts => &store.counts().await,
    };
    format!("{told:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_file_answer_alike(steps in prop::collection::vec(step(), 1..60)) {
        let memory = scratch::memory(true);
        let options = SqliteOptions { ledger: Some("00000000".to_owned()), ..scratch::quick() };
        let (_directory, path) = scratch::place();
        let file = muster_store::SqliteStore::open_direct(&path, &options).unwrap();
        let end = [Step::Load, Step::Prune(100 * DAY), Step::Counts, Step::Page(None, 100), Step::NewFacts(100)];
        for step in steps.iter().chain(&end) {
            let (memory, file) =
                (scratch::ready(answer(&memory.store, step)), scratch::ready(answer(&file, step)));
            prop_assert_eq!(memory, file, "{:?}", step);
        }
    }

    /// With or without history, a finished job is finished and the rest is the same.
    #[test]
    fn a_lean_memory_knows_the_same_jobs(steps in prop::collection::vec(step(), 1..60)) {
        let (lean, whole) = (scratch::memory(false), scratch::memory(true));
        let outline = |record: JobRecord| {
            let end = record.completed.as_ref().map(|completed| (completed.completed_at, completed.conclusion.clone()));
            (record.key, record.phase(), record.first_heard, end)
        };
        let mut seen = BTreeSet::new();
        let end = Step::Load;
        for step in steps.iter().chain([&end]) {
            // A fact that was merged and dropped would be new when it comes again.
            let key = if let Step::Put(fact) = step {
                Some(fact.key())
            } else if let Step::PutRaw(number, _) = step {
                Some(number.to_string())
            } else {
                None
            };
            if key.is_some_and(|key| !seen.insert(key)) {
                continue;
            }
            let (lean, whole) = (scratch::ready(answer(&lean.store, step)), scratch::ready(answer(&whole.store, step)));
            // Also what is set aside: which of it is pruned depends on the merged facts around it.
            let by_history = matches!(
                step,
                Step::Jobs(_) | Step::History(_) | Step::Prune(_) | Step::SetAside(_) | Step::Page(..) | Step::ByKey(_) | Step::Counts
            );
            if !by_history {
                prop_assert_eq!(lean, whole, "{:?}", step);
            }
        }
        let all = |store: &muster_store::MemoryStore| {
            let records = scratch::ready(store.ledger()).unwrap();
            records.into_iter().map(outline).collect::<Vec<_>>()
        };
        prop_assert_eq!(all(&lean.store), all(&whole.store));
    }
}

#[test]
fn instants_reach_past_the_retention() {
    let far: Timestamp = at(60 * DAY);
    assert!(far > at(0) + muster_store::JOB_RETENTION);
}
