//! The agent's life: the state machine in virtual time, and the real binary with everything around it.
#![cfg(target_os = "linux")]

mod hostile;
mod scenarios;
mod virtual_time;
mod world;
