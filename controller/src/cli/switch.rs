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
    let (now, former) = match args.to {
        Some(to) => (Switch::from(to), Some(SqliteStore::flip_switch(&args.db, to.into())?)),
        None => {
            let store = SqliteStore::open_read_only(&args.db)?;
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            (runtime.block_on(store.switch())?, None)
        }
    };
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

fn word(switch: Switch) -> &'static str {
    match switch {
        Switch::Run => "run",
        Switch::NoLaunch => "no-launch",
        Switch::Freeze => "freeze",
    }
}
