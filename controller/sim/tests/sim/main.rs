//! Tests of the simulator as its drivers use it.

// In test modules an unwrap is a finding; the linter knows them by this attribute only.
#[cfg(test)]
mod cloud;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod payloads;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod toy;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod world;
