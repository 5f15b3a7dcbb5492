//! One process: door, scaler and registrar as tasks around one ledger and one clock.
//!
//! Invariant: a task that fails logs it once and goes on at its next turn; only the store's end or a shutdown ends it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use muster_core::identity::Identity;
use muster_core::log_shelf::LogShelf;
use muster_core::plan::Policy;
use muster_core::ports::{Cloud, Github, Store};
use muster_core::world::World;
use muster_webhook::bell::{Bell, NotifyBell};
use muster_webhook::clock::Clock;
use muster_webhook::live::LiveConfig;
use muster_webhook::pulse::Pulse;
use muster_webhook::seal::Sealer;
use muster_webhook::signature::Secrets;
use muster_webhook::wakers::Wakers;
use muster_webhook::{Door, DoorParts};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::{debug, warn};

use super::ticker::{PAUSE_AFTER_FAILURE, Ticker};
use crate::reconcile::{Probe, TickReport};
use crate::registrar::{Minting, Registrar};
use crate::telemetry::Telemetry;

/// Ticks are at least this far apart: what is heard in between is merged by one tick.
pub const TICK_GAP: Duration = Duration::from_secs(1);
/// Without a bell or a deadline a tick comes after this long: a lost bell costs no more.
pub const TICK_AT_LEAST: Duration = Duration::from_secs(60);
/// A request's head must be here within this long, on the wall; idle connections are closed after it.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A body of which nothing came for this long, on the wall, is given up. GitHub ends a delivery after 10 s.
pub const BODY_STALLS_AFTER: Duration = Duration::from_secs(15);
/// Connections at once: every agent holds one for its long poll.
const CONNECTIONS_MAX: usize = 16_384;
/// Open files that connections leave to the ledger, the logs and the calls to the outside.
const DESCRIPTORS_KEPT: usize = 64;
/// After a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Claims are looked for this often even if no bell rang.
const CLAIMS_AT_LEAST: Duration = Duration::from_secs(10);

/// What the tasks share.
pub struct Parts<S, C, G, K> {
    /// The ledger.
    pub store: Arc<S>,
    /// The cloud.
    pub cloud: Arc<C>,
    /// GitHub.
    pub github: Arc<G>,
    /// The clock of everything.
    pub clock: K,
    /// The configuration in force.
    pub config: Arc<LiveConfig>,
    /// Webhook secrets.
    pub secrets: Arc<Secrets>,
    /// Wakes agents' long polls.
    pub wakers: Arc<Wakers>,
    /// Wakes the scaler.
    pub bell: Arc<NotifyBell>,
    /// Wakes the registrar.
    pub claims_bell: Arc<NotifyBell>,
    /// How the scaler is.
    pub pulse: Arc<Pulse>,
    /// Where machines' logs are kept, if anywhere.
    pub log_shelf: Option<Arc<dyn LogShelf>>,
}

impl<S, C, G, K: Clone> Clone for Parts<S, C, G, K> {
    fn clone(&self) -> Self {
        Parts {
            store: self.store.clone(),
            cloud: self.cloud.clone(),
            github: self.github.clone(),
            clock: self.clock.clone(),
            config: self.config.clone(),
            secrets: self.secrets.clone(),
            wakers: self.wakers.clone(),
            bell: self.bell.clone(),
            claims_bell: self.claims_bell.clone(),
            pulse: self.pulse.clone(),
            log_shelf: self.log_shelf.clone(),
        }
    }
}

/// Told of every tick: the live view, a progress line, nothing.
pub trait Audience: Send {
    /// A tick has ended.
    fn ticked(&mut self, report: &TickReport, world: &World);
}

/// Nobody looks.
impl Audience for () {
    fn ticked(&mut self, _report: &TickReport, _world: &World) {}
}

impl<S, C, G, K> Parts<S, C, G, K>
where
    S: Store + 'static,
    C: Cloud + 'static,
    G: Github + 'static,
    K: Clock + Clone + 'static,
{
    /// Serves the door on `listener` until `stop`.
    ///
    /// # Errors
    /// That of the socket.
    pub async fn door<I: Identity + 'static>(
        self,
        listener: TcpListener,
        identity: Arc<I>,
        sealer: Arc<dyn Sealer>,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let parts = DoorParts {
            store: self.store,
            identity,
            clock: Arc::new(self.clock),
            secrets: self.secrets,
            config: self.config,
            sealer,
            bell: self.bell,
            registrar: self.claims_bell,
            wakers: self.wakers,
            pulse: Some(self.pulse),
        };
        let mut door = Door::new(parts);
        if let Some(shelf) = self.log_shelf {
            door = door.with_logs(shelf);
        }
        listen(listener, door.router(), stop).await;
        Ok(())
    }

    /// Ticks until `stop`: when the bell rings, when a deadline comes, and at least every minute.
    pub async fn scaler(
        self,
        policy: Policy,
        telemetry: Option<Telemetry>,
        mut audience: impl Audience,
        mut probe: impl Probe,
        stop: watch::Receiver<bool>,
    ) {
        let mut ticker = Ticker::new(
            self.store.clone(),
            self.cloud.clone(),
            self.github.clone(),
            self.clock.clone(),
            self.config.clone(),
            policy,
            telemetry,
            self.pulse.clone(),
        );
        let mut rested = false;
        while !*stop.borrow() {
            if rested {
                // A tick with nothing to do would not notice that the ledger was changed under it, or is gone.
                ticker.trust_only_if_latest().await;
            }
            let ticked = ticker.tick(&mut probe, &mut audience).await;
            for instance in &ticked.orders {
                self.wakers.ring(instance);
            }
            if ticked.claims {
                // Machines that a launch has just made known may have claimed already.
                self.claims_bell.ring();
            }
            let wake_at = ticked.wake_at;
            let now = self.clock.now();
            let nap = wake_at.map_or(TICK_AT_LEAST, |at| at.since(now)).min(TICK_AT_LEAST);
            rested = tokio::select! {
                () = self.bell.rung() => false,
                () = self.clock.sleep(nap) => true,
                () = stopped(stop.clone()) => false,
            };
            let gap = (now + TICK_GAP).since(self.clock.now());
            if !gap.is_zero() && !*stop.borrow() {
                self.clock.sleep(gap).await;
            }
        }
        ticker.flush();
    }

    /// Mints until `stop`.
    pub async fn registrar<L: Sealer>(self, registrar: Registrar<S, G, K, L>, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let nap = match registrar.step(&self.config.snapshot()).await {
                Ok(Minting::Minted(instances)) => {
                    for instance in &instances {
                        self.wakers.ring(instance);
                    }
                    self.bell.ring();
                    continue;
                }
                Ok(Minting::Nothing) => CLAIMS_AT_LEAST,
                Ok(Minting::Wait(until)) => {
                    let nap = until.since(self.clock.now());
                    self.clock.sleep(nap).await;
                    continue;
                }
                Err(error) => {
                    warn!(target: "muster::registrar", %error, "no configuration was minted; the claim stands");
                    PAUSE_AFTER_FAILURE
                }
            };
            tokio::select! {
                () = self.claims_bell.rung() => {}
                () = self.clock.sleep(nap) => {}
                () = stopped(stop.clone()) => {}
            }
        }
    }
}

/// Serves connections until `stop`, then lets requests under way end. A client that does not bring its request's head in
/// time is cut off, and so is an idle connection.
async fn listen(listener: TcpListener, router: Router, stop: watch::Receiver<bool>) {
    let router = router.layer(RequestBodyTimeoutLayer::new(BODY_STALLS_AFTER));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).half_close(true);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX.min(descriptors().saturating_sub(DESCRIPTORS_KEPT))));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stopped(stop.clone()) => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, as a rule: others must end first.
                warn!(target: "muster::door", %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = watched.await {
                debug!(target: "muster::door", %error, "a connection broke off");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// A connection and its place; waits while there is none left.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// How many files this process may have open; many, where that cannot be learned.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(usize::MAX)
}

/// Ready once the watch says stop, or its sender is gone.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
