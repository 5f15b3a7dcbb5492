//! The log of deliveries: GitHub remembers those that nobody took, and what a `queued` among them says is taken in as if it had
//! come.
//!
//! Invariant: a delivery counts as dealt with only when its fact is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_core::job::{JobEvent, JobEvidence, JobPhase};
use muster_core::ports::{FailedDelivery, GithubError, Records, Store, StoreError};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use muster_webhook::intake::Intake;
use muster_webhook::signature::Signed;

use super::Healed;
use super::around::Around;

/// How far back the first look goes: GitHub fails a job that was queued for a day (GitHub Actions limits).
pub const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// A delivery may appear in the log some time after it was tried.
pub(super) const OVERLAP: Duration = Duration::from_secs(300);
/// Payloads read in one step. Each is a request, and what may be over is another: 60 of the 90 points that optional work has in
/// a minute, so that the other looks go on after an outage.
pub const PAYLOADS_MAX: usize = 30;
/// What a delivery of this age says may be over: the job is asked for too.
const STALE_AFTER: Duration = Duration::from_secs(120);
/// Where the log was read to, among the ledger's notes: milliseconds since 1970.
pub(super) const MARK: &str = "deliveries-healed-to";

/// How far the log was read.
#[derive(Default)]
pub(super) struct Log {
    /// What was dealt with since [`OVERLAP`] before the mark, by its place in the log.
    done: BTreeMap<Arc<str>, Timestamp>,
    mark: Option<Timestamp>,
    /// The mark as the ledger has it.
    kept: Option<Timestamp>,
}

impl Log {
    /// Takes in what is new in it.
    pub(super) async fn step<S: Store, R: Records, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        intake: &Intake<S>,
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        let now = around.now();
        let oldest = now - LOOK_BACK;
        let kept = match self.mark {
            Some(mark) => mark,
            None => kept_mark(around.store).await?.unwrap_or(oldest),
        };
        let since = (kept - OVERLAP).max(oldest);
        let failed = match around.ask(around.github.failed_since(since)).await {
            Ok(failed) => failed,
            Err(error) => {
                healed.troubles.push(format!("reading the log of deliveries: {error}"));
                return Ok(());
            }
        };
        self.done.retain(|_, at| *at >= since);
        let mut payloads = 0;
        let mut mark = now;
        for delivery in failed {
            if self.done.contains_key(&delivery.place) {
                continue;
            }
            // What else is lost than `queued` is heard of when the job is silent for long.
            let told = if &*delivery.action != "queued" {
                Ok(())
            } else if payloads == PAYLOADS_MAX {
                Err(format!("more than {PAYLOADS_MAX} deliveries to heal: the rest is for the next look"))
            } else if around.is_over() {
                Err("time is up: the rest of the log is for the next look".to_owned())
            } else {
                payloads += 1;
                heal(around, intake, &delivery, healed).await?
            };
            if let Err(why) = told {
                healed.troubles.push(why);
                mark = mark.min(delivery.delivered_at);
                break;
            }
            self.done.insert(delivery.place, delivery.delivered_at);
        }
        self.mark = Some(mark);
        // Looks overlap anyway: it need not be written every time.
        if self.kept.is_none_or(|kept| mark < kept || mark.since(kept) >= OVERLAP) {
            around.store.put_note(MARK, &mark.unix_ms().to_string()).await?;
            self.kept = Some(mark);
        }
        Ok(())
    }
}

async fn kept_mark<S: Store>(store: &S) -> Result<Option<Timestamp>, StoreError> {
    let kept = store.note(MARK).await?;
    Ok(kept.and_then(|text| text.parse().ok()).map(Timestamp::from_unix_ms))
}

/// Takes in what a delivery says; why not, if it has to be tried again.
async fn heal<S: Store, R: Records, K: Clock>(
    around: Around<'_, S, R, K>,
    intake: &Intake<S>,
    delivery: &FailedDelivery,
    healed: &mut Healed,
) -> Result<Result<(), String>, StoreError> {
    let again = |error: GithubError| Ok(Err(format!("delivery {}: {error}", delivery.guid)));
    let payload = match around.ask(around.github.payload(delivery)).await {
        Ok(Some(payload)) => payload,
        Ok(None) => return Ok(Ok(())),
        // Tried again it would hold up all that come after it. The sweep finds the job.
        Err(error @ GithubError::Rejected(_)) => {
            healed.troubles.push(format!("delivery {} is left out: {error}", delivery.guid));
            return Ok(Ok(()));
        }
        Err(error) => return again(error),
    };
    // GitHub tried at that instant: the job's clock counts from then, and not from ours.
    let event = match intake.read(Signed::out_of_the_log(&payload), delivery.delivered_at) {
        Ok(Ok(event)) => event,
        Ok(Err(_)) => return Ok(Ok(())),
        Err(error) => {
            healed.troubles.push(format!("delivery {} is left out: {error}", delivery.guid));
            return Ok(Ok(()));
        }
    };
    let late = around.now().since(delivery.delivered_at);
    if late >= STALE_AFTER && may_be_over(around, intake, &event).await? {
        match around.ask(around.github.job(&event.about, event.key.job)).await {
            // First, so that nobody takes for demand what is over.
            Ok(Some(now)) if !matches!(now.evidence, JobEvidence::Queued { .. }) => {
                intake.put(now, around.now(), None).await?;
            }
            Ok(_) => {}
            // GitHub does not say: it is demand until somebody knows better.
            Err(error @ GithubError::Rejected(_)) => {
                healed.troubles.push(format!("delivery {}: {error}; its job is taken for queued", delivery.guid));
            }
            Err(error) => return again(error),
        }
    }
    let stored = intake.put(event, delivery.delivered_at, Some(&delivery.guid)).await?;
    if !stored.duplicate {
        healed.deliveries.push((stored.event.key, late));
    }
    Ok(Ok(()))
}

/// Whether a job that was queued some time ago is to be asked for: one of ours of which nothing later is known.
async fn may_be_over<S: Store, R, K: Clock>(
    around: Around<'_, S, R, K>,
    intake: &Intake<S>,
    event: &JobEvent,
) -> Result<bool, StoreError> {
    let known = around.store.jobs(&[event.key]).await?;
    Ok(intake.resolve(event).class().is_some() && known.iter().all(|job| job.phase() < JobPhase::Running))
}
