//! The adapter against a GitHub that listens on loopback, with every request and answer held against GitHub's description.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod bench;
mod checkup;
mod deliveries;
mod described;
mod groups;
mod limits;
mod lost;
mod owners;
mod past;
mod process;
mod records;
mod registrations;
mod releases;
mod reruns;
mod runners;
