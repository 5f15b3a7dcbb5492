//! `muster ledger`: the jobs of a ledger, also of one that is in use.

use std::path::PathBuf;

use muster_store::{SqliteStore, Upkeep};
use serde_json::json;

use super::Found;
use super::output::{self, Failure};
use crate::story::{LedgerEntry, kept_config};

/// How many facts that were set aside are listed at most.
const SET_ASIDE_MAX: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ledger
    #[arg(long, value_name = "FILE", default_value = "muster.sqlite")]
    db: PathBuf,
    /// The ledger in this DynamoDB table: the stack's output `Table`. Region and credentials come from the environment
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "NAME", conflicts_with = "db")]
    table: Option<String>,
    /// The facts that could not be read, and why
    #[arg(long)]
    set_aside: bool,
    /// JSON on standard output, one line for each job
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    #[cfg(feature = "aws")]
    if let Some(table) = &args.table {
        return runtime.block_on(async { show(args, &super::table::open(table).await?).await });
    }
    runtime.block_on(show(args, &SqliteStore::open_read_only(&args.db)?))
}

async fn show(args: &Args, store: &impl Upkeep) -> Result<Found, Failure> {
    if args.set_aside { set_aside(args, store).await } else { jobs(args, store).await }
}

async fn jobs(args: &Args, store: &impl Upkeep) -> Result<Found, Failure> {
    let config = kept_config(store).await?;
    for record in store.ledger().await? {
        let entry = LedgerEntry::of(&record, config.as_ref());
        if args.json {
            output::json(&entry)?;
        } else {
            let what = entry.reason.or(entry.class.as_deref()).unwrap_or("-");
            let demanded = entry.demanded_at.as_deref().unwrap_or("-");
            output::line(format_args!(
                "{:>14} #{} {:<9} {:<24} {:<32} {}",
                entry.job_id, entry.attempt, entry.phase, demanded, entry.repository, what
            ))?;
        }
    }
    let unreadable = store.load().await?.unreadable;
    for row in &unreadable {
        output::note(format_args!("a row does not read and is not shown: {row}"));
    }
    Ok(if unreadable.is_empty() { Found::Good } else { Found::Bad })
}

async fn set_aside(args: &Args, store: &impl Upkeep) -> Result<Found, Failure> {
    let facts = store.set_aside(SET_ASIDE_MAX).await?;
    for fact in &facts {
        if args.json {
            output::json(&json!({
                "seq": fact.seq, "key": fact.key, "received_at": fact.received_at.to_string(), "body": fact.body,
                "reason": fact.reason,
            }))?;
        } else {
            output::line(format_args!("{} {} {}: {}", fact.seq, fact.received_at, fact.key, fact.reason))?;
        }
    }
    Ok(if facts.is_empty() { Found::Good } else { Found::Bad })
}
