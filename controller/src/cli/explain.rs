//! `muster explain`: which class serves a job and why; or what became of one job, and why it waits or ran.

use std::path::PathBuf;

use muster_core::config::{FleetConfig, Resolution};
use muster_core::ids::JobId;
use muster_store::{SqliteStore, Upkeep};
use muster_webhook::clock::{Clock, SystemClock};
use serde_json::json;

use super::Found;
use super::output::{self, Failure};
use crate::story;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster explain --labels self-hosted,linux,x64,cpu-8\n  \
                        muster explain --db muster.sqlite --job 289782451")]
pub(super) struct Args {
    /// The configuration that resolves the labels
    #[arg(long, value_name = "FILE", default_value = "muster.toml", conflicts_with = "db")]
    config: PathBuf,
    /// The labels of runs-on, separated by commas; empty for a job that names only a runner group
    #[arg(long, value_name = "LABELS", conflicts_with = "job", required_unless_present = "job")]
    labels: Option<String>,
    /// The job's repository
    #[arg(long, value_name = "OWNER/NAME", conflicts_with = "db")]
    repo: Option<String>,
    /// The repository is public
    #[arg(long, conflicts_with = "db")]
    public: bool,
    /// A ledger
    #[arg(long, value_name = "FILE", requires = "job")]
    db: Option<PathBuf>,
    /// The same in a DynamoDB table: the stack's output `Table`. Region and credentials come from the environment
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "NAME", requires = "job", conflicts_with_all = ["db", "config"])]
    table: Option<String>,
    /// The job: GitHub's id, all attempts
    #[arg(long, value_name = "ID")]
    job: Option<i64>,
    /// JSON on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found, Failure> {
    #[cfg(feature = "aws")]
    if let (Some(table), Some(job)) = (&args.table, args.job) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(async { tell(args, &super::table::open(table).await?, JobId(job)).await });
    }
    match (&args.db, args.job, &args.labels) {
        (Some(db), Some(job), _) => job_of(args, &SqliteStore::open_read_only(db)?, JobId(job)),
        (_, _, Some(labels)) => labels_of(args, labels),
        (_, _, None) => Err(anyhow::anyhow!("give --labels, or --db and --job").into()),
    }
}

fn labels_of(args: &Args, labels: &str) -> Result<Found, Failure> {
    let (config, _) = output::read_config(&args.config)?;
    let labels: Vec<&str> = labels.split(',').map(str::trim).filter(|label| !label.is_empty()).collect();
    let repository = match &args.repo {
        Some(repository) => repository.clone(),
        None => some_repository(&config),
    };
    let resolution = config.resolve(&labels, &repository, args.public);
    let also: Vec<String> =
        config.also(&labels, &repository, args.public).iter().map(|class| class.id.to_string()).collect();
    let answer = match &resolution {
        Resolution::Class(class) => {
            let shapes: Vec<&str> = class.shapes.iter().map(|shape| shape.id.as_str()).collect();
            let why = format!(
                "class {} of pool {} carries every label that the job names{}",
                class.id,
                class.pool,
                if also.is_empty() { "" } else { ", and comes first by priority and order" }
            );
            json!({
                "outcome": "class", "id": class.id, "pool": class.pool, "class": class.labels,
                "market": class.market.as_str(), "shapes": shapes, "also": also, "why": why,
            })
        }
        Resolution::Refused(refusal) => json!({
            "outcome": refusal.kind(), "id": null, "pool": null, "class": null, "market": null, "shapes": [],
            "also": also, "why": refusal.why(),
        }),
    };
    if args.json {
        output::json(&answer)?;
    } else {
        match &resolution {
            Resolution::Class(class) => {
                output::line(format_args!("{}", class.id))?;
                output::line(format_args!("  labels  {}", class.labels.join(", ")))?;
                for shape in class.shapes.iter() {
                    let price = shape.usd_per_hour.map(|usd| format!(", {usd} USD an hour")).unwrap_or_default();
                    let types = shape.instance_types.join(", ");
                    output::line(format_args!("  shape   {} ({}: {types}{price})", shape.id, shape.market))?;
                }
                for other in &also {
                    output::line(format_args!("  also    {other}: its runners may take the job too"))?;
                }
            }
            Resolution::Refused(refusal) => {
                output::line(format_args!("not served: {}", refusal.kind()))?;
                output::line(format_args!("  {}", refusal.why()))?;
            }
        }
    }
    Ok(match resolution {
        Resolution::Class(_) => Found::Good,
        Resolution::Refused(_) => Found::Bad,
    })
}

/// A repository that the configuration allows, for a question that names none.
fn some_repository(config: &FleetConfig) -> String {
    let patterns = config.pools().iter().flat_map(|pool| &pool.repositories);
    let names = patterns.map(|pattern| pattern.as_str().replace('*', "any"));
    names.map(|name| if name.contains('/') { name } else { format!("{name}/any") }).next().unwrap_or_default()
}

fn job_of(args: &Args, store: &SqliteStore, job: JobId) -> Result<Found, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tell(args, store, job))
}

async fn tell(args: &Args, store: &impl Upkeep, job: JobId) -> Result<Found, Failure> {
    let stories = story::of_job(store, job, SystemClock.now()).await?;
    if stories.is_empty() {
        let why = "its webhook never came, or it was not for this fleet";
        return Err(anyhow::anyhow!("the ledger has no job {job}: {why}").into());
    }
    for story in &stories {
        if args.json {
            output::json(story)?;
        } else {
            output::line(format_args!("{story}"))?;
        }
    }
    let served = stories.iter().all(|story| story.entry.phase != "refused");
    Ok(if served { Found::Good } else { Found::Bad })
}
