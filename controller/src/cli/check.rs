//! `muster check`: is this configuration valid, and is anything in it odd?

use std::path::PathBuf;

use anyhow::Context;
use muster_core::config::FleetConfig;
use serde_json::json;

use super::Found;
use super::output::{self, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "muster.toml")]
    config: PathBuf,
    /// JSON on standard output: {"ok", "errors", "warnings"}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found, Failure> {
    let file = args.config.display().to_string();
    let text = std::fs::read_to_string(&args.config).with_context(|| format!("cannot read {file}"))?;
    let parsed = FleetConfig::parse(&file, &text);
    let ok = parsed.errors.is_empty() && parsed.config.is_some();
    if args.json {
        output::json(&json!({ "ok": ok, "errors": parsed.errors, "warnings": parsed.warnings }))?;
    } else {
        for error in &parsed.errors {
            output::diagnostic("error", error);
        }
        for warning in &parsed.warnings {
            output::diagnostic("warning", warning);
        }
        let (errors, warnings) = (parsed.errors.len(), parsed.warnings.len());
        match parsed.config {
            Some(config) if ok => output::line(format_args!(
                "{file} is valid: {} pools, {} classes, {warnings} warnings",
                config.pools().len(),
                config.classes().len()
            ))?,
            Some(_) | None => output::line(format_args!("{file} is not valid: {errors} errors, {warnings} warnings"))?,
        }
    }
    Ok(if ok { Found::Good } else { Found::Bad })
}
