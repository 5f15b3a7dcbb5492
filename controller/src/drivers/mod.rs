//! Drivers: what owns time and tasks.
//!
//! `service` runs the door, the scaler and the registrar as tasks of one process, on whatever clock it is given; `serve`
//! and `demo` use it. `simulate` runs the same parts in virtual time without a task.

pub mod catalog;
pub mod service;
pub mod simulate;
