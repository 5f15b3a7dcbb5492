//! What the crate promises, seen from outside. One binary, so that it links once.
//!
//! Invariant: every line that any test here produces goes through [`format::parse`], which holds it against AWS's schema
//! and against the limits that the schema leaves to prose.

mod builder;
mod concurrency;
mod document;
mod format;
mod recorder;
mod sink;
mod splitting;
mod units;
