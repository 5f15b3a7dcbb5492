//! Drivers: what owns time and tasks.
//!
//! `ticker` is one tick with all that belongs to it. `service` runs the door, the scaler and the registrar as tasks of one process, on whatever clock it is given; `serve`
//! and `demo` use it. `simulate` runs the same parts in virtual time without a task.

mod agent;
pub mod catalog;
pub mod demo;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod pump;
pub mod serve;
pub mod service;
pub mod simulate;
pub mod ticker;
pub mod witness;

use rand::TryRng;
use rand::rngs::SysRng;

/// Random bytes of the operating system as hex; `None` if it has none to give.
pub(crate) fn random_hex<const BYTES: usize>() -> Option<String> {
    let mut bytes = [0; BYTES];
    SysRng.try_fill_bytes(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}
