//! The door of Muster: what GitHub and the agents talk to.
//!
//! What lives here: the signature check, the reading of webhook payloads, the claim and report protocol, and the one
//! place that turns outcomes into HTTP. What may not: a GitHub App key, any permission at the cloud, a decision about
//! machines. The store, the identity check, the clock and the bells are ports, so that the same door stands behind a
//! Lambda, in one process with the scaler, and in memory.
//!
//! Invariant: an answer of 2xx to a job's event means that the store has returned from keeping it.

pub mod answer;
pub mod bell;
pub mod body;
pub mod claims;
pub mod clock;
pub mod cloud_events;
pub mod delivery;
pub mod foreign;
pub mod format;
pub mod handover;
pub mod intake;
pub mod live;
pub mod logs;
pub mod payload;
pub mod prewarmed;
mod proof;
pub mod pulse;
pub mod reports;
pub mod router;
pub mod seal;
pub mod signature;
pub mod token;
mod wait;
pub mod wakers;
pub mod webhook;

pub use bell::{Bell, NotifyBell};
pub use claims::{ClaimError, Claims};
pub use clock::{Clock, SystemClock};
pub use handover::Handover;
pub use live::LiveConfig;
pub use logs::{LogError, Logs};
pub use prewarmed::{PrewarmedError, Prewarms};
pub use reports::{ReportError, Reports};
pub use router::{Door, DoorParts, Serves};
pub use seal::{HpkeSealer, Sealer};
pub use signature::{Secrets, Signed};
pub use wakers::Wakers;
pub use webhook::Webhooks;
