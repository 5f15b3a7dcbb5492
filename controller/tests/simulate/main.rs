//! Simulations of the whole: production's scaler, registrar and door in a simulated world, in virtual time.
//!
//! One binary with a module each, so that the program is linked once. What needs all four weeks several times, an
//! optimised build or a quiet machine is in `tests/bench`.

#![allow(clippy::print_stdout, reason = "a test prints what it has counted")]

// In test modules an unwrap is a finding; the linter knows them by this attribute only.
#[cfg(test)]
mod caps;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod cut_points;
#[cfg(test)]
mod idle_removal;
#[cfg(test)]
mod lost_webhooks;
mod mortal;
#[cfg(test)]
mod overheard;
#[cfg(test)]
mod planted_bug;
#[cfg(test)]
mod registrations;
#[cfg(test)]
mod reruns;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod trace;
