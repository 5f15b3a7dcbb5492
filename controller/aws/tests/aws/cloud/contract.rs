//! The contract of the cloud's port, on the emulation.

use super::super::emulator::block_on;
use super::stage::{Ground, Wish, stage};

muster_core::cloud_contract! { stage: stage(Ground::Emulation, &Wish::default()), drive: block_on }
