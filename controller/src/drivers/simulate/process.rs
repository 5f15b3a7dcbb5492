//! One process: scaler, registrar, healer and door over one handle of the ledger. It can be dropped and built anew; the world
//! outside goes on.
//!
//! What may not live here: anything that must survive the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_core::ports::Store;
use muster_sim::{SharedUniverse, SimGithub, SimIdentity};
use muster_webhook::bell::Bell;
use muster_webhook::claims::Claims;
use muster_webhook::handover::Handover;
use muster_webhook::intake::Intake;
use muster_webhook::live::LiveConfig;
use muster_webhook::reports::Reports;
use muster_webhook::wakers::Wakers;

use super::Scenario;
use super::plain::PlainSealer;
use super::wire::Wire;
use crate::clock::VirtualClock;
use crate::healer::Healer;
use crate::reconcile::Reconciler;
use crate::registrar::Registrar;

/// A bell that is looked at instead of waited for.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    /// Whether it has rung since it was last looked at.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Bell for Flag {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The bells that the door rings.
#[derive(Default)]
pub(super) struct Bells {
    pub(super) scaler: Arc<Flag>,
    pub(super) registrar: Arc<Flag>,
}

/// The receiving end of what agents say.
pub(super) struct Door<S> {
    pub(super) claims: Claims<S, SimIdentity, VirtualClock>,
    pub(super) reports: Reports<S, VirtualClock>,
}

/// What one process consists of.
pub(super) struct Process<S> {
    pub(super) store: Arc<S>,
    pub(super) scaler: Reconciler<S, Wire, SimGithub, VirtualClock>,
    pub(super) registrar: Registrar<S, SimGithub, VirtualClock, PlainSealer>,
    pub(super) door: Door<S>,
    pub(super) bells: Bells,
    pub(super) healer: Healer<S, SimGithub, VirtualClock>,
}

impl<S: Store> Process<S> {
    pub(super) fn new(
        scenario: &Scenario,
        store: Arc<S>,
        clock: &VirtualClock,
        universe: &SharedUniverse,
        wire: &Wire,
    ) -> Process<S> {
        let github = Arc::new(universe.github());
        let wakers = Arc::new(Wakers::in_process());
        let door_clock = Arc::new(clock.clone());
        let bells = Bells::default();
        let registrar = Registrar::unlimited(store.clone(), github.clone(), clock.clone(), PlainSealer::default());
        let config = Arc::new(LiveConfig::new((*scenario.config).clone()));
        let intake = Intake::new(store.clone(), config.clone(), bells.scaler.clone());
        Process {
            healer: Healer::new(store.clone(), github.clone(), clock.clone(), intake),
            scaler: Reconciler::new(
                store.clone(),
                Arc::new(wire.clone()),
                github,
                clock.clone(),
                scenario.config.clone(),
                scenario.policy,
            ),
            registrar: match scenario.profile.mint_bucket {
                Some((size, per_second)) => registrar.with_budget(size, per_second),
                None => registrar,
            },
            door: Door {
                claims: Claims::new(
                    Handover::new(store.clone(), config.clone()),
                    Arc::new(identity()),
                    door_clock.clone(),
                    Arc::new(PlainSealer::default()),
                    bells.scaler.clone(),
                    bells.registrar.clone(),
                    wakers.clone(),
                ),
                reports: Reports::new(Handover::new(store.clone(), config), door_clock, bells.scaler.clone(), wakers),
            },
            bells,
            store,
        }
    }
}

/// In virtual time nobody attacks: the key is a constant.
pub(super) fn identity() -> SimIdentity {
    SimIdentity::new([7; 32])
}
