//! `muster serve`: the controller as one process.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;

use super::Found;
use super::output::{self, Failure};
use crate::drivers::serve::{self, Options};
use crate::loaded::ConfigFileError;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CloudKind {
    /// A simulated cloud and GitHub in this process, for trying the door, the configuration and the planner: machines boot
    /// and register, but that GitHub knows nothing of jobs that come in through the door, and gives them to nobody
    Sim,
    /// EC2 Auto Scaling and GitHub themselves. What the configuration leaves out comes from the environment: MUSTER_SUBNETS,
    /// MUSTER_SECURITY_GROUPS, MUSTER_INSTANCE_PROFILE, MUSTER_IMAGE_LINUX_X64 and the like, MUSTER_DOOR_URL (where
    /// machines find this door), MUSTER_AUDIENCE (default: the same), MUSTER_RUNNER_ROLES
    #[cfg(feature = "aws")]
    Aws,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Logs are JSON lines on standard error; MUSTER_LOG sets their filter (default info).\n\
                        The configuration and the webhook secrets are read again every 2 s: a good change comes into \
                        force in flight, a bad one is told and changes nothing. SIGTERM and Ctrl-C end it cleanly.")]
pub(super) struct Args {
    /// The configuration: a file, or s3://BUCKET/KEY in a build with the feature `aws`
    #[arg(long, value_name = "FILE", default_value = "muster.toml")]
    config: PathBuf,
    /// The ledger; made if it is not there
    #[arg(long, value_name = "FILE", default_value = "muster.sqlite")]
    db: PathBuf,
    /// The ledger in this DynamoDB table instead of a file
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "NAME", conflicts_with = "db")]
    table: Option<String>,
    /// Where the door listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Which cloud and GitHub
    #[arg(long, value_enum, default_value = "sim")]
    cloud: CloudKind,
    /// Where CloudWatch metric lines are appended
    #[arg(long, value_name = "FILE")]
    emf: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<Found, Failure> {
    let options = Options {
        config: args.config,
        db: args.db,
        #[cfg(feature = "aws")]
        table: args.table,
        listen: args.listen,
        emf: args.emf,
    };
    #[cfg(feature = "aws")]
    if args.cloud == CloudKind::Sim && options.table.is_some() {
        return Err(anyhow::anyhow!("--table needs --cloud aws: a simulated cloud keeps its ledger in a file").into());
    }
    crate::drivers::serve::log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The one line on standard output: whoever started us may wait for it.
    let ready = |address: SocketAddr| output::line(format_args!("listening on http://{address}")).is_ok();
    let outcome = match args.cloud {
        CloudKind::Sim => runtime.block_on(serve::run(&options, ready)),
        #[cfg(feature = "aws")]
        CloudKind::Aws => runtime.block_on(serve::run_in_aws(&options, ready)),
    };
    runtime.shutdown_background();
    match outcome {
        Ok(()) => Ok(Found::Good),
        Err(error) if matches!(error.downcast_ref(), Some(ConfigFileError::Invalid(..))) => {
            Err(Failure::found_bad(error))
        }
        Err(error) => Err(error.into()),
    }
}
