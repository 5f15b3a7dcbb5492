//! The files that tests share: recorded deliveries and the example configuration.

use std::fs;
use std::path::{Path, PathBuf};

/// A recorded delivery, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The file's name without `.json`.
    pub name: &'static str,
    /// The event's name, as GitHub's header has it.
    pub event: &'static str,
    /// The body.
    pub body: String,
}

const NAMES: [&str; 9] = [
    "ping",
    "workflow_job.completed.2",
    "workflow_job.completed.3",
    "workflow_job.in_progress.1",
    "workflow_job.in_progress.4",
    "workflow_job.in_progress.5",
    "workflow_job.queued.6",
    "workflow_job.queued.7",
    "workflow_job.waiting.8",
];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All recorded deliveries; the ping comes first.
///
/// # Panics
/// If a file is missing.
pub fn recorded() -> Vec<Recorded> {
    let read = |name: &'static str| {
        let path = here().join("payloads").join(format!("{name}.json"));
        let body = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Recorded { name, event: name.split('.').next().unwrap_or(name), body }
    };
    NAMES.into_iter().map(read).collect()
}

/// Where `muster.example.toml` is.
pub fn example_config() -> PathBuf {
    here().join("../muster.example.toml")
}
