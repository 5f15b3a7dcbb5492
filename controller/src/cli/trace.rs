//! `muster trace`: workload traces of one's own.

use std::path::PathBuf;

use super::Found;
use super::output::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write the own past, as GitHub remembers it, as a trace for `muster simulate`
    Pull(PullArgs),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It only reads, in the name of the configuration's App, 90 requests a minute at most, and leaves the last tenth \
                  of GitHub's hourly limit to the fleet. It asks once for each 100 repositories, each 100 runs and each run.\n\
                  When --requests or GitHub's limit ends it, what was read is kept beside FILE (FILE.part, FILE.state.json), \
                  and the same command goes on where it ended. The exit code is 0 when the trace is whole, 1 when it is not \
                  yet.\n\
                  In the trace: each completed run with the jobs that had a runner, their labels and how long they had it. \
                  GitHub does not tell `needs`: all jobs of a run are queued when it is triggered. Of a job that was run \
                  again, the last time counts.\n\
                  Needs a build with the feature `aws`."
)]
struct PullArgs {
    /// The configuration: a file, or s3://BUCKET/KEY in a build with the feature `aws`
    #[arg(long, value_name = "FILE", default_value = "muster.toml")]
    config: PathBuf,
    /// The organization: the configuration's, which may be left out
    #[arg(long, value_name = "LOGIN")]
    org: Option<String>,
    /// So many whole days (UTC) before today
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    days: u32,
    /// Requests that this call sends at most, those for tokens included
    #[arg(long, value_name = "R", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(REQUESTS_MIN..))]
    requests: u64,
    /// The trace; packed if its name ends in .gz
    #[arg(long, value_name = "FILE.jsonl[.gz]")]
    out: PathBuf,
    /// Also look into repositories that nobody has pushed to in these days: schedules may run there
    #[arg(long)]
    all_repositories: bool,
    /// Only jobs with the label self-hosted; without it all jobs, GitHub-hosted ones too
    #[arg(long)]
    labels_only_self_hosted: bool,
    /// Hashes instead of the names of owner, repositories, workflows and jobs (who guesses a name can check the guess); labels
    /// and events stay
    #[arg(long)]
    anonymise: bool,
    /// JSON on standard output: {"out", "whole", "requests", "requests_max", "from", "until", "trace": {"runs", "jobs"} or
    /// null, "repositories", "repositories_left", "skipped": [{"repository", "why"}], "unfinished", "unlisted", "unread",
    /// "why" it is not whole or null}
    #[arg(long)]
    json: bool,
}

/// GitHub keeps runs for 400 days at most.
const DAYS_MAX: i64 = 400;
/// Two for a token, and one to get on.
const REQUESTS_MIN: u64 = 3;

pub(super) fn run(args: &Args) -> Result<Found, Failure> {
    let Command::Pull(args) = &args.command;
    pull(args)
}

#[cfg(not(feature = "aws"))]
fn pull(_: &PullArgs) -> Result<Found, Failure> {
    let why = "this build has no adapter for GitHub: use a build with the feature `aws`: cargo build --release --features aws";
    Err(anyhow::anyhow!("{why}").into())
}

#[cfg(feature = "aws")]
use with_adapter::pull;

#[cfg(feature = "aws")]
mod with_adapter {
    use anyhow::{Context, anyhow};
    use muster_core::config::{FleetConfig, GitHub, Owner};
    use muster_github::{Options, RestGithub};
    use serde::Serialize;

    use super::{Failure, Found, PullArgs};
    use crate::cli::output;
    use crate::past::{Files, Pull, Shown, Stop, Told, Totals, Wanted};
    use crate::secret::SecretReader;
    use crate::source::Source;

    #[derive(Serialize)]
    struct Report<'a> {
        out: String,
        whole: bool,
        requests: u64,
        requests_max: u64,
        from: String,
        until: String,
        /// None until it is whole.
        trace: Option<Totals>,
        repositories_left: usize,
        #[serde(flatten)]
        told: &'a Told,
        /// Why it is not whole.
        why: Option<String>,
    }

    pub(super) fn pull(args: &PullArgs) -> Result<Found, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(pull_all(args))
    }

    async fn pull_all(args: &PullArgs) -> Result<Found, Failure> {
        let mut source = Source::at(&args.config).await?;
        let parsed = FleetConfig::parse(&source.to_string(), &source.read().await?);
        for error in &parsed.errors {
            output::diagnostic("error", error);
        }
        let config = parsed.config.filter(|_| parsed.errors.is_empty());
        let config = config.ok_or_else(|| Failure::found_bad(anyhow!("{source} is not valid, see above")))?;
        let section = &config.github;
        let owner = owner(section, args.org.as_deref())?;
        let github = github(section, &source, args.requests).await?;
        let api_url = section.api_url.clone();
        let pulled = owner.clone();
        let wanted = Wanted { owner, api_url, days: args.days, unpushed: args.all_repositories };
        let clock = Options::default().clock;
        let files = Files::of(&args.out);
        let mut pull = files.begin(wanted, clock())?;
        let (from, until) = pull.span();
        output::note(format_args!(
            "the past of {} from {from} up to {until}; {} requests at most in this call",
            pulled, args.requests
        ));
        let rest = async |pause: std::time::Duration| {
            output::note(format_args!("{} requests so far; resting for {} s", sent(&github), pause.as_secs()));
            tokio::time::sleep(pause).await;
        };
        let stop = pull.run(&github, &files, || clock(), rest).await?;
        let shown = Shown { self_hosted_only: args.labels_only_self_hosted, anonymous: args.anonymise };
        let trace = if stop.is_none() { Some(files.finish(&pull, shown)?) } else { None };
        tell(args, &pull, trace, stop.as_ref(), sent(&github))?;
        match stop {
            Some(Stop::Trouble(error)) => {
                Err(anyhow!("{error}; what was read is kept, and the same command goes on").into())
            }
            Some(Stop::Spent | Stop::Limited(_)) => Ok(Found::Bad),
            None => Ok(Found::Good),
        }
    }

    /// The owner that is pulled: the configured one, whatever else was asked for.
    fn owner(section: &GitHub, asked: Option<&str>) -> Result<String, Failure> {
        let owner = match &section.owner {
            Owner::Organization(name) | Owner::Repository(name) => name.to_string(),
            Owner::Enterprise(_) => {
                let why = "an enterprise's organizations are not known: write a configuration of one of them";
                return Err(anyhow!("{why}").into());
            }
        };
        match asked {
            Some(asked) if !asked.eq_ignore_ascii_case(&owner) => Err(anyhow!(
                "--org {asked}: the configuration is of {owner}, and its App reads nothing else; leave --org out, or name the \
                 configuration of {asked}"
            )
            .into()),
            Some(_) | None => Ok(owner),
        }
    }

    async fn github(section: &GitHub, source: &Source, requests: u64) -> Result<RestGithub, Failure> {
        let secrets = SecretReader::default();
        let mut keys = Vec::new();
        for app in &section.apps {
            let values = secrets.read(&app.private_key, source.beside()).await;
            let values = values.with_context(|| format!("the key of App {}", app.id))?;
            keys.push(values.into_iter().next().unwrap_or_default());
        }
        Ok(RestGithub::new(section, &keys, Options { requests_max: Some(requests), ..Options::default() })?)
    }

    /// Requests that were sent.
    fn sent(github: &RestGithub) -> u64 {
        github.rates().iter().map(|rate| rate.requests).sum()
    }

    fn tell(
        args: &PullArgs,
        pull: &Pull,
        trace: Option<Totals>,
        stop: Option<&Stop>,
        requests: u64,
    ) -> Result<(), Failure> {
        let (told, out) = (pull.told(), args.out.display().to_string());
        let why = stop.map(|stop| match stop {
            Stop::Spent => "Its requests are spent: run the same command again".to_owned(),
            Stop::Limited(until) => format!("GitHub's limit: run the same command again after {until}"),
            Stop::Trouble(error) => error.to_string(),
        });
        for skipped in &told.skipped {
            output::note(format_args!("skipped {}: it cannot be read ({})", skipped.repository, skipped.why));
        }
        for (count, what) in [
            (told.unfinished, "runs are not over yet, and are left out"),
            (told.unlisted, "runs are left out: more than 1,000 in one second, and GitHub lists no more"),
            (told.unread, "runs are left out: their jobs are not there any more"),
        ] {
            if count > 0 {
                output::note(format_args!("{count} {what}"));
            }
        }
        if args.json {
            let (from, until) = pull.span();
            let (from, until) = (from.to_string(), until.to_string());
            let (whole, requests_max, repositories_left) = (trace.is_some(), args.requests, pull.left());
            return output::json(&Report {
                out,
                whole,
                requests,
                requests_max,
                from,
                until,
                trace,
                repositories_left,
                told,
                why,
            });
        }
        match (trace, why) {
            (Some(Totals { runs, jobs }), _) => output::line(format_args!(
                "{out}: {runs} runs with {jobs} jobs of {} repositories; {requests} requests in this call",
                told.repositories
            )),
            (None, why) => output::line(format_args!(
                "not whole yet: {} repositories read, {} to go; {requests} requests in this call. {}",
                told.repositories,
                pull.left(),
                why.unwrap_or_default()
            )),
        }
    }
}
