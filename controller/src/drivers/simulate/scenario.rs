//! What to simulate, and why it can fail.

use std::sync::Arc;

use muster_core::config::FleetConfig;
use muster_core::plan::Policy;
use muster_core::ports::StoreError;
use muster_core::time::Timestamp;
use muster_sim::trace::{Cut, Trace, TraceError};
use muster_sim::{ListenerFaults, Profile, Universe, WebhookFaults};
use thiserror::Error;

use crate::reconcile::Step;

/// When the healer is at work. Its looks are requests to GitHub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Healing {
    /// If something can go wrong with webhooks or listeners.
    #[default]
    WhereSomethingFails,
    /// Always.
    Always,
    /// A planted bug: never.
    Never,
}

/// What to simulate.
#[derive(Clone)]
pub struct Scenario {
    /// The load.
    pub trace: Trace,
    /// Which part of it, and how often.
    pub cut: Cut,
    /// The configuration.
    pub config: Arc<FleetConfig>,
    /// How many idle runners to keep.
    pub policy: Policy,
    /// The policy in the command's words.
    pub policy_word: String,
    /// The root of all chance.
    pub seed: u64,
    /// How long things take.
    pub profile: Profile,
    /// The cloud's first answer to every launch gets lost, so that each is asked for twice.
    pub lose_answers: bool,
    /// What goes wrong with webhooks.
    pub webhooks: WebhookFaults,
    /// What goes wrong with listeners.
    pub listeners: ListenerFaults,
    /// Whether the healer is at work.
    pub healing: Healing,
    /// A planted bug: the cloud forgets client tokens, so that what is asked for twice happens twice.
    pub forget_tokens: bool,
}

/// A simulation could not go on.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// The trace does not read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The probe stopped a tick, as a crash would.
    #[error("stopped at {0:?}")]
    Stopped(Step),
    /// A port that has to be ready at once was not: a bug.
    #[error("{0} was not ready at once in virtual time; this is a bug in Muster")]
    NotReady(&'static str),
    /// Nothing will ever happen, and jobs are left: a bug.
    #[error("nothing happens after {0}, and jobs are left; this is a bug in Muster")]
    Stuck(Timestamp),
}

/// What a simulation tells while it runs.
pub trait Watcher {
    /// A simulated day is over: which one, from 1, and what the fleet looks like.
    fn day(&mut self, day: u64, universe: &Universe);
}

/// Nobody watches.
impl Watcher for () {
    fn day(&mut self, _day: u64, _universe: &Universe) {}
}
