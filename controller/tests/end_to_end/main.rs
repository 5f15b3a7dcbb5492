//! Muster from outside: the real program, real sockets, real files.
//!
//! These tests are here because Cargo builds `muster` for this package's tests and tells them where it is. One binary: it
//! links once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod agent;
mod check;
mod demo;
mod demo_edges;
mod doctor;
#[cfg(feature = "aws")]
mod enterprise;
mod explain;
mod fleet;
mod gauges;
mod http;
mod kill9;
mod ledger;
mod lifecycle;
mod orders;
mod recorded;
mod reload;
mod secrecy;
mod shape;
mod simulate;
mod telemetry;
mod trace;
mod workload;
