//! The demo: the busiest hour of a trace through the real door, scaler and registrar, on a simulated cloud and GitHub, in
//! scaled real time and over real TCP.
//!
//! What lives here: putting the parts together, the speed, and the summary. What may not: a shortcut around any part; what
//! the demo shows is what the parts do.
//!
//! Invariant: one clock for everything. If the host cannot keep up, the clock slows down; nothing is skipped.

mod fallback;
mod load;
mod pace;
mod scoreboard;
mod sink;
mod view;

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use muster_core::config::Class;
use muster_core::plan::Policy;
use muster_core::ports::Store;
use muster_core::time::Timestamp;
use muster_sim::{Cut, Settings, SharedUniverse, SimIdentity, Summary, Universe};
use muster_store::{SqliteOptions, SqliteStore};
use muster_webhook::bell::NotifyBell;
use muster_webhook::clock::Clock;
use muster_webhook::live::LiveConfig;
use muster_webhook::pulse::Pulse;
use muster_webhook::seal::HpkeSealer;
use muster_webhook::signature::Secrets;
use muster_webhook::wakers::Wakers;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use load::EXAMPLE_CONFIG;
pub use pace::{CATCH_UP_SPEED, Pace};
pub use scoreboard::{Scoreboard, Scores};

use super::catalog::{ConfigCatalog, limits};
use super::pump::{HttpCounts, Outside};
use super::random_hex;
use super::service::Parts;
use super::witness::Witness;
use crate::clock::ScaledClock;
use crate::registrar::Registrar;
use crate::telemetry::{self, Telemetry};
use load::Load;
use sink::MetricsFile;
use view::{Progress, View};

/// How long after the last job the demo waits for the machines to go that nothing needs, in simulated time.
const AFTERMATH: Duration = Duration::from_secs(180);

/// What to show.
#[derive(Clone, Debug)]
pub struct Options {
    /// The workload; the shipped one if none is given.
    pub trace: Option<PathBuf>,
    /// Simulated seconds in a second on the wall.
    pub speed: f64,
    /// The door's port; any free one if 0.
    pub port: u16,
    /// Where metric lines go; beside the ledger if nowhere else.
    pub emf: Option<PathBuf>,
}

/// Requests that the door has answered, by route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Http {
    /// Signed deliveries.
    pub webhook: u64,
    /// Claims.
    pub claim: u64,
    /// Reports and long polls.
    pub report: u64,
}

/// What has been shown.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The simulator's account.
    #[serde(flatten)]
    pub summary: Summary,
    /// What went over TCP.
    pub http: Http,
    /// Deliveries that the door did not answer with 2xx: their jobs' events are lost.
    #[serde(skip)]
    pub webhooks_refused: u64,
    /// What the scaler has seen.
    #[serde(skip)]
    pub scores: Scores,
    /// The ledger, which is kept.
    #[serde(skip)]
    pub ledger: PathBuf,
    /// The metric lines, which are kept.
    #[serde(skip)]
    pub emf: PathBuf,
    /// The log, which is kept: a line for every accepted event, decision and failure.
    #[serde(skip)]
    pub log: PathBuf,
    /// Why metric lines are missing from it, if any are.
    #[serde(skip)]
    pub emf_trouble: Option<String>,
    /// Machines that were launched and have not ended.
    #[serde(skip)]
    pub machines_left: usize,
    /// How many the configuration keeps idle.
    #[serde(skip)]
    pub machines_kept: usize,
    /// How long it took.
    #[serde(skip)]
    pub wall: Duration,
    /// Whether the clock had to slow down.
    #[serde(skip)]
    pub slowed: bool,
}

/// Runs the demo.
///
/// # Errors
/// The trace does not read or has no jobs, the port is taken, or the ledger cannot be made.
pub async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let load = Load::of(options)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let door = format!("http://{}", listener.local_addr()?);
    // Kept once the show begins; what fails before leaves nothing behind.
    let folder = tempfile::Builder::new().prefix("muster-demo-").tempdir().context("a folder for the ledger")?;
    let ledger = folder.path().join("muster.sqlite");
    let log = folder.path().join("log.jsonl");
    let log_file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    // Only the first subscriber of a process counts.
    let _ = tracing_subscriber::fmt().json().with_writer(Mutex::new(log_file)).try_init();
    let emf = options.emf.clone().unwrap_or_else(|| folder.path().join("emf.jsonl"));
    let lines = MetricsFile::create(&emf).with_context(|| format!("cannot write {}", emf.display()))?;
    let store = Arc::new(SqliteStore::open(&ledger, &SqliteOptions::default())?);
    if let Some(text) = &load.config_text {
        store.put_config(text).await?;
    }
    let secret = random_hex::<32>().context("the operating system gives no random bytes")?;
    let config = Arc::new(load.config);
    let settings = Settings { limits: limits(&config), start: start_of(&load.cut), ..Settings::default() };
    let identity = SimIdentity::new(*b"a key for simulated proofs only.");
    let bell = Arc::new(NotifyBell::default());
    let recorder = telemetry::recorder()?;
    // A process has one recorder; a second demo in it (a test) keeps to the first.
    let _ = metrics::set_global_recorder(recorder.clone());
    telemetry::describe();
    let telemetry = Telemetry::new(recorder, Arc::new(Mutex::new(lines.clone())));

    let clock = ScaledClock::starting_at(settings.start, options.speed);
    let universe_clock = clock.clone();
    let universe = SharedUniverse::with_clock(
        Universe::new(settings, load.trace.load(load.cut)?, ConfigCatalog(config.clone())),
        Arc::new(move || universe_clock.now()),
    );
    let parts = Parts {
        store: store.clone(),
        cloud: Arc::new(universe.cloud()),
        github: Arc::new(universe.github()),
        clock: clock.clone(),
        config: Arc::new(LiveConfig::from_arc(config.clone())),
        secrets: Arc::new(Secrets::new(&[secret.as_bytes()])?),
        wakers: Arc::new(Wakers::in_process()),
        bell,
        claims_bell: Arc::new(NotifyBell::default()),
        pulse: Arc::new(Pulse::starting(clock.now())),
        log_shelf: None,
    };
    let scoreboard = Scoreboard::new(config.clone());
    let outside = Outside::new(universe.clone(), clock.clone(), &door, secret.as_bytes(), identity.clone())?;
    let counts = outside.counts.clone();
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let registrar = Registrar::new(store.clone(), parts.github.clone(), clock.clone(), HpkeSealer);
    tasks.spawn(as_task(parts.clone().door(listener, Arc::new(identity), Arc::new(HpkeSealer), stopping.clone())));
    let (scaling, board, watched) = (parts.clone(), scoreboard.clone(), universe.clone());
    let stopping_scaler = stopping.clone();
    tasks.spawn(async move {
        scaling.scaler(Policy::Target, Some(telemetry), board, Witness::new(watched, ()), stopping_scaler).await;
        Ok(())
    });
    let minting = parts.clone().registrar(registrar, stopping.clone());
    tasks.spawn(async {
        minting.await;
        Ok(())
    });
    tasks.spawn(as_task(outside.run(stopping)));

    let _kept = folder.keep();
    if let Some(said) = &load.announcement {
        // Nobody need read it.
        let _ = writeln!(io::stderr(), "{said}");
    }
    let mut show = Show {
        view: View::open(config.pools().len()),
        pace: Pace::new(clock.clone(), options.speed),
        jobs: load.jobs,
        arrivals_end: load.cut.to.map(|to| start_of(&load.cut) + (to - load.cut.from)),
    };
    show.until_over(&universe, &scoreboard, &counts, &mut tasks).await?;
    stop.send_replace(true);
    // Long polls end with the agents' tasks; what is left of them after a moment is cut off.
    let _ = tokio::time::timeout(Duration::from_secs(2), async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
    let slowed = show.pace.slowed();
    show.view.close();
    let (summary, left, now) = {
        let universe = universe.lock();
        (universe.summary("target"), universe.census().instances, universe.now())
    };
    let kept = |class: &Arc<Class>| usize::try_from(config.idle_bounds(&class.id, now).min).unwrap_or(usize::MAX);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let refused = count(&counts.webhook_failed);
    let http = Http {
        webhook: count(&counts.webhook).saturating_sub(refused),
        claim: count(&counts.claim),
        report: count(&counts.report),
    };
    let scores = scoreboard.read().clone();
    Ok(Outcome {
        summary,
        http,
        webhooks_refused: refused,
        scores,
        ledger,
        emf,
        log,
        emf_trouble: lines.close(),
        machines_left: left,
        machines_kept: config.classes().iter().map(kept).sum(),
        wall: began.elapsed(),
        slowed,
    })
}

async fn as_task<E: Into<anyhow::Error>>(work: impl Future<Output = Result<(), E>>) -> anyhow::Result<()> {
    work.await.map_err(Into::into)
}

/// The hour keeps its place in the week, so that schedules apply as they would.
fn start_of(cut: &Cut) -> Timestamp {
    muster_sim::START + cut.from
}

struct Show {
    view: View,
    pace: Pace,
    jobs: u64,
    arrivals_end: Option<Timestamp>,
}

impl Show {
    /// Watches until the last job is over and the machines that nothing needs had time to go.
    async fn until_over(
        &mut self,
        universe: &SharedUniverse,
        scoreboard: &Scoreboard,
        counts: &HttpCounts,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let mut over_since = None;
        loop {
            let (now, finished) = {
                let universe = universe.lock();
                (universe.now(), universe.finished())
            };
            let arriving = self.arrivals_end.is_some_and(|end| now < end);
            if let Some(said) = self.pace.adapt(arriving, counts) {
                self.view.say(&said);
            }
            let phase = match (arriving, finished) {
                (true, _) => "an hour of CI arrives",
                (false, false) => "the last jobs run",
                (false, true) => "spare machines go",
            };
            let progress = Progress {
                jobs: self.jobs,
                over: scoreboard.read().completed,
                speed: self.pace.speed(),
                phase: phase.to_owned(),
            };
            self.view.show(&scoreboard.read(), &progress);
            if finished {
                let since = *over_since.get_or_insert(now);
                if now.since(since) > AFTERMATH {
                    return Ok(());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(view::DRAW_EVERY) => {}
                Some(ended) = tasks.join_next() => {
                    ended.context("a task of the demo died")??;
                    anyhow::bail!("a task of the demo ended before the show was over");
                }
            }
        }
    }
}
