//! A small world for tests: a few runs, exact times, machines launched by hand.

use std::sync::Arc;
use std::time::Duration;

use muster_core::claim::Order;
use muster_core::ids::{InstanceId, LaunchId, Zone};
use muster_core::job::JobEvidence;
use muster_core::launch::{Launch, LaunchReply};
use muster_core::machine::{Origin, Purpose, runner_name};
use muster_core::ports::{CloudError, GithubError, MintRequest, Minted};
use muster_core::time::Timestamp;
use muster_sim::{Catalog, Claimed, ClassInfo, Cut, Delay, Output, PriceList, Profile, Settings, Trace, Universe};

pub(crate) const LINUX: &str = r#"["linux","cpu-2"]"#;

/// A world in which a cold start takes exactly 40 s, and everything else what the profile says.
pub(crate) fn exact() -> Profile {
    Profile { boot_linux: Delay::Fixed(Duration::from_secs(40)), ..Profile::ideal() }
}

pub(crate) struct World {
    pub(crate) universe: Universe,
    pub(crate) catalog: PriceList,
    /// Whether claims are answered with a configuration at once.
    pub(crate) answer: bool,
    launches: u32,
}

impl World {
    pub(crate) fn new(profile: Profile, lines: &[String]) -> World {
        World::with(Settings { profile, ..Settings::default() }, lines)
    }

    pub(crate) fn with(settings: Settings, lines: &[String]) -> World {
        let trace = Trace::bytes("test", lines.join("\n").into_bytes());
        let catalog = PriceList::over(trace.survey().unwrap().label_sets.keys());
        let universe = Universe::new(settings, trace.load(Cut::WHOLE).unwrap(), catalog.clone());
        World { universe, catalog, answer: true, launches: 0 }
    }

    pub(crate) fn at(&self, seconds: f64) -> Timestamp {
        muster_sim::START + Duration::from_secs_f64(seconds)
    }

    /// The first of the classes with the most labels.
    pub(crate) fn class(&self) -> ClassInfo {
        self.catalog.classes().min_by_key(|class| std::cmp::Reverse(class.labels.len())).unwrap().clone()
    }

    /// The intent of a launch in that class.
    pub(crate) fn intent(&mut self, count: u32) -> Launch {
        self.launches += 1;
        let class = self.class();
        let shape = self.catalog.shape(&class.shapes[0]).unwrap();
        Launch {
            id: LaunchId::new(format!("launch-{}", self.launches)),
            purpose: Purpose {
                pool: class.pool,
                class: class.id,
                shape: shape.id,
                account: None,
                zone: Zone::new("sim-a"),
                market: shape.market,
                origin: Origin::Cold,
                price: shape.price,
            },
            count,
            may_register: true,
            intended_at: self.universe.now(),
            reason: "test".into(),
        }
    }

    pub(crate) fn launch_intent(&mut self, launch: &Launch) -> Result<LaunchReply, CloudError> {
        self.universe.committed(launch);
        self.universe.launch(launch)
    }

    pub(crate) fn launch(&mut self, count: u32) -> Vec<InstanceId> {
        let launch = self.intent(count);
        self.launch_intent(&launch).unwrap().instances
    }

    pub(crate) fn mint(&mut self, instance: &InstanceId, suffix: &str) -> Result<Minted, GithubError> {
        let class = self.class();
        let name = runner_name(&class.pool, instance, suffix);
        self.universe.mint(&MintRequest { name, labels: class.labels, runner_group: Arc::from("default") })
    }

    pub(crate) fn order(&mut self, instance: &InstanceId, order: Order) {
        self.universe.ordered(instance, order);
    }

    /// Lets time pass and says what came out, in short lines: `seconds what`.
    pub(crate) fn until(&mut self, seconds: f64) -> Vec<String> {
        let mut lines = Vec::new();
        let to = self.at(seconds);
        while let Some((at, output)) = self.universe.step(to).unwrap() {
            let t = at.since(muster_sim::START).as_secs_f64();
            let what = match &output {
                Output::Webhook(webhook) => {
                    let name = webhook.event.about.name.as_deref().unwrap().to_owned();
                    let how = match &webhook.event.evidence {
                        JobEvidence::Completed(completed) => {
                            let on = if completed.runner.is_some() { "" } else { " unrun" };
                            format!(" {}{on}", completed.conclusion)
                        }
                        JobEvidence::Queued { .. } | JobEvidence::Waiting | JobEvidence::InProgress(_) => String::new(),
                    };
                    format!("{name} {}{how}", webhook.action())
                }
                Output::Claim { session, .. } => format!("claim {session}"),
                Output::Report { state, .. } => format!("{state:?}").to_lowercase(),
            };
            lines.push(format!("{t} {what}"));
            if let (Output::Claim { instance, session }, true) = (&output, self.answer) {
                let minted = self.mint(&instance.clone(), &format!("s{session}")).unwrap();
                self.universe.claimed(instance, Claimed::Config(minted.config));
            }
        }
        lines
    }
}

/// A line of a trace.
pub(crate) fn run(id: u32, t: f64, cancel_after_s: Option<f64>, jobs: &[String]) -> String {
    let cancel = cancel_after_s.map_or("null".to_owned(), |s| s.to_string());
    let jobs = jobs.join(",");
    format!(
        r#"{{"run_id":{id},"t":{t},"repo":"acme/api","workflow":"ci","event":"push","cancel_after_s":{cancel},"jobs":[{jobs}]}}"#
    )
}

/// A job of a trace.
pub(crate) fn job(name: &str, group: &str, needs: &[&str], labels: &str, duration_s: f64) -> String {
    let needs: Vec<String> = needs.iter().map(|need| format!("{need:?}")).collect();
    let needs = needs.join(",");
    format!(r#"{{"name":{name:?},"job":{group:?},"needs":[{needs}],"labels":{labels},"duration_s":{duration_s}}}"#)
}

/// A run of one job.
pub(crate) fn single(id: u32, t: f64, name: &str, duration_s: f64) -> String {
    run(id, t, None, &[job(name, name, &[], LINUX, duration_s)])
}
