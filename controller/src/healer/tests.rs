//! The healer against a GitHub that remembers what a test tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use futures_util::FutureExt;
use muster_core::config::FleetConfig;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{Generation, JobId, JobKey, RunId, RunnerId, RunnerName};
use muster_core::job::{Completed, Conclusion, JobAbout, JobEvent, JobEvidence, JobRecord, RunnerRef, Started};
use muster_core::machine::{Removal, instance_of};
use muster_core::ports::{Batch, FailedDelivery, GithubError, Listed, MintRequest, Minted};
use muster_core::release::{Release, Retirement};
use muster_core::rerun::{JobNow, RunNow};
use muster_store::{MemoryOptions, MemoryStore};
use muster_webhook::bell::NotifyBell;
use muster_webhook::live::LiveConfig;
use serde_json::json;

use super::log::{LOOK_BACK, OVERLAP, PAYLOADS_MAX};
use super::*;
use crate::clock::VirtualClock;

const START: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);
const CONFIG: &str = r#"
[github]
organization = "acme"
organization_id = 7
webhook_secrets = ["env:SECRET"]
[[github.app]]
id = 1
private_key = "env:KEY"
[fleet]
name = "test"
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["linux"]
[pool.sizes.small]
instance_types = ["c7i.large"]
"#;

pub(super) fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

#[derive(Default)]
pub(super) struct Memory {
    failed: Vec<FailedDelivery>,
    payloads: BTreeMap<Arc<str>, Vec<u8>>,
    pub(super) jobs: BTreeMap<JobId, JobEvent>,
    pub(super) pushed: Vec<Arc<str>>,
    pub(super) waiting: BTreeMap<Arc<str>, Vec<JobEvent>>,
    pub(super) listed: Vec<Listed>,
    pub(super) runs: BTreeMap<RunId, RunNow>,
    pub(super) of_run: Vec<JobNow>,
    /// Runs after which another of their workflow has begun on their branch.
    pub(super) superseded: BTreeSet<RunId>,
    pub(super) offered: Vec<Release>,
    pub(super) retirements: BTreeMap<Release, Retirement>,
    /// The runs that the last sweep of a repository was to let be.
    pub(super) let_be: BTreeSet<RunId>,
    /// Requests in order, by a word.
    pub(super) asked: Vec<String>,
    /// Refuses the request with this word, once.
    pub(super) refuse: Option<(String, GithubError)>,
    since: Vec<Timestamp>,
}

/// A GitHub that remembers.
#[derive(Default)]
pub(super) struct Remembers(Mutex<Memory>);

impl Remembers {
    pub(super) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }

    fn ask(&self, word: String) -> Result<MutexGuard<'_, Memory>, GithubError> {
        let mut memory = self.lock();
        memory.asked.push(word.clone());
        match memory.refuse.take_if(|(refused, _)| *refused == word) {
            Some((_, error)) => Err(error),
            None => Ok(memory),
        }
    }
}

impl Records for Remembers {
    async fn failed_since(&self, since: Timestamp) -> Result<Vec<FailedDelivery>, GithubError> {
        let mut memory = self.ask("log".to_owned())?;
        memory.since.push(since);
        Ok(memory.failed.iter().filter(|failed| failed.delivered_at >= since).cloned().collect())
    }

    async fn payload(&self, of: &FailedDelivery) -> Result<Option<Vec<u8>>, GithubError> {
        Ok(self.ask(format!("payload {}", of.place))?.payloads.get(&of.place).cloned())
    }

    async fn job(&self, _about: &JobAbout, job: JobId) -> Result<Option<JobEvent>, GithubError> {
        Ok(self.ask(format!("job {job}"))?.jobs.get(&job).cloned())
    }

    async fn pushed_since(&self, _since: Timestamp) -> Result<Vec<Arc<str>>, GithubError> {
        Ok(self.ask("pushed".to_owned())?.pushed.clone())
    }

    async fn waiting(&self, repository: &str, let_be: &BTreeSet<RunId>) -> Result<Option<Vec<JobEvent>>, GithubError> {
        let mut memory = self.ask(format!("waiting {repository}"))?;
        memory.let_be = let_be.clone();
        Ok(memory.waiting.get(repository).cloned())
    }

    async fn registrations(&self) -> Result<Vec<Listed>, GithubError> {
        Ok(self.ask("registrations".to_owned())?.listed.clone())
    }

    async fn offered(&self) -> Result<Vec<Release>, GithubError> {
        Ok(self.ask("offered".to_owned())?.offered.clone())
    }

    async fn retirement(&self, of: Release) -> Result<Option<Retirement>, GithubError> {
        Ok(self.ask(format!("retirement {of}"))?.retirements.get(&of).copied())
    }
}

impl Runs for Remembers {
    async fn run(&self, _repository: &str, run: RunId) -> Result<Option<RunNow>, GithubError> {
        Ok(self.ask(format!("run {run}"))?.runs.get(&run).cloned())
    }

    async fn run_jobs(&self, _repository: &str, run: RunId, attempt: u32) -> Result<Vec<JobNow>, GithubError> {
        Ok(self.ask(format!("jobs of {run} #{attempt}"))?.of_run.clone())
    }

    async fn is_superseded(&self, _repository: &str, run: RunId) -> Result<bool, GithubError> {
        Ok(self.ask(format!("later than {run}"))?.superseded.contains(&run))
    }

    async fn cancel(&self, _repository: &str, run: RunId, force: bool) -> Result<(), GithubError> {
        let word = if force { "force-cancel" } else { "cancel" };
        self.ask(format!("{word} {run}")).map(|_| ())
    }

    async fn rerun_failed(&self, _repository: &str, run: RunId) -> Result<(), GithubError> {
        let word = format!("rerun {run}");
        // It takes effect, whatever becomes of the answer: but for a refusal.
        let asked = self.ask(word);
        let lost = matches!(asked, Err(GithubError::Unknown(_)));
        if asked.is_ok() || lost {
            drop(asked);
            let mut memory = self.lock();
            let now = memory.runs.get_mut(&run).unwrap();
            (now.attempt, now.conclusion) = (now.attempt + 1, None);
            return if lost { Err(GithubError::Unknown("a test".to_owned())) } else { Ok(()) };
        }
        asked.map(|_| ())
    }
}

impl Github for Remembers {
    async fn mint(&self, _request: &MintRequest) -> Result<Minted, GithubError> {
        Err(GithubError::Rejected("the healer mints nothing".to_owned()))
    }

    async fn remove(&self, runner: RunnerId) -> Result<Removal, GithubError> {
        let mut memory = self.ask(format!("remove {runner}"))?;
        memory.listed.retain(|listed| listed.id != runner);
        Ok(Removal::Gone)
    }
}

pub(super) struct Fleet {
    clock: VirtualClock,
    pub(super) store: Arc<MemoryStore>,
    pub(super) records: Arc<Remembers>,
    healer: Healer<MemoryStore, Remembers, VirtualClock>,
    text: String,
}

impl Fleet {
    pub(super) fn new() -> Fleet {
        Fleet::of(CONFIG.to_owned())
    }

    /// Whose pool wants interrupted jobs run again, once.
    pub(super) fn rerunning() -> Fleet {
        Fleet::of(CONFIG.replace("labels = [\"linux\"]", "labels = [\"linux\"]\nrerun_interrupted = 1"))
    }

    fn of(text: String) -> Fleet {
        let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
        let (clock, records) = (VirtualClock::at(START), Arc::new(Remembers::default()));
        let healer = healer(&store, &records, &clock, &text);
        Fleet { clock, store, records, healer, text }
    }

    /// Another process over the same ledger.
    pub(super) fn restart(&mut self) {
        self.healer = healer(&self.store, &self.records, &self.clock, &self.text);
    }

    pub(super) fn step_at(&mut self, seconds: u64) -> Healed {
        self.clock.set(at(seconds));
        self.healer.step().now_or_never().expect("ready at once")
    }

    /// Nothing begins after `until`.
    fn step_until(&mut self, seconds: u64, until: u64) -> Healed {
        self.clock.set(at(seconds));
        self.healer.step_until(at(until)).now_or_never().expect("ready at once")
    }

    /// What was asked since the last such question.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut self.records.lock().asked);
        // What comes of it has tests of its own.
        asked.retain(|word| word != "registrations" && word != "offered");
        asked
    }

    pub(super) fn facts(&self) -> Vec<(Timestamp, JobEvent)> {
        let facts = self.store.new_facts(1_000).now_or_never().unwrap().unwrap();
        let job = |fact: Fact| match fact.body {
            FactBody::Job(event) => Some((fact.received_at, event)),
            FactBody::Machine(_)
            | FactBody::Cloud(_)
            | FactBody::Group(_)
            | FactBody::Prewarmed(_)
            | FactBody::Release(_) => None,
        };
        facts.into_iter().filter_map(|fact| job(fact.fact.unwrap())).collect()
    }

    /// A delivery that failed then.
    fn fails(&self, job: i64, action: &str, seconds: u64) {
        let place: Arc<str> = format!("app/1/{job}-{action}").into();
        let mut memory = self.records.lock();
        memory.payloads.insert(place.clone(), payload(job, action, 7));
        let (guid, action) = (format!("guid-{job}").into(), action.into());
        memory.failed.push(FailedDelivery { place, guid, delivered_at: at(seconds), action });
    }

    /// A job that the ledger knows.
    pub(super) fn knows(&self, event: &JobEvent, seconds: u64) {
        let record = JobRecord::from_event(event, at(seconds));
        let batch = Batch { jobs: vec![record], ..Batch::default() };
        let generation = self.store.generation().now_or_never().unwrap().unwrap();
        let _: Generation = self.store.commit(&batch, generation).now_or_never().unwrap().unwrap();
    }
}

fn healer(
    store: &Arc<MemoryStore>,
    records: &Arc<Remembers>,
    clock: &VirtualClock,
    text: &str,
) -> Healer<MemoryStore, Remembers, VirtualClock> {
    let parsed = FleetConfig::parse("test.toml", text);
    let config = Arc::new(LiveConfig::new(parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors))));
    let intake = Intake::new(store.clone(), config, Arc::new(NotifyBell::default()));
    Healer::new(store.clone(), records.clone(), clock.clone(), intake)
}

fn payload(job: i64, action: &str, organization: i64) -> Vec<u8> {
    let job = json!({
        "id": job, "run_id": job * 10, "run_attempt": 1, "status": "queued", "labels": ["linux"],
        "created_at": START.to_string(), "started_at": START.to_string(),
    });
    let body = json!({
        "action": action, "workflow_job": job, "repository": {"full_name": "acme/api", "private": true},
        "organization": {"id": organization},
    });
    body.to_string().into_bytes()
}

pub(super) fn told(job: i64, labels: &str, repository: &str, evidence: JobEvidence) -> JobEvent {
    let about = JobAbout {
        run: RunId(job * 10),
        repository: repository.into(),
        public: false,
        labels: Arc::new([labels.into()]),
        workflow: None,
        name: None,
    };
    JobEvent { key: JobKey { job: JobId(job), attempt: 1 }, about, evidence }
}

pub(super) fn queued() -> JobEvidence {
    JobEvidence::Queued { created_at: Some(START), approved_at: None }
}

fn running(seconds: u64) -> JobEvidence {
    JobEvidence::InProgress(Started { started_at: at(seconds), runner: None })
}

fn completed(seconds: u64) -> JobEvidence {
    let (completed_at, conclusion) = (at(seconds), Conclusion::Success);
    JobEvidence::Completed(Completed { completed_at, conclusion, started_at: None, runner: None })
}

pub(super) fn keys(jobs: &[i64]) -> Vec<JobKey> {
    jobs.iter().map(|job| JobKey { job: JobId(*job), attempt: 1 }).collect()
}

#[test]
fn a_delivery_that_failed_is_taken_in_once_as_of_when_github_tried() {
    let mut fleet = Fleet::new();
    fleet.fails(1, "queued", 30);
    fleet.fails(1, "in_progress", 40);
    let healed = fleet.step_at(60);
    assert_eq!(healed.deliveries, [(keys(&[1])[0], Duration::from_secs(30))]);
    assert_eq!(healed.troubles, [""; 0]);
    let facts = fleet.facts();
    assert_eq!(facts.len(), 1);
    assert_eq!((facts[0].0, &facts[0].1.evidence), (at(30), &queued()));
    assert_eq!(fleet.asked()[..2], ["log", "payload app/1/1-queued"]);
    assert_eq!(fleet.step_at(120), Healed::default());
    assert_eq!(fleet.asked(), ["log"], "no request for what is healed");
}

#[test]
fn what_may_be_over_by_now_is_asked_for_first() {
    let mut fleet = Fleet::new();
    for (job, evidence) in [(1, Some(queued())), (2, Some(running(50))), (3, Some(completed(60))), (4, None)] {
        fleet.fails(job, "queued", 10);
        if let Some(evidence) = evidence {
            fleet.records.lock().jobs.insert(JobId(job), told(job, "linux", "acme/api", evidence));
        }
    }
    let healed = fleet.step_at(600);
    assert_eq!(healed.deliveries.len(), 4);
    let facts: Vec<_> = fleet.facts().into_iter().map(|(_, event)| (event.key.job.0, event.evidence)).collect();
    // The end comes before the beginning: nobody takes it for demand in between.
    assert_eq!(
        facts,
        [(1, queued()), (2, running(50)), (2, queued()), (3, completed(60)), (3, queued()), (4, queued())]
    );
}

#[test]
fn strangers_and_what_does_not_read_are_left_out() {
    let mut fleet = Fleet::new();
    for job in 1..=3 {
        fleet.fails(job, "queued", 30);
    }
    fleet.records.lock().payloads.insert("app/1/1-queued".into(), payload(1, "queued", 8));
    fleet.records.lock().payloads.insert("app/1/2-queued".into(), b"{".to_vec());
    fleet.records.lock().payloads.remove("app/1/3-queued");
    let healed = fleet.step_at(60);
    assert_eq!((healed.deliveries.len(), healed.troubles.len()), (0, 1), "{healed:?}");
    assert!(healed.troubles[0].contains("guid-2 is left out"), "{healed:?}");
    fleet.asked();
    fleet.step_at(120);
    assert_eq!(fleet.asked(), ["log"], "none of them is read again");
}

/// What could not be read is tried again, and no other delivery is read twice for it; another process begins there too.
#[test]
fn a_refusal_costs_no_delivery() {
    let mut fleet = Fleet::new();
    for job in 1..=3 {
        fleet.fails(job, "queued", u64::try_from(job).unwrap() * 10);
    }
    let limited = GithubError::Limited { until: at(100) };
    fleet.records.lock().refuse = Some(("payload app/1/2-queued".to_owned(), limited));
    let healed = fleet.step_at(60);
    assert_eq!(healed.deliveries.len(), 1);
    assert!(healed.troubles[0].contains("guid-2"), "{healed:?}");
    fleet.asked();
    let healed = fleet.step_at(110);
    assert_eq!(healed.deliveries.len(), 2);
    assert_eq!(fleet.asked(), ["log", "payload app/1/2-queued", "payload app/1/3-queued"]);
    fleet.records.lock().refuse = Some(("log".to_owned(), GithubError::Unknown("a test".to_owned())));
    assert!(fleet.step_at(170).troubles[0].contains("log of deliveries"));
    assert_eq!(fleet.facts().len(), 3);
}

#[test]
fn a_delivery_that_github_does_not_let_us_read_holds_up_no_other() {
    let mut fleet = Fleet::new();
    for job in 1..=3 {
        fleet.fails(job, "queued", 10 * u64::try_from(job).unwrap());
    }
    fleet.records.lock().refuse = Some(("payload app/1/1-queued".to_owned(), GithubError::Rejected("451".to_owned())));
    let healed = fleet.step_at(60);
    assert_eq!((healed.deliveries.len(), healed.troubles.len()), (2, 1), "{healed:?}");
    let mut fleet = Fleet::new();
    fleet.fails(1, "queued", 10);
    fleet.records.lock().refuse = Some(("job 1".to_owned(), GithubError::Rejected("403".to_owned())));
    let healed = fleet.step_at(600);
    assert_eq!(
        (healed.deliveries.len(), healed.troubles.len()),
        (1, 1),
        "demand until somebody knows better: {healed:?}"
    );
}

#[test]
fn what_is_not_ours_or_known_to_have_begun_is_not_asked_for() {
    let mut fleet = Fleet::new();
    for job in 1..=3 {
        fleet.fails(job, "queued", 10);
    }
    let hosted = String::from_utf8(payload(2, "queued", 7)).unwrap().replace("[\"linux\"]", "[\"ubuntu-latest\"]");
    fleet.records.lock().payloads.insert("app/1/2-queued".into(), hosted.into_bytes());
    fleet.knows(&told(3, "linux", "acme/api", running(20)), 20);
    fleet.step_at(600);
    let asked: Vec<String> = fleet.asked().into_iter().filter(|word| word.starts_with("job ")).collect();
    assert_eq!(asked, ["job 1"]);
}

#[test]
fn another_process_goes_on_where_the_log_was_read_to() {
    let mut fleet = Fleet::new();
    fleet.step_at(0);
    fleet.step_at(3_600);
    fleet.restart();
    fleet.step_at(3_660);
    let since = fleet.records.lock().since.clone();
    assert_eq!(since[0], START - LOOK_BACK);
    assert_eq!(since[2], at(3_600) - OVERLAP);
    fleet.restart();
    fleet.step_at(10 * 24 * 3_600);
    let since = fleet.records.lock().since.clone();
    assert_eq!(since[3], at(9 * 24 * 3_600), "GitHub has failed what is older than a day");
}

#[test]
fn so_many_at_a_time() {
    let mut fleet = Fleet::new();
    let count = i64::try_from(PAYLOADS_MAX).unwrap() + 20;
    for job in 1..=count {
        fleet.fails(job, "queued", 1);
    }
    let healed = fleet.step_at(60);
    assert_eq!(healed.deliveries.len(), PAYLOADS_MAX);
    assert!(healed.troubles[0].contains("the next look"), "{:?}", healed.troubles);
    assert_eq!(fleet.step_at(120).deliveries.len(), 20);
}

#[test]
fn a_job_that_is_silent_for_long_is_asked_for_less_and_less_often() {
    let mut fleet = Fleet::new();
    fleet.knows(&told(1, "linux", "acme/api", queued()), 0);
    fleet.records.lock().jobs.insert(JobId(1), told(1, "linux", "acme/api", queued()));
    let mut asked_at = Vec::new();
    for seconds in (0..=7_200).step_by(300) {
        assert_eq!(fleet.step_at(seconds).silent, []);
        if fleet.asked().contains(&"job 1".to_owned()) {
            asked_at.push(seconds);
        }
    }
    assert_eq!(asked_at, [600, 1_200, 2_400, 4_800]);
    fleet.records.lock().jobs.insert(JobId(1), told(1, "linux", "acme/api", completed(5_000)));
    assert_eq!(fleet.step_at(9_000).silent, keys(&[1]));
    assert_eq!(fleet.facts().last().unwrap().1.evidence, completed(5_000));
}

/// No evidence that it is over: the App may not see the repository any more.
#[test]
fn a_job_that_github_does_not_show_stays() {
    let mut fleet = Fleet::new();
    fleet.knows(&told(1, "linux", "acme/api", queued()), 0);
    assert_eq!(fleet.step_at(600), Healed::default());
    assert!(fleet.asked().contains(&"job 1".to_owned()));
    assert_eq!(fleet.facts(), []);
}

/// GitHub ends every job in time by itself, so that what it has not shown for long after that is over.
#[test]
fn a_job_that_github_does_not_show_past_its_longest_life_is_over() {
    const HOUR: u64 = 3_600;
    let waits = |_: u64| JobEvidence::Waiting;
    for (evidence, hours) in [(queued(), 25), (running(0), 121), (waits(0), 35 * 24 + 1)] {
        let mut fleet = Fleet::new();
        fleet.knows(&told(1, "linux", "acme/api", evidence.clone()), 0);
        for seconds in [hours * HOUR - 2 * HOUR, hours * HOUR - HOUR] {
            assert_eq!(fleet.step_at(seconds).silent, [], "{evidence:?} at {seconds}");
        }
        assert_eq!(fleet.step_at(hours * HOUR).silent, keys(&[1]), "{evidence:?}");
        let over = |event: &JobEvent| matches!(&event.evidence, JobEvidence::Completed(told) if told.runner.is_none());
        assert!(fleet.facts().iter().any(|(_, event)| over(event)));
    }
    // It was shown an hour ago, so that one answer is no evidence.
    let mut fleet = Fleet::new();
    fleet.knows(&told(1, "linux", "acme/api", queued()), 0);
    fleet.records.lock().jobs.insert(JobId(1), told(1, "linux", "acme/api", queued()));
    fleet.step_at(24 * HOUR);
    fleet.records.lock().jobs.clear();
    assert_eq!((fleet.step_at(25 * HOUR).silent, fleet.step_at(26 * HOUR).silent), (vec![], keys(&[1])));
}

#[test]
fn neither_a_long_queue_nor_jobs_that_github_refuses_keep_an_orphan_waiting() {
    let mut fleet = Fleet::new();
    let runner = RunnerRef { id: None, name: RunnerName::new("linux-i-0123456789abcdef0-abcdef") };
    let started = JobEvidence::InProgress(Started { started_at: at(600), runner: Some(runner) });
    for job in 1..=100 {
        fleet.knows(&told(job, "linux", "acme/api", queued()), 0);
    }
    fleet.knows(&told(200, "linux", "acme/api", started), 600);
    fleet.step_at(900);
    let asked: Vec<String> = fleet.asked().into_iter().filter(|word| word.starts_with("job ")).collect();
    assert_eq!((asked.len(), asked[0].as_str()), (silent::ASKED_MAX, "job 200"));
    fleet.records.lock().refuse = Some(("job 20".to_owned(), GithubError::Rejected("403".to_owned())));
    fleet.step_at(1_200);
    fleet.asked();
    fleet.step_at(1_500);
    assert!(!fleet.asked().contains(&"job 20".to_owned()), "others have their turn first");
}

#[test]
fn what_there_is_no_time_for_is_for_the_next_step() {
    let mut fleet = Fleet::new();
    for job in 1..=3 {
        fleet.fails(job, "queued", 30);
    }
    fleet.records.lock().pushed = vec!["acme/api".into()];
    let healed = fleet.step_until(60, 60);
    assert_eq!(healed.deliveries, []);
    assert!(healed.troubles[0].contains("time is up"), "{:?}", healed.troubles);
    let asked = std::mem::take(&mut fleet.records.lock().asked);
    assert_eq!(asked, ["log"], "no list of registrations is begun either");
    assert_eq!(fleet.step_until(120, 180).deliveries.len(), 3);
    let asked = std::mem::take(&mut fleet.records.lock().asked);
    assert!(["waiting acme/api", "registrations"].iter().all(|word| asked.contains(&(*word).to_owned())), "{asked:?}");
}

#[test]
fn a_job_whose_machine_is_gone_is_asked_for_soon() {
    let mut fleet = Fleet::new();
    let runner = RunnerRef { id: None, name: RunnerName::new("linux-i-0123456789abcdef0-abcdef") };
    let started = JobEvidence::InProgress(Started { started_at: START, runner: Some(runner) });
    assert!(instance_of(&RunnerName::new("linux-i-0123456789abcdef0-abcdef")).is_some());
    fleet.knows(&told(1, "linux", "acme/api", started), 0);
    fleet.records.lock().jobs.insert(JobId(1), told(1, "linux", "acme/api", completed(100)));
    fleet.step_at(0);
    assert_eq!(fleet.step_at(300).silent, keys(&[1]), "long before it is silent for long");
}
