//! Handing a runner configuration over.
//!
//! Invariant: no agent gets a configuration whose registration is not in the ledger as a fact. The registrar puts that
//! fact too; if it died before, this heals it, and a machine with a registration that nobody knows could never be drained.
//! And none whose machine is being ended: a job could reach it there.

use muster_core::claim::ClaimRow;
use muster_core::fact::{Fact, FactBody};
use muster_core::machine::{MachineEvent, Report};
use muster_core::ports::{Store, StoreError};
use muster_core::time::Timestamp;

/// The sealed configuration of a claim, once the fact of its registration is stored.
pub(crate) async fn sealed_config(
    store: &impl Store,
    row: Option<ClaimRow>,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let Some(ClaimRow { instance, session, registration: Some(registration), sealed_config: Some(sealed), .. }) = row
    else {
        return Ok(None);
    };
    let event = MachineEvent { instance, session, at: now, report: Report::Registered(registration) };
    let about = event.instance.clone();
    store.put_fact(&Fact { received_at: now, body: FactBody::Machine(event) }).await?;
    // Only now: a scaler that commits the machine's end after this look sees the registration before it acts.
    let machine = store.machine(&about).await?;
    let ending = machine.is_some_and(|machine| machine.terminate_at.is_some() || machine.gone_at.is_some());
    Ok((!ending).then_some(sealed))
}
