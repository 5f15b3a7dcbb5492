//! The agent's life: the state machine in virtual time, on any system; on Linux the real binary with everything around it.

mod chance;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod logs;
#[cfg(target_os = "linux")]
mod pools;
#[cfg(target_os = "linux")]
mod race;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod start;
mod virtual_time;
#[cfg(target_os = "linux")]
mod world;
