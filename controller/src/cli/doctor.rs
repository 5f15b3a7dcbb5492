//! `muster doctor`: what is wrong with the set-up, why it matters, and what to do.

use std::path::PathBuf;

use anyhow::Context;
use muster_core::config::FleetConfig;
use reqwest::Url;

use super::Found;
use super::output::{self, Failure};
use crate::doctor::{self, Asked, Finding, State};
use crate::secret::SecretReader;
use crate::source::Source;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each line is a check: ok, NOT OK with why it matters and what to do, or not checked. The exit code is 1 if \
                        anything is not ok.\n\
                        It only reads, with one exception that has to be asked for: --redeliver.\n\
                        Needs a build with the feature `aws`; without it only the configuration and its secrets are looked at."
)]
pub(super) struct Args {
    /// The configuration: a file, or s3://BUCKET/KEY in a build with the feature `aws`
    #[arg(long, value_name = "FILE", default_value = "muster.toml")]
    config: PathBuf,
    /// Where the door is, as GitHub and machines find it; default: MUSTER_DOOR_URL of the environment. The webhook's URL is
    /// compared with it
    #[arg(long, value_name = "URL")]
    door: Option<Url>,
    /// Have GitHub deliver the latest webhook delivery again, and see how the door answers. Without it, the last deliveries
    /// in GitHub's log are judged
    #[arg(long)]
    redeliver: bool,
    /// Look at AWS too, as `muster serve --cloud aws` would use it, with the same environment: its variables, region and
    /// credentials
    #[cfg(feature = "aws")]
    #[arg(long)]
    aws: bool,
    /// The ledger's table, to look at; default: MUSTER_TABLE of the environment
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "NAME", requires = "aws")]
    table: Option<String>,
    /// JSON on standard output: [{"check", "about", "state", "what", "why", "remedy"}]
    #[arg(long)]
    json: bool,
}

/// The variable of the stack that says where the door is.
const DOOR_URL: &str = "MUSTER_DOOR_URL";

pub(super) fn run(args: &Args) -> Result<Found, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(examine(args))?;
    if args.json {
        output::json(&found)?;
    } else {
        for finding in &found {
            output::line(format_args!("{finding}"))?;
        }
        let count = |state| found.iter().filter(|finding| finding.state == state).count();
        let (ok, not_ok, not_checked) = (count(State::Ok), count(State::NotOk), count(State::NotChecked));
        output::line(format_args!("{ok} ok, {not_ok} not ok, {not_checked} not checked"))?;
    }
    let bad = found.iter().any(|finding| finding.state == State::NotOk);
    Ok(if bad { Found::Bad } else { Found::Good })
}

async fn examine(args: &Args) -> Result<Vec<Finding>, Failure> {
    let mut source = Source::at(&args.config).await?;
    let file = source.to_string();
    let parsed = FleetConfig::parse(&file, &source.read().await?);
    let Some(config) = parsed.config else { return Ok(doctor::invalid(&parsed.errors)) };
    let asked = Asked { door: door(args)?, redeliver: args.redeliver };
    #[cfg_attr(not(feature = "aws"), expect(unused_mut, reason = "there is nothing more to find"))]
    let mut found = doctor::examine(&file, &config, source.beside(), &SecretReader::default(), &asked).await;
    #[cfg(feature = "aws")]
    found.extend(if args.aws {
        doctor::examine_aws(&config, args.table.as_deref()).await
    } else {
        doctor::aws_unasked()
    });
    Ok(found)
}

/// Where the door is, by the arguments or else by the environment.
fn door(args: &Args) -> Result<Option<Url>, Failure> {
    let told = std::env::var(DOOR_URL).ok().filter(|url| !url.trim().is_empty());
    match (&args.door, told) {
        (Some(door), _) => Ok(Some(door.clone())),
        (None, Some(url)) => Ok(Some(url.trim().parse().with_context(|| format!("{DOOR_URL} is no URL"))?)),
        (None, None) => Ok(None),
    }
}
