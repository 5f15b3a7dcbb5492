//! Handing a runner configuration over.
//!
//! Invariant: no agent gets a configuration whose registration is not in the ledger as a fact. The registrar puts that
//! fact too; if it died before, this heals it, and a machine with a registration that nobody knows could never be drained.
//! And none whose machine is being ended: a job could reach it there. And none without what its pool gives its runners: a
//! hook or a proxy may be there for a reason. So a machine whose pool this door does not know waits: the scaler may have read
//! a newer configuration, or the pool is gone and the scaler ends its machines.

use std::sync::Arc;

use muster_core::claim::ClaimRow;
use muster_core::config::RunnerOptions;
use muster_core::fact::{Fact, FactBody};
use muster_core::machine::{MachineEvent, Report};
use muster_core::ports::{Store, StoreError};
use muster_core::time::Timestamp;

use crate::live::LiveConfig;

/// What a runner is started with.
pub(crate) struct Configured {
    /// Its configuration, sealed.
    pub(crate) sealed: String,
    /// What its pool gives it, by the configuration that is in force now.
    pub(crate) options: RunnerOptions,
}

/// Where both come from.
pub struct Handover<S> {
    store: Arc<S>,
    config: Arc<LiveConfig>,
}

impl<S: Store> Handover<S> {
    /// Over this ledger and configuration.
    pub fn new(store: Arc<S>, config: Arc<LiveConfig>) -> Handover<S> {
        Handover { store, config }
    }

    pub(crate) fn store(&self) -> Arc<S> {
        self.store.clone()
    }

    /// What the runner of a claim is started with, once the fact of its registration is stored.
    pub(crate) async fn configured(
        &self,
        row: Option<ClaimRow>,
        now: Timestamp,
    ) -> Result<Option<Configured>, StoreError> {
        let Some(ClaimRow { instance, session, registration: Some(registration), sealed_config: Some(sealed), .. }) =
            row
        else {
            return Ok(None);
        };
        let event = MachineEvent { instance, session, at: now, report: Report::Registered(registration) };
        let about = event.instance.clone();
        self.store.put_fact(&Fact { received_at: now, body: FactBody::Machine(event) }).await?;
        // Only now: a scaler that commits the machine's end after this look sees the registration before it acts.
        let Some(machine) = self.store.machine(&about).await? else { return Ok(None) };
        if machine.terminate_at.is_some() || machine.gone_at.is_some() {
            return Ok(None);
        }
        let config = self.config.current();
        let pool = config.pool(&machine.purpose.pool);
        Ok(pool.map(|pool| Configured { sealed, options: pool.runner_options() }))
    }
}
