//! The door's tests: one binary, so that it is linked once.

mod claims;
mod fake_store;
mod fuzz;
mod health;
mod logs;
mod options;
mod payload;
mod prewarmed;
mod protocol_doc;
mod reports;
mod secrets;
mod signature;
mod webhook;
mod world;
