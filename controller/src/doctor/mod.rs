//! `muster doctor`: what is wrong with a set-up, why it matters, and what to do.
//!
//! What lives here: the findings, and who asks whom for facts. Each sort of fact is judged in a file of its own, by a
//! function of the facts alone; facts come from the adapters (`checkup.rs` of `muster-github` and `muster-aws`). What may
//! not: mending anything. A doctor is asked when things are on fire, so it reads; the one write, a delivery that is
//! delivered again, happens only when it is asked for and is harmless to a door that merges facts.
//!
//! Invariant: a finding that is not ok says why it matters and what to do; no finding has a secret in it.

#[cfg(feature = "aws")]
mod account;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod github;
#[cfg(feature = "aws")]
mod groups;
#[cfg(feature = "aws")]
mod releases;
#[cfg(all(test, feature = "aws"))]
mod tests;
#[cfg(feature = "aws")]
mod webhook;

use std::fmt;
use std::path::Path;

use muster_core::config::{Diagnostic, FleetConfig, SecretRef};
use reqwest::Url;
use serde::Serialize;

use crate::secret::SecretReader;

#[cfg(feature = "aws")]
pub use self::aws::{examine as examine_aws, unasked as aws_unasked};

/// What is checked. The words of the JSON are a promise, as are those of the other commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The configuration reads and is valid.
    Config,
    /// A webhook secret can be read where the configuration says.
    Secret,
    /// This build has the adapters.
    Build,
    /// GitHub answers.
    Github,
    /// This host's clock.
    Clock,
    /// GitHub takes an App's key.
    AppKey,
    /// The App is installed on the owner.
    Installation,
    /// The installation has a permission.
    Permission,
    /// The repositories that the installation was given.
    Repositories,
    /// A webhook is subscribed to jobs.
    WebhookEvent,
    /// The webhook leads to the door.
    WebhookUrl,
    /// The webhook sends JSON.
    WebhookContentType,
    /// GitHub checks the door's certificate.
    WebhookTls,
    /// Deliveries arrive and are taken.
    WebhookDelivery,
    /// The webhook's secret is one of ours.
    WebhookSecret,
    /// A runner group.
    RunnerGroup,
    /// What is left of an App's hour.
    RateLimit,
    /// The runner release on the images.
    RunnerVersion,
    /// Whether AWS was looked at, and as whom.
    AwsIdentity,
    /// What the configuration and the stack leave out.
    AwsStack,
    /// The ledger's table.
    AwsTable,
    /// A queue of the stack.
    AwsQueue,
    /// A role in another account.
    AwsRole,
    /// The subnets of an account.
    AwsSubnets,
    /// The way from an account's subnets to the internet.
    AwsEgress,
    /// The image of a shape.
    AwsImage,
    /// How many Auto Scaling groups and vCPUs an account may have.
    AwsQuota,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not as it should be.
    NotOk,
    /// Not known: what it needs is not there, or nobody asked for it.
    NotChecked,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// Of what: an App, a runner group, a line of the file.
    pub about: String,
    /// What it came to.
    pub state: State,
    /// What is.
    pub what: String,
    /// Why it matters. Where it is ok, it does not.
    pub why: Option<String>,
    /// What to do. Where it was not checked: to have it checked.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: Check, about: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding { check, about: about.into(), state: State::Ok, what: what.into(), why: None, remedy: None }
    }

    /// What nobody knows. `remedy`: how to know it.
    #[cfg(feature = "aws")]
    fn not_checked(
        check: Check,
        about: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let remedy = Some(remedy.into());
        Finding { state: State::NotChecked, remedy, ..Finding::ok(check, about, what) }
    }

    fn not_ok(
        check: Check,
        about: impl Into<String>,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let (why, remedy) = (Some(why.into()), Some(remedy.into()));
        Finding { state: State::NotOk, why, remedy, ..Finding::ok(check, about, what) }
    }
}

impl Check {
    /// Its word in the JSON, with spaces.
    fn title(self) -> String {
        let word = serde_json::to_value(self).ok().and_then(|word| Some(word.as_str()?.replace('_', " ")));
        word.unwrap_or_default()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::NotOk => "NOT OK",
            State::NotChecked => "not checked",
        };
        write!(f, "{state:<12}{}", self.check.title())?;
        if !self.about.is_empty() {
            write!(f, " ({})", self.about)?;
        }
        write!(f, ": {}", self.what)?;
        for (word, text) in [("why", &self.why), ("do", &self.remedy)] {
            if let Some(text) = text {
                write!(f, "\n{:12}{word}: {text}", "")?;
            }
        }
        Ok(())
    }
}

/// What somebody wants to know of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Where the door is: the address that GitHub should deliver to, without `/webhook`. `None`: not known.
    pub door: Option<Url>,
    /// Whether GitHub may be asked to deliver the latest delivery again.
    pub redeliver: bool,
}

/// The errors of a configuration, as findings.
pub fn invalid(errors: &[Diagnostic]) -> Vec<Finding> {
    const WHY: &str = "a configuration with an error is not taken: `muster serve` does not begin with it, and a controller \
                       that runs stays with the last good one";
    let one = |error: &Diagnostic| {
        let place = format!("{}:{}", error.file, error.line);
        let what =
            if error.key.is_empty() { error.message.clone() } else { format!("{}: {}", error.key, error.message) };
        Finding::not_ok(Check::Config, place, what, WHY, &*error.remedy)
    };
    errors.iter().map(one).collect()
}

/// Looks at a configuration that is valid, at its secrets, and at GitHub. `beside`: where relative paths in it begin.
pub async fn examine(
    file: &str,
    config: &FleetConfig,
    beside: &Path,
    secrets: &SecretReader,
    asked: &Asked,
) -> Vec<Finding> {
    let (pools, classes) = (config.pools().len(), config.classes().len());
    let mut found = vec![Finding::ok(Check::Config, file, format!("it is valid: {pools} pools, {classes} classes"))];
    for reference in &config.github.webhook_secrets {
        found.push(secret(reference, beside, secrets).await);
    }
    #[cfg(feature = "aws")]
    found.extend(github::examine(config, beside, secrets, asked).await);
    #[cfg(not(feature = "aws"))]
    {
        let _ = asked;
        found.push(without_adapters());
    }
    found
}

async fn secret(reference: &SecretRef, beside: &Path, secrets: &SecretReader) -> Finding {
    let about = reference.to_string();
    match secrets.read(reference, beside).await {
        Ok(_) => Finding::ok(Check::Secret, about, "it can be read"),
        Err(error) => Finding::not_ok(
            Check::Secret,
            about,
            format!("it cannot be read: {error}"),
            "without it the door refuses every delivery that is signed with it, and does not begin with a configuration \
             that is new to it",
            "put the webhook's secret where webhook_secrets says, or name another place there",
        ),
    }
}

#[cfg(not(feature = "aws"))]
fn without_adapters() -> Finding {
    Finding::not_ok(
        Check::Build,
        concat!("muster ", env!("CARGO_PKG_VERSION")),
        "this build has no adapters for GitHub and AWS: nothing beyond the file was checked",
        "what is wrong with a set-up is mostly wrong there",
        "use a build with the feature `aws`: cargo build --release --features aws",
    )
}

#[cfg(test)]
mod shape {
    use super::*;

    #[test]
    fn a_finding_is_shown_with_why_and_what_to_do() {
        let ok = Finding::ok(Check::Clock, "", "right");
        assert_eq!(ok.to_string(), "ok          clock: right");
        let bad = Finding::not_ok(Check::RunnerGroup, "builders", "there is none", "no job runs", "make it");
        let shown =
            "NOT OK      runner group (builders): there is none\n            why: no job runs\n            do: make it";
        assert_eq!(bad.to_string(), shown);
        assert_eq!(
            serde_json::to_value(&bad).unwrap(),
            serde_json::json!({
                "check": "runner_group", "about": "builders", "state": "not_ok", "what": "there is none",
                "why": "no job runs", "remedy": "make it",
            })
        );
    }
}
