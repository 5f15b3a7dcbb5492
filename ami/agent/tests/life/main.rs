//! The agent's life: the state machine in virtual time, and the real binary with everything around it.
#![cfg(target_os = "linux")]

mod chance;
mod hostile;
mod logs;
mod pools;
mod race;
mod scenarios;
mod start;
mod virtual_time;
mod world;
