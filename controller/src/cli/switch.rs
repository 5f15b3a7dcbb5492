//! `muster switch`: the admin's switch in the ledger, also of a controller that runs.

use std::path::PathBuf;

use clap::ValueEnum;
use muster_core::ports::{Store, Switch};
use muster_store::SqliteStore;
use serde_json::json;

use super::Found;
use super::output::{self, Failure};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Word {
    /// Work
    Run,
    /// Launch nothing; let what runs end
    NoLaunch,
    /// Take facts in, touch nothing
    Freeze,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "A running controller reads the switch before every tick: at the latest within a minute.\n\
                        Webhooks are taken in whatever the switch says, so nothing is lost meanwhile.")]
pub(super) struct Args {
    /// The ledger
    #[arg(long, value_name = "FILE", default_value = "muster.sqlite")]
    db: PathBuf,
    /// The ledger in this DynamoDB table: the stack's output `Table`. Region and credentials come from the environment
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "NAME", conflicts_with = "db")]
    table: Option<String>,
    /// What to set; without it the switch is only shown
    #[arg(value_enum)]
    to: Option<Word>,
    /// JSON on standard output: {"switch", "former"}
    #[arg(long)]
    json: bool,
}

impl From<Word> for Switch {
    fn from(word: Word) -> Switch {
        match word {
            Word::Run => Switch::Run,
            Word::NoLaunch => Switch::NoLaunch,
            Word::Freeze => Switch::Freeze,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<Found, Failure> {
    let (now, former) = look_or_set(args)?;
    if args.json {
        output::json(&json!({ "switch": now, "former": former }))?;
    } else {
        match former {
            Some(former) => output::line(format_args!("{} (was {})", word(now), word(former)))?,
            None => output::line(format_args!("{}", word(now)))?,
        }
    }
    Ok(Found::Good)
}

/// The switch as it is now, and what it was if it was set.
fn look_or_set(args: &Args) -> Result<(Switch, Option<Switch>), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    #[cfg(feature = "aws")]
    if let Some(table) = &args.table {
        return runtime.block_on(async {
            let ledger = super::table::open(table).await?;
            let former = ledger.switch().await?;
            let Some(to) = args.to else { return Ok((former, None)) };
            ledger.set_switch(to.into()).await?;
            Ok((to.into(), Some(former)))
        });
    }
    Ok(match args.to {
        Some(to) => (to.into(), Some(SqliteStore::flip_switch(&args.db, to.into())?)),
        None => (runtime.block_on(SqliteStore::open_read_only(&args.db)?.switch())?, None),
    })
}

fn word(switch: Switch) -> &'static str {
    match switch {
        Switch::Run => "run",
        Switch::NoLaunch => "no-launch",
        Switch::Freeze => "freeze",
    }
}
