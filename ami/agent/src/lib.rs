//! Muster's agent: on the machine, it proves which instance it is, gets one runner configuration, runs exactly one job as an
//! unprivileged user, reports, and the machine is gone. `docs/protocol.md` is what it says and hears.
//!
//! [`life`] decides, and is pure. [`shell`] does: [`metadata`], [`identity`] and [`door`] are the outside, [`runner`] the
//! process and its signs, [`host`] the operating system. [`options`] is what a pool gives its runners, [`ship`] what is
//! left behind.

pub mod check;
pub mod clock;
pub mod door;
pub mod host;
pub mod http;
pub mod identity;
pub mod kept;
pub mod life;
pub mod metadata;
pub mod options;
pub mod runner;
pub mod settings;
pub mod shell;
pub mod ship;
pub mod signs;
pub mod warm;
pub mod words;
