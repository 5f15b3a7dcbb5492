//! A GitHub to test against: a state model of the REST resources that Muster uses, over HTTP on loopback.
//!
//! What lives here: the model (`world.rs`, `settings.rs`, `records.rs`, `releases.rs`), its answers (`routes.rs`, `reading.rs`),
//! faults on demand (`fault.rs`), the server (`serve.rs`), what may stand in front of it (`front.rs`), and GitHub's own
//! description of its interface, against which every request and every answer is held (`openapi.rs`). What may not: anything of Muster's, so that the two can disagree.
//!
//! Invariant: a fake whose requests or answers broke GitHub's description panics when it is dropped.

mod control;
mod fault;
mod front;
mod identity;
mod openapi;
mod reading;
mod records;
mod releases;
mod routes;
mod serve;
mod settings;
mod world;

pub use fault::{Fault, What};
pub use front::{ConnectProxy, TlsFront};
pub use identity::AppKey;
pub use records::{FakeJob, FakeLog};
pub use serve::FakeGithub;
pub use settings::{FakeGroup, FakeHook};
pub use world::{FakeOwner, FakeRunner, FakeSetup, Seen, World};
