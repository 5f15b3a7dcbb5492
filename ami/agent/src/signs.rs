//! What the runner's output and its log say, line by line.
//!
//! The texts are those of actions/runner (`Runner.cs`, `JobDispatcher.cs`, `BrokerMessageListener.cs`); its log is flushed
//! after every write (`HostTraceListener.cs`). A text that changes costs a sign, not a job: each instant but the first has
//! two signs that do not depend on each other, and processes are counted whatever is written.

use crate::life::Sign;

/// The sign in a line of the listener's standard output.
pub fn of_output(line: &str) -> Option<Sign> {
    if line.contains("Running job: ") {
        Some(Sign::Job)
    } else if line.contains("Listening for Jobs") {
        Some(Sign::Listening)
    } else {
        None
    }
}

/// Texts of a message that was no job, or a job that another runner has.
const NO_JOB: [&str; 7] = [
    "Skipping message Job.",
    "Caught exception from acquiring job message",
    "Skip message deletion for",
    "Received ForceTokenRefreshMessage",
    "Received RunnerRefreshConfigMessage",
    "with unsupported message type",
    "Refresh message received",
];

/// The sign in a line of `_diag/Runner_*.log`.
pub fn of_log(line: &str) -> Option<Sign> {
    if line.contains("Message '") && line.contains("received from session '") {
        Some(Sign::Message)
    } else if line.contains("One time used runner received job message")
        || (line.contains("Job request ") && line.contains(" received."))
        || line.contains("Received job message of length")
    {
        Some(Sign::Job)
    } else if NO_JOB.iter().any(|text| line.contains(text)) {
        Some(Sign::NoJob)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_the_runner_writes_them() {
        assert_eq!(of_output("2026-11-22 10:00:00Z: Listening for Jobs"), Some(Sign::Listening));
        assert_eq!(of_output("2026-11-22 10:00:00Z: Running job: build"), Some(Sign::Job));
        assert_eq!(of_output("Current runner version: '2.330.0'"), None);
        let log = |text: &str| of_log(&format!("[2026-11-22 10:00:00Z INFO MessageListener] {text}"));
        assert_eq!(log("Message '7' received from session 'c0ffee'."), Some(Sign::Message));
        assert_eq!(log("Skipping message Job. Job not found"), Some(Sign::NoJob));
        assert_eq!(log("Job request 0 for plan p job j received."), Some(Sign::Job));
        assert_eq!(log("One time used runner received job message."), Some(Sign::Job));
        assert_eq!(log("No message retrieved from session 'c0ffee' within last 30 minutes."), None);
    }
}
