//! A toy scaler: one planner line, no ledger, no crypto. It drives a universe in tests and benches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use muster_core::ids::{ClassId, InstanceId, JobKey, LaunchId, RunnerName, Zone};
use muster_core::job::JobEvidence;
use muster_core::launch::{LAUNCH_MAX, Launch};
use muster_core::machine::{Origin, Purpose, runner_name};
use muster_core::ports::{GithubError, MintRequest};
use muster_core::protocol::AgentState;
use muster_core::time::Timestamp;
use muster_sim::{
    Catalog, Claimed, ClassInfo, Cut, Output, PriceList, Service, Settings, ShapeInfo, Summary, Trace, Universe,
    Webhook, ZONES,
};

#[derive(Default)]
struct ClassState {
    queued: BTreeSet<JobKey>,
    booting: i64,
    idle: i64,
    launches: u32,
}

enum Timer {
    Tick,
    Mint(InstanceId),
}

pub(crate) struct Toy {
    pub(crate) universe: Universe,
    /// Idle machines to keep in each class from its first job on.
    keep: i64,
    catalog: PriceList,
    classes: BTreeMap<ClassId, ClassState>,
    class_of: HashMap<InstanceId, ClassInfo>,
    shape_of: HashMap<ClassId, ShapeInfo>,
    name_of: HashMap<InstanceId, RunnerName>,
    /// Runners that said they are busy and whose job GitHub has not named.
    unmatched: BTreeMap<RunnerName, ClassId>,
    named_early: BTreeSet<RunnerName>,
    timers: BTreeMap<(Timestamp, u64), Timer>,
    sequence: u64,
    tick_set: bool,
    ticked_at: Timestamp,
    bucket: Option<muster_core::bucket::TokenBucket>,
    /// Launch the same intent twice: the planted bug.
    pub(crate) repeat_launches: bool,
    /// All outputs, if they are to be kept.
    pub(crate) log: Option<Vec<(Timestamp, Output)>>,
}

impl Toy {
    pub(crate) fn new(settings: Settings, trace: &Trace, cut: Cut, keep: i64) -> Toy {
        let survey = trace.survey().expect("the trace reads");
        let catalog = PriceList::over(survey.label_sets.keys());
        let start = settings.start;
        let bucket =
            settings.profile.mint_bucket.map(|(size, rate)| muster_core::bucket::TokenBucket::full(size, rate, start));
        Toy {
            universe: Universe::new(settings, trace.load(cut).expect("the trace reads"), catalog.clone()),
            keep,
            catalog,
            classes: BTreeMap::new(),
            class_of: HashMap::new(),
            shape_of: HashMap::new(),
            name_of: HashMap::new(),
            unmatched: BTreeMap::new(),
            named_early: BTreeSet::new(),
            timers: BTreeMap::new(),
            sequence: 0,
            tick_set: false,
            ticked_at: start - std::time::Duration::from_secs(3_600),
            bucket,
            repeat_launches: false,
            log: None,
        }
    }

    /// Runs to the end of the last job.
    pub(crate) fn run(&mut self) -> Summary {
        while !self.universe.finished() {
            self.turn();
        }
        let policy = if self.keep == 0 { "cold".to_owned() } else { format!("fixed:{}", self.keep) };
        self.universe.summary(&policy)
    }

    /// One output or one timer.
    pub(crate) fn turn(&mut self) {
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        let Some(at) = [self.universe.next_at(), timer].into_iter().flatten().min() else {
            return;
        };
        if let Some((at, output)) = self.universe.step(at).expect("the trace reads") {
            if let Some(log) = &mut self.log {
                log.push((at, output.clone()));
            }
            self.hear(output);
        } else if timer.is_some_and(|timer| timer <= self.universe.now()) {
            match self.timers.pop_first() {
                Some((_, Timer::Tick)) => {
                    self.tick_set = false;
                    self.ticked_at = self.universe.now();
                    self.plan();
                }
                Some((_, Timer::Mint(instance))) => self.mint(&instance),
                None => {}
            }
        }
    }

    fn timer(&mut self, at: Timestamp, timer: Timer) {
        self.sequence += 1;
        self.timers.insert((at, self.sequence), timer);
    }

    fn hear(&mut self, output: Output) {
        match output {
            Output::Webhook(webhook) => {
                self.hear_job(webhook);
                self.news();
            }
            Output::Claim { instance, .. } => {
                let now = self.universe.now();
                let mut at = now;
                if let Some(bucket) = &mut self.bucket {
                    while let Err(later) = bucket.take(at) {
                        at = later;
                    }
                }
                let latency = self.universe.profile().mint_latency;
                if at == now && latency.is_zero() {
                    self.mint(&instance);
                } else {
                    self.timer(at + latency, Timer::Mint(instance));
                }
            }
            Output::Report { instance, state, .. } => self.hear_machine(&instance, state),
        }
    }

    fn hear_job(&mut self, webhook: Webhook) {
        let about = &webhook.event.about;
        let Service::Class(class) = self.catalog.serve(&about.labels, &about.repository, about.public) else {
            return;
        };
        let key = webhook.event.key;
        let state = self.classes.entry(class).or_default();
        let runner = match webhook.event.evidence {
            JobEvidence::Queued { .. } => {
                state.queued.insert(key);
                return;
            }
            JobEvidence::Waiting => return,
            JobEvidence::InProgress(started) => started.runner,
            JobEvidence::Completed(completed) => completed.runner,
        };
        if !state.queued.remove(&key) {
            return;
        }
        if let Some(runner) = runner
            && self.unmatched.remove(&runner.name).is_none()
        {
            self.named_early.insert(runner.name);
        }
    }

    fn hear_machine(&mut self, instance: &InstanceId, state: AgentState) {
        let class = self.class_of[instance].id.clone();
        match state {
            AgentState::Listening => {
                let counts = self.classes.entry(class).or_default();
                counts.booting -= 1;
                counts.idle += 1;
            }
            AgentState::Busy => {
                self.classes.entry(class.clone()).or_default().idle -= 1;
                let name = self.name_of[instance].clone();
                if !self.named_early.remove(&name) {
                    self.unmatched.insert(name, class);
                }
                self.news();
            }
            AgentState::Done { .. } => {
                self.universe.terminate(std::slice::from_ref(instance));
                self.class_of.remove(instance);
                self.name_of.remove(instance);
            }
            AgentState::Ready
            | AgentState::Frozen { .. }
            | AgentState::Thawed { .. }
            | AgentState::Drained
            | AgentState::Interrupted
            | AgentState::Failed { .. } => {}
        }
    }

    fn mint(&mut self, instance: &InstanceId) {
        let Some(class) = self.class_of.get(instance) else {
            return;
        };
        let name = runner_name(&class.pool, instance, "abc123");
        let request =
            MintRequest { name: name.clone(), labels: class.labels.clone(), runner_group: Arc::from("default") };
        match self.universe.mint(&request) {
            Ok(minted) => {
                self.name_of.insert(instance.clone(), name);
                self.universe.claimed(instance, Claimed::Config(minted.config));
            }
            Err(GithubError::Limited { until }) => self.timer(until, Timer::Mint(instance.clone())),
            Err(other) => panic!("{other}"),
        }
    }

    fn news(&mut self) {
        let gap = self.universe.profile().tick_gap;
        if gap.is_zero() {
            self.plan();
        } else if !self.tick_set {
            self.tick_set = true;
            let at = self.universe.now().max(self.ticked_at + gap);
            self.timer(at, Timer::Tick);
        }
    }

    fn plan(&mut self) {
        let mut unmatched: BTreeMap<&ClassId, i64> = BTreeMap::new();
        for class in self.unmatched.values() {
            *unmatched.entry(class).or_default() += 1;
        }
        let mut wanted = Vec::new();
        for (id, class) in &mut self.classes {
            let queued = i64::try_from(class.queued.len()).expect("few jobs");
            let want = queued - unmatched.get(id).unwrap_or(&0) + self.keep - class.idle - class.booting;
            if let Ok(want @ 1..) = u32::try_from(want) {
                wanted.push((id.clone(), want));
            }
        }
        for (id, want) in wanted {
            self.launch(&id, want);
        }
    }

    fn launch(&mut self, id: &ClassId, mut want: u32) {
        let info = self.catalog.class(id).expect("a class of the catalog");
        let shape = self
            .shape_of
            .entry(id.clone())
            .or_insert_with(|| self.catalog.shape(&info.shapes[0]).expect("a shape of the catalog"))
            .clone();
        self.universe.set_target(id, u32::try_from(self.keep).expect("not negative"));
        while want > 0 {
            let count = want.min(LAUNCH_MAX);
            want -= count;
            let class = self.classes.get_mut(id).expect("a known class");
            class.launches += 1;
            let launch = Launch {
                id: LaunchId::new(format!("{id}#{}", class.launches)),
                purpose: Purpose {
                    pool: info.pool.clone(),
                    class: id.clone(),
                    shape: shape.id.clone(),
                    account: None,
                    zone: Zone::new(ZONES[class.launches as usize % ZONES.len()]),
                    market: shape.market,
                    origin: Origin::Cold,
                    price: shape.price,
                },
                count,
                may_register: true,
                intended_at: self.universe.now(),
                reason: "toy".into(),
            };
            class.booting += i64::from(count);
            self.universe.committed(&launch);
            let reply = self.universe.launch(&launch).expect("a sound launch");
            for instance in reply.instances {
                self.class_of.insert(instance, info.clone());
            }
            if self.repeat_launches {
                let again = self.universe.launch(&launch).expect("a sound launch");
                for instance in again.instances {
                    self.class_of.insert(instance, info.clone());
                }
            }
        }
    }
}
