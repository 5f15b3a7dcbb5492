//! The service: door, scaler, registrar and healer in one process, until a signal.
//!
//! Invariant: a clean end loses nothing, and so does any other: what was answered with 2xx is in the ledger.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use muster_core::identity::Identity;
use muster_core::plan::Policy;
use muster_core::ports::{Cloud, Github, Records, Reruns, Store};
use muster_sim::{Settings, SharedUniverse, SimIdentity, Universe};
use muster_store::{SqliteOptions, SqliteStore, Upkeep};
use muster_webhook::bell::{Bell, NotifyBell};
use muster_webhook::clock::{Clock, SystemClock};
use muster_webhook::intake::Intake;
use muster_webhook::live::LiveConfig;
use muster_webhook::pulse::Pulse;
use muster_webhook::seal::HpkeSealer;
use muster_webhook::signature::Secrets;
use muster_webhook::wakers::Wakers;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::catalog::{LiveCatalog, limits};
use super::pump::Outside;
use super::service::{Parts, stopped};
use crate::clock::ScaledClock;
use crate::healer::{HEAL_EVERY, Healer};
use crate::loaded::{Duty, load};
use crate::registrar::Registrar;
use crate::secret::SecretReader;
use crate::source::Source;
use crate::telemetry::{self, Telemetry};
use crate::watch::{ConfigWatch, LOOK_EVERY};

/// How often finished jobs past their retention are removed from the ledger.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How long a clean end may take before what is left (long polls) is cut off.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// The ledger in a file.
    pub db: PathBuf,
    /// The ledger in a DynamoDB table instead.
    #[cfg(feature = "aws")]
    pub table: Option<String>,
    /// Where the door listens.
    pub listen: SocketAddr,
    /// Where metric lines are appended.
    pub emf: Option<PathBuf>,
}

/// Sends logs as JSON lines to standard error. `MUSTER_LOG` sets the filter.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("MUSTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr);
    // Only the first subscriber of a process counts.
    let _ = lines.try_init();
}

/// What stands before anybody is served: whatever the cloud.
struct Ready<S> {
    store: Arc<S>,
    config_watch: ConfigWatch,
    secrets: Arc<Secrets>,
    /// The secret that a simulated GitHub signs with.
    own_secret: Vec<u8>,
    live: Arc<LiveConfig>,
    telemetry: Option<Telemetry>,
    listener: TcpListener,
    address: SocketAddr,
}

/// Serves with a simulated cloud and GitHub until SIGTERM or Ctrl-C. `ready` is told the address; `false` from it ends
/// everything.
///
/// # Errors
/// What keeps it from starting: configuration, secrets, ledger, address.
pub async fn run(options: &Options, ready: impl FnOnce(SocketAddr) -> bool) -> anyhow::Result<()> {
    let db = options.db.clone();
    let here = get_ready(options, async || Ok(Arc::new(SqliteStore::open(&db, &SqliteOptions::default())?))).await?;
    let clock = ScaledClock::starting_at(SystemClock.now(), 1.0);
    let first_number = u64::try_from(clock.now().unix_ms()).unwrap_or(1);
    let settings =
        Settings { limits: limits(&here.live.current()), start: clock.now(), first_number, ..Settings::default() };
    let universe_clock = clock.clone();
    let universe = SharedUniverse::with_clock(
        Universe::new(settings, std::iter::empty(), LiveCatalog(here.live.clone())),
        Arc::new(move || universe_clock.now()),
    );
    let identity = SimIdentity::new(*b"a key for simulated proofs only.");
    let parts = here.parts(Arc::new(universe.cloud()), Arc::new(universe.github()), clock.clone());
    let door = format!("http://{}", here.address);
    let outside = Outside::new(universe, clock, &door, &here.own_secret, identity.clone())?;
    let carrying = async |stop| Ok(outside.run(stop).await?);
    serve(here, parts, Arc::new(identity), carrying, ready).await
}

/// Serves in AWS, with GitHub itself, until SIGTERM or Ctrl-C.
///
/// # Errors
/// What keeps it from starting: configuration, secrets, ledger, address, surroundings.
#[cfg(feature = "aws")]
pub async fn run_in_aws(options: &Options, ready: impl FnOnce(SocketAddr) -> bool) -> anyhow::Result<()> {
    use crate::aws::Around;

    let around = Around::find().await;
    match &options.table {
        Some(table) => {
            let here = get_ready(options, async || around.ledger_in(table).await).await?;
            serve_in_aws(&around, here, ready).await
        }
        None => {
            let db = options.db.clone();
            let open = async || Ok(Arc::new(SqliteStore::open(&db, &SqliteOptions::default())?));
            let here = get_ready(options, open).await?;
            serve_in_aws(&around, here, ready).await
        }
    }
}

#[cfg(feature = "aws")]
async fn serve_in_aws<S: Store + Upkeep + 'static>(
    around: &crate::aws::Around,
    here: Ready<S>,
    ready: impl FnOnce(SocketAddr) -> bool,
) -> anyhow::Result<()> {
    let identity = Arc::new(around.identity(&here.live.current())?);
    let (cloud, github) = (Arc::new(around.cloud(here.live.clone())), Arc::new(around.github(here.live.clone())));
    let shelf = Arc::new(muster_aws::S3LogShelf::over(&around.sdk));
    let parts = Parts { log_shelf: Some(shelf), ..here.parts(cloud, github, SystemClock) };
    serve(
        here,
        parts,
        identity,
        async |stop| {
            stopped(stop).await;
            Ok(())
        },
        ready,
    )
    .await
}

/// Configuration, secrets, ledger, metrics and the socket.
async fn get_ready<S: Store>(
    options: &Options,
    open: impl AsyncFnOnce() -> anyhow::Result<Arc<S>>,
) -> anyhow::Result<Ready<S>> {
    let (mut source, reader) = (Source::at(&options.config).await?, SecretReader::default());
    let found = load(&mut source, &reader, Duty::Service).await;
    // Beside a file there is somebody: what is wrong with it is told before a ledger is made.
    let found = if source.is_object() { found } else { Ok(found?) };
    let store = open().await?;
    let config_watch = ConfigWatch::begin(source, reader, found, &*store, Duty::Service).await?;
    let telemetry = match &options.emf {
        None => None,
        Some(path) => {
            let recorder = telemetry::recorder()?;
            let _ = metrics::set_global_recorder(recorder.clone());
            telemetry::describe();
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            Some(Telemetry::new(recorder, Arc::new(Mutex::new(file))))
        }
    };
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}: is another process there?", options.listen))?;
    let address = listener.local_addr()?;
    let (live, secrets) = (config_watch.live().clone(), config_watch.secrets().clone());
    let own_secret = config_watch.signing_secret();
    Ok(Ready { store, config_watch, secrets, own_secret, live, telemetry, listener, address })
}

impl<S> Ready<S> {
    fn parts<C, G, K: Clock>(&self, cloud: Arc<C>, github: Arc<G>, clock: K) -> Parts<S, C, G, K> {
        Parts {
            store: self.store.clone(),
            cloud,
            github,
            config: self.live.clone(),
            secrets: self.secrets.clone(),
            wakers: Arc::new(Wakers::in_process()),
            bell: Arc::new(NotifyBell::default()),
            claims_bell: Arc::new(NotifyBell::default()),
            pulse: Arc::new(Pulse::starting(clock.now())),
            log_shelf: None,
            clock,
        }
    }
}

/// Runs all tasks until a signal, or until one of them ends. `besides` is one more, until the stop that it is given.
async fn serve<S, C, G, K, I, B>(
    here: Ready<S>,
    parts: Parts<S, C, G, K>,
    identity: Arc<I>,
    besides: B,
    ready: impl FnOnce(SocketAddr) -> bool,
) -> anyhow::Result<()>
where
    S: Store + Upkeep + 'static,
    C: Cloud + 'static,
    G: Github + Records + Reruns + 'static,
    K: Clock + Clone + 'static,
    I: Identity + 'static,
    B: AsyncFnOnce(watch::Receiver<bool>) -> anyhow::Result<()>,
{
    let Ready { store, mut config_watch, secrets: _, own_secret: _, live, telemetry, listener, address } = here;
    let bell = parts.bell.clone();
    let registrar = Registrar::new(store.clone(), parts.github.clone(), parts.clock.clone(), HpkeSealer);
    let (stop, stopping) = watch::channel(false);
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let door = parts.clone().door(listener, identity, Arc::new(HpkeSealer), stopping.clone());
    tasks.spawn(async { Ok(door.await?) });
    let scaler = parts.clone().scaler(Policy::Target, telemetry, (), (), stopping.clone());
    tasks.spawn(async {
        scaler.await;
        Ok(())
    });
    let intake = Intake::new(store.clone(), live.clone(), bell.clone());
    let healer = Healer::new(store.clone(), parts.github.clone(), parts.clock.clone(), intake);
    let stopping_healer = stopping.clone();
    tasks.spawn(async move {
        heal(healer, stopping_healer).await;
        Ok(())
    });
    let minting = parts.registrar(registrar, stopping.clone());
    tasks.spawn(async {
        minting.await;
        Ok(())
    });
    let (upkeep, stopping_upkeep) = (store.clone(), stopping.clone());
    tasks.spawn(async move {
        prune(&*upkeep, stopping_upkeep).await;
        Ok(())
    });
    let stopping_watch = stopping.clone();
    tasks.spawn(async move {
        while !*stopping_watch.borrow() {
            let before = live.snapshot();
            config_watch.look(&*store).await;
            if !Arc::ptr_eq(&before, &live.snapshot()) {
                // What was refused may be demand now: the scaler need not wait for its next deadline.
                bell.ring();
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stopped(stopping_watch.clone()) => {}
            }
        }
        Ok(())
    });
    info!(target: "muster::serve", %address, "serving");
    // Before anybody is told that we are here: a signal may follow at once.
    let mut asked = Signals::listen()?;
    let mut besides = std::pin::pin!(besides(stopping));
    if ready(address) {
        tokio::select! {
            () = asked.heard() => info!(target: "muster::serve", "asked to end"),
            Some(ended) = tasks.join_next() => {
                stop.send_replace(true);
                ended.context("a task died")??;
                anyhow::bail!("a task ended unasked");
            }
            ended = &mut besides => {
                stop.send_replace(true);
                ended?;
                anyhow::bail!("a task ended unasked");
            }
        }
    }
    stop.send_replace(true);
    let end = async {
        if let Err(error) = besides.await {
            warn!(target: "muster::serve", %error, "at the end");
        }
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(END_WITHIN, end).await.is_err() {
        info!(target: "muster::serve", "long polls were cut off");
    }
    tasks.shutdown().await;
    info!(target: "muster::serve", "ended");
    Ok(())
}

/// Heals until `stop`.
async fn heal<S: Store, R: Records + Github + Reruns, K: Clock>(
    mut healer: Healer<S, R, K>,
    stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        healer.step().await.tell();
        tokio::select! {
            () = tokio::time::sleep(HEAL_EVERY) => {}
            () = stopped(stop.clone()) => {}
        }
    }
}

async fn prune(store: &impl Upkeep, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match store.prune(SystemClock.now()).await {
            Ok(pruned) => info!(target: "muster::serve", ?pruned, "ledger pruned"),
            Err(error) => warn!(target: "muster::serve", %error, "the ledger was not pruned"),
        }
        tokio::select! {
            () = tokio::time::sleep(PRUNE_EVERY) => {}
            () = stopped(stop.clone()) => {}
        }
    }
}

/// What ends the service: SIGTERM, or Ctrl-C.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// From now on no signal is missed, and none ends the process by itself.
    fn listen() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What ends the service: Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals)
    }

    async fn heard(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
