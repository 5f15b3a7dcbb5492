//! A runner for tests: it behaves like actions/runner as far as an agent can see, without GitHub.
//!
//! One binary with the runner's names: as `bin/Runner.Listener` it listens, as `bin/Runner.Worker` it runs a job. Between
//! a message and a running job there are the four instants of the real one, with gaps that the other end names: delivered
//! (a line in the log), acquired (a request), forked (a process with the listener's name), exec'd (the worker's name). A file
//! `go` in the runner's folder ends every gap and the job's own time.
//!
//! Its configuration is `ADDRESS/NUMBER`: where its GitHub is, and which registration it has. Their conversation is lines.

#[cfg(target_os = "linux")]
mod runner;

fn main() {
    #[cfg(target_os = "linux")]
    runner::main();
}
