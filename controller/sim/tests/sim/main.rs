//! Tests of the simulator as its drivers use it.

mod cloud;
mod determinism;
mod drain;
mod figures;
mod jobs;
mod payloads;
mod toy;
mod trace;
mod world;
