//! The command line: arguments, exit codes, and where output goes.
//!
//! What lives here: `muster` and its commands, each in a file of its own. What may not: work; a command reads its inputs,
//! calls a driver or the core, and prints.
//!
//! Invariant: machine output is JSON on standard output and nothing else is; progress, speed and logs go to standard
//! error. Exit codes: 0 fine; 1 found bad; 2 usage, or input that cannot be read.

mod check;
mod demo;
mod doctor;
mod explain;
mod ledger;
mod output;
mod serve;
mod simulate;
mod switch;
#[cfg(feature = "aws")]
mod table;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use output::Failure;

/// What a command has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// All is well.
    Good,
    /// Something is bad: a job lost, a runner killed, a violation, an invalid configuration, a job that nobody serves.
    Bad,
}

#[derive(Debug, Parser)]
#[command(
    name = "muster",
    version,
    about = "A self-hosted GitHub Actions runner fleet controller for EC2",
    long_about = "Muster keeps a fleet of ephemeral, self-hosted GitHub Actions runners on EC2: developers choose machines by \
                  labels in their workflows, every job gets a machine of its own, and then the machine is gone.\n\n\
                  Start with `muster demo`: it needs no account and shows the whole path in under two minutes.",
    after_help = "Exit codes: 0 fine, 1 found bad, 2 usage or input that cannot be read.\n\
                  With --json the result is JSON on standard output; progress and logs go to standard error."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job: a busy hour of CI, replayed through the real door on a simulated cloud
    Demo(demo::Args),
    /// Run the controller: door, scaler and registrar in one process
    Serve(serve::Args),
    /// Validate a configuration: every error with file, line, key and remedy
    Check(check::Args),
    /// Look at the set-up on GitHub and in AWS: what is wrong, why it matters, what to do
    Doctor(doctor::Args),
    /// Say which class serves a job and why, or what became of one job
    Explain(explain::Args),
    /// List the jobs of a ledger
    Ledger(ledger::Args),
    /// Replay a workload against the production reconciler in virtual time: queue times and cost of a policy
    Simulate(simulate::Args),
    /// Show or set the admin's switch: run, no-launch or freeze
    Switch(switch::Args),
    /// Make a workload trace of one's own past, to replay with `muster simulate`
    Trace(trace::Args),
    /// Print the version
    Version(VersionArgs),
}

#[derive(Debug, clap::Args)]
struct VersionArgs {
    /// JSON on standard output
    #[arg(long)]
    json: bool,
}

/// Parses the arguments and runs the command.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Simulate(args) => simulate::run(args),
        Command::Switch(args) => switch::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Version(args) => version(&args),
    };
    match outcome {
        Ok(Found::Good) => ExitCode::SUCCESS,
        Ok(Found::Bad) => ExitCode::from(1),
        // Whoever read our output has had enough of it, as `head` does.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn version(args: &VersionArgs) -> Result<Found, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if args.json {
        output::json(&serde_json::json!({ "version": version }))?;
    } else {
        output::line(format_args!("muster {version}"))?;
    }
    Ok(Found::Good)
}
